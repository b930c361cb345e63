"""Connecting, losing, noticing and coming back: the feed over the in-memory exchange."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import trio

from krakked._errors import NoDataYetError, NotLiveError, UnknownPairError
from krakked._market.changes import (
    CandleClosed,
    Disconnected,
    MarketStatus,
    Reconnected,
    Resubscribed,
)
from krakked._market.stream.connect_limiter import budget_for
from krakked._market.stream.connection import Endpoint
from krakked._market.stream.disconnect import DisconnectReason
from krakked._market.stream.statistics import ConnectionState
from krakked._network.clock import SystemClock
from krakked.sandbox import SandboxSettings

pytestmark = pytest.mark.slow


if TYPE_CHECKING:
    from tests.market.stream.conftest import OpenStage, Stage
    from trio.testing import MockClock

Check = Callable[..., int]
QUIET = SandboxSettings(pair_count=60, activity=0.0, quote_activity=0.0)


async def events_of(stage: Stage, into: list) -> None:
    async for change in stage.feed.changes(kinds=["feed"]):
        into.append((trio.current_time(), change))


def of(kind: type, events: list) -> list:
    return [(at, event) for at, event in events if isinstance(event, kind)]


async def test_one_connection_per_timeframe(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage(timeframes=("1m", "5m", "1h")) as s:
        await trio.sleep(2)
        names = [c.name for c in s.feed.statistics().connections]
        assert names == ["1m", "5m", "1h"]
        assert len(s.exchange.connections) == 3
        held = [set(c.subscriptions) for c in s.exchange.connections]
        assert sum(len([k for k in keys if k[0] == "ticker"]) for keys in held) == 4


async def test_load_is_shared_by_number_of_symbols(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(timeframes=("1m",), symbols_per_connection=2) as s:
        assert [c.name for c in s.feed.statistics().connections] == ["1m", "1m/2"]
        for pair in s.feed.pairs:
            s.reads.get_best_bid_ask(pair)


async def test_a_drop_is_told_in_order_and_everything_comes_back(
    stage: OpenStage, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "krakked.stream")
    async with stage(timeframes=("1m",)) as s:
        events: list = []
        s.nursery.start_soon(events_of, s, events)
        await trio.sleep(10)
        cut_at = trio.current_time()
        await s.exchange.faults.cut()
        await trio.sleep(10)
        kinds = [type(event) for _, event in events]
        assert kinds == [Disconnected, Reconnected, Resubscribed]
        assert events[0][1].reason is DisconnectReason.CLOSED
        back_at, reconnected = events[1]
        assert reconnected.gap_s == pytest.approx(back_at - cut_at, abs=0.1)
        assert back_at - cut_at <= 5.0
        assert (events[2][1].ok, events[2][1].refused) == (9, 0)
        await s.feed.wait_live(None, 1)
    said = " ".join(record.getMessage() for record in caplog.records)
    for word in ("connected (online)", "subscribed:", "disconnected:", "retry in", "resubscribed:"):
        assert word in said


@pytest.mark.parametrize("fault", ["half_open", "stall"])
async def test_half_open_is_noticed_within_15_seconds(
    stage: OpenStage, autojump_clock: MockClock, fault: str
) -> None:
    async with stage(timeframes=("1m", "5m")) as s:
        events: list = []
        s.nursery.start_soon(events_of, s, events)
        await trio.sleep(10.3)
        at = trio.current_time()
        getattr(s.exchange.faults, fault)()
        await trio.sleep(40)
        lost = of(Disconnected, events)
        assert len(lost) == 2
        for when, event in lost:
            assert when - at <= 15.0
            assert event.reason is DisconnectReason.HALF_OPEN
        await s.feed.wait_live(None, 1)


async def test_half_open_is_noticed_with_nothing_subscribed_too(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    def before(exchange) -> None:
        exchange.faults.refuse_symbols(["BTC/USD"])

    async with stage(timeframes=("1m",), pairs=["XBTUSD"], before=before, wait=False) as s:
        await trio.sleep(5)
        s.exchange.faults.half_open()
        await trio.sleep(15)
        assert "half_open" in (s.feed.statistics().connections[0].last_disconnect or "")


async def test_acked_but_mute_is_noticed_within_15_seconds(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(timeframes=("1m",)) as s:
        s.exchange.faults.mute(["BTC/USD"], ["ticker"])
        await s.exchange.faults.cut()
        await trio.sleep(2)
        acked = trio.current_time()
        with trio.fail_after(60):
            while s.feed.statistics().pairs["XBTUSD"].state != "mute":
                await s.feed.wait_state()
        assert trio.current_time() - acked <= 15.0
        assert s.feed.statistics().pairs["ETHUSD"].state == "live"
        s.exchange.faults.unmute()
        await trio.sleep(130)  # asked for again after 60 s at the latest
        assert s.feed.statistics().pairs["XBTUSD"].state == "live"
        assert s.feed.statistics().reconnects == 1  # the other pairs were left alone


async def test_a_connection_all_of_whose_tickers_are_mute_is_replaced(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(timeframes=("1m",)) as s:
        s.exchange.faults.mute(None, ["ticker"])
        await s.exchange.faults.cut()
        events: list = []
        s.nursery.start_soon(events_of, s, events)
        await trio.sleep(25)
        assert DisconnectReason.MUTE in [e.reason for _, e in of(Disconnected, events)]


async def test_candles_that_went_mute_after_being_live_are_found_by_rest(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    settings = SandboxSettings(pair_count=60, trade_rates={"XBTUSD": 0.2, "ETHUSD": 0.2})
    async with stage(timeframes=("1m",), pairs=["XBTUSD", "ETHUSD"], settings=settings) as s:
        await trio.sleep(60)
        s.exchange.faults.mute(["BTC/USD"], ["ohlc"])
        await trio.sleep(300)
        assert s.feed.statistics().pairs["XBTUSD"].mute_timeframes == ("1m",)
        assert s.feed.statistics().pairs["ETHUSD"].mute_timeframes == ()
        s.exchange.faults.unmute()
        await trio.sleep(150)
        assert s.feed.statistics().pairs["XBTUSD"].mute_timeframes == ()
        assert s.reads.get_live_ohlc("XBTUSD", "1m").last_update_ts > 0


@pytest.mark.slow
async def test_a_quiet_market_raises_no_alarm(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage(timeframes=("1m",), settings=QUIET) as s:
        await trio.sleep(1800)
        facts = s.feed.statistics()
        assert facts.reconnects == 0
        assert {pair.state for pair in facts.pairs.values()} == {"live"}
        assert {pair.mute_timeframes for pair in facts.pairs.values()} == {()}


@pytest.mark.slow
@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
async def test_a_stepped_wall_clock_changes_nothing(
    stage: OpenStage, autojump_clock: MockClock, true_candles: Check, step_s: float
) -> None:
    async with stage(timeframes=("1m",), pairs=["XBTUSD"]) as s:
        await trio.sleep(95)
        s.exchange.clock.step_wall(step_s)
        await trio.sleep(300)
        assert s.feed.statistics().reconnects == 0
        true_candles(s, "XBTUSD", "1m")
        now = s.exchange.clock.wall_ns() / 1e9
        assert s.reads.get_latest_price("XBTUSD").last_update_ts == pytest.approx(now, abs=5)


@pytest.mark.slow
@pytest.mark.parametrize("with_rest", [True, False])
@pytest.mark.parametrize("wrong_s", [3600.0, -3600.0])
async def test_a_wall_clock_that_is_wrong_from_the_start_closes_no_candle_early(
    stage: OpenStage,
    autojump_clock: MockClock,
    true_candles: Check,
    wrong_s: float,
    with_rest: bool,
) -> None:
    """Without REST only the stream tells the time, and it says little in its first seconds."""

    def before(exchange) -> None:
        exchange.clock.step_wall(wrong_s)

    async with stage(
        timeframes=("1m",),
        pairs=["XBTUSD", "ETHUSD"],
        before=before,
        with_rest=with_rest,
        settings=SandboxSettings(pair_count=60, activity=0.5, quote_activity=0.01),
    ) as s:
        await trio.sleep(300)
        for pair in s.feed.pairs:
            assert true_candles(s, pair, "1m") >= 4


async def test_all_feeds_of_a_process_share_one_budget() -> None:
    class Still:
        virtual = True

        def elapsed_ns(self) -> int:
            return 0

        wall_ns = elapsed_ns

    clock, real = Still(), SystemClock()
    assert budget_for(clock, "a:1") is budget_for(clock, "a:1")
    assert budget_for(clock, "a:1") is not budget_for(clock, "b:1")
    assert budget_for(clock, "a:1") is not budget_for(Still(), "a:1")
    assert budget_for(real, "a:1") is budget_for(SystemClock(), "a:1")


@pytest.mark.slow
async def test_closed_candles_survive_a_short_and_a_long_outage(
    stage: OpenStage, autojump_clock: MockClock, true_candles: Check
) -> None:
    async with stage(timeframes=("1m", "5m"), pairs=["XBTUSD", "ETHUSD"]) as s:
        for pause, outage in ((130, 0), (100, 25), (70, 1200), (45, 0), (300, 0)):
            await trio.sleep(pause)
            s.exchange.faults.refuse_connects()
            await s.exchange.faults.cut()
            await trio.sleep(outage)
            s.exchange.faults.allow_connects()
        await trio.sleep(200)
        for pair in s.feed.pairs:
            for timeframe in s.feed.timeframes:
                true_candles(s, pair, timeframe)
        sources = {c.source.name for c in s.closed}
        assert sources == {"REST", "WEBSOCKET"}
        assert s.feed.statistics().unfilled_holes == 0
        assert s.feed.statistics().open_holes == 0


async def test_holes_are_counted_when_rest_is_away(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(timeframes=("1m",), pairs=["XBTUSD"], with_rest=False) as s:
        await trio.sleep(100)
        s.exchange.faults.refuse_connects()
        await s.exchange.faults.cut()
        await trio.sleep(1500)
        s.exchange.faults.allow_connects()
        await trio.sleep(300)
        assert s.feed.statistics().unfilled_holes == 1
        times = [c.bar.time for c in s.closed]
        assert times == sorted(set(times))
        assert times[-1] - times[0] > 1500


async def test_nothing_stops_the_stream(
    stage: OpenStage, autojump_clock: MockClock, true_candles: Check
) -> None:
    async with stage(timeframes=("1m",), pairs=["XBTUSD", "ETHUSD"]) as s:
        faults = s.exchange.faults
        faults.malformed(0.2)
        faults.duplicate_candles(0.3)
        faults.late_candles(0.3)
        faults.slice_bytes(40)
        await trio.sleep(40)
        faults.slice_bytes(0)
        faults.oversized(size=2 << 20, times=2)
        faults.fragment(3)
        await trio.sleep(70)
        faults.fragment(0)
        faults.coalesce()
        await trio.sleep(70)
        facts = s.feed.statistics()
        assert facts.reconnects == 0
        assert facts.connections[0].malformed > 10
        for pair in s.feed.pairs:
            true_candles(s, pair, "1m")
            truth = s.exchange.truth.ticker(pair)
            assert s.reads.get_latest_price(pair, exact=True).price == truth.last


async def test_a_message_beyond_the_cap_costs_the_connection_alone(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(timeframes=("1m",), pairs=["XBTUSD"]) as s:
        s.exchange.faults.oversized(size=9 << 20)
        await trio.sleep(30)
        facts = s.feed.statistics()
        assert facts.reconnects == 1
        assert "1009" in (facts.connections[0].last_disconnect or "")
        s.reads.get_latest_price("XBTUSD")


async def test_exceeded_message_rate_only_delays(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    def before(exchange) -> None:
        exchange.faults.message_rate_error(3)

    async with stage(timeframes=("1m",), before=before) as s:
        assert s.feed.statistics().reconnects == 0
        assert trio.current_time() < 15


@pytest.mark.parametrize("fault", ["refuse", "accept_then_drop", "cloudflare", "cut_handshake"])
async def test_every_way_of_not_connecting_is_survived(
    stage: OpenStage, autojump_clock: MockClock, fault: str
) -> None:
    def before(exchange) -> None:
        match fault:
            case "refuse":
                exchange.faults.refuse_connects(3)
            case "accept_then_drop":
                exchange.faults.accept_then_drop(3)
            case "cloudflare":
                exchange.faults.cloudflare_page(429, 2)
            case "cut_handshake":
                for sent in (0, 10, 60):
                    exchange.faults.cut_next_after(sent)

    async with stage(timeframes=("1m",), before=before, wait=False) as s:
        await s.feed.wait_live(None, 120)
        status = s.feed.statistics().connections[0]
        words = {
            "refuse": "connect_failed",
            "accept_then_drop": "closed",
            "cloudflare": "HTTP 429",
            "cut_handshake": "handshake",
        }
        assert words[fault] in (status.last_disconnect or "")


async def test_after_a_loss_one_connection_probes_and_the_others_follow(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(timeframes=("1m", "5m", "1h")) as s:
        s.exchange.faults.refuse_connects()
        await s.exchange.faults.cut()
        before = s.exchange.ws_connects
        await trio.sleep(120)
        probes = s.exchange.ws_connects - before
        assert 3 <= probes <= 30  # one prober's backoff, not three
        s.exchange.faults.allow_connects()
        await s.feed.wait_live(None, 60)


async def test_maintenance_is_told_and_reconnects_keep_their_distance(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(timeframes=("1m",)) as s:
        events: list = []
        s.nursery.start_soon(events_of, s, events)
        s.exchange.faults.announce_maintenance({"title": "Upgrade"})
        await s.exchange.faults.maintenance()
        await trio.sleep(1)
        assert s.feed.statistics().system == "maintenance"
        (announced,) = s.feed.statistics().notices.maintenance
        assert announced.title == "Upgrade"
        attempts = []
        s.exchange.faults.refuse_connects()
        await s.exchange.faults.cut()
        seen = s.exchange.ws_connects
        for _ in range(3000):
            await trio.sleep(0.1)
            if s.exchange.ws_connects > seen:
                seen = s.exchange.ws_connects
                attempts.append(trio.current_time())
        # Looked at every 0.1 s, so a distance of 5 may seem to be 4.9.
        assert all(b - a >= 4.85 for a, b in itertools.pairwise(attempts))
        s.exchange.faults.allow_connects()
        await s.exchange.faults.system("online")
        await trio.sleep(60)
        told = [event.system for _, event in of(MarketStatus, events)]
        assert told == ["maintenance", "online"]


async def test_pairs_and_timeframes_come_and_go_while_running(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(timeframes=("1m",), pairs=["XBTUSD"]) as s:
        s.feed.add_pairs(["ETH/USD"])
        await s.feed.wait_live(["ETHUSD"], 10)
        s.feed.add_timeframe("15m")
        await s.feed.wait_live(None, 10)
        s.reads.get_live_ohlc("ETHUSD", "15m")
        s.feed.remove_timeframe("1m")
        await trio.sleep(5)
        with pytest.raises(NoDataYetError, match="not subscribed"):
            s.reads.get_live_ohlc("ETHUSD", "1m")
        s.feed.remove_pairs(["XBTUSD"])
        await trio.sleep(5)
        with pytest.raises(NoDataYetError, match="not streamed"):
            s.reads.get_latest_price("XBTUSD")
        s.feed.set_pairs(["SOLUSD", "ETHUSD"])
        await s.feed.wait_live(None, 10)
        assert set(s.feed.pairs) == {"SOLUSD", "ETHUSD"}
        held = {k[1] for c in s.exchange.connections for k in c.subscriptions}
        assert held == {"", "SOL/USD", "ETH/USD"}
        with pytest.raises(UnknownPairError):
            s.feed.add_pairs(["NOPE"])
        s.feed.set_pairs([])
        await trio.sleep(5)
        assert s.exchange.connections == []


async def test_wait_live_raises_for_each_pair(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage(timeframes=("1m",), pairs=["XBTUSD"]) as s:
        with pytest.raises(NotLiveError) as group:
            await s.feed.wait_live(["NOPE", "ETHUSD", "XBTUSD"], 10)
        assert [type(e) for e in group.value.errors] == [UnknownPairError, NoDataYetError]
        s.exchange.faults.mute(["SOL/USD"])
        s.feed.add_pairs(["SOLUSD"])
        start = trio.current_time()
        with pytest.raises(NoDataYetError, match="within 5 s: ticker: Kraken has acknowledged"):
            await s.feed.wait_live(["SOLUSD"], 5)
        assert trio.current_time() - start == pytest.approx(5)


async def test_a_delisted_pair_is_ended(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage(timeframes=("1m",)) as s:
        await trio.sleep(2)
        s.exchange.faults.delist("ETHUSD")
        await trio.sleep(1)
        pair = s.feed.statistics().pairs["ETHUSD"]
        assert (pair.state, pair.reason) == ("refused", "The pair is delisted")
        await trio.sleep(60)
        assert s.feed.statistics().reconnects == 0


async def test_leaving_leaves_nothing_behind(stage: OpenStage, autojump_clock: MockClock) -> None:
    def count() -> int:
        return trio.lowlevel.current_statistics().tasks_living

    before = count()
    async with stage(timeframes=("1m", "5m")) as s:
        changes = s.feed.changes()
        await trio.sleep(30)
    assert count() == before
    assert s.feed.statistics().connections == () or all(
        c.state is ConnectionState.CLOSED for c in s.feed.statistics().connections
    )
    left = [change async for change in changes]  # ends by itself
    assert all(not isinstance(c, CandleClosed) or c.bar.time for c in left)


@pytest.mark.slow
async def test_the_first_wait_after_a_long_healthy_time_is_short(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(timeframes=("1m",)) as s:
        for _ in range(12):
            await trio.sleep(70)
            await s.exchange.faults.cut()
            at = trio.current_time()
            await s.feed.wait_live(None, 5)
            assert trio.current_time() - at <= 2.0


async def test_a_spent_budget_is_said_with_the_time_left(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",)) as s:
        s.exchange.faults.refuse_connects()
        await s.exchange.faults.cut()
        budget = budget_for(s.feed.clock, Endpoint.parse(s.exchange.ws_url).host_header)
        while budget.wait_s(s.feed.clock.elapsed_ns() / 1e9) <= 0.0:
            budget.spend(s.feed.clock.elapsed_ns() / 1e9)
        await trio.sleep(60)
        (connection,) = s.feed.statistics().connections
        assert connection.budget_wait_s is not None
        assert 500 < connection.budget_wait_s < 600
        with pytest.raises(NoDataYetError, match="connected 60 times in ten minutes"):
            await s.feed.wait_live(None, 1)
        s.exchange.faults.allow_connects()
        await s.feed.wait_live(None, 600)
        assert s.feed.statistics().connections[0].budget_wait_s is None
