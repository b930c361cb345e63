"""Closed candles of the stream: collects them, mends holes, and gives every one out once.

When a candle is over is decided in Rust: ``rust/core/src/evidence_source.rs``, asked by
`MarketCache.close_due`.

Owns the ledger, the gap filler, the exchange's time and the queue to the journal. Lines report
losses and snapshots here; whatever may go out goes to `changes()` and, in batches, to `on_closed`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Protocol

import trio

from krakked._core import MarketCache
from krakked._errors import KrakkedError
from krakked._market.bars import Source, live_bar
from krakked._market.changes import CandleClosed, CandleCorrected, ChangeHub
from krakked._market.stream.background import Background
from krakked._market.stream.crosscheck import TickerSource
from krakked._market.stream.evidence import Evidence
from krakked._market.stream.facts import Wakeup
from krakked._market.stream.gap_fill import GapFiller, OHLCSource
from krakked._market.stream.loglimit import LogLimiter
from krakked._market.stream.sequencer import CandleSequencer, Hole, Series, SeriesCandle
from krakked._market.stream.symbols import SymbolNames
from krakked._network.clock import Clock
from krakked._timeframes import LABELS

SNAPSHOT_MISSING_S: Final = 30.0
"""A candle series without snapshot so long after a reconnect is asked of REST."""
SETTLING_S: Final = 30.0
"""A candle that ended so shortly before a loss may have missed rows: it is looked at again."""
CERTAIN_S: Final = 5.0
"""An interval counts as over for REST so long after its end by the exchange's time."""
CONFIRM_AFTER_S: Final = 25.0
"""A candle closed on the weakest evidence is compared with REST so long after it was given out."""
GAP_AT_MOST: Final = 60
"""Intervals without a candle before it that are compared likewise."""
CONFIRMED_AT_MOST: Final = 64
"""Series that wait to be compared with REST; beyond, the oldest are left as they are."""
UNWRITTEN_LIMIT: Final = 100_000
"""Closed candles kept for the next try while they cannot be written; then the oldest go."""
LAST_WRITE_S: Final = 5.0
"""At the end, the last closed candles get so long to be written."""

ClosedOrCorrected = CandleClosed | CandleCorrected
OnClosed = Callable[[list[ClosedOrCorrected]], Awaitable[None]]

log = logging.getLogger("krakked.stream")


class MarketSource(OHLCSource, TickerSource, Protocol):
    """What the stream asks of REST; `krakked._rest.client.RestClient` is one."""

    async def time(self) -> object:
        """Ask for the exchange's time; `server_wall_ns` knows it from then on."""
        ...

    def server_wall_ns(self) -> int:
        """Return the exchange's unix time in nanoseconds, as far as known."""
        ...


