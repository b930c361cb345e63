"""Which bars can be no bars of a series. Pure.

The rule for one bar stands here, for what comes in bar by bar and may be of any type (the stream,
a journal, a user's program); `columns.check` is the same rule over whole columns.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Final, NamedTuple, TypeGuard

from krakked._market.bars import MOST_TRADES, OHLCBar
from krakked._market.store.layout import Series, is_pair
from krakked._market.times import FAR_S
from krakked._public import public

_AMOUNTS: Final = ("open", "high", "low", "close", "volume")


@public
class RefusedBar(NamedTuple):
    """A bar that was not stored."""

    pair: str
    """Pair, as it was given."""
    bar: OHLCBar
    """The bar."""
    why: str
    """What is wrong with it."""


def why_unfit(bar: object, series: Series) -> str | None:
    """Say what keeps a bar out of a series; None when nothing does."""
    if not isinstance(bar, OHLCBar):
        return "it is no OHLCBar"
    if not is_pair(series.pair):
        return "its pair has no name"
    return _problem_of_time(bar.time, series) or _problem_of_numbers(bar)


def _problem_of_time(time_s: object, series: Series) -> str | None:
    if not _is_whole(time_s) or not 0 <= time_s < FAR_S:
        return "its open time is not in whole unix seconds"
    if series.aligned and time_s % series.step_s:
        return f"its open time is no multiple of {series.step_s} s"
    return None


def _problem_of_numbers(bar: OHLCBar) -> str | None:
    if not _is_whole(bar.count) or not 0 <= bar.count <= MOST_TRADES:
        return "its count of trades is none"
    for name in _AMOUNTS:
        if not _is_amount(getattr(bar, name)):
            return f"its {name} is no finite number from 0 on"
    if bar.vwap is not None and not _is_amount(bar.vwap):
        return "its vwap is neither none nor a finite number from 0 on"
    if not bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high:
        return "its low, open, close and high contradict each other"
    return None


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_amount(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        number = float(value)
    except OverflowError:
        return False
    return math.isfinite(number) and number >= 0
