"""Scaled integers and nanoseconds as the texts Kraken writes."""

from __future__ import annotations

import time

NS = 1_000_000_000
LOT_TEXT_DECIMALS = 8
"""Volumes carry eight digits on the wire, whatever the pair's lot_decimals."""


def fixed(value: int, decimals: int) -> str:
    """Write `value` / 10**decimals with exactly that many digits."""
    if decimals == 0:
        return str(value)
    sign = "-" if value < 0 else ""
    whole, part = divmod(abs(value), 10**decimals)
    return f"{sign}{whole}.{part:0{decimals}d}"


def padded(value: int, decimals: int, least: int) -> str:
    """Write like `fixed`, with zeros up to at least `least` digits (Ticker and Trades show 5)."""
    if decimals >= least:
        return fixed(value, decimals)
    return fixed(value * 10 ** (least - decimals), least)


def number(value: int, decimals: int) -> str:
    """Write a WebSocket number: at least one digit after the point, trailing zeros kept."""
    return fixed(value, decimals) if decimals else f"{value}.0"


def stamp(ns: int, places: int = 6) -> str:
    """Write unix nanoseconds as RFC 3339 in UTC with `places` digits and a Z."""
    seconds, rest = divmod(ns, NS)
    day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    if places == 0:
        return day + "Z"
    return f"{day}.{rest // 10 ** (9 - places):0{places}d}Z"
