"""The candle desk: closes candles, mends holes, and gives every closed candle out exactly once.

Owns the ledger, the gap filler, the exchange's time and the queue to the journal. Lines report
losses and snapshots here; whatever may go out goes to `changes()` and, in batches, to `on_closed`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

import trio

from krakked._core import MarketCache
from krakked.errors import KrakkedError
from krakked.market.bars import OHLCBar, Source
from krakked.market.changes import CandleClosed, ChangeHub
from krakked.market.stream.crosscheck import TickerSource
from krakked.market.stream.exchange_time import ExchangeTime
from krakked.market.stream.filler import GapFiller, OHLCSource
from krakked.market.stream.ledger import CandleLedger, Hole, Series, SeriesCandle
from krakked.market.stream.loglimit import LogLimiter
from krakked.market.stream.symbols import SymbolNames
from krakked.market.timeframes import LABELS
from krakked.network import Clock

GRACE_S: Final = 5.0
"""After its end a candle waits so long for late trades before the clock closes it."""
SNAPSHOT_MISSING_S: Final = 30.0
"""A candle series without snapshot so long after a reconnect is asked of REST."""
TRUST_WALL_S: Final = 60.0
"""So long nothing is closed by the wall clock alone: it may be wrong from the start."""
STAMPS_A_TICK: Final = 16
"""Tickers looked at in one tick to learn the exchange's time."""
UNWRITTEN_LIMIT: Final = 100_000
"""Closed candles kept for the next try while they cannot be written; then the oldest go."""
DAY: Final = 1440
"""Minutes; up to here candles open at multiples of their interval, by the unix clock."""
LAST_WRITE_S: Final = 5.0
"""At the end, the last closed candles get so long to be written."""

OnClosed = Callable[[list[CandleClosed]], Awaitable[None]]

log = logging.getLogger("krakked.stream")


class ServerTimeLike(Protocol):
    """REST's answer to Time."""

    @property
    def unixtime(self) -> int:
        """Unix seconds."""
        ...


class MarketSource(OHLCSource, TickerSource, Protocol):
    """What the stream asks of REST; `krakked.rest.client.RestClient` is one."""

    async def time(self) -> ServerTimeLike:
        """Give the exchange's time."""
        ...


