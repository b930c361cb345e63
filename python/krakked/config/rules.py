"""What single settings may hold beyond their type. Pure: a value in, the expectation it misses out.

A rule answers None when the value is fine, else the words for "expected ...". Rules never quote the
value: a secret pasted into the wrong line must not reach a message.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

TIMEFRAMES: Final = ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w")
"""Labels that `market_data.ws.timeframes` may name."""


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
    if parts.scheme not in {secure, plain} or not host or port == 0:
        return expected
    if "@" in value or "?" in value or "#" in value:
        return f"{expected} without user, password, '?' and '#'"
    if not path_allowed and parts.path not in {"", "/"}:
        return f"{expected} with nothing after the host (paths are added by krakked)"
    if parts.scheme == plain and not is_loopback(host):
        return (
            f"expected {secure}://, since the host is not this machine ({plain} only for loopback)"
        )
    return None


def _rest_url(value: object) -> str | None:
    return check_url(str(value), secure="https", plain="http", path_allowed=False)


def _stream_url(value: object) -> str | None:
    return check_url(str(value), secure="wss", plain="ws", path_allowed=True)


def _number(
    low: float, high: float, *, unit: str, low_allowed: bool
) -> Callable[[object], str | None]:
    words = f"from {low:g}" if low_allowed else f"above {low:g}"

    def check(value: object) -> str | None:
        fits = (
            isinstance(value, int | float)
            and math.isfinite(value)
            and (value > low or (low_allowed and value == low))
            and value <= high
        )
        return None if fits else f"expected {unit} {words} and at most {high:g}"

    return check


def _timeframes(value: object) -> str | None:
    labels = value if isinstance(value, tuple) else ()
    if not all(label in TIMEFRAMES for label in labels):
        return f"expected labels out of {', '.join(TIMEFRAMES)}"
    if len(set(labels)) != len(labels):
        return "expected each label once"
    return None


def _names(value: object) -> str | None:
    names = value if isinstance(value, tuple) else ()
    return None if all(_is_name(name) for name in names) else "expected names such as XBTUSD"


def _name(value: object) -> str | None:
    return (
        None if _is_name(value) else "expected a short name of letters, digits, '_', '.', '-', '/'"
    )


def _is_name(value: object) -> bool:
    longest = 40  # the longest pair name known has 16 characters
    text = str(value)
    return 0 < len(text) <= longest and all(
        character.isascii() and (character.isalnum() or character in "_.-/") for character in text
    )


def _path(value: object) -> str | None:
    text = str(value)
    return None if text.strip() and text.isprintable() else "expected a directory path"


RULES: Final[dict[str, Callable[[object], str | None]]] = {
    "region.code": _name,
    "region.default_quote": _name,
    "universe.include_pairs": _names,
    "universe.exclude_pairs": _names,
    "universe.exclude_bases": _names,
    "universe.min_24h_volume_usd": _number(0, 1e15, unit="USD a day", low_allowed=True),
    "rest.base_url": _rest_url,
    "rest.public_calls_per_second": _number(0, 100, unit="calls a second", low_allowed=False),
    "rest.public_pair_calls_per_second": _number(0, 100, unit="calls a second", low_allowed=False),
    "rest.private_counter_max": _number(1, 1000, unit="a count", low_allowed=True),
    "rest.private_counter_decay_per_s": _number(0, 100, unit="counts a second", low_allowed=False),
    "rest.timeout_s": _number(0, 3600, unit="seconds", low_allowed=False),
    "market_data.ws.url": _stream_url,
    "market_data.ws.stale_tolerance_seconds": _number(0, 86_400, unit="seconds", low_allowed=False),
    "market_data.ws.timeframes": _timeframes,
    "market_data.ohlc_store.root_dir": _path,
}
"""Rule of each setting that has one, by dotted key."""
