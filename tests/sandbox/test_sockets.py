"""The sandbox on loopback sockets, and as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio_websocket

from krakked._errors import ConfigError
from krakked.sandbox import open_sandbox


async def test_rest_and_websocket_on_loopback(
    open_rest: Callable[..., Any], open_ws: Callable[..., Any]
) -> None:
    async with open_sandbox() as exchange:
        assert exchange.rest_url.startswith("http://127.0.0.1:")
        assert not exchange.clock.virtual
        async with httpx.AsyncClient(base_url=exchange.rest_url) as http:
            reply = (await http.get("/0/public/Time")).json()
            assert abs(reply["result"]["unixtime"] - time.time()) < 5
        async with open_rest(exchange) as rest:
            assert (await rest.private("Balance"))["error"] == []
            rows = (await rest.result("OHLC", pair="XBTUSD"))["XXBTZUSD"]
            assert len(rows) == 721
        async with trio_websocket.open_websocket_url(exchange.ws_url) as websocket:
            assert json.loads(await websocket.get_message())["channel"] == "status"
        async with open_ws(exchange) as ws:
            await ws.subscribe("ticker", ["BTC/USD", "ETH/USD", "SOL/USD"], event_trigger="bbo")
            with trio.fail_after(10):
                await ws.until(lambda f: f.get("channel") == "ticker" and f["type"] == "update")
            exchange.faults.slice_bytes(5)
            assert len(await ws.collect(1)) > 0
            await exchange.faults.cut()
            with trio.fail_after(10), pytest.raises(trio_websocket.ConnectionClosed):
                await ws.until(lambda frame: False)


async def test_nothing_is_left_behind(open_ws: Callable[..., Any]) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with open_sandbox() as exchange:
        before = descriptors()
        for _ in range(10):
            async with open_ws(exchange) as ws:
                await ws.next()
                await exchange.faults.cut()
        await trio.sleep(0.1)
        assert descriptors() == before
        assert exchange.connections == []


@pytest.mark.slow
def test_the_command_runs_until_interrupted() -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from krakked._cli.sandbox import *; import argparse\n"
            "p = argparse.ArgumentParser(); fill(p)\n"
            "a = p.parse_args(['--seed', '3']); raise SystemExit(a.run(a))",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    with process, process.stdout as lines:
        said = ""
        while "Ctrl-C" not in said:
            said += lines.readline()
        (rest_url,) = re.findall(r"http://127\.0\.0\.1:\d+", said)
        reply = httpx.get(f"{rest_url}/0/public/SystemStatus").json()
        assert reply["result"]["status"] == "online"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.mark.parametrize("argument", ["rest_port", "ws_port"])
async def test_a_port_that_is_taken_is_named(argument: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"{argument}: .* 127.0.0.1:{port}: Address already"):
            async with open_sandbox(**{argument: port}):  # type: ignore[arg-type]
                raise AssertionError("not reached")


@pytest.mark.parametrize("port", [-1, 65_536])
async def test_a_port_that_is_none_is_named(port: int) -> None:
    for argument in ("rest_port", "ws_port"):
        with pytest.raises(ConfigError, match=f"{argument}: .* 127.0.0.1:{port}"):
            async with open_sandbox(**{argument: port}):  # type: ignore[arg-type]
                raise AssertionError("not reached")
