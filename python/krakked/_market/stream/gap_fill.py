"""Candles missed over an outage, or in doubt, fetched from REST, one series after the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from krakked._errors import ApiError, KrakkedError, NetworkError
from krakked._market.bars import OHLCBar, bar_of_row
from krakked._market.stream.facts import Wakeup
from krakked._market.stream.loglimit import LogLimiter
from krakked._market.stream.sequencer import CandleSequencer, Hole, SeriesCandle
from krakked._market.stream.symbols import SymbolNames
from krakked._network.clock import Clock
from krakked._rest.models import KEPT_S, OHLC_ROWS, OHLCRow

RETRY_S: Final = (2.0, 5.0, 10.0, 20.0, 30.0)
"""Waits between tries while REST is away; the last one again and again."""
PATIENCE_S: Final = 500.0
"""So long newer candles wait for a hole; then they go out, and what is filled later is told as
corrections."""
KEPT_HOLES: Final = 10_000
"""Holes that are asked for in vain; beyond, the oldest ones are given up."""

log = logging.getLogger("krakked.stream")


class OHLCReplyLike(Protocol):
    """REST's OHLC answer."""

    @property
    def rows(self) -> Sequence[OHLCRow]:
        """Oldest first; the newest may still be running."""
        ...


class OHLCSource(Protocol):
    """Where missed candles come from; `krakked._rest.client.RestClient` is one."""

    async def ohlc(
        self, pair: str, interval_minutes: int, since_s: int | None = None
    ) -> OHLCReplyLike:
        """Return candles opened after `since_s`, by any name REST accepts for the pair."""
        ...


class GapFiller:
    """Fills holes in the order in which they were found, those that nothing waits for last.

    Args:
        rest: Where candles come from.
        clock: Elapsed time.
        names: From symbols to pairs; what has none is no longer streamed.
        sequencer: Knows what waits for a hole; is told what filled it.
        wakeup: Rung when `take` has something.
        limiter: Keeps an outage from filling the log.
    """

    def __init__(
        self,
        rest: OHLCSource | None,
        *,
        clock: Clock,
        names: SymbolNames,
        sequencer: CandleSequencer,
        wakeup: Wakeup,
        limiter: LogLimiter,
    ) -> None:
        self._rest = rest
        self._clock = clock
        self._names = names
        self._sequencer = sequencer
        self._wakeup = wakeup
        self._ready: list[SeriesCandle] = []
        self._limiter = limiter
        self._holes: dict[Hole, float] = {}  # since when, elapsed seconds
        self._released: set[Hole] = set()
        self._more = Wakeup()
        self.unfilled = 0
        """Holes given up."""

    def __len__(self) -> int:
        return sum(1 for hole in self._holes if not hole.confirms)

    def add(self, hole: Hole) -> None:
        """Ask for a hole to be filled."""
        self._holes.setdefault(hole, self._now_s())
        self._more.ring()

    def take(self) -> list[SeriesCandle]:
        """Take the candles that may go out now, in order."""
        ready, self._ready = self._ready, []
        return ready

    async def run(self) -> None:
        """Fill until cancelled."""
        waits = 0
        while True:
            self._release_old()
            hole = next((h for h in self._holes if not h.confirms), None)
            if hole is None:
                hole = next(iter(self._holes), None)
            if hole is None:
                await self._more.wait()
                continue
            if await self._one(hole):
                self._holes.pop(hole, None)
                self._released.discard(hole)
                waits = 0
                continue
            # REST is away: it is for all, so all wait. Another one is tried next.
            self._holes[hole] = self._holes.pop(hole)
            await trio.sleep(RETRY_S[min(waits, len(RETRY_S) - 1)])
            waits += 1

    async def _one(self, hole: Hole) -> bool:
        """Try one hole; True when it is settled, one way or the other."""
        name = self._names.canonical(hole.symbol)
        if name is None or not self._superseded_or_wanted(hole):
            return True
        if self._rest is None:
            self._settle_empty(hole)
            return True
        try:
            bars = await self._ask(self._rest, name, hole)
        except (ApiError, NetworkError) as error:
            if not getattr(error, "retryable", False):
                self._settle_empty(hole)
                return True
            more = self._limiter.admit("fill", self._now_s())
            if more is not None:
                log.warning(
                    "candles of %s %dm missed over an outage: %s, trying again%s",
                    name,
                    hole.interval,
                    type(error).__name__,
                    more,
                )
            return False
        except KrakkedError:
            self._settle_empty(hole)
            return True
        if len(bars) >= OHLC_ROWS and bars[0].time >= hole.since_s + hole.interval * 60:
            self.unfilled += 1
            log.warning(
                "candles of %s %dm from %d to %d are older than REST reaches and stay missing",
                *(name, hole.interval, hole.since_s, bars[0].time),
            )
        self._hand_out(self._sequencer.filled(hole, bars))
        return True

    async def _ask(self, rest: OHLCSource, name: str, hole: Hole) -> list[OHLCBar]:
        # One candle early: whether `since` gives the row of that very time differs by source, and
        # a hole must not lose its first candle to that.
        since_s = hole.since_s - hole.interval * 60 - 1
        reply = await rest.ohlc(name, hole.interval, since_s)
        if reply.rows and reply.rows[-1].time < hole.until_s:
            await trio.sleep(KEPT_S)  # written before the hole's last candle was over
            reply = await rest.ohlc(name, hole.interval, since_s)
        return self._bars(reply.rows, hole)

    def _bars(self, rows: Sequence[OHLCRow], hole: Hole) -> list[OHLCBar]:
        """Read the rows that are candles; the others are told, and cost nothing else."""
        made = [bar_of_row(row, hole.interval * 60) for row in rows]
        bars = [bar for bar in made if bar is not None]
        if len(bars) < len(made):
            log.warning(
                "%d rows of REST's candles of %s %dm are none and were left out",
                *(len(made) - len(bars), hole.symbol, hole.interval),
            )
        return bars

    def _superseded_or_wanted(self, hole: Hole) -> bool:
        return hole in self._released or self._sequencer.current_hole(hole)

    def _settle_empty(self, hole: Hole) -> None:
        if not hole.confirms:
            self.unfilled += hole in self._released or self._sequencer.current_hole(hole)
            self._hand_out(self._sequencer.give_up(hole))

    def _release_old(self) -> None:
        """Let newer candles go that have waited long enough."""
        now_s = self._now_s()
        for hole, since_s in list(self._holes.items()):
            if now_s - since_s < PATIENCE_S or hole.confirms or hole in self._released:
                continue
            if self._sequencer.current_hole(hole):
                self._released.add(hole)
                self._hand_out(self._sequencer.give_up(hole))
        while len(self._holes) > KEPT_HOLES:
            hole = next(iter(self._holes))
            del self._holes[hole]
            self._released.discard(hole)
            self.unfilled += not hole.confirms

    def _hand_out(self, candles: list[SeriesCandle]) -> None:
        self._ready += candles
        self._wakeup.ring()

    def _now_s(self) -> float:
        return self._clock.elapsed_ns() / 1e9
