"""The set of connections: grows and shrinks with what is to be streamed, while running."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import trio

from krakked._errors import ClosedError
from krakked._files.owner import OwnerProcess
from krakked._market.pairs import PairTable
from krakked._market.stream.background import Background
from krakked._market.stream.lanes import Lanes, LineKey
from krakked._market.stream.line import Line
from krakked._market.stream.requests import SubscriptionKey, SubscriptionState
from krakked._market.stream.symbols import SymbolNames
from krakked._timeframes import LABELS, parse_timeframe


class Fleet:
    """Which pairs and timeframes are streamed, and by which line.

    Args:
        lanes: The plan of connections.
        table: Gives the present table of all known pairs.
        new_line: Makes a line of that name.
        want: Told of every symbol that is to be streamed.
        forget: Told of every symbol and interval that is no longer streamed; None for all of them.
    """

    def __init__(
        self,
        lanes: Lanes,
        *,
        table: Callable[[], PairTable],
        new_line: Callable[[str], Line],
        want: Callable[[str], None],
        forget: Callable[[str, int | None], None],
    ) -> None:
        self.names = SymbolNames()
        self._lanes = lanes
        self._table = table
        self._new_line = new_line
        self._want = want
        self._forget = forget
        self._lines: dict[LineKey, Line] = {}
        self._nursery: trio.Nursery | None = None
        self._ended = False
        self._owner = OwnerProcess("The live stream")
        self._background = Background()

    def __iter__(self) -> Iterator[Line]:
        return iter(list(self._lines.values()))

    @property
    def intervals(self) -> tuple[int, ...]:
        """Streamed candle intervals in minutes."""
        return self._lanes.intervals

    @property
    def timeframes(self) -> tuple[str, ...]:
        """Streamed timeframes."""
        return tuple(LABELS[i] for i in self._lanes.intervals)

    def start(self, nursery: trio.Nursery, background: Background) -> None:
        """Begin to connect; lines live in this nursery."""
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
            self._want(symbol)
            self._lanes.add(symbol)
        for line in self:  # whoever names a pair again wants it asked for again
            line.ask_again(symbols)
        self._follow()

    def remove_pairs(self, pairs: Iterable[str]) -> None:
        """Stop streaming pairs; their data is forgotten."""
        self.check_open()
        table, names = self._table(), self.names
        # A delisted pair may have left the table by now.
        self._remove([pair if names.symbol(pair) else table.resolve(pair) for pair in pairs])
        self._follow()

    def set_pairs(self, pairs: Iterable[str]) -> None:
        """Stream exactly these."""
        self.check_open()
        table = self._table()
        wanted = [table.resolve(pair) for pair in pairs]
        self._remove(set(self.names.pairs).difference(wanted))
        self.add_pairs(wanted)

    def add_timeframe(self, timeframe: str) -> None:
        """Stream one more timeframe."""
        self.check_open()
        self._lanes.add_interval(parse_timeframe(timeframe))
        self._follow()

    def remove_timeframe(self, timeframe: str) -> None:
        """Stop streaming a timeframe."""
        self.check_open()
        interval = parse_timeframe(timeframe)
        self._lanes.remove_interval(interval)
        for symbol in self._lanes.symbols:
            self._forget(symbol, interval)
        self._follow()

    def rename(self, old: str, new: str) -> None:
        """Stream a pair under another symbol (the exchange knows better)."""
        self._lanes.remove(old)
        self._want(new)
        self._lanes.add(new)
        self._forget(old, None)
        self._follow()

    def end(self, symbol: str, reason: str) -> None:
        """Note that the exchange serves a symbol no more."""
        for line in self:
            line.end(symbol, reason)

    # --- how things stand ---

    def line_of(self, key: SubscriptionKey) -> Line | None:
        """Return the line that carries a subscription, or None."""
        where = self._lanes.line_of(key)
        return self._lines.get(where) if where is not None else None

    def subscription(self, key: SubscriptionKey) -> tuple[SubscriptionState, str | None]:
        """Return a subscription's state, and the reason when refused."""
        if self._lanes.line_of(key) is None:
            return SubscriptionState.ENDED, None
        line = self.line_of(key)
        return line.table.state(key) if line is not None else (SubscriptionState.WANTED, None)

    def retry_after_s(self, key: SubscriptionKey, now_s: float) -> float | None:
        """Return the seconds until a refused subscription is asked for again, or None."""
        line = self.line_of(key)
        return line.table.retry_after_s(key, now_s) if line is not None else None

    # --- inside ---

    def _remove(self, pairs: Iterable[str]) -> None:
        for canonical in pairs:
            symbol = self.names.symbol(canonical)
            if symbol is not None:
                self._forget(symbol, None)
                self._lanes.remove(symbol)
                self.names.remove(canonical)

    def _follow(self) -> None:
        """Make the lines what the plan says; only while running."""
        if self._nursery is None:
            return
        plan = self._lanes.plan()
        for key in set(self._lines) - set(plan):
            self._lines.pop(key).scope.cancel()
        for key, wanted in plan.items():
            line = self._lines.get(key)
            if line is None:
                line = self._lines[key] = self._new_line(self._lanes.name(key))
                self._nursery.start_soon(self._keep, line)
            line.name = self._lanes.name(key)
            line.want(set(wanted))

    async def _keep(self, line: Line) -> None:
        """Run a line for as long as it is part of the plan, whatever happens inside it."""
        with line.scope:
            await self._background.keep(f"connection {line.name}", line.run)
