"""The two networks a sandbox hands out; both satisfy `krakked._network.network.Network`.

Whatever host is asked for, the sandbox answers. Hosts with `ws-auth` in their name get the private
WebSocket endpoint. `exchange` names the market behind it, so that a client never takes what it says
for Kraken's.
"""

from __future__ import annotations

import errno
import os

import httpx
import trio
import trio.testing

from krakked._sandbox.faults import Faults
from krakked._sandbox.rest_app import RestApp
from krakked._sandbox.ws_server import WsServer


def _refused(host: str) -> ConnectionRefusedError:
    return ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED), host)


class _MemoryTransport(httpx.AsyncBaseTransport):
    """Hands requests to the ASGI application; refuses when told to."""

    def __init__(self, rest: RestApp, faults: Faults) -> None:
        self._asgi = httpx.ASGITransport(rest.asgi, client=("memory", 0))
        self._faults = faults

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if not self._faults.rest.takes_connect():
            raise httpx.ConnectError("[Errno 111] Connection refused", request=request)
        response = await self._asgi.handle_async_request(request)
        if self._faults.rest.drops(request.url.path.rsplit("/", 1)[-1]):
            text = "Server disconnected without sending a response."
            raise httpx.RemoteProtocolError(text, request=request)
        return response


class MemoryNetwork:
    """No sockets at all: for virtual time."""

    def __init__(
        self, rest: RestApp, server: WsServer, faults: Faults, nursery: trio.Nursery
    ) -> None:
        self.exchange: str = server.venue.market.name
        self._rest = rest
        self._server = server
        self._faults = faults
        self._nursery = nursery

    def http_transport(self) -> httpx.AsyncBaseTransport:
        """Return a transport straight into the REST application."""
        return _MemoryTransport(self._rest, self._faults)

    async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Connect to the WebSocket server in memory.

        Raises:
            ConnectionRefusedError: A fault says so.
        """
        del port, tls
        await trio.lowlevel.checkpoint()
        if not self._faults.takes_connect():
            self._server.connects += 1
            raise _refused(host)
        theirs, ours = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._server.serve, ours, host)
        return theirs


class _LoopbackTransport(httpx.AsyncBaseTransport):
    """Sends every request to the sandbox's loopback port."""

    def __init__(self, port: int) -> None:
        self._inner = httpx.AsyncHTTPTransport(retries=0)
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        redirected = httpx.Request(
            request.method,
            url,
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return await self._inner.handle_async_request(redirected)

    async def aclose(self) -> None:
        await self._inner.aclose()


class LoopbackNetwork:
    """Loopback sockets, whatever host is asked for."""

    def __init__(self, exchange: str, rest_port: int, ws_port: int) -> None:
        self.exchange = exchange
        self._rest_port = rest_port
        self._ws_port = ws_port

    def http_transport(self) -> httpx.AsyncBaseTransport:
        """Return a transport to the sandbox's REST port."""
        return _LoopbackTransport(self._rest_port)

    async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Connect to the sandbox's WebSocket port; never TLS."""
        del host, port, tls
        return await trio.open_tcp_stream("127.0.0.1", self._ws_port)
