"""Closed bars out of one OHLC reply. Pure: the server's time is an argument.

Closed is decided by the clock, never by the place in the reply: open time + interval <= server now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from krakked.market.bars import OHLCBar, bar_of_row
from krakked.market.store.coverage import Range, union
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


SETTLED_S: Final = 900.0
"""So long after its end Kraken may revise a candle; one fetched earlier is asked for once more.

Source: ccxt/ccxt#6742 (a minute read one minute and five minutes after its end differed), and
candles of 15 minutes seen to change within two minutes of their end.
"""


class ClosedRows(msgspec.Struct, frozen=True, kw_only=True):
    """What one OHLC reply proves."""

    bars: tuple[OHLCBar, ...]
    """Closed bars, oldest first, each open time once."""
    covered: tuple[Range, ...]
    """What is answered for, in order: (first open time, end of the last closed bar). One range,
    unless rows had to be refused: what those would have said stays unknown."""
    unsettled_from: int | None
    """Open time of the first bar that Kraken may still revise; None when all are settled."""
    refused: int
    """Rows that can be no candles."""


def read_closed(
    rows: Iterable[OHLCRow], step_s: int, server_now_s: float, *, unfit: int = 0
) -> ClosedRows:
    """Take the closed bars out of a reply.

    Args:
        rows: Rows in any order; of two with one open time the later wins.
        step_s: Interval in seconds.
        server_now_s: Kraken's time when the call was sent, unix seconds.
        unfit: Rows of the reply that could not even be decoded.

    Source: Kraken REST "Get OHLC Data": the last entry is for the current, not-yet-committed
    timeframe and is always present; a recorded reply shows that it may be late after a boundary.
    """
    by_time: dict[int, OHLCBar] = {}
    refused = unfit
    for row in rows:
        bar = bar_of_row(row, step_s)
        if bar is None:
            refused += 1
        else:
            by_time[bar.time] = bar
    times = sorted(by_time)
    newest = times[-1] if times else 0
    bars = tuple(
        by_time[time]
        for time in times
        if time + step_s + (NEWEST_WAITS_S if time == newest else 0.0) <= server_now_s
    )
    young = (bar.time for bar in bars if bar.time + step_s + SETTLED_S > server_now_s)
    return ClosedRows(
        bars=bars,
        covered=_answered(bars, step_s, whole=refused == 0),
        unsettled_from=next(young, None),
        refused=refused,
    )


def _answered(bars: Sequence[OHLCBar], step_s: int, *, whole: bool) -> tuple[Range, ...]:
    if not bars:
        return ()
    if whole:
        return ((bars[0].time, bars[-1].time + step_s),)
    # A refused row may have been any that is not there: each bar answers for itself alone.
    return tuple(union((bar.time, bar.time + step_s) for bar in bars))
