"""One candle, and where it came from."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class OHLCBar(msgspec.Struct, frozen=True, gc=False):
    """A closed candle in the REST form: intervals without trades are filled (count 0, volume 0)."""

    time: int
    """Open time, unix seconds UTC."""
    open: float
    """First price, quote per base."""
    high: float
    """Highest price."""
    low: float
    """Lowest price."""
    close: float
    """Last price."""
    vwap: float | None
    """Volume-weighted average price; None when nothing traded or the source has none."""
    volume: float
    """Base units."""
    count: int
    """Number of trades."""


class Source(IntEnum):
    """Where a bar came from; a weaker source never replaces a stronger one (higher wins).

    The numbers are stored. Up to WEBSOCKET a bar is provisional: reads give it only when asked to.
    """

    PARTIAL = 0
    """At the edge of a file, which may lack trades of it: the last candle of any, the first one of
    a file of trades. Stored since format 2."""
    WEBSOCKET = 1
    ARCHIVE = 2
    TRADES = 3
    REST = 4
