"""What longer candles shorter ones can be put together to: `3m`, `12h`, `1w-mon`, `1M`. Pure.

A rule is no timeframe: Kraken makes candles of timeframes, we make those of rules. Everything is
UTC. Minutes, hours and days begin at multiples since 1970; weeks on the day that is named; months
on their first day.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from krakked._errors import ConfigError
from krakked._timeframes import ROWS, Timeframe, interval_s

DAY_S: Final = 86_400
_UNITS: Final = {"m": 60, "h": 3_600, "d": DAY_S}
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RULE: Final = re.compile(rf"([1-9][0-9]{{0,4}})(?:([mhdM])|w-({'|'.join(_DAYS)}))", re.ASCII)
_EXPECTED: Final = (
    "expected such as 3m, 2h, 12h, 3d, 1w-mon (weeks begin on a day: mon ... sun), 1M, 3M or 12M"
)
_EPOCH_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday


class ResampleRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule."""

    text: str
    """As it was written."""
    period_s: int
    """Length in seconds; 0 for months."""
    offset_s: int = 0
    """First second since 1970 at which a period begins, for weeks."""
    months: int = 0
    """Length in months; 0 for all others."""

    def edges(self, first_s: int, last_s: int) -> Iterator[int]:
        """Yield where periods begin, from the one that holds `first_s` to the one after `last_s`.

        >>> list(parse_rule("1M").edges(0, 40 * 86_400))
        [0, 2678400, 5097600]
        """
        if not self.months:
            start = first_s - (first_s - self.offset_s) % self.period_s
            while start <= last_s:
                yield start
                start += self.period_s
            yield start
            return
        moment = datetime.datetime.fromtimestamp(first_s, datetime.UTC)
        count = moment.year * 12 + moment.month - 1
        count -= count % self.months
        while True:
            start = calendar.timegm((count // 12, count % 12 + 1, 1, 0, 0, 0))
            yield start
            if start > last_s:
                return
            count += self.months


def parse_rule(rule: str) -> ResampleRule:
    """Read a rule.

    Raises:
        ConfigError: It is none; `key` is ``rule``.
    """
    given: object = rule  # callers without a type checker pass anything
    found = _RULE.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        hint = " Kraken's own weeks begin on a day that no source states: name one, 1w-mon."
        raise _wrong(rule, _EXPECTED, hint if given == "1w" else "")
    count, unit, day = int(found[1]), found[2], found[3]
    if day is not None:
        if count != 1:
            raise _wrong(rule, "expected one week, such as 1w-mon")
        offset = (_DAYS.index(day) - _EPOCH_WEEKDAY) % 7 * DAY_S
        return ResampleRule(text=rule, period_s=7 * DAY_S, offset_s=offset)
    if unit == "M":
        if 12 % count:
            raise _wrong(rule, "expected months that a year is made of: 1M, 2M, 3M, 4M, 6M or 12M")
        return ResampleRule(text=rule, period_s=0, months=count)
    return ResampleRule(text=rule, period_s=count * _UNITS[unit])


def _wrong(rule: object, expected: str, hint: str = "") -> ConfigError:
    return ConfigError(f"rule is {rule!r:.40}; {expected}.{hint}", key="rule")


def fitting(rule: ResampleRule) -> list[Timeframe]:
    """Return the timeframes that the rule's candles are made of, the longest first.

    >>> fitting(parse_rule("12h"))
    ['4h', '1h', '30m', '15m', '5m', '1m']
    """
    longest_s = DAY_S if rule.months or rule.offset_s else rule.period_s
    return [
        row.label for row in reversed(ROWS) if row.aligned and longest_s % (row.minutes * 60) == 0
    ]


def check_fits(rule: ResampleRule, timeframe: str) -> int:
    """Return the seconds of a timeframe whose candles the rule's are made of whole.

    Raises:
        UnknownTimeframeError: No such timeframe.
        ConfigError: Its candles do not begin where the rule's do.
    """
    step_s = interval_s(timeframe)
    fits = fitting(rule)
    if timeframe not in fits:
        raise ConfigError(
            f"Candles of {rule.text} are not made of whole ones of {timeframe}. Use {fits[0]}.",
            key="timeframe",
        )
    return step_s
