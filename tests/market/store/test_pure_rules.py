"""Merging, filling and gaps, rule by rule: each would be noticed by its opposite."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from krakked._market.bars import OHLCBar, Source
from krakked._market.store import gap_truth, merge
from krakked._market.store.arrow import EMPTY, bars_of_table, table_of_bars, times
from krakked._market.store.coverage import Coverage, Gap, GapKind, intersect, subtract, union
from krakked._market.store.merge import Close

STEP = 60
P, W, A, T, R = Source

Row = tuple[int, float, int, Source]
"""Slot, close, number of trades, source."""


def table(*rows: Row) -> pa.Table:
    made = [
        table_of_bars([OHLCBar(at * STEP, c, c, c, c, c if n else None, float(n), n)], source)
        for at, c, n, source in rows
    ]
    return pa.concat_tables([EMPTY, *made]).combine_chunks()


def rows_of(given: pa.Table) -> list[Row]:
    sources = given.column("source").to_pylist()
    bars = bars_of_table(given)
    return [
        (bar.time // STEP, bar.close, bar.count, Source(source))
        for bar, source in zip(bars, sources, strict=True)
    ]


# --- merging ------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", Source)
@pytest.mark.parametrize("new", Source)
def test_the_stronger_wins_and_of_equals_the_later(old: Source, new: Source) -> None:
    merged = merge.merge(table((1, 1.0, 1, old)), table((1, 2.0, 1, new)))
    wins = new >= old
    assert rows_of(merged.table) == [(1, 2.0, 1, new) if wins else (1, 1.0, 1, old)]
    assert merged.stored == wins


def test_new_rows_are_put_in_order_and_counted() -> None:
    old = table((1, 1.0, 1, A), (3, 1.0, 1, A), (5, 1.0, 1, R), (7, 1.0, 1, A))
    new = table((6, 2.0, 1, T), (3, 2.0, 1, T), (5, 2.0, 1, T), (4, 2.0, 1, T), (3, 3.0, 1, T))
    merged = merge.merge(old, new)
    assert rows_of(merged.table) == [
        (1, 1.0, 1, A),
        (3, 3.0, 1, T),  # of equal ones in one call the last
        (4, 2.0, 1, T),
        (5, 1.0, 1, R),
        (6, 2.0, 1, T),
        (7, 1.0, 1, A),
    ]
    assert merged.stored == 3
    assert merge.merge(merged.table, new) == (merged.table, 0)
    assert merge.merge(old, EMPTY) == (old, 0)
    assert merge.merge(EMPTY, new).stored == 4


def test_a_change_of_any_field_counts() -> None:
    bar = OHLCBar(60, 2.0, 3.0, 1.0, 2.0, 2.0, 5.0, 4)
    old = table_of_bars([bar], A)
    for field, value in (
        ("open", 1.5),
        ("high", 4.0),
        ("low", 0.5),
        ("close", 1.5),
        ("vwap", None),
        ("vwap", 2.5),
        ("volume", 6.0),
        ("count", 5),
    ):
        changed = OHLCBar(
            **{name: getattr(bar, name) for name in bar.__struct_fields__} | {field: value}
        )
        assert merge.merge(old, table_of_bars([changed], A)).stored == 1, field
    assert merge.merge(old, table_of_bars([bar], A)).stored == 0
    assert merge.merge(old, table_of_bars([bar], T)).stored == 1
    # One of two changed.
    two = table((1, 1.0, 1, A), (2, 1.0, 1, A))
    assert merge.merge(two, table((1, 1.0, 1, A), (2, 3.0, 1, A))).stored == 1


def test_order_windows_and_what_is_confirmed() -> None:
    assert merge.in_order(EMPTY)
    assert merge.in_order(table((1, 1.0, 1, A)))
    assert merge.in_order(table((1, 1.0, 1, A), (2, 1.0, 1, A)))
    assert not merge.in_order(table((1, 1.0, 1, A), (1, 1.0, 1, A)))
    assert not merge.in_order(table((2, 1.0, 1, A), (1, 1.0, 1, A)))
    three = table((1, 1.0, 1, P), (2, 1.0, 1, W), (3, 1.0, 1, A))
    assert list(times(merge.between(three, 60, 180))) == [60, 120]
    assert list(times(merge.between(three, 61, None))) == [120, 180]
    assert list(times(merge.between(three, None, 60))) == []
    assert merge.between(three, 180, 60).num_rows == 0
    assert rows_of(merge.confirmed(three)) == [(3, 1.0, 1, A)]
    assert merge.confirmed(EMPTY) is EMPTY
    assert merge.joined([EMPTY, EMPTY]) is EMPTY
    assert merge.joined([EMPTY, three]) is three
    assert merge.joined([three, table((4, 1.0, 1, A))]).num_rows == 4


# --- filling --------------------------------------------------------------------------------------


def filled(
    given: pa.Table,
    *covered: tuple[int, int, Source],
    before: tuple[int, float, Source] | None = None,
    old_fills: tuple[int, ...] = (),
) -> list[Row]:
    close = None if before is None else Close(before[0] * STEP, before[1], before[2])
    ranges = [(a * STEP, b * STEP, source) for a, b, source in covered]
    stale = frozenset(at * STEP for at in old_fills)
    return rows_of(merge.fill(given, ranges, STEP, close, stale))


def test_a_covered_interval_repeats_the_close_before_it() -> None:
    given = table((1, 5.0, 1, A), (4, 6.0, 1, A))
    assert filled(given, (1, 6, A)) == [
        (1, 5.0, 1, A),
        (2, 5.0, 0, A),
        (3, 5.0, 0, A),
        (4, 6.0, 1, A),
        (5, 6.0, 0, A),
    ]
    assert filled(given) == [(1, 5.0, 1, A), (4, 6.0, 1, A)]
    assert filled(given, (1, 5, A)) == filled(given, (1, 6, A))[:-1]


def test_after_a_hole_nothing_is_made_up() -> None:
    given = table((1, 5.0, 1, A), (6, 6.0, 1, A))
    # Covered from 4 on: what the price was then nobody knows.
    assert filled(given, (4, 8, A)) == [(1, 5.0, 1, A), (6, 6.0, 1, A), (7, 6.0, 0, A)]
    # From just behind a bar: known.
    assert filled(given, (2, 4, A))[1:3] == [(2, 5.0, 0, A), (3, 5.0, 0, A)]


def test_the_close_comes_from_the_partition_before_when_it_touches() -> None:
    given = table((3, 6.0, 1, A))
    assert filled(given, (1, 4, A), before=(0, 5.0, A)) == [
        (1, 5.0, 0, A),
        (2, 5.0, 0, A),
        (3, 6.0, 1, A),
    ]
    assert filled(given, (2, 4, A), before=(0, 5.0, A)) == [(3, 6.0, 1, A)]
    assert filled(EMPTY, (1, 3, T), before=(0, 5.0, R)) == [(1, 5.0, 0, T), (2, 5.0, 0, T)]


@pytest.mark.parametrize("weak", [P, W])
def test_what_is_provisional_proves_nothing_to_a_firm_claim(weak: Source) -> None:
    given = table((1, 5.0, 1, weak), (4, 6.0, 1, A))
    assert filled(given, (2, 5, A)) == [(1, 5.0, 1, weak), (4, 6.0, 1, A)]
    assert filled(EMPTY, (1, 3, A), before=(0, 5.0, weak)) == []
    # To the stream's own claim it does.
    assert filled(given, (2, 4, W))[1:3] == [(2, 5.0, 0, W), (3, 5.0, 0, W)]


@pytest.mark.parametrize("weak", [P, W])
def test_a_provisional_row_gives_way_to_a_claim_that_has_no_trade_there(weak: Source) -> None:
    given = table((1, 5.0, 1, A), (2, 9.0, 3, weak), (3, 6.0, 1, A))
    assert filled(given, (1, 4, A)) == [(1, 5.0, 1, A), (2, 5.0, 0, A), (3, 6.0, 1, A)]
    # A firm weaker row with trades stays: it knows of some.
    firm = table((1, 5.0, 1, A), (2, 9.0, 3, A), (3, 6.0, 1, R))
    assert filled(firm, (1, 4, R)) == rows_of(firm)


def test_rows_made_earlier_are_made_anew_with_close_and_rank_that_hold() -> None:
    given = table((1, 7.0, 1, T), (2, 5.0, 0, A), (3, 5.0, 0, T))
    assert filled(given, (1, 4, T)) == [(1, 7.0, 1, T), (2, 7.0, 0, T), (3, 7.0, 0, T)]
    # Of a higher rank than the claim they stand as they are.
    assert filled(given, (1, 4, A)) == [(1, 7.0, 1, T), (2, 7.0, 0, A), (3, 5.0, 0, T)]


def test_rests_rows_without_trades_stand_unless_its_new_answer_leaves_them_out() -> None:
    given = table((1, 7.0, 1, R), (2, 5.0, 0, R), (3, 5.0, 0, R))
    assert filled(given, (1, 4, R)) == rows_of(given)
    assert filled(given, (1, 4, R), old_fills=(2, 3)) == [
        (1, 7.0, 1, R),
        (2, 7.0, 0, R),
        (3, 7.0, 0, R),
    ]
    # Where no close is known before them they are better than nothing.
    assert filled(given.slice(1), (2, 4, R), old_fills=(2, 3)) == [(2, 5.0, 0, R), (3, 5.0, 0, R)]


def test_what_rests_answer_leaves_out() -> None:
    old = table((1, 7.0, 1, R), (2, 5.0, 0, R), (3, 5.0, 0, R), (4, 5.0, 0, A), (5, 5.0, 0, R))
    answer = table((1, 8.0, 1, R), (3, 8.0, 0, R))

    def outdated(new: pa.Table, covered: tuple[int, int] | None) -> set[int]:
        window = None if covered is None else (covered[0] * STEP, covered[1] * STEP)
        return {at // STEP for at in merge.outdated(old, new, window)}

    assert outdated(answer, (1, 6)) == {2, 5}
    assert outdated(answer, (1, 5)) == {2}
    assert outdated(answer, (3, 5)) == set()
    assert outdated(answer, None) == set()
    assert outdated(EMPTY, (1, 6)) == set()
    assert outdated(table((1, 8.0, 1, T)), (1, 6)) == set()
    assert merge.outdated(table((1, 7.0, 1, R)), answer, (60, 120)) == frozenset()
    assert merge.outdated(EMPTY, answer, (60, 120)) == frozenset()


# --- gaps -----------------------------------------------------------------------------------------


def gaps(
    given: pa.Table, known: Coverage, since: int | None = None, until: int | None = None
) -> list[tuple[int, int, str]]:
    def seconds(slot: int | None) -> int | None:
        return None if slot is None else slot * STEP

    found = gap_truth.gaps([given], known, STEP, seconds(since), seconds(until))
    return [(gap.start_s // STEP, gap.end_s // STEP, gap.kind) for gap in found]


def covered(*ranges: tuple[int, int]) -> Coverage:
    return Coverage().with_ranges(R, [(a * STEP, b * STEP) for a, b in ranges])


def test_missing_is_what_nobody_answered_for_and_no_trade_what_is_known_to_be_empty() -> None:
    given = table((1, 5.0, 1, R), (2, 5.0, 0, R), (3, 5.0, 2, R), (8, 5.0, 1, R))
    assert gaps(given, covered((1, 6))) == [
        (2, 3, "no_trade"),
        (4, 6, "no_trade"),
        (6, 8, "missing"),
    ]
    assert gaps(given, Coverage()) == [(2, 3, "no_trade"), (4, 8, "missing")]
    assert gaps(given, covered((1, 6)), 0, 10) == [
        (0, 1, "missing"),
        (2, 3, "no_trade"),
        (4, 6, "no_trade"),
        (6, 8, "missing"),
        (9, 10, "missing"),
    ]
    assert gaps(given, covered((1, 6)), 5, 7) == [(5, 6, "no_trade"), (6, 7, "missing")]
    assert gaps(given, covered((1, 6)), 7, 7) == []
    assert gaps(given, covered((1, 6)), 8, 7) == []


def test_where_nothing_is_known_only_a_window_has_gaps() -> None:
    assert gaps(EMPTY, Coverage()) == []
    assert gaps(EMPTY, Coverage(), 1, None) == []
    assert gaps(EMPTY, Coverage(), None, 5) == []
    assert gaps(EMPTY, Coverage(), 1, 5) == [(1, 5, "missing")]
    assert gaps(EMPTY, covered((1, 3))) == [(1, 3, "no_trade")]


def test_what_was_lost_is_missing_though_nothing_is_beyond_it() -> None:
    known = covered((1, 9)).without((6 * STEP, 9 * STEP))
    assert gaps(table((1, 5.0, 1, R)), known) == [(2, 6, "no_trade"), (6, 9, "missing")]
    assert gaps(EMPTY, covered((1, 4)).without((0, 2 * STEP))) == [
        (1, 2, "missing"),
        (2, 4, "no_trade"),
    ]


def test_runs_of_open_times() -> None:
    def runs(*slots: int) -> list[tuple[int, int]]:
        opens = table(*((at, 1.0, 1, R) for at in slots)).column("time")
        return [(a // STEP, b // STEP) for a, b in gap_truth.runs(opens, STEP)]

    assert runs() == []
    assert runs(3) == [(3, 4)]
    assert runs(1, 2, 3) == [(1, 4)]
    assert runs(1, 3, 4, 9) == [(1, 2), (3, 5), (9, 10)]


def test_gaps_may_come_in_pieces() -> None:
    pieces = [table((1, 5.0, 1, R)), EMPTY, table((3, 5.0, 1, R))]
    found = gap_truth.gaps(pieces, Coverage(), STEP, None, None)
    assert found == [Gap(2 * STEP, 3 * STEP, GapKind.MISSING)]


# --- ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        ([], []),
        ([(1, 1), (3, 2)], []),
        ([(3, 4), (1, 2)], [(1, 2), (3, 4)]),
        ([(1, 2), (2, 3)], [(1, 3)]),
        ([(1, 5), (2, 3)], [(1, 5)]),
        ([(1, 3), (2, 5), (5, 6), (7, 8)], [(1, 6), (7, 8)]),
    ],
)
def test_union_joins_what_overlaps_or_touches(given: Any, joined: Any) -> None:
    assert union(given) == joined


def test_intersect_and_subtract_at_the_borders() -> None:
    assert intersect([(1, 3), (5, 8)], (3, 5)) == []
    assert intersect([(1, 3), (5, 8)], (2, 6)) == [(2, 3), (5, 6)]
    assert subtract([(1, 9)], []) == [(1, 9)]
    assert subtract([(1, 9)], [(0, 1), (9, 10)]) == [(1, 9)]
    assert subtract([(1, 9)], [(1, 9)]) == []
    assert subtract([(1, 9)], [(0, 2), (4, 5), (8, 12)]) == [(2, 4), (5, 8)]
    assert subtract([(1, 3), (4, 6), (7, 9)], [(2, 8)]) == [(1, 2), (8, 9)]
    assert subtract([(1, 3), (5, 7)], [(3, 5)]) == [(1, 3), (5, 7)]
