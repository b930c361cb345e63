"""The partitions of one series: finding, reading, rewriting. To write, hold its lock.

Candles that may lack trades (`Source.PARTIAL`) lie in a file beside them, out of the sight of
programs that read the folder of bars as it is; reads that want them get both merged.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from krakked._market.bars import Source
from krakked._market.store import merge
from krakked._market.store.arrow import EMPTY, times, view
from krakked._market.store.coverage import Coverage, Range
from krakked._market.store.durable import remove, replace
from krakked._market.store.layout import (
    ALL,
    Series,
    StorePaths,
    partition_bounds,
    partition_of,
    partitions_between,
)
from krakked._market.store.listing import partitions_of
from krakked._market.store.merge import Close
from krakked._market.store.partition_files import PartitionFiles

_WRITERS: Final = min(4, os.cpu_count() or 1)
"""Threads that write partitions of one import; encoding and fsync leave the interpreter free."""


class PartitionChange(NamedTuple):
    """One partition as it should become."""

    partition: str
    """Its name."""
    whole: pa.Table
    """All rows of its file."""
    partial: pa.Table
    """The candles of it that may lack trades."""


class Applied(NamedTuple):
    """What `SeriesFiles.apply` did."""

    stored: int
    """How many of the new rows are stored that were not before, or replaced another."""
    rewritten: int
    """Partitions that are written anew."""


class SeriesFiles:
    """One series on disk."""

    def __init__(self, paths: StorePaths, series: Series, files: PartitionFiles) -> None:
        self._paths = paths
        self._series = series
        self._files = files
        self._directory = paths.series_dir(series)
        self.partial_path = paths.partial_of(series, files.suffix)
        """File of the candles that may lack trades."""

    def path(self, partition: str) -> Path:
        """File of a partition."""
        return self._directory / f"{partition}{self._files.suffix}"

    def partitions(self) -> list[str]:
        """Names of the partitions there are, oldest first."""
        return partitions_of(self._paths, self._series, self._files.suffix)

    def read(
        self, since_s: int | None, until_s: int | None, newest: int | None, provisional: bool
    ) -> pa.Table:
        """Read rows of a window; `newest` of the last ones are enough, more may come."""
        pieces: list[pa.Table] = []
        rows = 0
        partial = self._partial() if provisional else EMPTY
        for name in reversed(self._names(partial)):
            start, end = partition_bounds(name)
            if until_s is not None and start >= until_s:
                continue
            if since_s is not None and end <= since_s:
                break
            table = self._files.read(
                self.path(name),
                since_s=since_s,
                until_s=until_s,
                newest=None if newest is None else newest - rows,
                provisional=provisional,
            )
            table = _with_partial(table, partial, _cut((start, end), since_s, until_s))
            pieces.append(table)
            rows += table.num_rows
            if newest is not None and rows >= newest:
                break
        return merge.joined(pieces[::-1])

    def tables(
        self, since_s: int | None, until_s: int | None, provisional: bool
    ) -> Iterator[pa.Table]:
        """Read the rows of a window partition by partition, oldest first."""
        partial = self._partial() if provisional else EMPTY
        for name in self._names(partial):
            start, end = partition_bounds(name)
            if (until_s is None or start < until_s) and (since_s is None or end > since_s):
                table = self._files.read(
                    self.path(name), since_s=since_s, until_s=until_s, provisional=provisional
                )
                yield _with_partial(table, partial, _cut((start, end), since_s, until_s))

    def last_close(self, before_s: int) -> Close | None:
        """Return the last stored bar that opens before a time."""
        table = self.read(None, before_s, 1, provisional=True)
        if table.num_rows == 0:
            return None
        return _close_of(table)

    def changes(
        self, new: pa.Table, covered: Range | None, coverage: Coverage, partial: pa.Table
    ) -> Iterator[tuple[PartitionChange | None, int]]:
        """Yield each partition that new rows or a new covered range concern, as it should become.

        Args:
            new: New rows, in order, unique.
            covered: Range newly answered for, if any.
            coverage: Coverage of the series with it.
            partial: The stored candles that may lack trades, all of them.

        Yields:
            What to write (None when all is right already), and the number of new rows stored.
        """
        window = _window(new, covered, self._series.step_s)
        if window is None:
            return
        before: Close | None = None
        step_s = self._series.step_s
        names = deque(partitions_between(self._series.timeframe, *window))
        while names:
            name = names.popleft()
            start, end = partition_bounds(name)
            file_rows = self._files.whole(self.path(name))
            loose = merge.between(partial, start, end)
            stored_rows = _with_partial(file_rows, loose, (start, end))
            merged, stored = merge.merge(stored_rows, merge.between(new, start, end))
            # Rows before the window stay as they are: a fill hangs on what is before it alone.
            ranges = coverage.strongest((max(start, window[0]), end))
            if ranges:
                if before is None and ranges[0][0] == start and _starts_untraded(merged, start):
                    before = self.last_close(start)
                old_fills = merge.outdated(stored_rows, new, covered)
                merged = merge.fill(merged, ranges, step_s, before, old_fills)
            if merged.num_rows:
                before = _close_of(merged)
            whole_rows, partial_rows = merge.parted(merged)
            if whole_rows.equals(file_rows) and partial_rows.equals(loose):
                yield None, stored
                continue
            yield PartitionChange(name, whole_rows, partial_rows), stored
            reached = before is not None and before.time_s == end - step_s
            if not names and reached and coverage.holds(end):
                # What became known may be what the next partition's first intervals waited for.
                names.append(partition_of(self._series.timeframe, end))

    def apply(self, new: pa.Table, covered: Range | None, coverage: Coverage) -> Applied:
        """Store what `changes` gives, durably; several partitions are written side by side."""
        total = 0
        partial = self._partial()
        partial_of: dict[str, pa.Table] = {}
        few = self._is_few(new, covered)
        with ExitStack() as stack:
            pool: ThreadPoolExecutor | None = None
            waiting: deque[Future[None]] = deque()
            for change, stored in self.changes(new, covered, coverage, partial):
                total += stored
                if change is None:
                    continue
                partial_of[change.partition] = change.partial
                if few:
                    self.write(change.partition, change.whole)
                    continue
                if pool is None:
                    pool = stack.enter_context(ThreadPoolExecutor(_WRITERS))
                waiting.append(pool.submit(self.write, change.partition, change.whole))
                while len(waiting) > 2 * _WRITERS:
                    waiting.popleft().result()
            for future in waiting:
                future.result()
        # Last: a candle that has become whole is in both files for a moment, and never in none.
        self._write_partial(partial, partial_of)
        return Applied(total, len(partial_of))

    def _is_few(self, new: pa.Table, covered: Range | None) -> bool:
        window = _window(new, covered, self._series.step_s)
        return window is None or len(partitions_between(self._series.timeframe, *window)) <= 2

    def write(self, partition: str, table: pa.Table) -> None:
        """Replace a partition's file, durably; without rows it stays as it is."""
        if table.num_rows:
            self._replace(self.path(partition), table, partition)

    def _write_partial(self, old: pa.Table, changed: Mapping[str, pa.Table]) -> None:
        """Replace the candles that may lack trades, those of some partitions."""
        timeframe = self._series.timeframe
        stays = [partition_of(timeframe, moment) not in changed for moment in times(old)]
        kept = old.filter(pa.array(stays, pa.bool_()))
        new = merge.unique(pa.concat_tables([kept, *changed.values()]).combine_chunks())
        if new.equals(old):
            return
        if new.num_rows:
            self._replace(self.partial_path, new, ALL)
        else:
            remove(self.partial_path)

    def _replace(self, path: Path, table: pa.Table, partition: str) -> None:
        data = self._files.encode(table, self._series, partition)
        replace(path, data, temp_dir=self._paths.tmp, label=self._series.file_stem)

    def _partial(self) -> pa.Table:
        return self._files.whole(self.partial_path)

    def _names(self, partial: pa.Table) -> list[str]:
        """Name the partitions that have rows, oldest first."""
        timeframe = self._series.timeframe
        return sorted({*self.partitions(), *(partition_of(timeframe, t) for t in times(partial))})


