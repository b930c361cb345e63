"""Kraken's downloads as they lie on disk: which files are in there and what each of them is.

The OHLCVT archive holds ``<ALTNAME>_<minutes>.csv``, the time-and-sales archive ``<ALTNAME>.csv``.
Both come as a zip with nested folders and macOS junk, or unpacked. Source: Kraken support articles
"Downloadable historical OHLCVT data" and "Downloadable historical market data (time and sales)".
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

import msgspec

from krakked.errors import ImportFormatError
from krakked.market.timeframes import LABELS

ARCHIVE_MINUTES: Final = frozenset({1, 5, 15, 30, 60, 240, 720, 1440})
"""Intervals in Kraken's OHLCVT archive; 720 is known to no other interface."""

_OHLCVT: Final = re.compile(r"(?P<pair>[A-Za-z0-9]+(\.d)?)_(?P<minutes>[0-9]+)")
_TRADES: Final = re.compile(r"[A-Za-z0-9]+(\.d)?")


class ArchiveFile(msgspec.Struct, frozen=True, kw_only=True):
    """One CSV file worth importing."""

    path: Path
    """The file, or the zip that holds it."""
    member: str | None
    """Name inside the zip."""
    pair: str
    """Altname in the file's name."""
    minutes: int | None
    """Interval of the candles; None: trades."""
    size_bytes: int
    """Size, unpacked."""
    mark: str
    """Tells this very content from another under the same name (CRC, or time of change)."""

    @property
    def timeframe(self) -> str | None:
        """Label of the candles' interval; None: trades, or an interval krakked has no label for."""
        return None if self.minutes is None else LABELS.get(self.minutes)

    @property
    def label(self) -> str:
        """The file's name for messages, the member of an archive included."""
        return str(self.path) if self.member is None else f"{self.path}!{self.member}"

    def open(self) -> IO[bytes]:
        """Open the content; close the result (and with it the zip)."""
        if self.member is None:
            return self.path.open("rb")
        return cast("IO[bytes]", _Member(self.path, self.member))


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was passed over."""

    label: str
    """The file, with the member inside an archive."""
    why: str
    """The reason, in plain words."""


class _Member:
    """A member of a zip that closes the zip with itself."""

    def __init__(self, path: Path, member: str) -> None:
        self._zip = zipfile.ZipFile(path)
        try:
            self._stream = self._zip.open(member)
        except BaseException:
            self._zip.close()
            raise

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` unpacked bytes."""
        return self._stream.read(size)

    def close(self) -> None:
        """Close member and zip."""
        self._stream.close()
        self._zip.close()

    def __enter__(self) -> _Member:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_files(paths: Iterable[Path]) -> tuple[list[ArchiveFile], list[Skipped]]:
    """Find what can be imported in zips, folders and CSV files.

    Returns:
        The files, by pair and interval, candles before trades, older archives (by name) first; and
        what was passed over. macOS junk is passed over in silence.

    Raises:
        ImportFormatError: A path does not exist, or a zip is none.
    """
    found: dict[str, ArchiveFile | Skipped] = {}
    for path in paths:
        for each in _look_at(path.expanduser().absolute()):
            found[each.label] = each
    files = [each for each in found.values() if isinstance(each, ArchiveFile)]
    skipped = [each for each in found.values() if isinstance(each, Skipped)]
    files.sort(key=lambda f: (f.minutes is None, f.pair, f.minutes or 0, str(f.path)))
    return files, skipped


def _look_at(path: Path) -> Iterator[ArchiveFile | Skipped]:
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.suffix.lower() in {".csv", ".zip"} and inner.is_file() and not _junk(inner):
                yield from _look_at(inner)
        return
    if not path.is_file():
        raise ImportFormatError(f"There is no such file or folder: {path}.", path=str(path))
    if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        yield from _look_into_zip(path)
        return
    stat = path.stat()
    yield _judge(path, None, path.name, stat.st_size, f"{stat.st_mtime_ns}")


def _look_into_zip(path: Path) -> Iterator[ArchiveFile | Skipped]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ImportFormatError(
            f"{path} cannot be read as a zip ({error}). Is the download complete?", path=str(path)
        ) from error
    for member in members:
        inner = PurePosixPath(member.filename)
        if member.is_dir() or _junk(inner):
            continue
        if inner.suffix.lower() != ".csv":
            yield Skipped(label=f"{path}!{member.filename}", why="it is no CSV file.")
            continue
        yield _judge(path, member.filename, inner.name, member.file_size, f"{member.CRC:08x}")


def _junk(path: Path | PurePosixPath) -> bool:
    return any(part == "__MACOSX" or part.startswith(".") for part in path.parts if part != "..")


def _judge(
    path: Path, member: str | None, name: str, size: int, mark: str
) -> ArchiveFile | Skipped:
    label = str(path) if member is None else f"{path}!{member}"
    stem = name[: -len(".csv")] if name.lower().endswith(".csv") else name
    candles = _OHLCVT.fullmatch(stem)
    minutes = int(candles["minutes"]) if candles is not None else None
    if candles is None and _TRADES.fullmatch(stem) is None:
        return Skipped(label=label, why="its name is neither ALTNAME_minutes.csv nor ALTNAME.csv.")
    if minutes is not None and minutes not in ARCHIVE_MINUTES:
        return Skipped(label=label, why=f"Kraken's archive has no candles of {minutes} minutes.")
    if minutes is not None and minutes not in LABELS:
        return Skipped(label=label, why=f"krakked keeps no candles of {minutes} minutes.")
    return ArchiveFile(
        path=path,
        member=member,
        pair=stem if candles is None else candles["pair"],
        minutes=minutes,
        size_bytes=size,
        mark=mark,
    )
