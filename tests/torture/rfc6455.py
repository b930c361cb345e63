"""RFC 6455 through the tap: the same verdict, case by case, as without it.

    python tests/torture/rfc6455.py [--case '5.*' ...]

The fuzzing server of PyPI's `kosoku` (Autobahn's own cases) drives an echoing client on 127.0.0.1:
trio-websocket as it is, then behind krakked's `TapStream` and `FrameTap`, then behind
a `SocketReader`. The tap keeps texts to itself, so beside it a `FrameSplitter` sees the same bytes
and hands the texts to the echo; both must forward the same. What the reader reads no Python sees,
so there a relay in between looks on. The client offers no compression, as krakked offers none: the
cases about it (12, 13) are left out. Exit status 1 when a case gets another verdict, or a bad one.
Run by `make torture`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Queue
from typing import Any, cast

import kosoku
import trio
import trio_websocket

from krakked._core import FrameSplitter, FrameTap, MarketCache
from krakked._market.stream.reader import ReaderStream
from krakked._market.stream.tap import CHUNK_BYTES, TapStream
from krakked._network.clock import SystemClock

COMPRESSION = ["12.*", "13.*"]
LARGEST_MESSAGE = 64 << 20
CASE_S = 60.0
CLOSE_S = 10.0
AT_ONCE = 10
TRIES = 3
Message = str | bytes


@dataclass
class Verdict:
    """What the server thought of one case."""

    case: str
    passed: bool
    words: tuple[object, ...]

    @classmethod
    def of(cls, result: Any) -> Verdict:
        behavior, closing = result.behavior.value, result.behavior_close.value
        words = (behavior, closing, result.remote_close_code, result.was_clean)
        return cls(result.case_id, result.passed, words)


class EchoTap:
    """The live stream's tap, and beside it one whose sink is the echo; as `TapStream` expects."""

    def __init__(self, outbox: trio.MemorySendChannel[Message]) -> None:
        self.tap = FrameTap(MarketCache(), max_message_bytes=LARGEST_MESSAGE)
        self._splitter = FrameSplitter(max_message_bytes=LARGEST_MESSAGE)
        self._outbox = outbox
        self.taken = 0
        self.disagreements = 0

    def receive(self, data: bytes, now_ns: int) -> bytes:
        forward = self.tap.receive(data, now_ns)
        texts, same = self._splitter.receive(data)
        self.disagreements += forward != same
        for text in texts:
            self._outbox.send_nowait(text)
        self.taken += len(texts)
        return forward


class Relay:
    """Passes bytes on, both ways, and shows a splitter what the server says."""

    def __init__(self, port: int, outbox: trio.MemorySendChannel[Message]) -> None:
        self._port, self._outbox = port, outbox
        self._splitter = FrameSplitter(max_message_bytes=LARGEST_MESSAGE)
        self.taken = 0

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve one connection; starts with the port."""
        (listener, *_) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            task_status.started(listener.socket.getsockname()[1])
            client = await listener.accept()
        server = await trio.open_tcp_stream("127.0.0.1", self._port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_on, client, server)
            await self._pass_on(server, client, look=True)

    async def _pass_on(
        self, source: trio.SocketStream, sink: trio.SocketStream, *, look: bool = False
    ) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(CHUNK_BYTES):
                if look:
                    for text in self._splitter.receive(data)[0]:
                        self._outbox.send_nowait(text)
                        self.taken += 1
                await sink.send_all(data)
            await sink.send_eof()


class Client:
    """An echoing client; `agent` says what is between the socket and trio-websocket."""

    def __init__(self, port: int, *, agent: str, at_once: int) -> None:
        self.port, self.agent, self.at_once = port, agent, at_once
        self.taken = self.disagreements = 0

    async def run(self) -> None:
        """Run every case that the server has; most of them wait a second for what may come."""
        count = int(await self.converse("/getCaseCount", echo=False))
        numbers = iter(range(1, count + 1))

        async def work() -> None:
            for number in numbers:
                with trio.move_on_after(CASE_S):
                    await self.converse(f"/runCase?case={number}&agent={self.agent}")

        async with trio.open_nursery() as nursery:
            for _ in range(self.at_once):
                nursery.start_soon(work)
        await self.converse(f"/updateReports?agent={self.agent}", echo=False)

    async def converse(self, resource: str, *, echo: bool = True) -> str:
        """Connect; echo everything until the other side closes, or give its first message."""
        outbox, pending = trio.open_memory_channel[Message](1_000_000)
        async with trio.open_nursery() as around:
            relay = Relay(self.port, outbox)
            by_reader = self.agent == "reader" and echo
            port = await around.start(relay.run) if by_reader else self.port
            socket_stream = await trio.open_tcp_stream("127.0.0.1", port)
            tcp: trio.abc.Stream = socket_stream
            beside = EchoTap(outbox) if self.agent == "tapped" and echo else None
            tap: FrameTap | None = None
            if beside is not None:
                tap = beside.tap
                tcp = TapStream(
                    tcp,
                    cast("FrameTap", beside),
                    SystemClock(),
                    on_chunk=lambda: None,
                    on_end=lambda: None,
                )
                tcp.upgraded = True  # the size of the answer to the upgrade is not under test
            elif by_reader:
                tap = FrameTap(MarketCache(), max_message_bytes=LARGEST_MESSAGE)
                tcp = ReaderStream(
                    tap,
                    socket_stream.socket.detach(),
                    on_notice=lambda: None,
                    on_end=lambda: None,
                )
                tcp.upgraded = True
            try:
                first = await self.talk(tcp, resource, tap, outbox, pending, echo=echo)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(tcp)
            around.cancel_scope.cancel()
        if beside is not None:
            self.taken += beside.taken
            self.disagreements += beside.disagreements
        self.taken += relay.taken
        return first

    async def talk(
        self,
        tcp: trio.abc.Stream,
        resource: str,
        tap: FrameTap | None,
        outbox: trio.MemorySendChannel[Message],
        pending: trio.MemoryReceiveChannel[Message],
        *,
        echo: bool,
    ) -> str:
        """Speak over an open stream."""
        first = ""
        async with trio.open_nursery() as nursery:
            socket = await trio_websocket.wrap_client_stream(
                nursery,
                cast("trio.SocketStream", tcp),
                f"127.0.0.1:{self.port}",
                resource,
                message_queue_size=64,
                max_message_size=LARGEST_MESSAGE,
                receive_buffer_size=CHUNK_BYTES,
            )
            nursery.start_soon(self.echo, socket, pending)
            with suppress(trio_websocket.ConnectionClosed):
                while True:
                    message = await socket.get_message()
                    if not echo:
                        first = str(message)
                        continue
                    if tap is not None:
                        tap.apply_message(message, 0)
                    outbox.send_nowait(message)
            with trio.move_on_after(CLOSE_S):
                await socket.aclose()
            outbox.close()
        return first

    @staticmethod
    async def echo(
        socket: trio_websocket.WebSocketConnection, pending: trio.MemoryReceiveChannel[Message]
    ) -> None:
        async for message in pending:
            with suppress(trio_websocket.ConnectionClosed):
                await socket.send_message(message)


@contextmanager
def fuzzing_server(cases: list[str] | None) -> Iterator[tuple[int, Queue[list[Verdict]]]]:
    """Run kosoku's server on a thread of its own; give its port and a queue of results."""
    ports: Queue[int] = Queue()
    verdicts: Queue[list[Verdict]] = Queue()

    async def serve() -> None:
        server = kosoku.run_fuzzingserver(cases, COMPRESSION, host="127.0.0.1", port=0)
        async with server:
            ports.put(server.port)
            try:
                results = await server.get_result()
            except kosoku.FailureError as failure:
                results = failure.results
            verdicts.put([Verdict.of(result) for result in results])

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    yield ports.get(timeout=30), verdicts
    thread.join(30)


