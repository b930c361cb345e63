"""Those who read the blaster's stream into a cache, each alone in a process of its own.

    python benches/stream_contenders.py NAME JOB.json     (see `Job`)

Each connects, subscribes, waits for a snapshot of every symbol, tells the blaster to begin and is
timed until the last quote of every symbol can be read back; those quotes are then compared with
what was sent. Clients get addresses and certificates through their own configuration; no code of
theirs is replaced. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from stream_blaster import FRAME_BYTES, final_quote

START_S = 60.0


@dataclass
class Job:
    """What to read, from where."""

    ws_url: str
    control: int
    frames: int
    symbols: list[str] = field(default_factory=list)
    """v2 symbols, in the blaster's order."""
    wsnames: list[str] = field(default_factory=list)
    altnames: list[str] = field(default_factory=list)
    rest_url: str = ""
    cafile: str = ""
    poll_s: float = 0.004
    """How often those who are not told of single messages are asked for the last one."""

    @property
    def last(self) -> str:
        return self.symbols[-1]

    @property
    def last_bid(self) -> Decimal:
        return Decimal(final_quote(len(self.symbols) - 1)[0])

    @property
    def tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.cafile) if self.cafile else None

    def subscription(self) -> str:
        params = {"channel": "ticker", "symbol": self.symbols, "event_trigger": "bbo"}
        return json.dumps({"method": "subscribe", "params": params, "req_id": 1})


class Watch:
    """The stop watch: wall time and this process's CPU, all threads of it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._control = socket.create_connection(("127.0.0.1", job.control))
        self._begin = self._cpu = self.seconds = self.cpu_s = 0.0

    def go(self) -> None:
        """Start, and tell the blaster to begin."""
        self._begin, self._cpu = time.monotonic(), time.process_time()
        self._control.sendall(b"go")

    def stop(self) -> None:
        self.seconds = time.monotonic() - self._begin
        self.cpu_s = time.process_time() - self._cpu

    def result(self, quote: Callable[[str], tuple[Any, Any]], note: str = "") -> dict[str, Any]:
        """Compare the last quote of every symbol, as read back, with what was sent."""
        wrong = 0
        for index, symbol in enumerate(self.job.symbols):
            bid, ask = final_quote(index)
            given = tuple(Decimal(str(value)) for value in quote(symbol))
            wrong += given != (Decimal(bid), Decimal(ask))
        self._control.close()
        return {
            "frames": self.job.frames,
            "seconds": self.seconds,
            "cpu_s": self.cpu_s,
            "wrong": wrong,
            "note": note,
        }


def from_rows(cache: dict[str, dict[str, Any]]) -> Callable[[str], tuple[Any, Any]]:
    return lambda symbol: (cache[symbol]["bid"], cache[symbol]["ask"])


# --- the floor: somebody who only drains the socket -----------------------------------------------


def run_drain(job: Job) -> dict[str, Any]:
    """Read and throw away: what the blaster can do."""
    host, port = job.ws_url.split("/")[2].split(":")
    sock = socket.create_connection((host, int(port)))
    if job.tls:
        sock = job.tls.wrap_socket(sock, server_hostname=host)
    sock.sendall(
        f"GET /v2 HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    sock.settimeout(0.5)
    try:
        while sock.recv(65_536):
            pass
    except TimeoutError:
        sock.settimeout(None)
    watch = Watch(job)
    left = job.frames * FRAME_BYTES
    buffer = bytearray(1 << 18)
    watch.go()
    while left > 0:
        left -= sock.recv_into(buffer)
    watch.stop()
    result = watch.result(lambda symbol: final_quote(job.symbols.index(symbol)))
    return result | {"note": "reads and throws away"}


# --- krakked --------------------------------------------------------------------------------------


async def watch_reads(job: Job, read: Callable[[str], Any]) -> Watch:
    """Begin, and ask krakked's plain read for the last symbol until its last quote is there."""
    import trio

    watch, last_bid = Watch(job), float(job.last_bid)
    watch.go()
    while read(job.altnames[-1]).bid != last_bid:  # noqa: ASYNC110 - plain reads
        await trio.sleep(job.poll_s)
    watch.stop()
    return watch


