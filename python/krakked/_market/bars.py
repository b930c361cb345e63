"""One candle, and where it came from."""

import math
from enum import IntEnum
from typing import Final

import msgspec

from krakked._core import ClosedCandle, LiveCandle
from krakked._market.times import FAR_S
from krakked._public import public
from krakked._rest.models import OHLCRow
from krakked._timeframes import ALIGNED_S

MOST_TRADES: Final = 2**63 - 1
"""Largest count of trades that can be stored."""

VWAP_SLACK: Final = 1e-6
"""So far beyond low or high, as a part of it, a vwap may lie: it may be rounded otherwise."""


@public
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
    """Volume-weighted average price; None when nothing traded, or the source has none or one that
    lies outside of the candle."""
    volume: float
    """Base units."""
    count: int
    """Number of trades."""


@public
class Source(IntEnum):
    """Where a bar came from; a weaker source never replaces a stronger one (higher wins).

    The numbers are stored. Up to WEBSOCKET a bar is provisional: reads give it only when asked to.
    """

    PARTIAL = 0
    """At the edge of a file, which may lack trades of it: the last candle of any, the first one of
    a file of trades. Stored since format 2, out of the folder that other programs read."""
    WEBSOCKET = 1
    """The live stream."""
    ARCHIVE = 2
    """Kraken's downloadable OHLCVT files."""
    TRADES = 3
    """Made of the trades that REST gave, or of a file of trades."""
    REST = 4
    """Kraken's OHLC."""


def bar_of_row(row: OHLCRow, step_s: int) -> OHLCBar | None:
    """Make a bar of a row of REST's OHLC; None for a row that can be no candle.

    The one place where this is done: what passes here may be stored and handed out. A vwap that
    lies outside of low to high is none.

    Args:
        row: The row.
        step_s: Interval in seconds.
    """
    if not 0 <= row.time < FAR_S or (step_s in ALIGNED_S and row.time % step_s):
        return None
    try:
        numbers = tuple(map(float, (row.open, row.high, row.low, row.close, row.vwap, row.volume)))
    except ValueError:
        return None
    open_, high, low, close, vwap, volume = numbers
    if not all(map(math.isfinite, numbers)) or volume < 0 or not 0 <= row.count <= MOST_TRADES:
        return None
    if not 0 < low <= min(open_, close) or not max(open_, close) <= high:
        return None
    # Kraken fills intervals without trades with vwap "0.0", which is no price.
    inside = low * (1 - VWAP_SLACK) <= vwap <= high * (1 + VWAP_SLACK)
    average = vwap if row.count and inside else None
    return OHLCBar(row.time, open_, high, low, close, average, volume, row.count)


def live_bar(candle: LiveCandle | ClosedCandle) -> OHLCBar:
    """Make a bar of what the live cache holds."""
    return OHLCBar(
        time=candle.open_s,
        open=candle.open,
        high=candle.high,
        low=candle.low,
        close=candle.close,
        vwap=candle.vwap,
        volume=candle.volume,
        count=candle.trades,
    )
