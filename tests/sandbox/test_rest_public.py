"""The public endpoints, against truth and against recorded shapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from krakked.sandbox import SandboxSettings, open_sandbox

NS = 1_000_000_000


async def test_time_and_status(autojump_clock: MockClock, open_rest: Callable[..., Any]) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        assert await rest.result("Time") == {
            "unixtime": 1_794_916_830,
            "rfc1123": "Tue, 17 Nov 26 12:00:30 +0000",
        }
        await trio.sleep(5)
        assert (await rest.result("Time"))["unixtime"] == 1_794_916_835
        status = await rest.result("SystemStatus")
        assert status == {
            "status": "online",
            "timestamp": "2026-11-17T12:00:35Z",
            "upcoming_maintenance": [],
            "emergency": [],
        }
        notice = {"event_id": 1, "affected_services": ["spot_ws"]}
        exchange.faults.announce_maintenance(notice)
        exchange.faults.announce_emergency({"title": "x"})
        status = await rest.result("SystemStatus")
        assert (status["upcoming_maintenance"], status["emergency"]) == ([notice], [{"title": "x"}])
        schedule = await rest.result("MaintenanceSchedule")
        assert schedule == {"upcoming_maintenance": [notice]}


async def test_rows_have_the_fields_of_recorded_ones(
    autojump_clock: MockClock, open_rest: Callable[..., Any], recorded: Callable[[str], Path]
) -> None:
    told, assets, ticker = (
        json.loads(recorded(name).read_text())["result"]
        for name in ("rest_asset_pairs", "rest_assets", "rest_ticker")
    )
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        pairs = await rest.result("AssetPairs")
        for key in ("XXBTZUSD", "XDGUSD", "XETHXXBT", "SOLUSD"):
            ours, theirs = pairs[key], told[key]
            assert list(ours) == list(theirs)
            for name in ("altname", "wsname", "base", "quote", "pair_decimals", "lot_decimals"):
                assert ours[name] == theirs[name], name
            for name, value in theirs.items():
                assert type(ours[name]) is type(value), name
        for asset, theirs in (await rest.result("Assets", asset="XBT,XDG,ETH,SOL")).items():
            assert list(theirs) == list(assets[asset])
        (ours,) = (await rest.result("Ticker", pair="XBTUSDT")).values()
        (theirs,) = ticker.values()
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            assert json.dumps(ours[name]).count(",") == json.dumps(value).count(",")
            assert type(ours[name]) is type(value)


async def test_asset_pairs_by_name_class_and_version(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        pairs = await rest.result("AssetPairs")
        assert len(pairs) == 1434
        assert not any("AAPLx" in key for key in pairs)
        stocks = await rest.result("AssetPairs", aclass_base="tokenized_asset")
        assert stocks["AAPLxUSD"]["wsname"] == "AAPLx/USD"
        assert "XXBTZUSD" not in stocks
        renamed = await rest.result("AssetPairs", assetVersion=1)
        assert renamed["BTC/USD"]["base"] == "BTC"
        assert renamed["BTC/USD"]["quote"] == "USD"
        assert renamed["BTC/USD"]["altname"] == "XBTUSD"
        assert renamed["BTC/USD"]["wsname"] == "XBT/USD"
        assert list(await rest.result("AssetPairs", pair="XBTUSD,DOGE/USD")) == [
            "XXBTZUSD",
            "DOGE/USD",
        ]
        fees = await rest.result("AssetPairs", pair="XBTUSD", info="fees")
        assert fees["XXBTZUSD"] == {"fees": [], "fees_maker": [], "fee_volume_currency": "ZUSD"}
        assert await rest.errors("AssetPairs", pair="XBT/USD") == ["EQuery:Unknown asset pair"]
        assert await rest.errors("AssetPairs", pair="SOLXMR") == ["EQuery:Invalid asset pair"]


async def test_errors_come_with_http_200(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    settings = SandboxSettings(limits=False)
    async with (
        open_sandbox(memory=True, settings=settings) as exchange,
        open_rest(exchange) as rest,
    ):
        assert await rest.errors("Nothing") == ["EGeneral:Unknown method"]
        for wrong in (2, 720, 0):
            assert await rest.errors("OHLC", pair="XBTUSD", interval=wrong) == [
                "EGeneral:Invalid arguments"
            ]
        assert (await rest.errors("Trades", pair="XBTUSD", count=1001))[0].startswith(
            "EGeneral:Invalid arguments"
        )
        for endpoint in ("OHLC", "Trades", "Ticker"):
            assert await rest.errors(endpoint, pair="XBT/USD") == ["EQuery:Unknown asset pair"]
        envelopes = [await rest.public("Nothing") for _ in range(3)]
        shapes = {repr(envelope.get("result", "absent")) for envelope in envelopes}
        assert shapes == {"None", "{}", "'absent'"}
        assert (await rest.http.put("/0/public/Time")).status_code == 405
        assert (await rest.http.get("/0/private/Balance")).status_code == 405
        del rest.http.headers["user-agent"]
        blocked = await rest.http.get("/0/public/Time")
        assert blocked.status_code == 403
        assert blocked.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("pair", "interval"), [("XBTUSD", 1), ("0GUSD", 1), ("ADAUSD", 60), ("XBTUSD", 1440)]
)
async def test_ohlc_is_filled_and_true(
    autojump_clock: MockClock, open_rest: Callable[..., Any], pair: str, interval: int
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        result = await rest.result("OHLC", pair=pair, interval=interval)
        last = result.pop("last")
        (rows,) = result.values()
        step = interval * 60
        assert len(rows) == 721
        assert [row[0] for row in rows] == [rows[0][0] + n * step for n in range(721)]
        assert rows[-1][0] == exchange.truth.now_ns() // NS // step * step
        assert last == rows[-2][0]
        truth = exchange.truth.candles(pair, interval, rows[0][0], rows[-1][0], filled=True)
        assert len(truth) == 720
        for row, candle in zip(rows, truth, strict=False):
            at, opened, high, low, close, vwap, volume, count = row
            assert at == candle.time
            assert [Decimal(x) for x in (opened, high, low, close)] == [
                candle.open,
                candle.high,
                candle.low,
                candle.close,
            ]
            assert Decimal(volume) == candle.volume
            assert count == candle.count
            if count:
                assert Decimal(vwap) == candle.vwap
                assert Decimal(low) <= Decimal(vwap) <= Decimal(high)
            else:
                assert (vwap, volume) == ("0.0", "0.00000000")
        if pair == "0GUSD":
            assert any(row[7] == 0 for row in rows)


async def test_ohlc_since_is_inclusive_and_the_running_row_stays(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        rows = (await rest.result("OHLC", pair="XBTUSD"))["XXBTZUSD"]
        since = (await rest.result("OHLC", pair="XBTUSD", since=rows[-3][0]))["XXBTZUSD"]
        assert since == rows[-3:]
        future = (await rest.result("OHLC", pair="XBTUSD", since=rows[-1][0] + 9999))["XXBTZUSD"]
        assert future == rows[-1:]


async def test_trades_page_like_kraken(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        newest = await rest.result("Trades", pair="BTC/USD")
        rows, last = newest["BTC/USD"], newest["last"]
        assert len(rows) == 1000
        assert [row[6] for row in rows] == list(range(rows[0][6], rows[0][6] + 1000))
        assert rows[-1][6] == exchange.truth.trade_count("XBTUSD")
        assert isinstance(last, str)
        assert abs(int(last) - rows[-1][2] * 1e9) < 1000
        truth = exchange.truth.trades("XBTUSD", int(rows[0][2] * NS) - 1000, int(last) + 1)
        by_id = {trade.id: trade for trade in truth}
        for price, volume, at, side, kind, misc, trade_id in rows:
            trade = by_id[trade_id]
            assert (Decimal(price), Decimal(volume)) == (trade.price, trade.volume)
            assert (side, misc) == (trade.side[0], "")
            assert kind in "ml"
            assert abs(at * 1e9 - trade.time_ns) < 1000
        # `since` is exclusive; a page can end inside equal times, so last - 1 is the safe way on.
        seen: list[int] = []
        since = int(last) - 200 * NS
        while True:
            page = await rest.result("Trades", pair="XBTUSD", since=str(since), count=100)
            fresh = [row[6] for row in page["XXBTZUSD"] if not seen or row[6] > seen[-1]]
            seen += fresh
            if len(page["XXBTZUSD"]) < 100:
                break
            since = int(page["last"]) - 1
            await trio.sleep(1)
        assert seen == list(range(seen[0], seen[-1] + 1))
        start = await rest.result("Trades", pair="XBTUSD", since=0, count=3)
        assert [row[6] for row in start["XXBTZUSD"]] == [1, 2, 3]


async def test_ticker_agrees_with_truth(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        for pair in ("XBTUSD", "PEPEUSD", "SOVIRUSD"):
            (row,) = (await rest.result("Ticker", pair=pair)).values()
            truth = exchange.truth.ticker(pair)
            assert Decimal(row["a"][0]) == truth.ask
            assert Decimal(row["b"][0]) == truth.bid
            assert Decimal(row["c"][0]) == truth.last
            assert Decimal(row["v"][1]) == truth.volume_24h
            assert Decimal(row["p"][1]) == truth.vwap_24h
            assert row["t"][1] == truth.count_24h
            minute = truth.time_ns // (60 * NS) * 60 * NS
            trades = exchange.truth.trades(pair, minute - 86_400 * NS, truth.time_ns + 1)
            assert truth.count_24h == len(trades)
            assert truth.volume_24h == sum((trade.volume for trade in trades), Decimal(0))
            if trades:
                assert truth.high_24h == max(trade.price for trade in trades)
                assert truth.low_24h == min(trade.price for trade in trades)


@pytest.mark.slow
async def test_all_pairs_ticker_has_keys_too_many_and_too_few(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        pairs = set(await rest.result("AssetPairs"))
        ticker = await rest.result("Ticker")
        assert "USD_CREDITZUSD" in ticker
        assert len(set(ticker) - pairs) == 256
        assert 5 <= len(pairs - set(ticker)) <= 40
        rows = ticker.values()
        assert sum(row["t"][1] == 0 for row in rows) > 100
        assert sum(float(row["b"][0]) == 0 for row in rows) > 100


async def test_a_candle_gets_its_last_trades_when_it_is_revised(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    settings = SandboxSettings(
        start_s=1_794_916_800, pair_count=2, limits=False, activity=30, ohlc_revised_after_s=120
    )
    async with (
        open_sandbox(memory=True, settings=settings) as exchange,
        open_rest(exchange) as rest,
    ):
        await trio.sleep(300)
        counts = []
        for _ in range(2):
            rows = next(iter((await rest.result("OHLC", pair="XBTUSD")).values()))
            counts.append({row[0]: row[7] for row in rows[:-1]})
            await trio.sleep(180)
        end_s = 1_794_916_800 + 300
        candles = exchange.truth.candles("XBTUSD", 1, end_s - 300, end_s)
        truth = {candle.time: candle.count for candle in candles}
    early, late = counts
    for time, count in truth.items():
        assert late[time] == count
        assert (early[time] == count) is (time + 60 <= end_s - 120)
