"""Data that comes late is not fresh, however lately it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from krakked._errors import DataStaleError, StaleReason
from krakked._market.changes import SubscriptionMute, TickerChange
from krakked._market.status import Freshness, judge_pair

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.market.stream.conftest import OpenStage
    from trio.testing import MockClock


@pytest.mark.parametrize("timeframes", [("1m",), ()], ids=["beside candles", "tickers alone"])
async def test_tickers_that_come_late_are_never_passed_as_fresh(
    stage: OpenStage, autojump_clock: MockClock, timeframes: tuple[str, ...]
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=timeframes, stale_s=30.0) as s:
        await trio.sleep(60)
        s.reads.get_latest_price("XBTUSD")
        s.exchange.faults.lag_tickers(60)
        await trio.sleep(31)
        reasons, found = [], set()
        for _ in range(600):
            await trio.sleep(1)
            with pytest.raises(DataStaleError) as caught:
                s.reads.get_latest_price("XBTUSD")
            reasons.append(caught.value.why)
            found.add(judge_pair(s.feed.statistics().pairs["XBTUSD"], 30.0).freshness)
        assert reasons.count(StaleReason.DATA_LATE) > 300
        assert Freshness.LATE in found
        assert found <= {Freshness.LATE, Freshness.MUTE, Freshness.QUIET}
        s.exchange.faults.lag_tickers(0)
        await trio.sleep(120)
        true = s.exchange.truth.ticker("BTC/USD")
        assert s.reads.get_latest_price("XBTUSD", exact=True).price == true.last


async def test_a_late_ticker_says_in_changes_when_it_was_made(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",)) as s:
        await trio.sleep(10)
        s.exchange.faults.lag_tickers(60)
        await trio.sleep(75)
        async for change in s.feed.changes(kinds=["ticker"]):
            assert isinstance(change, TickerChange)
            late_s = s.exchange.clock.wall_ns() / 1e9 - change.last_update_ts
            assert late_s == pytest.approx(60, abs=2)
            break


async def test_a_pair_that_trades_and_whose_ticker_lags_is_told(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",)) as s:
        await trio.sleep(10)
        s.exchange.faults.lag_tickers(60)
        with trio.fail_after(120):
            async for change in s.feed.changes(kinds=["feed"]):
                if isinstance(change, SubscriptionMute):
                    assert (change.pair, change.channel) == ("XBTUSD", "ticker")
                    break
