"""A proxy for tests: HTTP CONNECT and SOCKS5 on loopback, with faults."""

from __future__ import annotations

import base64
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class LocalProxy:
    """Relays to where `names` says: what it was asked for stands in `asked`.

    Attributes:
        url: Address without user and password.
        names: Where each host name leads, (host, port) to port on 127.0.0.1; other names it
            cannot resolve.
        login: User and password that it insists on; None lets everybody in.
        asked: (host, port) of every request, in order.
        logins: What was presented as user and password.
        says: Sent in place of its answer to the request, after which it waits.
        hangs: Says nothing at all.
        refuses: HTTP status or SOCKS code with which it answers.
        tunnels: How many were opened.
    """

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.port = 0
        self.names: dict[tuple[str, int], int] = {}
        self.login: tuple[bytes, bytes] | None = None
        self.asked: list[tuple[str, int]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.heads: list[bytes] = []
        self.says: bytes | None = None
        self.hangs = False
        self.closes = False
        self.refuses = 0
        self.tunnels = 0

    @property
    def address(self) -> str:
        host = "localhost" if self.scheme == "https" else "127.0.0.1"
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    def url_with(self, user: str, password: str) -> str:
        return f"{self.scheme}://{user}:{password}@{self.address}"

    async def serve(self, stream: trio.abc.Stream) -> None:
        async with stream:
            try:
                if self.hangs:
                    await trio.sleep_forever()
                if self.closes:
                    return
                port = await (self._socks if self.scheme == "socks5" else self._http)(stream)
                if port is not None:
                    await self._relay(stream, port)
            except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError, OSError):
                pass

    async def _http(self, stream: trio.abc.Stream) -> int | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await exactly(stream, 1)
        self.heads.append(head)
        verb, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        assert verb == "CONNECT"
        host, _, port = target.rpartition(":")
        self.asked.append((host.strip("[]"), int(port)))
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b": ")
            if name.lower() == b"proxy-authorization":
                user, _, password = base64.b64decode(value.removeprefix(b"Basic ")).partition(b":")
                self.logins.append((user, password))
        if self.says is not None:
            await stream.send_all(self.says)
            await trio.sleep_forever()
        if self.login is not None and self.login not in self.logins[-1:]:
            return await self._http_refusal(stream, 407)
        if self.refuses:
            return await self._http_refusal(stream, self.refuses)
        found = self.names.get(self.asked[-1])
        if found is None:
            return await self._http_refusal(stream, 502)
        await stream.send_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
        return found

    async def _http_refusal(self, stream: trio.abc.Stream, status: int) -> None:
        body = b"<html>no</html>"
        await stream.send_all(b"HTTP/1.1 %d No\r\nContent-Length: 15\r\n\r\n" % status + body)

    async def _socks(self, stream: trio.abc.Stream) -> int | None:
        assert await exactly(stream, 1) == b"\x05"
        methods = await exactly(stream, (await exactly(stream, 1))[0])
        wanted = 0 if self.login is None else 2
        if wanted not in methods:
            await stream.send_all(b"\x05\xff")
            return None
        await stream.send_all(bytes([5, wanted]))
        if wanted == 2:
            assert await exactly(stream, 1) == b"\x01"
            user = await exactly(stream, (await exactly(stream, 1))[0])
            password = await exactly(stream, (await exactly(stream, 1))[0])
            self.logins.append((user, password))
            await stream.send_all(b"\x01" + bytes([(user, password) != self.login]))
            if (user, password) != self.login:
                return None
        assert await exactly(stream, 3) == b"\x05\x01\x00"
        kind = (await exactly(stream, 1))[0]
        if kind == 3:
            host = (await exactly(stream, (await exactly(stream, 1))[0])).decode()
        else:
            raw = await exactly(stream, 4 if kind == 1 else 16)
            host = str(ipaddress.ip_address(raw))
        self.asked.append((host, int.from_bytes(await exactly(stream, 2), "big")))
        if self.says is not None:
            await stream.send_all(self.says)
            await trio.sleep_forever()
        found = self.names.get(self.asked[-1])
        code = self.refuses or (0 if found is not None else 4)
        # Answers name the address they connect from in any of three forms.
        froms = [b"\x01" + bytes(4), b"\x03\x04name", b"\x04" + bytes(16)]
        origin = froms[len(self.asked) % 3]
        await stream.send_all(bytes([5, code, 0]) + origin + b"\x00\x00")
        return None if code else found

    async def _relay(self, stream: trio.abc.Stream, port: int) -> None:
        self.tunnels += 1
        far = await trio.open_tcp_stream("127.0.0.1", port)
        async with far, trio.open_nursery() as nursery:

            async def copy(source: trio.abc.Stream, target: trio.abc.Stream) -> None:
                while chunk := await source.receive_some(65536):
                    await target.send_all(chunk)
                nursery.cancel_scope.cancel()

            nursery.start_soon(copy, stream, far)
            await copy(far, stream)


async def exactly(stream: trio.abc.Stream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


@asynccontextmanager
async def open_proxy(
    scheme: str, context: ssl.SSLContext | None = None
) -> AsyncIterator[LocalProxy]:
    """Serve a proxy of a scheme (``http``, ``https``, ``socks5``) while the block runs."""
    proxy = LocalProxy(scheme)

    async def serve(tcp: trio.SocketStream) -> None:
        stream: trio.abc.Stream = tcp
        if context is not None:
            stream = trio.SSLStream(tcp, context, server_side=True, https_compatible=True)
        try:
            await proxy.serve(stream)
        except* (trio.BrokenResourceError, OSError):
            pass

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, listeners)
        proxy.port = int(listeners[0].socket.getsockname()[1])
        yield proxy
        nursery.cancel_scope.cancel()
