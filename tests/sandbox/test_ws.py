"""WebSocket v2: acks, refusals, channels, and agreement with REST and truth."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_websocket
from trio.testing import MockClock

from krakked.sandbox import SandboxSettings, open_sandbox

NS = 1_000_000_000


def is_ack(frame: dict[str, Any]) -> bool:
    return frame.get("method") in ("subscribe", "unsubscribe")


def is_data(channel: str, kind: str | None = None) -> Callable[[dict[str, Any]], bool]:
    def wanted(frame: dict[str, Any]) -> bool:
        return frame.get("channel") == channel and kind in (None, frame.get("type"))

    return wanted


async def test_status_first_then_pong(
    autojump_clock: MockClock, open_ws: Callable[..., Any]
) -> None:
    ids = []
    async with open_sandbox(memory=True) as exchange:
        for _ in range(4):
            async with open_ws(exchange) as ws:
                status = await ws.next()
                assert status["channel"] == "status"
                (row,) = status["data"]
                assert (row["system"], row["api_version"]) == ("online", "v2")
                ids.append(row["connection_id"])
                await ws.send({"method": "ping", "req_id": 101})
                pong = await ws.next()
                assert pong["method"] == "pong"
                assert pong["req_id"] == 101
                assert pong["time_in"].endswith("Z")
    assert any(number > 2**63 for number in ids)
    assert len(set(ids)) == 4


async def test_one_ack_per_symbol_and_all_refusal_shapes(
    autojump_clock: MockClock, open_ws: Callable[..., Any], recorded: Callable[[str], Path]
) -> None:
    texts = [recorded(name).read_text() for name in ("ws_v2_mixed", "ws_v2_ohlc_btcusdt")]
    frames = [json.loads(line) for text in texts for line in text.splitlines()]
    shapes = {frozenset(frame) for frame in frames if is_ack(frame)}
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        asked = {"channel": "ticker", "symbol": ["BTC/USD", "XBT/USD", "BTCUSD", "btc/usd"]}
        await ws.send({"method": "subscribe", "params": asked})
        acks = [await ws.until(is_ack) for _ in range(4)]
        assert [ack["success"] for ack in acks] == [True, False, False, False]
        assert [ack.get("error") for ack in acks] == [
            None,
            "Currency pair not supported XBT/USD",
            "Currency pair not in ISO 4217-A3 format BTCUSD",
            "Currency pair not supported btc/usd",
        ]
        await ws.send({"method": "subscribe", "params": {"channel": "executions"}})
        refused = await ws.until(is_ack)
        assert "symbol" not in refused
        assert refused["error"].endswith("Try ws-auth.kraken.com")
        acks.append(refused)
    async with open_sandbox(memory=True) as exchange, open_ws(exchange, "ws-auth.kraken.com") as ws:
        await ws.send({"method": "subscribe", "params": {"channel": "executions", "token": "x"}})
        acks.append(await ws.until(is_ack))
        assert acks[-1]["error"] == "ESession:Invalid session"
        await ws.subscribe("ticker", ["BTC/USD"])
        assert (await ws.until(is_ack))["error"].endswith("Try ws.kraken.com")
    assert {frozenset(ack) for ack in acks} == shapes


async def test_req_id_is_on_every_answer_and_duplicates_are_refused(
    autojump_clock: MockClock, open_ws: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ohlc", ["BTC/USD", "ETH/USD", "XBT/USD"], interval=1)
        acks = [await ws.until(is_ack) for _ in range(3)]
        assert [ack["req_id"] for ack in acks] == [7, 7, 7]
        assert acks[0]["result"] == {
            "channel": "ohlc",
            "interval": 1,
            "snapshot": True,
            "symbol": "BTC/USD",
            "warnings": ["timestamp is deprecated, use interval_begin"],
        }
        await ws.subscribe("ohlc", ["BTC/USD"], interval=1)
        assert (await ws.until(is_ack))["error"] == "Already subscribed"
        await ws.subscribe("ohlc", ["BTC/USD"], interval=5)
        error = (await ws.until(is_ack))["error"]
        assert error == "Already subscribed to one ohlc interval on this symbol"
        await ws.subscribe("ticker", ["BTC/USD"])  # a ticker beside it is fine
        assert (await ws.until(is_ack))["success"]
        params = {"channel": "ohlc", "symbol": ["BTC/USD"], "interval": 1}
        await ws.send({"method": "unsubscribe", "params": params})
        gone = await ws.until(is_ack)
        assert gone["success"]
        assert gone["result"] == {"channel": "ohlc", "interval": 1, "symbol": "BTC/USD"}
        await ws.subscribe("ohlc", ["BTC/USD"], interval=5)
        assert (await ws.until(is_ack))["success"]


async def test_frames_look_like_recorded_ones(
    autojump_clock: MockClock, open_ws: Callable[..., Any], recorded: Callable[[str], Path]
) -> None:
    lines = recorded("ws_v2_mixed").read_text().splitlines()
    told = {f["channel"]: f for f in map(json.loads, lines) if "channel" in f}
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        for channel in ("ticker", "ohlc", "trade"):
            await ws.subscribe(channel, ["BTC/USD"])
        for channel in ("ticker", "ohlc", "trade"):
            ours = await ws.until(is_data(channel, "update"))
            assert set(ours) == set(told[channel])
            for mine, theirs in zip(ours["data"], told[channel]["data"], strict=False):
                assert list(mine) == list(theirs)
                for name, value in theirs.items():
                    assert type(mine[name]) is type(value), name
                    if isinstance(value, str) and value.endswith("Z"):
                        assert len(mine[name]) == len(value)


async def test_numbers_keep_their_trailing_zeros(
    autojump_clock: MockClock, open_ws: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ticker", ["SOL/USD"], event_trigger="bbo")
        seen = []
        for _ in range(30):
            text = await ws.websocket.get_message()
            if '"ticker"' in text and '"data"' in text:
                seen.append(text.split('"bid":')[1].split(",")[0])
        assert all(len(price.split(".")[1]) == 2 for price in seen)


async def test_updates_agree_with_truth_to_the_digit(
    autojump_clock: MockClock, open_ws: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        symbols = exchange.truth.symbols()[:30]
        await ws.subscribe("ticker", symbols, event_trigger="bbo")
        await ws.subscribe("ohlc", symbols, interval=1)
        start = exchange.truth.now_ns()
        raw = []
        with trio.move_on_after(200):
            while True:
                raw.append(await ws.websocket.get_message())
        frames = [json.loads(text, parse_float=Decimal) for text in raw]
        tickers: dict[str, Any] = {}
        candles: dict[tuple[str, str], Any] = {}
        for frame in frames:
            if frame.get("channel") == "ticker":
                tickers[frame["data"][0]["symbol"]] = frame["data"][0]
            elif frame.get("channel") == "ohlc":
                for row in frame["data"]:
                    candles[row["symbol"], row["interval_begin"]] = row
        assert set(tickers) == set(symbols)
        for symbol, row in tickers.items():
            truth = exchange.truth.ticker(symbol)
            assert (row["bid"], row["ask"]) == (truth.bid, truth.ask)
            assert (row["bid_qty"], row["ask_qty"]) == (truth.bid_qty, truth.ask_qty)
            assert row["last"] == truth.last
            at = trio_time_ns(row["timestamp"])
            then = exchange.truth.ticker(symbol, at + 999)  # stamps are cut to microseconds
            assert (row["volume"], row["trades"]) == (then.volume_24h, then.count_24h)
            assert (row["low"], row["high"]) == (then.low_24h, then.high_24h)
            assert abs(row["vwap"] - then.vwap_24h) <= abs(then.vwap_24h) * Decimal("1e-4")
        begin = start // (60 * NS) * 60
        for symbol in symbols:
            for candle in exchange.truth.candles(symbol, 1, begin + 60, begin + 180):
                stamp = next(
                    stamp
                    for (name, stamp) in candles
                    if name == symbol and trio_time_ns(stamp) == candle.time * NS
                )
                row = candles[symbol, stamp]
                assert (row["open"], row["high"]) == (candle.open, candle.high)
                assert (row["low"], row["close"]) == (candle.low, candle.close)
                assert (row["volume"], row["trades"]) == (candle.volume, candle.count)
                assert row["vwap"] == candle.vwap


def trio_time_ns(stamp: str) -> int:
    import calendar
    import time

    whole, _, part = stamp.rstrip("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * NS + int(part.ljust(9, "0"))


async def test_ohlc_snapshot_is_short_ascending_and_unfilled(
    autojump_clock: MockClock, open_ws: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        quiet = "0G/USD"
        await ws.subscribe("ohlc", ["BTC/USD", quiet])
        for _ in range(2):
            rows = (await ws.until(is_data("ohlc", "snapshot")))["data"]
            begins = [row["interval_begin"] for row in rows]
            assert begins == sorted(begins)
            assert len(rows) <= 10
            assert all(row["trades"] > 0 for row in rows)
            times = [trio_time_ns(begin) // NS for begin in begins]
            if rows[0]["symbol"] == quiet:
                assert max(b - a for a, b in itertools.pairwise(times)) > 60
            else:
                assert times[-1] == exchange.truth.now_ns() // (60 * NS) * 60
            for row, at in zip(rows[:-1], times, strict=False):
                (candle,) = exchange.truth.candles(row["symbol"], 1, at, at + 60)
                assert Decimal(str(row["close"])) == candle.close
                assert row["trades"] == candle.count


async def test_quotes_move_between_trades_only_for_bbo(
    autojump_clock: MockClock, open_ws: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange:
        counts = {}
        for trigger in ("trades", "bbo"):
            async with open_ws(exchange) as ws:
                await ws.subscribe("ticker", ["2Z/USD"], event_trigger=trigger)
                frames = await ws.collect(1800)
                counts[trigger] = sum(map(is_data("ticker", "update"), frames))
        assert counts["bbo"] > 5 * counts["trades"]


async def test_heartbeats_only_when_subscribed_and_quiet(
    autojump_clock: MockClock, open_ws: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        assert [f["channel"] for f in await ws.collect(20)] == ["status"]
        await ws.subscribe("ohlc", ["SOVIR/USD"])
        frames = await ws.collect(60)
        beats = [f for f in frames if f == {"channel": "heartbeat"}]
        assert 58 <= len(beats) <= 60


async def test_idle_connections_are_closed_and_requests_keep_them(
    autojump_clock: MockClock, open_ws: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange:
        async with open_ws(exchange) as ws:
            start = trio.current_time()
            await ws.next()
            with pytest.raises(trio_websocket.ConnectionClosed):
                await ws.next()
            assert 59 < trio.current_time() - start < 62
        async with open_ws(exchange) as ws:
            await ws.next()
            for _ in range(6):
                await trio.sleep(30)
                await ws.send({"method": "ping"})
                assert (await ws.next())["method"] == "pong"
        async with open_ws(exchange) as ws:
            await ws.subscribe("ohlc", ["SOVIR/USD"])
            assert len(await ws.collect(300)) > 290
        await trio.sleep(1)
        assert exchange.connections == []


async def test_instrument_is_an_object_with_numbers_as_recorded(
    autojump_clock: MockClock, open_ws: Callable[..., Any], open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("instrument")
        snapshot = ""
        while '"instrument","type"' not in snapshot:
            snapshot = await ws.websocket.get_message()
        assert not re.search(r"\d[eE][-+]?\d", snapshot)  # no exponents
        data = json.loads(snapshot, parse_float=str)["data"]
        bitcoin = next(row for row in data["assets"] if row["id"] == "BTC")
        assert bitcoin["class"] == "currency"
        assert "multiplier" not in bitcoin
        row = next(row for row in data["pairs"] if row["symbol"] == "BTC/USD")
        assert row["qty_increment"] == "0.00000001"
        assert (row["qty_min"], row["cost_min"]) == ("0.00005000", "0.50000")
        assert row["ws_display_price_precision"] == row["price_precision"] == 1
        rates = {row["margin_rate"] for row in data["assets"] if "margin_rate" in row}
        assert rates
        assert all(re.fullmatch(r"0\.\d{6}", rate) for rate in rates)
        assert len(data["pairs"]) == 1434
        symbols = {row["symbol"] for row in data["pairs"]}
        assert {"BTC/USD", "DOGE/USD", "ETH/BTC"} <= symbols
        async with open_rest(exchange) as rest:
            renamed = await rest.result("AssetPairs", assetVersion=1)
        assert symbols == set(renamed)
        exchange.faults.pair_status("XBTUSD", "cancel_only")
        update = await ws.until(is_data("instrument", "update"))
        assert update["data"]["pairs"][0]["status"] == "cancel_only"


async def test_a_pair_is_listed_while_running(
    autojump_clock: MockClock, open_ws: Callable[..., Any], open_rest: Callable[..., Any]
) -> None:
    soon = 1_794_916_830 + 100
    settings = SandboxSettings(listed_s={"SOLUSD": soon}, trade_rates={"SOLUSD": 1.0})
    async with open_sandbox(memory=True, settings=settings) as exchange:
        async with open_rest(exchange) as rest, open_ws(exchange) as ws:
            assert "SOLUSD" not in await rest.result("AssetPairs")
            await ws.subscribe("ticker", ["SOL/USD"])
            assert not (await ws.until(is_ack))["success"]
            await trio.sleep(130)
        async with open_rest(exchange) as rest, open_ws(exchange) as ws:
            assert "SOLUSD" in await rest.result("AssetPairs")
            await ws.subscribe("ohlc", ["SOL/USD"])
            assert (await ws.until(is_ack))["success"]
            rows = (await rest.result("OHLC", pair="SOLUSD"))["SOLUSD"]
            assert rows[0][0] >= soon // 60 * 60
            assert (await rest.result("Trades", pair="SOLUSD", since=0))["SOLUSD"][0][6] == 1


async def test_private_channels_with_a_token(
    autojump_clock: MockClock, open_ws: Callable[..., Any], open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange:
        async with open_rest(exchange) as rest:
            token = (await rest.private("GetWebSocketsToken"))["result"]["token"]
        async with open_ws(exchange, "ws-auth.kraken.com") as ws:
            params = {"channel": "balances", "token": token}
            await ws.send({"method": "subscribe", "params": params})
            assert (await ws.until(is_ack))["success"]
            await ws.until(is_data("balances", "snapshot"))
        await trio.sleep(901)
        async with open_ws(exchange, "ws-auth.kraken.com") as ws:
            await ws.send({"method": "subscribe", "params": params})
            assert (await ws.until(is_ack))["error"] == "ESession:Invalid session"


async def test_too_many_connects_ban_the_address(
    autojump_clock: MockClock, open_ws: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange:
        for _ in range(150):
            async with open_ws(exchange) as ws:
                await ws.next()
        with pytest.raises(ExceptionGroup) as caught:
            async with open_ws(exchange) as ws:
                await ws.next()
        assert caught.group_contains(trio_websocket.ConnectionRejected, depth=None)
        assert exchange.ws_banned == 1
        await trio.sleep(601)
        async with open_ws(exchange) as ws:
            await ws.next()


async def test_too_many_messages_are_refused(
    autojump_clock: MockClock, open_ws: Callable[..., Any]
) -> None:
    settings = SandboxSettings(message_burst=10, messages_per_s=1)
    async with open_sandbox(memory=True, settings=settings) as exchange, open_ws(exchange) as ws:
        for _ in range(12):
            await ws.send({"method": "ping"})
        frames = await ws.take(13)
        errors = [frame["error"] for frame in frames if "error" in frame]
        assert errors == ["Exceeded msg rate"] * 2