async def watch_changes(job: Job, kraken: Any) -> Watch:
    """Begin, and take every change until the last quote of the last symbol comes."""
    watch, last_bid, last = Watch(job), float(job.last_bid), job.altnames[-1]
    changes = kraken.changes(kinds=["ticker"])
    watch.go()
    async for change in changes:
        if change.pair == last and change.bid == last_bid:
            break
    watch.stop()
    return watch


def run_krakked(
    job: Job, *, consumer: bool = False, conflate_ms: float | None = None
) -> dict[str, Any]:
    """`open_kraken` as a user opens it, candles subscribed too."""
    import trio

    from krakked._client import open_kraken
    from krakked._config.settings import (
        KrakkedConfig,
        MarketDataSettings,
        OHLCStoreSettings,
        RestSettings,
        WebSocketSettings,
    )

    more = {} if conflate_ms is None else {"conflate_ms": conflate_ms}

    async def main(root: str) -> dict[str, Any]:
        config = KrakkedConfig(
            rest=RestSettings(base_url=job.rest_url),
            market_data=MarketDataSettings(
                ws=WebSocketSettings(url=job.ws_url, timeframes=("1m",), **more),
                ohlc_store=OHLCStoreSettings(root_dir=root),
            ),
        )
        async with open_kraken(config, pairs=job.altnames) as kraken:
            await kraken.wait_live(timeout_s=START_S)
            before = kraken.feed.statistics()
            watch = (
                await watch_changes(job, kraken)
                if consumer
                else await watch_reads(job, kraken.get_best_bid_ask)
            )
            names = dict(zip(job.symbols, job.altnames, strict=True))

            def quote(symbol: str) -> tuple[Any, Any]:
                read = kraken.get_best_bid_ask(names[symbol], exact=True)
                return read.bid, read.ask

            facts = kraken.feed.statistics()
            note = "" if facts.frames - before.frames >= job.frames else "frames went missing"
            if facts.reconnects:
                note = f"{note} {facts.reconnects} reconnects".strip()
            return watch.result(quote, note)

    with tempfile.TemporaryDirectory() as root:
        return trio.run(main, root)


