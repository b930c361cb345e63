"""Live reads over the in-memory exchange: values, the four errors, and why data is stale."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from tests.market.stream.conftest import OpenStage
    from trio.testing import MockClock

import krakked
from krakked._errors import (
    ConfigError,
    DataStaleError,
    NoDataYetError,
    StaleReason,
    SubscriptionRefusedError,
    UnknownPairError,
    UnknownTimeframeError,
)
from krakked._market.changes import Disconnected
from krakked._market.stream.disconnect import DisconnectReason
from krakked.sandbox import SandboxSettings, open_sandbox

pytestmark = pytest.mark.slow


QUIET = SandboxSettings(pair_count=60, activity=0.0, quote_activity=0.0)


async def test_reads_agree_with_the_market(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage() as s:
        await trio.sleep(30)
        for pair in s.feed.pairs:
            truth = s.exchange.truth.ticker(pair)
            price = s.reads.get_latest_price(pair, exact=True)
            quote = s.reads.get_best_bid_ask(pair, exact=True)
            assert price.price == truth.last
            assert (quote.bid, quote.ask) == (truth.bid, truth.ask)
            assert (quote.bid_qty, quote.ask_qty) == (truth.bid_qty, truth.ask_qty)
            assert isinstance(price.price, Decimal)
            assert float(s.reads.get_latest_price(pair)) == float(truth.last)


async def test_the_whole_ticker_agrees_with_the_market(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage() as s:
        await trio.sleep(30)
        for pair in s.feed.pairs:
            truth, exact = s.exchange.truth.ticker(pair), s.reads.get_ticker(pair, exact=True)
            for name in ("bid", "bid_qty", "ask", "ask_qty", "last"):
                assert getattr(exact, name) == getattr(truth, name), name
            assert exact.exchange_ts is not None
            made_ns = round(exact.exchange_ts * 1e6) * 1_000 + 999
            then = s.exchange.truth.ticker(pair, made_ns)
            day = (then.low_24h, then.high_24h, then.volume_24h, then.count_24h)
            assert (exact.low, exact.high, exact.volume, exact.trades) == day
            assert None not in (exact.change, exact.vwap)
            assert abs(exact.exchange_ts - s.exchange.clock.wall_ns() / 1e9) < 40
            plain = s.reads.get_ticker(pair)
            assert isinstance(plain.change_pct, float)
            assert plain.bid == float(truth.bid)
        s.exchange.faults.mute()
        await trio.sleep(90)
        with pytest.raises(DataStaleError):
            s.reads.get_ticker("XBTUSD")


async def test_any_spelling_reads_the_same_and_answers_in_canonical(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage() as s:
        for name in ("XBTUSD", "XBT/USD", "BTC/USD", "XXBTZUSD"):
            assert s.reads.get_latest_price(name).pair == "XBTUSD"


async def test_every_answer_carries_when_its_data_arrived(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    settings = SandboxSettings(pair_count=60, activity=0.0, quote_activity=0.0)
    async with stage(settings=settings) as s:
        arrived = s.exchange.clock.wall_ns() / 1e9
        await trio.sleep(42)
        read = s.reads.get_best_bid_ask("XBTUSD")
        assert arrived - 2 <= read.last_update_ts <= arrived
        now = s.exchange.clock.wall_ns() / 1e9
        assert now - read.last_update_ts == pytest.approx(42, abs=2)


async def test_a_running_candle_and_then_a_closed_one(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    settings = SandboxSettings(pair_count=60, trade_rates={"XBTUSD": 0.05})
    async with stage(settings=settings, pairs=["XBTUSD"], stale_s=86_400.0) as s:
        seen = set()
        for _ in range(600):
            await trio.sleep(1)
            candle = s.reads.get_live_ohlc("XBTUSD", "1m")
            now = s.exchange.truth.now_ns() / 1e9
            if not candle.closed:
                assert candle.time <= now < candle.time + 60 + 7  # grace, tick
            else:
                assert now >= candle.time + 60
            seen.add(candle.closed)
        assert seen == {True, False}


async def test_an_unknown_pair_and_an_unknown_timeframe(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage() as s:
        with pytest.raises(UnknownPairError) as error:
            s.reads.get_latest_price("XBTUSDX")
        assert error.value.suggestion == "XBTUSD"
        with pytest.raises(UnknownTimeframeError):
            s.reads.get_live_ohlc("XBTUSD", "2m")


async def test_no_data_yet(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage(pairs=["XBTUSD"], wait=False) as s:
        for read in (s.reads.get_latest_price, s.reads.get_best_bid_ask):
            with pytest.raises(NoDataYetError, match="has arrived yet"):
                read("XBTUSD")
        with pytest.raises(NoDataYetError):
            s.reads.get_live_ohlc("XBTUSD", "1m")
        with pytest.raises(NoDataYetError, match="not streamed"):
            s.reads.get_latest_price("ETHUSD")
        with pytest.raises(NoDataYetError, match="not subscribed"):
            s.reads.get_live_ohlc("XBTUSD", "15m")


async def test_a_refusal_surfaces_at_once_everywhere(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    def before(exchange) -> None:
        exchange.faults.refuse_symbols(["ETH/USD"])

    async with stage(before=before, wait=False) as s:
        with pytest.raises(SubscriptionRefusedError) as error:
            await s.feed.wait_live(["XBTUSD", "ETHUSD"], 60)
        assert trio.current_time() < 5
        assert error.value.pair == "ETHUSD"
        assert error.value.reason == "Currency pair not supported ETH/USD"
        await trio.sleep(2)  # the other connections follow the first
        for read in (s.reads.get_latest_price, s.reads.get_best_bid_ask):
            with pytest.raises(SubscriptionRefusedError, match="Currency pair not supported"):
                read("ETHUSD")
        with pytest.raises(SubscriptionRefusedError):
            s.reads.get_live_ohlc("ETHUSD", "1m")
        await s.feed.wait_live(["XBTUSD"], 60)
        pair = s.feed.statistics().pairs["ETHUSD"]
        assert (pair.state, pair.reason) == ("refused", "Currency pair not supported ETH/USD")


async def test_stale_because_the_market_is_quiet(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(settings=QUIET) as s:
        await trio.sleep(59)
        s.reads.get_latest_price("XBTUSD")
        await trio.sleep(3)
        with pytest.raises(DataStaleError) as error:
            s.reads.get_latest_price("XBTUSD")
        assert error.value.why is StaleReason.MARKET_QUIET
        assert error.value.age_s == pytest.approx(62, abs=1)
        with pytest.raises(DataStaleError):
            s.reads.get_best_bid_ask("XBTUSD")
        with pytest.raises(DataStaleError):
            s.reads.get_live_ohlc("XBTUSD", "1m")


async def test_stale_because_the_feed_is_down(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage() as s:
        s.exchange.faults.refuse_connects()
        await s.exchange.faults.cut()
        await trio.sleep(59)
        s.reads.get_latest_price("XBTUSD")  # young enough still
        await trio.sleep(3)
        with pytest.raises(DataStaleError) as error:
            s.reads.get_latest_price("XBTUSD")
        assert error.value.why is StaleReason.FEED_DOWN
        with pytest.raises(DataStaleError) as error:
            s.reads.get_live_ohlc("XBTUSD", "1m")
        assert error.value.why is StaleReason.FEED_DOWN
        s.exchange.faults.allow_connects()
        await trio.sleep(31)
        s.reads.get_latest_price("XBTUSD")


async def test_stale_because_the_subscription_is_mute(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage() as s:
        s.exchange.faults.mute(["BTC/USD"], ["ticker"])
        await s.exchange.faults.cut()
        await trio.sleep(70)
        with pytest.raises(DataStaleError) as error:
            s.reads.get_latest_price("XBTUSD")
        assert error.value.why is StaleReason.SUBSCRIPTION_MUTE
        s.reads.get_latest_price("ETHUSD")


async def test_a_machine_that_slept_trusts_nothing_from_before(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(stale_s=86_400.0) as s:
        events: list = []

        async def watch() -> None:
            async for change in s.feed.changes(kinds=["feed"]):
                events.append(change)

        s.nursery.start_soon(watch)
        await trio.sleep(3)
        before, lines = s.exchange.ws_connects, len(s.exchange.connections)
        assert not events
        s.exchange.clock.suspend(30.0)
        with pytest.raises(DataStaleError) as error:
            s.reads.get_latest_price("XBTUSD")
        assert error.value.why is StaleReason.RESUMED
        await trio.sleep(5)
        s.reads.get_latest_price("XBTUSD")
        assert s.feed.statistics().resumes == 1
        # No old connection is trusted: its peer may have given us up long ago.
        gone = [it for it in events if isinstance(it, Disconnected)]
        assert [it.reason for it in gone] == [DisconnectReason.RESUMED] * lines
        assert s.exchange.ws_connects == before + lines


async def test_no_read_ever_waits(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage() as s:
        with trio.CancelScope() as scope:  # noqa: ASYNC100 - that is the point
            scope.cancel()
            s.reads.get_latest_price("XBTUSD")  # a checkpoint in here would raise Cancelled
            s.reads.get_best_bid_ask("XBTUSD")
            s.reads.get_live_ohlc("XBTUSD", "1m")
        assert not scope.cancelled_caught


@pytest.mark.parametrize("timeout_s", [-1, -0.001, float("nan")])
async def test_a_wait_that_is_no_time_is_refused(
    timeout_s: float, stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage() as s:
        with pytest.raises(ConfigError, match="timeout_s"):
            await s.feed.wait_live(["XBTUSD"], timeout_s)


async def test_the_report_may_be_asked_from_any_thread_and_the_rest_says_where_it_belongs(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    settings = SandboxSettings(pair_count=40)
    async with (
        open_sandbox(memory=True, settings=settings) as exchange,
        krakked.open_kraken(
            exchange.config(tmp_path),
            pairs=["XBTUSD"],
            network=exchange.network,
            clock=exchange.clock,
        ) as kraken,
    ):
        await kraken.wait_live(timeout_s=60)
        changes = kraken.changes()
        told: list[object] = []

        def elsewhere() -> None:
            told.append(kraken.get_data_status().verdict)
            for use in (
                lambda: kraken.feed.add_pairs(["ETHUSD"]),
                lambda: kraken.feed.remove_timeframe("1m"),
                lambda: trio.run(changes.__anext__),
            ):
                try:
                    use()
                except krakked.KrakkedError as error:
                    told.append(type(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(30)
        assert told == ["ok", *[krakked.KrakkedError] * 3]
        assert kraken.feed.pairs == ("XBTUSD",)
