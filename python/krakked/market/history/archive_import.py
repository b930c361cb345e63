"""Importing Kraken's downloads: parsed in Rust, stored a partition at a time, resumable.

Blocking; async code calls it through `krakked.network.run_blocking`. Two things happen at once: one
piece is unpacked and parsed while the one before is written.
"""

from __future__ import annotations

import codecs
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from krakked._core import CandleBuilder, OhlcvtParser
from krakked.errors import ImportFormatError
from krakked.market.bars import Source
from krakked.market.history.archive import ArchiveFile, Skipped, find_files
from krakked.market.history.import_record import ImportRecord
from krakked.market.store.layout import partition_bounds, partition_of
from krakked.market.store.ohlc_store import OHLCStore
from krakked.market.timeframes import MINUTES, interval_s

PIECE_BYTES: Final = 1 << 20
"""Unpacked bytes parsed at a time."""

BATCH_ROWS: Final = 400_000
"""Rows after which whole partitions are handed to the store; bounds the memory of an import."""

TELL_EVERY_S: Final = 0.05
"""Seconds between two looks at the progress."""

TRADE_TIMEFRAMES: Final = tuple(label for label in MINUTES if label != "1w")
"""Timeframes that are built from trades (a week's alignment is unverified)."""


class ImportProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an import is."""

    label: str
    """File being read."""
    files: int
    """Files done."""
    files_in_all: int
    """Files to do."""
    read_bytes: int
    """Unpacked bytes read."""
    all_bytes: int
    """Unpacked bytes to read."""
    bars: int
    """Bars stored so far."""
    eta_s: float | None
    """Seconds left at the pace so far; None before it is known."""


class ImportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What one file brought to one series."""

    label: str
    """The file, with the member inside an archive."""
    pair: str
    """Canonical name of the pair it was stored under."""
    timeframe: str
    """Label such as ``1m``."""
    rows: int
    """Candles in the file, or built from its trades."""
    bars: int
    """Bars stored that were not stored before, or replaced weaker ones."""
    covered: tuple[int, int] | None
    """Range that is complete by this file; None when it was empty."""


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did."""

    files: tuple[ImportedFile, ...]
    """By file and timeframe."""
    known: tuple[str, ...]
    """Files that an earlier import had finished already."""
    skipped: tuple[Skipped, ...]
    """Files that were passed over, and why."""
    elapsed_s: float
    """How long it took."""

    @property
    def bars(self) -> int:
        """Bars stored in all."""
        return sum(file.bars for file in self.files)


ImportCallback = Callable[[ImportProgress], None]
"""Called about twenty times a second, from the thread that imports."""


def import_archive(
    store: OHLCStore,
    paths: Sequence[str | Path],
    *,
    pairs: Collection[str] | None = None,
    timeframes: Collection[str] | None = None,
    canonical: Callable[[str], str] | None = None,
    again: bool = False,
    progress: ImportCallback | None = None,
) -> ImportReport:
    """Import OHLCVT and time-and-sales files: zips as downloaded, folders, single CSVs.

    Archive candles have no vwap and rank below REST and numbered trades, above the live stream.
    From trades the last candle of each timeframe is left out: no file says that it is complete.
    Interrupted, it goes on with the first unfinished file when called again.

    Args:
        store: Where to.
        paths: Zips, folders, CSV files.
        pairs: Only these (canonical); None = all.
        timeframes: Only these labels; None = all.
        canonical: Turns a file's altname into the canonical name; None = as it is.
        again: Read files anew that an earlier import finished.
        progress: Told how far it is.

    Raises:
        ImportFormatError: A malformed line or a broken zip. The line and what follows in that file
            are not stored; whole partitions before it may be. Every other file is read first.
        UnknownTimeframeError: A label in `timeframes` is none.
        StoreError: The disk refused.
    """
    wanted = tuple(timeframes) if timeframes is not None else tuple(MINUTES)
    for label in wanted:
        interval_s(label)
    found, skipped = find_files([Path(path) for path in paths])
    record = ImportRecord(store)
    files: list[tuple[ArchiveFile, str]] = []
    known: list[str] = []
    for file in found:
        pair = canonical(file.pair) if canonical is not None else file.pair
        if (pairs is not None and pair not in pairs) or (
            file.timeframe is not None and file.timeframe not in wanted
        ):
            continue
        if not again and record.finished(file, pair):
            known.append(file.label)
            continue
        files.append((file, pair))
    job = _ImportJob(store, wanted, files, progress)
    imported: list[ImportedFile] = []
    failed: list[ImportFormatError] = []
    with ThreadPoolExecutor(1, thread_name_prefix="krakked-import") as writer:
        for file, pair in files:
            read = job.candles if file.timeframe else job.trades
            try:
                done = read(file, pair, writer)
            except ImportFormatError as error:
                failed.append(error)  # one bad file of thousands is no reason to leave the rest
            else:
                imported += done
                record.note(file, pair, done)
            job.next_file()
    if failed:
        raise _told(failed, len(files)) from failed[0]
    return ImportReport(
        files=tuple(imported),
        known=tuple(known),
        skipped=tuple(skipped),
        elapsed_s=job.elapsed_s,
    )


def import_series(store: OHLCStore, path: Path, pair: str, timeframe: str) -> int:
    """Import what an archive holds of one series; give the bars stored. As `import_archive`."""
    return import_archive(store, [path], pairs={pair}, timeframes={timeframe}).bars


def _told(failed: Sequence[ImportFormatError], files: int) -> ImportFormatError:
    """Make one error of those of several files."""
    text = str(failed[0])
    if len(failed) > 1:
        text += f" Likewise {len(failed) - 1} more: {', '.join(e.path for e in failed[1:6])}"
        text += ", ..." if len(failed) > 6 else "."
    if files > len(failed):
        text += f" The other {files - len(failed):,} files are imported."
    return ImportFormatError(text, path=failed[0].path, line=failed[0].line)


class _ImportJob:
    """Counts over all files, and the two ways to read one."""

    def __init__(
        self,
        store: OHLCStore,
        wanted: Collection[str],
        files: Sequence[tuple[ArchiveFile, str]],
        progress: ImportCallback | None,
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._files = len(files)
        self._bytes_in_all = sum(file.size_bytes for file, _ in files)
        self._progress = progress
        self._files_done = self._bytes = self._bars = 0
        self._began_s = self._told_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began_s

    def next_file(self) -> None:
        """Count a finished file."""
        self._files_done += 1

    def candles(
        self, file: ArchiveFile, pair: str, writer: ThreadPoolExecutor
    ) -> list[ImportedFile]:
        """Read one OHLCVT file."""
        timeframe = file.timeframe or ""
        parser = OhlcvtParser(file.minutes or 1)
        series = _SeriesWriter(self._store, writer, pair, timeframe)

        def feed(piece: bytes, is_last: bool) -> None:
            parser.feed(piece, is_last=is_last)
            if is_last:
                series.put(parser.take(), None)
            elif parser.rows >= BATCH_ROWS and parser.last_s is not None:
                # Whole partitions only: none is written twice.
                cut_s = partition_bounds(partition_of(timeframe, parser.last_s))[0]
                if cut_s > series.next_s:
                    series.put(parser.take(cut_s), cut_s)

        self._read(file, feed, lambda: series.stored)
        return [series.finish(file.label)]

    def trades(
        self, file: ArchiveFile, pair: str, writer: ThreadPoolExecutor
    ) -> list[ImportedFile]:
        """Read one time-and-sales file into every timeframe wanted."""
        labels = [label for label in TRADE_TIMEFRAMES if label in self._wanted]
        if not labels:
            return []
        builder = CandleBuilder([MINUTES[label] for label in labels])
        all_series = {label: _SeriesWriter(self._store, writer, pair, label) for label in labels}

        def feed(piece: bytes, is_last: bool) -> None:
            builder.add_csv(piece, is_last=is_last)
            for label, series in all_series.items():
                newest_s = builder.newest_s(MINUTES[label])
                if newest_s is None:
                    continue
                if is_last:
                    series.put(builder.take(MINUTES[label], newest_s), newest_s)
                elif builder.pending(MINUTES[label]) >= BATCH_ROWS:
                    cut_s = partition_bounds(partition_of(label, newest_s))[0]
                    if cut_s > series.next_s:
                        series.put(builder.take(MINUTES[label], cut_s), cut_s)

        self._read(file, feed, lambda: sum(series.stored for series in all_series.values()))
        return [series.finish(file.label) for series in all_series.values()]

    def _read(
        self, file: ArchiveFile, feed: Callable[[bytes, bool], None], stored: Callable[[], int]
    ) -> None:
        line: int | None = None
        try:
            with file.open() as stream:
                piece = stream.read(PIECE_BYTES).removeprefix(codecs.BOM_UTF8)
                while True:
                    after = stream.read(PIECE_BYTES) if piece else b""
                    feed(piece, not after)
                    self._bytes += len(piece)
                    self._tell(file.label, self._bars + stored())
                    if not after:
                        break
                    piece = after
        except ValueError as error:
            problem, line = error.args if len(error.args) == 2 else (str(error), None)
            where = f", line {line}" if line is not None else ""
            raise ImportFormatError(
                f"{file.label}{where}: {problem}. That line and what follows it were not stored.",
                path=file.label,
                line=line,
            ) from error
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise ImportFormatError(
                f"{file.label} cannot be read ({error}). Is the download complete?",
                path=file.label,
            ) from error
        self._bars += stored()

    def _tell(self, label: str, bars: int) -> None:
        now_s = time.monotonic()
        if self._progress is None or (now_s - self._told_s < TELL_EVERY_S):
            return
        self._told_s = now_s
        left = self._bytes_in_all - self._bytes
        self._progress(
            ImportProgress(
                label=label,
                files=self._files_done,
                files_in_all=self._files,
                read_bytes=self._bytes,
                all_bytes=self._bytes_in_all,
                bars=bars,
                eta_s=self.elapsed_s / self._bytes * left if self._bytes else None,
            )
        )


class _SeriesWriter:
    """Hands the columns of one series to the store, one batch behind the reader."""

    def __init__(
        self, store: OHLCStore, writer: ThreadPoolExecutor, pair: str, timeframe: str
    ) -> None:
        self._store = store
        self._writer = writer
        self._pair = pair
        self._timeframe = timeframe
        self._step_s = interval_s(timeframe)
        self._pending: Future[int] | None = None
        self._rows = 0
        self._first_s: int | None = None
        self.stored = 0
        self.next_s = 0

    def put(self, columns: dict[str, bytes], end_s: int | None) -> None:
        """Store candles; everything before `end_s` (None: the end of the last one) is complete."""
        times = memoryview(columns["time"]).cast("q")
        if not len(times):
            return
        start_s = times[0] if self._first_s is None else self.next_s
        end_s = times[-1] + self._step_s if end_s is None else end_s
        if self._first_s is None:
            self._first_s = start_s
        self._settle()
        self._rows += len(times)
        self.next_s = end_s
        self._pending = self._writer.submit(
            self._store.import_columns,
            self._pair,
            self._timeframe,
            columns,
            Source.ARCHIVE,
            (start_s, end_s),
        )

    def finish(self, label: str) -> ImportedFile:
        """Wait for the last batch."""
        self._settle()
        return ImportedFile(
            label=label,
            pair=self._pair,
            timeframe=self._timeframe,
            rows=self._rows,
            bars=self.stored,
            covered=None if self._first_s is None else (self._first_s, self.next_s),
        )

    def _settle(self) -> None:
        if self._pending is not None:
            self.stored += self._pending.result()
            self._pending = None
