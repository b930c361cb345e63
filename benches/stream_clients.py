"""One client under test, in a process of its own: `stream_clients.py NAME URL SYMBOLS [CAFILE]`.

Each keeps the newest ticker of every symbol readable in its own way, waits for the marker price of
the last symbol, and prints one JSON line: when it was readable, and the CPU spent from the first
data on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any

from stream_blaster import LAST, symbol

MARK = float(LAST)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Report:
    """Notes the CPU once everything is subscribed and prints the result at the end."""

    def __init__(self) -> None:
        self._cpu_s = cpu_s()

    def ready(self) -> None:
        self._cpu_s = cpu_s()

    def done(self, **extra: Any) -> None:
        now = time.monotonic()
        print(json.dumps({"end_s": now, "cpu_s": cpu_s() - self._cpu_s, **extra}), flush=True)


def tls_of(cafile: str | None) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=cafile) if cafile else None


def subscription(symbols: list[str]) -> list[str]:
    return [
        json.dumps(
            {
                "method": "subscribe",
                "params": {
                    "channel": "ticker",
                    "symbol": symbols[i : i + 100],
                    "event_trigger": "bbo",
                },
            }
        )
        for i in range(0, len(symbols), 100)
    ]


def krakked(url: str, symbols: list[str], cafile: str | None) -> None:
    """The whole library path: Feed, tap, cache, watchdogs."""
    import trio

    from krakked.config.settings import WebSocketSettings
    from krakked.market.pairs import PairMetadata, PairTable
    from krakked.market.stream.feed import Feed
    from krakked.network import SystemClock, SystemNetwork

    class Network(SystemNetwork):
        async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
            if not tls:
                return await super().open_stream(host, port, tls=False)
            return await trio.open_ssl_over_tcp_stream(
                host, port, ssl_context=tls_of(cafile), https_compatible=True
            )

    def pair(name: str) -> PairMetadata:
        return PairMetadata(
            canonical=name.replace("/", ""),
            base=name.split("/", maxsplit=1)[0],
            quote="USD",
            rest_symbol=name,
            ws_symbol=name,
            wsname=name,
            raw_name=name,
            price_decimals=1,
            volume_decimals=8,
            lot_size=1.0,
            status="online",
        )

    table = PairTable(pair(name) for name in symbols)

    async def main() -> None:
        report = Report()
        feed = Feed(
            WebSocketSettings(url=url, timeframes=()),
            network=Network(),
            clock=SystemClock(),
            table=lambda: table,
            pairs=list(table.by_canonical),
            symbols_per_connection=100_000,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(feed.run)
            while True:
                await trio.sleep(0.005)
                facts = feed.statistics() if not report_ready else None
                if facts is not None:
                    if facts.connections and facts.connections[0].acknowledged >= len(symbols):
                        report_ready.append(True)
                        report.ready()
                    continue
                row = feed.cache.ticker(symbols[-1])
                if row is not None and row[4] == MARK:
                    break
            report.done(frames=feed.statistics().frames)
            nursery.cancel_scope.cancel()

    report_ready: list[bool] = []
    trio.run(main)


def trio_websocket(url: str, symbols: list[str], cafile: str | None) -> None:
    """Bare trio-websocket + orjson + dict."""
    import orjson
    import trio
    import trio_websocket as tws

    async def main() -> None:
        cache: dict[str, dict[str, Any]] = {}
        acks, last, report = 0, symbols[-1], Report()
        async with tws.open_websocket_url(url, tls_of(cafile), message_queue_size=64) as socket:
            for text in subscription(symbols):
                await socket.send_message(text)
            while True:
                message = orjson.loads(await socket.get_message())
                if message.get("channel") == "ticker":
                    for row in message["data"]:
                        cache[row["symbol"]] = row
                        if row["symbol"] == last and row["last"] == MARK:
                            report.done()
                            return
                elif message.get("success"):
                    acks += 1
                    if acks == len(symbols):
                        report.ready()

    trio.run(main)


def asyncio_run(main: Any) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def on_text(symbols: list[str], done: Callable[[], None], report: Report) -> Callable[[Any], None]:
    """The same orjson + dict as above, as a callback."""
    import orjson

    cache: dict[str, dict[str, Any]] = {}
    acks, last = 0, symbols[-1]

    def take(text: Any) -> None:
        nonlocal acks
        message = orjson.loads(text)
        if message.get("channel") == "ticker":
            for row in message["data"]:
                cache[row["symbol"]] = row
                if row["symbol"] == last and row["last"] == MARK:
                    report.done()
                    done()
        elif message.get("success"):
            acks += 1
            if acks == len(symbols):
                report.ready()

    return take


def picows(url: str, symbols: list[str], cafile: str | None) -> None:
    """picows + orjson + dict, on uvloop."""
    import picows as library

    async def main() -> None:
        finished = asyncio.Event()
        take = on_text(symbols, finished.set, Report())

        class Listener(library.WSListener):
            def on_ws_connected(self, transport: library.WSTransport) -> None:
                for text in subscription(symbols):
                    transport.send(library.WSMsgType.TEXT, text.encode())

            def on_ws_frame(self, transport: library.WSTransport, frame: library.WSFrame) -> None:
                if frame.msg_type == library.WSMsgType.TEXT:
                    take(frame.get_payload_as_memoryview())

        transport, _ = await library.ws_connect(Listener, url, ssl_context=tls_of(cafile))
        await finished.wait()
        transport.disconnect()

    asyncio_run(main())


def websockets(url: str, symbols: list[str], cafile: str | None) -> None:
    """websockets + orjson + dict, on uvloop."""
    from websockets.asyncio.client import connect

    async def main() -> None:
        finished = asyncio.Event()
        take = on_text(symbols, finished.set, Report())
        async with connect(url, ssl=tls_of(cafile), compression=None, max_queue=64) as socket:
            for text in subscription(symbols):
                await socket.send(text)
            while not finished.is_set():
                take(await socket.recv(decode=False))

    asyncio_run(main())


def ccxt_pro(url: str, symbols: list[str], cafile: str | None) -> None:
    """ccxt.pro watch_tickers; the cache is its own `tickers`."""
    import ccxt.pro

    async def main() -> None:
        exchange = ccxt.pro.kraken()
        exchange.urls["api"]["ws"]["publicV2"] = url
        exchange.set_markets(
            [
                exchange.safe_market_structure(
                    {
                        "id": name,
                        "symbol": name,
                        "base": name.split("/")[0],
                        "quote": "USD",
                        "baseId": name.split("/")[0],
                        "quoteId": "USD",
                        "spot": True,
                        "type": "spot",
                        "active": True,
                        "info": {"wsname": name},
                    }
                )
                for name in symbols
            ]
        )
        exchange.options["watchTickers"] = {}
        report, last = Report(), symbols[-1]
        try:
            await exchange.watch_tickers(symbols)
            report.ready()
            while True:
                await asyncio.sleep(0.005)
                found = exchange.tickers.get(last)
                if found is not None and found["last"] == MARK:
                    break
            report.done()
        finally:
            await exchange.close()

    asyncio.run(main())  # as its users run it


def python_kraken_sdk(url: str, symbols: list[str], cafile: str | None) -> None:
    """python-kraken-sdk with the smallest possible on_message."""
    from kraken.spot import SpotWSClient

    async def main() -> None:
        cache: dict[str, dict[str, Any]] = {}
        finished = asyncio.Event()
        last, report = symbols[-1], Report()

        class Client(SpotWSClient):
            async def on_message(self, message: dict[str, Any]) -> None:
                if message.get("channel") == "ticker":
                    for row in message["data"]:
                        cache[row["symbol"]] = row
                        if row["symbol"] == last and row["last"] == MARK:
                            report.done()
                            finished.set()

        client = Client(ws_url=url.removesuffix("/v2"))
        await client.start()
        for i in range(0, len(symbols), 100):
            await client.subscribe(params={"channel": "ticker", "symbol": symbols[i : i + 100]})
        report.ready()
        await finished.wait()
        await client.close()

    asyncio.run(main())


def cryptofeed(url: str, symbols: list[str], cafile: str | None) -> None:
    """cryptofeed's Kraken feed; it still speaks WebSocket v1, so it gets v1 frames."""
    from cryptofeed import FeedHandler
    from cryptofeed.connection import WebsocketEndpoint
    from cryptofeed.defines import TICKER
    from cryptofeed.exchanges import Kraken
    from cryptofeed.symbols import Symbols

    cache: dict[str, Any] = {}
    mapping = {name.replace("/", "-"): name for name in symbols}
    last, report = symbols[-1].replace("/", "-"), Report()
    Symbols.set(Kraken.id, mapping, {"instrument_type": dict.fromkeys(mapping, "spot")})

    class Local(Kraken):
        websocket_endpoints = (WebsocketEndpoint(url, limit=100_000),)
        rest_endpoints = ()
        request_limit = 100_000

    async def take(update: Any, received: float) -> None:
        cache[update.symbol] = update
        if update.symbol == last and float(update.ask) == MARK:
            report.done()
            sys.stdout.flush()
            import os

            os._exit(0)

    asyncio.set_event_loop(asyncio.new_event_loop())
    handler = FeedHandler(config={"log": {"disabled": True}, "uvloop": False})
    handler.add_feed(Local(symbols=list(mapping), channels=[TICKER], callbacks={TICKER: take}))
    handler.run(install_signal_handlers=False)


CLIENTS = {
    "krakked": krakked,
    "trio-websocket": trio_websocket,
    "picows": picows,
    "websockets": websockets,
    "ccxt.pro": ccxt_pro,
    "python-kraken-sdk": python_kraken_sdk,
    "cryptofeed": cryptofeed,
}

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    name, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    CLIENTS[name](
        address, [symbol(i) for i in range(count)], sys.argv[4] if len(sys.argv) > 4 else None
    )
