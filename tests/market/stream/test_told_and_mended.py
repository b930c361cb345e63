"""Refusals that pass, slow links, odd frames, tasks that fail: what is told, what mends itself."""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING

import pytest
import trio
from tests.market.stream.hostile import VirtualClock

import krakked
from krakked._core import FrameTap, MarketCache
from krakked._errors import SubscriptionRefusedError
from krakked._market.changes import ChangeHub, ChangeKind
from krakked._market.status import Verdict
from krakked._market.stream.closed_candles import ClosedCandles
from krakked._market.stream.crosscheck import EVERY_S, ROWS_LATE_S, Crosscheck
from krakked._sandbox import ws_connection
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

pytestmark = pytest.mark.slow


if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.market.stream.conftest import OpenStage, Stage
    from trio.testing import MockClock

SMALL = SandboxSettings(
    pair_count=60, trade_rates={"XBTUSD": 0.3, "ETHUSD": 0.3, "SOLUSD": 0.3}, quote_activity=0.05
)
UNAVAILABLE = "EService:Unavailable"


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals of the sandbox name a reason that passes."""
    refuse = ws_connection.ClientConnection._refuse

    def refused(self: object, asked: object, error: str, symbol: str | None = None) -> None:
        text = UNAVAILABLE if error.startswith("Currency pair not supported") else error
        refuse(self, asked, text, symbol)  # type: ignore[arg-type]

    monkeypatch.setattr(ws_connection.ClientConnection, "_refuse", refused)


async def feed_events(s: Stage, into: list[object]) -> None:
    async for change in s.feed.changes(kinds=["feed"]):
        into.append(change)


def named(events: list[object], name: str) -> list[object]:
    return [event for event in events if type(event).__name__ == name]


# --- refusals ---


async def test_a_pair_refused_once_is_live_within_90_seconds(
    stage: OpenStage, autojump_clock: MockClock, passing: None
) -> None:
    def before(exchange: Exchange) -> None:
        exchange.faults.refuse_symbols(["BTC/USD"])

    async with stage(
        pairs=["XBTUSD", "ETHUSD"], timeframes=("1m",), settings=SMALL, before=before, wait=False
    ) as s:
        events: list[object] = []
        s.nursery.start_soon(feed_events, s, events)
        await s.feed.wait_live(["ETHUSD"], 30)
        with pytest.raises(SubscriptionRefusedError, match=UNAVAILABLE):
            s.reads.get_latest_price("XBTUSD")
        s.exchange.faults.accept_symbols()
        await s.feed.wait_live(["XBTUSD"], 90)
        s.reads.get_latest_price("XBTUSD")
        refused = named(events, "SubscriptionRefused")
        assert {(e.channel, e.timeframe, e.reason) for e in refused} == {  # type: ignore[attr-defined]
            ("ticker", None, UNAVAILABLE),
            ("ohlc", "1m", UNAVAILABLE),
        }
        assert all(e.pair == "XBTUSD" and e.retry_after_s == 60.0 for e in refused)  # type: ignore[attr-defined]


async def test_a_refused_pair_is_asked_for_at_once_when_it_is_named_again(
    stage: OpenStage, autojump_clock: MockClock, passing: None
) -> None:
    async with stage(pairs=["ETHUSD"], timeframes=("1m",), settings=SMALL) as s:
        s.exchange.faults.refuse_symbols(["BTC/USD"])
        s.feed.add_pairs(["XBTUSD"])
        await trio.sleep(3)
        s.exchange.faults.accept_symbols()
        s.feed.add_pairs(["XBTUSD"])
        await s.feed.wait_live(["XBTUSD"], 5)


@pytest.mark.parametrize("sign", ["online", "listed"])
async def test_a_refused_pair_is_asked_for_at_once_on_the_exchanges_own_signs(
    stage: OpenStage, autojump_clock: MockClock, sign: str
) -> None:
    async with stage(pairs=["ETHUSD"], timeframes=("1m",), settings=SMALL) as s:
        await trio.sleep(3)
        s.exchange.faults.refuse_symbols(["BTC/USD"])  # for good, by its words
        if sign == "listed":
            s.exchange.faults.pair_status("XBTUSD", "work_in_progress")
        s.feed.add_pairs(["XBTUSD"])
        await trio.sleep(3)
        assert s.feed.statistics().pairs["XBTUSD"].state == "refused"
        s.exchange.faults.accept_symbols()
        if sign == "online":
            await s.exchange.faults.system("post_only")
            await s.exchange.faults.system("online")
        else:
            s.exchange.faults.pair_status("XBTUSD", "online")
        await trio.sleep(1)
        await s.feed.wait_live(["XBTUSD"], 5)


async def test_what_the_exchange_ends_is_asked_for_again_and_none_is_missing(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=SMALL) as s:
        await trio.sleep(70)
        assert s.exchange.faults.end_subscriptions(["BTC/USD"], ["ohlc"]) == 1
        await trio.sleep(2)
        assert s.feed.statistics().pairs["XBTUSD"].refused_timeframes == ("1m",)
        await trio.sleep(200)
        assert s.feed.statistics().pairs["XBTUSD"].refused_timeframes == ()
        times = [c.bar.time for c in s.closed]
        assert times == list(range(times[0], times[-1] + 60, 60))
        assert len(times) >= 4


async def test_a_pair_taken_out_and_in_again_at_once(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD", "ETHUSD"], timeframes=("1m",), settings=SMALL) as s:
        await trio.sleep(5)
        s.feed.remove_pairs(["XBTUSD"])
        s.feed.add_pairs(["XBTUSD"])
        await s.feed.wait_live(None, 5)
        s.reads.get_best_bid_ask("XBTUSD")
        s.exchange.faults.mute(["BTC/USD"], ["ticker"])
        await trio.sleep(40)
        assert s.feed.statistics().pairs["XBTUSD"].state == "mute"


async def test_mute_and_recovered_and_a_pairs_status_are_told(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD", "ETHUSD"], timeframes=("1m",), settings=SMALL) as s:
        events: list[object] = []
        s.nursery.start_soon(feed_events, s, events)
        await trio.sleep(5)
        s.exchange.faults.mute(["BTC/USD"], ["ohlc"])
        s.exchange.faults.pair_status("ETHUSD", "cancel_only")
        await trio.sleep(40)
        (mute,) = named(events, "SubscriptionMute")
        assert (mute.pair, mute.channel, mute.timeframe) == ("XBTUSD", "ohlc", "1m")  # type: ignore[attr-defined]
        (status,) = named(events, "PairStatus")
        assert (status.pair, status.status) == ("ETHUSD", "cancel_only")  # type: ignore[attr-defined]
        assert named(events, "SubscriptionRecovered") == []
        s.exchange.faults.unmute()
        await trio.sleep(30)
        (back,) = named(events, "SubscriptionRecovered")
        assert (back.pair, back.channel, back.timeframe) == ("XBTUSD", "ohlc", "1m")  # type: ignore[attr-defined]


# --- slow links ---


class SlowNetwork:
    """A link of so many bytes a second in front of the sandbox, shared by all connections."""

    def __init__(self, inner: object, bytes_per_s: float) -> None:
        self._inner = inner
        self._rate = bytes_per_s
        self._free_at = 0.0
        self.http_transport = inner.http_transport  # type: ignore[attr-defined]

    async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        stream = await self._inner.open_stream(host, port, tls=tls)  # type: ignore[attr-defined]
        return SlowStream(stream, self)

    async def carry(self, count: int) -> None:
        self._free_at = max(self._free_at, trio.current_time()) + count / self._rate
        await trio.sleep_until(self._free_at)


class SlowStream(trio.abc.Stream):
    def __init__(self, inner: trio.abc.Stream, link: SlowNetwork) -> None:
        self._inner = inner
        self._link = link

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await self._inner.receive_some(1460)
        await self._link.carry(len(data))
        return bytes(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("rate", [20_000, 30_000])
async def test_four_pairs_over_a_slow_link_are_live_within_two_minutes_and_stay(
    stage: OpenStage, autojump_clock: MockClock, rate: int
) -> None:
    settings = SandboxSettings(activity=0.05, quote_activity=0.02)  # all pairs: the list is long

    def before(exchange: Exchange) -> None:
        exchange.network = SlowNetwork(exchange.network, rate)  # type: ignore[assignment]

    async with stage(timeframes=("1m", "5m"), settings=settings, before=before, wait=False) as s:
        await s.feed.wait_live(None, 120)
        await trio.sleep(240)
        facts = s.feed.statistics()
        assert facts.reconnects == 0
        assert facts.connect_attempts <= 2
        assert {pair.state for pair in facts.pairs.values()} == {"live"}
        held = {key for c in s.exchange.connections for key in c.subscriptions}
        assert ("instrument", "") in held


@pytest.mark.slow
async def test_the_universe_over_a_slow_link_is_live_within_ten_minutes(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    settings = SandboxSettings(activity=0.2, quote_activity=0.05)
    async with stage(pairs=[], timeframes=("1m", "5m", "1h"), settings=settings, wait=False) as s:
        s.exchange.faults.link_rate(60_000)
        online = [s.exchange.truth.pair(symbol).altname for symbol in s.exchange.truth.symbols()]
        assert len(online) == 592
        s.feed.set_pairs(online)
        await s.feed.wait_live(None, 600)
        await trio.sleep(120)
        facts = s.feed.statistics()
        assert facts.reconnects == 0
        assert facts.connect_attempts <= 3
        assert {pair.state for pair in facts.pairs.values()} == {"live"}


# --- frames ---


async def test_symbols_that_nobody_asked_for_leave_the_room_to_those_that_are(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=SMALL) as s:
        (connection, *_) = s.exchange.connections
        for n in range(17_000):
            row = f'{{"symbol":"S{n}/USD","bid":1,"bid_qty":1,"ask":2,"ask_qty":1,"last":1}}'
            connection.push(f'{{"channel":"ticker","type":"update","data":[{row}]}}')
        await trio.sleep(1)
        s.feed.add_pairs(["ETHUSD"])
        await s.feed.wait_live(["ETHUSD"], 10)
        s.reads.get_best_bid_ask("ETHUSD")
        assert [s.feed.cache.ticker(f"{base}/USD") is None for base in ("ETH", "SOL")] == [
            False,
            True,
        ]


async def test_a_ticker_of_the_year_2200_shuts_nothing_out(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=SMALL) as s:
        (connection, *_) = s.exchange.connections
        row = {"symbol": "BTC/USD", "bid": 1.0, "bid_qty": 1.0, "ask": 2.0, "ask_qty": 1.0}
        row |= {"last": 1.5, "timestamp": "2200-01-01T00:00:00.000000Z"}  # type: ignore[dict-item]
        connection.push(json.dumps({"channel": "ticker", "type": "update", "data": [row]}))
        await trio.sleep(60)
        truth = s.exchange.truth.ticker("XBTUSD")
        assert s.reads.get_latest_price("XBTUSD", exact=True).price == truth.last


def test_an_odd_field_that_nobody_needs_costs_nothing_else() -> None:
    cache = MarketCache()
    tap = FrameTap(cache)
    row = '{"symbol":"A/USD","bid":1,"bid_qty":1,"ask":2,"ask_qty":1,"last":1.5,"trades":"many"}'
    tap.apply_message(f'{{"channel":"ticker","type":"update","data":[{row}]}}', 1)
    found = cache.ticker("A/USD")
    assert found is not None
    assert (found.bid, found.last, found.trades) == (1.0, 1.5, None)
    assert (tap.statistics()["malformed"], tap.malformed_in_a_row) == (1, 0)


def test_one_odd_row_of_a_snapshot_costs_itself_alone() -> None:
    cache = MarketCache()
    tap = FrameTap(cache)
    rows = [
        f'{{"symbol":"A/USD","open":{o},"high":2,"low":1,"close":1,"trades":1,"volume":1,"interval":1,'
        f'"interval_begin":"2026-09-25T18:0{m}:00Z"}}'
        for m, o in ((0, "1"), (1, '"x"'), (2, "1"))
    ]
    tap.apply_message(f'{{"channel":"ohlc","type":"snapshot","data":[{",".join(rows)}]}}', 1)
    assert tap.statistics()["candles"] == 2


# --- reads from anywhere ---


async def test_a_read_from_a_thread_with_a_loop_of_its_own_changes_nothing(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=SMALL) as s:
        found: list[object] = []

        async def elsewhere() -> None:
            found.append(s.reads.get_latest_price("XBTUSD").price)
            found.append(s.feed.statistics().resumes)

        thread = threading.Thread(target=lambda: trio.run(elsewhere))
        thread.start()
        thread.join()
        assert found == [s.reads.get_latest_price("XBTUSD").price, 0]
        await trio.sleep(5)
        facts = s.feed.statistics()
        assert (facts.resumes, facts.reconnects) == (0, 0)


async def test_looking_at_a_sleep_does_not_use_it_up(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=SMALL) as s:
        s.exchange.clock.suspend(30.0)
        s.feed.statistics()
        assert s.feed.statistics().resumes == 0
        assert s.feed.statistics().pairs["XBTUSD"].slept
        await trio.sleep(5)
        facts = s.feed.statistics()
        assert (facts.resumes, facts.reconnects) == (1, 1)


# --- tasks ---


async def test_an_error_in_the_cross_check_ends_nobodys_program(
    stage: OpenStage, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [TypeError("a bug")]

    async def look(self: object, told: object) -> None:
        if failing:
            raise failing.pop()

    monkeypatch.setattr(Crosscheck, "look", look)
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=SMALL) as s:
        await trio.sleep(EVERY_S - ROWS_LATE_S)
        assert s.feed.statistics().task_errors == {"comparing with REST": "TypeError: a bug"}
        await trio.sleep(120)
        assert len(s.closed) >= 2
        await trio.sleep(300)
        assert s.feed.statistics().task_errors == {}


async def test_an_error_in_a_connections_own_task_ends_nobodys_program(
    stage: OpenStage, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m", "5m"), settings=SMALL) as s:
        lost, failing = ClosedCandles.lost, [ZeroDivisionError("a bug"), ZeroDivisionError("a bug")]

        def failed(self: ClosedCandles, series: Iterable[tuple[str, int]]) -> None:
            lost(self, series)
            if failing:
                raise failing.pop()

        monkeypatch.setattr(ClosedCandles, "lost", failed)
        for _ in range(3):
            await s.exchange.faults.cut()
            await trio.sleep(20)
            await s.feed.wait_live(None, 5)
        assert failing == []
        s.feed.remove_timeframe("5m")
        await trio.sleep(1)
        assert [c.name for c in s.feed.statistics().connections] == ["1m"]
        assert len(s.exchange.connections) == 1


@pytest.mark.slow
async def test_an_error_in_folding_ends_nobodys_program(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [OSError(5, "Input/output error")]

    def fold_journal(self: object) -> None:
        if failing:
            raise failing.pop()

    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        config = krakked.KrakkedConfig(
            config_dir=str(tmp_path),
            rest=krakked.RestSettings(base_url=exchange.rest_url),
            market_data=krakked.MarketDataSettings(
                ws=krakked.WebSocketSettings(timeframes=("1m",), url=exchange.ws_url),
                ohlc_store=krakked.OHLCStoreSettings(root_dir=str(tmp_path / "ohlc")),
            ),
        )
        async with krakked.open_kraken(
            config, pairs=["XBTUSD"], network=exchange.network, clock=exchange.clock
        ) as kraken:
            await kraken.wait_live()
            with monkeypatch.context() as patch:
                patch.setattr(type(kraken.store), "fold_journal", fold_journal)
                await trio.sleep(3600.5)
                status = kraken.get_data_status()
                assert status.verdict is Verdict.DEGRADED
                assert any("Folding the journal failed" in reason for reason in status.reasons)
                await trio.sleep(400)
            assert kraken.get_data_status().verdict is Verdict.OK


async def test_a_second_reader_of_one_iterator_is_told(autojump_clock: MockClock) -> None:
    cache = MarketCache()
    hub = ChangeHub(cache, VirtualClock(), lambda symbol: symbol)
    changes = hub.consumer(None, list(ChangeKind))
    got: list[object] = []

    async def read() -> None:
        async for change in changes:
            got.append(change)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(5) as waiting, pytest.raises(krakked.KrakkedError, match="once"):
            await anext(changes)
        assert not waiting.cancelled_caught
        hub.close()
    assert got == []  # the first one was left in peace


# --- the sandbox itself ---


@pytest.mark.slow
async def test_sliced_bytes_and_a_stall_leave_the_sandbox_standing(
    stage: OpenStage, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "krakked.stream")
    async with stage(pairs=["XBTUSD", "ETHUSD"], timeframes=("1m",), settings=SMALL) as s:
        for _ in range(4):
            s.exchange.faults.slice_bytes(3, 0.002)
            await trio.sleep(8)
            s.exchange.faults.stall()
            await trio.sleep(7)
            s.exchange.faults.resume()
            await trio.sleep(8)
        s.exchange.faults.clear()
        await s.feed.wait_live(None, 60)
