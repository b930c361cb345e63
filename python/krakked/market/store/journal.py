"""The journal of live bars of one timeframe: appended, fsynced, set aside to be folded.

One file takes all pairs of a timeframe, so that a minute of 592 bars costs one write and one fsync
instead of 592 rewritten partitions.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from krakked._files.durable import make_directories, sync_directory, sync_file, write_all
from krakked.errors import LockTimeoutError
from krakked.market.bars import OHLCBar
from krakked.market.store import journal_frames
from krakked.market.store.durable import locked, typed_errors
from krakked.market.store.journal_frames import Entry
from krakked.market.store.layout import StorePaths

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)


class _Parsed:
    """What has been read of one journal file."""

    def __init__(self) -> None:
        self.offset = 0
        self.by_pair: dict[str, list[OHLCBar]] = {}

    def read_on(self, fd: int) -> None:
        """Take in what was written behind the offset; a torn tail is left for later."""
        found = journal_frames.scan(_read_from(fd, self.offset))
        for payload in found.payloads:
            for pair, bar in journal_frames.decode(payload):
                self.by_pair.setdefault(pair, []).append(bar)
        self.offset += found.end


class Journal:
    """Journal of one timeframe; thread- and process-safe."""

    def __init__(self, paths: StorePaths, timeframe: str, *, lock_timeout_s: float) -> None:
        self._path = paths.journal_of(timeframe)
        self._lock_path = paths.journal_lock(timeframe)
        self._what = f"The journal of {timeframe}"
        self._timeout_s = lock_timeout_s
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._end = 0
        self._parsed: dict[tuple[int, bytes], _Parsed] = {}

    def append(self, entries: Sequence[Entry]) -> None:
        """Write a batch as one frame; when this returns, all of it survives a power cut.

        Raises:
            StoreFullError: No space; nothing of the batch is kept.
            StoreError: Any other refusal.
            LockTimeoutError: Another process kept the journal.
        """
        data = memoryview(journal_frames.frame(journal_frames.encode(entries)))
        with self._held(), typed_errors(self._path):
            fd = self._open_sound()
            try:
                write_all(fd, data)
                sync_file(fd)
            except BaseException:
                # Not acknowledged: take it back. The descriptor goes too, as what a failed fsync
                # left behind it is unknown; the next writer reads the file anew.
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, self._end)
                self._drop()
                raise
            self._end += len(data)

    def is_empty(self) -> bool:
        """Whether there is no file at all, neither active nor set aside."""
        return not self._files()

    def entries_of(self, pair: str) -> list[OHLCBar]:
        """Give a pair's bars that are not folded yet, oldest entry first."""
        if self.is_empty():
            return []  # and no lock file is made for it
        with self._held(), typed_errors(self._path):
            parsed: dict[tuple[int, bytes], _Parsed] = {}
            bars: list[OHLCBar] = []
            for path in self._files():
                with _opened(path) as fd:
                    # Inode numbers are used again; the head of the first frame holds a checksum.
                    identity = os.fstat(fd).st_ino, os.read(fd, 12)
                    known = self._parsed.get(identity, _Parsed())
                    known.read_on(fd)
                parsed[identity] = known
                bars += known.by_pair.get(pair, [])
            self._parsed = parsed
            return bars

    def set_aside(self) -> list[Path]:
        """Start a new file and name the ones to fold, oldest first; they are written no more."""
        with self._held(), typed_errors(self._path):
            self._drop()
            aside = _aside(self._path)
            if self._path.exists():
                number = int(aside[-1].suffix[1:]) + 1 if aside else 1
                target = self._path.with_name(f"{self._path.name}.{number}")
                self._path.rename(target)
                sync_directory(self._path.parent)
                aside.append(target)
            return aside

    def discard(self, path: Path, *, keep_in: Path | None = None) -> None:
        """Remove a file that is folded; a damaged one is kept for people to look at."""
        with self._held(), typed_errors(path):
            if keep_in is None:
                path.unlink(missing_ok=True)
            else:
                make_directories(keep_in)
                path.rename(keep_in / f"{path.name}.{os.getpid()}")
            sync_directory(path.parent)

    def close(self) -> None:
        """Let go of the file."""
        with self._mutex:
            self._drop()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        if not self._mutex.acquire(timeout=self._timeout_s):
            raise LockTimeoutError(
                f"{self._what} is being written by another thread.",
                path=str(self._lock_path),
                holder_pid=os.getpid(),
            )
        try:
            with locked(self._lock_path, timeout_s=self._timeout_s, what=self._what):
                yield
        finally:
            self._mutex.release()

    def _files(self) -> list[Path]:
        aside = _aside(self._path)
        return [*aside, self._path] if self._path.exists() else aside

    def _open_sound(self) -> int:
        """Give a descriptor of the active file whose end is the end of a sound frame."""
        if self._fd is not None and not self._is_active(self._fd):
            self._drop()
        if self._fd is None:
            make_directories(self._path.parent)
            self._fd = os.open(self._path, _FLAGS, 0o644)
            self._end = 0
            sync_directory(self._path.parent)
        if os.fstat(self._fd).st_size != self._end:
            # Another process wrote here, or one was killed in mid-write.
            self._end += journal_frames.scan(_read_from(self._fd, self._end)).end
            if os.fstat(self._fd).st_size != self._end:
                os.ftruncate(self._fd, self._end)
        return self._fd

    def _is_active(self, fd: int) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(fd))

    def _drop(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _aside(path: Path) -> list[Path]:
    found = [p for p in path.parent.glob(f"{path.name}.*") if p.suffix[1:].isdigit()]
    return sorted(found, key=lambda p: int(p.suffix[1:]))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        yield fd
    finally:
        os.close(fd)


def _read_from(fd: int, offset: int) -> bytes:
    pieces: list[bytes] = []
    os.lseek(fd, offset, os.SEEK_SET)  # an appending descriptor still writes at the end
    while piece := os.read(fd, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def read(path: Path) -> tuple[list[Entry], list[tuple[int, int]], int]:
    """Read a journal file whole: entries, damaged stretches, bytes of a torn tail."""
    with typed_errors(path):
        data = path.read_bytes()
    found = journal_frames.scan(data)
    entries = [entry for payload in found.payloads for entry in journal_frames.decode(payload)]
    return entries, found.damaged, len(data) - found.end
