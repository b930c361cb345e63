"""The channels of Kraken's WebSocket v2 that are streamed: one row each. Pure.

What differs between channels stands here and nowhere else in this room: how a subscription is
named, on which connection it lies, what comes with the request, how its silence is judged. Its rows
reach the cache in Rust (``rust/core/src/rows.rs``).
Source: Kraken "Spot Websockets (v2)", channels ticker, ohlc and instrument.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

SNAPSHOT_DUE_S: Final = 14.0
"""Acknowledged tickers without data for this long are mute: noticed within 15 s by a 1 s tick."""


class Lane(Enum):
    """On which connection a subscription lies."""

    FIRST = "first"
    """With the first lane of its symbol."""
    BY_INTERVAL = "by interval"
    """One lane for each interval: a connection takes one interval of a symbol and no more."""
    ONCE = "once"
    """On one connection of all: it speaks of no symbol."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """How one channel is subscribed to, and what its silence means."""

    name: str
    """Kraken's word."""
    lane: Lane
    parameters: dict[str, object] = {}
    """What a request names besides symbols and interval."""
    snapshot_due_s: float | None = None
    """Acknowledged and silent for so long it is mute; None: silence alone proves nothing."""
    shows_life: bool = False
    """Whether a connection none of whose subscriptions to it bring data is worth a new one."""
    acknowledged_is_live: bool = False
    """Whether an acknowledgement is enough to be ready: there may be nothing to send."""
    is_vital: bool = True
    """Whether a connection that leaves a request for it unanswered is worthless."""
    is_heavy: bool = False
    """Whether it waits until all that was asked before it has come."""


TICKER: Final = Channel(
    name="ticker",
    lane=Lane.FIRST,
    # "trades", the default, freezes the quotes of a quiet pair between two trades.
    parameters={"event_trigger": "bbo"},
    snapshot_due_s=SNAPSHOT_DUE_S,
    shows_life=True,
)
OHLC: Final = Channel(
    name="ohlc",
    lane=Lane.BY_INTERVAL,
    acknowledged_is_live=True,  # a pair that never traded has no candle to send
)
INSTRUMENT: Final = Channel(
    name="instrument",
    lane=Lane.ONCE,
    is_vital=False,  # good to have; not worth the prices
    is_heavy=True,  # half a megabyte
)

CHANNELS: Final = {channel.name: channel for channel in (TICKER, OHLC, INSTRUMENT)}
"""By Kraken's word, in the order in which a new connection asks for them."""
