"""Which row wins when two answer for one open time, and which rows may be filled in. Pure.

Rank: REST > trades > archive > WebSocket > candles at the edge of a file. A weaker source never
replaces a stronger one; of two equal ones the later call wins. Merging the same rows again changes
nothing, which is what lets a journal be folded twice after a crash.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from krakked._market.bars import Source
from krakked._market.store.arrow import EMPTY, SCHEMA, times, view
from krakked._market.store.coverage import Range


class Merged(NamedTuple):
    """Result of `merge`."""

    table: pa.Table
    """Rows of both, one for each open time, in order."""
    stored: int
    """How many of the new rows are in it and were not before, or differ from what was."""


class Close(NamedTuple):
    """The last known close before a partition."""

    time_s: int
    close: float
    source: int
    """Rank of the row it comes from."""


def in_order(table: pa.Table) -> bool:
    """Whether open times rise strictly."""
    opens = table.column("time")
    if table.num_rows < 2:
        return True
    return bool(pc.all(pc.less(opens.slice(0, table.num_rows - 1), opens.slice(1))).as_py())


def unique(table: pa.Table) -> pa.Table:
    """Sort by open time; of several rows for one the highest rank wins, then the last given."""
    if in_order(table):
        return table
    numbered = table.append_column("row", pa.array(array("q", range(table.num_rows))))
    keys = [("time", "ascending"), ("source", "ascending"), ("row", "ascending")]
    ordered = numbered.sort_by(keys).drop_columns(["row"]).combine_chunks()
    opens = ordered.column("time")
    last_of_its_time = pc.not_equal(opens.slice(0, len(opens) - 1), opens.slice(1))
    keep = pa.concat_arrays([*last_of_its_time.chunks, pa.array([True])])
    return ordered.filter(keep)


def merge(old: pa.Table, new: pa.Table) -> Merged:
    """Merge new rows into stored ones, which are in order."""
    new = unique(new)
    if new.num_rows == 0:
        return Merged(old, 0)
    if old.num_rows == 0:
        return Merged(new, new.num_rows)
    old_times, new_times = times(old), times(new)
    # Only rows from the first new open time to the last one can be concerned.
    low = bisect_left(old_times, new_times[0])
    high = bisect_left(old_times, new_times[-1] + 1)
    concerned = old.slice(low, high - low)
    if concerned.num_rows == 0:
        middle, stored = new, new.num_rows
    else:
        middle = unique(pa.concat_tables([concerned, new]))
        stored = _differences(concerned, middle)
    if stored == 0:
        return Merged(old, 0)
    return Merged(pa.concat_tables([old.slice(0, low), middle, old.slice(high)]), stored)


def span(*tables: pa.Table) -> Range:
    """Return the first open time of some rows, and the second behind the last one."""
    ends = pc.min_max(pa.concat_tables(tables).column("time")).as_py()
    return ends["min"], ends["max"] + 1


def added(old: pa.Table, *new: pa.Table) -> int:
    """Count the open times of new rows, in any order, that the old ones lack."""
    opens = pc.unique(pa.concat_tables(new).column("time"))
    if not old.num_rows:
        return len(opens)
    known = pc.is_in(opens, value_set=old.column("time"))
    return len(opens) - int(pc.sum(known).as_py())


def contradictions(old: pa.Table, new: pa.Table) -> int:
    """Count the new rows that one of the old, of the very same source, tells otherwise."""
    if not (old.num_rows and new.num_rows):
        return 0
    told = old.filter(pc.equal(old.column("source"), new.column("source")[0]))
    new = new.filter(pc.is_in(new.column("time"), value_set=told.column("time")))
    if not new.num_rows:
        return 0
    told = told.take(pc.index_in(new.column("time"), value_set=told.column("time")))
    differs = pc.not_equal(told.column("count"), new.column("count"))
    for name in ("open", "high", "low", "close", "volume"):
        differs = pc.or_(differs, pc.not_equal(told.column(name), new.column(name)))
    return int(pc.sum(differs).as_py())


def outdated(old: pa.Table, new: pa.Table, covered: Range | None) -> frozenset[int]:
    """Return open times of REST's intervals without trades that its new answer leaves out.

    `fill` may have made those rows, with a close that the answer has revised.
    """
    if covered is None or new.num_rows == 0 or view(new.column("source"), "b")[0] != Source.REST:
        return frozenset()
    inside = between(old, *covered)
    if inside.num_rows == 0 or pc.min(inside.column("count")).as_py() > 0:
        return frozenset()
    untraded = pc.and_(
        pc.equal(inside.column("count"), 0), pc.equal(inside.column("source"), int(Source.REST))
    )
    return frozenset(times(inside.filter(untraded))).difference(times(new))


def _differences(old: pa.Table, merged: pa.Table) -> int:
    """Count rows of `merged` that `old` lacks or has otherwise; it has every time of `old`."""
    if merged.num_rows == old.num_rows:
        common = merged
    else:
        common = merged.filter(pc.is_in(merged.column("time"), value_set=old.column("time")))
    added = int(merged.num_rows - old.num_rows)
    if common.equals(old):
        return added
    changed = None
    for name in SCHEMA.names[1:]:
        mine, theirs = old.column(name), common.column(name)
        differs = pc.fill_null(pc.not_equal(mine, theirs), fill_value=False)
        if name == "vwap":
            differs = pc.or_(differs, pc.not_equal(pc.is_null(mine), pc.is_null(theirs)))
        changed = differs if changed is None else pc.or_(changed, differs)
    return added + int(pc.sum(changed).as_py())


def fill(
    table: pa.Table,
    covered: Sequence[tuple[int, int, Source]],
    step_s: int,
    before: Close | None,
    old_fills: frozenset[int] = frozenset(),
) -> pa.Table:
    """Add the row of each covered interval that did not trade: the price stood still.

    A row is made only where the close before it is known: from a stored or made row of the
    interval just before. After a hole nothing is made up; `gaps` still tells those intervals from
    missing ones. Rows made earlier are made anew, with the close and the rank that hold by now; a
    row without trades from REST, or of a higher rank than the claim, stands as it is. To a claim of
    a stronger source a WebSocket row is no row: it gives way, and its close is not carried on.

    Args:
        table: Rows of one partition, in order.
        covered: Covered ranges within the partition, disjoint and sorted, on the interval's grid.
        step_s: Interval in seconds.
        before: The last bar before the partition, if any.
        old_fills: Open times of rows of REST that may give way, see `outdated`.
    """
    holes, dropped = _holes(table, covered, step_s, before, old_fills)
    if not holes:
        return table
    if dropped:
        keep = bytearray(b"\x01") * table.num_rows
        for index in dropped:
            keep[index] = 0
        table = table.filter(pc.cast(pa.array(array("b", keep)), pa.bool_()))
    moments: array[int] = array("q")
    sources: array[int] = array("b")
    for start, end, source in holes:
        moments.extend(range(start, end, step_s))
        sources.extend([int(source)] * ((end - start) // step_s))
    made = _rows(moments, sources)
    known = table if before is None else pa.concat_tables([_anchor(before), table])
    joined = pa.concat_tables([known.cast(made.schema), made]).sort_by("time").combine_chunks()
    closes = pc.fill_null_forward(joined.column("close"))
    for name in ("open", "high", "low", "close"):
        column = pc.coalesce(joined.column(name), closes)
        joined = joined.set_column(joined.schema.get_field_index(name), name, column)
    return joined.slice(0 if before is None else 1).cast(SCHEMA)


def _holes(
    table: pa.Table,
    covered: Sequence[tuple[int, int, Source]],
    step_s: int,
    before: Close | None,
    old_fills: frozenset[int],
) -> tuple[list[tuple[int, int, Source]], list[int]]:
    """Find the covered stretches to fill, and the rows in them that give way."""
    present, sources = times(table), view(table.column("source"), "b")
    counts = view(table.column("count"), "q")
    yielding = _yielding(table)
    yielding.update(bisect_left(present, moment) for moment in old_fills)
    holes: list[tuple[int, int, Source]] = []
    dropped: list[int] = []
    known_to = None if before is None else before.time_s + step_s
    known_by = 0 if before is None else before.source
    for start, end, source in covered:
        low, high = bisect_left(present, start), bisect_left(present, end)
        if low and present[low - 1] == start - step_s:
            known_to, known_by = start, sources[low - 1]
        if high - low == (end - start) // step_s and yielding.isdisjoint(range(low, high)):
            known_to, known_by = end, int(source)
            continue
        # From `at` on there is nothing but a close.
        at = start if known_to == start and _proves(known_by, source) else None
        for index in range(low, high):
            moment = present[index]
            weaker = sources[index] < source or (counts[index] == 0 and sources[index] == source)
            if at is not None and index in yielding and weaker:
                dropped.append(index)
                continue
            if at is not None and moment > at:
                holes.append((at, moment, source))
            at = moment + step_s if _proves(sources[index], source) else None
        if at is not None and at < end:
            holes.append((at, end, source))
        known_to, known_by = (None, 0) if at is None else (end, int(source))
    return holes, dropped


def _proves(row: int, claim: Source) -> bool:
    """Whether the close of a row may be carried on under a claim: not from provisional to firm."""
    return row > Source.WEBSOCKET or claim is Source.WEBSOCKET


def _yielding(table: pa.Table) -> set[int]:
    """Index the rows that may give way: provisional ones, and those that `fill` may have made."""
    counts, sources = table.column("count"), table.column("source")
    if table.num_rows == 0:
        return set()
    provisional = pc.less_equal(sources, int(Source.WEBSOCKET))
    if pc.min(counts).as_py() > 0 and not pc.any(provisional).as_py():
        return set()
    # REST reports intervals without trades itself: those rows are no fills.
    untraded = pc.and_(pc.equal(counts, 0), pc.less(sources, int(Source.REST)))
    return set(pc.indices_nonzero(pc.or_(untraded, provisional)).to_pylist())


def _rows(moments: array[int], sources: array[int]) -> pa.Table:
    count = len(moments)
    nothing = pa.nulls(count, pa.float64())
    columns = {
        "time": pa.array(moments, pa.int64()),
        "vwap": nothing,
        "volume": pa.array(array("d", bytes(8 * count))),
        "count": pa.array(array("q", bytes(8 * count))),
        "source": pa.array(sources, pa.int8()),
    }
    schema = pa.schema([pa.field(f.name, f.type) for f in SCHEMA])
    return pa.Table.from_arrays([columns.get(n, nothing) for n in SCHEMA.names], schema=schema)


def _anchor(before: Close) -> pa.Table:
    row = {name: [before.close] for name in ("open", "high", "low", "close")}
    rest = {"time": [before.time_s], "vwap": [None], "volume": [0.0], "count": [0]}
    rest["source"] = [before.source]
    return pa.Table.from_pydict({**row, **rest}, schema=SCHEMA)


def between(table: pa.Table, since_s: int | None, until_s: int | None) -> pa.Table:
    """Cut out open times from `since_s` (included) to `until_s` (excluded)."""
    opens = times(table)
    low = 0 if since_s is None else bisect_left(opens, since_s)
    high = len(opens) if until_s is None else bisect_left(opens, until_s)
    return table.slice(low, max(high - low, 0))


def confirmed(table: pa.Table) -> pa.Table:
    """Leave out provisional rows (WebSocket and weaker)."""
    sources = table.column("source")
    if table.num_rows == 0 or pc.min(sources).as_py() > Source.WEBSOCKET:
        return table
    return table.filter(pc.greater(sources, int(Source.WEBSOCKET)))


class Parted(NamedTuple):
    """Rows by what they may be taken for."""

    whole: pa.Table
    """Candles with all their trades, as far as their source knows."""
    partial: pa.Table
    """Candles that may lack some (`Source.PARTIAL`)."""


def parted(table: pa.Table) -> Parted:
    """Part the candles that may lack trades from the others."""
    sources = table.column("source")
    if table.num_rows == 0 or pc.min(sources).as_py() > Source.PARTIAL:
        return Parted(table, EMPTY)
    loose = pc.equal(sources, int(Source.PARTIAL))
    return Parted(table.filter(pc.invert(loose)), table.filter(loose))


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Put tables that follow each other in time under one."""
    filled = [t for t in tables if t.num_rows]
    if not filled:
        return EMPTY
    return filled[0] if len(filled) == 1 else pa.concat_tables(filled)
