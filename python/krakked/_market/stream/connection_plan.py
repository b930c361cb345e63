"""Which subscription goes over which connection. Pure.

The exchange allows one ohlc interval per symbol and connection, so every timeframe is a lane of its
own; what has no interval rides on the first. Lanes are cut into shards by number of symbols. A
symbol stays in its shard for as long as it is wanted, so adding one never moves another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from krakked._market.stream.channels import CHANNELS, Lane
from krakked._market.stream.requests import SubscriptionKey
from krakked._timeframes import LABELS

SYMBOLS_PER_CONNECTION: Final = 800
"""No limit is published for public channels; the whole USD universe fits in one connection."""

PlanKey = tuple[int, int]
"""(lane, shard)."""


class ConnectionPlan:
    """The plan of connections: lanes by timeframe, shards by symbols."""

    def __init__(
        self, intervals: Iterable[int], symbols_per_connection: int = SYMBOLS_PER_CONNECTION
    ) -> None:
        self._plan: list[int | None] = list(intervals) or [None]
        self._limit = symbols_per_connection
        self._shard_of: dict[str, int] = {}
        self._load: dict[int, int] = {}

    @property
    def intervals(self) -> tuple[int, ...]:
        """Candle intervals in minutes, first lane first."""
        return tuple(i for i in self._plan if i is not None)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol, in the order of asking."""
        return tuple(self._shard_of)

    def add_interval(self, interval: int) -> None:
        """Give a timeframe a lane."""
        if interval in self._plan:
            return
        if None in self._plan:
            self._plan[self._plan.index(None)] = interval
        else:
            self._plan.append(interval)

    def remove_interval(self, interval: int) -> None:
        """Take a timeframe's lane away (the first lane stays for the tickers)."""
        if interval in self._plan:
            self._plan[self._plan.index(interval)] = None

    def add(self, symbol: str) -> None:
        """Give a symbol a place: the first shard with room."""
        if symbol in self._shard_of:
            return
        shard = next((s for s in range(len(self._load)) if self._room(s)), len(self._load))
        self._shard_of[symbol] = shard
        self._load[shard] = self._load.get(shard, 0) + 1

    def remove(self, symbol: str) -> None:
        """Free a symbol's place."""
        shard = self._shard_of.pop(symbol, None)
        if shard is not None:
            self._load[shard] -= 1

    def _room(self, shard: int) -> bool:
        return self._load.get(shard, 0) < self._limit

    def plan(self) -> dict[PlanKey, list[SubscriptionKey]]:
        """Return the subscriptions of every connection that is needed."""
        lines: dict[PlanKey, list[SubscriptionKey]] = {}
        for lane, interval in enumerate(self._plan):
            for symbol, shard in self._shard_of.items():
                keys = lines.setdefault((lane, shard), [])
                if lane == 0:
                    keys += [SubscriptionKey(name, symbol) for name in _on(Lane.FIRST)]
                if interval is not None:
                    keys += [
                        SubscriptionKey(name, symbol, interval) for name in _on(Lane.BY_INTERVAL)
                    ]
        lines = {line: keys for line, keys in lines.items() if keys}
        if lines:
            lines[min(lines)] += [SubscriptionKey(name) for name in _on(Lane.ONCE)]
        return lines

    def supervisor_of(self, key: SubscriptionKey) -> PlanKey | None:
        """Return the connection that carries a symbol's subscription, or None."""
        shard = self._shard_of.get(key.symbol or "")
        if shard is None:
            return None
        if key.row.lane is Lane.FIRST:
            return (0, shard)
        return (self._plan.index(key.interval), shard) if key.interval in self._plan else None

    def name(self, line: PlanKey) -> str:
        """Return a connection's name for people: ``1m``, ``ticker``, ``5m/2``."""
        interval = self._plan[line[0]]
        name = "ticker" if interval is None else LABELS[interval]
        return f"{name}/{line[1] + 1}" if line[1] else name


def _on(lane: Lane) -> list[str]:
    return [channel.name for channel in CHANNELS.values() if channel.lane is lane]
