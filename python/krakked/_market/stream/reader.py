"""The stream over a socket that Rust reads: what trio-websocket sees of a `SocketReader`.

Who reads a socket, this or `tap.py`, is decided in `opening.py`.

The reader's thread stamps, decodes and applies market data by itself, answers protocol pings, and
wakes trio only for what trio-websocket or the connection has to do. Owns no task; must never raise
anything but what a trio stream raises.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index

import trio

from krakked._core import FrameTap, SocketReader, TlsTrust
from krakked._market.stream.tap import WireStream


class ReaderStream(WireStream):
    """A trio Stream over a socket that is read by a thread, with the face of `TapStream`.

    Args:
        tap: Where received bytes go; the reader feeds it.
        descriptor: The connected socket's, given away (`socket.detach`); closed by this stream.
        on_notice: Called when events or closed candles wait; must not raise.
        on_end: Called once when the other side ended or broke the stream.
        trust: Whom TLS trusts; None for a plain socket.
        host: The server's name in its certificate.

    Raises:
        OSError: No thread or descriptor is left.
        ValueError: TLS cannot be spoken with such a host name.
    """

    def __init__(
        self,
        tap: FrameTap,
        descriptor: int,
        *,
        on_notice: Callable[[], None],
        on_end: Callable[[], None],
        trust: TlsTrust | None = None,
        host: str | None = None,
    ) -> None:
        super().__init__(on_end)
        self._reader = SocketReader(tap, descriptor, trust=trust, host=host)
        self._tap = tap  # which ends when nobody holds it any more
        self._descriptor = self._reader.descriptor
        self._on_notice = on_notice
        self._closed = False
        self._given_bytes = 0
        self._watched = False
        self._woken = trio.Event()

    @property
    def received_bytes(self) -> int:
        """Bytes received so far, before TLS is counted."""
        return self._reader.received_bytes

    @property
    def last_bytes_ns(self) -> int:
        """Elapsed time of the newest bytes of any kind; of the opening before the first."""
        return self._reader.last_bytes_ns

    @property
    def end(self) -> tuple[str, str] | None:
        """Why nothing more comes, see `SocketReader.end`; None while it may."""
        return self._reader.end

    async def wait_open(self) -> bool:
        """Wait until TLS has shaken hands; False when it never will, and `end` says why."""
        while (is_open := self._reader.open_or_arm()) is None:
            await self._wait()
        await trio.lowlevel.checkpoint()
        return is_open

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return bytes that the WebSocket library has to judge; b"" at the end of the stream.

        Raises:
            trio.BrokenResourceError: The connection broke; `end` says how.
            trio.ClosedResourceError: This side closed it.
        """
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise trio.ClosedResourceError
            taken = self._reader.take_or_arm(max_bytes)
            if isinstance(taken, bytes):
                break
            if taken is None:
                await self._wait()
            else:
                self._on_notice()
        self._given_bytes += len(taken)
        if not taken or not self._admits(self._given_bytes):
            self._end()
            end = self._reader.end
            if end is not None and end[0] not in {"eof", "cut"}:
                raise trio.BrokenResourceError(end[1])
            return b""
        self._keep_head(taken)
        return taken

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over to the thread; waits while more waits there than is reasonable.

        The data must be whole frames: answers to pings go in between.

        Raises:
            trio.BrokenResourceError: The connection broke.
            trio.ClosedResourceError: This side closed it.
        """
        await trio.lowlevel.checkpoint()
        whole, start = bytes(data), 0  # no copy of what is bytes already
        while True:
            self._check_sendable()
            start += self._reader.send(whole, start)
            if start == len(whole):
                return
            await self.wait_send_all_might_not_block()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the thread takes more."""
        await trio.lowlevel.checkpoint()
        self._check_sendable()
        while not self._reader.room_or_arm():
            await self._wait()
            self._check_sendable()

    async def aclose(self) -> None:
        """Say goodbye, not waiting for an answer; thread and descriptors are gone after this."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._descriptor)
            self._reader.close()
            self._woken.set()
        await trio.lowlevel.checkpoint()

    def _check_sendable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._reader.finished:
            raise trio.BrokenResourceError((self._reader.end or ("", ""))[1])

    async def _wait(self) -> None:
        """Wait until the thread wakes us; the one task that trio lets wait wakes the others."""
        if self._closed:
            raise trio.ClosedResourceError
        if self._watched:
            await self._woken.wait()
            return
        self._watched = True
        try:
            await trio.lowlevel.wait_readable(self._descriptor)
            self._reader.clear()
        finally:
            self._watched = False
            self._woken.set()
            self._woken = trio.Event()
