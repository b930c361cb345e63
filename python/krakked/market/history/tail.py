"""The newest candles: one OHLC call, stored with what it covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import trio

from krakked.errors import ApiError, NetworkError
from krakked.market.bars import Source
from krakked.market.history.deep import Target
from krakked.market.history.ohlc_rows import REACH, ClosedRows, read_closed
from krakked.market.history.plan import confirmed_ranges, missing_ranges, ohlc_since
from krakked.market.store.ohlc_store import OHLCStore
from krakked.network import Clock, run_blocking
from krakked.rest.wire import OHLCReply, OHLCRow, ServerTime

_TIME_EVERY_NS: Final = 3600 * 1_000_000_000


class OHLCRest(Protocol):
    """The calls needed of the REST client."""

    async def time(self) -> ServerTime:
        """Ask for Kraken's clock."""
        ...

    async def ohlc(self, pair: str, interval_minutes: int, since_s: int | None = None) -> OHLCReply:
        """Ask for candles."""
        ...

    def server_wall_ns(self) -> int:
        """Give Kraken's unix time as far as known."""
        ...


class Tail:
    """Keeps the newest 720 candles of any series in the store. One call at a time per series."""

    def __init__(self, rest: OHLCRest, store: OHLCStore, clock: Clock) -> None:
        self._rest = rest
        self._store = store
        self._clock = clock
        self._asked_time_ns: int | None = None
        self._heard_time = False
        self._locks: dict[tuple[str, str], trio.Lock] = {}
        self._begins: dict[tuple[str, str], int] = {}

    async def server_now_s(self) -> float:
        """Give Kraken's time; asks for it once an hour, because a wrong clock closes wrong candles.

        A failure to ask is no failure: the wall clock stands in, and the call that needs it more
        will meet the same trouble and say so. Should it not, `fetch` trusts that clock less.
        """
        elapsed_ns = self._clock.elapsed_ns()
        asked_ns = self._asked_time_ns
        if asked_ns is None or elapsed_ns - asked_ns > _TIME_EVERY_NS:
            self._asked_time_ns = elapsed_ns
            try:
                await self._rest.time()
                self._heard_time = True
            except (NetworkError, ApiError):
                self._asked_time_ns = asked_ns
        return self._rest.server_wall_ns() / 1e9

    async def top_up(
        self, target: Target, since_s: int | None, lookback: int | None, *, provisional: bool
    ) -> int:
        """Fetch closed candles that are missing in a window and that OHLC still has.

        Args:
            target: The series.
            since_s: Start of the window in unix seconds, or None: `lookback` candles back.
            lookback: Number of closed candles wanted when `since_s` is None.
            provisional: Whether the WebSocket's word counts as known.

        Returns:
            How many calls it took: 0 or 1.

        Raises:
            NetworkError: Kraken could not be reached.
            ApiError: Kraken refused; `RateLimitError` and `ServiceError` are kinds of it.
            StoreError: The store could not be read or written.
        """
        key = (target.pair, target.timeframe)
        async with self._locks.setdefault(key, trio.Lock()):
            now_s = await self.server_now_s()
            step_s = target.step_s
            running_s = int(now_s) // step_s * step_s
            start_s = running_s - min(REACH, lookback or 0) * step_s
            if since_s is not None:
                start_s = max(since_s, running_s - REACH * step_s)
            start_s = max(start_s, self._begins.get(key, 0))
            covered = confirmed_ranges(
                await run_blocking(self._clock, self._store.coverage, *key), provisional=provisional
            )
            missing = missing_ranges(covered, start_s, now_s, step_s)
            if not missing:
                return 0
            # Behind the newest known candle a few rows are enough; anything else is worth all 720,
            # which cost one call as well.
            tail_only = bool(covered) and missing[0][0] == covered[-1][1]
            await self.fetch(target, ohlc_since(missing[0][0], step_s) if tail_only else None)
            return 1

    async def fetch(self, target: Target, since_s: int | None) -> tuple[ClosedRows, int]:
        """Make one OHLC call and store its closed bars; give them and how many were new.

        Raises:
            NetworkError: Kraken could not be reached.
            ApiError: Kraken refused.
            StoreError: The bars could not be stored.
        """
        # The clock is read before the call: a candle that closes while the reply travels was still
        # running when Kraken wrote it down.
        now_s = await self.server_now_s()
        reply = await self._rest.ohlc(target.rest_symbol, target.minutes, since_s)
        closed = read_closed(self._trusted(reply.rows), target.step_s, now_s)
        if closed.covered is None:
            return closed, 0
        first_s = closed.bars[0].time
        if len(closed.bars) < REACH and (since_s is None or first_s > since_s + target.step_s):
            # Kraken had room for more: the pair is younger than its 720 candles.
            self._begins[target.pair, target.timeframe] = first_s
        stored = await run_blocking(self._clock, self._store_closed, target, closed)
        return closed, stored

    def _trusted(self, rows: Sequence[OHLCRow]) -> Sequence[OHLCRow]:
        """Leave the newest row out while nobody but our own clock has said what time it is."""
        if self._heard_time or not rows:
            return rows
        newest_s = max(row.time for row in rows)
        return [row for row in rows if row.time < newest_s]

    def _store_closed(self, target: Target, closed: ClosedRows) -> int:
        return self._store.append_bars(
            target.pair,
            target.timeframe,
            closed.bars,
            source=Source.REST,
            covered=closed.covered,
        )
