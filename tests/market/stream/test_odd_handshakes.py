"""Answers to the upgrade that are none: each ends the attempt with a reason, nothing with a bug."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from itertools import count

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from krakked._config.settings import ReaderChoice
from krakked._core import MarketCache
from krakked._market.stream.connection import Connection, Endpoint
from krakked._market.stream.disconnect import DisconnectReason
from krakked._market.stream.facts import Wakeup
from krakked._market.stream.opening import StreamOpener
from krakked._market.stream.subscriptions import SubscriptionTable
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork

UPGRADE = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
REJECTED, FAILED = DisconnectReason.REJECTED, DisconnectReason.HANDSHAKE_FAILED
ANSWERS = {
    "bytes": (b"\x00\xff" * 400, FAILED),
    "no reason phrase": (b"HTTP/1.1 101\r\n\r\n", FAILED),
    "a status of one digit": (b"HTTP/1.1 1 x\r\n\r\n", FAILED),
    "a status of four digits": (b"HTTP/1.1 1000 x\r\n\r\n", FAILED),
    "a status below 100": (b"HTTP/1.1 099 x\r\n\r\n", FAILED),
    "another protocol": (b"SSH-2.0-OpenSSH_9\r\n", FAILED),
    "another version": (b"HTTP/2 200\r\n\r\n", FAILED),
    "empty lines": (b"\r\n\r\n\r\n", FAILED),
    "a request": (b"GET / HTTP/1.1\r\n\r\n", FAILED),
    "a wrong accept": (UPGRADE + b"Sec-WebSocket-Accept: x\r\n\r\n", FAILED),
    "an accept of bytes": (UPGRADE + b"Sec-WebSocket-Accept: \xff\xff\r\n\r\n", FAILED),
    "no accept": (UPGRADE + b"\r\n", FAILED),
    "letters beyond ascii": (b"HTTP/1.1 101 S\r\nConnection: \xc3\xa9\r\n\r\n", FAILED),
    "an extension unasked": (
        UPGRADE + b'Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Extensions: foo; a="\r\n\r\n',
        FAILED,
    ),
    "a subprotocol unasked": (
        UPGRADE + b"Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: x\r\n\r\n",
        FAILED,
    ),
    "headers without end": (b"HTTP/1.1 101 S\r\n" + b"a: b\r\n" * 50_000, FAILED),
    "a plain answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", REJECTED),
    "forbidden": (b"HTTP/1.1 403 Forbidden\r\n\r\n", REJECTED),
    "elsewhere": (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", REJECTED),
    "broken chunks": (b"HTTP/1.1 503 \r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", REJECTED),
}


class OneAnswer(SystemNetwork):
    """Leads to a server in memory that answers any upgrade with the same bytes, and hangs up."""

    def __init__(self, nursery: trio.Nursery, answer: bytes) -> None:
        super().__init__()
        self._nursery, self._answer = nursery, answer

    async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        found = re.search(rb"(?i)sec-websocket-key: (\S+)", request)
        assert found
        seal = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        try:
            await stream.send_all(self._answer.replace(b"ACCEPT", base64.b64encode(seal)))
            await trio.sleep(1)
        except trio.BrokenResourceError:
            pass
        await stream.aclose()


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_is_no_upgrade_ends_the_attempt_with_a_reason(
    name: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    answer, reason = ANSWERS[name]
    clock = SystemClock()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            network = OneAnswer(nursery, answer)
            outcome = await Connection(
                Endpoint.parse("ws://127.0.0.1:1/v2"),
                opener=StreamOpener(network, clock, ReaderChoice.PYTHON),
                clock=clock,
                cache=MarketCache(),
                table=SubscriptionTable(),
                req_ids=count(1),
                wakeup=Wakeup(),
            ).run()
            nursery.cancel_scope.cancel()
    assert outcome.reason is reason, outcome
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
