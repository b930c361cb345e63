"""Closed bars out of one OHLC reply. Pure: the server's time is an argument.

Closed is decided by the clock, never by the place in the reply: open time + interval <= server now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from krakked.errors import Action, ServiceError
from krakked.market.bars import OHLCBar
from krakked.rest.wire import OHLCRow

REACH: Final = 720
"""Closed candles that OHLC gives at most, whatever `since` says.

Source: Kraken REST "Get OHLC Data": up to 720 of the most recent entries.
"""

NEWEST_WAITS_S: Final = 3.0
"""So long after its end the newest row of a reply is not yet taken for closed.

A row with a newer row behind it is over by Kraken's own account. The newest one may be a candle
that was still running when the reply was written: our knowledge of Kraken's clock is good to half a
second (its Time endpoint speaks in whole ones), and the servers in front hand out replies that are
up to 2 s old (measured: ``cache-control: public, max-age=2``). Such a candle would be kept without
its last trades for ever.
"""


class ClosedRows(msgspec.Struct, frozen=True, kw_only=True):
    """What one OHLC reply proves."""

    bars: tuple[OHLCBar, ...]
    """Closed bars, oldest first, each open time once."""
    covered: tuple[int, int] | None
    """First open time and end of the last closed bar; None without any."""


def read_closed(rows: Iterable[OHLCRow], step_s: int, server_now_s: float) -> ClosedRows:
    """Take the closed bars out of a reply.

    Args:
        rows: Rows in any order; of two with one open time the later wins.
        step_s: Interval in seconds.
        server_now_s: Kraken's time when the call was sent, unix seconds.

    Raises:
        ServiceError: A row holds something that is no finite number.

    Source: Kraken REST "Get OHLC Data": the last entry is for the current, not-yet-committed
    timeframe and is always present; a recorded reply shows that it may be late after a boundary.
    """
    by_time = {row.time: row for row in rows}
    times = sorted(by_time)
    newest = times[-1] if times else 0
    bars = tuple(
        _bar(by_time[time])
        for time in times
        if time + step_s + (NEWEST_WAITS_S if time == newest else 0.0) <= server_now_s
    )
    covered = (bars[0].time, bars[-1].time + step_s) if bars else None
    return ClosedRows(bars=bars, covered=covered)


def _bar(row: OHLCRow) -> OHLCBar:
    try:
        open_, high, low, close, vwap, volume = map(
            float, (row.open, row.high, row.low, row.close, row.vwap, row.volume)
        )
    except ValueError:
        open_ = high = low = close = vwap = volume = math.nan
    if not math.isfinite(open_ + high + low + close + vwap + volume):
        raise ServiceError(
            f"OHLC answered a candle that is none (open time {row.time}). Try again.",
            code="unreadable",
            endpoint="OHLC",
            retryable=True,
            action=Action.RETRY,
        )
    # Kraken fills intervals without trades with vwap "0.0", which is no price.
    return OHLCBar(
        row.time, open_, high, low, close, vwap if row.count else None, volume, row.count
    )
