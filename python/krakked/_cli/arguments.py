"""What options may hold: each function reads one kind of value, for argparse's `type=`."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Final

from krakked._market.arguments import MOST_WORKERS
from krakked._market.times import FAR_S

_YEAR_S: Final = 366 * 86_400


def duration(text: str) -> float:
    """Read a number of seconds that one can wait: not negative, at most a year."""
    seconds = _number(text)
    if not 0 <= seconds <= _YEAR_S:
        raise ArgumentTypeError(f"{text} is no number of seconds from 0 to a year")
    return seconds


def factor(text: str) -> float:
    """Read a factor above 0."""
    value = _number(text)
    if not 0 < value <= 1e6:
        raise ArgumentTypeError(f"{text} is no factor above 0 and up to a million")
    return value


def port(text: str) -> int:
    """Read a TCP port; 0 takes any free one."""
    return _whole(text, 0, 65_535, "is no port from 0 to 65535")


def descriptor(text: str) -> int:
    """Read the number of an open file."""
    return _whole(text, 0, 2**31 - 1, "is no file descriptor")


def seed(text: str) -> int:
    """Read the seed of a market: a whole number from 0."""
    return _whole(text, 0, 2**53 - 1, "is no whole number from 0")


def count(text: str) -> int:
    """Read how many candles are wanted."""
    return _whole(text, 1, 100_000_000, "is no whole number from 1 to 100,000,000")


def workers(text: str) -> int:
    """Read how many processes share the work."""
    return _whole(text, 1, MOST_WORKERS, f"is no whole number from 1 to {MOST_WORKERS}")


def moment(text: str) -> float:
    """Read a date (UTC) or unix seconds."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text)
            seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            seconds = math.nan
    if not 0 <= seconds < FAR_S:
        raise ArgumentTypeError(
            f"{text or 'an empty value'} is neither a date nor unix seconds"
            + (" (milliseconds? divide by 1,000)" if FAR_S <= seconds < 1_000 * FAR_S else "")
        )
    return seconds


def _whole(text: str, least: int, most: int, complaint: str) -> int:
    value = _number(text)
    if not (least <= value <= most and value.is_integer()):
        raise ArgumentTypeError(f"{text} {complaint}")
    return int(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
