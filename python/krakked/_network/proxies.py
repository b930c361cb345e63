"""Proxies: what an address of one may look like. Pure.

Nothing here ever quotes an address: user and password may stand in it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from krakked._errors import ConfigError
from krakked._network.addresses import is_plain

DIRECT: Final = "direct"
"""What `network.proxy` says when no proxy is wanted, whatever the environment says."""

PROXY_EXPECTED: Final = (
    "expected a proxy such as http://host:3128, https://host:443 or socks5://host:1080, perhaps "
    f"with user:password@ before the host (@ : / in them written as %40 %3A %2F), or {DIRECT}"
)

_PROXY_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080}
_SOCKS_NAMES: Final = {"socks", "socks5", "socks5h"}  # names always travel to the proxy


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
    if scheme not in _PROXY_PORTS or not host or port == 0 or not is_plain(text):
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
