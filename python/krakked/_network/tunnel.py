"""Through a proxy: HTTP CONNECT and SOCKS5 on an open stream.

Nothing is ever read beyond the proxy's own answer, so the stream can be handed on as it is. Errors
name the proxy without user and password, and never repeat what it said.

Sources: RFC 9110, 9.3.6 (CONNECT) and 11.7.1 (Proxy-Authenticate); RFC 1928 (SOCKS5) and RFC 1929
(its user and password).
"""

from __future__ import annotations

import base64
import re
from typing import Final

import trio

from krakked._errors import ConnectFailedError
from krakked._network.proxies import Proxy

MAX_HEAD_BYTES: Final = 8192
"""Longest answer to CONNECT that is read."""

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?:[ \r\n]|$)")
_SOCKS_VERSION: Final = 5
_SOCKS_REFUSALS: Final = {
    1: "it reports a general failure",
    2: "its rules do not allow the connection",
    3: "it cannot reach the network",
    4: "it cannot reach or resolve the host",
    5: "the host refused it",
    6: "it ran out of time",
    7: "it knows no CONNECT",
    8: "it knows no such kind of address",
}
"""Source: RFC 1928, section 6."""
_SOCKS_PASSING: Final = {1, 3, 4, 5, 6}  # may be different a minute later


async def open_tunnel(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    """Ask the proxy at the other end of `stream` for a connection to `host`.

    The name is resolved by the proxy. Unbounded: the caller sets the deadline.

    Args:
        stream: Fresh from the connect (and the TLS handshake of an https proxy).
        proxy: Whom it leads to.
        host: Name or address wanted.
        port: TCP port wanted.

    Raises:
        ConnectFailedError: The proxy refused, or answered something else than a proxy.
    """
    try:
        if proxy.scheme == "socks5":
            await _socks5(stream, proxy, host, port)
        else:
            await _connect(stream, proxy, host, port)
    except (trio.BrokenResourceError, OSError) as error:
        raise failed(proxy, host, "the connection to it broke") from error


def failed(proxy: Proxy, host: str, told: str, *, retryable: bool = True) -> ConnectFailedError:
    """Make the one error of a connection that a proxy did not give."""
    return ConnectFailedError(
        f"Could not connect to {host} through the proxy {proxy} (from {proxy.source}): {told}. "
        "Check the proxy; `network.proxy: direct` in config.yaml goes without.",
        endpoint=host,
        retryable=retryable,
    )


# --- CONNECT -------------------------------------------------------------------------------------


async def _connect(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    await stream.send_all(_request(proxy, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"))
    status = 100
    while 100 <= status < 200:  # interim answers come before the real one
        status = await _status(stream, proxy, host)
    if 200 <= status < 300:
        return
    if status == 407:
        login = "does not accept" if proxy.user or proxy.password else "wants"
        raise failed(proxy, host, f"it {login} user and password (HTTP 407)", retryable=False)
    passing = status >= 500 or status in {408, 429}
    raise failed(proxy, host, f"it refused with HTTP {status}", retryable=passing)


def _request(proxy: Proxy, target: str) -> bytes:
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode("ascii")
    if proxy.user or proxy.password:
        head += b"Proxy-Authorization: Basic "
        head += base64.b64encode(proxy.user + b":" + proxy.password) + b"\r\n"
    return head + b"\r\n"


async def _status(stream: trio.abc.Stream, proxy: Proxy, host: str) -> int:
    head = bytearray()
    while not head.endswith((b"\r\n\r\n", b"\n\n")):
        # Byte by byte: what follows the head belongs to the exchange already.
        byte = await stream.receive_some(1)
        if not byte:
            raise failed(proxy, host, "it closed the connection")
        head += byte
        if len(head) > MAX_HEAD_BYTES:
            raise failed(proxy, host, "its answer is no HTTP or far too long", retryable=False)
    match = _STATUS.match(head)
    if match is None:
        raise failed(proxy, host, "its answer is no HTTP", retryable=False)
    return int(match[1])


# --- SOCKS5 --------------------------------------------------------------------------------------


async def _socks5(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    import socksio  # noqa: PLC0415 - few ever need it

    methods = [socksio.SOCKS5AuthMethod.NO_AUTH_REQUIRED]
    if proxy.user or proxy.password:
        methods.append(socksio.SOCKS5AuthMethod.USERNAME_PASSWORD)
    await stream.send_all(socksio.SOCKS5AuthMethodsRequest(methods).dumps())
    version, method = await _exactly(stream, 2, proxy, host)
    _check_version(version, proxy, host)
    if bytes([method]) not in methods:
        login = "does not accept" if len(methods) > 1 else "wants"
        raise failed(proxy, host, f"it {login} user and password", retryable=False)
    if bytes([method]) == socksio.SOCKS5AuthMethod.USERNAME_PASSWORD:
        await stream.send_all(
            socksio.SOCKS5UsernamePasswordRequest(proxy.user, proxy.password).dumps()
        )
        _, refusal = await _exactly(stream, 2, proxy, host)
        if refusal:
            told = "it does not accept user and password"
            raise failed(proxy, host, told, retryable=False)
    connect = socksio.SOCKS5Command.CONNECT
    request = socksio.SOCKS5CommandRequest.from_address(connect, (host, port))
    await stream.send_all(request.dumps())
    version, refusal = await _exactly(stream, 2, proxy, host)
    _check_version(version, proxy, host)
    if refusal:
        told = _SOCKS_REFUSALS.get(refusal, f"it refused with code {refusal}")
        raise failed(proxy, host, told, retryable=refusal in _SOCKS_PASSING)
    # The address it connects from, which nobody needs, but which stands before the exchange's data.
    _, kind = await _exactly(stream, 2, proxy, host)
    match kind:
        case 1:
            rest = 4
        case 3:
            (rest,) = await _exactly(stream, 1, proxy, host)
        case 4:
            rest = 16
        case _:
            raise failed(proxy, host, "its answer is no SOCKS5", retryable=False)
    await _exactly(stream, rest + 2, proxy, host)


def _check_version(version: int, proxy: Proxy, host: str) -> None:
    if version != _SOCKS_VERSION:
        raise failed(proxy, host, "its answer is no SOCKS5", retryable=False)


async def _exactly(stream: trio.abc.Stream, count: int, proxy: Proxy, host: str) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        if not more:
            raise failed(proxy, host, "it closed the connection")
        data += more
    return data
