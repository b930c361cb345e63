"""A candle store in sixty lines: what `open_kraken(store=...)` asks for is little."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from krakked import CoverageRange, Gap, OHLCBar, RefusedBar, Source
from krakked._market.store import arrow, gap_truth, merge
from krakked._market.store.coverage import Coverage
from krakked._timeframes import MINUTES

Range = tuple[int, int]
EVER = 1 << 40


class MemoryStore:
    """Keeps every series as one table."""

    def __init__(self) -> None:
        self.tables: dict[tuple[str, str], pa.Table] = defaultdict(lambda: arrow.EMPTY)
        self.known: dict[tuple[str, str], Coverage] = defaultdict(Coverage)
        self._lock = threading.Lock()

    def append_bars(
        self, pair: str, timeframe: str, bars: Iterable[OHLCBar], *, source: Source = Source.REST,
        covered: Range | None = None, unsettled_from: int | None = None,
    ) -> int:  # fmt: skip
        table = arrow.table_of_bars(list(bars), source)
        return self._put((pair, timeframe), table, source, covered and [covered], unsettled_from)

    def import_columns(
        self, pair: str, timeframe: str, buffers: Mapping[str, Any], source: Source,
        covered: Sequence[Range] = (), *, partial: Mapping[str, Any] | None = None,
    ) -> int:  # fmt: skip
        table = arrow.table_of_buffers(buffers, source)
        if partial is not None:
            table = pa.concat_tables([table, arrow.table_of_buffers(partial, Source.PARTIAL)])
        return self._put((pair, timeframe), table.combine_chunks(), source, covered)

    def append_provisional(
        self, timeframe: str, entries: Sequence[tuple[str, OHLCBar]]
    ) -> tuple[RefusedBar, ...]:
        for pair, bar in entries:
            self.append_bars(pair, timeframe, [bar], source=Source.WEBSOCKET)
        return ()

    def _put(
        self, key: tuple[str, str], new: pa.Table, source: Source,
        covered: Sequence[Range] | None, unsettled_from: int | None = None,
    ) -> int:  # fmt: skip
        with self._lock:
            old, whole = self.tables[key], None
            if covered:
                whole = (covered[0][0], covered[-1][1])
                self.known[key] = self.known[key].with_ranges(
                    source, covered, unsettled_from=unsettled_from
                )
            merged, stored = merge.merge(old, merge.unique(new))
            fills = merge.outdated(old, new, whole)
            ranges, step_s = self.known[key].strongest((0, EVER)), 60 * MINUTES[key[1]]
            self.tables[key] = merge.fill(merged, ranges, step_s, None, fills)
            return stored

    def get_columns(
        self, pair: str, timeframe: str, *, lookback: int | None = None, since: float | None = None,
        until: float | None = None, provisional: bool = False,
    ) -> pa.Table:  # fmt: skip
        table = merge.between(self.tables[pair, timeframe], since, until)
        if not provisional:
            table = table.filter(pa.compute.greater(table["source"], int(Source.WEBSOCKET)))
        return table if lookback is None else table.slice(max(0, table.num_rows - lookback))

    def get_bars(self, pair: str, timeframe: str, **which: Any) -> list[OHLCBar]:
        return arrow.bars_of_table(self.get_columns(pair, timeframe, **which))

    def gaps(
        self, pair: str, timeframe: str, since: int | None = None, until: int | None = None, *,
        provisional: bool = False,
    ) -> list[Gap]:  # fmt: skip
        table = self.get_columns(pair, timeframe, since=since, until=until, provisional=provisional)
        step_s = 60 * MINUTES[timeframe]
        return gap_truth.gaps([table], self.known[pair, timeframe], step_s, since, until)

    def first_stored(self, pair: str, timeframe: str) -> int | None:
        opens = arrow.times(self.get_columns(pair, timeframe))
        return opens[0] if opens else None

    def coverage(self, pair: str, timeframe: str) -> tuple[CoverageRange, ...]:
        return self.known[pair, timeframe].ranges()

    def unavailable(self, pair: str, timeframe: str) -> tuple[Range, ...]:
        return self.known[pair, timeframe].unavailable

    def mark_unavailable(self, pair: str, timeframe: str, stretches: Iterable[Range]) -> None:
        with self._lock:
            self.known[pair, timeframe] = self.known[pair, timeframe].with_unavailable(stretches)

    def series(self) -> list[tuple[str, str]]:
        return [key for key, table in self.tables.items() if table.num_rows]
