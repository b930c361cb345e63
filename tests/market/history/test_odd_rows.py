"""Single rows of an OHLC answer that are odd: they cost themselves, and invent nothing."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from krakked._errors import MissingBarsError
from krakked._market.store.coverage import GapKind
from krakked._rest.models import OHLCRow

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


# --- the newest ones ----------------------------------------------------------------------------


def answering_until(rest: Any, last_s: int) -> None:
    """Let every answer of OHLC end with the candle that opens then: a reply kept too long."""

    async def ohlc(*call: Any) -> Any:
        reply = await type(rest).ohlc(rest, *call)
        rows = tuple(row for row in reply.rows if row.time <= last_s)
        return msgspec.structs.replace(reply, rows=rows)

    rest.ohlc = ohlc


async def test_a_newest_candle_that_is_rubbish_is_a_hole(
    young: Any, history: Any, caplog: pytest.LogCaptureFixture
) -> None:
    young.odd_rows = {RUNNING_S - at * HOUR: {"close": "nan"} for at in (1, 2)}
    hole = [(RUNNING_S - 2 * HOUR, RUNNING_S, GapKind.MISSING)]
    reads = history(young)
    with caplog.at_level(logging.WARNING, "krakked.history"):
        for _ in range(2):
            bars = await reads.get_ohlc("XBTUSD", "1h", 5)
            assert [bar.time for bar in bars] == [RUNNING_S - at * HOUR for at in (7, 6, 5, 4, 3)]
    told = [line for line in caplog.messages if "are missing in Kraken's answer" in line]
    assert len(told) == 1
    with pytest.raises(MissingBarsError) as caught:
        await reads.get_ohlc("XBTUSD", "1h", 5, on_gap="raise")
    assert [(caught.value.start_s, caught.value.end_s)] == [hole[0][:2]]
    gaps = [(gap.start_s, gap.end_s, gap.kind) for gap in await reads.gaps("XBTUSD", "1h")]
    assert gaps == hole
    assert await reads.gaps("XBTUSD", "1h", until=RUNNING_S - 2 * HOUR) == []
    assert len(await reads.get_ohlc("XBTUSD", "1h", 5, on_gap="raise", refresh=False)) == 5
    young.odd_rows.clear()
    bars = await reads.get_ohlc("XBTUSD", "1h", 5, on_gap="raise")
    assert bars[-1].time == RUNNING_S - HOUR
    assert await reads.gaps("XBTUSD", "1h") == []


async def test_an_answer_that_ends_long_ago_is_a_hole(young: Any, history: Any) -> None:
    answering_until(young, RUNNING_S - 30 * HOUR)
    reads = history(young)
    assert (await reads.get_ohlc("XBTUSD", "1h", 5))[-1].time == RUNNING_S - 30 * HOUR
    with pytest.raises(MissingBarsError) as caught:
        await reads.get_ohlc("XBTUSD", "1h", 5, on_gap="raise")
    assert caught.value.start_s == RUNNING_S - 29 * HOUR
    assert caught.value.end_s == RUNNING_S
    (gap,) = await reads.gaps("XBTUSD", "1h")
    assert (gap.start_s, gap.end_s) == (RUNNING_S - 29 * HOUR, RUNNING_S)
    # Kraken's trades know them.
    report = await reads.repair("XBTUSD", "1h")
    assert report.missing == ()
    assert await reads.gaps("XBTUSD", "1h") == []


@pytest.mark.parametrize(("after_s", "missing"), [(4, False), (59, False), (61, True)])
async def test_a_candle_that_has_just_ended_may_not_be_there_yet(
    young: Any, history: Any, after_s: int, missing: bool
) -> None:
    young.now_s = RUNNING_S + after_s
    answering_until(young, RUNNING_S - 2 * HOUR)
    reads = history(young)
    if missing:
        with pytest.raises(MissingBarsError):
            await reads.get_ohlc("XBTUSD", "1h", 5, on_gap="raise")
    else:
        bars = await reads.get_ohlc("XBTUSD", "1h", 5, on_gap="raise")
        assert bars[-1].time == RUNNING_S - 2 * HOUR
    assert len(await reads.gaps("XBTUSD", "1h")) == missing


async def test_an_answer_of_rubbish_alone_is_a_hole(young: Any, history: Any) -> None:
    for at in range(60):
        young.odd_rows[RUNNING_S - at * HOUR] = {"low": "-1"}
    reads = history(young)
    with pytest.raises(MissingBarsError) as caught:
        await reads.get_ohlc("XBTUSD", "1h", 5, on_gap="raise")
    assert (caught.value.start_s, caught.value.end_s) == (RUNNING_S - 5 * HOUR, RUNNING_S)
    assert await reads.get_ohlc("XBTUSD", "1h", 5) == []


async def test_a_pair_without_candles_has_no_hole(exchange: Any, history: Any) -> None:
    reads = history(exchange([], NOW_S))
    assert await reads.get_ohlc("XBTUSD", "1h", 5, on_gap="raise") == []
    assert await reads.gaps("XBTUSD", "1h") == []