def run_krakked_symbols(job: Job) -> dict[str, Any]:
    """The same feed over one connection, whatever the number of symbols, tickers alone."""
    import trio

    from krakked._config.settings import WebSocketSettings
    from krakked._market.live import LiveReads
    from krakked._market.pairs import PairMetadata, PairTable
    from krakked._market.stream.feed import Feed
    from krakked._network.clock import SystemClock
    from krakked._network.network import SystemNetwork

    def pair(altname: str, symbol: str, wsname: str) -> PairMetadata:
        base, quote = symbol.split("/")
        return PairMetadata(
            canonical=altname,
            base=base,
            quote=quote,
            rest_symbol=altname,
            ws_symbol=symbol,
            wsname=wsname,
            raw_name=altname,
            price_decimals=5,
            volume_decimals=8,
            lot_size=1.0,
            status="online",
        )

    async def main() -> dict[str, Any]:
        table = PairTable(list(map(pair, job.altnames, job.symbols, job.wsnames)))
        feed = Feed(
            WebSocketSettings(url=job.ws_url, timeframes=()),
            network=SystemNetwork(),
            clock=SystemClock(),
            table=lambda: table,
            pairs=job.altnames,
            symbols_per_connection=1_000_000,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(feed.run)
            await feed.wait_live(None, START_S)
            reads = LiveReads(feed)
            watch = await watch_reads(job, reads.get_best_bid_ask)
            names = dict(zip(job.symbols, job.altnames, strict=True))

            def quote(symbol: str) -> tuple[Any, Any]:
                read = reads.get_best_bid_ask(names[symbol], exact=True)
                return read.bid, read.ask

            result = watch.result(quote)
            nursery.cancel_scope.cancel()
        return result

    return trio.run(main)


# --- WebSocket libraries and a dict ---------------------------------------------------------------


def run_trio_websocket(job: Job) -> dict[str, Any]:
    """trio-websocket + orjson + dict."""
    import orjson
    import trio
    from trio_websocket import open_websocket_url

    async def main() -> dict[str, Any]:
        cache: dict[str, dict[str, Any]] = {}
        async with open_websocket_url(
            job.ws_url, job.tls, message_queue_size=64, receive_buffer_size=65_536
        ) as socket_:
            await socket_.send_message(job.subscription())
            while len(cache) < len(job.symbols):
                message = orjson.loads(await socket_.get_message())
                if message.get("channel") == "ticker":
                    for row in message["data"]:
                        cache[row["symbol"]] = row
            watch, left = Watch(job), job.frames
            watch.go()
            while left:
                message = orjson.loads(await socket_.get_message())
                if message.get("channel") == "ticker":
                    for row in message["data"]:
                        cache[row["symbol"]] = row
                    left -= 1
            watch.stop()
            return watch.result(from_rows(cache))

    return trio.run(main)


def run_picows(job: Job) -> dict[str, Any]:
    """picows + orjson + dict, on uvloop."""
    import orjson
    import uvloop
    from picows import WSListener, WSMsgType, ws_connect

    cache: dict[str, dict[str, Any]] = {}

    class Reader(WSListener):
        def __init__(self) -> None:
            self.left = -1
            self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type != WSMsgType.TEXT:
                return
            message = orjson.loads(frame.get_payload_as_memoryview())
            if message.get("channel") == "ticker":
                for row in message["data"]:
                    cache[row["symbol"]] = row
                self.left -= 1
                if not self.left:
                    watch.stop()
                    self.done.set_result(None)
                elif self.left < 0 and len(cache) == len(job.symbols):
                    self.ready.set_result(None)
                    self.left = job.frames

    async def main() -> dict[str, Any]:
        nonlocal watch
        transport, reader = await ws_connect(Reader, job.ws_url, ssl_context=job.tls)
        transport.send(WSMsgType.TEXT, job.subscription().encode())
        await reader.ready
        watch = Watch(job)
        watch.go()
        await reader.done
        result = watch.result(from_rows(cache))
        transport.disconnect()
        return result

    watch: Watch
    return uvloop.run(main())


def run_websockets(job: Job) -> dict[str, Any]:
    """`websockets` + orjson + dict, its asyncio client on uvloop, payloads not decoded to str."""
    import orjson
    import uvloop
    from websockets.asyncio.client import connect

    async def main() -> dict[str, Any]:
        cache: dict[str, dict[str, Any]] = {}
        async with connect(job.ws_url, ssl=job.tls, compression=None) as socket_:
            await socket_.send(job.subscription())
            while len(cache) < len(job.symbols):
                message = orjson.loads(await socket_.recv(decode=False))
                if message.get("channel") == "ticker":
                    for row in message["data"]:
                        cache[row["symbol"]] = row
            watch, left = Watch(job), job.frames
            watch.go()
            while left:
                message = orjson.loads(await socket_.recv(decode=False))
                if message.get("channel") == "ticker":
                    for row in message["data"]:
                        cache[row["symbol"]] = row
                    left -= 1
            watch.stop()
            return watch.result(from_rows(cache))

    return uvloop.run(main())


# --- clients of Kraken ----------------------------------------------------------------------------


def run_ccxt(job: Job) -> dict[str, Any]:
    """ccxt.pro's watch_tickers; its own cache `exchange.tickers`, with orjson, which it picks."""
    import ccxt.pro

    async def main() -> dict[str, Any]:
        exchange = ccxt.pro.kraken({"cafile": job.cafile} if job.cafile else {})
        exchange.urls["api"]["public"] = exchange.urls["api"]["private"] = job.rest_url
        exchange.urls["api"]["ws"]["publicV2"] = job.ws_url
        try:
            await exchange.load_markets()
            await exchange.watch_tickers(job.symbols)
            while any(symbol not in exchange.tickers for symbol in job.symbols):  # noqa: ASYNC110 - plain reads
                await asyncio.sleep(0.05)
            watch, last_bid = Watch(job), float(job.last_bid)
            watch.go()
            while exchange.tickers[job.last]["bid"] != last_bid:  # noqa: ASYNC110 - plain reads
                await asyncio.sleep(job.poll_s)
            watch.stop()
            return watch.result(from_rows(exchange.tickers))
        finally:
            await exchange.close()

    return asyncio.run(main())


def run_sdk(job: Job) -> dict[str, Any]:
    """python-kraken-sdk: SpotWSClient with on_message into a dict."""
    from kraken.spot import SpotWSClient

    cache: dict[str, dict[str, Any]] = {}

    class Client(SpotWSClient):
        left = -1

        async def on_message(self, message: dict[str, Any]) -> None:
            if message.get("channel") == "ticker":
                for row in message["data"]:
                    cache[row["symbol"]] = row
                self.left -= 1
                if not self.left:
                    watch.stop()
                    done.set()

    async def main() -> dict[str, Any]:
        nonlocal watch
        client = Client(ws_url=job.ws_url.removesuffix("/v2"), rest_url=job.rest_url)
        await client.start()
        for at in range(0, len(job.symbols), 100):
            batch = job.symbols[at : at + 100]
            await client.subscribe(params={"channel": "ticker", "symbol": batch})
        while len(cache) < len(job.symbols):  # noqa: ASYNC110 - plain reads
            await asyncio.sleep(0.05)
        client.left = job.frames
        watch = Watch(job)
        watch.go()
        await done.wait()
        result = watch.result(from_rows(cache))
        await client.close()
        return result

    watch: Watch
    done = asyncio.Event()
    return asyncio.run(main())


def run_cryptofeed(job: Job) -> dict[str, Any]:
    """cryptofeed's Kraken feed (WebSocket v1, so its frames are v1's), on uvloop, into a dict."""
    from cryptofeed import FeedHandler
    from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
    from cryptofeed.defines import TICKER
    from cryptofeed.exchanges import Kraken

    address = job.ws_url.removesuffix("/v2")

    class Local(Kraken):
        # 20 symbols a connection is its default; one connection is faster.
        websocket_endpoints = [  # noqa: RUF012 - as in its own exchanges
            WebsocketEndpoint(
                "wss" + address[address.index(":") :],
                limit=100_000,
                options={"ssl": job.tls} if job.cafile else None,
                authentication=not job.cafile,
            )
        ]
        rest_endpoints = [  # noqa: RUF012
            RestEndpoint(job.rest_url, routes=Routes("/0/public/AssetPairs"))
        ]

        async def _ws_authentication(self, address: str, options: Any) -> tuple[str, Any]:
            # Its hook for an address made up just before connecting: it insists on wss elsewhere.
            return address.replace("wss:", "ws:"), options

    cache: dict[str, Any] = {}
    names = {symbol: symbol.replace("/", "-") for symbol in job.symbols}
    left = -1
    watch: Watch

    def quote(symbol: str) -> tuple[Any, Any]:
        return cache[names[symbol]].bid, cache[names[symbol]].ask

    async def ticker(update: Any, receipt: float) -> None:
        nonlocal left, watch
        cache[update.symbol] = update
        left -= 1
        if not left:
            watch.stop()
            end(watch.result(quote))  # its own way out takes ten seconds
        elif left < 0 and len(cache) == len(names):
            left = job.frames
            watch = Watch(job)
            watch.go()

    handler = FeedHandler(config={"log": {"disabled": True}})
    handler.add_feed(
        Local(symbols=list(names.values()), channels=[TICKER], callbacks={TICKER: ticker})
    )
    handler.run(install_signal_handlers=False)
    raise RuntimeError("cryptofeed gave up")


CONTENDERS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "drain": run_drain,
    "krakked": run_krakked,
    "krakked-consumer": partial(run_krakked, consumer=True),
    "krakked-consumer-0": partial(run_krakked, consumer=True, conflate_ms=0.0),
    "krakked-symbols": run_krakked_symbols,
    "trio-websocket": run_trio_websocket,
    "picows": run_picows,
    "websockets": run_websockets,
    "ccxt": run_ccxt,
    "python-kraken-sdk": run_sdk,
    "cryptofeed": run_cryptofeed,
}


def end(result: dict[str, Any]) -> NoReturn:
    """Print the result and be gone: some clients leave threads and tasks behind."""
    print(json.dumps(result), flush=True)
    os._exit(0)


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[2]).read_text()))
    if job.cafile:
        os.environ["SSL_CERT_FILE"] = job.cafile
    logging.disable(logging.WARNING)
    end(CONTENDERS[sys.argv[1]](job))


if __name__ == "__main__":
    main()
