"""The newest candles: one OHLC call, stored with what it covers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from krakked._errors import ApiError, NetworkError
from krakked._market.bars import Source
from krakked._market.candle_store import CandleStore
from krakked._market.history.ohlc_rows import ABSENT_S, ClosedRows, read_closed
from krakked._market.history.plan import (
    confirmed_ranges,
    due_ranges,
    missing_ranges,
    ohlc_since,
    rest_ranges,
    unsettled_ranges,
)
from krakked._market.history.trades_backfill import Target
from krakked._market.store.coverage import Range, intersect, subtract, union
from krakked._network.clock import Clock, run_blocking
from krakked._rest.models import OHLC_ROWS, OHLCRow

if TYPE_CHECKING:  # its HTTP library is loaded when a client is made
    from krakked._rest.client import RestClient

_TIME_EVERY_NS: Final = 3600 * 1_000_000_000

_LEFT_WAITS_NS: Final = 60 * 1_000_000_000
"""So long a candle that a reply had only as rubbish, or not, is not asked for again by itself."""

_log = logging.getLogger("krakked.history")


class ToppedUp(msgspec.Struct, frozen=True, kw_only=True):
    """What Kraken has said about a window, and what it should have."""

    confirmed_s: int | None
    """End of what REST has confirmed of the window; None when that is nothing."""
    due_s: int | None
    """Second until which Kraken must have its candles by now; None when its clock is not known."""
    refused_from_s: int | None
    """Start of the window, when Kraken's last answer had rows, but none that is a candle."""


class Tail:
    """Keeps the newest 720 candles of any series in the store. One call at a time per series."""

    def __init__(self, rest: RestClient, store: CandleStore, clock: Clock) -> None:
        self._rest = rest
        self._store = store
        self._clock = clock
        self._asked_time_ns: int | None = None
        self._heard_time = False
        self._locks: dict[tuple[str, str], trio.Lock] = {}
        self._begins: dict[tuple[str, str], int] = {}
        self._asked_again: dict[tuple[str, str], int] = {}
        self._left: dict[tuple[str, str], tuple[int, list[Range]]] = {}
        self._newest: dict[tuple[str, str], int] = {}
        self._unfit: set[tuple[str, str]] = set()
        self.refused = 0
        """Rows of OHLC that were no candles, over all series."""

    async def server_now_s(self) -> float:
        """Return Kraken's time; asks once an hour, because a wrong clock closes wrong candles.

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
    ) -> ToppedUp:
        """Let REST confirm a window, as far as OHLC still reaches: one call at most.

        What a weaker source has answered for does not keep REST from being asked. Candles that it
        gave so early that Kraken may have revised them are asked for once more, when they can
        change no more.

        Args:
            target: The series.
            since_s: Start of the window in unix seconds, or None: `lookback` candles back.
            lookback: Number of closed candles wanted when `since_s` is None.
            provisional: Whether the WebSocket's word counts as known.

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
            reach_s = running_s - OHLC_ROWS * step_s
            start_s = running_s - min(OHLC_ROWS, lookback or 0) * step_s
            if since_s is not None:
                start_s = max(since_s, reach_s)
            start_s = max(start_s, self._begins.get(key, 0))
            coverage = await run_blocking(self._clock, self._store.coverage, *key)
            confirmed = rest_ranges(coverage)
            known = confirmed_ranges(coverage) if provisional else confirmed
            known = union([*known, *self._left_out(key)])
            missing = missing_ranges(known, start_s, now_s, step_s)
            unsettled = intersect(unsettled_ranges(coverage), (reach_s, running_s))
            due = intersect(due_ranges(coverage, now_s, step_s), (start_s, running_s))
            due = subtract(due, [(0, self._asked_again.get(key, 0))])
            if missing or due:
                # Behind the newest known candle a few rows are enough; anything else is worth all
                # 720, which cost one call as well.
                tail_only = not missing or (bool(confirmed) and missing[0][0] == confirmed[-1][1])
                first_s = min(start for start, _ in [*missing, *unsettled])
                closed, _ = await self.fetch(
                    target, ohlc_since(first_s, step_s) if tail_only and first_s > reach_s else None
                )
                confirmed = union([*confirmed, *closed.covered])
                if due:
                    self._asked_again[key] = due[-1][1]
            ends = [end for _, end in confirmed if end > start_s]
            return ToppedUp(
                confirmed_s=ends[-1] if ends else None,
                due_s=self._due_s(key, now_s),
                refused_from_s=start_s if key in self._unfit else None,
            )

    def _due_s(self, key: tuple[str, str], now_s: float) -> int | None:
        seen_s = self._newest.get(key)
        if not self._heard_time:
            return seen_s
        return max(int(now_s - ABSENT_S), seen_s or 0)

    def _left_out(self, key: tuple[str, str]) -> list[Range]:
        """Return what a reply left out a moment ago: not worth another call before long."""
        at_ns, ranges = self._left.get(key, (0, []))
        return ranges if self._clock.elapsed_ns() - at_ns < _LEFT_WAITS_NS else []

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
        now_s = self._trusted(now_s, reply.rows, target.step_s)
        closed = read_closed(reply.rows, target.step_s, now_s, unfit=reply.unfit)
        key = (target.pair, target.timeframe)
        self._tell_odd(target, closed)
        self._remember(key, closed)
        if not closed.bars:
            return closed, 0
        first_s = closed.bars[0].time
        room = len(closed.bars) < OHLC_ROWS and not closed.refused
        if room and (since_s is None or first_s > since_s + target.step_s):
            # Kraken had room for more: the pair is younger than its 720 candles.
            self._begins[key] = first_s
        stored = await run_blocking(self._clock, self._store_closed, target, closed)
        return closed, stored

    def _tell_odd(self, target: Target, closed: ClosedRows) -> None:
        self.refused += closed.refused
        for count, what in (
            (closed.refused, "are no candles within its reach and were left out"),
            (closed.without_vwap, "have a vwap beyond low or high, which was left out"),
            (closed.contradicted, "came twice and not alike: the later one counts"),
        ):
            if count:
                series = (target.pair, target.timeframe)
                _log.warning("%d rows of OHLC for %s %s %s", count, *series, what)

    def _remember(self, key: tuple[str, str], closed: ClosedRows) -> None:
        if closed.newest_s is not None:
            self._newest[key] = max(closed.newest_s, self._newest.get(key, 0))
        if closed.refused and not closed.bars:
            self._unfit.add(key)
        else:
            self._unfit.discard(key)
        if closed.covered:
            whole = (closed.covered[0][0], closed.covered[-1][1])
            holes = subtract([whole], closed.covered)
            self._left[key] = (self._clock.elapsed_ns(), holes)

    def _trusted(self, now_s: float, rows: Sequence[OHLCRow], step_s: int) -> float:
        """Return the time; no later than the newest row allows while only our clock has told it.

        The newest row may be running, whatever that clock says.
        """
        if self._heard_time or not rows:
            return now_s
        return min(now_s, max(row.time for row in rows) + step_s)

    def _store_closed(self, target: Target, closed: ClosedRows) -> int:
        return sum(
            self._store.append_bars(
                target.pair,
                target.timeframe,
                [bar for bar in closed.bars if covered[0] <= bar.time < covered[1]],
                source=Source.REST,
                covered=covered,
                unsettled_from=closed.unsettled_from,
            )
            for covered in closed.covered
        )
