"""Servers on loopback sockets, plain and over TLS, for what reads real sockets."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.market.stream.hostile import frame

from krakked._core import FrameTap, MarketCache, TlsTrust
from krakked._market.stream.reader import ReaderStream

DAY = datetime.timedelta(days=1)
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
"""A reply after which frames are tapped."""

Script = Callable[[trio.abc.Stream], Awaitable[None]]


def ticker(symbol: str, last: str = "1.50", kind: str = "update") -> bytes:
    """Give a ticker frame."""
    return frame(
        b'{"channel":"ticker","type":"%s","data":[{"symbol":"%s","bid":1.0,"bid_qty":1.0,'
        b'"ask":2.0,"ask_qty":1.0,"last":%s,"volume":1.0,"vwap":1.0,"low":1.0,"high":1.0,'
        b'"change":0.0,"change_pct":0.0}]}' % (kind.encode(), symbol.encode(), last.encode())
    )


# --- certificates ---------------------------------------------------------------------------------


class Authority:
    """An authority, and the certificates that it gives out."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])
        builder = self._builder(self._name, self._key, 0, 1)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        made = (
            builder.add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.der = made.public_bytes(serialization.Encoding.DER)
        self.path = directory / "authority.pem"
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def leaf(self, *hosts: str, from_days: float = -1, to_days: float = 1) -> Path:
        """Give a certificate of these hosts with its key; days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a server")])
        names: list[x509.GeneralName] = []
        for host in hosts:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        made = (
            self._builder(name, key, from_days, to_days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        path = self.directory / f"leaf{made.serial_number}.pem"
        plain, form = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
        path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, plain)
            + made.public_bytes(serialization.Encoding.PEM)
        )
        return path

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, from_days: float, to_days: float
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + (from_days or -1) * DAY)
            .not_valid_after(now + to_days * DAY)
        )


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


# --- servers --------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run a script for every connection; give the port."""

    async def serve(stream: trio.abc.Stream) -> None:
        try:
            await script(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        if context is None:
            (listener, *_) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listener.socket.getsockname()[1]
            await nursery.start(trio.serve_listeners, serve, [listener])
        else:
            (tls, *_) = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
            port = tls.transport_listener.socket.getsockname()[1]  # type: ignore[attr-defined]
            await nursery.start(trio.serve_listeners, serve, [tls])
        yield port
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def relaying(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Put TLS before a plain server; give the port."""

    async def pump(one: trio.abc.Stream, other: trio.abc.Stream) -> None:
        while data := await one.receive_some(65536):
            await other.send_all(data)
        await trio.aclose_forcefully(other)

    async def relay(stream: trio.abc.Stream) -> None:
        behind = await trio.open_tcp_stream("127.0.0.1", port)
        async with behind, trio.open_nursery() as nursery:
            nursery.start_soon(pump, behind, stream)
            await pump(stream, behind)
            nursery.cancel_scope.cancel()

    async with serving(quietly(relay), context) as front:
        yield front


def quietly(script: Script) -> Script:
    """Let a script end without a word when the other side is gone."""

    async def run(stream: trio.abc.Stream) -> None:
        try:
            await script(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    return run


# --- the reader alone -----------------------------------------------------------------------------


class Reading:
    """A reader over a fresh connection, and what it fed."""

    def __init__(self, stream: ReaderStream, cache: MarketCache, tap: FrameTap) -> None:
        self.stream, self.cache, self.tap = stream, cache, tap
        self.notices = self.ends = 0

    def last(self, symbol: str) -> str | None:
        row = self.cache.ticker_exact(symbol)
        return None if row is None else row.last


async def open_reading(
    port: int,
    *,
    trust: TlsTrust | None = None,
    host: str | None = None,
    cache: MarketCache | None = None,
    max_message_bytes: int = 1 << 20,
) -> Reading:
    """Connect, and give the socket to a reader."""
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    cache = cache or MarketCache()
    tap = FrameTap(cache, max_message_bytes=max_message_bytes)

    def noticed() -> None:
        reading.notices += 1

    def ended() -> None:
        reading.ends += 1

    stream = ReaderStream(
        tap, tcp.socket.detach(), on_notice=noticed, on_end=ended, trust=trust, host=host
    )
    reading = Reading(stream, cache, tap)
    return reading


async def until(condition: Callable[[], object]) -> None:
    """Look again and again; the test's own deadline ends it."""
    while not condition():  # noqa: ASYNC110 - what is waited for happens in other threads
        await trio.sleep(0.002)


def readers() -> int:
    """How many threads of readers this process has."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return threading.active_count()
    names = (name_of(task) for task in tasks.iterdir())
    return sum(name.startswith("krakked-reader") for name in names)


def name_of(task: Path) -> str:
    try:
        return (task / "comm").read_text()
    except OSError:  # it ended meanwhile
        return ""


def descriptors() -> int:
    """How many descriptors are open."""
    return sum(1 for _ in Path("/dev/fd").iterdir())
