"""One subscription's life on one connection. Pure.

The rules that move it are `subscriptions.SubscriptionTable`'s.
"""

from __future__ import annotations

from enum import Enum

from krakked._market.stream.requests import SubscriptionState


class Phase(Enum):
    """What the wire has been told."""

    IDLE = 0
    SUBSCRIBING = 1
    SUBSCRIBED = 2
    UNSUBSCRIBING = 3


class Subscription:
    """One subscription's life on one connection."""

    __slots__ = (
        "asked",
        "asked_s",
        "live",
        "mute",
        "phase",
        "reason",
        "recycle_at_s",
        "recycles",
        "refusals",
        "renew",
        "retry_at_s",
        "since_s",
        "tries",
        "wanted",
    )

    def __init__(self) -> None:
        self.wanted = True
        self.reason: str | None = None
        self.recycles = 0
        self.recycle_at_s = 0.0
        self.refusals = 0  # in a row, on whatever connection
        self.retry_at_s: float | None = None  # None when refused for a lasting reason
        self.reset(0.0)

    def reset(self, now_s: float) -> None:
        """Begin anew: nothing is acknowledged on a fresh connection."""
        self.phase = Phase.IDLE
        self.live = self.mute = False
        self.since_s = now_s
        self.tries = 0
        self.asked = 0  # subscribe requests on this connection
        self.asked_s = now_s  # when the newest of them went out: older data is of before
        self.renew = False  # what was known is forgotten: a new snapshot is needed

    @property
    def state(self) -> SubscriptionState:
        """Where it stands, for people."""
        if not self.wanted:
            return SubscriptionState.ENDED
        if self.reason is not None:
            return SubscriptionState.REFUSED
        if self.mute:
            return SubscriptionState.MUTE
        if self.live:
            return SubscriptionState.LIVE
        if self.phase is Phase.SUBSCRIBED:
            return SubscriptionState.ACKNOWLEDGED
        return SubscriptionState.WANTED
