"""Guards that nothing else would miss: each test dies with the opposite of its rule."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio

from krakked._core import FrameTap, MarketCache
from krakked._errors import DataStaleError, NoDataYetError, StaleReason
from krakked._market.stream.backoff import AFTER_REJECTION_S
from krakked._market.stream.watchdogs import (
    FRAME_S,
    ConnectionWatch,
    TransportWatch,
    WatchdogVerdict,
)
from krakked.sandbox import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.market.stream.conftest import OpenStage
    from trio.testing import MockClock

BUSY = SandboxSettings(pair_count=60, trade_rates={"XBTUSD": 0.3}, quote_activity=0.05)
QUOTE = {"bid": 1.0, "bid_qty": 1.0, "ask": 2.0, "ask_qty": 1.0, "last": 1.5}


@pytest.mark.parametrize(
    ("changed", "price", "quote"),
    [
        ({"last": 0.0}, False, True),
        ({"bid": 0.0, "bid_qty": 0.0}, True, False),
        ({"ask": 0.0, "ask_qty": 0.0}, True, False),
        ({"bid": 0.0, "ask": 0.0}, True, False),
        ({"bid": -5.0}, True, False),
        ({"last": -5.0}, False, True),
        ({"bid": QUOTE["ask"] + 1.0}, True, False),  # the book is crossed
        ({"bid": QUOTE["ask"]}, True, True),
        ({}, True, True),
    ],
)
async def test_a_price_of_0_or_an_empty_side_of_the_book_is_no_price(
    stage: OpenStage,
    autojump_clock: MockClock,
    changed: dict[str, float],
    price: bool,
    quote: bool,
) -> None:
    quiet = SandboxSettings(pair_count=60, activity=0.0, quote_activity=0.0)
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=quiet) as s:
        row = {"symbol": "BTC/USD"} | QUOTE | changed
        (connection, *_) = s.exchange.connections
        connection.push(json.dumps({"channel": "ticker", "type": "snapshot", "data": [row]}))
        await trio.sleep(1)
        for exact in (False, True):
            for read, has in ((s.reads.get_latest_price, price), (s.reads.get_best_bid_ask, quote)):
                if has:
                    read("XBTUSD", exact=exact)
                else:
                    with pytest.raises(NoDataYetError):
                        read("XBTUSD", exact=exact)


@pytest.mark.slow
@pytest.mark.parametrize("inclusive", [True, False])
async def test_a_hole_loses_no_candle_however_since_is_read(
    stage: OpenStage,
    autojump_clock: MockClock,
    true_candles: Callable[..., int],
    inclusive: bool,
) -> None:
    settings = SandboxSettings(
        pair_count=60, trade_rates={"XBTUSD": 0.3}, ohlc_since_inclusive=inclusive
    )
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=settings) as s:
        await trio.sleep(100)
        s.exchange.faults.refuse_connects()
        await s.exchange.faults.cut()
        await trio.sleep(1200)
        s.exchange.faults.allow_connects()
        await trio.sleep(200)
        assert true_candles(s, "XBTUSD", "1m") >= 22
        assert sum(c.source.name == "REST" for c in s.closed) >= 9


async def test_a_candle_off_the_grid_reaches_nobody(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    quiet = SandboxSettings(pair_count=60, activity=0.0, quote_activity=0.0)
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=quiet, with_rest=False) as s:
        (connection, *_) = s.exchange.connections
        for second in (30, 31):
            row = {"symbol": "BTC/USD", "open": 1, "high": 1, "low": 1, "close": 1, "trades": 1}
            row |= {"volume": 1, "interval": 1}
            row |= {"interval_begin": f"2026-11-17T12:01:{second}.000000000Z"}
            frame = {"channel": "ohlc", "type": "update", "data": [row]}
            connection.push(json.dumps(frame | {"timestamp": f"2026-11-17T12:01:{second}.1Z"}))
        await trio.sleep(300)
        assert s.closed == []
        assert s.feed.cache.candle("BTC/USD", 1).open_s % 60 == 0


def test_only_answers_tell_the_time() -> None:
    cache = MarketCache()
    tap = FrameTap(cache)
    row = {"symbol": "A/USD"} | QUOTE | {"timestamp": "2020-01-01T00:00:00Z"}
    tap.apply_message(json.dumps({"channel": "ticker", "type": "snapshot", "data": [row]}), 1)
    row |= {"timestamp": "2020-01-01T00:00:01Z"}
    tap.apply_message(json.dumps({"channel": "ticker", "type": "update", "data": [row]}), 2)
    assert cache.server_ns(3) is None
    at = "2026-09-25T18:00:00Z"
    tap.apply_message(json.dumps({"method": "pong", "time_in": at, "time_out": at}), 4)
    assert cache.server_ns(5) == 1_790_359_200 * 10**9 + 1


async def test_a_line_that_says_nothing_is_not_up(
    stage: OpenStage, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TransportWatch, "check", lambda *_: WatchdogVerdict.FINE)
    monkeypatch.setattr(ConnectionWatch, "check", lambda *_, **__: WatchdogVerdict.FINE)
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=BUSY, stale_s=5.0) as s:
        s.exchange.faults.half_open()
        for seconds, why in (
            (FRAME_S - 2, StaleReason.MARKET_QUIET),
            (4, StaleReason.FEED_DOWN),
        ):
            await trio.sleep(seconds)
            with pytest.raises(DataStaleError) as error:
                s.reads.get_latest_price("XBTUSD")
            assert error.value.why is why


async def test_bytes_of_a_frame_under_way_are_a_sign_of_life_and_heartbeats_alone_are_not_needed(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=BUSY) as s:
        await trio.sleep(2)
        (connection, *_) = s.exchange.connections
        s.exchange.faults.link_rate(20_000)
        connection.push('{"channel":"other","data":"' + "x" * 600_000 + '"}')
        await trio.sleep(60)
        assert s.feed.statistics().reconnects == 0
        s.exchange.faults.link_rate(None)


async def test_a_series_whose_snapshot_never_comes_is_taken_from_rest(
    stage: OpenStage, autojump_clock: MockClock, true_candles: Callable[..., int]
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=BUSY) as s:
        await trio.sleep(70)
        s.exchange.faults.mute()  # both channels: nothing in the stream can tell
        await s.exchange.faults.cut()
        await trio.sleep(300)
        newest_s = s.closed[-1].bar.time
        assert s.exchange.truth.now_ns() / 1e9 - newest_s < 60 + 60 + 45
        true_candles(s, "XBTUSD", "1m")


async def test_after_a_403_the_next_attempt_keeps_its_distance(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=BUSY) as s:
        s.exchange.faults.cloudflare_page(403, None)
        await s.exchange.faults.cut()
        times: list[float] = []
        seen = s.exchange.ws_connects
        while trio.current_time() < 300:
            await trio.sleep(0.1)
            if s.exchange.ws_connects > seen:
                seen = s.exchange.ws_connects
                times.append(trio.current_time())
        distances = [b - a for a, b in pairwise(times)]
        assert len(distances) >= 3
        assert min(distances) >= AFTER_REJECTION_S - 0.2
