"""The set of connections: grows and shrinks with what is to be streamed, while running."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import trio

from krakked._core import MarketCache
from krakked._errors import ClosedError
from krakked._files.owner import OwnerProcess
from krakked._market.pairs import PairTable
from krakked._market.stream.background import Background
from krakked._market.stream.connection_plan import ConnectionPlan, PlanKey
from krakked._market.stream.facts import Fact
from krakked._market.stream.requests import SubscriptionKey, SubscriptionState
from krakked._market.stream.supervisor import ConnectionSupervisor
from krakked._market.stream.symbols import SymbolNames
from krakked._timeframes import LABELS, Timeframe, parse_timeframe


class ConnectionPool:
    """Which pairs and timeframes are streamed, and by which supervisor.

    Args:
        lanes: The plan of connections.
        cache: Where what is streamed gets room.
        table: Gives the present table of all known pairs.
        new_supervisor: Makes a supervisor of that name.
    """

    def __init__(
        self,
        lanes: ConnectionPlan,
        cache: MarketCache,
        *,
        table: Callable[[], PairTable],
        new_supervisor: Callable[[str], ConnectionSupervisor],
    ) -> None:
        self.names = SymbolNames()
        self._plan = lanes
        self._table = table
        self._new_supervisor = new_supervisor
        self._cache = cache
        self._supervisors: dict[PlanKey, ConnectionSupervisor] = {}
        self._nursery: trio.Nursery | None = None
        self._ended = False
        self._owner = OwnerProcess("The live stream")
        self._background = Background()

    def __iter__(self) -> Iterator[ConnectionSupervisor]:
        return iter(list(self._supervisors.values()))

    def take(self) -> Iterator[tuple[ConnectionSupervisor, Fact]]:
        """Take what the supervisors tell, each one's oldest first."""
        for supervisor in self:
            for fact in supervisor.take():
                yield supervisor, fact

    @property
    def symbols(self) -> tuple[str, ...]:
        """Streamed symbols."""
        return self._plan.symbols

    @property
    def intervals(self) -> tuple[int, ...]:
        """Streamed candle intervals in minutes."""
        return self._plan.intervals

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Streamed timeframes."""
        return tuple(LABELS[i] for i in self._plan.intervals)

    def start(self, nursery: trio.Nursery, background: Background) -> None:
        """Begin to connect; supervisors live in this nursery."""
        self._nursery, self._background = nursery, background
        self._follow()

    def stop(self) -> None:
        """Note that the nursery is gone; what is streamed cannot be changed any more."""
        self._nursery = None
        self._ended = True

    def check_open(self) -> None:
        """Raise `ClosedError` after the end, `ForkedProcessError` in a forked child."""
        self._owner.check()
        if self._ended:
            raise ClosedError

    # --- what to stream ---

    def add_pairs(self, pairs: Iterable[str]) -> None:
        """Stream more pairs; raises `UnknownPairError` before anything is changed."""
        self.check_open()
        table = self._table()
        symbols: set[str] = set()
        for canonical in [table.resolve(pair) for pair in pairs]:
            symbol = self.names.symbol(canonical) or self.names.add(canonical, table)
            symbols.add(symbol)
            self._cache.want(symbol)
            self._plan.add(symbol)
        for supervisor in self:  # whoever names a pair again wants it asked for again
            supervisor.ask_again(symbols)
        self._follow()

    def streamed(self, pairs: Iterable[str]) -> list[str]:
        """Return the canonical names of those that are streamed, whatever they are called.

        Raises:
            UnknownPairError: A name says nothing.
        """
        self.check_open()
        table, names = self._table(), self.names
        # A delisted pair may have left the table by now.
        known = [pair if names.symbol(pair) else table.resolve(pair) for pair in pairs]
        return [pair for pair in known if names.symbol(pair)]

    def remove_pairs(self, pairs: Iterable[str]) -> None:
        """Stop streaming pairs, by their canonical names."""
        for canonical in pairs:
            symbol = self.names.symbol(canonical)
            if symbol is not None:
                self._plan.remove(symbol)
                self.names.remove(canonical)
        self._follow()

    def add_timeframe(self, timeframe: str) -> None:
        """Stream one more timeframe."""
        self.check_open()
        self._plan.add_interval(parse_timeframe(timeframe))
        self._follow()

    def remove_timeframe(self, timeframe: str) -> None:
        """Stop streaming a timeframe."""
        self.check_open()
        self._plan.remove_interval(parse_timeframe(timeframe))
        self._follow()

    def rename(self, old: str, new: str) -> None:
        """Stream a pair under another symbol (the exchange knows better)."""
        self._plan.remove(old)
        self._cache.want(new)
        self._plan.add(new)
        self._follow()

    def end(self, symbol: str, reason: str) -> None:
        """Note that the exchange serves a symbol no more."""
        for supervisor in self:
            supervisor.end(symbol, reason)

    # --- how things stand ---

    def supervisor_of(self, key: SubscriptionKey) -> ConnectionSupervisor | None:
        """Return the supervisor that carries a subscription, or None."""
        where = self._plan.supervisor_of(key)
        return self._supervisors.get(where) if where is not None else None

    def subscription(self, key: SubscriptionKey) -> tuple[SubscriptionState, str | None]:
        """Return a subscription's state, and the reason when refused."""
        if self._plan.supervisor_of(key) is None:
            return SubscriptionState.ENDED, None
        supervisor = self.supervisor_of(key)
        return (
            supervisor.table.state(key)
            if supervisor is not None
            else (SubscriptionState.WANTED, None)
        )

    def retry_after_s(self, key: SubscriptionKey, now_s: float) -> float | None:
        """Return the seconds until a refused subscription is asked for again, or None."""
        supervisor = self.supervisor_of(key)
        return supervisor.table.retry_after_s(key, now_s) if supervisor is not None else None

    # --- inside ---

    def _follow(self) -> None:
        """Make the supervisors what the plan says; only while running."""
        if self._nursery is None:
            return
        plan = self._plan.plan()
        for key in set(self._supervisors) - set(plan):
            self._supervisors.pop(key).scope.cancel()
        for key, wanted in plan.items():
            supervisor = self._supervisors.get(key)
            if supervisor is None:
                supervisor = self._supervisors[key] = self._new_supervisor(self._plan.name(key))
                self._nursery.start_soon(self._keep, supervisor)
            supervisor.name = self._plan.name(key)
            supervisor.want(set(wanted))

    async def _keep(self, supervisor: ConnectionSupervisor) -> None:
        """Run a supervisor for as long as it is part of the plan, whatever happens inside it."""
        with supervisor.scope:
            await self._background.keep(f"connection {supervisor.name}", supervisor.run)
