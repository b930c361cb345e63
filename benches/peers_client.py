"""Unmodified ccxt and python-kraken-sdk against a sandbox; run by peers_check.py in its own venv.

Only addresses and keys are given to the clients. Each step prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

REST, WS = os.environ["SANDBOX_REST"], os.environ["SANDBOX_WS"]
KEY, SECRET = os.environ["SANDBOX_KEY"], os.environ["SANDBOX_SECRET"]
WAIT_S = 40


async def step(peer: str, name: str, work: Callable[[], Awaitable[str]]) -> None:
    start = time.perf_counter()
    try:
        async with asyncio.timeout(WAIT_S):
            ok, detail = True, await work()
    except Exception as error:
        ok, detail = False, f"{type(error).__name__}: {error}"
    took = round(time.perf_counter() - start, 2)
    print(
        json.dumps({"peer": peer, "step": name, "ok": ok, "detail": detail, "s": took}), flush=True
    )


async def ccxt_steps() -> None:
    import ccxt.pro

    exchange = ccxt.pro.kraken({"apiKey": KEY, "secret": SECRET})
    exchange.urls["api"]["public"] = exchange.urls["api"]["private"] = REST
    exchange.urls["api"]["ws"]["publicV2"] = WS
    peer = f"ccxt {version('ccxt')}"

    async def markets() -> str:
        found = await exchange.load_markets()
        bitcoin = found["BTC/USD"]
        assert bitcoin["id"] == "XXBTZUSD"
        assert "DOGE/USD" in found
        return f"{len(found)} markets"

    async def candles() -> str:
        rows = await exchange.fetch_ohlcv("BTC/USD", "1m")
        assert len(rows) > 700
        assert rows[-1][2] >= rows[-1][3] > 0
        return f"{len(rows)} rows, last close {rows[-1][4]}"

    async def balance() -> str:
        found = await exchange.fetch_balance()
        assert found["BTC"]["total"] == 1.2345
        return f"BTC {found['BTC']['total']}, USD {found['USD']['total']}"

    async def ticker() -> str:
        first = await exchange.watch_ticker("BTC/USD")
        second = await exchange.watch_ticker("BTC/USD")
        assert second["bid"] < second["ask"]
        return f"last {first['last']} then {second['last']}"

    async def ohlc() -> str:
        rows = await exchange.watch_ohlcv("BTC/USD", "1m")
        assert rows
        assert rows[-1][2] >= rows[-1][3] > 0
        return f"{len(rows)} rows, last close {rows[-1][4]}"

    try:
        await step(peer, "load markets", markets)
        await step(peer, "candles", candles)
        await step(peer, "signed balance", balance)
        await step(peer, "ticker over WebSocket v2", ticker)
        await step(peer, "ohlc over WebSocket v2", ohlc)
    finally:
        await exchange.close()


async def sdk_steps() -> None:
    from kraken.spot import Market, SpotWSClient, User

    peer = f"python-kraken-sdk {version('python-kraken-sdk')}"
    market, user = Market(url=REST), User(key=KEY, secret=SECRET, url=REST)
    frames: list[dict[str, Any]] = []

    class Client(SpotWSClient):
        async def on_message(self, message: dict[str, Any]) -> None:
            frames.append(message)

    async def markets() -> str:
        found = await asyncio.to_thread(market.get_asset_pairs)
        assert found["XXBTZUSD"]["altname"] == "XBTUSD"
        return f"{len(found)} pairs"

    async def candles() -> str:
        found = await asyncio.to_thread(market.get_ohlc, pair="XBTUSD", interval=1)
        rows = found["XXBTZUSD"]
        assert len(rows) == 721
        return f"{len(rows)} rows, last close {rows[-1][4]}"

    async def balance() -> str:
        found = await asyncio.to_thread(user.get_account_balance)
        assert found["XXBT"] == "1.2345000000"
        return f"XXBT {found['XXBT']}"

    client = Client(ws_url=WS.removesuffix("/v2"), rest_url=REST)

    def data_of(channel: str, kind: str) -> list[dict[str, Any]]:
        return [f for f in frames if f.get("channel") == channel and f.get("type") == kind]

    def streamed(channel: str, **params: Any) -> Callable[[], Awaitable[str]]:
        async def work() -> str:
            await client.subscribe(params={"channel": channel, "symbol": ["BTC/USD"], **params})
            while not (  # noqa: ASYNC110 - the client has no event to wait for
                data_of(channel, "snapshot") and data_of(channel, "update")
            ):
                await asyncio.sleep(0.05)
            count = len(data_of(channel, "snapshot")[0]["data"])
            return f"snapshot of {count}, {len(data_of(channel, 'update'))} updates"

        return work

    await step(peer, "load markets", markets)
    await step(peer, "candles", candles)
    await step(peer, "signed balance", balance)
    await client.start()
    try:
        await step(peer, "ticker over WebSocket v2", streamed("ticker"))
        await step(peer, "ohlc over WebSocket v2", streamed("ohlc", interval=1))
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(ccxt_steps() if sys.argv[1] == "ccxt" else sdk_steps())