def _with_partial(table: pa.Table, partial: pa.Table, bounds: Range) -> pa.Table:
    """Merge the candles within some bounds that may lack trades into the rows of a file."""
    return merge.merge(merge.between(partial, *bounds), table).table


def _cut(bounds: Range, since_s: int | None, until_s: int | None) -> Range:
    start, end = bounds
    return (
        start if since_s is None else max(start, since_s),
        end if until_s is None else min(end, until_s),
    )


def _window(new: pa.Table, covered: Range | None, step_s: int) -> tuple[int, int] | None:
    """Return the first and the last open time concerned."""
    ends: list[int] = []
    if new.num_rows:
        opens = times(new)
        ends += [opens[0], opens[-1]]
    if covered is not None:
        ends += [covered[0], covered[1] - step_s]
    return (min(ends), max(ends)) if ends else None


def _close_of(table: pa.Table) -> Close:
    """Return the close of a table's last row."""
    return Close(
        times(table)[-1],
        view(table.column("close"), "d")[-1],
        view(table.column("source"), "b")[-1],
    )


def _starts_untraded(table: pa.Table, start_s: int) -> bool:
    """Whether a covered interval at the start may not have traded: the close before is wanted."""
    if table.num_rows == 0 or times(table)[0] > start_s:
        return True
    provisional = view(table.column("source"), "b")[0] <= Source.WEBSOCKET
    return provisional or view(table.column("count"), "q")[0] == 0
