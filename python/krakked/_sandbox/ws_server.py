"""The WebSocket v2 server: accepts streams of any kind, shakes hands and runs connections."""

from __future__ import annotations

import random
from collections.abc import Callable

import trio
import trio_websocket
import wsproto

from krakked._sandbox.faulty_stream import FaultyLink, FaultyStream
from krakked._sandbox.hashing import seed_of
from krakked._sandbox.limits import Window
from krakked._sandbox.pump import Pump
from krakked._sandbox.replay import Recording
from krakked._sandbox.rest_faults import page
from krakked._sandbox.venue import Venue
from krakked._sandbox.ws_connection import ClientConnection
from krakked._sandbox.ws_faults import StreamFaults

_HANDSHAKE_S = 10.0
_SIZE_LIMIT = 1 << 20


class WsServer:
    """All connections of one sandbox."""

    def __init__(self, venue: Venue, seed: int, recording: Recording | None = None) -> None:
        self.venue = venue
        self.pump: Pump = Pump(venue)
        self.faults: StreamFaults = StreamFaults(random.Random(f"stream faults {seed}"))  # noqa: S311
        self.pump.lag_of = self.faults.candle_lag
        self.pump.lags = self.faults.lags
        self.link: FaultyLink = FaultyLink()
        self.connections: dict[int, ClientConnection] = {}
        self.connects: int = 0
        """Handshakes that were attempted."""
        self.accepted: int = 0
        self.banned: int = 0
        """Handshakes refused with 429."""
        self.reject_next: list[int] = []
        """HTTP statuses for the next handshakes; 0 accepts and drops at once."""
        self.reject_always: int | None = None
        """HTTP status for every handshake; 0 as above."""
        self.close_after_s: float | None = None
        self.on_stream: Callable[[FaultyStream], object] = id
        """Called with every new connection's stream."""
        self._seed = seed
        self._recording = recording
        settings = venue.settings
        self._budget = Window(settings.connects_per_window, settings.connect_window_s)

    async def serve(self, inner: trio.abc.Stream, host: str = "") -> None:
        """Serve one client on a stream, until either side ends it."""
        self.connects += 1
        number = self.connects
        rng = random.Random(f"stream {self._seed} {number}")  # noqa: S311 - not for secrets
        stream = FaultyStream(inner, rng, self.link)
        self.on_stream(stream)
        try:
            async with trio.open_nursery() as nursery:
                await self._shake_hands(nursery, stream, number, host)
                nursery.cancel_scope.cancel()
        except* (trio_websocket.ConnectionClosed, trio.BrokenResourceError):
            pass
        except* (trio.ClosedResourceError, OSError):
            pass
        except* wsproto.utilities.ProtocolError:
            pass  # a ping came while we were closing, or a client that breaks the protocol
        finally:
            if not stream.keeps_open:
                await trio.aclose_forcefully(inner)

    async def _shake_hands(
        self, nursery: trio.Nursery, stream: FaultyStream, number: int, host: str
    ) -> None:
        request: trio_websocket.WebSocketRequest | None = None
        with trio.move_on_after(_HANDSHAKE_S):
            request = await trio_websocket.wrap_server_stream(
                nursery, stream, max_message_size=_SIZE_LIMIT, receive_buffer_size=65536
            )
        if request is None:
            return
        headers_in = dict(request.headers)
        status = self._verdict(request.path)
        if self.venue.settings.require_stream_user_agent and not headers_in.get(b"user-agent"):
            status = 403
        if status:
            body = page(status).encode()
            headers = [(b"Content-Type", b"text/html"), (b"Server", b"cloudflare")]
            await request.reject(status, extra_headers=headers, body=body)
            return
        drop = self.reject_always == 0
        if self.reject_next and self.reject_next[0] == 0:
            self.reject_next.pop(0)
            drop = True
        websocket = await request.accept(extra_headers=[(b"Server", b"cloudflare")])
        if drop:
            return
        self.accepted += 1
        if self._recording is not None:
            await self._recording.play(websocket, self.accepted - 1)
            return
        named = headers_in.get(b"host", b"").decode("ascii", "replace")
        private = "auth" in host or "ws-auth" in named or request.path.startswith("/v2/auth")
        connection = self._connection(stream, number, private)
        await self._run(websocket, connection)

    def _verdict(self, path: str) -> int:
        """Return the HTTP status with which to refuse a handshake, or 0."""
        if self.venue.settings.limits and not self._budget.add(trio.current_time()):
            self.banned += 1
            return 429
        if self.reject_always is not None:
            return self.reject_always
        if self.reject_next and self.reject_next[0]:
            return self.reject_next.pop(0)
        return 0 if path.split("?", maxsplit=1)[0].startswith("/v2") else 404

    def _connection(self, stream: FaultyStream, number: int, private: bool) -> ClientConnection:
        connection_id = seed_of(self._seed, "connection", number)
        if number % 2:  # ids go beyond 2**63
            connection_id |= 1 << 63
        return ClientConnection(
            self.venue,
            self.pump,
            self.faults,
            stream,
            number=number,
            connection_id=connection_id,
            private=private,
            variant=self._seed + number,
        )

    async def _run(
        self, websocket: trio_websocket.WebSocketConnection, connection: ClientConnection
    ) -> None:
        self.connections[connection.number] = connection
        try:
            async with trio.open_nursery() as nursery:
                connection.on_overrun = nursery.cancel_scope.cancel
                nursery.start_soon(connection.send_loop, websocket)
                nursery.start_soon(self._close_when_idle, connection, nursery.cancel_scope)
                connection.send_status()
                if self.close_after_s is not None:
                    nursery.cancel_scope.deadline = trio.current_time() + self.close_after_s
                while True:
                    await connection.handle(await websocket.get_message())
        finally:
            del self.connections[connection.number]
            connection.close()
            if not connection.stream.keeps_open:
                with trio.move_on_after(1):
                    await websocket.aclose()

    async def _close_when_idle(self, connection: ClientConnection, scope: trio.CancelScope) -> None:
        limit = self.venue.settings.inactivity_s
        while True:
            due = connection.last_request + limit
            if connection.subscriptions:
                due = trio.current_time() + limit
            if due <= trio.current_time():
                scope.cancel()
                return
            await trio.sleep_until(due)
