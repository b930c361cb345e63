"""Which intervals hold no traded bar, and whether that is known to be right. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from krakked._market.store.arrow import view
from krakked._market.store.coverage import (
    Coverage,
    Gap,
    GapKind,
    Range,
    intersect,
    subtract,
    union,
)


def runs(opens: pa.ChunkedArray, step_s: int) -> list[Range]:
    """Join open times (Arrow column, in order) that follow each other without a hole."""
    count = len(opens)
    if count == 0:
        return []
    here = view(opens, "q")
    steps = pc.subtract(opens.slice(1), opens.slice(0, count - 1))
    breaks = pc.indices_nonzero(pc.not_equal(steps, pa.scalar(step_s, pa.int64()))).to_pylist()
    starts = [0, *(index + 1 for index in breaks)]
    ends = [*breaks, count - 1]
    return [(here[a], here[b] + step_s) for a, b in zip(starts, ends, strict=True)]


def gaps(
    tables: Iterable[pa.Table],
    coverage: Coverage,
    step_s: int,
    since_s: int | None,
    until_s: int | None,
) -> list[Gap]:
    """Find what lies in the window without a traded bar, in order of time.

    Args:
        tables: Rows of the window, piece by piece, each in order; each row counts as present.
        coverage: What sources have answered for.
        step_s: Interval in seconds.
        since_s: Start of the window, or None for where the knowledge starts, lost or not.
        until_s: End of the window (excluded), or None for where it ends, lost or not.
    """
    present: list[Range] = []
    traded: list[Range] = []
    for table in tables:
        if table.num_rows:
            present += runs(table.column("time"), step_s)
            traded += runs(_traded_times(table), step_s)
    known = union([*present, *coverage.all()])
    stretch = union([*known, *coverage.lost])
    if not stretch:
        return [] if since_s is None or until_s is None else _named([(since_s, until_s)], [])
    start = stretch[0][0] if since_s is None else since_s
    end = stretch[-1][1] if until_s is None else until_s
    if start >= end:
        return []
    window = (start, end)
    missing = subtract([window], known)
    return _named(missing, subtract(intersect(known, window), union(traded)))


def _traded_times(table: pa.Table) -> pa.ChunkedArray:
    if pc.min(table.column("count")).as_py() > 0:
        return table.column("time")
    return table.filter(pc.greater(table.column("count"), 0)).column("time")


def _named(missing: list[Range], empty: list[Range]) -> list[Gap]:
    found = [Gap(a, b, GapKind.MISSING) for a, b in missing]
    found += [Gap(a, b, GapKind.NO_TRADE) for a, b in empty]
    return sorted(found, key=lambda gap: gap.start_s)
