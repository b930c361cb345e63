"""Bodies: unpacked within bounds; broken and oversized ones leave nothing behind."""

from __future__ import annotations

import contextlib
import gc
import gzip
import json
import ssl
import subprocess
import tracemalloc
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from krakked._config.settings import RestSettings
from krakked._errors import ConnectFailedError, KrakkedError, NetworkTimeoutError, ServiceError
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._rest import http as exchange
from krakked._rest.bounded_body import BodyReader
from krakked._rest.client import RestClient

OK = json.dumps({"error": [], "result": {"unixtime": 5}}).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def read(encoding: str, chunks: list[bytes], limit: int = 1 << 20) -> BodyReader:
    reader = BodyReader(encoding, limit)
    for chunk in chunks:
        if not reader.feed(chunk):
            break
    return reader


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_a_packed_body_is_unpacked_whatever_its_chunks(size) -> None:
    packed = gzip.compress(OK)
    chunks = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert read("gzip", chunks).body() == OK
    assert read(" GZip ", chunks).body() == OK
    assert read("", [OK[:5], OK[5:]]).body() == OK
    assert read("identity", [OK]).body() == OK
    assert read("", []).body() == b""


@pytest.mark.parametrize(
    ("encoding", "chunks", "told"),
    [
        ("gzip", [b"not gzip"], "broken"),
        ("gzip", [gzip.compress(OK)[:-9]], "too early"),
        ("gzip", [], "too early"),
        ("br", [b"x"], "not asked for"),
        ("", [b"x" * (1 << 20), b"x"], "more than 1 MiB"),
    ],
)
def test_a_body_that_cannot_be_had_says_why(encoding, chunks, told) -> None:
    reader = read(encoding, chunks)
    assert reader.body() == b""
    assert told in (reader.problem or "")
    assert reader.too_large is ("MiB" in told)


def test_a_small_body_that_unpacks_to_a_huge_one_never_fills_the_memory() -> None:
    bomb = gzip.compress(bytes(20 << 20))
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    try:
        reader = read("gzip", [bomb])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reader.too_large
    assert peak < 8 << 20


# --- over real sockets: nothing is left to the garbage collector ----------------------------------


async def answer_with(answer: bytes, more: bytes, stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    try:
        await stream.send_all(answer)
        while more:
            await stream.send_all(more)
    except trio.BrokenResourceError:
        pass
    await stream.aclose()


@contextlib.contextmanager
def nothing_left_open() -> Iterator[None]:
    """See that nothing is left to the garbage collector, which would warn about it."""
    gc.freeze()  # what was there before is not looked at again: that takes a tenth of a second
    try:
        with warnings.catch_warnings(record=True) as left:
            warnings.simplefilter("always")
            yield
            gc.collect()
    finally:
        gc.unfreeze()
    assert [str(each.message) for each in left] == []


async def ask(handler, *, scheme: str = "http", timeout_s: float = 5) -> KrakkedError:
    """Call a server of ours once; give the error and see that nothing was left open."""
    with nothing_left_open():
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, handler, 0, host="127.0.0.1")
            port = (await nursery.start(serve))[0].socket.getsockname()[1]
            settings = RestSettings(base_url=f"{scheme}://127.0.0.1:{port}", timeout_s=timeout_s)
            client = RestClient(settings, network=SystemNetwork(), clock=SystemClock())
            client._budget.tokens = 0  # once is enough
            async with client:
                with pytest.raises(KrakkedError) as caught:
                    await client.public("Time")
                gc.collect()
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    return caught.value


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
MIB = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
BROKEN = {
    "broken compression": (b"Content-Encoding: gzip\r\n\r\nnot gzip at all", b""),
    "broken compression, more to come": (
        b"Content-Encoding: gzip\r\n" + CHUNKED + b"8\r\nnot gzip\r\n",
        b"4\r\nmore\r\n",
    ),
    "a compression nobody asked for": (b"Content-Encoding: br\r\n" + CHUNKED, b"4\r\nmore\r\n"),
    "endless": (CHUNKED, MIB),
    "a longer length than promised": (b"Content-Length: 99999999\r\n\r\n", bytes(1 << 20)),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_body_is_closed_at_once(name, monkeypatch) -> None:
    monkeypatch.setattr(exchange, "MAX_BODY_BYTES", 2 << 20)
    head, more = BROKEN[name]
    error = await ask(partial(answer_with, HEAD + head, more))
    assert type(error) is ServiceError
    assert error.retryable is ("compression" in name)


async def test_a_body_that_stops_half_way_is_closed_at_once() -> None:
    async def stall(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(HEAD + b"Content-Length: 99\r\n\r\n{")
        await trio.sleep_forever()

    assert type(await ask(stall, timeout_s=0.1)) is NetworkTimeoutError


async def test_a_handshake_that_stalls_is_closed_at_once_and_counts_as_not_sent() -> None:
    async def stall(stream: trio.SocketStream) -> None:
        hello = await stream.receive_some(65536)
        assert hello[0] == 0x16
        await trio.sleep_forever()

    error = await ask(stall, scheme="https", timeout_s=0.1)
    assert type(error) is ConnectFailedError
    assert "no connection within 0.1 s" in str(error)


async def test_a_cancelled_handshake_is_closed_at_once() -> None:
    closed, begun = trio.Event(), trio.CancelScope()

    async def watch(stream: trio.SocketStream) -> None:
        while await stream.receive_some(65536):
            begun.cancel()
        closed.set()

    with nothing_left_open():
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, watch, 0, host="127.0.0.1")
            port = (await nursery.start(serve))[0].socket.getsockname()[1]
            settings = RestSettings(base_url=f"https://127.0.0.1:{port}")
            async with RestClient(settings, network=SystemNetwork(), clock=SystemClock()) as client:
                with begun:
                    await client.public("Time")
                assert begun.cancelled_caught
                with trio.fail_after(30):
                    await closed.wait()  # while the client is still open
            nursery.cancel_scope.cancel()


@pytest.fixture
def certificate(tmp_path) -> Path:
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", tmp_path / "both", "-out", tmp_path / "certificate",
         "-subj", "/CN=127.0.0.1", "-days", "2"],
        check=False, capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl command")
    both = tmp_path / "both"
    both.write_bytes(both.read_bytes() + (tmp_path / "certificate").read_bytes())
    return both


async def test_a_certificate_that_is_not_trusted_is_told_and_closed_at_once(certificate) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def shake(stream: trio.SocketStream) -> None:
        server = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await server.do_handshake()
            await server.receive_some()
        except trio.BrokenResourceError:
            pass
        await trio.aclose_forcefully(server)

    error = await ask(shake, scheme="https")
    assert type(error) is ConnectFailedError
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert "system clock" in str(error)
    assert not error.retryable
