"""Candles missed over an outage, fetched from REST, one series after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio

from krakked.errors import ApiError, KrakkedError, NetworkError
from krakked.market.bars import OHLCBar, bar_of_row
from krakked.market.stream.ledger import Hole, SeriesCandle
from krakked.rest.wire import OHLCRow

RETRY_S: Final = (2.0, 5.0, 15.0, 60.0, 120.0, 300.0)
"""Waits between tries for one hole; after the last it is given up and counted."""

REST_ROWS: Final = 720
"""OHLC gives no more candles than these, the newest. Source: Kraken REST "Get OHLC Data"."""
KEPT_S: Final = 3.0
"""The servers in front hand out replies that are up to 2 s old; after this a fresh one comes."""

log = logging.getLogger("krakked.stream")


class OHLCReplyLike(Protocol):
    """REST's OHLC answer."""

    @property
    def rows(self) -> Sequence[OHLCRow]:
        """Oldest first; the newest may still be running."""
        ...


class OHLCSource(Protocol):
    """Where missed candles come from; `krakked.rest.client.RestClient` is one."""

    async def ohlc(
        self, pair: str, interval_minutes: int, since_s: int | None = None
    ) -> OHLCReplyLike:
        """Give candles opened after `since_s`, by any name REST accepts for the pair."""
        ...


class GapFiller:
    """Fills holes in the order in which they were found.

    Args:
        rest: Where candles come from.
        rest_name: Gives REST's name of a symbol, or None when it is no longer streamed.
        fill: Takes a hole and REST's bars; gives the candles that may go out now.
        still: Whether a hole is still to be filled.
        out: Gets those candles.
    """

    def __init__(
        self,
        rest: OHLCSource | None,
        *,
        rest_name: Callable[[str], str | None],
        fill: Callable[[Hole, Sequence[OHLCBar]], list[SeriesCandle]],
        still: Callable[[Hole], bool],
        out: Callable[[list[SeriesCandle]], None],
    ) -> None:
        self._rest = rest
        self._rest_name = rest_name
        self._fill = fill
        self._still = still
        self._out = out
        self._holes: dict[Hole, None] = {}
        self._more = trio.Event()
        self.unfilled = 0
        """Holes given up."""

    def __len__(self) -> int:
        return len(self._holes)

    def add(self, hole: Hole) -> None:
        """Ask for a hole to be filled."""
        self._holes[hole] = None
        self._more.set()

    async def run(self) -> None:
        """Fill until cancelled."""
        while True:
            self._more = trio.Event()
            while self._holes:
                hole = next(iter(self._holes))
                await self._one(hole)
                self._holes.pop(hole, None)
            await self._more.wait()

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

    async def _one(self, hole: Hole) -> None:
        for wait_s in (*RETRY_S, None):
            name = self._rest_name(hole.symbol)
            if name is None or self._rest is None or not self._still(hole):
                break
            try:
                # `since` is exclusive. Source: Kraken REST "Get OHLC Data".
                reply = await self._rest.ohlc(name, hole.interval, hole.since_s - 1)
                if reply.rows and reply.rows[-1].time < hole.until_s:
                    # written before the hole's last candle was over
                    await trio.sleep(KEPT_S)
                    reply = await self._rest.ohlc(name, hole.interval, hole.since_s - 1)
                bars = self._bars(reply.rows, hole)
            except (ApiError, NetworkError) as error:
                retry = wait_s is not None and getattr(error, "retryable", False)
                log.warning(
                    "candles of %s %dm missed over an outage: %s%s",
                    name,
                    hole.interval,
                    type(error).__name__,
                    f", next try in {wait_s:g} s" if retry else "",
                )
                if not retry or wait_s is None:
                    break
                await trio.sleep(wait_s)
                continue
            except KrakkedError:
                break
            if len(bars) >= REST_ROWS and bars[0].time >= hole.since_s + hole.interval * 60:
                self.unfilled += 1
                log.warning(
                    "candles of %s %dm from %d to %d are older than REST reaches and stay missing",
                    *(name, hole.interval, hole.since_s, bars[0].time),
                )
            self._out(self._fill(hole, bars))
            return
        if self._still(hole):
            self.unfilled += 1
        self._out(self._fill(hole, ()))
