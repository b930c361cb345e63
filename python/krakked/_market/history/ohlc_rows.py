"""Closed bars out of one OHLC reply. Pure: the server's time is an argument.

Closed is decided by the clock, never by the place in the reply: open time + interval <= server now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from krakked._market.bars import OHLCBar, bar_of_row
from krakked._market.store.coverage import Range, union
from krakked._rest.models import KEPT_S, OHLC_ROWS, OHLCRow

ABSENT_S: Final = 60.0
"""So long after its end a candle may not be there yet without being missing, unless there is a
newer one. Our own measure: answers are up to 2 s old, and a new candle was seen to be late."""

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
    unless rows are not there or had to be refused: what those would have said stays unknown."""
    unsettled_from: int | None
    """Open time of the first bar that Kraken may still revise; None when all are settled."""
    refused: int
    """Rows that can be no candles of the interval, or lie out of OHLC's reach."""
    without_vwap: int = 0
    """Candles whose vwap lies outside of them, and was left out."""
    contradicted: int = 0
    """Candles that the reply has twice, and not alike: the later counts."""
    newest_s: int | None = None
    """Open time of the newest candle that has begun, closed or not: what opens before is over."""


def read_closed(
    rows: Iterable[OHLCRow], step_s: int, server_now_s: float, *, unfit: int = 0
) -> ClosedRows:
    """Take the closed bars out of a reply.

    Args:
        rows: Rows in any order; of two with one open time the later wins.
        step_s: Interval in seconds.
        server_now_s: Kraken's time when the call was sent, unix seconds. Rows that OHLC cannot
            reach from there are refused.
        unfit: Rows of the reply that could not even be decoded.

    Source: Kraken REST "Get OHLC Data": the last entry is for the current, not-yet-committed
    timeframe and is always present; a recorded reply shows that it may be late after a boundary.
    """
    rows = tuple(rows)
    if not unfit and _of_another_interval({row.time for row in rows}, step_s):
        rows, unfit = (), len(rows)
    by_time: dict[int, OHLCBar] = {}
    refused, odd_vwaps, contradicted = unfit, set[int](), set[int]()
    # One candle more than OHLC has, while it does not show the new running one yet.
    reach_s = server_now_s - (OHLC_ROWS + 2) * step_s
    for row in rows:
        bar = bar_of_row(row, step_s)
        if bar is None or not reach_s < bar.time <= server_now_s + step_s:
            refused += 1
            continue
        if by_time.get(bar.time, bar) != bar:
            contradicted.add(bar.time)
        by_time[bar.time] = bar
        if bar.count and bar.vwap is None and float(row.vwap):
            odd_vwaps.add(bar.time)
    times = sorted(by_time)
    # A row with a newer row behind it is over by Kraken's own account. The newest one may have been
    # running when the reply was written: it would be kept without its last trades for ever.
    newest = max((time for time in times if time <= server_now_s), default=None)
    bars = tuple(
        by_time[time]
        for time in times
        if time + step_s + (KEPT_S if time == newest else 0.0) <= server_now_s
    )
    young = (bar.time for bar in bars if bar.time + step_s + SETTLED_S > server_now_s)
    return ClosedRows(
        bars=bars,
        covered=_answered(bars, step_s),
        unsettled_from=next(young, None),
        refused=refused,
        without_vwap=len(odd_vwaps),
        contradicted=len(contradicted),
        newest_s=newest,
    )


def _of_another_interval(opens: set[int], step_s: int) -> bool:
    """Whether of rows (three at least) none opens one interval after the one before."""
    times = sorted(opens)
    return len(times) > 2 and all(after - time != step_s for time, after in pairwise(times))


def _answered(bars: Sequence[OHLCBar], step_s: int) -> tuple[Range, ...]:
    """Join what the bars say: each answers for itself alone.

    REST sends a row for an interval without trades as well (recorded: 216 of 721), so where one is
    not there, it is no answer: the row may be rubbish, or those around it of another interval.
    """
    return tuple(union((bar.time, bar.time + step_s) for bar in bars))
