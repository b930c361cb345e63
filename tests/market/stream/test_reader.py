"""The reader of plain sockets, against servers on loopback."""

from __future__ import annotations

import gc
import os
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing
from tests.market.stream.hostile import frame, unmask, upgrade
from tests.market.stream.sockets import (
    HEAD,
    descriptors,
    open_reading,
    readers,
    serving,
    ticker,
    until,
)

import krakked
from krakked._config.settings import ReaderChoice, WebSocketSettings
from krakked._core import FrameTap, MarketCache, SocketReader, WireEvent
from krakked._market.stream.connection import Connection, Endpoint
from krakked._market.stream.facts import Wakeup
from krakked._market.stream.opening import StreamOpener
from krakked._market.stream.reader import ReaderStream
from krakked._market.stream.subscriptions import SubscriptionTable
from krakked._market.stream.supervisor import ConnectionSupervisor
from krakked._market.stream.tap import TapStream
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked.sandbox import SandboxSettings, open_sandbox

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets are read in Python there")

PATIENCE_S = 60.0
"""Longer than any of this takes, on whatever machine."""


def lines_of(kraken: krakked.Kraken) -> list[ConnectionSupervisor]:
    assert kraken._feed is not None
    return list(kraken._feed._pool)


def stream_of(line: ConnectionSupervisor) -> object:
    return line._connection._stream if line._connection is not None else None


# --- end to end -----------------------------------------------------------------------------------


async def test_open_kraken_reads_real_sockets_in_rust(tmp_path: Path) -> None:
    settings = SandboxSettings(pair_count=10, activity=1.0, quote_activity=1.0)
    async with open_sandbox(seed=3, settings=settings) as exchange:
        with trio.fail_after(PATIENCE_S):
            async with krakked.open_kraken(
                exchange.config(tmp_path), pairs=["XBTUSD", "ETHUSD"]
            ) as kraken:
                await kraken.wait_live(timeout_s=PATIENCE_S)
                kinds = {type(stream_of(line)) for line in lines_of(kraken)}
                assert kinds == {ReaderStream}
                assert readers() == len(lines_of(kraken)) > 0
                assert kraken.get_latest_price("XBTUSD").price > 0
                async for change in kraken.changes("XBTUSD", kinds=["ticker"]):
                    assert change.pair == "XBTUSD"
                    break
        assert readers() == 0


@pytest.mark.slow
async def test_the_setting_leaves_all_to_python(tmp_path: Path) -> None:
    settings = SandboxSettings(pair_count=10, activity=1.0, quote_activity=1.0)
    async with open_sandbox(seed=3, settings=settings) as exchange:
        config = exchange.config(tmp_path)
        stream = WebSocketSettings(
            url=config.market_data.ws.url, timeframes=("1m",), reader=ReaderChoice.PYTHON
        )
        config = krakked.KrakkedConfig(
            rest=config.rest,
            market_data=krakked.MarketDataSettings(
                ws=stream, ohlc_store=config.market_data.ohlc_store
            ),
            state_dir=config.state_dir,
        )
        with trio.fail_after(PATIENCE_S):
            async with krakked.open_kraken(config, pairs=["XBTUSD"]) as kraken:
                await kraken.wait_live(timeout_s=PATIENCE_S)
                assert {type(stream_of(line)) for line in lines_of(kraken)} == {TapStream}
                assert readers() == 0


def test_what_is_not_ours_is_read_in_python() -> None:
    class Network(SystemNetwork):
        pass

    class Clock(SystemClock):
        pass

    assert StreamOpener(SystemNetwork(), SystemClock()).reads_in_rust
    assert not StreamOpener(Network(), SystemClock()).reads_in_rust
    assert not StreamOpener(SystemNetwork(), Clock()).reads_in_rust
    assert not StreamOpener(SystemNetwork(), SystemClock(), ReaderChoice.PYTHON).reads_in_rust


