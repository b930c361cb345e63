"""What a connection's supervisor tells of it, in the order in which it happened. Pure.

Facts lie in the supervisor's queue until the pool's owner takes them: nothing calls upwards. What
rings the owner is a `Wakeup`, which says only that there may be something to take.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import trio

from krakked._market.stream.disconnect import Disconnect
from krakked._market.stream.requests import SubscriptionKey


class Greeting(msgspec.Struct, frozen=True):
    """The exchange has spoken on a new connection, or tells its state anew."""

    system: str | None
    """Its state; None when it spoke without a status frame."""
    raw_json: str
    """The status element as sent."""
    gap_s: float | None
    """Seconds since the loss that this ends; None when there was none."""


class Settled(msgspec.Struct, frozen=True):
    """Everything wanted was answered after a reconnect."""

    ok: int
    refused: int
    series: list[tuple[str, int]]
    """The candle series that the connection carries."""


class Loss(msgspec.Struct, frozen=True):
    """A connection is gone, or an attempt failed."""

    outcome: Disconnect
    greeted: bool
    """Whether the exchange had greeted it."""
    series: list[tuple[str, int]]
    """The candle series that it carried."""


class CandleSnapshot(msgspec.Struct, frozen=True):
    """A snapshot of candles was applied to the cache."""

    series: tuple[str, int]
    oldest_s: int
    """Open time of its oldest row."""
    newest_s: int
    gateway_ns: int | None
    """Kraken's time of it, unix nanoseconds."""


class NotServed(msgspec.Struct, frozen=True):
    """The exchange refused a subscription, or ended it though it is wanted."""

    key: SubscriptionKey
    reason: str
    retry_after_s: float | None
    """Seconds until it is asked for again; None when the reason lasts."""


class FellMute(msgspec.Struct, frozen=True):
    """A subscription is acknowledged and brings nothing."""

    key: SubscriptionKey


class Recovered(msgspec.Struct, frozen=True):
    """A mute subscription brings data again."""

    key: SubscriptionKey


class ReferenceData(msgspec.Struct, frozen=True):
    """The instrument channel spoke."""

    raw_json: str


class Heard(msgspec.Struct, frozen=True):
    """The exchange said something: subscriptions may have changed their state."""


Fact: TypeAlias = (
    Greeting
    | Settled
    | Loss
    | CandleSnapshot
    | NotServed
    | FellMute
    | Recovered
    | ReferenceData
    | Heard
)


class Wakeup:
    """Wakes the one task that waits; rung before the wait, it is not lost."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        """Say that there may be something to take."""
        self._rung.set()

    async def wait(self) -> None:
        """Wait until it was rung since the last wait."""
        await self._rung.wait()
        self._rung = trio.Event()
