"""Waiting until pairs are live, or saying for each why it is not."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Protocol

import trio

from krakked._errors import (
    MarketDataError,
    NoDataYetError,
    NotLiveError,
    SubscriptionRefusedError,
)
from krakked._market.arguments import seconds_of
from krakked._market.stream.backoff import BUDGET_ATTEMPTS
from krakked._market.stream.channels import OHLC, TICKER
from krakked._market.stream.requests import SubscriptionKey, SubscriptionState
from krakked._market.stream.statistics import ConnectionState
from krakked._timeframes import LABELS, Timeframe, parse_timeframe

NAMED: Final = 5
"""Pairs whose errors the message of all spells out."""


class WatchedFeed(Protocol):
    """What the wait needs to know."""

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Streamed timeframes."""
        ...

    def resolve(self, pair: str) -> str:
        """Return the canonical name; raises `UnknownPairError`."""
        ...

    def symbol_of(self, canonical: str) -> str | None:
        """Return the symbol of a streamed pair, or None."""
        ...

    def subscription(self, key: SubscriptionKey) -> tuple[SubscriptionState, str | None]:
        """Return a subscription's state and reason."""
        ...

    def retry_after_s(self, key: SubscriptionKey) -> float | None:
        """Return the seconds until a refused subscription is asked for again; None = never."""
        ...

    def obstacle(self, key: SubscriptionKey) -> str:
        """Return why a subscription brings nothing yet."""
        ...

    async def wait_state(self) -> None:
        """Wait until a state may have changed."""
        ...


def verdict(feed: WatchedFeed, pair: str) -> MarketDataError | bool:
    """Return True when a pair is live, False when not yet, or why it is not.

    No wait will mend the error but where `SubscriptionRefusedError.retry_after_s` says so.
    """
    try:
        canonical = feed.resolve(pair)
    except MarketDataError as error:
        return error
    symbol = feed.symbol_of(canonical)
    if symbol is None:
        return NoDataYetError(f"{canonical} is not streamed.", pair=canonical)
    live = True
    for key in _keys(feed, symbol):
        state, reason = feed.subscription(key)
        if state is SubscriptionState.REFUSED:
            return refusal(key, canonical, reason, feed.retry_after_s(key))
        live = live and state in _enough(key)
    return live


def obstacle(
    state: SubscriptionState,
    connection: ConnectionState,
    last: str | None,
    budget_wait_s: float | None = None,
) -> str:
    """Return why a subscription brings nothing yet, in words.

    Args:
        state: Of the subscription.
        connection: Of the connection that carries it.
        last: How that connection ended the last time, or None.
        budget_wait_s: Seconds until the connect budget allows an attempt; None if it does now.
    """
    if connection is ConnectionState.CONNECTING:
        return "the connection is being made" + (f", the last one ended: {last}" if last else "")
    if connection is not ConnectionState.CONNECTED:
        if budget_wait_s is not None:
            return f"not connected: {spent_words(budget_wait_s)}"
        why = last or "the first connection is still being tried"
        return f"not connected: {why}; krakked tries again by itself"
    if state is SubscriptionState.WANTED:
        return "Kraken has not answered the subscription yet"
    return "Kraken has acknowledged the subscription and sends nothing"


def spent_words(wait_s: float) -> str:
    """Say that the connect budget is spent, and until when."""
    return (
        f"the programs of this machine have connected {BUDGET_ATTEMPTS} times in ten minutes, and "
        f"Kraken bans an address that goes on; the next attempt is in {wait_s:.0f} s"
    )


def refusal(
    key: SubscriptionKey, canonical: str, reason: str | None, retry_after_s: float | None
) -> SubscriptionRefusedError:
    """Return the error for a refused subscription, with what to expect next."""
    again = (
        "It is asked for again when the exchange lists the pair anew, or when you add it again."
        if retry_after_s is None
        else f"krakked asks again in {retry_after_s:.0f} s."
    )
    return SubscriptionRefusedError(
        f"Kraken refused {key.channel} of {canonical}: {reason}. {again}",
        pair=canonical,
        reason=reason or "",
        retry_after_s=retry_after_s,
    )


async def wait_live(feed: WatchedFeed, pairs: Iterable[str], timeout_s: float) -> None:
    """Wait; see `krakked.Kraken.wait_live`."""
    timeout_s = seconds_of(timeout_s, "timeout_s")
    left = list(pairs)
    errors: list[MarketDataError] = []
    refused: dict[str, MarketDataError] = {}  # for now: they are asked for again
    with trio.move_on_after(timeout_s):
        while True:
            still: list[str] = []
            for pair in left:
                found = verdict(feed, pair)
                if isinstance(found, SubscriptionRefusedError) and found.retry_after_s is not None:
                    refused[pair] = found
                    still.append(pair)
                elif isinstance(found, MarketDataError):
                    errors.append(found)
                elif not found:
                    refused.pop(pair, None)
                    still.append(pair)
            left = still
            if not left:
                break
            await feed.wait_state()
    await trio.lowlevel.checkpoint()
    errors += [
        refused.get(pair)
        or NoDataYetError(
            f"{pair} was not live within {timeout_s:g} s: {_why(feed, pair)}.",
            pair=feed.resolve(pair),
        )
        for pair in left
    ]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        told = [str(error) for error in errors[:NAMED]]
        more = len(errors) - NAMED
        raise NotLiveError(
            f"{len(errors)} pairs are not live. {' '.join(told)}"
            + (f" And {more} more: see `errors`." if more > 0 else ""),
            errors=tuple(errors),
        )


def _why(feed: WatchedFeed, pair: str) -> str:
    symbol = feed.symbol_of(feed.resolve(pair)) or ""
    for key in _keys(feed, symbol):
        state, _ = feed.subscription(key)
        if state not in _enough(key):
            what = key.channel if key.interval is None else f"{LABELS[key.interval]} candles"
            return f"{what}: {feed.obstacle(key)}"
    return "it became live just now"


def _keys(feed: WatchedFeed, symbol: str) -> list[SubscriptionKey]:
    intervals = [parse_timeframe(t) for t in feed.timeframes]
    candles = (SubscriptionKey(OHLC.name, symbol, interval) for interval in intervals)
    return [SubscriptionKey(TICKER.name, symbol), *candles]


def _enough(key: SubscriptionKey) -> Collection[SubscriptionState]:
    if key.row.acknowledged_is_live:
        return {SubscriptionState.LIVE, SubscriptionState.ACKNOWLEDGED}
    return {SubscriptionState.LIVE}
