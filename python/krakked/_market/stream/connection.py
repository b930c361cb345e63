"""One connection: from a URL to a reason why it ended. The only module that imports trio-websocket.

Every task of a connection lives in a nursery of its own, and whatever goes wrong inside, in our
socket, in TLS or in trio-websocket, comes out as a `Disconnect`: the user never sees it.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec
import trio
import trio_websocket
import wsproto

from krakked._core import FrameTap, MarketCache
from krakked._errors import NetworkError
from krakked._market.stream.disconnect import Disconnect, DisconnectReason
from krakked._market.stream.facts import Wakeup
from krakked._market.stream.opening import MarketStream, StreamOpener
from krakked._market.stream.requests import encode_ping
from krakked._market.stream.subscriptions import SubscriptionTable
from krakked._market.stream.tap import CHUNK_BYTES
from krakked._market.stream.watchdogs import (
    KEEP_ALIVE_S,
    ConnectionWatch,
    TransportWatch,
    WatchdogVerdict,
)
from krakked._network.clock import Clock
from krakked._network.network import USER_AGENT

CONNECT_S: Final = 10.0
"""Longest wait for name resolution, TCP and TLS together."""
HANDSHAKE_S: Final = 10.0
"""Longest wait for the answer to the upgrade."""
STATUS_S: Final = 5.0
"""Wait for Kraken's status frame; without one we go on all the same."""
SEND_S: Final = 10.0
"""A send that blocks for so long means that nobody reads at the other end."""
PACE_S: Final = 0.1
"""Distance of our requests: 10 a second (other clients keep to 20)."""
PING_AGAIN_S: Final = 3.0
"""Distance of the pings that are to prove a connection quiet."""
TICK_S: Final = 1.0
"""Distance of the watchdogs' looks."""
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
"""The instrument snapshot is about 0.6 MB; trio-websocket's own default is 1 MiB."""
MESSAGE_QUEUE: Final = 64
"""Forwarded messages that may wait; a task always drains them."""
MALFORMED_IN_A_ROW: Final = 50
"""So many frames in a row that make no sense, and the connection is given up."""

log = logging.getLogger("krakked.stream")

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r\n]")
"""The status of an answer to the upgrade."""

_EXPECTED = (
    trio_websocket.ConnectionClosed,
    trio_websocket.HandshakeError,
    wsproto.utilities.ProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    NetworkError,
    ssl.SSLError,
    OSError,
)


class Endpoint(msgspec.Struct, frozen=True):
    """A WebSocket URL, taken apart."""

    host: str
    port: int
    resource: str
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Take ``wss://host[:port]/path`` apart; the settings have been validated before."""
        parts = urlsplit(url)
        tls = parts.scheme == "wss"
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname or "", parts.port or (443 if tls else 80), resource, tls)

    @property
    def host_header(self) -> str:
        """Value of the Host header: the port is named only when it is not the scheme's own."""
        return self.host if self.port == (443 if self.tls else 80) else f"{self.host}:{self.port}"


async def upgrade(
    nursery: trio.Nursery, stream: trio.abc.Stream, end: Endpoint
) -> trio_websocket.WebSocketConnection:
    """Make a WebSocket connection of a stream; its reader runs in the nursery, and raises there."""
    return await trio_websocket.wrap_client_stream(
        nursery,
        cast("trio.SocketStream", stream),  # any Stream will do; see its docstring
        end.host_header,
        end.resource,
        # Kraken recommends one for all requests, and the servers in front may insist.
        extra_headers=[(b"User-Agent", USER_AGENT.encode("ascii"))],
        message_queue_size=MESSAGE_QUEUE,
        max_message_size=MAX_MESSAGE_BYTES,
        receive_buffer_size=CHUNK_BYTES,
    )


