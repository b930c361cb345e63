"""Twenty servers that no client should have to meet, over memory streams."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from random import Random

import httpx
import trio
import trio.testing

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
STATUS = b'{"channel":"status","type":"update","data":[{"system":"online","connection_id":1}]}'

Server = Callable[[trio.abc.Stream, Random], Awaitable[None]]
Opening = Callable[[trio.abc.Stream], Awaitable[None]]


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True, rsv: int = 0) -> bytes:
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    size = len(payload)
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + b"\x7e" + size.to_bytes(2, "big") + payload
    return head + b"\x7f" + size.to_bytes(8, "big") + payload


async def upgrade(stream: trio.abc.Stream, *, key: bytes | None = None) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        request += await stream.receive_some(4096) or b"\r\n\r\n"
    if key is None:
        lines = dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line)
        key = next(v for k, v in lines.items() if k.lower() == b"sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


async def greet(stream: trio.abc.Stream) -> None:
    await upgrade(stream)
    await stream.send_all(frame(STATUS))


def unmask(data: bytes) -> list[bytes]:
    """Give the payloads of the (small, complete) client frames in a chunk."""
    texts, at = [], 0
    while at + 6 <= len(data):
        size, at = data[at + 1] & 0x7F, at + 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        mask, at = data[at : at + 4], at + 4
        texts.append(bytes(b ^ mask[i % 4] for i, b in enumerate(data[at : at + size])))
        at += size
    return texts


async def refuse_tcp(stream: trio.abc.Stream, random: Random) -> None:
    await stream.aclose()


async def swallow(stream: trio.abc.Stream, random: Random) -> None:
    while await stream.receive_some(4096):
        pass


async def garbage(stream: trio.abc.Stream, random: Random) -> None:
    await stream.send_all(random.randbytes(2000))
    await swallow(stream, random)


def page(status: bytes, *, length: bool) -> Server:
    async def serve(stream: trio.abc.Stream, random: Random) -> None:
        body = b"<html>" + b"x" * 3000
        head = b"content-length: %d\r\n" % len(body) if length else b"connection: close\r\n"
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n" + body)
        await stream.aclose()

    return serve


async def endless_headers(stream: trio.abc.Stream, random: Random) -> None:
    await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\n")
    for _ in range(10_000):
        await stream.send_all(b"x-more: " + b"y" * 500 + b"\r\n")
        await trio.sleep(0.01)


async def wrong_key(stream: trio.abc.Stream, random: Random) -> None:
    await upgrade(stream, key=b"not yours")
    await swallow(stream, random)


async def upgrade_and_close(stream: trio.abc.Stream, random: Random) -> None:
    await upgrade(stream)
    await stream.aclose()


async def upgrade_and_silence(stream: trio.abc.Stream, random: Random) -> None:
    await upgrade(stream)
    await trio.sleep_forever()


async def greet_and_close(stream: trio.abc.Stream, random: Random) -> None:
    await greet(stream)
    await trio.sleep(random.uniform(0, 2))
    await stream.send_all(frame((1013).to_bytes(2, "big") + b"try again later", 8))
    await swallow(stream, random)


async def greet_and_break(stream: trio.abc.Stream, random: Random) -> None:
    await greet(stream)
    await trio.sleep(random.uniform(0, 3))
    await stream.send_all(frame(STATUS)[: random.randrange(1, 40)])
    await stream.aclose()


async def greet_and_silence(stream: trio.abc.Stream, random: Random) -> None:
    await greet(stream)
    await trio.sleep_forever()


def answering(
    answer: Callable[[dict, str], bytes], *, beat: bool = True, opening: Opening = greet
) -> Server:
    """A server that answers each symbol of each request, and beats."""
    import json

    async def serve(stream: trio.abc.Stream, random: Random) -> None:
        await opening(stream)

        async def heartbeats() -> None:
            while beat:
                await trio.sleep(1)
                await stream.send_all(frame(b'{"channel":"heartbeat"}'))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(heartbeats)
            while data := await stream.receive_some(65536):
                for text in unmask(data):
                    if not text.startswith(b"{"):
                        continue
                    request = json.loads(text)
                    for symbol in request.get("params", {}).get("symbol", [""]):
                        await stream.send_all(answer(request, symbol))
            nursery.cancel_scope.cancel()

    return serve


def acked(request: dict, symbol: str) -> bytes:
    if request["method"] == "ping":
        return frame(b'{"method":"pong","req_id":%d}' % request["req_id"])
    channel = request["params"]["channel"].encode()
    interval = request["params"].get("interval")
    extra = b',"interval":%d' % interval if interval else b""
    return frame(
        b'{"method":"%s","result":{"channel":"%s","symbol":"%s"%s},"success":true,"req_id":%d}'
        % (request["method"].encode(), channel, symbol.encode(), extra, request["req_id"])
    )


def refused(request: dict, symbol: str) -> bytes:
    return frame(
        b'{"error":"Currency pair not supported","method":"subscribe",'
        b'"success":false,"symbol":"%s"}' % symbol.encode()
    )


def rate(request: dict, symbol: str) -> bytes:
    return frame(b'{"method":"subscribe","success":false,"error":"Exceeded msg rate"}')


def nonsense(request: dict, symbol: str) -> bytes:
    return frame(b'{"channel":"ticker","data":[{"symbol":') * 60


async def acks_then_cut(stream: trio.abc.Stream, random: Random) -> None:
    with trio.move_on_after(random.uniform(0.5, 5)):
        await answering(acked)(stream, random)
    await stream.aclose()


async def binary_and_reserved(stream: trio.abc.Stream, random: Random) -> None:
    await greet(stream)
    await stream.send_all(frame(random.randbytes(100), 2) + frame(b"x", 3))
    await swallow(stream, random)


async def fragment_without_end(stream: trio.abc.Stream, random: Random) -> None:
    await greet(stream)
    await stream.send_all(frame(b"{", fin=False))
    for _ in range(20):
        await stream.send_all(frame(b" " * 600_000, 0, fin=False))
        await trio.sleep(0.05)


async def ping_flood(stream: trio.abc.Stream, random: Random) -> None:
    await greet(stream)
    for _ in range(5):
        await stream.send_all(frame(b"p" * 125, 9) * 20)
        await trio.sleep(2)
    await stream.aclose()


async def slow_drip(stream: trio.abc.Stream, random: Random) -> None:
    await upgrade(stream)
    for byte in frame(STATUS) * 20:
        await stream.send_all(bytes([byte]))
        await trio.sleep(random.uniform(0, 2))
    await stream.aclose()


SERVERS: dict[str, Server] = {
    "refuse_tcp": refuse_tcp,
    "swallow": swallow,
    "garbage": garbage,
    "page_403": page(b"403 Forbidden", length=True),
    "page_429": page(b"429 Too Many Requests", length=False),
    "page_200": page(b"200 OK", length=True),
    "endless_headers": endless_headers,
    "wrong_key": wrong_key,
    "upgrade_and_close": upgrade_and_close,
    "upgrade_and_silence": upgrade_and_silence,
    "greet_and_close": greet_and_close,
    "greet_and_break": greet_and_break,
    "greet_and_silence": greet_and_silence,
    "acks_and_only_beats": answering(acked),
    "refuses_all": answering(refused),
    "rate_errors": answering(rate),
    "nonsense": answering(nonsense),
    "acks_then_cut": acks_then_cut,
    "binary_and_reserved": binary_and_reserved,
    "fragment_without_end": fragment_without_end,
    "ping_flood": ping_flood,
    "slow_drip": slow_drip,
}


class HostileNetwork:
    """A network with one such server behind every address; counts the attempts."""

    def __init__(self, server: Server, random: Random, nursery: trio.Nursery) -> None:
        self._server = server
        self._random = random
        self._nursery = nursery
        self.attempts: list[float] = []

    def http_transport(self) -> httpx.AsyncBaseTransport:
        raise NotImplementedError

    async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.attempts.append(trio.current_time())
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        async with stream:
            try:
                await self._server(stream, self._random)
            except (trio.BrokenResourceError, trio.ClosedResourceError, StopIteration):
                pass
            except BaseExceptionGroup as group:
                _, rest = group.split((trio.BrokenResourceError, trio.ClosedResourceError))
                if rest is not None:
                    raise


class VirtualClock:
    """Elapsed and wall time that follow trio's clock."""

    virtual = True

    def wall_ns(self) -> int:
        return 1_800_000_000 * 10**9 + self.elapsed_ns()

    def elapsed_ns(self) -> int:
        return int(trio.current_time() * 1e9) + 10**12
