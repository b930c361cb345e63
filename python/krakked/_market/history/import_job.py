"""Reading some files of an archive into a store: what one process does of an import.

Two things happen at once: one piece is unpacked and parsed while the one before is written.
"""

from __future__ import annotations

import contextlib
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from krakked._errors import ImportFormatError
from krakked._market.history.archive import ArchiveFile, Zips
from krakked._market.history.archive_order import OrderedFile
from krakked._market.history.archive_series import (
    CandleReader,
    NoCandlesError,
    SeriesReader,
    SeriesWriter,
    TradeReader,
)
from krakked._market.history.import_record import ImportRecord
from krakked._market.history.import_report import (
    BadLine,
    BadLines,
    ImportCallback,
    ImportedFile,
    ImportProgress,
    SkippedFile,
)
from krakked._market.store.ohlc_store import OHLCStore
from krakked._timeframes import TRADE_TIMEFRAMES

PIECE_BYTES: Final = 1 << 20
"""Unpacked bytes parsed at a time."""

TELL_EVERY_S: Final = 0.05
"""Seconds between two looks at the progress."""

_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)

PairFile = tuple[ArchiveFile, str]
"""A file, and the name of the pair to store it under."""


class ImportTask(NamedTuple):
    """How files are to be read."""

    wanted: tuple[str, ...]
    """Labels of the timeframes."""
    now_s: int
    """Unix seconds; what has not ended then is refused."""
    strict: bool
    """Whether a file ends at its first bad line."""


class FilesDone(NamedTuple):
    """What came of some files."""

    imported: list[ImportedFile]
    skipped: list[SkippedFile]
    failed: list[SkippedFile]
    bad: list[BadLines]
    errors: list[ImportFormatError]


class Teller:
    """Tells how far an import is: now and then, and with the time left at the pace so far."""

    def __init__(self, files: Sequence[PairFile], told: ImportCallback | None) -> None:
        self._files = len(files)
        self._bytes = sum(file.size_bytes for file, _ in files)
        self._told = told
        self._began_s = self._told_s = time.monotonic()

    def tell(self, label: str, files: int, read_bytes: int, bars: int) -> None:
        """Tell it, unless that was done just now."""
        now_s = time.monotonic()
        if self._told is None or now_s - self._told_s < TELL_EVERY_S:
            return
        self._told_s = now_s
        pace_s = (now_s - self._began_s) / read_bytes if read_bytes else None
        self._told(
            ImportProgress(
                label=label,
                files=files,
                files_in_all=self._files,
                read_bytes=read_bytes,
                all_bytes=self._bytes,
                bars=bars,
                eta_s=None if pace_s is None else pace_s * (self._bytes - read_bytes),
            )
        )


def read_files(  # noqa: PLR0917 - two places call it
    store: OHLCStore,
    files: Sequence[PairFile],
    task: ImportTask,
    record: ImportRecord,
    zips: Zips,
    progress: ImportCallback | None,
) -> FilesDone:
    """Read files one after the other, and note each that was read to its end.

    Raises:
        StoreError: The disk refused.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="krakked-import") as writer:
        job = _ImportJob(store, task, zips, writer, Teller(files, progress))
        for file, pair in files:
            done = job.read(file, pair)
            if done is not None:
                record.note(file, pair, done)
    return job.done


class _ImportJob:
    """Counts over all files, and the two ways to read one."""

    def __init__(
        self,
        store: OHLCStore,
        task: ImportTask,
        zips: Zips,
        writer: ThreadPoolExecutor,
        teller: Teller,
    ) -> None:
        self._store = store
        self._task = task
        self._zips = zips
        self._writer = writer
        self._teller = teller
        self._files_done = self._bytes = self._bars = 0
        self.done = FilesDone([], [], [], [], [])
        self._number: Callable[[int], int] = int
        """Gives the number in the file of a line that was read as number so and so."""

    def read(self, file: ArchiveFile, pair: str) -> list[ImportedFile] | None:
        """Read one file and count it; None when it was not read to its end."""
        reader: SeriesReader
        if file.timeframe is not None:
            reader = CandleReader(file, self._series(pair, file.timeframe), self._task.now_s)
        else:
            labels = [label for label in TRADE_TIMEFRAMES if label in self._task.wanted]
            reader = TradeReader([self._series(pair, label) for label in labels], self._task.now_s)
        done: list[ImportedFile] | None = None
        try:
            self._pieces(file, reader)
        except ImportFormatError as error:
            # One bad file of thousands is no reason to leave the rest.
            self.done.errors.append(error)
            reader.finish(file.label)
        except NoCandlesError as error:
            self.done.skipped.append(SkippedFile(label=file.label, why=str(error)))
            reader.finish(file.label)
        except _UNREADABLE as error:
            why = f"it cannot be read to its end ({error}). Is the download complete?"
            self.done.errors.append(ImportFormatError(f"{file.label}: {why}", path=file.label))
            self.done.failed.append(SkippedFile(label=file.label, why=why, unreadable=True))
            if isinstance(error, EOFError) and not self._task.strict:
                reader.parse(b"", is_last=True)  # cut off: what came before is good
                with contextlib.suppress(NoCandlesError):
                    reader.hand_on(is_last=True)
            self._count(file, reader)
        else:
            done = self._count(file, reader)
        self._files_done += 1
        return done

    def _series(self, pair: str, timeframe: str) -> SeriesWriter:
        return SeriesWriter(self._store, self._writer, pair, timeframe)

    def _pieces(self, file: ArchiveFile, reader: SeriesReader) -> None:
        self._number = int
        with OrderedFile(file, self._zips) as ordered:
            stream = ordered.lines()
            piece = stream.read(PIECE_BYTES)
            while True:
                try:
                    after = stream.read(PIECE_BYTES) if piece else b""
                except EOFError:
                    reader.parse(piece, is_last=False)
                    raise
                reader.parse(piece, is_last=not after)
                count, first = reader.bad_lines()
                if count and self._task.strict:
                    line, problem = first[0]
                    raise _malformed(file, stream.number(line), problem)
                reader.hand_on(is_last=not after)
                self._bytes += len(piece)
                bars = self._bars + reader.stored
                self._teller.tell(file.label, self._files_done, self._bytes, bars)
                if not after:
                    self._number = stream.number
                    return
                piece = after

    def _count(self, file: ArchiveFile, reader: SeriesReader) -> list[ImportedFile]:
        done = reader.finish(file.label)
        count, first = reader.bad_lines()
        if count:
            number = self._number
            lines = tuple(BadLine(line=number(line), problem=problem) for line, problem in first)
            self.done.bad.append(BadLines(label=file.label, count=count, first=lines))
        self._bars += reader.stored
        self.done.imported.extend(done)
        return done


def _malformed(file: ArchiveFile, line: int, problem: str) -> ImportFormatError:
    return ImportFormatError(
        f"{file.label}, line {line}: {problem}. That line and what follows it were not stored.",
        path=file.label,
        line=line,
    )
