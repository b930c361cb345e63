"""Was it silence, or did nobody trade? REST's Ticker is asked where the stream itself cannot tell.

A pair's ticker tells of its candles, and its candles of its ticker; only where both are silent REST
has to. A silent candle subscription proves nothing: most pairs do not trade every minute. Two looks
at the all-pairs Ticker, one call each, tell: a pair that traded between them while our data of it
is older than the first look is mute.

The same looks audit the candles: Ticker counts the trades since midnight, so between two looks a
pair's candles must have told of as many trades at least. Where they did not, a short silence went
by unnoticed (a ticker cannot show every trade: its 24 hours lose old ones while they gain new), and
REST's candles of that time are compared. The judging is pure; `Crosscheck.look` is the thin
shell.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from krakked._errors import KrakkedError
from krakked._market.stream.loglimit import LogLimiter
from krakked._market.stream.requests import SubscriptionKey
from krakked._network.clock import Clock

EVERY_S: Final = 120.0
"""Distance of the looks: a mute subscription is found within two of them, in under 5 minutes."""
SILENT_S: Final = 120.0
"""Data this old makes a subscription worth a look."""
SLACK_S: Final = 15.0
"""Data may come so much earlier than REST's cached answer knows of the trade."""
ROWS_LATE_S: Final = 20.0
"""Candle rows may come so much later than REST knows of the trade."""
TOO_FAR_S: Final = 900.0
"""Looks further apart are not compared."""

log = logging.getLogger("krakked.stream")


class TickerLike(Protocol):
    """One pair of REST's Ticker answer. Source: Kraken REST "Get Ticker Information"."""

    @property
    def c(self) -> Sequence[str]:
        """Last trade: price, volume."""
        ...

    @property
    def t(self) -> Sequence[int]:
        """Number of trades: today, last 24 hours."""
        ...


class TickerSource(Protocol):
    """Where the looks come from; `krakked._rest.client.RestClient` is one."""

    async def ticker(self) -> Mapping[str, TickerLike]:
        """Return all pairs by their AssetPairs key."""
        ...


class Look(msgspec.Struct, frozen=True):
    """What Ticker said of each pair at one time."""

    at_s: float
    """Elapsed seconds just before the call."""
    last: dict[str, tuple[str, ...]]
    """Last trade by AssetPairs key."""
    today: dict[str, int]
    """Trades since midnight UTC by AssetPairs key."""
    told: dict[str, int] = {}
    """Trades that the candles had told of just before the call, by AssetPairs key."""
    told_later: dict[str, int] = {}
    """The same after rows that were on their way have come."""


class Silent(msgspec.Struct, frozen=True):
    """A live subscription that has brought nothing for a while."""

    key: SubscriptionKey
    raw_name: str
    """AssetPairs key of its pair."""
    data_s: float
    """Elapsed seconds of its newest data."""


def traded_between(raw_name: str, before: Look, after: Look) -> bool:
    """Whether a pair traded between two looks; the reset of the count at midnight is none."""
    if raw_name not in before.last or raw_name not in after.last:
        return False
    more = after.today.get(raw_name, 0) > before.today.get(raw_name, 0)
    return more or after.last[raw_name] != before.last[raw_name]


def find_mute(silent: Iterable[Silent], before: Look, after: Look) -> list[SubscriptionKey]:
    """Return the silent subscriptions whose pair traded: those are mute."""
    if after.at_s - before.at_s > TOO_FAR_S:
        return []
    return [
        one.key
        for one in silent
        if one.data_s < before.at_s - SLACK_S and traded_between(one.raw_name, before, after)
    ]


class TradeAudit:
    """Finds pairs whose candles told of fewer trades than there were.

    What the candles have told minus what Ticker counts is the same at any time, but for rows that
    are on their way: told just before the call it is too little, told when late rows have come it
    is too much. So it is at least the greatest of the first kind; once the second kind falls below
    that, trades are missing, and they happened after that look.
    """

    def __init__(self) -> None:
        self._least: dict[str, tuple[int, float, int]] = {}  # difference, at_s, trades today

    def check(self, look: Look) -> dict[str, float]:
        """Return the pairs that lack trades, and the elapsed time since which."""
        short: dict[str, float] = {}
        for name, later in look.told_later.items():
            today = look.today.get(name)
            if today is None or name not in look.told:
                continue
            least = (look.told[name] - today, look.at_s, today)
            known = self._least.get(name)
            if known is not None and today >= known[2]:  # else it is another day
                if later - today < known[0]:
                    short[name] = known[1]
                elif known[0] > least[0]:
                    least = (known[0], known[1], today)
            self._least[name] = least
        return short


class Comparison(msgspec.Struct, frozen=True):
    """What two looks say of the stream."""

    mute: list[SubscriptionKey]
    """Subscriptions that bring nothing although their pairs trade."""
    short: dict[str, float]
    """Pairs whose candles lack trades, by AssetPairs key, with the elapsed time since which."""


class Crosscheck:
    """Looks at REST, and compares with what the stream brought.

    Args:
        rest: Where the looks come from.
        clock: Elapsed time.
        limiter: Keeps an outage from filling the log.
    """

    def __init__(self, rest: TickerSource, clock: Clock, limiter: LogLimiter) -> None:
        self._rest = rest
        self._clock = clock
        self._limiter = limiter
        self._before: Look | None = None
        self._audit = TradeAudit()

    def forget(self) -> None:
        """Note that nothing is streamed: the next look is the first again."""
        self._before = None

    async def look(self, told: dict[str, int]) -> Look | None:
        """Ask REST once; None when that is not possible.

        Args:
            told: How many trades the candles of each pair have told of so far, by AssetPairs key.
        """
        at_s = self._clock.elapsed_ns() / 1e9
        try:
            tickers = await self._rest.ticker()
        except KrakkedError as error:
            more = self._limiter.admit("crosscheck", at_s)
            if more is not None:
                name = type(error).__name__
                log.info("cross-check with REST not possible: %s%s", name, more)
            return None
        return Look(
            at_s,
            {name: tuple(info.c) for name, info in tickers.items()},
            {name: int(info.t[0]) for name, info in tickers.items() if info.t},
            told,
        )

    def judge(self, look: Look, told_later: dict[str, int], silent: list[Silent]) -> Comparison:
        """Compare a look with the one before.

        Args:
            look: The newest, taken `ROWS_LATE_S` ago.
            told_later: As `look`'s ``told``, now that late rows have come.
            silent: Live subscriptions whose data is older than `SILENT_S`.
        """
        look = msgspec.structs.replace(look, told_later=told_later)
        before, self._before = self._before, look
        mute = find_mute(silent, before, look) if before is not None else []
        return Comparison(mute, self._audit.check(look))
