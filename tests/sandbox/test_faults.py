"""Each fault does to a bare client what it says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio
import trio_websocket
from trio.testing import MockClock

from krakked._sandbox.faulty_stream import fragmented
from krakked._sandbox.hostile import HOSTILE_KINDS
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

Client = Callable[..., Any]


def is_candle(frame: dict[str, Any]) -> bool:
    return frame.get("channel") == "ohlc" and frame["type"] == "update"


def is_ack(frame: dict[str, Any]) -> bool:
    return frame.get("method") == "subscribe"


async def expect_close(ws: Any) -> None:
    with pytest.raises(trio_websocket.ConnectionClosed):
        await ws.until(lambda frame: False)


async def status_of_refusal(exchange: Exchange, open_ws: Client) -> Any:
    """Give HTTP status and body with which a handshake is refused."""
    with pytest.raises(ExceptionGroup) as caught:
        async with open_ws(exchange) as ws:
            await ws.next()
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, trio_websocket.ConnectionRejected)
    return error.status_code, error.body


async def test_cut_now(autojump_clock: MockClock, open_ws: Client) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ticker", ["BTC/USD"])
        await ws.until(is_ack)
        assert await exchange.faults.cut() == 1
        await expect_close(ws)
        assert ws.websocket.closed.code == 1006
        await trio.sleep(1)
        assert exchange.connections == []


async def test_cut_in_the_middle_of_a_frame(autojump_clock: MockClock, open_ws: Client) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ticker", ["BTC/USD"])
        await ws.until(is_ack)
        (connection,) = exchange.connections
        sent = connection.stream.sent_bytes
        exchange.faults.cut_after(777)
        await expect_close(ws)
        assert connection.stream.sent_bytes == sent + 777


async def test_random_cuts_end_every_connection(autojump_clock: MockClock, open_ws: Client) -> None:
    async with open_sandbox(memory=True) as exchange:
        exchange.faults.cut_randomly(3000)
        ends: list[str] = []
        for _ in range(20):
            with trio.move_on_after(600):  # cut within the handshake: trio-websocket waits for ever
                async with open_ws(exchange) as ws:
                    await ws.subscribe("ticker", ["BTC/USD"], event_trigger="bbo")
                    await expect_close(ws)
                    ends.append(f"after {len(ws.frames)} frames")
        assert len(set(ends)) > 5
        exchange.faults.clear()
        async with open_ws(exchange) as ws:
            await ws.subscribe("ticker", ["BTC/USD"])
            assert len(await ws.collect(120)) > 60


async def test_half_open_is_silence(autojump_clock: MockClock, open_ws: Client) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ticker", ["BTC/USD"])
        await ws.collect(5)
        exchange.faults.half_open()
        assert await ws.collect(600) == []
        await ws.send({"method": "ping"})  # sending still works, nobody answers
        assert await ws.collect(60) == []
        assert ws.websocket.closed is None
        async with open_ws(exchange) as fresh:
            assert (await fresh.next())["channel"] == "status"


async def test_stall_holds_everything_back(autojump_clock: MockClock, open_ws: Client) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ticker", ["BTC/USD"])
        await ws.collect(5)
        exchange.faults.stall()
        assert await ws.collect(60) == []
        exchange.faults.resume()
        assert len(await ws.collect(1)) > 20


async def test_refused_and_dropped_connects(autojump_clock: MockClock, open_ws: Client) -> None:
    async with open_sandbox(memory=True) as exchange:
        exchange.faults.refuse_connects(2)
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                await exchange.network.open_stream("ws.kraken.com", 443, tls=True)
        exchange.faults.accept_then_drop()
        async with open_ws(exchange) as ws:
            await expect_close(ws)
        exchange.faults.cloudflare_page(503)
        status, body = await status_of_refusal(exchange, open_ws)
        assert status == 503
        assert b"cloudflare" in body
        exchange.faults.cloudflare_page(403, times=None)
        for _ in range(3):
            assert (await status_of_refusal(exchange, open_ws))[0] == 403
        exchange.faults.allow_connects()
        async with open_ws(exchange) as ws:
            await ws.next()
        assert exchange.ws_connects == 8


@pytest.mark.parametrize("fault", ["slices", "fragments", "both", "coalesced"])
async def test_bytes_cut_otherwise_carry_the_same_frames(
    autojump_clock: MockClock, open_ws: Client, fault: str
) -> None:
    texts: list[list[str]] = []
    for faulty in (False, True):
        async with open_sandbox(memory=True) as exchange:
            if faulty and fault in ("slices", "both"):
                exchange.faults.slice_bytes(7)
            if faulty and fault in ("fragments", "both"):
                exchange.faults.fragment(3)
            if faulty and fault == "coalesced":
                exchange.faults.coalesce()
            async with open_ws(exchange) as ws:
                await ws.subscribe("ticker", ["BTC/USD", "ETH/USD"])
                frames = await ws.collect(30)
                texts.append([json.dumps(frame) for frame in frames])
    assert texts[0] == texts[1]
    assert len(texts[0]) > 30


def test_fragments_are_well_formed() -> None:
    payload = bytes(range(97, 123)) * 20
    frame = b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload
    pieces = fragmented(frame, 3)
    assert pieces[0] == 0x01
    assert len(pieces) == len(payload) + 3 * 4
    assert fragmented(b"\x89\x00", 3) == b"\x89\x00"


async def test_malformed_and_oversized_frames_come_before_good_ones(
    autojump_clock: MockClock, open_ws: Client
) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ticker", ["BTC/USD"])
        await ws.until(is_ack)
        exchange.faults.malformed(0.5)
        exchange.faults.oversized(2 << 20)
        texts = []
        with trio.move_on_after(60):
            while True:
                texts.append(await ws.websocket.get_message())
        assert max(map(len, texts)) > 2 << 20
        broken = 0
        for text in texts:
            try:
                json.loads(text)
            except ValueError:
                broken += 1
        assert broken > 5
        assert sum('"ticker"' in text for text in texts) > 30


async def test_mute_after_ack_and_refused_symbols(
    autojump_clock: MockClock, open_ws: Client
) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        exchange.faults.mute(["BTC/USD"], channels=["ticker"])
        exchange.faults.refuse_symbols(["ETH/USD"])
        await ws.subscribe("ticker", ["BTC/USD", "ETH/USD", "SOL/USD"])
        await ws.subscribe("ohlc", ["BTC/USD"])
        frames = await ws.collect(60)
        acks = [frame for frame in frames if frame.get("method") == "subscribe"]
        assert [ack["success"] for ack in acks] == [True, False, True, True]
        assert acks[1]["error"] == "Currency pair not supported ETH/USD"
        heard = {f["data"][0]["symbol"] for f in frames if f.get("channel") == "ticker"}
        assert heard == {"SOL/USD"}
        assert any(is_candle(frame) for frame in frames)
        exchange.faults.unmute()
        assert {
            f["data"][0]["symbol"] for f in await ws.collect(60) if f.get("channel") == "ticker"
        } == {"BTC/USD", "SOL/USD"}
        exchange.faults.accept_symbols()
        exchange.faults.message_rate_error()
        await ws.subscribe("ticker", ["ETH/USD"])
        assert (await ws.until(is_ack))["error"] == "Exceeded msg rate"
        await ws.subscribe("ticker", ["ETH/USD"])
        assert (await ws.until(is_ack))["success"]


async def test_duplicate_and_late_candles(autojump_clock: MockClock, open_ws: Client) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ohlc", ["BTC/USD"])
        exchange.faults.duplicate_candles(0.5)
        rows = [f["data"][0] for f in await ws.collect(60) if is_candle(f)]
        assert any(a == b for a, b in itertools.pairwise(rows))
        exchange.faults.clear()
        exchange.faults.late_candles(0.5)
        rows = [f["data"][0] for f in await ws.collect(300) if is_candle(f)]
        keys = [(row["interval_begin"], row["trades"]) for row in rows]
        assert keys != sorted(keys)
        assert any(a[0] > b[0] for a, b in itertools.pairwise(keys))


async def test_maintenance_and_cancel_only(
    autojump_clock: MockClock, open_ws: Client, open_rest: Client
) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        async with open_rest(exchange) as rest:
            await ws.subscribe("ticker", ["BTC/USD"])
            await ws.collect(5)
            await exchange.faults.cancel_only()
            frames = await ws.collect(30)
            assert frames[0]["data"][0]["system"] == "cancel_only"
            assert any(frame["channel"] == "ticker" for frame in frames)
            exchange.faults.announce_maintenance({"begin": "2026-11-18T00:00:00Z"})
            await exchange.faults.maintenance()
            frames = await ws.collect(30)
            assert frames[0]["data"][0]["upcoming_maintenance"] != []
            assert {frame["channel"] for frame in frames} == {"status", "heartbeat"}
            assert (await rest.result("SystemStatus"))["status"] == "maintenance"
            assert await rest.errors("OHLC", pair="XBTUSD") == ["EService:Unavailable"]
            assert (await rest.private("Balance"))["error"] == ["EService:Unavailable"]
            await exchange.faults.system("online", drop=True)
        await expect_close(ws)


async def test_delisting(autojump_clock: MockClock, open_ws: Client, open_rest: Client) -> None:
    async with open_sandbox(memory=True) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ticker", ["BTC/USD", "ETH/USD"])
        await ws.subscribe("instrument")
        await ws.collect(5)
        exchange.faults.delist("XBTUSD")
        frames = await ws.collect(30)
        assert frames[0]["data"]["pairs"][0]["status"] == "delisted"
        assert {f["data"][0]["symbol"] for f in frames if f["channel"] == "ticker"} == {"ETH/USD"}
        async with open_rest(exchange) as rest:
            assert "XXBTZUSD" not in await rest.result("AssetPairs")
            assert await rest.errors("OHLC", pair="XBTUSD") == ["EQuery:Unknown asset pair"]


async def test_clock_steps(autojump_clock: MockClock, open_rest: Client) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        wall, elapsed = exchange.clock.wall_ns(), exchange.clock.elapsed_ns()
        exchange.clock.step_wall(-3600)
        exchange.clock.suspend(100)
        assert exchange.clock.wall_ns() == wall - 3600 * 10**9
        assert exchange.clock.elapsed_ns() == elapsed + 100 * 10**9
        before = (await rest.result("Time"))["unixtime"]
        exchange.faults.skew_server_clock(3600)
        assert (await rest.result("Time"))["unixtime"] == before + 3600
        rows = (await rest.result("OHLC", pair="XBTUSD"))["XXBTZUSD"]
        assert rows[-1][0] == before // 60 * 60  # the market itself did not move


async def test_rest_faults(autojump_clock: MockClock, open_rest: Client) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        rest_faults = exchange.faults.rest
        rest_faults.http_error(503, endpoint="Time", times=2)
        assert await rest.errors("SystemStatus") == []
        for _ in range(2):
            reply = await rest.http.get("/0/public/Time")
            assert reply.status_code == 503
            assert reply.text.startswith("<!DOCTYPE html>")
        assert await rest.errors("Time") == []
        rest_faults.api_error("EService: Throttled: 1794917000")
        assert await rest.errors("Time") == ["EService: Throttled: 1794917000"]
        rest_faults.warning("WDatabase:No change")
        warned = await rest.public("Time")
        assert warned["error"] == ["WDatabase:No change"]
        assert "unixtime" in warned["result"]
        rest_faults.truncate()
        with pytest.raises(ValueError, match=r"."):
            (await rest.http.get("/0/public/Time")).json()
        rest_faults.garbage()
        with pytest.raises(ValueError, match=r"."):
            (await rest.http.get("/0/public/Time")).json()
        rest_faults.delay(60)
        start = trio.current_time()
        assert await rest.errors("Time") == []
        assert trio.current_time() - start >= 60
        rest_faults.drop(endpoint="Time")
        with pytest.raises(httpx.RemoteProtocolError):
            await rest.http.get("/0/public/Time")
        rest_faults.refuse_connects()
        with pytest.raises(httpx.ConnectError):
            await rest.http.get("/0/public/Time")
        exchange.faults.clear()
        assert await rest.errors("Time") == []


async def test_a_reader_that_never_reads_is_dropped(
    autojump_clock: MockClock, open_ws: Client
) -> None:
    settings = SandboxSettings(max_backlog=100)
    async with open_sandbox(memory=True, settings=settings) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ticker", ["BTC/USD"])
        await ws.until(is_ack)
        exchange.faults.stall()
        await trio.sleep(600)
        exchange.faults.resume()
        await expect_close(ws)


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE_KINDS)
async def test_hostile_servers_never_serve_and_can_be_cured(
    autojump_clock: MockClock, open_ws: Client, kind: str
) -> None:
    async with open_sandbox(memory=True) as exchange:
        exchange.faults.hostile(kind)
        good = 0
        for _ in range(3):
            with trio.move_on_after(120):
                try:
                    async with open_ws(exchange, max_size=1 << 20) as ws:
                        await ws.subscribe("ticker", ["BTC/USD"])
                        while True:
                            text = await ws.websocket.get_message()
                            good += '"channel":"ticker"' in text and len(text) < 500
                except* (trio_websocket.ConnectionClosed, trio_websocket.HandshakeError, OSError):
                    pass
        if "cuts" not in kind and "silent" not in kind and "closes" not in kind:
            assert good < 400, kind
        exchange.faults.clear()
        await trio.sleep(1)
        assert exchange.connections == []
        async with open_ws(exchange) as ws:
            await ws.subscribe("ticker", ["BTC/USD"])
            frames = await ws.collect(60)
            assert sum(frame.get("channel") == "ticker" for frame in frames) > 20


@pytest.mark.slow
async def test_a_storm_passes(autojump_clock: MockClock, open_ws: Client) -> None:
    async with open_sandbox(memory=True, seed=5) as exchange, trio.open_nursery() as nursery:
        nursery.start_soon(exchange.faults.storm, 600.0)
        ends = []
        while trio.current_time() < 600:
            with trio.move_on_after(60):
                try:
                    async with open_ws(exchange) as ws:
                        await ws.subscribe("ticker", ["BTC/USD"])
                        while True:
                            await ws.websocket.get_message()
                except* (
                    trio_websocket.ConnectionClosed,
                    trio_websocket.HandshakeError,
                    OSError,
                ) as e:
                    ends.append(repr(e.exceptions))
            await trio.sleep(1)
        assert len(ends) > 5
        await trio.sleep(60)
        async with open_ws(exchange) as ws:
            await ws.subscribe("ticker", ["BTC/USD"])
            assert len(await ws.collect(60)) > 20
