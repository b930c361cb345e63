"""Candle intervals: the labels users write and the minutes Kraken speaks."""

from __future__ import annotations

from typing import Final, Literal

from krakked._errors import UnknownTimeframeError

Timeframe = Literal["1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"]
"""Label of a candle interval."""

MINUTES: Final[dict[str, int]] = {
    "1m": 1,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "4h": 240,
    "1d": 1440,
    # From REST only: the alignment of weekly candles is not confirmed by any source, so nothing
    # but Kraken itself ever builds one.
    "1w": 10080,
}
"""Label to interval in minutes. Source: Kraken REST "Get OHLC Data", parameter `interval`."""

LABELS: Final[dict[int, str]] = {minutes: label for label, minutes in MINUTES.items()}
"""Interval in minutes to label."""


def parse_timeframe(timeframe: str) -> int:
    """Give the interval of a timeframe label in minutes.

    Raises:
        UnknownTimeframeError: Not one of the labels.
    """
    given: object = timeframe  # callers without a type checker pass anything
    minutes = MINUTES.get(given) if isinstance(given, str) else None
    if minutes is None:
        raise UnknownTimeframeError(
            f"Unknown timeframe {timeframe!r}. Use one of {', '.join(MINUTES)}.",
            timeframe=str(timeframe),
        )
    return minutes


def interval_s(timeframe: str) -> int:
    """Give the interval of a timeframe label in seconds."""
    return parse_timeframe(timeframe) * 60
