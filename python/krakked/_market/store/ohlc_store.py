"""The candle store: the one way in and out of the files.

Everything is synchronous and may be used from several threads and processes at once; async code
calls it through `run_blocking`. What a method has acknowledged by returning survives kill -9 and a
power cut.

Long because every way in has its manual here.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import msgspec
import pyarrow as pa

from krakked._config.settings import StoreBackend
from krakked._errors import StoreCorruptError, StoreError
from krakked._market.arguments import count_of, shown
from krakked._market.bars import OHLCBar, Source
from krakked._market.store import arrow, folding, gap_truth, listing, maintenance, merge, sweep
from krakked._market.store.convert import convert
from krakked._market.store.coverage import CoverageRange, Gap
from krakked._market.store.csv_files import CsvFiles
from krakked._market.store.durable import locked
from krakked._market.store.filesystem import directory_of, warn_if_remote, why_unwritable
from krakked._market.store.fitness import RefusedBar, why_unfit
from krakked._market.store.folding import Folded, FoldReport
from krakked._market.store.given_bars import checked_table
from krakked._market.store.journal import Journal
from krakked._market.store.layout import Series, StorePaths, quote_pair
from krakked._market.store.maintenance import CompactReport, GivenUp, RepairReport, StoreFinding
from krakked._market.store.parquet_files import ParquetFiles
from krakked._market.store.partition_files import PartitionFiles
from krakked._market.store.removal import delete_series
from krakked._market.store.root_record import Root
from krakked._market.store.series_files import SeriesFiles
from krakked._market.store.snapshot import snapshot
from krakked._market.times import Time, unix_seconds
from krakked._public import public
from krakked._timeframes import MINUTES, Timeframe, interval_s

_log = logging.getLogger("krakked.store")

_FORMATS: Mapping[StoreBackend, type[PartitionFiles]] = {
    StoreBackend.PARQUET: ParquetFiles,
    StoreBackend.CSV: CsvFiles,
}


@public
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
        sandbox: Which sandbox that exchange is, where it says so (`RestClient.sandbox`).

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
        sandbox: str | None = None,
    ) -> None:
        self.backend: StoreBackend = _backend_of(backend)
        self.root: Path = directory_of(root)
        self._paths = StorePaths(self.root)
        self._files: PartitionFiles = _FORMATS[self.backend]()
        self._timeout_s = lock_timeout_s
        self.canonical_name: Callable[[str], str] = canonical or _as_it_is
        self._journals = {
            label: Journal(self._paths, label, lock_timeout_s=lock_timeout_s) for label in MINUTES
        }
        self._wrote_journal = False
        self._root = Root(
            self._paths,
            self.backend,
            set(StoreBackend),
            exchange,
            sandbox=sandbox,
            lock_timeout_s=lock_timeout_s,
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
            StoreLockedError: Another process kept the series.
        """
        series = self._series(pair, timeframe)
        table = checked_table(list(bars), source, series)
        ranges = () if covered is None else (covered,)
        return self._store(series, table, source, ranges, unsettled_from)

    def import_columns(
        self,
        pair: str,
        timeframe: str,
        buffers: Mapping[str, Any],
        source: Source,
        covered: Sequence[tuple[int, int]] = (),
        *,
        partial: Mapping[str, Any] | None = None,
    ) -> int:
        """Store many bars at once from raw columns, whole partitions at a time.

        Args:
            pair: Canonical name.
            timeframe: Label such as ``1m``.
            buffers: Little-endian columns by name, uncopied: int64 `time` and `count`, float64
                `open`, `high`, `low`, `close`, `volume`, and `vwap` (may be missing; NaN is none).
                Anything with the buffer protocol.
            source: Where they come from.
            covered: Ranges as for `append_bars`, in order and apart; none claims nothing.
            partial: More bars, which may lack trades, whatever the source (`Source.PARTIAL`).

        Returns:
            As `append_bars`, and the same errors.
        """
        series = self._series(pair, timeframe)
        table = arrow.table_of_buffers(buffers, source)
        if partial is not None:
            loose = arrow.table_of_buffers(partial, Source.PARTIAL)
            table = pa.concat_tables([table, loose]).combine_chunks()
        return self._store(series, table, source, covered)

    def mark_unavailable(
        self, pair: str, timeframe: str, stretches: Iterable[tuple[int, int]]
    ) -> None:
        """Remember stretches that were asked for in vain, until some source covers them.

        Raises:
            StoreError: The record could not be read or written.
            StoreLockedError: Another process kept the series.
        """
        series = self._series(pair, timeframe)
        with self._locked(series):
            known = maintenance.coverage_to_write(self._paths, self._files, series)
            marked = known.with_unavailable(stretches)
            if marked is not known:
                maintenance.write_coverage(self._paths, self._files, series, marked)

    def _store(
        self,
        series: Series,
        table: pa.Table,
        source: Source,
        covered: Sequence[tuple[int, int]],
        unsettled_from: int | None = None,
    ) -> int:
        arrow.check(table, series)
        for each in covered:
            arrow.check_range(series, each)
        if covered and source is Source.PARTIAL:
            raise StoreError(f"{series}: candles that may not be whole answer for no range.")
        new = merge.unique(table)
        files = self._series_files(series)
        with self._locked(series):
            known = maintenance.coverage_to_write(self._paths, self._files, series)
            grown = known
            if covered:
                grown = known.with_ranges(source, covered, unsettled_from=unsettled_from)
            whole = (covered[0][0], covered[-1][1]) if covered else None
            stored = files.apply(new, whole, grown).stored
            if grown is not known:
                # After the bars: a range is claimed only once everything in it is durable.
                maintenance.write_coverage(self._paths, self._files, series, grown)
        return stored

    # --- reading -----------------------------------------------------------------------------

    def get_bars(
        self,
        pair: str,
        timeframe: str,
        *,
        lookback: int | None = None,
        since: Time | None = None,
        until: Time | None = None,
        provisional: bool = False,
    ) -> list[OHLCBar]:
        """Return stored bars, oldest first; fewer than asked when there are fewer.

        Args:
            pair: Canonical name.
            timeframe: Label such as ``1m``.
            lookback: Only this many of the newest.
            since: Only open times from here on (unix seconds or an aware datetime, included).
            until: Only open times before this (excluded).
            provisional: Whether bars that only the WebSocket has reported count.

        Raises:
            UnknownTimeframeError: No such timeframe.
            InvalidTimeError: `since` or `until` is no time.
            StoreCorruptError: A file fails its checksums; nothing wrong is handed out.
            StoreError: The files could not be read.
        """
        table = self.get_columns(
            pair, timeframe, lookback=lookback, since=since, until=until, provisional=provisional
        )
        return arrow.bars_of_table(table)

    def get_columns(
        self,
        pair: str,
        timeframe: str,
        *,
        lookback: int | None = None,
        since: Time | None = None,
        until: Time | None = None,
        provisional: bool = False,
    ) -> pa.Table:
        """Return the same as `get_bars` as a `pyarrow.Table`.

        Columns: those of `OHLCBar`, then `source` (int8, `Source`). Other libraries take the table
        as it is (``polars.from_arrow``), or see `Kraken.get_ohlc`, `as_`.
        """
        series = self._series(pair, timeframe)
        first_s, end_s = _bounds(since, until)
        if lookback is not None:
            lookback = count_of(lookback, "lookback")
        if lookback == 0:
            return arrow.EMPTY
        # The journal first: folding moves bars from it to the files, so none is missed in between.
        live = self._live_table(series, first_s, end_s) if provisional else arrow.EMPTY
        table = self._series_files(series).read(first_s, end_s, lookback, provisional)
        table = merge.merge(table, live).table
        if lookback is not None and table.num_rows > lookback:
            table = table.slice(table.num_rows - lookback)
        return table

    def last_closed(self, pair: str, timeframe: str, *, provisional: bool = False) -> int | None:
        """Return the open time of the newest stored bar in unix seconds, or None."""
        table = self.get_columns(pair, timeframe, lookback=1, provisional=provisional)
        return int(arrow.times(table)[0]) if table.num_rows else None

    def first_stored(self, pair: str, timeframe: str, *, provisional: bool = False) -> int | None:
        """Return the open time of the oldest stored bar in unix seconds, or None."""
        series = self._series(pair, timeframe)
        for table in self._series_files(series).tables(None, None, provisional):
            if table.num_rows:
                return int(arrow.times(table)[0])
        return None

    def coverage(self, pair: str, timeframe: str) -> tuple[CoverageRange, ...]:
        """Return the ranges that sources have answered for: strongest source first, then by time.

        Raises:
            StoreCorruptError: The record of them is damaged.
        """
        series = self._series(pair, timeframe)
        return maintenance.credible_coverage(self._paths, self._files, series).ranges()

    def unavailable(self, pair: str, timeframe: str) -> tuple[tuple[int, int], ...]:
        """Return the stretches that were asked for in vain, in order; see `mark_unavailable`."""
        series = self._series(pair, timeframe)
        return maintenance.credible_coverage(self._paths, self._files, series).unavailable

    def gaps(
        self,
        pair: str,
        timeframe: str,
        since: Time | None = None,
        until: Time | None = None,
        *,
        provisional: bool = False,
    ) -> list[Gap]:
        """Return the stretches without traded bars, telling missing ones from those without trades.

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
        first_s, end_s = _bounds(since, until)
        known = maintenance.credible_coverage(self._paths, self._files, series)
        live = self._live_table(series, first_s, end_s) if provisional else arrow.EMPTY
        stored = self._series_files(series).tables(first_s, end_s, provisional)
        tables = itertools.chain([live], stored)
        return gap_truth.gaps(tables, known, series.step_s, first_s, end_s)

    def partitions(self, pair: str, timeframe: Timeframe) -> list[Path]:
        """Return the finished files of a series, oldest first; other programs may read them.

        What the live stream has closed joins them when it is folded (`compact`). Each is replaced
        as a whole, never written to.
        """
        self._root.check()
        series = self._series(pair, timeframe)
        folder, suffix = self._paths.series_dir(series), self._files.suffix
        names = listing.partitions_of(self._paths, series, suffix)
        return [folder / f"{name}{suffix}" for name in sorted(names)]

    def why_unwritable(self) -> str | None:
        """Say why no candle can be stored, None when nothing speaks against it; nothing is made."""
        return why_unwritable(self.root)

    def series(self) -> list[tuple[str, Timeframe]]:
        """Return (pair, timeframe) of everything stored, in order."""
        self._root.check()
        return [(s.pair, cast("Timeframe", s.timeframe)) for s in listing.series_below(self._paths)]

    # --- the journal of live bars --------------------------------------------------------------

    def append_provisional(
        self, timeframe: str, entries: Sequence[tuple[str, OHLCBar]]
    ) -> tuple[RefusedBar, ...]:
        """Accept closed bars of the live stream, of any pairs of one timeframe, with one fsync.

        They are seen with ``provisional=True`` only, until a stronger source confirms them.

        Returns:
            The bars that can be no bars of their series: refused one by one, and logged.

        Raises:
            StoreError: The disk refused; nothing was stored.
            StoreLockedError: Another process kept the journal.
        """
        self._root.check()
        interval_s(timeframe)
        fit: list[tuple[str, OHLCBar]] = []
        refused: list[RefusedBar] = []
        for given, bar in entries:
            pair = self.canonical_name(given)
            why = why_unfit(bar, Series(pair, timeframe))
            if why is None:
                fit.append((pair, bar))
            else:
                refused.append(RefusedBar(given, bar, why))
        if refused:
            first = refused[0]
            _log.warning(
                "%d live bars of %s were refused, the first one of %.40r: %s",
                len(refused),
                timeframe,
                first.pair,
                first.why,
            )
        if fit:
            self._root.claim()
            self._journals[timeframe].append(fit)
            self._wrote_journal = True
        return tuple(refused)

    def fold_journal(self) -> FoldReport:
        """Move the journal's bars into the partitions; call it hourly, `close` does it too.

        Safe against kill at any point: folding the same bars again changes nothing. Bars accepted
        meanwhile go to a new journal file. What cannot be folded keeps nothing else back.

        Raises:
            StoreError: Some series could not be written; its bars stay in the journal.
        """
        self._root.check()
        bars = series = 0
        set_aside: list[str] = []
        failed: StoreError | None = None
        for timeframe, live in self._journals.items():
            try:
                folded = self._folded(timeframe, live)
            except StoreError as refused:
                failed = failed or refused
                continue
            bars, series = bars + folded.bars, series + folded.series
            set_aside += folded.set_aside
            failed = failed or folded.failed
        if failed is not None:
            raise failed
        return FoldReport(bars=bars, series=series, set_aside=tuple(set_aside))

    def _folded(self, timeframe: str, live: Journal) -> Folded:
        if live.is_empty():
            return Folded(0, 0, [], None)
        lock = self._paths.fold_lock(timeframe)
        append = partial(self._append_provisional, timeframe)
        with locked(lock, timeout_s=self._timeout_s, what=f"The journal of {timeframe}"):
            return folding.fold(live, append, self._paths.quarantine)

    def _append_provisional(self, timeframe: str, pair: str, bars: list[OHLCBar]) -> int:
        return self.append_bars(pair, timeframe, bars, source=Source.WEBSOCKET)

    # --- maintenance ---------------------------------------------------------------------------

    def verify(self) -> list[StoreFinding]:
        """Read every file and check checksums, order, duplicates and metadata; empty when sound."""
        record: list[StoreFinding] = []
        try:
            self._root.check()
        except StoreCorruptError as error:
            record = [StoreFinding(path=str(self._paths.record), problem=str(error))]
        return record + maintenance.verify(self._paths, self._files)

    def strays(self) -> list[str]:
        """Return the paths of what is not this store's among its files; other readers trip over it.

        Raises:
            StoreError: A directory could not be read.
        """
        self._root.check()
        return [str(path) for path in listing.strays(self._paths, self._files.suffix)]

    def repair(self) -> RepairReport:
        """Set damaged files aside, keep what is sound of them, and forget the lost coverage.

        Nothing is fetched: afterwards `gaps` names what is missing, for a back-fill to fetch. Sound
        bars of a damaged journal are folded.

        Raises:
            StoreError: The operating system refused.
        """
        record = self._root.mend()
        if self.series():
            self._root.claim()
        report = maintenance.repair(self._paths, self._files, timeout_s=self._timeout_s)
        given_up, left = list(report.given_up), list(report.left)
        if record is not None:
            what = "whose candles these are; they are taken for those of the exchange in use"
            path = str(self._paths.record)
            given_up.insert(0, GivenUp(path=path, moved_to=str(record), what=what))
        unreadable = maintenance.journal_findings(self._paths)
        if unreadable:
            try:
                for moved in self.fold_journal().set_aside:
                    what = "live bars that cannot be read"
                    given_up.append(GivenUp(path=unreadable[0].path, moved_to=moved, what=what))
            except StoreError as error:
                left.append(msgspec.structs.replace(unreadable[0], problem=str(error)))
        return msgspec.structs.replace(report, given_up=tuple(given_up), left=tuple(left))

    def compact(self) -> CompactReport:
        """Fold the journal, fill what can be filled by now, and rewrite files of an older make."""
        self.fold_journal()
        if self.series():
            self._root.claim()
        sweep.sweep_temps(self._paths)
        return maintenance.compact(self._paths, self._files, timeout_s=self._timeout_s)

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
        return snapshot(self._paths, self._files.suffix, directory_of(destination))

    def convert(self, destination: str | Path, backend: str) -> int:
        """Write the same candles, and what is known of them, as a new store in the other format.

        Args:
            destination: New directory; there whole, or not at all.
            backend: ``parquet`` or ``csv``.

        Returns:
            Number of bars.

        Raises:
            StoreError: The directory exists, or cannot be made; unknown backend.
        """
        wanted = _backend_of(backend)
        self.fold_journal()
        exchange, sandbox = self._root.owner

        def claim(new: StorePaths) -> None:
            OHLCStore(new.root, backend=wanted, exchange=exchange, sandbox=sandbox)._root.claim()

        return convert(
            self._paths,
            self._files,
            directory_of(destination),
            _FORMATS[wanted](),
            claim=claim,
            timeout_s=self._timeout_s,
        )

    def delete(self, pair: str, timeframe: Timeframe) -> int:
        """Remove everything stored of a series, for good; give how many partitions that were.

        Raises:
            StoreError: The disk refused; the same call again removes the rest.
            StoreLockedError: Another process kept the series.
        """
        series = self._series(pair, timeframe)
        self.fold_journal()  # its bars would come back with the next fold
        with self._locked(series):
            return delete_series(self._paths, self._files, series)

    def elsewhere(self) -> partial[OHLCStore]:
        """Return what opens this store in another process; pairs are named canonically there."""
        exchange, sandbox = self._root.owner
        return partial(
            OHLCStore,
            self.root,
            backend=str(self.backend),
            lock_timeout_s=self._timeout_s,
            exchange=exchange,
            sandbox=sandbox,
        )

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
        """Return what the journal holds of a series, in order."""
        bars = self._journals[series.timeframe].entries_of(series.pair)
        rows = merge.unique(arrow.table_of_bars(bars, Source.WEBSOCKET))
        return merge.between(rows, since, until)

    def _series(self, pair: str, timeframe: str) -> Series:
        """Every use of a series begins here: the root is checked first."""
        self._root.check()
        interval_s(timeframe)
        pair = self.canonical_name(pair)
        quote_pair(pair)
        return Series(pair, timeframe)

    def _series_files(self, series: Series) -> SeriesFiles:
        return SeriesFiles(self._paths, series, self._files)

    def _locked(self, series: Series) -> contextlib.AbstractContextManager[None]:
        """Every change of a series happens in here: the root is claimed first."""
        self._root.claim()
        return locked(
            self._paths.lock(series),
            timeout_s=self._timeout_s,
            what=str(series),
        )


def _bounds(since: Time | None, until: Time | None) -> tuple[int | None, int | None]:
    return (
        None if since is None else unix_seconds(since, "since"),
        None if until is None else unix_seconds(until, "until"),
    )


def _backend_of(name: str) -> StoreBackend:
    try:
        return StoreBackend(name)
    except ValueError:
        raise StoreError(f"Unknown backend {shown(name)}. Use parquet or csv.") from None


def _as_it_is(name: str) -> str:
    return name
