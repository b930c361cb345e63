"""Addresses of servers: what they may look like, and which mean this machine. Pure.

A check answers None when the address is fine, else the words for "expected ...". Nothing here ever
quotes an address: user and password may stand in it.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


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
    if parts.scheme not in {secure, plain} or not host or port == 0 or not is_plain(value):
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


def is_plain(text: str) -> bool:
    """Tell whether a text is printable ASCII without spaces."""
    return text.isascii() and text.isprintable() and " " not in text