class Connection:
    """One WebSocket connection and everything that watches it; used once.

    Args:
        endpoint: Where to.
        opener: How to get there.
        clock: Elapsed time, for stamps and watchdogs.
        cache: Where market data goes.
        table: Desired state: what to send, what is acknowledged.
        req_ids: Where request ids for pings come from.
        wakeup: Rung when there are events to take, or market data may have changed.
        on_frame: When given, every text frame is handed over before it is applied (slower).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        opener: StreamOpener,
        clock: Clock,
        cache: MarketCache,
        table: SubscriptionTable,
        req_ids: Iterable[int],
        wakeup: Wakeup,
        on_frame: Callable[[str], None] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._opener = opener
        self._clock = clock
        self._table = table
        self._req_ids = iter(req_ids)
        self._wakeup = wakeup
        self._on_frame = on_frame
        self.tap = FrameTap(cache, max_message_bytes=MAX_MESSAGE_BYTES)
        self._stream: MarketStream | None = None
        self._scope = trio.CancelScope()
        self._outcome: Disconnect | None = None
        self._work = trio.Event()
        self._ping_now = False
        self._pinged_s = 0.0
        self._status_seen = trio.Event()

    # --- for the owner ---

    @property
    def received_bytes(self) -> int:
        """Bytes received so far."""
        return self._stream.received_bytes if self._stream is not None else 0

    @property
    def last_frame_s(self) -> float:
        """Elapsed time of the newest frame; bytes of one that is under way count as well."""
        last_ns, stream = self.tap.last_frame_ns, self._stream
        # While frames are recorded the tap does not see the bytes.
        if stream is not None and (self.tap.mid_frame or self._on_frame is not None):
            last_ns = max(last_ns, stream.last_bytes_ns if last_ns or self.tap.mid_frame else 0)
        return last_ns / 1e9

    def ping_soon(self) -> None:
        """Send an application ping; the answer says that the gateway has sent all it had."""
        if self._now_s() - self._pinged_s >= PING_AGAIN_S:
            self._pinged_s = self._now_s()
            self._ping_now = True
            self.wake()

    def stop(self, reason: DisconnectReason, detail: str = "") -> None:
        """End the connection for a reason; `run` gives it back. The first reason stands."""
        if self._outcome is None:
            self._outcome = Disconnect(reason, detail)
        self._scope.cancel()

    def wake(self) -> None:
        """Say that there may be something to send."""
        self._work.set()

    def status_seen(self) -> None:
        """Say that the exchange has greeted us, so that subscriptions may go out."""
        self._status_seen.set()

    async def run(self) -> Disconnect:
        """Connect, serve and clean up; never raises but when cancelled from outside."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await self._serve(nursery)
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            ours, rest = group.split(Exception)
            if rest is not None:
                raise
            self._explain(ours)
        except Exception as error:
            self._explain(error)
        finally:
            self.tap.end()
            if self._stream is not None:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(self._stream)
        return self._outcome or Disconnect(DisconnectReason.CLOSED, "the server closed the stream")

    # --- stages ---

    async def _serve(self, nursery: trio.Nursery) -> None:
        end = self._endpoint
        handshake = trio.CancelScope()
        with trio.move_on_after(CONNECT_S) as connecting:
            self._stream = await self._opener.open(
                end.host,
                end.port,
                tls=end.tls,
                tap=self.tap,
                recording=self._on_frame is not None,
                on_frames=self._wakeup.ring,
                on_end=handshake.cancel,  # nothing else would wake a handshake that was cut short
            )
        if connecting.cancelled_caught or self._stream is None:
            self._note(DisconnectReason.CONNECT_FAILED, f"no connection within {CONNECT_S:g} s")
            return
        stream = self._stream
        handshake.deadline = trio.current_time() + HANDSHAKE_S
        with handshake:
            socket = await upgrade(nursery, stream, end)
        if handshake.cancelled_caught:
            detail = "the server closed the stream during the handshake"
            if trio.current_time() >= handshake.deadline:
                detail = f"no answer to the handshake within {HANDSHAKE_S:g} s"
            self._handshake_failed(detail)
            return
        stream.upgraded = True
        nursery.start_soon(self._watch, nursery, socket)
        nursery.start_soon(self._send, socket)
        await self._drain(socket)

    async def _drain(self, socket: trio_websocket.WebSocketConnection) -> None:
        """Apply what trio-websocket delivers: with nobody here, forwarding would stop the feed."""
        while True:
            try:
                message = await socket.get_message()
            except trio_websocket.ConnectionClosed as closed:
                self._closed(closed.reason)
                return
            if self._on_frame is not None and isinstance(message, str):
                self._record(self._on_frame, message)
            self.tap.apply_message(message, self._clock.elapsed_ns())
            self._wakeup.ring()

    async def _send(self, socket: trio_websocket.WebSocketConnection) -> None:
        """Send what the desired state asks for, paced; keep the connection open with pings."""
        with trio.move_on_after(STATUS_S):
            await self._status_seen.wait()
        keep_alive_s = trio.current_time() + KEEP_ALIVE_S
        while True:
            self._work = trio.Event()
            request = self._table.next_request(self._now_s())
            if request is not None:
                log.debug("%s %s %d symbols", request.method, request.channel, len(request.symbols))
                await self._send_text(socket, request.text)
                await trio.sleep(PACE_S)
                continue
            if self._ping_now or trio.current_time() >= keep_alive_s:
                self._ping_now = False
                keep_alive_s = trio.current_time() + KEEP_ALIVE_S
                await self._send_text(socket, encode_ping(next(self._req_ids)))
            wait_s = keep_alive_s - trio.current_time()
            due_s = self._table.next_send_s(self._now_s())
            if due_s is not None:
                wait_s = min(wait_s, max(due_s - self._now_s(), PACE_S))
            with trio.move_on_after(wait_s):
                await self._work.wait()

    async def _send_text(self, socket: trio_websocket.WebSocketConnection, text: str) -> None:
        with trio.move_on_after(SEND_S) as sending:
            try:
                await socket.send_message(text)
            except _EXPECTED:
                await trio.sleep_forever()  # the reader knows why; it ends the connection
        if sending.cancelled_caught:
            self.stop(DisconnectReason.SEND_BLOCKED, f"a send blocked for {SEND_S:g} s")
            await trio.lowlevel.checkpoint()

    async def _ping(self, socket: trio_websocket.WebSocketConnection) -> None:
        # A ping in flight while the connection closes raises inside trio-websocket; the pong is
        # judged by the bytes it brings, so how the call ends says nothing.
        with suppress(*_EXPECTED, RuntimeError):
            await socket.ping()

    async def _watch(
        self, nursery: trio.Nursery, socket: trio_websocket.WebSocketConnection
    ) -> None:
        transport = TransportWatch(self._now_s())
        frames = ConnectionWatch()
        while True:
            await trio.sleep(TICK_S)
            now_s = self._now_s()
            last_bytes_s = self._stream.last_bytes_ns / 1e9 if self._stream is not None else 0.0
            verdict = transport.check(now_s, last_bytes_s)
            if verdict is WatchdogVerdict.PING:
                nursery.start_soon(self._ping, socket)
            elif verdict is WatchdogVerdict.DEAD:
                self.stop(DisconnectReason.HALF_OPEN, "nothing came back after a ping")
            armed = self._table.acknowledged > 0
            if frames.check(now_s, self.last_frame_s, armed=armed) is WatchdogVerdict.DEAD:
                self.stop(DisconnectReason.SILENT, "no frame, not even a heartbeat")
            if self.tap.malformed_in_a_row >= MALFORMED_IN_A_ROW:
                detail = f"{MALFORMED_IN_A_ROW} malformed frames in a row"
                self.stop(DisconnectReason.MALFORMED, detail)
            if self._table.worthless:
                self.stop(DisconnectReason.UNANSWERED, "subscriptions were left unanswered")

    # --- inside ---

    def _record(self, on_frame: Callable[[str], None], message: str) -> None:
        try:
            on_frame(message)
        except Exception as error:  # a recorder's trouble is not the stream's
            log.error("recording ended: %s: %s", type(error).__name__, error)
            self._on_frame = None

    def _now_s(self) -> float:
        return self._clock.elapsed_ns() / 1e9

    def _note(self, reason: DisconnectReason, detail: str, *, rejected: bool = False) -> None:
        if self._outcome is None:
            self._outcome = Disconnect(reason, detail, rejected)

    def _handshake_failed(self, detail: str) -> None:
        head = self._stream.head if self._stream is not None else b""
        status = _STATUS.match(head)
        if status is not None and status[1] != b"101":
            self._note(DisconnectReason.REJECTED, f"HTTP {status[1].decode()}", rejected=True)
        self._note(DisconnectReason.HANDSHAKE_FAILED, detail)

    def _closed(self, reason: trio_websocket.CloseReason | None) -> None:
        if reason is None or reason.code == 1006:
            words = "the connection broke without a close frame"
            if self._stream is not None and self._stream.end is not None:
                words = f"{words}: {self._stream.end[1]}"
            self._note(DisconnectReason.CLOSED, words)
            return
        words = f": {reason.reason[:120]}" if reason.reason else ""
        self._note(DisconnectReason.CLOSED, f"closed with code {reason.code}{words}")

    def _explain(self, error: BaseException | None) -> None:
        """Turn what came out of the nursery into a reason, the most telling one first."""
        leaves = _leaves(error)
        if leaves and self._stream is not None and not self._stream.upgraded:
            # The libraries below raise whatever their parsers meet in an answer that is none.
            self._handshake_failed("the server's answer is no WebSocket upgrade")
            return
        for leaf in leaves:
            if not isinstance(leaf, _EXPECTED):
                log.error("unexpected %s on a connection", type(leaf).__name__, exc_info=leaf)
                self._note(DisconnectReason.INTERNAL, type(leaf).__name__)
                return
        for leaf in leaves:
            failed = isinstance(leaf, NetworkError | OSError) and self._stream is None
            reason = DisconnectReason.CONNECT_FAILED if failed else DisconnectReason.BROKEN
            self._note(reason, str(leaf) if isinstance(leaf, NetworkError) else type(leaf).__name__)
            return


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error] if error is not None else []
