"""What a store's root says about itself: format, files, and whose candles it holds.

    <root>/.krakked/store.json    {"version":2,"backend":"parquet","exchange":"kraken"}

It is made durable before the first bar of a store, and looked at before every read and write, so
that candles of two exchanges (a sandbox is one) never meet below one root, an older krakked never
touches what a newer one wrote, and a store keeps to the file format it was begun with.

A store of version 1 has no record. It is taken for Kraken's: nothing else is known of it, and an
error that names another directory costs less than invented candles among real ones.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from krakked._config.identity import KRAKEN
from krakked._errors import StoreCorruptError, StoreError, StoreExchangeError
from krakked._files.owner import OwnerProcess
from krakked._market.store.durable import locked, newer_format, replace, typed_errors
from krakked._market.store.layout import FORMAT_VERSION, ROOT_LABEL, StorePaths
from krakked._market.store.listing import listed, partitions_of, series_below
from krakked._unreadable import UNREADABLE

_log = logging.getLogger("krakked.store")


class RootRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record of one root."""

    version: int
    """Of the store's format as a whole; a reader of a lower one must not touch it."""
    backend: str
    """Format of the partitions: ``parquet`` or ``csv``."""
    exchange: str | None
    """Whose candles it holds; None while only archives were imported, which name none."""
    sandbox: str | None = None
    """Which sandbox that was, where it said so: on one address there may be another tomorrow."""


class _Version(msgspec.Struct):
    version: int


def encode(record: RootRecord) -> bytes:
    """Return the file's bytes; a line that people can read and mend."""
    return msgspec.json.encode(record) + b"\n"


