"""Contract Phase 2, section 5, point by point, and section 8 item 5."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from krakked._config.settings import WebSocketSettings
from krakked._core import FrameTap, MarketCache
from krakked._errors import DataStaleError, NoDataYetError, StaleReason
from krakked._market.live import LiveReads
from krakked._market.pairs import PairMetadata, PairTable
from krakked._market.stream.requests import SubscriptionKey, SubscriptionState

if TYPE_CHECKING:
    from tests.market.stream.conftest import OpenStage
    from trio.testing import MockClock

SECOND = 10**9
BTC = PairMetadata(
    canonical="XBTUSD",
    base="XBT",
    quote="USD",
    rest_symbol="XBTUSD",
    ws_symbol="BTC/USD",
    wsname="XBT/USD",
    raw_name="XXBTZUSD",
    price_decimals=1,
    volume_decimals=8,
    lot_size=1.0,
    status="online",
)


class StillFeed:
    """The least a feed has to know for the reads: messages in, no network, a clock by hand."""

    def __init__(self) -> None:
        self.cache = MarketCache()
        self.tap = FrameTap(self.cache)
        self.clock = self
        self.stale_after_s = WebSocketSettings().stale_tolerance_seconds
        self.table = PairTable([BTC])
        self.now_ns = 1000 * SECOND

    virtual = True

    def elapsed_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return 1_800_000_000 * SECOND + self.now_ns

    def resolve(self, pair: str) -> str:
        return self.table.resolve(pair)

    def symbol_of(self, canonical: str) -> str | None:
        return self.table.metadata(canonical).ws_symbol

    def subscription(self, key: SubscriptionKey) -> tuple[SubscriptionState, str | None]:
        return SubscriptionState.LIVE, None

    def line_is_up(self, key: SubscriptionKey) -> bool:
        return True

    def resumed_ns(self) -> int:
        return 0

    def message(self, text: str | dict) -> None:
        self.tap.apply_message(text if isinstance(text, str) else json.dumps(text), self.now_ns)


TICKER = {
    "channel": "ticker",
    "type": "snapshot",
    "data": [
        {
            "symbol": "BTC/USD",
            "bid": 83744.2,
            "bid_qty": 0.56251979,
            "ask": 83744.3,
            "ask_qty": 0.0004478,
            "last": 83744.3,
            "volume": 3156.8478211,
            "vwap": 84174.6,
            "low": 83163.6,
            "high": 85247.4,
            "change": -429.3,
            "change_pct": -0.51,
        }
    ],
}


def candle(begin: str, close: float, trades: int, kind: str = "update") -> dict:
    return {
        "channel": "ohlc",
        "type": kind,
        "data": [
            {
                "symbol": "BTC/USD",
                "open": 100.0,
                "high": 120.0,
                "low": 90.0,
                "close": close,
                "trades": trades,
                "volume": 2.5,
                "vwap": 101.5,
                "interval_begin": f"2026-09-25T{begin}:00.000000000Z",
                "interval": 1,
                "timestamp": "2026-09-25T17:49:00.000000Z",
            }
        ],
    }


# --- section 8, item 5: WebSocket message handling, unit level ----------------------------------


def test_8_5_sample_messages_update_the_caches_and_the_reads_give_them() -> None:
    feed = StillFeed()
    reads = LiveReads(feed)
    feed.message(TICKER)
    feed.message(candle("17:48", 110.0, 3, "snapshot"))
    assert reads.get_latest_price("XBTUSD").price == 83744.3
    quote = reads.get_best_bid_ask("XBTUSD")
    assert (quote.bid, quote.ask) == (83744.2, 83744.3)
    assert (quote.bid_qty, quote.ask_qty) == (0.56251979, 0.0004478)
    bar = reads.get_live_ohlc("XBTUSD", "1m")
    assert (bar.open, bar.high, bar.low, bar.close) == (100.0, 120.0, 90.0, 110.0)
    assert (bar.volume, bar.vwap, bar.trades, bar.closed) == (2.5, 101.5, 3, False)
    feed.message(candle("17:48", 111.0, 4))
    assert reads.get_live_ohlc("XBTUSD", "1m").close == 111.0


def test_8_5_staleness_fires_when_older_than_the_tolerance() -> None:
    feed = StillFeed()
    reads = LiveReads(feed)
    feed.message(TICKER)
    feed.message(candle("17:48", 110.0, 3))
    updated = feed.wall_ns() / 1e9
    feed.now_ns += 60 * SECOND
    assert reads.get_latest_price("XBTUSD").last_update_ts == pytest.approx(updated)
    feed.now_ns += 1
    for read in (
        lambda: reads.get_latest_price("XBTUSD"),
        lambda: reads.get_best_bid_ask("XBTUSD"),
        lambda: reads.get_live_ohlc("XBTUSD", "1m"),
    ):
        with pytest.raises(DataStaleError) as error:
            read()
        assert error.value.why is StaleReason.MARKET_QUIET
        assert error.value.age_s == pytest.approx(60.0)


# --- section 5 ----------------------------------------------------------------------------------


async def test_5_1_and_5_2_v2_channels_ticker_and_ohlc(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m", "5m", "1h")) as s:
        assert s.exchange.ws_url.endswith("/v2")
        await trio.sleep(1)  # reference data comes after prices
        held = {key for c in s.exchange.connections for key in c.subscriptions}
        assert {(k[0], k[1]) for k in held} == {
            ("ticker", "BTC/USD"),
            ("ohlc", "BTC/USD"),
            ("instrument", ""),
        }
        for timeframe in ("1m", "5m", "1h"):
            assert s.reads.get_live_ohlc("XBTUSD", timeframe).timeframe == timeframe


async def test_5_3_symbols_are_translated_both_ways(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD", "XDGUSD"], timeframes=("1m",)) as s:
        await trio.sleep(1)  # reference data comes after prices
        held = {k[1] for c in s.exchange.connections for k in c.subscriptions}
        assert held == {"BTC/USD", "DOGE/USD", ""}
        assert s.reads.get_latest_price("XBTUSD").pair == "XBTUSD"
        assert s.reads.get_latest_price("DOGE/USD").pair == "XDGUSD"


async def test_5_4_the_whole_universe_in_batches(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=[], timeframes=("1m",), wait=False) as s:
        online = [s.exchange.truth.pair(symbol).altname for symbol in s.exchange.truth.symbols()]
        s.feed.set_pairs(online)
        await s.feed.wait_live(None, 60)
        for name in online:
            s.reads.get_best_bid_ask(name)


async def test_5_5_a_running_candle_may_be_incomplete_and_carries_its_time(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",)) as s:
        bar = s.reads.get_live_ohlc("XBTUSD", "1m")
        assert not bar.closed
        assert bar.last_update_ts == pytest.approx(s.exchange.clock.wall_ns() / 1e9, abs=5)


async def test_5_5_the_tolerance_is_a_setting(stage: OpenStage, autojump_clock: MockClock) -> None:
    assert WebSocketSettings().stale_tolerance_seconds == 60
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), stale_s=3.0) as s:
        s.exchange.faults.mute()
        await trio.sleep(4)
        with pytest.raises(DataStaleError):
            s.reads.get_latest_price("XBTUSD")


async def test_5_6_missing_data_is_signalled(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), wait=False) as s:
        with pytest.raises(NoDataYetError):
            s.reads.get_latest_price("XBTUSD")


# --- recorded reality ---------------------------------------------------------------------------


def test_recorded_frames_through_cache_and_reads(recorded: Callable[[str], Path]) -> None:
    lines = recorded("ws_v2_mixed").read_text().splitlines()
    feed = StillFeed()
    reads = LiveReads(feed)
    # The answers are of other minutes than the data: here they must not tell the time.
    for line in sorted(lines, key=lambda line: '"method"' in line):
        feed.message(line)
    by_channel = {
        message["channel"]: message["data"][0]
        for message in map(json.loads, lines)
        if "channel" in message and "data" in message
    }
    ticker, bar = by_channel["ticker"], by_channel["ohlc"]
    assert reads.get_latest_price("XBTUSD").price == ticker["last"]
    (line,) = [line for line in lines if line.startswith('{"channel":"ticker"')]
    quote = reads.get_best_bid_ask("XBTUSD", exact=True)
    assert f'"ask_qty":{quote.ask_qty},' in line  # trailing zeros and all
    read = reads.get_live_ohlc("XBTUSD", "1m")
    assert (read.open, read.high, read.low, read.close, read.volume, read.vwap, read.trades) == (
        *(bar[name] for name in ("open", "high", "low", "close", "volume", "vwap")),
        bar["trades"],
    )


def test_a_recorded_update_older_than_the_snapshot_moves_nothing_back(
    recorded: Callable[[str], Path],
) -> None:
    lines = recorded("ws_v2_ohlc_btcusdt").read_text().splitlines()
    cache = MarketCache()
    tap = FrameTap(cache)
    snapshot, update = (json.loads(line) for line in lines[-2:])
    newest = snapshot["data"][-1]
    assert update["data"][0]["interval_begin"] < newest["interval_begin"]
    tap.apply_message(lines[-2], 1)
    before = cache.candle("BTC/USDT", 1)
    assert before is not None
    assert before.close == newest["close"]
    tap.apply_message(lines[-1], 2)
    assert cache.candle("BTC/USDT", 1) == before
    assert tap.statistics()["late"] == 1
