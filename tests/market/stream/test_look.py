"""One look at a server's stream: what it answers to the upgrade, and what it says first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from krakked._errors import ConnectFailedError
from krakked._market.stream import look as look_module
from krakked._market.stream.connection import Endpoint
from krakked._market.stream.look import look
from krakked._network.network import SystemNetwork
from krakked.sandbox import SandboxSettings, open_sandbox


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[Endpoint]:
    """A server that gives one answer to whatever is asked, and then waits."""

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        if answer:
            await stream.send_all(answer)
        await stream.receive_some()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield Endpoint.parse(f"ws://127.0.0.1:{port}/v2")
        nursery.cancel_scope.cancel()


async def test_the_exchange_says_that_it_is_online() -> None:
    async with open_sandbox(settings=SandboxSettings(pair_count=40)) as exchange:
        assert await look(Endpoint.parse(exchange.ws_url), SystemNetwork()) == "online"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "HTTP 403: this address is"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "answers the upgrade with HTTP 503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP 200"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "does not take the upgrade"),
    ],
)
async def test_who_does_not_take_the_upgrade_is_said(answer: bytes, told: str) -> None:
    async with answering(answer) as end:
        with pytest.raises(ConnectFailedError, match=told):
            await look(end, SystemNetwork())


async def test_silence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_module, "HANDSHAKE_S", 0.05)
    async with answering(b"") as end:
        with pytest.raises(ConnectFailedError, match=r"no answer to the upgrade within 0\.05 s"):
            await look(end, SystemNetwork())