def decode(data: bytes, path: Path) -> RootRecord:
    """Read `encode` back.

    Raises:
        StoreVersionError: A newer krakked wrote it.
        StoreCorruptError: It is no such record.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version > FORMAT_VERSION:
            raise newer_format(path, version)
        record = msgspec.json.decode(data, type=RootRecord)
        if version < 1 or record.exchange == "":
            raise ValueError("it holds a value that no krakked writes")
    except (ValueError, *UNREADABLE) as error:
        raise StoreCorruptError(
            f"{path} does not say what the store holds ({error}). Run: krakked store repair",
            path=str(path),
        ) from error
    return record


class Root:
    """The root of one store, as one program uses it.

    Args:
        paths: The store.
        backend: Name of the file format to be used.
        backends: Names of all there are; files end so.
        exchange: Identity of the exchange that is talked to; None claims none.
        sandbox: Which sandbox is talked to, where it said so; None = it did not, or is none.
        lock_timeout_s: Longest wait for another process that makes the record, in seconds.
    """

    def __init__(
        self,
        paths: StorePaths,
        backend: str,
        backends: Collection[str],
        exchange: str | None,
        *,
        sandbox: str | None = None,
        lock_timeout_s: float,
    ) -> None:
        self._paths = paths
        self._backend = backend
        self._backends = frozenset(backends)
        self._exchange = exchange
        self._sandbox = sandbox
        self._timeout_s = lock_timeout_s
        self._seen: tuple[int, int, int] | None = None
        self._record: RootRecord | None = None
        self._is_old = False
        self._owner = OwnerProcess("This candle store")

    @property
    def owner(self) -> tuple[str | None, str | None]:
        """Whose candles are below: the exchange and the sandbox, as recorded, else as claimed."""
        record = self._record
        if record is None:
            return self._exchange or (KRAKEN if self._is_old else None), self._sandbox
        return record.exchange, record.sandbox

    def check(self) -> None:
        """Refuse a store that this program must not even read; makes nothing.

        Raises:
            StoreExchangeError: It holds candles of another exchange.
            StoreVersionError: A newer krakked wrote it.
            StoreCorruptError: Its record is damaged.
            StoreError: It holds files of another format, or cannot be read.
            ForkedProcessError: The store was opened by the parent of this process.
        """
        self._owner.check()
        with typed_errors(self._paths.record):
            try:
                found = self._paths.record.stat()
            except (FileNotFoundError, NotADirectoryError):
                self._seen = self._record = None
                self._check_without_record()
                return
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            data = self._paths.record.read_bytes()
        record = decode(data, self._paths.record)
        self._refuse_other_backend(record.backend)
        if record.exchange is not None and self._exchange not in {None, record.exchange}:
            raise self._other_exchange("holds candles of", record.exchange, self._exchange)
        if self._sandbox is not None and record.sandbox not in {None, self._sandbox}:
            raise self._other_exchange("holds candles of", record.sandbox, self._sandbox)
        self._record, self._seen = record, seen

    def claim(self) -> None:
        """The same before a write: a root without a record gets one, durably.

        Raises:
            StoreError: As for `check`, or the disk refused.
            LockTimeoutError: Another process is making the record.
        """
        self.check()
        if self._is_claimed():
            return
        lock = self._paths.root_lock
        with locked(lock, timeout_s=self._timeout_s, what=f"The record of {self._paths.root}"):
            self.check()
            if self._is_claimed():
                return
            exchange = self._exchange
            if self._record is None and self._is_old:
                exchange = KRAKEN
                _log.warning(
                    "%s was written by a krakked that did not note the exchange; it is Kraken's "
                    "store from now on. Candles of a sandbox that was used with this directory are "
                    "among its bars: then begin a new one (market_data.ohlc_store.root_dir).",
                    self._paths.root,
                )
            self._write(exchange)
        self.check()

    def mend(self) -> Path | None:
        """Set a damaged record aside and write one for the exchange that is talked to.

        Returns:
            Where the damaged one lies now; None when there was none.

        Raises:
            StoreError: As for `claim`.
        """
        try:
            self.check()
        except StoreCorruptError:
            pass
        else:
            return None
        lock = self._paths.root_lock
        with locked(lock, timeout_s=self._timeout_s, what=f"The record of {self._paths.root}"):
            try:
                self.check()
            except StoreCorruptError:
                aside = self._paths.quarantine / f"store.json.{secrets.token_hex(4)}"
                with typed_errors(self._paths.record):
                    damaged = memoryview(self._paths.record.read_bytes())
                # A copy: there is never a moment without a record.
                replace(aside, damaged, temp_dir=self._paths.tmp, label=ROOT_LABEL)
                self._write(self._exchange)
                self.check()
                return aside
        return None

    def _is_claimed(self) -> bool:
        record = self._record
        if record is None or (self._sandbox is not None and record.sandbox is None):
            return False
        return record.exchange is not None or self._exchange is None

    def _write(self, exchange: str | None) -> None:
        record = RootRecord(FORMAT_VERSION, self._backend, exchange, self._sandbox)
        data = memoryview(encode(record))
        replace(self._paths.record, data, temp_dir=self._paths.tmp, label=ROOT_LABEL)

    def _check_without_record(self) -> None:
        if not self._is_old:
            backend = next(_backends_below(self._paths, self._backends), None)
            if backend is not None:
                self._refuse_other_backend(backend)
            elif not listed(self._paths.journal) and not listed(self._paths.coverage):
                return
            self._is_old = True
        if self._exchange not in {None, KRAKEN}:
            raise self._other_exchange(
                "was written by a krakked that did not note the exchange, and is taken for that of",
                KRAKEN,
                self._exchange,
            )

    def _refuse_other_backend(self, backend: str) -> None:
        if backend != self._backend:
            raise StoreError(
                f"{self._paths.root} holds {backend} files, and the backend is {self._backend}. "
                f"Set market_data.ohlc_store.backend to {backend}, or choose another root_dir.",
                path=str(self._paths.root),
            )

    def _other_exchange(
        self, found: str, stored: str | None, asked: str | None
    ) -> StoreExchangeError:
        mixture = ""
        if "+" in str(asked):
            mixture = "(rest.base_url and market_data.ws.url lead to different exchanges.) "
        return StoreExchangeError(
            f"{self._paths.root} {found} {stored}, and this program talks to {asked}. {mixture}"
            "Nothing was read or changed. Give each exchange a directory of its own "
            "(market_data.ohlc_store.root_dir).",
            path=str(self._paths.root),
            stored=str(stored),
            asked=str(asked),
        )


def _backends_below(paths: StorePaths, backends: Collection[str]) -> Iterator[str]:
    """Yield the file formats of partitions, as they are met."""
    for series in series_below(paths):
        for backend in backends:
            if partitions_of(paths, series, f".{backend}"):
                yield backend