# --- what is taken out and what is handed on ------------------------------------------------------


async def test_market_data_is_taken_out_and_the_rest_handed_on() -> None:
    async def script(stream: trio.abc.Stream) -> None:
        odd = frame(b"half", fin=False) + frame(b"whole", 0)
        await stream.send_all(HEAD + ticker("A/USD") + odd + ticker("A/USD", "2"))
        await stream.receive_some(1)

    async with serving(script) as port:
        reading = await open_reading(port)
        with trio.fail_after(PATIENCE_S):
            await until(lambda: reading.last("A/USD") == "2")
            wanted, got = HEAD + frame(b"half", fin=False) + frame(b"whole", 0), b""
            while len(got) < len(wanted):
                got += await reading.stream.receive_some(7)
            assert got == wanted
            assert reading.stream.received_bytes > len(got)
        await reading.stream.aclose()


async def test_nothing_is_tapped_without_a_101_reply() -> None:
    page = b"HTTP/1.1 503 Service Unavailable\r\n\r\n" + ticker("A/USD")

    async def script(stream: trio.abc.Stream) -> None:
        await stream.send_all(page)

    async with serving(script) as port:
        reading = await open_reading(port)
        got = b""
        with trio.fail_after(PATIENCE_S):
            while data := await reading.stream.receive_some():
                got += data
        assert got == page
        assert reading.last("A/USD") is None
        await reading.stream.aclose()


async def test_events_wake_the_receiving_task_and_so_does_nothing_else() -> None:
    go = trio.Event()

    async def script(stream: trio.abc.Stream) -> None:
        await stream.send_all(HEAD)
        await go.wait()
        for number in range(50):
            await stream.send_all(ticker("A/USD", str(number)))
        await stream.send_all(ticker("A/USD", "77", "snapshot"))
        await stream.receive_some(1)

    async with serving(script) as port:
        reading = await open_reading(port)
        with trio.fail_after(PATIENCE_S):
            assert await reading.stream.receive_some() == HEAD
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reading.stream.receive_some)
                await trio.testing.wait_all_tasks_blocked()
                go.set()
                await until(lambda: reading.notices)
                assert reading.tap.take_events() == [WireEvent.TickerSnapshot("A/USD")]
                assert reading.last("A/USD") == "77"
                assert reading.notices == 1
                nursery.cancel_scope.cancel()
        await reading.stream.aclose()


async def test_cancelled_receives_lose_nothing() -> None:
    chunks = [frame(bytes([65 + number % 26]) * 500, 2) for number in range(300)]

    async def script(stream: trio.abc.Stream) -> None:
        await stream.send_all(HEAD)
        for chunk in chunks:
            await stream.send_all(chunk)
            await trio.lowlevel.checkpoint()
        await stream.receive_some(1)

    async with serving(script) as port:
        reading = await open_reading(port)
        got = b""
        with trio.fail_after(PATIENCE_S):
            while len(got) < len(HEAD) + sum(map(len, chunks)):
                with trio.move_on_after(0.0003):
                    got += await reading.stream.receive_some()
        assert got == HEAD + b"".join(chunks)
        await reading.stream.aclose()


# --- both directions under pressure ---------------------------------------------------------------


async def test_a_flood_that_nobody_takes_stops_the_socket_not_the_memory() -> None:
    sent = 0
    flood = frame(b"x" * 60_000, 2)

    async def script(stream: trio.abc.Stream) -> None:
        nonlocal sent
        await stream.send_all(HEAD)
        while True:
            await stream.send_all(flood)
            sent += len(flood)

    async with serving(script) as port:
        reading = await open_reading(port)
        with trio.fail_after(PATIENCE_S):
            before = -1
            while before != sent:  # until the kernel's buffers are full as well
                before = sent
                await trio.sleep(0.3)
            held = reading.stream.received_bytes
            assert 1 << 20 <= held <= (1 << 20) + (256 << 10)
            reading.stream.upgraded = True
            taken = 0
            while taken < 4 << 20:  # it goes on when there is room
                taken += len(await reading.stream.receive_some())
        await reading.stream.aclose()


