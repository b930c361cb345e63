"""Which exchange a set of addresses leads to. Pure: addresses in, a short name out.

Candles, copies of the universe and the state that processes share belong to the exchange they came
from; the name keeps those of one out of the files of another.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

KRAKEN: Final = "kraken"
"""The name of all of Kraken's hosts."""

_KRAKEN_DOMAIN: Final = "kraken.com"
_STRANGE: Final = re.compile(r"[^a-z0-9.+-]")


def exchange_identity(rest_url: str, stream_url: str, *, told: str = "") -> str:
    """Name the exchange behind a REST and a stream address.

    All of Kraken's hosts are ``kraken``; any other host is its own name, with the port when one is
    given. When the two addresses lead to different hosts, both are named: such a mixture is an
    exchange of its own.

    Args:
        rest_url: `rest.base_url`.
        stream_url: `market_data.ws.url`.
        told: What the exchange is known to be, whatever the addresses say (a sandbox tells).

    Returns:
        Small letters, digits and ``. + - _``: fit for a file name.
    """
    if told:
        return _plain(told)
    rest_host, rest_name = _names(rest_url)
    stream_host, stream_name = _names(stream_url)
    if rest_host == stream_host:
        return rest_name
    return f"{rest_name}+{stream_name}"


def _names(url: str) -> tuple[str, str]:
    """Return the host, and the host with its port, of an address."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        host, port = "", None
    if host == _KRAKEN_DOMAIN or host.endswith(f".{_KRAKEN_DOMAIN}"):
        return KRAKEN, KRAKEN
    name = _plain(host) or "unknown"
    return name, name if port is None else f"{name}_{port}"


def _plain(text: str) -> str:
    return _STRANGE.sub("_", text.lower()).lstrip(".")