class ClosedCandles:
    """Everything about closed candles.

    Args:
        cache: Where candles are closed.
        clock: Elapsed time; the wall clock only where neither stream nor REST has told the time.
        names: From symbols to pairs.
        hub: Gets every closed candle.
        rest: Fills candles missed over an outage, or None.
        on_closed: Gets closed candles and corrections in batches, or None.
        background: Keeps the desk's tasks running.
        wakeup: Rung when `collect` has something that REST told.
        limiter: Keeps an outage from filling the log.
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
        background: Background,
        wakeup: Wakeup,
        limiter: LogLimiter,
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._names = names
        self._hub = hub
        self._rest = rest
        self._on_closed = on_closed
        self._background = background
        self._limiter = limiter
        self._sequencer = CandleSequencer()
        self._filler = GapFiller(
            rest,
            clock=clock,
            names=names,
            sequencer=self._sequencer,
            wakeup=wakeup,
            limiter=limiter,
        )
        self._without_snapshot: dict[Series, float] = {}
        self._to_confirm: dict[Series, tuple[int, int, float]] = {}
        self._unwritten: list[ClosedOrCorrected] = []
        self._more = Wakeup()
        self.closed = 0
        """Closed candles given out."""
        self.corrected = 0
        """Closed candles that had to be corrected afterwards."""
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

    # --- what the lines report ---

    def collect(self) -> None:
        """Give out what the cache has closed, and what REST has told."""
        ready: list[SeriesCandle] = []
        for closed in self._cache.take_closed():
            candle = SeriesCandle(
                closed.symbol,
                closed.interval_minutes,
                live_bar(closed),
                Source.WEBSOCKET,
                Evidence(closed.evidence),
            )
            if candle.evidence is Evidence.DOUBTFUL:
                hole = self._sequencer.doubtful(candle)
                if hole is not None:
                    self._fill(hole)
            else:
                ready += self._sequencer.closed(candle)
        self._give_out(ready)

    def lost(self, series: Iterable[Series]) -> None:
        """Note that these series miss rows: their connection is gone, or they fell mute."""
        self.collect()
        now_s = self._now_s()
        for one in series:
            length_s = one[1] * 60
            from_s = int((now_s - SETTLING_S) // length_s) * length_s
            self._cache.doubt(*one)
            oldest_s = self._cache.take_doubt(*one)
            self._sequencer.lost(one, from_s if oldest_s is None else min(oldest_s, from_s))
            self._without_snapshot.pop(one, None)

    def snapshot(
        self, series: Series, oldest_open_s: int, newest_open_s: int, gateway_ns: int | None
    ) -> None:
        """Note a snapshot of a series, before `collect` takes what it closed."""
        self._without_snapshot.pop(series, None)
        if not self._sequencer.knows(series):
            # Whatever has ended by now is history: it is in the store, or REST has it.
            now_s = gateway_ns / 1e9 if gateway_ns is not None else self._now_s()
            length_s = series[1] * 60
            running_s = int(now_s // length_s) * length_s
            self._sequencer.begin(series, max(newest_open_s, running_s))
            return
        hole, ready = self._sequencer.snapshot(series, oldest_open_s)
        if hole is not None:
            self._fill(hole)
        self._give_out(ready)

    def resubscribed(self, series: Iterable[Series]) -> None:
        """Note that these series are acknowledged anew: their snapshots are due."""
        now_s = self._clock.elapsed_ns() / 1e9
        for one in series:
            if self._sequencer.is_lost(one):
                self._without_snapshot.setdefault(one, now_s)

    def forget(self, series: Series) -> None:
        """Note that a series is no longer streamed."""
        self._without_snapshot.pop(series, None)
        self._to_confirm.pop(series, None)
        self._give_out(self._sequencer.forget(series))

    # --- what time brings ---

    def tick(self, *, held_up: bool, flows: Mapping[Series, bool]) -> list[int]:
        """Close what there is evidence for; give the connections that a ping should prove quiet.

        Args:
            held_up: This program was not running for a while.
            flows: Series of connected lines, and whether they bring rows: where they do not, no
                snapshot is to be expected.
        """
        now_ns = self._clock.elapsed_ns()
        unproven = self._cache.close_due(now_ns, held_up=held_up)
        self.collect()
        for symbol, interval, open_s in self._cache.take_passed_over(now_ns):
            hole = self._sequencer.passed_over((symbol, interval), open_s)
            if hole is not None:
                self._fill(hole)
        self.resubscribed(series for series, flowing in flows.items() if not flowing)
        for series, since_s in list(self._without_snapshot.items()):
            if series not in flows:
                del self._without_snapshot[series]
            elif now_ns / 1e9 - since_s >= SNAPSHOT_MISSING_S:
                self._do_without_snapshot(series, flows=flows[series])
        for series, (since_s, until_s, due_s) in list(self._to_confirm.items()):
            if now_ns / 1e9 >= due_s:
                del self._to_confirm[series]
                self._filler.add(Hole(*series, since_s, until_s, confirms=True))
        self._hub.touch()
        return unproven

    def _do_without_snapshot(self, series: Series, *, flows: bool) -> None:
        length_s = series[1] * 60
        over_s = self._now_s() - CERTAIN_S
        hole = self._sequencer.unresolved(series, int(over_s // length_s) * length_s)
        if hole is not None:
            self._fill(hole)
            if flows:  # rows come without a snapshot: what ends from now on they will tell
                del self._without_snapshot[series]
                self._give_out(self._sequencer.recovered(series))

    def trades_told(self, interval: int) -> dict[str, int]:
        """Return how many trades the candles of an interval have told of, by canonical name."""
        told: dict[str, int] = {}
        for pair in self._names.pairs:
            symbol = self._names.symbol(pair) or ""
            by_rows = self._cache.traded(symbol, interval)
            if by_rows is not None:
                told[pair] = by_rows + self._sequencer.filled_trades((symbol, interval))
        return told

    def compare(self, series: Series, since_s: float) -> None:
        """Compare what was given out of a series since an elapsed time with REST."""
        length_s = series[1] * 60
        from_s = int(self._exchange_ns(int(since_s * 1e9)) // 10**9 // length_s) * length_s
        until_s = int((self._now_s() - CERTAIN_S) // length_s) * length_s
        if from_s < until_s:
            self._filler.add(Hole(*series, from_s, until_s, confirms=True))

    def _confirm(self, candle: SeriesCandle) -> None:
        """Ask REST later whether a candle closed on weak evidence was right."""
        series, open_s = (candle.symbol, candle.interval), candle.bar.time
        due_s = self._clock.elapsed_ns() / 1e9 + CONFIRM_AFTER_S
        known = self._to_confirm.pop(series, None)
        # The intervals before it that brought nothing are looked at as well.
        since_s = self._sequencer.gap_before(series, open_s, GAP_AT_MOST)
        since_s = since_s if known is None else min(since_s, known[0])
        if known is not None:
            due_s = known[2]
        self._to_confirm[series] = (since_s, open_s + candle.interval * 60, due_s)
        while len(self._to_confirm) > CONFIRMED_AT_MOST:
            del self._to_confirm[next(iter(self._to_confirm))]

    def _now_s(self) -> float:
        return self._exchange_ns(self._clock.elapsed_ns()) / 1e9

    def _exchange_ns(self, elapsed_ns: int) -> int:
        """Return the exchange's unix time at an elapsed one: as the stream tells, else as REST."""
        told_ns = self._cache.server_ns(elapsed_ns)
        if told_ns is not None:
            return told_ns
        wall_ns = self._rest.server_wall_ns() if self._rest is not None else self._clock.wall_ns()
        return wall_ns + elapsed_ns - self._clock.elapsed_ns()

    # --- tasks ---

    async def run(self) -> None:
        """Fill holes and hand closed candles to the journal, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._background.keep, "filling gaps", self._filler.run)
            nursery.start_soon(self._background.keep, "asking for the time", self._ask_time)
            nursery.start_soon(self._background.keep, "writing candles", self._write)

    async def _write(self) -> None:
        while True:
            await self._write_batch()
            await self._more.wait()

    async def _ask_time(self) -> None:
        """Ask REST for the time once: a quiet market tells none for long."""
        if self._rest is None:
            return
        try:
            await self._rest.time()
        except KrakkedError as error:
            log.info("the exchange's time could not be asked for: %s", type(error).__name__)

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
        more = self._limiter.admit("hole", self._clock.elapsed_ns() / 1e9)
        if more is not None:
            log.info(
                "%s %dm: candles from %d to %d were missed, asking REST%s",
                hole.symbol,
                hole.interval,
                hole.since_s,
                hole.until_s,
                more,
            )
        self._filler.add(hole)

    def _give_out(self, candles: list[SeriesCandle]) -> None:
        candles = self._filler.take() + candles  # which the sequencer released before
        for candle in candles:
            pair = self._names.canonical(candle.symbol)
            if pair is None or candle.interval not in LABELS:
                continue
            event = event_of(candle, pair)
            if isinstance(event, CandleCorrected):
                self.corrected += 1
            else:
                self.closed += 1
            self._hub.publish(event)
            if self._on_closed is not None:
                self._unwritten.append(event)
            if candle.evidence is Evidence.QUIET and self._rest is not None:
                self._confirm(candle)
        if candles and self._unwritten:
            self._more.ring()


def event_of(candle: SeriesCandle, pair: str) -> ClosedOrCorrected:
    """Return what `changes()` tells of a candle."""
    timeframe = LABELS[candle.interval]
    if candle.corrects:
        return CandleCorrected(
            pair=pair,
            timeframe=timeframe,
            bar=candle.bar,
            previous=candle.previous,
            source=candle.source,
        )
    return CandleClosed(
        pair=pair,
        timeframe=timeframe,
        bar=candle.bar,
        source=candle.source,
        evidence=candle.evidence,
    )
