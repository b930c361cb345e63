"""What a server of OpenSSL's own does in the middle of a session: new keys, alerts, old habits.

Python's `ssl` can make none of it happen, `openssl s_server` can: by single letters on its input.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from tests.market.stream.hostile import frame
from tests.market.stream.sockets import (
    HEAD,
    Authority,
    Reading,
    open_reading,
    quietly,
    serving,
    ticker,
    until,
)

from krakked._core import TlsTrust

OPENSSL = shutil.which("openssl")
PATIENCE_S = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(OPENSSL is None, reason="openssl is not on this machine"),
]


class Server:
    """`openssl s_server`: what it is given goes to the client, what the client sends comes out."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port

    def say(self, data: bytes) -> None:
        """Send bytes; the first one of a line that is a command letter is a command instead."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()
        time.sleep(0.3)  # one read of its input for each, or the next would not be a command


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def openssl(leaf: Path, *options: str) -> Iterator[Server]:
    assert OPENSSL is not None
    port = free_port()
    command = [OPENSSL, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(leaf)]
    with subprocess.Popen(
        [*command, "-key", str(leaf), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if b"ACCEPT" in line:
                    break
            os.set_blocking(process.stdout.fileno(), False)
            yield Server(process, port)
        finally:
            process.kill()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def opened(server: Server, authority: Authority) -> Reading:
    trust = TlsTrust([authority.der])
    reading = await open_reading(server.port, trust=trust, host="localhost")
    assert await reading.stream.wait_open()
    return reading


async def said(server: Server, data: bytes) -> None:
    await trio.to_thread.run_sync(server.say, data)


@pytest.mark.parametrize("letter", [b"k", b"K"], ids=["told", "asked for ours, too"])
async def test_new_keys_of_tls_1_3_change_nothing(authority: Authority, letter: bytes) -> None:
    with (
        trio.fail_after(PATIENCE_S),
        openssl(authority.leaf("localhost"), "-tls1_3") as server,
    ):
        reading = await opened(server, authority)
        await said(server, HEAD + ticker("A/USD", "1.50"))
        assert await reading.stream.receive_some() == HEAD
        await until(lambda: reading.last("A/USD") == "1.50")
        for number in range(3):
            await said(server, letter + b"\n")
            await said(server, ticker("A/USD", f"{number}.25"))
            await until(lambda number=number: reading.last("A/USD") == f"{number}.25")
            await reading.stream.send_all(frame(b"x", 1))  # with our own new keys, where asked for
        assert reading.stream.end is None
        await reading.stream.aclose()


async def test_a_server_that_would_renegotiate_is_refused_with_a_reason(
    authority: Authority,
) -> None:
    with (
        trio.fail_after(PATIENCE_S),
        openssl(authority.leaf("localhost"), "-tls1_2") as server,
    ):
        reading = await opened(server, authority)
        await said(server, HEAD + ticker("A/USD", "1.50"))
        assert await reading.stream.receive_some() == HEAD
        await until(lambda: reading.last("A/USD") == "1.50")
        await said(server, b"r\n")
        await said(server, ticker("A/USD", "2.50"))
        await until(lambda: reading.stream.end)
        assert reading.stream.end is not None
        assert reading.stream.end[0] == "tls"
        assert "alert" in reading.stream.end[1]
        await reading.stream.aclose()


async def test_a_farewell_of_openssl_is_an_end(authority: Authority) -> None:
    with (
        trio.fail_after(PATIENCE_S),
        openssl(authority.leaf("localhost"), "-tls1_3") as server,
    ):
        reading = await opened(server, authority)
        await said(server, HEAD)
        assert await reading.stream.receive_some() == HEAD
        await said(server, b"q\n")
        assert await reading.stream.receive_some() == b""
        assert reading.stream.end is not None
        assert reading.stream.end[0] in {"eof", "cut"}
        await reading.stream.aclose()


async def test_an_alert_in_the_middle_is_an_end_with_its_name(authority: Authority) -> None:
    """A record of ours is spoiled on its way, so that the server sends a fatal alert."""
    spoil = False

    async def relay(stream: trio.abc.Stream) -> None:
        async with (
            await trio.open_tcp_stream("127.0.0.1", behind) as other,
            trio.open_nursery() as nursery,
        ):

            async def back() -> None:
                while data := await other.receive_some(65_536):
                    await stream.send_all(data)
                await stream.send_eof()  # type: ignore[attr-defined]

            nursery.start_soon(back)
            while data := await stream.receive_some(65_536):
                await other.send_all(data[:-1] + bytes([data[-1] ^ 1]) if spoil else data)

    with openssl(authority.leaf("localhost"), "-tls1_3") as server:
        behind = server.port
        async with serving(quietly(relay)) as port:
            with trio.fail_after(PATIENCE_S):
                trust = TlsTrust([authority.der])
                reading = await open_reading(port, trust=trust, host="localhost")
                await said(server, HEAD)
                assert await reading.stream.receive_some() == HEAD
                spoil = True
                await reading.stream.send_all(b"x")
                with pytest.raises(trio.BrokenResourceError, match=r"(?i)alert.*mac"):
                    await reading.stream.receive_some()
            await reading.stream.aclose()
