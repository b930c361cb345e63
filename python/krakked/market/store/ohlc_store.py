"""The candle store: the one way in and out of the files.

Everything is synchronous and may be used from several threads and processes at once; async code
calls it through `krakked.network.run_blocking`. What a method has acknowledged by returning
survives kill -9 and a power cut.

Long because every way in has its manual here.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from krakked.config.settings import StoreBackend
from krakked.errors import StoreCorruptError, StoreError
from krakked.market.bars import OHLCBar, Source
from krakked.market.store import columns, folding, gap_truth, merge, sweep, upkeep
from krakked.market.store.coverage import CoverageRange, Gap
from krakked.market.store.csv_files import CsvFiles
from krakked.market.store.durable import locked
from krakked.market.store.filesystem import warn_if_remote
from krakked.market.store.folding import FoldReport
from krakked.market.store.journal import Journal
from krakked.market.store.layout import Series, StorePaths, quote_pair
from krakked.market.store.parquet_files import ParquetFiles
from krakked.market.store.partition_files import PartitionFiles
from krakked.market.store.root_record import Root
from krakked.market.store.series_files import SeriesFiles
from krakked.market.store.upkeep import CompactReport, Finding, RepairReport
from krakked.market.timeframes import MINUTES, interval_s

_FORMATS: Mapping[StoreBackend, type[PartitionFiles]] = {
    StoreBackend.PARQUET: ParquetFiles,
    StoreBackend.CSV: CsvFiles,
}


class OHLCStore:
    """Closed candles on disk, by pair and timeframe.

    Args:
        root: Directory of the store; `~` is expanded; made by the first write.
        backend: ``parquet`` or ``csv``.
        lock_timeout_s: Longest wait for another writer of the same series, in seconds.
        canonical: Turns any spelling of a pair into its canonical name, and gives others back as
            they are; None takes every name for canonical. The store of `open_kraken` has one.
        exchange: Identity of the exchange whose candles are written and read, such as ``kraken``;
            the first one to write here owns the store. None claims nothing: for archives, and for
            programs that look at a store of any exchange.

    Raises:
        StoreExchangeError: The store holds candles of another exchange; its own reads and writes
            raise it too, since another program may have been first.
        StoreVersionError: A newer krakked wrote it; likewise.
        StoreError: Unknown backend, the directory cannot be used, or it holds files of the other
            backend.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        backend: str = "parquet",
        lock_timeout_s: float = 30.0,
        canonical: Callable[[str], str] | None = None,
        exchange: str | None = None,
    ) -> None:
        try:
            self.backend = StoreBackend(backend)
        except ValueError:
            raise StoreError(f"Unknown backend {backend!r}. Use parquet or csv.") from None
        self.root = Path(root).expanduser().absolute()
        self._paths = StorePaths(self.root)
        self._files: PartitionFiles = _FORMATS[self.backend]()
        self._timeout_s = lock_timeout_s
        self._canonical = canonical or str
        self._journals = {
            label: Journal(self._paths, label, lock_timeout_s=lock_timeout_s) for label in MINUTES
        }
        self._wrote_journal = False
        self._root = Root(
            self._paths, self.backend, set(StoreBackend), exchange, lock_timeout_s=lock_timeout_s
        )
        with contextlib.suppress(StoreCorruptError):  # every use says so, and `repair` mends it
            self._root.check()
        warn_if_remote(self.root)
        sweep.sweep_temps(self._paths)

    # --- writing -----------------------------------------------------------------------------

    def append_bars(
        self,
        pair: str,
        timeframe: str,
        bars: Iterable[OHLCBar],
        *,
        source: Source = Source.REST,
        covered: tuple[int, int] | None = None,
        unsettled_from: int | None = None,
    ) -> int:
        """Store closed bars, in any order; bars already there are merged by rank, never doubled.

        Args:
            pair: Canonical name.
            timeframe: Label such as ``1m``.
            bars: The bars. A vwap is dropped where count is 0.
            source: Where they come from. A weaker source never replaces a stronger one.
            covered: Range (first open time, end of the last interval; unix seconds) that the
                source has answered for as a whole: intervals in it without a bar did not trade and
                are filled in where the close before is known. None claims nothing.
            unsettled_from: Second from which on REST may still revise what it has answered.

        Returns:
            How many of the bars are stored that were not before, or replaced another one.

        Raises:
            StoreError: The bars, the disk or the files are unfit; `StoreFullError` and
                `StoreCorruptError` are kinds of it. Partitions are old or new, never half.
            LockTimeoutError: Another process kept the series.
        """
        table = columns.table_of_bars(bars, source)
        series = self._series(pair, timeframe)
        return self._store(series, table, source, covered, unsettled_from)

    def import_columns(
        self,
        pair: str,
        timeframe: str,
        buffers: Mapping[str, Any],
        source: Source,
        covered: tuple[int, int] | None = None,
    ) -> int:
        """Store many bars at once from raw columns, whole partitions at a time.

        Args:
            pair: Canonical name.
            timeframe: Label such as ``1m``.
            buffers: Little-endian columns by name, uncopied: int64 `time` and `count`, float64
                `open`, `high`, `low`, `close`, `volume`, and `vwap` (may be missing; NaN is none).
                Anything with the buffer protocol.
            source: Where they come from.
            covered: As for `append_bars`.

        Returns:
            As `append_bars`, and the same errors.
        """
        table = columns.table_of_buffers(buffers, source)
        return self._store(self._series(pair, timeframe), table, source, covered)

    def mark_unavailable(
        self, pair: str, timeframe: str, stretches: Iterable[tuple[int, int]]
    ) -> None:
        """Remember stretches that were asked for in vain, until some source covers them.

        Raises:
            StoreError: The record could not be read or written.
            LockTimeoutError: Another process kept the series.
        """
        series = self._series(pair, timeframe)
        with self._locked(series):
            known = upkeep.coverage_to_write(self._paths, self._files, series)
            marked = known.with_unavailable(stretches)
            if marked is not known:
                upkeep.write_coverage(self._paths, self._files, series, marked)

    def _store(
        self,
        series: Series,
        table: pa.Table,
        source: Source,
        covered: tuple[int, int] | None,
        unsettled_from: int | None = None,
    ) -> int:
        columns.check(table, series)
        if covered is not None:
            columns.check_range(series, covered)
            if source is Source.PARTIAL:
                raise StoreError(f"{series}: candles that may not be whole answer for no range.")
        new = merge.unique(table)
        files = self._series_files(series)
        self._root.claim()
        with self._locked(series):
            known = upkeep.coverage_to_write(self._paths, self._files, series)
            grown = known
            if covered is not None:
                grown = known.with_range(source, covered, unsettled_from=unsettled_from)
            stored = files.apply(new, covered, grown)
            if grown is not known:
                # After the bars: a range is claimed only once everything in it is durable.
                upkeep.write_coverage(self._paths, self._files, series, grown)
        return stored

    # --- reading -----------------------------------------------------------------------------

    def get_bars(
        self,
        pair: str,
        timeframe: str,
        *,
        lookback: int | None = None,
        since: int | None = None,
        until: int | None = None,
        provisional: bool = False,
    ) -> list[OHLCBar]:
        """Give stored bars, oldest first; fewer than asked when there are fewer.

        Args:
            pair: Canonical name.
            timeframe: Label such as ``1m``.
            lookback: Only this many of the newest.
            since: Only open times from here on (unix seconds, included).
            until: Only open times before this (excluded).
            provisional: Whether bars that only the WebSocket has reported count.

        Raises:
            UnknownTimeframeError: No such timeframe.
            StoreCorruptError: A file fails its checksums; nothing wrong is handed out.
            StoreError: The files could not be read.
        """
        table = self.get_columns(
            pair, timeframe, lookback=lookback, since=since, until=until, provisional=provisional
        )
        return columns.bars_of_table(table)

    def get_columns(
        self,
        pair: str,
        timeframe: str,
        *,
        lookback: int | None = None,
        since: int | None = None,
        until: int | None = None,
        provisional: bool = False,
    ) -> pa.Table:
        """Give the same as `get_bars` as a `pyarrow.Table`.

        Columns: those of `OHLCBar`, then `source` (int8, `Source`). For other libraries see
        `krakked.market.store.columns.convert`.
        """
        series = self._series(pair, timeframe)
        if lookback is not None and lookback < 0:
            raise ValueError(f"lookback is {lookback}; it can't be negative")
        if lookback == 0:
            return columns.EMPTY
        self._root.check()
        # The journal first: folding moves bars from it to the files, so none is missed in between.
        live = self._live_table(series, since, until) if provisional else columns.EMPTY
        table = self._series_files(series).read(since, until, lookback, provisional)
        table = merge.merge(table, live).table
        if lookback is not None and table.num_rows > lookback:
            table = table.slice(table.num_rows - lookback)
        return table

    def last_closed(self, pair: str, timeframe: str, *, provisional: bool = False) -> int | None:
        """Give the open time of the newest stored bar in unix seconds, or None."""
        table = self.get_columns(pair, timeframe, lookback=1, provisional=provisional)
        return int(columns.times(table)[0]) if table.num_rows else None

    def first_stored(self, pair: str, timeframe: str, *, provisional: bool = False) -> int | None:
        """Give the open time of the oldest stored bar in unix seconds, or None."""
        series = self._series(pair, timeframe)
        self._root.check()
        for table in self._series_files(series).tables(None, None, provisional):
            if table.num_rows:
                return int(columns.times(table)[0])
        return None

    def coverage(self, pair: str, timeframe: str) -> tuple[CoverageRange, ...]:
        """Give the ranges that sources have answered for: strongest source first, then by time.

        Raises:
            StoreCorruptError: The record of them is damaged.
        """
        series = self._series(pair, timeframe)
        self._root.check()
        return upkeep.credible_coverage(self._paths, self._files, series).ranges()

    def unavailable(self, pair: str, timeframe: str) -> tuple[tuple[int, int], ...]:
        """Give the stretches that were asked for in vain, in order; see `mark_unavailable`."""
        series = self._series(pair, timeframe)
        return upkeep.credible_coverage(self._paths, self._files, series).unavailable

    def gaps(
        self,
        pair: str,
        timeframe: str,
        since: int | None = None,
        until: int | None = None,
        *,
        provisional: bool = False,
    ) -> list[Gap]:
        """Give the stretches without traded bars, telling missing ones from those without trades.

        Args:
            pair: Canonical name.
            timeframe: Label such as ``1m``.
            since: Start of the window; else the first bar or covered second.
            until: End of the window (excluded); else the end of the last bar or covered range.
            provisional: Whether a bar that only the WebSocket has reported is enough.

        Raises:
            StoreError: As for `get_bars`.
        """
        series = self._series(pair, timeframe)
        self._root.check()
        known = upkeep.credible_coverage(self._paths, self._files, series)
        live = self._live_table(series, since, until) if provisional else columns.EMPTY
        stored = self._series_files(series).tables(since, until, provisional)
        tables = itertools.chain([live], stored)
        return gap_truth.gaps(tables, known, series.step_s, since, until)

    def series(self) -> list[tuple[str, str]]:
        """Give (pair, timeframe) of everything stored, in order."""
        self._root.check()
        return [(s.pair, s.timeframe) for s in upkeep.all_series(self._paths)]

    # --- the journal of live bars --------------------------------------------------------------

    def append_provisional(self, timeframe: str, entries: Sequence[tuple[str, OHLCBar]]) -> None:
        """Accept closed bars of the live stream, of any pairs of one timeframe, with one fsync.

        They are seen with ``provisional=True`` only, until a stronger source confirms them.

        Raises:
            StoreError: A bar is unfit (nothing is stored then), or the disk refused.
            LockTimeoutError: Another process kept the journal.
        """
        step_s = interval_s(timeframe)
        if not entries:
            return
        entries = [(self._canonical(pair), bar) for pair, bar in entries]
        for pair, bar in entries:
            quote_pair(pair)
            numbers = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.vwap or 0.0)
            off_grid = bar.time % step_s and Series(pair, timeframe).aligned
            if off_grid or bar.time < 0 or not all(map(math.isfinite, numbers)):
                raise StoreError(f"{pair} {timeframe}: not a closed bar: {bar}.")
        self._root.claim()
        self._journals[timeframe].append(entries)
        self._wrote_journal = True

    def fold_journal(self) -> FoldReport:
        """Move the journal's bars into the partitions; call it hourly, `close` does it too.

        Safe against kill at any point: folding the same bars again changes nothing. Bars accepted
        meanwhile go to a new journal file.

        Raises:
            StoreError: Some series could not be written; its bars stay in the journal.
        """
        bars = series = 0
        failed: StoreError | None = None
        self._root.check()
        for timeframe, live in self._journals.items():
            if live.is_empty():
                continue
            lock = self._paths.fold_lock(timeframe)
            append = partial(self._append_provisional, timeframe)
            with locked(lock, timeout_s=self._timeout_s, what=f"The journal of {timeframe}"):
                stored, seen, error = folding.fold(live, append, self._paths.quarantine)
            bars, series, failed = bars + stored, series + seen, failed or error
        if failed is not None:
            raise failed
        return FoldReport(bars=bars, series=series)

    def _append_provisional(self, timeframe: str, pair: str, bars: list[OHLCBar]) -> int:
        return self.append_bars(pair, timeframe, bars, source=Source.WEBSOCKET)

    # --- upkeep --------------------------------------------------------------------------------

    def verify(self) -> list[Finding]:
        """Read every file and check checksums, order, duplicates and metadata; empty when sound."""
        record: list[Finding] = []
        try:
            self._root.check()
        except StoreCorruptError as error:
            record = [Finding(path=str(self._paths.record), problem=str(error))]
        return record + upkeep.verify(self._paths, self._files)

    def repair(self) -> RepairReport:
        """Set damaged files aside, keep what is sound of them, and forget the lost coverage.

        Nothing is fetched: afterwards `gaps` names what is missing, for a back-fill to fetch.
        """
        self._root.mend()
        return upkeep.repair(self._paths, self._files, timeout_s=self._timeout_s)

    def compact(self) -> CompactReport:
        """Fold the journal, fill what can be filled by now, and rewrite files of an older make."""
        self.fold_journal()
        if self.series():
            self._root.claim()
        sweep.sweep_temps(self._paths)
        return upkeep.compact(self._paths, self._files, timeout_s=self._timeout_s)

    def snapshot(self, destination: str | Path) -> int:
        """Make a copy by hard links that other programs may read while this store is written.

        Args:
            destination: New directory, best on the same file system; becomes a store of its own.

        Returns:
            Number of files.

        Raises:
            StoreError: The directory exists, or cannot be made.
        """
        self._root.check()
        return upkeep.snapshot(self._paths, Path(destination).expanduser().absolute())

    def close(self) -> None:
        """Fold what this object has journaled, and let go of the files."""
        try:
            if self._wrote_journal:
                self._wrote_journal = False
                self.fold_journal()
        finally:
            for live in self._journals.values():
                live.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- inside --------------------------------------------------------------------------------

    def _live_table(self, series: Series, since: int | None, until: int | None) -> pa.Table:
        """Give what the journal holds of a series, in order."""
        bars = self._journals[series.timeframe].entries_of(series.pair)
        rows = merge.unique(columns.table_of_bars(bars, Source.WEBSOCKET))
        return merge.between(rows, since, until)

    def _series(self, pair: str, timeframe: str) -> Series:
        interval_s(timeframe)
        pair = self._canonical(pair)
        quote_pair(pair)
        return Series(pair, timeframe)

    def _series_files(self, series: Series) -> SeriesFiles:
        return SeriesFiles(self._paths, series, self._files)

    def _locked(self, series: Series) -> contextlib.AbstractContextManager[None]:
        return locked(
            self._paths.lock(series),
            timeout_s=self._timeout_s,
            what=f"{series.pair} {series.timeframe}",
        )
