"""A byte stream that can be cut, stalled, sliced, coalesced, re-framed and silenced.

It lies under the WebSocket server, whatever the transport below is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import trio


class FaultyLink:
    """The way to the client, shared by all connections: so many bytes a second go over it."""

    def __init__(self) -> None:
        self.bytes_per_s: float | None = None
        self._free_at = 0.0

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Cut into what goes over it at once."""
        size = len(data) if self.bytes_per_s is None else _PACKET_BYTES
        for at in range(0, len(data), max(1, size)):
            yield data[at : at + size]

    async def carry(self, count: int) -> None:
        """Take the time that so many bytes need, behind those of the others."""
        if self.bytes_per_s is None:
            return
        now = trio.current_time()
        self._free_at = max(now, self._free_at) + count / self.bytes_per_s
        await trio.sleep_until(self._free_at)


_PACKET_BYTES = 1460


class FaultyStream(trio.abc.Stream):
    """Wraps the server's end of a connection.

    Attributes:
        silent: Half-open: nothing is sent or received any more, and nobody is told.
        cut_after: Bytes that may still be sent before the connection drops; None: no cut.
        silent_after: Bytes that may still be sent before the connection falls silent; None: never.
        garbage: Replace everything after the handshake's answer with random bytes.
        slices: Longest piece of bytes sent at once; 0: whole.
        slice_pause_s: Pause between pieces.
        fragments: Split every text frame into so many WebSocket fragments; 0 or 1: not at all.
        corked: Collect what is sent until `uncork`.
        sent_bytes: Bytes handed to the transport so far.
        peer_gone: Whether the peer has closed its side.
    """

    def __init__(
        self, inner: trio.abc.Stream, rng: random.Random, link: FaultyLink | None = None
    ) -> None:
        self._inner = inner
        self._random = rng
        self._link = link or FaultyLink()
        self._turn = trio.Lock()
        self._collected = bytearray()
        self._resume = trio.Event()
        self._resume.set()
        self._closed = trio.Event()
        self.silent = False
        self.cut_after: int | None = None
        self.silent_after: int | None = None
        self.garbage = False
        self.slices = 0
        self.slice_pause_s = 0.0
        self.fragments = 0
        self.corked = False
        self.sent_bytes = 0
        self.peer_gone = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, as wrongly as told."""
        if self._closed.is_set():
            raise trio.ClosedResourceError
        data = bytes(data)
        if self.fragments > 1:
            data = fragmented(data, self.fragments)
        if self.corked:
            self._collected += data
            await trio.lowlevel.checkpoint()
            return
        # What waits here or is cut into pieces keeps its place: a pong may come from another task.
        async with self._turn:
            await self._resume.wait()
            if self.silent:
                await trio.lowlevel.checkpoint()
                return
            await self._send_in_turn(data)

    async def _send_in_turn(self, data: bytes) -> None:
        if self.garbage and self.sent_bytes:
            data = self._random.randbytes(len(data))
        if self.silent_after is not None and len(data) > self.silent_after:
            await self._send(data[: self.silent_after])
            self.silent = True
            return
        if self.cut_after is not None and len(data) > self.cut_after:
            data = data[: self.cut_after]
            await self._send(data)
            await self.drop()
            raise trio.BrokenResourceError
        await self._send(data)
        if self.cut_after is not None:
            self.cut_after -= len(data)
        if self.silent_after is not None:
            self.silent_after -= len(data)

    async def _send(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        if not self.slices:
            for piece in self._link.pieces(data):
                await self._link.carry(len(piece))
                await self._resume.wait()
                await self._inner.send_all(piece)
            return
        at = 0
        while at < len(data):
            size = self._random.randint(1, self.slices)
            await self._resume.wait()
            await self._inner.send_all(data[at : at + size])
            at += size
            if self.slice_pause_s:
                await trio.sleep(self.slice_pause_s)

    async def uncork(self) -> None:
        """Send what was collected, in one piece."""
        self.corked = False
        data = bytes(self._collected)
        self._collected.clear()
        if data:
            fragments, self.fragments = self.fragments, 0  # already split
            try:
                await self.send_all(data)
            finally:
                self.fragments = fragments

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the inner stream takes more."""
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive; a silent connection swallows what comes."""
        while True:
            try:
                data = await self._inner.receive_some(max_bytes)
            except trio.BrokenResourceError:
                self.peer_gone = True
                raise
            self.peer_gone = not data
            if self.peer_gone:
                self._resume.set()  # nothing waits for a peer that left
            if self.peer_gone or not self.silent:
                return data

    @property
    def keeps_open(self) -> bool:
        """Whether the connection must outlive the server's interest in it."""
        return self.silent and not self.peer_gone

    def stall(self) -> None:
        """Hold back everything sent from now on."""
        self._resume = trio.Event()

    def resume(self) -> None:
        """Let it flow again."""
        self._resume.set()

    async def drop(self) -> None:
        """Close without a word to the peer's WebSocket."""
        self._closed.set()
        self._resume.set()
        await trio.aclose_forcefully(self._inner)

    async def aclose(self) -> None:
        """Close the inner stream; a silent connection stays open until it is dropped."""
        self._closed.set()
        self._resume.set()
        if self.keeps_open:
            await trio.lowlevel.checkpoint()
            return
        await self._inner.aclose()


def fragmented(frame: bytes, count: int) -> bytes:
    """Split one unmasked text frame into fragments (RFC 6455, 5.4); other bytes pass unchanged."""
    if len(frame) < 2 or frame[0] != 0x81 or frame[1] & 0x80:
        return frame
    length, start = frame[1], 2
    if length == 126:
        length, start = int.from_bytes(frame[2:4], "big"), 4
    elif length == 127:
        length, start = int.from_bytes(frame[2:10], "big"), 10
    payload = frame[start:]
    if len(payload) != length or length < count:
        return frame
    size = -(-length // count)
    pieces = [payload[at : at + size] for at in range(0, length, size)]
    out = bytearray()
    for n, piece in enumerate(pieces):
        opcode = 0x01 if n == 0 else 0x00
        out.append(opcode | (0x80 if n == len(pieces) - 1 else 0))
        if len(piece) < 126:
            out.append(len(piece))
        elif len(piece) < 65536:
            out += b"\x7e" + len(piece).to_bytes(2, "big")
        else:
            out += b"\x7f" + len(piece).to_bytes(8, "big")
        out += piece
    return bytes(out)
