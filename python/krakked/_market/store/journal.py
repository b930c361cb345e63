"""The journal of live bars of one timeframe: appended, fsynced, set aside to be folded.

One file takes all pairs of a timeframe, so that a minute of 592 bars costs one write and one fsync
instead of 592 rewritten partitions.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from krakked._errors import StoreLockedError
from krakked._files.durable import make_directories, sync_directory, sync_file, write_all
from krakked._market.bars import OHLCBar
from krakked._market.store import journal_frames
from krakked._market.store.durable import locked, typed_errors
from krakked._market.store.fitness import why_unfit
from krakked._market.store.journal_frames import Entry
from krakked._market.store.layout import Series, StorePaths
from krakked._market.store.listing import journals, listed

_FRAME_ENTRIES: Final = 4096
"""A frame stays far below the largest one that is taken for sound."""
_PLAIN: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | _PLAIN


class Contents:
    """What has been read of one journal file."""

    def __init__(self, timeframe: str) -> None:
        self.by_pair: dict[str, list[OHLCBar]] = {}
        """Bars of each pair, oldest entry first."""
        self.problems: list[str] = []
        """What could not be read, in plain words; a torn tail is none."""
        self._timeframe = timeframe
        self._offset = 0

    def read_on(self, fd: int) -> None:
        """Take in what was written behind the offset; a torn tail is left for later."""
        found = journal_frames.scan(_read_from(fd, self._offset))
        for start, end in found.damaged:
            at = self._offset
            self.problems.append(f"bytes {at + start} to {at + end} are damaged")
        for payload in found.payloads:
            self._take(journal_frames.decode(payload))
        self._offset += found.end

    def _take(self, decoded: journal_frames.Decoded) -> None:
        if decoded.unreadable:
            self.problems.append(f"{decoded.unreadable} of its entries cannot be read")
        for pair, bar in decoded.entries:
            # A bar of an earlier krakked, which checked less, may be unfit.
            why = why_unfit(bar, Series(pair, self._timeframe))
            if why is None:
                self.by_pair.setdefault(pair, []).append(bar)
            else:
                self.problems.append(f"a bar of {pair!r:.40} is none: {why}")


class Journal:
    """Journal of one timeframe; thread- and process-safe."""

    def __init__(self, paths: StorePaths, timeframe: str, *, lock_timeout_s: float) -> None:
        self.timeframe = timeframe
        self._paths = paths
        self._path = paths.journal_of(timeframe)
        self._lock_path = paths.journal_lock(timeframe)
        self._what = f"The journal of {timeframe}"
        self._timeout_s = lock_timeout_s
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._end = 0
        self._known: dict[tuple[int, bytes], Contents] = {}

    def append(self, entries: Sequence[Entry]) -> None:
        """Write a batch; when this returns, all of it survives a power cut.

        Raises:
            StoreFullError: No space; nothing of the batch is kept.
            StoreLockedError: Another process kept the journal.
            StoreError: Any other refusal.
        """
        data = memoryview(b"".join(_frames(entries)))
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
        """Return a pair's bars that are not folded yet, oldest entry first."""
        if self.is_empty():
            return []  # and no lock file is made for it
        with self._held(), typed_errors(self._path):
            known: dict[tuple[int, bytes], Contents] = {}
            bars: list[OHLCBar] = []
            for path in self._files():
                with _opened(path) as fd:
                    # Inode numbers are used again; the head of the first frame holds a checksum.
                    identity = os.fstat(fd).st_ino, os.read(fd, 12)
                    contents = self._known.get(identity) or Contents(self.timeframe)
                    contents.read_on(fd)
                known[identity] = contents
                bars += contents.by_pair.get(pair, [])
            self._known = known
            return bars

    def set_aside(self) -> list[Path]:
        """Start a new file and name the ones to fold, oldest first; they are written no more."""
        with self._held(), typed_errors(self._path):
            self._drop()
            files = self._files()
            if files and files[-1] == self._path:
                newest = int(files[-2].suffix[1:]) if files[:-1] else 0
                files[-1] = self._free_name_after(newest)
                self._path.rename(files[-1])
                sync_directory(self._path.parent)
            return files

    def discard(self, path: Path, *, keep_in: Path | None = None) -> Path | None:
        """Remove a file that is folded; a damaged one is kept for people to look at.

        Returns:
            Where it is kept, if it is.
        """
        kept: Path | None = None
        with self._held(), typed_errors(path):
            if keep_in is None:
                path.unlink(missing_ok=True)
            else:
                make_directories(keep_in)
                kept = keep_in / f"{path.name}.{secrets.token_hex(4)}"
                path.rename(kept)
                sync_directory(keep_in)
            sync_directory(path.parent)
        return kept

    def close(self) -> None:
        """Let go of the file."""
        with self._mutex:
            self._drop()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        if not self._mutex.acquire(timeout=self._timeout_s):
            raise StoreLockedError(
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
        return journals(self._paths, self.timeframe)

    def _free_name_after(self, number: int) -> Path:
        taken = {entry.name for entry in listed(self._path.parent)}
        names = (f"{self._path.name}.{n}" for n in itertools.count(number + 1))
        return self._path.with_name(next(name for name in names if name not in taken))

    def _open_sound(self) -> int:
        """Return a descriptor of the active file whose end is the end of a sound frame."""
        if self._fd is not None and not self._is_active(self._fd):
            self._drop()
        if self._fd is None:
            make_directories(self._path.parent)
            self._fd = os.open(self._path, _FLAGS, 0o644)
            self._end = 0
            sync_directory(self._path.parent)
        if os.fstat(self._fd).st_size < self._end:
            self._end = 0  # somebody emptied it
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
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):  # all that was acknowledged is on the medium
                os.close(fd)


def _frames(entries: Sequence[Entry]) -> Iterator[bytes]:
    for start in range(0, len(entries), _FRAME_ENTRIES):
        batch = entries[start : start + _FRAME_ENTRIES]
        yield journal_frames.frame(journal_frames.encode(batch))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | _PLAIN)
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


def read(path: Path, timeframe: str) -> Contents:
    """Read a journal file whole; it is written no more, or only added to.

    Raises:
        StoreError: The operating system refused.
    """
    contents = Contents(timeframe)
    with typed_errors(path), _opened(path) as fd:
        contents.read_on(fd)
    return contents
