"""Interval arithmetic and estimates of a back-fill."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from krakked._market.bars import Source
from krakked._market.history import plan
from krakked._market.history.plan import (
    BackfillOrigin,
    BackfillPlan,
    PlanStep,
    confirmed_ranges,
    due_ranges,
    known_ranges,
    missing_ranges,
    ohlc_since,
    pages_of,
    reach_start,
    rest_ranges,
    unsettled_ranges,
)
from krakked._market.store.coverage import CoverageRange


def test_the_websockets_word_counts_only_provisionally() -> None:
    coverage = (CoverageRange(0, 60, Source.REST), CoverageRange(60, 120, Source.WEBSOCKET))
    assert confirmed_ranges(coverage) == [(0, 60)]
    assert confirmed_ranges(coverage, provisional=True) == [(0, 120)]


@given(
    st.integers(0, 20),
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4),
)
def test_missing_is_every_closed_interval_that_is_not_covered(
    since: int, now: int, ranges: list[tuple[int, int]]
) -> None:
    covered = confirmed_ranges(CoverageRange(a * 60, b * 60, Source.REST) for a, b in ranges)
    now_s = now * 60 + 30  # half a minute into a running candle
    missing = missing_ranges(covered, since * 60, now_s, 60)
    inside = {m for a, b in missing for m in range(a // 60, b // 60)}
    known = {m for a, b in covered for m in range(a // 60, b // 60)}
    assert inside == {m for m in range(since, now) if m not in known}


def test_a_rest_shorter_than_an_interval_holds_no_closed_bar() -> None:
    week = 604_800
    monday = 4 * 86_400  # weeks that begin on Monday are no multiples of a week since the epoch
    assert missing_ranges([(monday, monday + week)], monday, monday + 2 * week - 1, week) == []
    assert missing_ranges([(monday, monday + week)], monday, monday + 2 * week, week) == [
        (monday + week, monday + 2 * week)
    ]


def test_ohlc_is_asked_one_candle_early() -> None:
    assert ohlc_since(6000, 60) == 5940
    assert ohlc_since(60, 60) is None
    assert ohlc_since(0, 60) is None


def test_reach_and_pages() -> None:
    assert reach_start(720 * 60 + 30, 60) == 60
    assert [pages_of(n) for n in (0, 1, 999, 1000, 200_000)] == [1, 1, 1, 2, 201]


def test_a_plan_says_sources_calls_minutes_and_bytes() -> None:
    planned = BackfillPlan(
        pair="XBTUSD",
        timeframe="1h",
        since_s=0,
        until_s=100,
        steps=(
            PlanStep(
                origin=BackfillOrigin.TRADES, start_s=0, end_s=10, calls=3, trades=2500, bytes=200
            ),
            PlanStep(origin=BackfillOrigin.STORED, start_s=10, end_s=20),
            PlanStep(origin=BackfillOrigin.OHLC, start_s=20, end_s=100, calls=1, bytes=50),
        ),
        minutes=4 / 60,
    )
    assert planned.calls == 4
    assert planned.bytes == 250
    assert planned.sources == (BackfillOrigin.TRADES, BackfillOrigin.STORED, BackfillOrigin.OHLC)
    assert planned.text().startswith("XBTUSD 1h: 4 calls")
    assert planned.minutes == pytest.approx(0.0667, abs=1e-3)


NOW_S = 1000 * 60 + 30.0
REACH_S = reach_start(NOW_S, 60)


def test_within_reach_only_rest_counts_and_beyond_it_everybody() -> None:
    coverage = (
        CoverageRange(REACH_S + 600, REACH_S + 1200, Source.REST),
        CoverageRange(0, REACH_S + 6000, Source.ARCHIVE),
        CoverageRange(0, REACH_S + 6000, Source.WEBSOCKET),
    )
    assert rest_ranges(coverage) == [(REACH_S + 600, REACH_S + 1200)]
    assert known_ranges(coverage, NOW_S, 60) == [(0, REACH_S), (REACH_S + 600, REACH_S + 1200)]
    assert known_ranges((CoverageRange(0, 60, Source.WEBSOCKET),), NOW_S, 60) == []
    # What REST confirmed stays known when it is out of reach.
    old = (CoverageRange(0, 600, Source.REST),)
    assert known_ranges(old, NOW_S, 60) == [(0, 600)]


def test_what_was_unsettled_is_due_when_it_can_change_no_more() -> None:
    start_s, end_s = 58_980, 60_000
    coverage = (
        CoverageRange(0, start_s, Source.REST),
        CoverageRange(start_s, end_s, Source.REST, settled=False),
    )
    assert unsettled_ranges(coverage) == [(start_s, end_s)]
    # To the second: the candle of 58,980 ends at 59,040, and 15 minutes later it is settled.
    assert due_ranges(coverage, 59_940 - 0.1, 60) == []
    assert due_ranges(coverage, 59_940, 60) == [(58_980, 59_040)]
    assert due_ranges(coverage, 59_999, 60) == [(58_980, 59_040)]
    assert due_ranges(coverage, 60_000, 60) == [(58_980, 59_100)]
    assert due_ranges(coverage, end_s + 900, 60) == [(58_980, end_s)]
    assert known_ranges(coverage, 59_940, 60) == [(0, 58_980), (59_040, end_s)]
    # Out of reach nobody can ask again.
    assert due_ranges(coverage, end_s + 800 * 60, 60) == []


@pytest.mark.parametrize("step_s", [60, 3600, 86_400])
def test_reach_is_one_candle_less_than_kraken_says(step_s: int) -> None:
    now_s = 5000 * step_s
    assert reach_start(now_s, step_s) == now_s - 719 * step_s
    assert reach_start(now_s + step_s - 1, step_s) == now_s - 719 * step_s


def test_the_sizes_of_the_estimate() -> None:
    assert (plan.MAX_CALLS, plan.PAGE_ROWS) == (2000, 1000)
    assert (plan.PAGE_BYTES, plan.OHLC_BYTES) == (75_000, 60_000)
    assert datetime(2011, 1, 1, tzinfo=UTC).timestamp() == plan.BEGINNING_S
    step = PlanStep(origin=BackfillOrigin.STORED, start_s=10, end_s=20)
    assert (step.calls, step.trades, step.bytes) == (0, 0, 0)


def test_a_plan_in_one_sentence() -> None:
    empty = BackfillPlan(
        pair="XBTUSD", timeframe="1h", since_s=0, until_s=100, steps=(), minutes=0.0
    )
    assert empty.text() == "XBTUSD 1h: 0 calls, about 0 minutes, 0.0 MB; from nothing."
    steps = (
        PlanStep(origin=BackfillOrigin.TRADES, start_s=0, end_s=10, calls=1200, bytes=90_000_000),
        PlanStep(origin=BackfillOrigin.OHLC, start_s=10, end_s=100, calls=1, bytes=60_000),
    )
    full = msgspec.structs.replace(empty, steps=steps, minutes=20.02)
    assert full.text() == ("XBTUSD 1h: 1,201 calls, about 20 minutes, 90.1 MB; from trades, ohlc.")


def test_one_candle_early_may_be_the_first_second_of_all() -> None:
    assert ohlc_since(61, 60) == 1
