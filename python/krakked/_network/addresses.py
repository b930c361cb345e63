"""Addresses of servers and proxies: what they may look like, and which mean this machine. Pure.

A check answers None when the address is fine, else the words for "expected ...". Nothing here ever
quotes an address: user and password may stand in it.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from krakked._errors import ConfigError

DIRECT: Final = "direct"
"""What `network.proxy` says when no proxy is wanted, whatever the environment says."""

PROXY_EXPECTED: Final = (
    "expected a proxy such as http://host:3128, https://host:443 or socks5://host:1080, perhaps "
    f"with user:password@ before the host (@ : / in them written as %40 %3A %2F), or {DIRECT}"
)

_PROXY_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080}
_SOCKS_NAMES: Final = {"socks", "socks5", "socks5h"}  # names always travel to the proxy


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine: the one rule for everybody.

    Names below ``.localhost`` never leave the machine (RFC 6761, 6.3); `SystemNetwork` takes them
    to loopback without asking anybody for their address.
    """
    if is_local_name(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_local_name(host: str) -> bool:
    """Tell whether a host is ``localhost`` or a name below it."""
    name = host.lower()
    return name == "localhost" or name.endswith(".localhost")


def check_url(value: str, *, secure: str, plain: str, path_allowed: bool) -> str | None:
    """Check a server address: encrypted unless it is this machine, and nothing secret inside.

    Args:
        value: The address.
        secure: Scheme for any host (``https``, ``wss``).
        plain: Scheme allowed for loopback hosts only (``http``, ``ws``).
        path_allowed: Whether anything may follow the host (signed paths start at ``/0/``).
    """
    expected = f"expected an address such as {secure}://host"
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        return expected
    if parts.scheme not in {secure, plain} or not host or port == 0 or not _is_plain(value):
        return expected
    # Whether a certificate covers a name with a dot at its end, TLS libraries disagree.
    if "@" in value or "?" in value or "#" in value or host.endswith("."):
        return f"{expected} without user, password, '?', '#' and a dot at the host's end"
    if not path_allowed and parts.path not in {"", "/"}:
        return f"{expected} with nothing after the host (paths are added by krakked)"
    if parts.scheme == plain and not is_loopback(host):
        return (
            f"expected {secure}://, since the host is not this machine ({plain} only for loopback)"
        )
    return None


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy. Its text form, which messages use, holds neither user nor password."""

    scheme: str
    """``http`` or ``https`` (both speak CONNECT), or ``socks5``."""
    host: str
    """Name or address, without brackets."""
    port: int
    """TCP port."""
    user: bytes = b""
    """User name; empty when none is needed."""
    password: bytes = b""
    """Password."""
    source: str = ""
    """The setting or variable that names it."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Proxy({self})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("address", str(self))]


def parse_proxy(value: str, *, key: str) -> Proxy:
    """Read the address of a proxy; a value without a scheme means ``http``.

    Args:
        value: The address; user and password percent-encoded where they hold ``:@/``.
        key: The setting or variable it comes from, for messages.

    Raises:
        ConfigError: It is none; the message never shows it.
    """
    proxy = _read_proxy(value, key)
    if proxy is None:
        raise ConfigError(f"{key}: {PROXY_EXPECTED}.", key=key)
    return proxy


def check_proxy(value: str) -> str | None:
    """Check a value of `network.proxy`."""
    return None if value == DIRECT or _read_proxy(value, "") else PROXY_EXPECTED


def _read_proxy(value: str, source: str) -> Proxy | None:
    text = value.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    scheme = "socks5" if parts.scheme in _SOCKS_NAMES else parts.scheme
    if scheme not in _PROXY_PORTS or not host or port == 0 or not _is_plain(text):
        return None
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return None
    user, password = (unquote_to_bytes(part or "") for part in (parts.username, parts.password))
    if len(user) > 255 or len(password) > 255:  # RFC 1929: one byte counts each
        return None
    return Proxy(
        scheme=scheme,
        host=host,
        port=port or _PROXY_PORTS[scheme],
        user=user,
        password=password,
        source=source,
    )


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
