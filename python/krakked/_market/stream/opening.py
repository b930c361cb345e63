"""How a connection is opened: the socket read in Rust where that can be, else in Python.

Rust reads real sockets of our own network, with rustls in the place of OpenSSL. It trusts the same
certificates, but is stricter; so when it refuses a server OpenSSL is asked, which REST uses, and
has the last word. Python reads what is no socket of ours: streams in memory, a user's own
`Network`, TLS inside an https proxy, sessions whose secrets are to be written down; and Windows.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import TypeAlias

import trio

from krakked._config.settings import ReaderChoice
from krakked._core import FrameTap, TlsTrust
from krakked._errors import ConnectFailedError
from krakked._market.stream.reader import ReaderStream
from krakked._market.stream.tap import TapStream
from krakked._network.clock import Clock, SystemClock
from krakked._network.network import Network, SystemNetwork
from krakked._network.trust import trust_sources, trusted_certificates

MarketStream: TypeAlias = TapStream | ReaderStream

_trust: dict[tuple[int, tuple[tuple[str, int], ...]], TlsTrust] = {}
"""By process, since what holds a lock is no forked child's, and `trust_sources`."""

log = logging.getLogger("krakked.stream")


class StreamOpener:
    """Opens the connections of one feed.

    Args:
        network: How to get there.
        clock: Gives the elapsed time that data is stamped with.
        reader: `market_data.ws.reader`.
    """

    def __init__(
        self, network: Network, clock: Clock, reader: ReaderChoice = ReaderChoice.AUTO
    ) -> None:
        self._network = network
        self._clock = clock
        # A subclass may open or tell the time in its own way.
        self._real = (
            sys.platform != "win32"
            and reader is ReaderChoice.AUTO
            and type(network) is SystemNetwork
            and type(clock) is SystemClock
        )
        self._refused: set[tuple[str, int]] = set()

    @property
    def reads_in_rust(self) -> bool:
        """Whether any connection of this feed may be read in Rust."""
        return self._real

    async def open(
        self,
        host: str,
        port: int,
        *,
        tls: bool,
        tap: FrameTap,
        recording: bool,
        on_frames: Callable[[], None],
        on_end: Callable[[], None],
    ) -> MarketStream:
        """Connect and, for TLS, shake hands with the host's name checked.

        Args:
            host: Name or address of the server.
            port: Its port.
            tls: Whether to speak TLS.
            tap: Where market data goes.
            recording: Everything is wanted as text: nothing is to be taken out by the tap.
            on_frames: Called when events or market data may wait; must not raise.
            on_end: Called once when the other side ended or broke the stream.

        Raises:
            ConnectFailedError: Resolution, connect or handshake failed.
        """
        network, refusal = self._network, ""
        if isinstance(network, SystemNetwork) and self._real and not recording:
            known = (host, port) in self._refused
            # OpenSSL takes no certificate for a name that ends in a dot; rustls would.
            if not (tls and (known or host.endswith(".") or network.keeps_secrets)):
                trust = await _trusted() if tls else None
                tcp = await network.open_transport(host, port, tls=tls)
                if type(tcp) is not trio.SocketStream:
                    inner = await network.shake_hands(tcp, host, port) if tls else tcp
                    return self._tapped(inner, tap, on_frames, on_end)
                try:
                    stream = ReaderStream(
                        tap,
                        tcp.socket.detach(),
                        on_notice=on_frames,
                        on_end=on_end,
                        trust=trust,
                        host=host if tls else None,
                    )
                except ValueError as error:  # no name that rustls knows
                    refusal = str(error)
                else:
                    refusal = await _refusal(stream, host, port)
                    if not refusal:
                        return stream
        inner = await network.open_stream(host, port, tls=tls)
        if refusal:
            self._refused.add((host, port))
            log.warning(
                "%s:%d is read in Python: rustls refuses what OpenSSL takes (%s)",
                host,
                port,
                refusal,
            )
        return self._tapped(inner, None if recording else tap, on_frames, on_end)

    def _tapped(
        self,
        inner: trio.abc.Stream,
        tap: FrameTap | None,
        on_frames: Callable[[], None],
        on_end: Callable[[], None],
    ) -> TapStream:
        return TapStream(inner, tap, self._clock, on_chunk=on_frames, on_end=on_end)


async def _trusted() -> TlsTrust:
    """Read and parse the certificates, off the loop and once for all connections."""
    key = os.getpid(), await trio.to_thread.run_sync(trust_sources)
    if key not in _trust:
        made = await trio.to_thread.run_sync(lambda: TlsTrust(trusted_certificates()))
        _trust.clear()
        _trust[key] = made
    return _trust[key]


async def _refusal(stream: ReaderStream, host: str, port: int) -> str:
    """Wait for the handshake; give why TLS refuses the server, "" when it does not."""
    try:
        is_open = await stream.wait_open()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    if is_open:
        return ""
    kind, words = stream.end or ("", "")
    await trio.aclose_forcefully(stream)
    if kind in {"tls", "cut"}:  # some servers hang up on what they do not know
        return words.removeprefix("tls: ")
    raise ConnectFailedError(
        f"TLS handshake with {host}:{port} failed ({words}). "
        "Check the system clock and any proxy in between.",
        endpoint=host,
    )
