"""Single rows of an OHLC answer that are odd: they cost themselves, and invent nothing."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from krakked.market.store.coverage import GapKind
from krakked.rest.wire import OHLCRow

NS = 10**9
HOUR = 3600
NOW_S = 1_790_000_000 // HOUR * HOUR + 1800
RUNNING_S = NOW_S - 1800


@pytest.fixture
def young(exchange: Any) -> Any:
    """A pair that has traded every ten minutes of the last 49 hours."""
    first_s = RUNNING_S - 49 * HOUR
    return exchange([(at * NS, 100.0, 1.5) for at in range(first_s, NOW_S, 600)], NOW_S)


def with_row(rest: Any, old: OHLCRow | None = None) -> None:
    """Let every answer of OHLC have one more row in front."""

    async def ohlc(*call: Any) -> Any:
        reply = await type(rest).ohlc(rest, *call)
        return msgspec.structs.replace(reply, rows=(old, *reply.rows))

    rest.ohlc = ohlc


@pytest.mark.parametrize("old_s", [0, RUNNING_S - 5000 * HOUR])
async def test_one_old_row_invents_no_candles(
    young: Any, history: Any, store: Any, old_s: int, caplog: pytest.LogCaptureFixture
) -> None:
    with_row(young, OHLCRow(old_s, "7", "7", "7", "7", "7", "1", 1))
    with caplog.at_level(logging.WARNING, "krakked.history"):
        bars = await history(young).get_ohlc("XBTUSD", "1h", 10_000)
    assert [bar.time for bar in bars] == list(range(RUNNING_S - 49 * HOUR, RUNNING_S, HOUR))
    assert {bar.count for bar in bars} == {6}
    assert "1 rows of OHLC for XBTUSD 1h are no candles" in caplog.text
    assert store.first_stored("XBTUSD", "1h") == RUNNING_S - 49 * HOUR
    assert store.gaps("XBTUSD", "1h") == []
    # What is not answered for is still there to be fetched.
    del young.ohlc
    report = await history(young).backfill_ohlc("XBTUSD", "1h", since=RUNNING_S - 3000 * HOUR)
    assert any(call[0] == "Trades" for call in young.calls)
    assert report.missing == ()


async def test_a_row_of_long_ago_within_reach_claims_nothing_behind_it(
    young: Any, history: Any, store: Any
) -> None:
    old_s = RUNNING_S - 600 * HOUR
    with_row(young, OHLCRow(old_s, "7", "7", "7", "7", "7", "1", 1))
    bars = await history(young).get_ohlc("XBTUSD", "1h", 720)
    assert [bar.time for bar in bars] == list(range(RUNNING_S - 49 * HOUR, RUNNING_S, HOUR))
    (gap,) = store.gaps("XBTUSD", "1h")
    assert (gap.start_s, gap.end_s) == (old_s + HOUR, RUNNING_S - 49 * HOUR)
    assert gap.kind is GapKind.MISSING
    calls = len(young.calls)
    await history(young).get_ohlc("XBTUSD", "1h", 40)
    assert len(young.calls) == calls


async def test_a_count_that_does_not_fit_costs_one_row(
    young: Any, history: Any, store: Any
) -> None:
    young.odd_rows[RUNNING_S - 20 * HOUR] = {"count": 2**63}
    bars = await history(young).get_ohlc("XBTUSD", "1h", 60, on_gap="join")
    assert len(bars) == 48
    assert RUNNING_S - 20 * HOUR not in {bar.time for bar in bars}
    (gap,) = store.gaps("XBTUSD", "1h")
    assert (gap.start_s, gap.end_s) == (RUNNING_S - 20 * HOUR, RUNNING_S - 19 * HOUR)
