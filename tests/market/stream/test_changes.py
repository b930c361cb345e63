"""`changes()`: conflation, completeness of closed candles, order, and who is too slow."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING

import pytest
import trio
from tests.market.stream.hostile import VirtualClock

from krakked._core import FrameTap, MarketCache
from krakked._errors import ChangesLaggedError, ConfigError, UnknownTimeframeError
from krakked._market import changes as module
from krakked._market.bars import OHLCBar, Source
from krakked._market.changes import (
    CandleChange,
    CandleClosed,
    CandleCorrected,
    ChangeHub,
    ChangeKind,
    MarketStatus,
    TickerChange,
)

if TYPE_CHECKING:
    from tests.market.stream.conftest import OpenStage
    from trio.testing import MockClock


def ticker(symbol: str, last: float) -> str:
    row = {"symbol": symbol, "bid": 1.0, "bid_qty": 1.0, "ask": 2.0, "ask_qty": 1.0, "last": last}
    return json.dumps({"channel": "ticker", "type": "update", "data": [row]})


def closed(minute: int) -> CandleClosed:
    bar = OHLCBar(minute * 60, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1)
    return CandleClosed(pair="A", timeframe="1m", bar=bar, source=Source.WEBSOCKET)


class Desk:
    def __init__(self) -> None:
        self.cache = MarketCache()
        self.tap = FrameTap(self.cache)
        self.hub = ChangeHub(self.cache, VirtualClock(), lambda symbol: symbol[0])

    def tell(self, text: str) -> None:
        self.tap.apply_message(text, 1)
        self.hub.touch()


async def test_prices_are_conflated_to_the_newest(autojump_clock: MockClock) -> None:
    desk = Desk()
    changes = desk.hub.consumer(None, list(ChangeKind))
    for i in range(1000):
        desk.tell(ticker("A/USD", i))
        desk.tell(ticker("B/USD", i))
    got = [await anext(changes), await anext(changes)]
    assert [(c.pair, c.last) for c in got if isinstance(c, TickerChange)] == [
        ("A", 999.0),
        ("B", 999.0),
    ]
    with trio.move_on_after(1) as scope:
        await anext(changes)
    assert scope.cancelled_caught


async def test_closed_candles_and_events_come_whole_and_in_order(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()
    changes = desk.hub.consumer(None, [ChangeKind.CANDLE_CLOSED, ChangeKind.FEED])
    sent: list = []
    for minute in range(500):
        sent.append(closed(minute))
        if minute % 100 == 0:
            sent.append(MarketStatus(system=str(minute)))
    for event in sent:
        desk.hub.publish(event)
        desk.tell(ticker("A/USD", 1.0))
    assert [await anext(changes) for _ in sent] == sent


async def test_only_what_is_asked_for(autojump_clock: MockClock) -> None:
    desk = Desk()
    changes = desk.hub.consumer(["B"], [ChangeKind.TICKER])
    desk.hub.publish(closed(1))
    desk.hub.publish(MarketStatus(system="online"))
    desk.tell(ticker("A/USD", 1.0))
    desk.tell(ticker("B/USD", 2.0))
    change = await anext(changes)
    assert isinstance(change, TickerChange)
    assert (change.pair, change.last) == ("B", 2.0)


async def test_a_snapshot_tells_everything_once_before_what_changes(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()
    for pair in ("A/USD", "B/USD"):
        desk.tell(ticker(pair, 1.0))
    late = desk.hub.consumer(None, list(ChangeKind))
    first = desk.hub.consumer(["B"], list(ChangeKind), snapshot=True)
    told = await anext(first)
    assert isinstance(told, TickerChange)
    assert (told.pair, told.last) == ("B", 1.0)
    desk.tell(ticker("B/USD", 2.0))
    for changes in (first, late):
        told = await anext(changes)
        assert isinstance(told, TickerChange)
        assert told.last == 2.0
        with trio.move_on_after(1) as scope:
            await anext(changes)
        assert scope.cancelled_caught


async def test_only_the_timeframes_that_are_asked_for(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(timeframes=("1m", "5m")) as s:
        kinds = ["candle", "candle_closed"]
        some = s.feed.changes(kinds=kinds, timeframes=["5m"])
        every = s.feed.changes(kinds=kinds)
        seen: dict[str, set[str]] = {"some": set(), "every": set()}
        for name, changes in (("some", some), ("every", every)):
            with trio.move_on_after(700):
                async for change in changes:
                    assert isinstance(change, CandleChange | CandleClosed | CandleCorrected)
                    seen[name].add(f"{change.timeframe} {type(change).__name__}")
        assert seen["some"] == {"5m CandleChange", "5m CandleClosed"}
        assert {"1m CandleClosed", "5m CandleClosed"} <= seen["every"]
        with pytest.raises(UnknownTimeframeError):
            s.feed.changes(timeframes=["7m"])
        with pytest.raises(ConfigError):
            s.feed.changes(timeframes=7)  # type: ignore[arg-type]


async def test_a_waiting_consumer_wakes(autojump_clock: MockClock) -> None:
    desk = Desk()
    got = []

    async def listen() -> None:
        async for change in desk.hub.consumer(None, [ChangeKind.TICKER]):
            got.append(change.last)
            if len(got) == 3:
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        for i in range(3):
            await trio.sleep(1)
            desk.tell(ticker("A/USD", i))
    assert got == [0.0, 1.0, 2.0]


async def test_a_consumer_that_is_too_slow_is_told_and_the_others_go_on(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOG_LIMIT", 100)
    desk = Desk()
    slow = desk.hub.consumer(None, [ChangeKind.CANDLE_CLOSED])
    quick = desk.hub.consumer(None, [ChangeKind.CANDLE_CLOSED])
    got = []
    for minute in range(300):
        desk.hub.publish(closed(minute))
        got.append(await anext(quick))
    assert [c.bar.time for c in got] == [m * 60 for m in range(300)]
    with pytest.raises(ChangesLaggedError):
        await anext(slow)


async def test_memory_is_given_back_when_everybody_has_read_or_left(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()
    reader = desk.hub.consumer(None, [ChangeKind.CANDLE_CLOSED])
    leaver = desk.hub.consumer(None, list(ChangeKind))
    for minute in range(1000):
        desk.hub.publish(closed(minute))
    for _ in range(1000):
        await anext(reader)
    assert len(desk.hub._log) == 1000
    del leaver  # leaving the loop is enough
    gc.collect()
    desk.hub.publish(closed(1000))
    await anext(reader)
    assert len(desk.hub._log) <= 64


async def test_the_end_of_the_feed_ends_the_iteration(autojump_clock: MockClock) -> None:
    desk = Desk()
    changes = desk.hub.consumer(None, list(ChangeKind))
    desk.hub.publish(closed(1))
    desk.hub.close()
    assert [c async for c in changes] == [closed(1)]
    other = desk.hub.consumer(None, list(ChangeKind))
    other.close()
    assert [c async for c in other] == []


async def test_over_the_exchange(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage(pairs=["XBTUSD", "ETHUSD"], timeframes=("1m",)) as s:
        seen: dict[type, int] = {}
        running: dict[str, CandleChange] = {}
        told = []
        with trio.move_on_after(400):
            async for change in s.feed.changes(["BTC/USD"]):
                seen[type(change)] = seen.get(type(change), 0) + 1
                assert change.pair == "XBTUSD"
                if isinstance(change, CandleChange):
                    running[change.timeframe] = change
                elif isinstance(change, CandleClosed):
                    told.append(change)
                await trio.sleep(0.5)  # slow: far slower than the market
        assert set(seen) == {TickerChange, CandleChange, CandleClosed}
        assert told == [c for c in s.closed if c.pair == "XBTUSD"][-len(told) :]
        assert len(told) >= 6


async def test_what_is_not_streamed_is_said(
    stage: OpenStage, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",)) as s:
        s.feed.changes(["XBTUSD"], timeframes=["1m"])
        assert "changes()" not in caplog.text
        s.feed.changes(["SOLUSD"], timeframes=["15m"])
        assert "SOLUSD is not streamed, so nothing comes of it until add_pairs" in caplog.text
        assert "15m is not streamed" in caplog.text
        with pytest.raises(ConfigError, match="kinds is empty"):
            s.feed.changes(kinds=[])
