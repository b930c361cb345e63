"""Timeframes: one row each, and everything else about them follows from it. Pure."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from krakked._errors import UnknownTimeframeError

Timeframe = Literal["1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"]
"""Label of a candle interval."""


class TimeframeRow(NamedTuple):
    """What has to be known of a timeframe."""

    label: Timeframe
    """As users write it."""
    minutes: int
    """Its interval, as Kraken names it. Source: "Get OHLC Data", parameter `interval`."""
    partition: Literal["month", "year", "all"]
    """What one file of the store holds: so much that an append stays cheap."""
    aligned: bool = True
    """Whether candles open at multiples of the interval since 1970. Where no source confirms it,
    nothing but Kraken itself ever builds such a candle."""


ROWS: Final = (
    TimeframeRow("1m", 1, "month"),
    TimeframeRow("5m", 5, "year"),
    TimeframeRow("15m", 15, "year"),
    TimeframeRow("30m", 30, "year"),
    TimeframeRow("1h", 60, "all"),
    TimeframeRow("4h", 240, "all"),
    TimeframeRow("1d", 1440, "all"),
    TimeframeRow("1w", 10080, "all", aligned=False),
)
"""All timeframes, the shortest first; the labels stand in `Timeframe` too."""

TIMEFRAMES: Final[dict[str, TimeframeRow]] = {row.label: row for row in ROWS}
MINUTES: Final[dict[str, int]] = {row.label: row.minutes for row in ROWS}
"""Label to interval in minutes."""
LABELS: Final[dict[int, Timeframe]] = {row.minutes: row.label for row in ROWS}
"""Interval in minutes to label."""
TRADE_TIMEFRAMES: Final = tuple(row.label for row in ROWS if row.aligned)
"""Labels of the candles that may be built from trades."""
ALIGNED_S: Final = frozenset(60 * row.minutes for row in ROWS if row.aligned)
"""Intervals in seconds whose candles open at multiples of them."""


def parse_timeframe(timeframe: str) -> int:
    """Return the interval of a timeframe label in minutes.

    Raises:
        UnknownTimeframeError: Not one of the labels.
    """
    given: object = timeframe  # callers without a type checker pass anything
    minutes = MINUTES.get(given) if isinstance(given, str) else None
    if minutes is None:
        raise UnknownTimeframeError(
            f"Unknown timeframe {timeframe!r:.60}. Use one of {', '.join(MINUTES)}.",
            timeframe=str(timeframe),
        )
    return minutes


def interval_s(timeframe: str) -> int:
    """Return the interval of a timeframe label in seconds."""
    return parse_timeframe(timeframe) * 60
