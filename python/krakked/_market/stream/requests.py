"""The words of a subscription: its key, its states, the request that asks for it. Pure.

Source: Kraken "Spot Websockets (v2)", subscribe, channels ticker, ohlc and instrument.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from krakked._market.stream.channels import CHANNELS, Channel
from krakked._public import public

SUBSCRIBE: Final = "subscribe"
UNSUBSCRIBE: Final = "unsubscribe"


class SubscriptionKey(msgspec.Struct, frozen=True, order=True):
    """What is subscribed to."""

    channel: str
    """Kraken's word: ``ticker``, ``ohlc`` or ``instrument``."""
    symbol: str | None = None
    """WebSocket v2 symbol (``BTC/USD``); None for channels without one."""
    interval: int | None = None
    """Candle interval in minutes, for ``ohlc`` only."""

    @property
    def row(self) -> Channel:
        """What is special about its channel."""
        return CHANNELS[self.channel]

    @property
    def series(self) -> tuple[str, int] | None:
        """Symbol and interval of a candle series; None for anything else."""
        if self.symbol is None or self.interval is None:
            return None
        return self.symbol, self.interval

    @property
    def words(self) -> str:
        """Channel and symbol, for people."""
        return f"{self.channel} {self.symbol or ''}".rstrip()


@public
class SubscriptionState(StrEnum):
    """Where a subscription stands."""

    WANTED = "wanted"
    """Not asked for yet, or not answered."""
    ACKNOWLEDGED = "acknowledged"
    """Acknowledged; nothing has come yet."""
    LIVE = "live"
    """It brings data."""
    MUTE = "mute"
    """Acknowledged, but it brings nothing although the pair trades."""
    REFUSED = "refused"
    """The exchange refused it."""
    ENDED = "ended"
    """Not wanted any more, or never was."""


class Request(msgspec.Struct, frozen=True):
    """One message to send."""

    req_id: int
    method: str
    channel: str
    interval: int | None
    symbols: tuple[str, ...]
    text: str
    """The JSON text that goes on the wire."""


class RequestAnswer(msgspec.Struct, frozen=True):
    """What an answer of the exchange names; anything but the method may be missing."""

    method: str
    channel: str | None = None
    symbol: str | None = None
    interval: int | None = None
    req_id: int | None = None

    def fits(self, key: SubscriptionKey) -> bool:
        """Whether a subscription agrees with all that is named."""
        return (
            self.channel in {None, key.channel}
            and self.symbol in {None, key.symbol}
            and self.interval in {None, key.interval}
        )


class Refusal(msgspec.Struct, frozen=True):
    """What a refusal came to."""

    keys: tuple[SubscriptionKey, ...]
    """Subscriptions now refused; empty when the refusal was harmless or only asked to slow down."""
    reason: str
    slow_down: bool = False
    """Whether the exchange asked for fewer requests."""
    retry_after_s: float | None = None
    """Seconds until they are asked for again; None when the reason lasts."""


def is_plain_duplicate(error: str) -> bool:
    """Whether a refusal only says that we are subscribed already.

    "Already subscribed to one ohlc interval on this symbol" is none: that subscription was refused.
    """
    return error.casefold().startswith("already subscribed") and not is_other_interval(error)


def is_other_interval(error: str) -> bool:
    """Whether a refusal says that the symbol has an ohlc interval on this connection."""
    return "one ohlc interval" in error.casefold()


_LASTING = (
    # Source: recorded 2026-09-25 and 2026-10-06.
    "currency pair not supported",
    "currency pair not in iso",
    "one ohlc interval",
    # REST's words for the same, and plain ones.
    "unknown asset pair",
    "invalid asset pair",
    "unknown symbol",
    "invalid symbol",
    # What no waiting changes: our own request. Texts unverified.
    "interval not supported",
    "event trigger not supported",
    "channel not supported",
    "unavailable on this endpoint",
)


def is_lasting(error: str) -> bool:
    """Whether a refusal names a reason that no waiting changes; all others pass."""
    folded = error.casefold()
    return any(words in folded for words in _LASTING)


def is_rate_complaint(error: str) -> bool:
    """Whether a refusal asks for fewer requests a second."""
    folded = error.casefold()
    return "exceeded msg rate" in folded or "rate limit" in folded


def encode_request(
    method: str, channel: str, interval: int | None, symbols: tuple[str, ...], req_id: int
) -> str:
    """Return the JSON text of a subscribe or unsubscribe request."""
    params: dict[str, object] = {"channel": channel}
    if symbols:
        params["symbol"] = list(symbols)
    params |= CHANNELS[channel].parameters
    if interval is not None:
        params["interval"] = interval
    if method == SUBSCRIBE:
        params["snapshot"] = True
    return msgspec.json.encode({"method": method, "params": params, "req_id": req_id}).decode()


def encode_ping(req_id: int) -> str:
    """Return the JSON text of an application-level ping.

    Source: Kraken "Spot Websockets (v2)", ping: any request keeps a connection open.
    """
    return msgspec.json.encode({"method": "ping", "req_id": req_id}).decode()


class _Unanswered:
    """One request and the subscriptions it still waits for."""

    __slots__ = ("left", "method", "sent_s")

    def __init__(self, method: str, left: set[SubscriptionKey], sent_s: float) -> None:
        self.method = method
        self.left = left
        self.sent_s = sent_s


class InFlight:
    """Requests that wait for answers, and the finding of what an answer speaks of."""

    def __init__(self) -> None:
        self._requests: dict[int, _Unanswered] = {}  # oldest first

    def __bool__(self) -> bool:
        return bool(self._requests)

    def clear(self) -> None:
        """Forget all: the connection is gone."""
        self._requests.clear()

    def sent(self, req_id: int, method: str, keys: set[SubscriptionKey], now_s: float) -> None:
        """Note a request that went out."""
        self._requests[req_id] = _Unanswered(method, keys, now_s)

    def find(self, answer: RequestAnswer) -> list[SubscriptionKey]:
        """Return the subscriptions an answer speaks of, by whatever it names.

        With a symbol: that symbol in the request of that id, else in the oldest request that still
        waits for it. Without one: everything that the request still waits for.
        """
        named = self._requests.get(answer.req_id) if answer.req_id is not None else None
        if named is None and answer.req_id is not None and answer.symbol is None:
            return []  # speaks of a request that is settled already
        for request in [named] if named is not None else self._requests.values():
            if request.method != answer.method:
                continue
            found = [key for key in request.left if answer.fits(key)]
            if found:
                return sorted(found) if answer.symbol is None else found[:1]
        return []

    def answered(self, key: SubscriptionKey, method: str) -> None:
        """Cross a subscription off the oldest request that waits for it."""
        for req_id, request in self._requests.items():
            if request.method == method and key in request.left:
                request.left.discard(key)
                if not request.left:
                    del self._requests[req_id]
                return

    def expired(self, now_s: float, timeout_s: float) -> list[SubscriptionKey]:
        """Take out what has waited too long."""
        late: list[SubscriptionKey] = []
        for req_id, request in list(self._requests.items()):
            if now_s - request.sent_s >= timeout_s:
                del self._requests[req_id]
                late.extend(sorted(request.left))
        return late
