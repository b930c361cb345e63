"""httpx over streams that somebody else opens: the way to the exchange is decided in one place.

httpx offers no place for that, httpcore below it does (`AsyncNetworkBackend`, public since 0.18).
So this is httpx's own transport once more, over a pool with our backend.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx
import trio

OpenTcp = Callable[[str, int, bool, float | None], Awaitable[trio.abc.Stream]]
"""Connects to (host, port), through a proxy where one is due, without TLS; then whether the
connection will be for TLS, and the longest wait in seconds. Raises OSError, or
`ConnectFailedError` where a proxy gave no connection."""


class HttpTransport(httpx.AsyncBaseTransport):
    """An httpx transport whose connections come from `open_tcp`; it never tries anything twice.

    Args:
        open_tcp: Opens connections.
        context: Whom TLS trusts.
    """

    def __init__(self, open_tcp: OpenTcp, context: ssl.SSLContext) -> None:
        self._open_tcp = open_tcp
        self._context = context
        self._pools: dict[bool, httpcore.AsyncConnectionPool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        url = request.url
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx():
            response = await self._pool(tls=url.scheme == "https").handle_async_request(sent)
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, *, tls: bool) -> httpcore.AsyncConnectionPool:
        # The pool does not tell its backend what a connection is for: so, one for each kind.
        if tls not in self._pools:
            self._pools[tls] = httpcore.AsyncConnectionPool(
                ssl_context=self._context if tls else None,
                max_connections=100,
                max_keepalive_connections=20,
                keepalive_expiry=5.0,
                retries=0,
                network_backend=_Backend(self._open_tcp, tls=tls),
            )
        return self._pools[tls]


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, open_tcp: OpenTcp, *, tls: bool) -> None:
        self._open_tcp = open_tcp
        self._tls = tls

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del local_address, socket_options  # the pool was given none
        with _as_httpcore(httpcore.ConnectTimeout, httpcore.ConnectError), _bound(timeout):
            stream = await self._open_tcp(host, port, self._tls, timeout)
        return _Stream(stream, stream)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """A trio stream as httpcore wants it; `below` is the one without TLS to the exchange."""

    def __init__(self, stream: trio.abc.Stream, below: trio.abc.Stream) -> None:
        self._stream = stream
        self._below = below

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _as_httpcore(httpcore.ReadTimeout, httpcore.ReadError), _bound(timeout):
            return bytes(await self._stream.receive_some(max_bytes))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _as_httpcore(httpcore.WriteTimeout, httpcore.WriteError), _bound(timeout):
            await self._stream.send_all(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        secure: trio.SSLStream[trio.abc.Stream] = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        try:
            with _as_httpcore(httpcore.ConnectTimeout, httpcore.ConnectError), _bound(timeout):
                await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(self._stream)
            raise
        return _Stream(secure, self._stream)

    def get_extra_info(self, info: str) -> bool | None:
        if info != "is_readable":  # an idle connection that has something to say has ended
            return None
        stream = self._below
        while isinstance(stream, trio.SSLStream):  # an https proxy
            stream = stream.transport_stream
        return stream.socket.is_readable() if isinstance(stream, trio.SocketStream) else False


@contextmanager
def _bound(timeout_s: float | None) -> Iterator[None]:
    with trio.fail_after(float("inf") if timeout_s is None else timeout_s):
        yield


@contextmanager
def _as_httpcore(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    try:
        yield
    except trio.TooSlowError as error:
        raise late(str(error)) from error
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
        raise broken(str(error)) from error


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Raise httpx's exception of the same name."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
    ) as error:
        kind: type[httpx.TransportError] = getattr(httpx, type(error).__name__)
        raise kind(str(error)) from error
