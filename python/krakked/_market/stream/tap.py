"""The tapping stream: between trio-websocket and the socket, it takes the market data out.

trio-websocket stays the protocol's authority: handshake, control frames, fragments and everything
odd pass through unchanged. Complete text frames are decoded and applied to the cache in Rust, so no
Python object is made for a message that nobody reads. Owns no task; must never raise anything but
what a trio stream raises.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Final

import trio

from krakked._core import FrameTap
from krakked._network.clock import Clock

CHUNK_BYTES: Final = 65536
"""One read of the socket: about 200 ticker frames."""
BURST_BYTES: Final = 262_144
"""One read while more waits than CHUNK_BYTES: the event loop's cost is shared by 860 frames."""
HANDSHAKE_BYTES: Final = 262_144
"""A server that answers the upgrade with more than this is not answering it."""
HEAD_BYTES: Final = 16
"""As long as a status line is of interest."""


class WireStream(trio.abc.Stream):
    """What the connection sees of a socket, whoever reads it: the upgrade's answer, and the end.

    Args:
        on_end: Called once when the other side ended or broke the stream.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._ended = False
        self.upgraded = False
        """Set by the connection once the handshake is done: the answer's size is then no limit."""
        self.head = b""
        """First bytes received: the status line of the answer to the upgrade."""

    def _admits(self, count: int) -> bool:
        """Whether the other side may have said so much by now."""
        return self.upgraded or count <= HANDSHAKE_BYTES

    def _keep_head(self, data: bytes) -> None:
        if len(self.head) < HEAD_BYTES:
            self.head = (self.head + data[:HEAD_BYTES])[:HEAD_BYTES]

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_end()


class TapStream(WireStream):
    """A trio Stream that lets a `FrameTap` see, and keep, what arrives.

    Args:
        inner: The TCP or TLS stream.
        tap: Where received bytes go first; None forwards everything (for recording).
        clock: Gives the elapsed time that the tap stamps data with.
        on_chunk: Called after each chunk that the tap has seen; must not raise.
        on_end: Called once when the other side ended or broke the stream.
    """

    def __init__(
        self,
        inner: trio.abc.Stream,
        tap: FrameTap | None,
        clock: Clock,
        *,
        on_chunk: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(on_end)
        self._inner = inner
        self._tap = tap
        self._clock = clock
        self._on_chunk = on_chunk
        self._forward = b""
        self._room = CHUNK_BYTES
        self.received_bytes = 0
        """Bytes received so far, before TLS is counted."""
        self.last_bytes_ns = clock.elapsed_ns()
        """Elapsed time of the newest bytes of any kind; of the opening before the first."""
        self.end: tuple[str, str] | None = None
        """Nothing but what trio-websocket says is known of the end; see `ReaderStream.end`."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return bytes that the WebSocket library has to judge; b"" at the end of the stream.

        Raises:
            trio.BrokenResourceError: The connection broke.
            trio.ClosedResourceError: This side closed it.
        """
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._forward:
            await trio.lowlevel.checkpoint()
        while not self._forward:
            try:
                data = await self._inner.receive_some(self._room)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._end()
                raise
            self._room = BURST_BYTES if len(data) >= CHUNK_BYTES else CHUNK_BYTES
            self.received_bytes += len(data)
            if not data or not self._admits(self.received_bytes):
                self._end()
                return b""
            self._keep_head(bytes(data))
            now_ns = self.last_bytes_ns = self._clock.elapsed_ns()
            if self._tap is None:
                self._forward = bytes(data)
            else:
                self._forward = self._tap.receive(bytes(data), now_ns)
                self._on_chunk()
        if max_bytes is None or max_bytes >= len(self._forward):
            given, self._forward = self._forward, b""
        else:
            given, self._forward = self._forward[:max_bytes], self._forward[max_bytes:]
        return given

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, unchanged."""
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the inner stream does."""
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the inner stream."""
        self._forward = b""
        await self._inner.aclose()