class CandleDesk:
    """Everything about closed candles.

    Args:
        cache: Where candles are closed.
        clock: Elapsed time; the wall clock is looked at once, at the start.
        names: From symbols to pairs.
        hub: Gets every closed candle.
        rest: Fills candles missed over an outage, or None.
        on_closed: Gets closed candles in batches, or None.
    """

    def __init__(
        self,
        *,
        cache: MarketCache,
        clock: Clock,
        names: SymbolNames,
        hub: ChangeHub,
        rest: MarketSource | None,
        on_closed: OnClosed | None,
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._names = names
        self._hub = hub
        self._rest = rest
        self._on_closed = on_closed
        self._ledger = CandleLedger()
        self._filler = GapFiller(
            rest,
            rest_name=names.canonical,
            fill=self._ledger.filled,
            still=self._ledger.current_hole,
            out=self._give_out,
        )
        self._time = ExchangeTime(clock.wall_ns(), clock.elapsed_ns())
        self._started_ns = clock.elapsed_ns()
        self._stamps: dict[str, int] = {}
        self._without_snapshot: dict[Series, float] = {}
        self._unwritten: list[CandleClosed] = []
        self._more = trio.Event()
        self._limiter = LogLimiter()
        self.closed = 0
        """Closed candles given out."""
        self.journal_errors = 0
        """How often `on_closed` could not take a batch."""
        self.last_journal_error: str | None = None
        """Why the newest batch could not be written; None once it was."""

    @property
    def open_holes(self) -> int:
        """Holes that REST is still filling."""
        return len(self._filler)

    @property
    def unfilled_holes(self) -> int:
        """Holes given up."""
        return self._filler.unfilled

    def exchange_now_s(self) -> float:
        """Give the exchange's unix time, in seconds."""
        return self._time.now_ns(self._clock.elapsed_ns()) / 1e9

    # --- what the lines report ---

    def collect(self) -> None:
        """Take what the cache has closed."""
        closed = self._cache.take_closed()
        if not closed:
            return
        ready: list[SeriesCandle] = []
        for symbol, interval, open_s, open_, high, low, close, vwap, volume, trades in closed:
            if interval <= DAY and open_s % (interval * 60):
                continue  # no candle of this interval opens then; no store would take it
            bar = OHLCBar(open_s, open_, high, low, close, vwap, volume, trades)
            ready += self._ledger.closed(SeriesCandle(symbol, interval, bar, Source.WEBSOCKET))
        self._give_out(ready)

    def lost(self, series: Iterable[Series]) -> None:
        """Note that the connection of these series is gone."""
        self.collect()
        for one in series:
            row = self._cache.candle(*one)
            self._ledger.lost(one, int(row[0] or 0) if row is not None else None)
            self._without_snapshot.pop(one, None)

    def snapshot(self, series: Series, oldest_open_s: int, newest_open_s: int) -> None:
        """Note a snapshot of a series, before `collect` takes what it closed."""
        self._without_snapshot.pop(series, None)
        if not self._ledger.knows(series):
            self._ledger.begin(series, newest_open_s)
            return
        hole = self._ledger.snapshot(series, oldest_open_s)
        if hole is not None:
            self._fill(hole)

    def resubscribed(self, series: Iterable[Series]) -> None:
        """Note that these series are acknowledged anew: their snapshots are due."""
        now_s = self._clock.elapsed_ns() / 1e9
        for one in series:
            if self._ledger.is_lost(one):
                self._without_snapshot[one] = now_s

    def forget(self, series: Series) -> None:
        """Note that a series is no longer streamed."""
        self._without_snapshot.pop(series, None)
        self._give_out(self._ledger.forget(series))

    # --- what time brings ---

    def tick(self, changed: Iterable[str]) -> None:
        """Close what is due by the exchange's time; `changed`: symbols with a new ticker."""
        self._learn_time(changed)
        now_ns = self._clock.elapsed_ns()
        now_s = self._time.now_ns(now_ns) / 1e9
        trusted = self._time.learned or now_ns - self._started_ns >= TRUST_WALL_S * 1e9
        if trusted and self._cache.close_due(now_s, GRACE_S, now_ns):
            self._hub.touch()
        self.collect()
        for series, since_s in list(self._without_snapshot.items()):
            if now_ns / 1e9 - since_s < SNAPSHOT_MISSING_S:
                continue
            length_s = series[1] * 60
            hole = self._ledger.unresolved(series, int(now_s // length_s) * length_s)
            if not self._ledger.is_lost(series):
                del self._without_snapshot[series]
            if hole is not None:
                self._fill(hole)

    def _learn_time(self, changed: Iterable[str]) -> None:
        for _, symbol in zip(range(STAMPS_A_TICK), changed, strict=False):
            row = self._cache.ticker(symbol)
            if row is None or row[12] is None or row[13] is None:
                continue
            # The first stamp of a quiet pair may be hours old; one that moved is not.
            stamp = int(row[12])
            if self._stamps.setdefault(symbol, stamp) < stamp:
                self._stamps[symbol] = stamp
                self._time.sample(stamp, int(row[13]))
        self._time.settle()

    # --- tasks ---

    async def run(self) -> None:
        """Fill holes and hand closed candles to the journal, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._filler.run)
            nursery.start_soon(self._ask_time)
            while True:
                self._more = trio.Event()
                await self._write_batch()
                await self._more.wait()

    async def _ask_time(self) -> None:
        """Ask REST for the time once: a quiet market tells none for long."""
        if self._rest is None:
            return
        before_ns = self._clock.elapsed_ns()
        try:
            told = await self._rest.time()
        except KrakkedError as error:
            log.info("the exchange's time could not be asked for: %s", type(error).__name__)
            return
        after_ns = self._clock.elapsed_ns()
        # Whole seconds, cut off: half a second is the best guess.
        self._time.sample(told.unixtime * 10**9 + 5 * 10**8, (before_ns + after_ns) // 2)

    async def finish(self) -> None:
        """Write what is left; for the end, when `run` is cancelled."""
        self.collect()
        with trio.move_on_after(LAST_WRITE_S, shield=True):
            await self._write_batch()

    async def _write_batch(self) -> None:
        while self._unwritten and self._on_closed is not None:
            batch, self._unwritten = self._unwritten, []
            written = False
            try:
                await self._on_closed(batch)
                written = True
            except Exception as error:  # whatever it is, prices go on
                self.journal_errors += 1
                self.last_journal_error = f"{type(error).__name__}: {error}"
                more = self._limiter.admit("journal", self._clock.elapsed_ns() / 1e9)
                if more is not None:
                    log.error("closed candles could not be written: %s%s", error, more)
            finally:
                if not written:  # tried again with the next ones, or at the end
                    self._unwritten = (batch + self._unwritten)[-UNWRITTEN_LIMIT:]
            if not written:
                return
            self.last_journal_error = None

    # --- inside ---

    def _fill(self, hole: Hole) -> None:
        log.info(
            "%s %dm: candles from %d to %d were missed, asking REST",
            hole.symbol,
            hole.interval,
            hole.since_s,
            hole.until_s,
        )
        self._filler.add(hole)

    def _give_out(self, candles: list[SeriesCandle]) -> None:
        for candle in candles:
            pair = self._names.canonical(candle.symbol)
            if pair is None or candle.interval not in LABELS:
                continue
            event = CandleClosed(
                pair=pair, timeframe=LABELS[candle.interval], bar=candle.bar, source=candle.source
            )
            self.closed += 1
            self._hub.publish(event)
            if self._on_closed is not None:
                self._unwritten.append(event)
        if candles and self._unwritten:
            self._more.set()
