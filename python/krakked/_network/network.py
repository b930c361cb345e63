"""The seam to the outside: every connection goes through a `Network`."""

from __future__ import annotations

import errno
import os
import ssl
import sys
from pathlib import Path
from typing import Final, Protocol
from urllib.request import getproxies, proxy_bypass

import certifi
import httpx
import trio

from krakked._core import __version__
from krakked._errors import Action, ConfigError, ConnectFailedError
from krakked._network.addresses import is_local_name
from krakked._network.http_transport import HttpTransport
from krakked._network.proxies import DIRECT, Proxy, parse_proxy
from krakked._network.tunnel import failed, open_tunnel
from krakked._public import public

USER_AGENT: Final = f"krakked/{__version__}"
"""What every request and every upgrade says of itself."""

PROXY_S: Final = 8.0
"""Longest wait for a proxy: less than any connect is given, so that the error can name it."""


@public
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
    """Return the exchange that a network leads to in any case; empty when the host asked for tells.

    Candles and state are kept under this name, not under that of the host that was asked for.
    """
    return str(getattr(network, "exchange", ""))


def tls_context(key_log: Path | None = None) -> ssl.SSLContext:
    """Make the one answer to "who is trusted", for REST and the stream alike.

    The certificates that `certifi` brings and those of the system: a Python without a store of its
    own (python.org's on macOS, slim containers) then works as well as one behind a company's proxy.
    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` count as everywhere. ``SSLKEYLOGFILE`` does not: with it
    one forgotten variable would write down what opens every recorded connection, keys included.

    Args:
        key_log: File to write the sessions' secrets to, for a look with Wireshark; None = none.

    Raises:
        ConfigError: One of the two variables names nothing usable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if file:
            context.load_verify_locations(cafile=file)
        elif directory:
            os.scandir(directory).close()  # OpenSSL takes any name and finds nothing in it
            context.load_verify_locations(capath=directory)
        else:
            context.load_verify_locations(cafile=certifi.where())
    except OSError as error:  # ssl.SSLError is one
        name, path = ("SSL_CERT_FILE", file) if file else ("SSL_CERT_DIR", directory)
        reason = "no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"{name} names {path}, which cannot be used: {reason}. Correct or unset the variable.",
            path=path,
            key=name,
        ) from None
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if key_log is not None:
        context.keylog_filename = str(key_log)
    return context


def choose_proxy(setting: str | None, host: str, port: int, *, tls: bool) -> Proxy | None:
    """Decide on the way to a server: the one rule for REST and the stream.

    Args:
        setting: `network.proxy`: a proxy, ``direct``, or None for what the system says.
        host: Name or address of the server.
        port: Its port.
        tls: Whether the connection will be encrypted: ``HTTPS_PROXY`` or ``HTTP_PROXY``, else
            ``ALL_PROXY``; `urllib.request.getproxies` reads them, and the system's settings on
            macOS and Windows.

    Returns:
        The proxy; None to connect directly. Hosts in ``NO_PROXY`` have none in any case
        (`urllib.request.proxy_bypass` decides).

    Raises:
        ConfigError: The variable in force holds no address of a proxy.
    """
    if setting == DIRECT:
        return None
    found: dict[str, str] = {"network.proxy": setting} if setting is not None else {}
    if setting is None:
        known = getproxies()
        names = ("https" if tls else "http", "all", "socks")
        found = {f"{name}_proxy".upper(): known[name] for name in names if known.get(name)}
    # With and without the port, since NO_PROXY may name either.
    if not found or any(proxy_bypass(form) for form in (host, f"{host}:{port}")):
        return None
    source, address = next(iter(found.items()))
    if source == "SOCKS_PROXY" and "://" in address:  # macOS gives every proxy as http://
        address = f"socks5://{address.partition('://')[2]}"
    return parse_proxy(address, key=source)


@public
class SystemNetwork:
    """Real sockets: the certificates that certifi and the system trust, the proxy that is set.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` count as everywhere; ``SSLKEYLOGFILE`` does not.


    Args:
        proxy: As `network.proxy` of the settings.
        tls_key_log: File for the secrets of TLS sessions, to debug with; None = they stay secret.

    Raises:
        ConfigError: `proxy` is no address of a proxy.
    """

    def __init__(self, proxy: str | None = None, *, tls_key_log: Path | None = None) -> None:
        if proxy not in {None, DIRECT}:
            parse_proxy(str(proxy), key="network.proxy")
        self._proxy = proxy
        self._tls_key_log = tls_key_log
        self._context: ssl.SSLContext | None = None

    def http_transport(self) -> httpx.AsyncBaseTransport:
        """A transport that tries nothing again by itself (our retries are counted in one place)."""
        return HttpTransport(self._open_tcp, self._trusted())

    async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Open TCP (happy eyeballs), through a proxy where one is due, and shake TLS when asked."""
        tcp = await self.open_transport(host, port, tls=tls)
        return await self.shake_hands(tcp, host, port) if tls else tcp

    @property
    def keeps_secrets(self) -> bool:
        """Whether the secrets of TLS sessions are written down, which OpenSSL alone does."""
        return self._tls_key_log is not None

    async def open_transport(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Open what TLS would be spoken over: TCP, or TLS where an https proxy is on the way.

        Raises:
            ConnectFailedError: Resolution or connect failed.
        """
        try:
            return await self._open_tcp(host, port, tls)
        except OSError as error:
            raise ConnectFailedError(
                f"Could not connect to {host}:{port}: {error.strerror or type(error).__name__}. "
                "Check the network and the address.",
                endpoint=host,
            ) from error

    async def _open_tcp(
        self, host: str, port: int, tls: bool, timeout_s: float | None = None
    ) -> trio.abc.Stream:
        try:
            if sys.platform == "win32":  # the registry's exceptions may ask for names
                proxy = await trio.to_thread.run_sync(
                    lambda: choose_proxy(self._proxy, host, port, tls=tls)
                )
            else:
                proxy = choose_proxy(self._proxy, host, port, tls=tls)
        except ConfigError as error:
            raise ConnectFailedError(
                str(error), endpoint=host, retryable=False, action=Action.FIX_SETTINGS
            ) from None
        if proxy is None:
            # Names below .localhost are this machine's, whatever a resolver thinks of them.
            return await _connect("localhost" if is_local_name(host) else host, port)
        patience_s = PROXY_S if timeout_s is None else min(PROXY_S, 0.8 * timeout_s)
        with trio.move_on_after(patience_s):
            return await self._through(proxy, host, port)
        raise failed(proxy, host, f"no answer within {patience_s:g} s")

    async def _through(self, proxy: Proxy, host: str, port: int) -> trio.abc.Stream:
        try:
            stream: trio.abc.Stream = await _connect(proxy.host, proxy.port)
        except OSError as error:
            told = error.strerror or type(error).__name__
            raise failed(proxy, host, f"it cannot be reached ({told})") from error
        try:
            if proxy.scheme == "https":
                try:
                    stream = await self.shake_hands(stream, proxy.host, proxy.port)
                except ConnectFailedError as error:
                    raise failed(proxy, host, str(error).partition(". ")[0]) from error
            await open_tunnel(stream, proxy, host, port)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def shake_hands(self, tcp: trio.abc.Stream, host: str, port: int) -> trio.abc.Stream:
        """Speak TLS over an open stream, the host's name checked; a stream that fails is closed.

        Raises:
            ConnectFailedError: The handshake failed.
        """
        stream: trio.SSLStream[trio.abc.Stream] = trio.SSLStream(
            tcp, await self._trusted_soon(), server_hostname=host, https_compatible=True
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

    async def _trusted_soon(self) -> ssl.SSLContext:
        """The same off the loop."""
        if self._context is None:
            await trio.to_thread.run_sync(self._trusted)
        return self._trusted()

    def _trusted(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = tls_context(self._tls_key_log)  # takes 50 ms and more
        return self._context


async def _connect(host: str, port: int) -> trio.SocketStream:
    try:
        return await trio.open_tcp_stream(host, port)
    except UnicodeError as error:  # parts of a name have at most 63 characters
        raise OSError(errno.EINVAL, "no valid host name") from error


def _tls_reason(error: BaseException) -> str:
    """Say what TLS itself said; trio wraps it."""
    for each in (error.__cause__, error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
        if isinstance(each, ssl.SSLError) and each.reason:
            return each.reason
    return type(error).__name__
