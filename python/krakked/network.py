"""The seam to the outside: connections go through a Network, looks at a clock through a Clock.

Timers (sleeps, time-outs, backoff) use trio's own clock, so a `trio.testing.MockClock` moves them.
`Clock` answers the two questions trio cannot: what the wall says, and how much time has really
passed, suspend included. A virtual clock is only ever used together with an in-memory exchange.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar, TypeVarTuple, Unpack

import httpx
import trio

from krakked.errors import ConnectFailedError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Clock(Protocol):
    """Where times come from."""

    @property
    def virtual(self) -> bool:
        """True when time is simulated: blocking work then runs inline, see `run_blocking`."""
        ...

    def wall_ns(self) -> int:
        """Unix time in nanoseconds; may step."""
        ...

    def elapsed_ns(self) -> int:
        """Nanoseconds from an arbitrary start: never steps back, counts suspend if the OS can."""
        ...


class Network(Protocol):
    """How to reach the exchange.

    A network that leads to one exchange whatever host it is asked for, as a sandbox's does, names
    it in an attribute ``exchange``; without one the host asked for tells. See `exchange_reached`.
    """

    def http_transport(self) -> httpx.AsyncBaseTransport:
        """A fresh transport for one `httpx.AsyncClient`; the client closes it."""
        ...

    async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Connect and, for TLS, shake hands with the host's name checked.

        Raises:
            ConnectFailedError: Resolution, connect or handshake failed.
        """
        ...


def exchange_reached(network: Network) -> str:
    """Give the exchange that a network leads to in any case; empty when the host asked for tells.

    Candles and state are kept under this name, not under that of the host that was asked for.
    """
    return str(getattr(network, "exchange", ""))


class SystemClock:
    """The machine's clocks: CLOCK_BOOTTIME where it exists, else the monotonic clock."""

    virtual = False

    def wall_ns(self) -> int:
        """Unix time in nanoseconds."""
        return time.time_ns()

    def elapsed_ns(self) -> int:
        """Nanoseconds since boot, suspend included on Linux (`man 2 clock_gettime`)."""
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        if boottime is None:
            return time.monotonic_ns()
        return time.clock_gettime_ns(boottime)


def tls_context(key_log: Path | None = None) -> ssl.SSLContext:
    """Make the one answer to "who is trusted", for REST and the stream alike.

    The certificates that httpx brings and those of the system: a Python without a store of its own
    (python.org's on macOS, slim containers) then works as well as one behind a company's proxy.
    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` count as everywhere. ``SSLKEYLOGFILE`` does not: with it
    one forgotten variable would write down what opens every recorded connection, keys included.

    Args:
        key_log: File to write the sessions' secrets to, for a look with Wireshark; None = none.
    """
    context = httpx.create_ssl_context()
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    context.keylog_filename = key_log and str(key_log)  # type: ignore[assignment] # None = off
    return context


class SystemNetwork:
    """Real sockets; certificates as `tls_context` says.

    Args:
        tls_key_log: File for the secrets of TLS sessions, to debug with; None = they stay secret.
    """

    def __init__(self, *, tls_key_log: Path | None = None) -> None:
        self._tls_key_log = tls_key_log

    def http_transport(self) -> httpx.AsyncBaseTransport:
        """An httpx transport without its own retries (ours are counted in one place)."""
        return httpx.AsyncHTTPTransport(retries=0, verify=tls_context(self._tls_key_log))

    async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Open TCP (happy eyeballs) and shake TLS when asked."""
        try:
            tcp = await trio.open_tcp_stream(host, port)
        except OSError as error:
            raise ConnectFailedError(
                f"Could not connect to {host}:{port}: {error.strerror or type(error).__name__}. "
                "Check the network and the address.",
                endpoint=host,
            ) from error
        if not tls:
            return tcp
        stream: trio.SSLStream[trio.SocketStream] = trio.SSLStream(
            tcp, tls_context(self._tls_key_log), server_hostname=host, https_compatible=True
        )
        try:
            await stream.do_handshake()
        except (trio.BrokenResourceError, ssl.SSLError, OSError) as error:
            await trio.aclose_forcefully(stream)
            raise ConnectFailedError(
                f"TLS handshake with {host}:{port} failed ({_tls_reason(error)}). "
                "Check the system clock and any proxy in between.",
                endpoint=host,
            ) from error
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream


def _tls_reason(error: BaseException) -> str:
    """Say what TLS itself said; trio wraps it."""
    for each in (error.__cause__, error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
        if isinstance(each, ssl.SSLError) and each.reason:
            return each.reason
    return type(error).__name__


async def run_blocking(clock: Clock, function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
    """Run blocking file work off the event loop; inline when time is virtual.

    A `MockClock` that jumps when idle takes a busy thread for idleness and would fire every
    time-out while the thread works, so virtual time never meets a thread.
    """
    if clock.virtual:
        await trio.lowlevel.checkpoint()
        return function(*args)
    return await trio.to_thread.run_sync(function, *args)
