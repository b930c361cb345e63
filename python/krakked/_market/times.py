"""Times as users give them: one function turns them into unix seconds, or refuses them. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from numbers import Real
from typing import Final, TypeAlias

from krakked._errors import InvalidTimeError

Time: TypeAlias = float | datetime
"""Unix seconds, or an aware datetime."""

FAR_S: Final = 253_402_300_800
"""10000-01-01 UTC: no bar opens later, and what is larger is counted in another unit."""

SOON_S: Final = 8 * 86_400
"""How far ahead a time may lie that should be past: the next candle of a week, and a day."""

_UNITS: Final = (
    (1e14, "milliseconds", 1_000),
    (1e17, "microseconds", 1_000_000),
    (1e20, "nanoseconds", 1_000_000_000),
)


def unix_seconds(time: object, name: str, *, now_s: float | None = None) -> int:
    """Return a time in whole unix seconds: the first second that does not lie before it.

    Candles open at whole seconds, so nothing is lost: "from 0.5 on" means from 1 on.

    Args:
        time: Unix seconds (int, float or another real number), or an aware `datetime`.
        name: What it is called where the user wrote it, for messages.
        now_s: The present time in unix seconds, when `time` cannot lie after it (but for the next
            candle, see `SOON_S`).

    Returns:
        Seconds from 0 up to the year 9999.

    Raises:
        InvalidTimeError: It is no such time; the message says which unit it seems to be in.
    """
    if isinstance(time, datetime):
        if time.tzinfo is None or time.utcoffset() is None:
            raise _refusal(name, time, "it has no time zone; use datetime.now(UTC) or the like")
        given: float = time.timestamp()
    elif isinstance(time, bool) or not isinstance(time, Real):
        raise _refusal(name, time, "expected unix seconds or an aware datetime")
    else:
        try:
            given = float(time)
        except OverflowError:
            given = math.inf
    if not math.isfinite(given):
        raise _refusal(name, time, "it is no point in time")
    if given < 0:
        raise _refusal(name, time, "it lies before 1970; unix seconds begin there at 0")
    if given >= FAR_S:
        raise _refusal(name, time, _unit(given))
    if now_s is not None and given > now_s + SOON_S:
        raise _refusal(name, time, f"it lies in the future, now is {now_s:.0f}")
    return math.ceil(given)


def utc_minute(moment_s: int) -> str:
    """Write a time for people, to the minute, in UTC: ``2026-11-01 00:02``.

    The end of a partition that holds all years lies beyond what a calendar holds.
    """
    if not 0 <= moment_s < FAR_S:
        return "before 1970" if moment_s < 0 else "the end"
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M")


def _unit(given: float) -> str:
    for limit, unit, factor in _UNITS:
        if given < limit:
            return f"these seem to be {unit}; unix seconds are wanted: divide by {factor:,}"
    return "no unit of time makes sense of it; unix seconds are wanted"


def _refusal(name: str, time: object, why: str) -> InvalidTimeError:
    shown = repr(time)[:60]
    return InvalidTimeError(f"{name}={shown}: {why}.", time=shown)
