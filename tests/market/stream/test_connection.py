"""One connection against a scripted server, frame by frame: what kosoku's cases lack."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from tests.market.stream.hostile import (
    STATUS,
    HostileNetwork,
    VirtualClock,
    acked,
    answering,
    frame,
    greet,
    upgrade,
)

from krakked._core import FrameTap, MarketCache, WireEvent
from krakked._market.stream.connection import Connection, Endpoint
from krakked._market.stream.disconnect import Disconnect, DisconnectReason
from krakked._market.stream.facts import Wakeup
from krakked._market.stream.opening import StreamOpener
from krakked._market.stream.requests import SubscriptionKey
from krakked._market.stream.subscriptions import SubscriptionTable
from krakked._market.stream.tap import TapStream

if TYPE_CHECKING:
    from trio.testing import MockClock

URL = "wss://ws.kraken.com/v2"
Script = Callable[[trio.abc.Stream], Awaitable[None]]


def ticker(symbol: str, last: str = "1.50") -> bytes:
    return (
        b'{"channel":"ticker","type":"update","data":[{"symbol":"%s","bid":1.0,"bid_qty":1.0,'
        b'"ask":2.0,"ask_qty":1.0,"last":%s,"volume":1.0,"vwap":1.0,"low":1.0,"high":1.0,'
        b'"change":0.0,"change_pct":0.0}]}' % (symbol.encode(), last.encode())
    )


class Bench:
    """A connection under test."""

    def __init__(self, script: Script, nursery: trio.Nursery, *, raw: bool = False) -> None:
        async def serve(stream: trio.abc.Stream, random: Random) -> None:
            await script(stream)

        self.cache = MarketCache()
        self.table = SubscriptionTable()
        self.frames: list[str] = []
        self.connection = Connection(
            Endpoint.parse(URL),
            opener=StreamOpener(HostileNetwork(serve, Random(1), nursery), VirtualClock()),
            clock=VirtualClock(),
            cache=self.cache,
            table=self.table,
            req_ids=count(1),
            wakeup=Wakeup(),
            on_frame=self.frames.append if raw else None,
        )

    def last(self, symbol: str) -> str | None:
        row = self.cache.ticker_exact(symbol)
        return None if row is None else str(row.last)


async def run(script: Script, *, raw: bool = False) -> tuple[Bench, Disconnect]:
    async with trio.open_nursery() as nursery:
        bench = Bench(script, nursery, raw=raw)
        bench.table.connected(0.0)
        with trio.fail_after(120):
            outcome = await bench.connection.run()
        nursery.cancel_scope.cancel()
    return bench, outcome


def test_urls_are_taken_apart() -> None:
    assert Endpoint.parse("wss://ws.kraken.com/v2") == Endpoint("ws.kraken.com", 443, "/v2", True)
    assert Endpoint.parse(URL).host_header == "ws.kraken.com"
    local = Endpoint.parse("ws://127.0.0.1:8080/v2?x=1")
    assert local == Endpoint("127.0.0.1", 8080, "/v2?x=1", False)
    assert local.host_header == "127.0.0.1:8080"


async def test_the_request_offers_no_compression(autojump_clock: MockClock) -> None:
    asked = b""

    async def script(stream: trio.abc.Stream) -> None:
        nonlocal asked
        asked = await stream.receive_some(4096)
        await stream.aclose()

    await run(script)
    assert asked.startswith(b"GET /v2 HTTP/1.1\r\nHost: ws.kraken.com\r\n")
    assert b"extensions" not in asked.lower()


async def test_frames_in_the_same_bytes_as_the_upgrade_count(autojump_clock: MockClock) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        class Together:
            async def receive_some(self, size: int) -> bytes:
                return await stream.receive_some(size)

            async def send_all(self, data: bytes) -> None:
                await stream.send_all(data + frame(STATUS) + frame(ticker("A/USD")))

        await upgrade(Together())
        await trio.sleep(1)
        await stream.aclose()

    bench, outcome = await run(script)
    assert outcome.reason is DisconnectReason.CLOSED
    assert isinstance(bench.connection.tap.take_events()[0], WireEvent.Status)
    assert bench.last("A/USD") == "1.50"


async def test_fragmented_messages_are_applied_with_nobody_reading_them(
    autojump_clock: MockClock,
) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        await greet(stream)
        for i in range(500):
            text = ticker("A/USD", f"{i}.0")
            await stream.send_all(
                frame(text[:20], fin=False)
                + frame(b"", 0, fin=False)
                + frame(b"ping", 9)  # control frames may come in between
                + frame(text[20:], 0)
            )
        await stream.send_all(frame(ticker("B/USD")))
        await trio.sleep(1)
        await stream.aclose()

    bench, _ = await run(script)
    assert bench.last("A/USD") == "499.0"
    assert bench.last("B/USD") == "1.50"


async def test_a_text_frame_inside_a_fragmented_message_breaks_the_connection(
    autojump_clock: MockClock,
) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        await greet(stream)
        await stream.send_all(frame(ticker("A/USD")))
        await stream.send_all(
            frame(ticker("A/USD", "2.0")[:30], fin=False) + frame(ticker("EVIL/USD"))
        )
        with trio.move_on_after(30):
            while await stream.receive_some(4096):
                pass

    bench, outcome = await run(script)
    assert outcome.reason in {DisconnectReason.CLOSED, DisconnectReason.BROKEN}
    assert bench.last("A/USD") == "1.50"
    assert bench.last("EVIL/USD") is None


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(b'{"channel":"ticker","type":"update","data":[{"symbol":"\xff\xfe"}]}'), 1007),
        (frame(ticker("A/USD", "9.0"), rsv=0x40), 1002),
        (bytes([0x81, 0x80]) + b"mask" + b"", 1002),  # a server must not mask
        (frame(ticker("A/USD", "9.0"), 3), 1002),
        (frame(b"x" * 126, 9), 1002),  # control frames end at 125
    ],
    ids=["utf8", "rsv", "mask", "reserved opcode", "long ping"],
)
async def test_frames_that_break_the_protocol_break_the_connection(
    autojump_clock: MockClock, bad: bytes, code: int
) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        await greet(stream)
        await stream.send_all(frame(ticker("A/USD")) + bad + frame(ticker("A/USD", "8.0")))
        with trio.move_on_after(30):
            while await stream.receive_some(4096):
                pass

    bench, outcome = await run(script)
    assert outcome.reason is DisconnectReason.CLOSED
    assert outcome.detail.startswith(f"closed with code {code}")  # trio-websocket's verdict
    assert bench.last("A/USD") == "1.50"


async def test_a_frame_after_close_is_not_data(autojump_clock: MockClock) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        await greet(stream)
        await stream.send_all(
            frame(ticker("A/USD"))
            + frame((1001).to_bytes(2, "big") + b"going away", 8)
            + frame(ticker("A/USD", "7.0"))
        )
        with trio.move_on_after(5):
            while await stream.receive_some(4096):
                pass

    bench, outcome = await run(script)
    assert outcome == Disconnect(DisconnectReason.CLOSED, "closed with code 1001: going away")
    assert bench.last("A/USD") == "1.50"


async def test_a_ping_in_flight_during_close_stays_inside(autojump_clock: MockClock) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        await greet(stream)
        await stream.receive_some(4096)  # our ping after 5 s of silence
        await stream.send_all(
            frame(b"", 9) * 3
            + frame((1000).to_bytes(2, "big"), 8)
            + frame(b"", 9) * 3  # and pings after the close
        )
        await stream.aclose()

    _, outcome = await run(script)
    assert outcome.reason in {DisconnectReason.CLOSED, DisconnectReason.BROKEN}


async def test_pings_are_answered_while_data_flows(autojump_clock: MockClock) -> None:
    heard = b""

    async def script(stream: trio.abc.Stream) -> None:
        nonlocal heard
        await greet(stream)
        await stream.send_all(frame(ticker("A/USD")) + frame(b"you there", 9))
        heard = await stream.receive_some(4096)
        await stream.aclose()

    await run(script)
    mask, body = heard[2:6], heard[6:]
    assert heard[:2] == bytes([0x8A, 0x80 | 9])
    assert bytes(b ^ mask[i % 4] for i, b in enumerate(body)) == b"you there"


async def test_malformed_frames_in_a_row_end_the_connection(autojump_clock: MockClock) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        await greet(stream)
        for _ in range(100):
            await stream.send_all(frame(b"nonsense") * 10 + frame(ticker("A/USD")))  # now and then
        await stream.send_all(frame(b'{"channel":') * 51)
        with trio.move_on_after(5):
            while await stream.receive_some(4096):
                pass

    bench, outcome = await run(script)
    assert outcome.reason is DisconnectReason.MALFORMED
    assert bench.last("A/USD") == "1.50"


async def test_requests_go_out_after_the_greeting_and_acks_come_back(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:

        async def script(stream: trio.abc.Stream) -> None:
            await answering(acked)(stream, Random(1))

        bench = Bench(script, nursery)
        bench.table.want([SubscriptionKey("ticker", "A/USD"), SubscriptionKey("ticker", "B/USD")])
        bench.table.connected(0.0)
        nursery.start_soon(bench.connection.run)
        await trio.sleep(6)  # no status handler here: it goes on after 5 s
        said = bench.connection.tap.take_events()
        acks = [(e.channel, e.symbol) for e in said if isinstance(e, WireEvent.Subscribed)]
        assert sorted(acks) == [("ticker", "A/USD"), ("ticker", "B/USD")]
        bench.connection.stop(DisconnectReason.RESUMED, "enough")
        nursery.cancel_scope.cancel()


async def test_recording_sees_every_frame_and_applies_it(autojump_clock: MockClock) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        await greet(stream)
        await stream.send_all(frame(ticker("A/USD")) + frame(ticker("B/USD")))
        await trio.sleep(1)
        await stream.aclose()

    bench, _ = await run(script, raw=True)
    assert [json.loads(text)["channel"] for text in bench.frames] == ["status", "ticker", "ticker"]
    assert bench.last("B/USD") == "1.50"


async def test_cancellation_from_outside_is_not_swallowed(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:

        async def script(stream: trio.abc.Stream) -> None:
            await greet(stream)
            await trio.sleep_forever()

        bench = Bench(script, nursery)
        with trio.move_on_after(3) as scope:
            await bench.connection.run()
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


# --- the stream itself -----------------------------------------------------------------------


async def test_the_tapping_stream_is_a_stream() -> None:
    """trio's own checks of the Stream interface, with everything forwarded."""

    async def maker() -> tuple[trio.abc.Stream, trio.abc.Stream]:
        ours, theirs = trio.testing.memory_stream_pair()
        return tapping(ours), tapping(theirs)

    await trio.testing.check_two_way_stream(maker, None)


def tapping(inner: trio.abc.Stream, tap: FrameTap | None = None) -> TapStream:
    stream = TapStream(inner, tap, VirtualClock(), on_chunk=lambda: None, on_end=lambda: None)
    stream.upgraded = True
    return stream


async def test_max_bytes_is_honoured_whatever_is_forwarded() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    stream = tapping(ours)
    await theirs.send_all(b"abcdefgh")
    assert [await stream.receive_some(3) for _ in range(3)] == [b"abc", b"def", b"gh"]
    with pytest.raises(ValueError, match="max_bytes"):
        await stream.receive_some(0)


async def test_an_endless_answer_to_the_upgrade_is_the_end() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    ended = []
    stream = TapStream(
        ours, None, VirtualClock(), on_chunk=lambda: None, on_end=lambda: ended.append(1)
    )
    await theirs.send_all(b"x" * 300_000)
    while await stream.receive_some(65536):
        pass
    assert ended == [1]
