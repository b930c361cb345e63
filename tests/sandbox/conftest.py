"""Bare clients: httpx and trio-websocket with nothing of krakked's around them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio_websocket

from krakked.sandbox import Exchange


class BareRest:
    """Signed and public calls, nothing hidden."""

    def __init__(self, exchange: Exchange, http: httpx.AsyncClient) -> None:
        self.exchange = exchange
        self.http = http
        self.key, self.secret = exchange.key, exchange.secret
        self._nonce = exchange.clock.wall_ns()

    async def public(self, endpoint: str, **params: Any) -> Any:
        reply = await self.http.get(f"/0/public/{endpoint}", params=params)
        assert reply.status_code == 200
        return reply.json()

    async def result(self, endpoint: str, **params: Any) -> Any:
        envelope = await self.public(endpoint, **params)
        assert envelope["error"] == []
        return envelope["result"]

    async def errors(self, endpoint: str, **params: Any) -> list[str]:
        errors: list[str] = (await self.public(endpoint, **params))["error"]
        return errors

    def next_nonce(self) -> int:
        self._nonce += 1
        return self._nonce

    async def private(
        self, endpoint: str, *, nonce: int | None = None, as_json: bool = False, **data: Any
    ) -> Any:
        fields = {"nonce": str(self.next_nonce() if nonce is None else nonce)} | data
        body = json.dumps(fields) if as_json else str(httpx.QueryParams(fields))
        path = f"/0/private/{endpoint}"
        inner = hashlib.sha256((fields["nonce"] + body).encode()).digest()
        digest = hmac.digest(base64.b64decode(self.secret), path.encode() + inner, "sha512")
        kind = "application/json" if as_json else "application/x-www-form-urlencoded"
        headers = {
            "API-Key": self.key,
            "API-Sign": base64.b64encode(digest).decode(),
            "Content-Type": kind,
        }
        reply = await self.http.post(path, content=body, headers=headers)
        assert reply.status_code == 200
        return reply.json()


class BareSocket:
    """One WebSocket, with every frame it got."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection) -> None:
        self.websocket = websocket
        self.frames: list[dict[str, Any]] = []

    async def send(self, request: dict[str, Any]) -> None:
        await self.websocket.send_message(json.dumps(request))

    async def subscribe(
        self, channel: str, symbols: list[str] | None = None, **params: Any
    ) -> None:
        asked = {"channel": channel} | ({"symbol": symbols} if symbols else {}) | params
        await self.send({"method": "subscribe", "params": asked, "req_id": 7})

    async def next(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self.websocket.get_message())
        self.frames.append(frame)
        return frame

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            frame = await self.next()
            if wanted(frame):
                return frame

    async def take(self, count: int) -> list[dict[str, Any]]:
        return [await self.next() for _ in range(count)]

    async def collect(self, seconds: float) -> list[dict[str, Any]]:
        """Take every frame that comes within a time."""
        start = len(self.frames)
        with trio.move_on_after(seconds):
            while True:
                await self.next()
        return self.frames[start:]


@asynccontextmanager
async def _open_rest(exchange: Exchange) -> AsyncIterator[BareRest]:
    transport = exchange.network.http_transport()
    async with httpx.AsyncClient(
        transport=transport, base_url=exchange.rest_url, timeout=30
    ) as http:
        yield BareRest(exchange, http)


@asynccontextmanager
async def _open_ws(
    exchange: Exchange, host: str = "ws.kraken.com", path: str = "/v2", max_size: int = 1 << 24
) -> AsyncIterator[BareSocket]:
    stream = await exchange.network.open_stream(host, 443, tls=True)
    try:
        async with trio.open_nursery() as nursery:
            websocket = await trio_websocket.wrap_client_stream(
                nursery, stream, host, path, max_message_size=max_size
            )
            try:
                yield BareSocket(websocket)
            finally:
                nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)


@pytest.fixture
def open_rest() -> Callable[[Exchange], AbstractAsyncContextManager[BareRest]]:
    return _open_rest


@pytest.fixture
def open_ws() -> Callable[..., AbstractAsyncContextManager[BareSocket]]:
    return _open_ws