async def test_a_large_send_waits_for_the_other_side_and_arrives_whole() -> None:
    data = os.urandom(1 << 16) * 128
    got = bytearray()
    slow = trio.Event()

    async def script(stream: trio.abc.Stream) -> None:
        await slow.wait()
        while len(got) < len(data):
            got.extend(await stream.receive_some(65_536))
        await stream.send_all(HEAD)

    async with serving(script) as port:
        reading = await open_reading(port)
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reading.stream.send_all, data)
                await trio.sleep(0.2)
                assert nursery.child_tasks, "not all of it can have gone"
                slow.set()
            assert await reading.stream.receive_some() == HEAD
        assert bytes(got) == data
        await reading.stream.aclose()


async def test_pings_are_answered_between_frames_while_the_loop_is_blocked() -> None:
    """By a server in a thread, which nothing here could otherwise answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    answers: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(HEAD)
            for number in range(3):
                connection.sendall(frame(b"ping%d" % number, 9))
                got = b""
                while len(got) < 2 + 4 + 5:
                    got += connection.recv(100)
                assert got[:2] == bytes([0x8A, 0x80 | 5])
                answers.extend(unmask(got))

    reading = await open_reading(listener.getsockname()[1])
    server = threading.Thread(target=serve)
    server.start()
    server.join(PATIENCE_S)  # the loop stands still meanwhile
    assert answers == [b"ping0", b"ping1", b"ping2"]
    await reading.stream.aclose()
    listener.close()


async def test_the_cache_is_fresh_while_the_loop_is_blocked() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    cache = MarketCache()
    ages_ns: list[int] = []

    def seen(number: int) -> bool:
        row = cache.ticker_exact("A/USD")
        return row is not None and row.last == str(number)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(HEAD)
            for number in range(1, 6):
                connection.sendall(ticker("A/USD", str(number)))
                deadline = time.monotonic() + PATIENCE_S
                while not seen(number) and time.monotonic() < deadline:
                    time.sleep(0.001)
                ages_ns.append(SystemClock().elapsed_ns() - (cache.updated_ns("A/USD") or 0))

    reading = await open_reading(listener.getsockname()[1], cache=cache)
    server = threading.Thread(target=serve)
    server.start()
    server.join(PATIENCE_S)  # the loop stands still meanwhile
    assert seen(5)
    assert all(0 <= age_ns < PATIENCE_S * 1e9 for age_ns in ages_ns), "stamped by the same clock"
    await reading.stream.aclose()
    listener.close()


# --- ends -----------------------------------------------------------------------------------------


async def test_each_end_has_its_reason() -> None:
    async def polite(stream: trio.abc.Stream) -> None:
        await stream.send_all(HEAD + ticker("A/USD"))

    async def reset(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        await stream.send_all(HEAD)
        await stream.receive_some(1)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with serving(polite) as port:
        reading = await open_reading(port)
        with trio.fail_after(PATIENCE_S):
            assert await reading.stream.receive_some() == HEAD
            assert await reading.stream.receive_some() == b""
            assert await reading.stream.receive_some() == b""
        assert reading.stream.end == ("eof", "eof")
        assert reading.last("A/USD") == "1.50"
        assert reading.ends == 1
        await reading.stream.aclose()
        assert reading.stream.end == ("eof", "eof"), "the first reason stands"
    async with serving(reset) as port:
        reading = await open_reading(port)
        with trio.fail_after(PATIENCE_S):
            assert await reading.stream.receive_some() == HEAD
            await reading.stream.send_all(b"x")
            with pytest.raises(trio.BrokenResourceError, match=r"os [0-9]+: "):
                await reading.stream.receive_some()
            await until(lambda: reading.stream._reader.finished)
            with pytest.raises(trio.BrokenResourceError, match=r"os [0-9]+: "):
                await reading.stream.send_all(b"x")
            with pytest.raises(trio.BrokenResourceError, match=r"os [0-9]+: "):
                await reading.stream.wait_send_all_might_not_block()
        assert reading.stream.end is not None
        assert reading.stream.end[0] == "os"
        await reading.stream.aclose()


async def test_closing_wakes_who_waits_and_leaves_nothing() -> None:
    async def script(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with serving(script) as port:
        threads, before = readers(), descriptors()
        reading = await open_reading(port)
        with trio.fail_after(PATIENCE_S):
            await until(lambda: readers() == threads + 1)

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await reading.stream.receive_some()

        async def send() -> None:
            with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
                await reading.stream.send_all(bytes(64 << 20))

        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                nursery.start_soon(send)
                await trio.testing.wait_all_tasks_blocked()
                await reading.stream.aclose()
            await reading.stream.aclose()
        assert readers() == threads
        with trio.fail_after(PATIENCE_S):  # the server's own descriptor goes a little later
            await until(lambda: descriptors() <= before + 1)
        assert reading.stream.end == ("closed", "closed")
        with pytest.raises(trio.ClosedResourceError):
            await reading.stream.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await reading.stream.send_all(b"x")


@pytest.mark.slow
async def test_hundreds_of_drops_leave_no_thread_and_no_descriptor() -> None:
    """By FIN and by RST, in the middle of a frame, every third one dropped without a close."""
    count = 0

    async def script(stream: trio.abc.Stream) -> None:
        nonlocal count
        count += 1
        assert isinstance(stream, trio.SocketStream)
        await stream.send_all(HEAD + ticker("A/USD")[: 20 + count % 200])
        if count % 2:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    threads, before = readers(), descriptors()
    async with serving(script) as port:
        with trio.fail_after(PATIENCE_S):
            for number in range(1_000):
                reading = await open_reading(port)
                try:
                    while await reading.stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
                if number % 3:
                    await reading.stream.aclose()
                del reading
            gc.collect()  # those that were dropped are cycles
            await until(lambda: readers() == threads)
    with trio.fail_after(PATIENCE_S):
        await until(lambda: descriptors() <= before)


async def test_a_connection_tells_how_it_ended() -> None:
    async def script(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        await upgrade(stream)
        await stream.receive_some(65_536)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with serving(script) as port:
        clock = SystemClock()
        connection = Connection(
            Endpoint.parse(f"ws://127.0.0.1:{port}/v2"),
            opener=StreamOpener(SystemNetwork(), clock),
            clock=clock,
            cache=MarketCache(),
            table=SubscriptionTable(),
            req_ids=iter(range(9)),
            wakeup=Wakeup(),
        )
        connection.status_seen()
        connection.ping_soon()
        with trio.fail_after(PATIENCE_S):
            outcome = await connection.run()
        assert "without a close frame: os " in outcome.detail


def test_a_descriptor_that_cannot_be_used_is_closed_all_the_same() -> None:
    with pytest.raises(ValueError, match="no descriptor"):
        SocketReader(FrameTap(MarketCache()), -1)
    reader, writer = os.pipe()
    os.write(writer, b"x")
    thread = SocketReader(FrameTap(MarketCache()), reader)  # reading a pipe as a socket fails
    deadline = time.monotonic() + PATIENCE_S
    while thread.end is None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert thread.end is not None
    thread.close()
    os.close(writer)
    with pytest.raises(OSError, match="closed"):
        assert thread.descriptor


def test_the_interpreter_ends_at_once_with_a_reader_at_work() -> None:
    code = """
        import socket, sys
        from krakked._core import FrameTap, MarketCache, SocketReader, WireEvent
        server = socket.create_server(("127.0.0.1", 0))
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        reader = SocketReader(FrameTap(MarketCache()), ours.detach())
        theirs.sendall(b"x" * 100_000)
        sys.exit(3)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 3