def judge(agent: str, cases: list[str] | None, at_once: int = AT_ONCE) -> dict[str, Verdict]:
    """Let the server judge one client; print what it thinks of it."""
    begin = time.monotonic()
    with fuzzing_server(cases) as (port, queue):
        client = Client(port, agent=agent, at_once=at_once)
        trio.run(client.run)
        verdicts = {verdict.case: verdict for verdict in queue.get(timeout=60)}
    words = Counter(str(verdict.words[0]) for verdict in verdicts.values())
    good = sum(verdict.passed for verdict in verdicts.values())
    counts = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    print(
        f"{client.agent:>6}: {good} of {len(verdicts)} cases passed ({counts}); "
        f"{client.taken:,} texts taken out by the tap; {time.monotonic() - begin:.1f} s",
        flush=True,
    )
    if client.disagreements:
        told = ("FAILED", f"{client.disagreements} chunks were forwarded differently")
        verdicts["forwarding"] = Verdict("forwarding", False, told)
    return verdicts


def compare(bare: dict[str, Verdict], other: dict[str, Verdict], agent: str) -> list[str]:
    """Print the cases that were judged differently and give their ids."""
    different = []
    for case in sorted(bare.keys() | other.keys()):
        told = [v[case].words if case in v else None for v in (bare, other)]
        if told[0] != told[1]:
            different.append(case)
            print(f"  {case}: bare {told[0]}, {agent} {told[1]}")
    return different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs="*", help="case ids or globs; all by default")
    arguments = parser.parse_args()
    bare = judge("bare", arguments.case)
    return max(against(bare, agent, arguments.case) for agent in ("tapped", "reader"))


def against(bare: dict[str, Verdict], agent: str, cases: list[str] | None) -> int:
    """Judge an agent and compare; 1 when a verdict differs or is bad."""
    judged = judge(agent, cases)
    bad = sum(not verdict.passed for verdict in judged.values())
    different = compare(bare, judged, agent)
    settled = 0
    for _ in range(TRIES):
        # An echo that races the end of its connection (4.1.3) goes either way on a busy machine.
        asked = [case for case in different if case in bare and case in judged]
        if not asked or bad:
            break
        print(f"once more, alone: {' '.join(asked)}")
        again = [judge(one, asked, at_once=1) for one in ("bare", agent)]
        still = compare(*again, agent) + [case for case in different if case not in asked]
        settled += len(different) - len(still)
        different = still
    print(
        f"{len(bare)} cases: {len(different)} verdicts differ, {settled} agreed when asked again, "
        f"{bad} bad through the {agent}"
    )
    return 1 if different or bad or not bare else 0


if __name__ == "__main__":
    sys.exit(main())
