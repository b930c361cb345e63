"""The live stream as a whole.

`Feed.run` lives in the caller's nursery. Its connections are a `ConnectionPool` that fills one
cache; `ClosedCandles` gives closed candles out exactly once and in order; `changes()` tells
everything that happens.

Long because it is the room's one door: what connections tell is acted upon here, and what the
reads of users need is asked here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Final, TypedDict

import trio

from krakked._config.settings import WebSocketSettings
from krakked._core import MarketCache
from krakked._market.arguments import one_or_many
from krakked._market.changes import (
    ChangeHub,
    ChangeKind,
    Changes,
    Disconnected,
    MarketStatus,
    PairStatus,
    Reconnected,
    Resubscribed,
    SubscriptionMute,
    SubscriptionRecovered,
    SubscriptionRefused,
    change_kinds,
)
from krakked._market.pairs import PairTable
from krakked._market.stream.background import Background
from krakked._market.stream.channels import OHLC, TICKER
from krakked._market.stream.closed_candles import ClosedCandles, MarketSource, OnClosed
from krakked._market.stream.connect_limiter import ConnectLimiter, budget_for
from krakked._market.stream.connect_record import SharedBudget
from krakked._market.stream.connection import Endpoint
from krakked._market.stream.connection_plan import SYMBOLS_PER_CONNECTION, ConnectionPlan
from krakked._market.stream.crosscheck import EVERY_S, ROWS_LATE_S, Crosscheck, Silent
from krakked._market.stream.disconnect import DisconnectReason
from krakked._market.stream.facts import (
    CandleSnapshot,
    Fact,
    FellMute,
    Greeting,
    Heard,
    Loss,
    NotServed,
    Recovered,
    ReferenceData,
    Settled,
    Wakeup,
)
from krakked._market.stream.loglimit import LogLimiter
from krakked._market.stream.notices import Notices, read_notices
from krakked._market.stream.opening import StreamOpener
from krakked._market.stream.pair_statistics import pair_streams, silent_ones
from krakked._market.stream.pool import ConnectionPool
from krakked._market.stream.requests import SubscriptionKey, SubscriptionState
from krakked._market.stream.statistics import FeedStatistics
from krakked._market.stream.supervisor import MAINTENANCE, ConnectionSupervisor
from krakked._market.stream.suspend import Finding
from krakked._market.stream.suspend_clocks import SuspendClocks
from krakked._market.stream.symbols import DELISTED, SymbolNames, decode_instrument
from krakked._market.stream.wait_live import obstacle, wait_live
from krakked._market.stream.watchdogs import FRAME_S, HELD_UP_S
from krakked._network.clock import Clock
from krakked._network.network import Network
from krakked._timeframes import LABELS, Timeframe, parse_timeframe

TICK_S: Final = 1.0
"""Distance of the feed's looks at its supervisors and candles."""
COMPARED_AT_MOST: Final = 20
"""Pairs whose candles are compared with REST after one look."""

log = logging.getLogger("krakked.stream")


class _Words(TypedDict):
    """How `changes()` names a subscription."""

    pair: str
    channel: str
    timeframe: Timeframe | None


class Feed:
    """Ticker and candles of many pairs, for as long as `run` runs.

    Args:
        settings: Address, timeframes, staleness.
        network: How to reach the exchange.
        clock: Elapsed and wall time.
        table: Gives the present table of all known pairs.
        rest: Fills candles missed over an outage and tells silence from quiet; None does without
            (holes are then left, and counted).
        on_closed: Gets closed candles in batches, to be journaled. An error of it is logged and
            counted, never fatal; the batch comes again together with the next one.
        pairs: What to stream from the start, any spelling.
        on_frame: Gets (connection name, text) of every frame, for recording; slower.
        on_symbols: Gets the exchange's own symbols when one differs from the table's.
        random: Chance for the jitter.
        symbols_per_connection: Where a lane is cut into shards.
        state_dir: Directory of the connect budget that processes share; None = this one is alone.
    """

    def __init__(
        self,
        settings: WebSocketSettings,
        *,
        network: Network,
        clock: Clock,
        table: Callable[[], PairTable],
        rest: MarketSource | None = None,
        on_closed: OnClosed | None = None,
        pairs: Iterable[str] = (),
        on_frame: Callable[[str, str], None] | None = None,
        on_symbols: Callable[[Collection[str]], object] | None = None,
        random: Random | None = None,
        symbols_per_connection: int = SYMBOLS_PER_CONNECTION,
        state_dir: Path | None = None,
    ) -> None:
        self.cache: MarketCache = MarketCache()
        self.clock = clock
        self.stale_after_s: float = settings.stale_tolerance_seconds
        self.system: str | None = None
        """Exchange system status, as last told."""
        self._opener = StreamOpener(network, clock, settings.reader)
        self._table = table
        self._on_frame, self._on_symbols = on_frame, on_symbols
        self._random = random if random is not None else Random()  # noqa: S311 - jitter
        self._endpoint = Endpoint.parse(settings.url)
        host = self._endpoint.host_header
        shared = None if state_dir is None else SharedBudget.of_host(state_dir, host, clock)
        self._gate = ConnectLimiter(clock, budget_for(clock, host), shared)
        self._req_ids = count(1)
        self._limiter = LogLimiter()
        self.background: Background = Background()
        """Keeps tasks running; the owner of the stream may add its own."""
        self._wakeup = Wakeup()
        self._pool = ConnectionPool(
            ConnectionPlan(
                [parse_timeframe(t) for t in settings.timeframes], symbols_per_connection
            ),
            self.cache,
            table=table,
            new_supervisor=self._new_supervisor,
        )
        self.hub: ChangeHub = ChangeHub(self.cache, clock, self.names.canonical)
        if self._opener.reads_in_rust:
            self.hub.listen(settings.conflate_ms)
        self._closed_candles = ClosedCandles(
            cache=self.cache,
            clock=clock,
            names=self.names,
            hub=self.hub,
            rest=rest,
            on_closed=on_closed,
            background=self.background,
            wakeup=self._wakeup,
            limiter=self._limiter,
        )
        self._crosscheck = Crosscheck(rest, clock, self._limiter) if rest is not None else None
        self._watcher = self.cache.add_watcher()
        self._notices = Notices()
        self._suspend = SuspendClocks(clock)
        self._resumes = 0
        self._changed = trio.Event()
        self.add_pairs(pairs)

    # --- running ---

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stream until cancelled; leaves no task, socket or thread behind."""
        try:
            async with trio.open_nursery() as nursery:
                self.hub.home = trio.lowlevel.current_trio_token()
                self._suspend.start()
                nursery.start_soon(
                    self.background.keep, "closing candles", self._closed_candles.run
                )
                if self._crosscheck is not None:
                    nursery.start_soon(
                        self.background.keep,
                        "comparing with REST",
                        partial(self._compare_with_rest, self._crosscheck),
                    )
                nursery.start_soon(self.background.keep, "hearing connections", self._listen)
                self._pool.start(nursery, self.background)
                task_status.started()
                await self.background.keep("watching the stream", self._tick_forever)
        finally:
            self._pool.stop()
            self._take()
            self.state_changed()
            await self._closed_candles.finish()
            self.hub.close()

    async def _tick_forever(self) -> None:
        ticked_s = trio.current_time()
        while True:
            await trio.sleep(TICK_S)
            held_up = trio.current_time() - ticked_s > HELD_UP_S
            ticked_s = trio.current_time()
            self._tick(held_up=held_up)

    def _tick(self, *, held_up: bool) -> None:
        self._take()
        self._check_sleep()
        self.cache.learn_wall(self.clock.wall_ns(), self.clock.elapsed_ns())
        self._note_data()
        for supervisor in self._pool:
            supervisor.tick()
        if not held_up:  # what we did not read in time proves nothing
            tickers, candles = self.cache.take_mute(self.clock.elapsed_ns())
            self._mark_mute(
                [
                    *(SubscriptionKey(TICKER.name, symbol) for symbol in tickers),
                    *(SubscriptionKey(OHLC.name, *series) for series in candles),
                ]
            )
        self._take()
        unproven = self._closed_candles.tick(held_up=held_up, flows=self._flows())
        for supervisor in self._pool:
            if supervisor.connection_id in unproven:
                supervisor.prove_quiet()
        self._watch_outage()

    def _note_data(self) -> None:
        """Tell supervisors of data since the last tick: a first update may lack a snapshot."""
        symbols, series = self.cache.take_changed(self._watcher)
        for symbol in symbols:
            self._data(SubscriptionKey(TICKER.name, symbol), self.cache.updated_ns(symbol))
        for symbol, interval in series:
            candle = self.cache.candle(symbol, interval)
            updated_ns = candle.updated_ns if candle is not None else None
            self._data(SubscriptionKey(OHLC.name, symbol, interval), updated_ns)

    def _data(self, key: SubscriptionKey, updated_ns: int | None) -> None:
        supervisor = self._pool.supervisor_of(key)
        if supervisor is not None and updated_ns is not None:
            supervisor.data(key, updated_ns / 1e9)

    def _flows(self) -> dict[tuple[str, int], bool]:
        """Whether the candle series of open connections bring rows; those given up are left out."""
        flows: dict[tuple[str, int], bool] = {}
        for supervisor in self._pool:
            if not supervisor.connected:
                continue
            for key, (state, _) in supervisor.table.states().items():
                given_up = state is SubscriptionState.REFUSED and self.retry_after_s(key) is None
                if key.series is not None and not given_up:
                    flows[key.series] = state is SubscriptionState.LIVE
        return flows

    def _watch_outage(self) -> None:
        """An outage lasts from the first loss until everything has been up for a while."""
        supervisors = list(self._pool)
        if supervisors and all(
            supervisor.connected and supervisor.table.settled for supervisor in supervisors
        ):
            self._limiter.calm(self._now_s())

    def _new_supervisor(self, name: str) -> ConnectionSupervisor:
        return ConnectionSupervisor(
            name,
            endpoint=self._endpoint,
            opener=self._opener,
            clock=self.clock,
            cache=self.cache,
            gate=self._gate,
            wakeup=self._wakeup,
            req_ids=self._req_ids,
            random=self._random,
            limiter=self._limiter,
            on_frame=self._on_frame,
        )

    # --- what to stream ---

    @property
    def names(self) -> SymbolNames:
        """Streamed pairs and their symbols."""
        return self._pool.names

    @property
    def pairs(self) -> tuple[str, ...]:
        """Canonical names of the streamed pairs."""
        return self.names.pairs

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Streamed timeframes."""
        return self._pool.timeframes

    def add_pairs(self, pairs: Iterable[str]) -> None:
        """Stream more pairs; raises `UnknownPairError` before anything is changed."""
        self._pool.add_pairs(one_or_many(pairs))
        self.state_changed()

    def remove_pairs(self, pairs: Iterable[str]) -> None:
        """Stop streaming pairs; their data is forgotten."""
        self._remove(self._pool.streamed(one_or_many(pairs)))
        self.state_changed()

    def set_pairs(self, pairs: Iterable[str]) -> None:
        """Follow a refreshed universe: exactly these pairs are streamed."""
        self._pool.check_open()
        wanted = [self.resolve(pair) for pair in one_or_many(pairs)]
        self._remove(set(self.pairs).difference(wanted))
        self._pool.add_pairs(wanted)
        self.state_changed()

    def add_timeframe(self, timeframe: str) -> None:
        """Stream one more timeframe, over a connection of its own."""
        self._pool.add_timeframe(timeframe)
        self.state_changed()

    def remove_timeframe(self, timeframe: str) -> None:
        """Stop streaming a timeframe."""
        self._pool.check_open()
        interval = parse_timeframe(timeframe)
        for symbol in self._pool.symbols:
            self._forget(symbol, interval)
        self._pool.remove_timeframe(timeframe)
        self.state_changed()

    def _remove(self, pairs: Collection[str]) -> None:
        for canonical in pairs:
            symbol = self.names.symbol(canonical)
            if symbol is not None:
                self._forget(symbol, None)
        self._pool.remove_pairs(pairs)

    def _forget(self, symbol: str, interval: int | None) -> None:
        self._closed_candles.collect()
        for one in self._pool.intervals if interval is None else (interval,):
            self._closed_candles.forget((symbol, one))
            self.cache.clear_candles(symbol, one)
        if interval is None:
            self.cache.forget(symbol)

    # --- for the reads (see `krakked._market.live`) ---

    def resolve(self, pair: str) -> str:
        """Return the canonical name; raises `UnknownPairError`."""
        self._pool.check_open()
        return self._table().resolve(pair)

    def symbol_of(self, canonical: str) -> str | None:
        """Return the symbol of a streamed pair, or None."""
        return self.names.symbol(canonical)

    def subscription(self, key: SubscriptionKey) -> tuple[SubscriptionState, str | None]:
        """Return a subscription's state, and the reason when refused."""
        return self._pool.subscription(key)

    def retry_after_s(self, key: SubscriptionKey) -> float | None:
        """Return the seconds until a refused subscription is asked for again; None = never."""
        return self._pool.retry_after_s(key, self._now_s())

    def obstacle(self, key: SubscriptionKey) -> str:
        """Return why a subscription brings nothing yet, in words."""
        supervisor = self._pool.supervisor_of(key)
        if supervisor is None:
            return "no connection carries it yet"
        ended, (state, _) = supervisor.last_disconnect, supervisor.table.state(key)
        last = str(ended) if ended is not None else None
        return obstacle(state, supervisor.state, last, self._gate.waits_s())

    def line_is_up(self, key: SubscriptionKey) -> bool:
        """Whether the connection that carries a subscription is up and not silent."""
        supervisor = self._pool.supervisor_of(key)
        return (
            supervisor is not None
            and supervisor.connected
            and self._now_s() - supervisor.last_frame_s <= FRAME_S
        )

    def resumed_ns(self) -> int:
        """Elapsed time from which on data is trusted: the newest resume from suspend; 0 = always.

        Only looks, and from any thread: what follows from a resume is the stream's own task's.
        """
        return self._suspend.trusted_from_ns()

    # --- for the user ---

    def changes(
        self,
        pairs: Iterable[str] | None = None,
        kinds: Collection[ChangeKind | str] | None = None,
        timeframes: Iterable[str] | None = None,
        *,
        snapshot: bool = False,
    ) -> Changes:
        """Listen to what happens from now on; see `krakked.Kraken.changes`."""
        only = None if pairs is None else [self.resolve(pair) for pair in one_or_many(pairs)]
        for pair in only or ():
            if self.names.symbol(pair) is None:
                log.warning(
                    "changes(): %s is not streamed, so nothing comes of it until add_pairs", pair
                )
        chosen = list(ChangeKind) if kinds is None else change_kinds(kinds)
        labels = None if timeframes is None else one_or_many(timeframes, "timeframes")
        for label in labels or ():
            parse_timeframe(label)
            if label not in self.timeframes:
                log.warning(
                    "changes(): %s is not streamed, so nothing comes of it until add_timeframe; "
                    "streamed are %s (market_data.ws.timeframes)",
                    *(label, ", ".join(self.timeframes) or "none"),
                )
        return self.hub.consumer(only, chosen, labels, snapshot=bool(snapshot))

    async def wait_live(self, pairs: Iterable[str] | None, timeout_s: float) -> None:
        """Wait until pairs have a live ticker; see `krakked.Kraken.wait_live`."""
        await wait_live(self, self.pairs if pairs is None else one_or_many(pairs), timeout_s)

    async def wait_state(self) -> None:
        """Wait until a subscription or a connection may have changed its state."""
        await self._changed.wait()

    def statistics(self) -> FeedStatistics:
        """Return the facts about the stream as it stands."""
        connections = tuple(supervisor.status() for supervisor in self._pool)
        ages = [c.last_frame_age_s for c in connections if c.last_frame_age_s is not None]
        return FeedStatistics(
            connections=connections,
            pairs=pair_streams(self),
            system=self.system,
            notices=self._notices.at(self.clock.wall_ns() / 1e9),
            reconnects=sum(max(0, c.connects - 1) for c in connections),
            connect_attempts=self._gate.attempts(),
            frames=sum(c.frames for c in connections),
            received_bytes=sum(c.received_bytes for c in connections),
            last_frame_age_s=min(ages, default=None),
            closed_candles=self._closed_candles.closed,
            corrected_candles=self._closed_candles.corrected,
            open_holes=self._closed_candles.open_holes,
            unfilled_holes=self._closed_candles.unfilled_holes,
            journal_errors=self._closed_candles.journal_errors,
            last_journal_error=self._closed_candles.last_journal_error,
            task_errors=self.background.errors,
            resumes=self._resumes,
        )

    # --- what the supervisors tell ---

    async def _listen(self) -> None:
        while True:
            await self._wakeup.wait()
            self._take()

    def _take(self) -> None:
        """Act upon all that happened, in its order; then market data may have changed."""
        told = False
        for supervisor, fact in self._pool.take():
            told = True
            self._act(supervisor, fact)
        if told:
            self.state_changed()
        self._closed_candles.collect()
        self.hub.touch()

    def _act(self, supervisor: ConnectionSupervisor, fact: Fact) -> None:
        match fact:
            case Greeting():
                self._greeted(supervisor.name, fact)
            case Settled(ok=ok, refused=refused, series=series):
                self._closed_candles.resubscribed(series)
                self.hub.publish(Resubscribed(connection=supervisor.name, ok=ok, refused=refused))
            case Loss(outcome=outcome, greeted=True, series=series):
                self._closed_candles.lost(series)
                why, detail = outcome.reason, outcome.detail
                name = supervisor.name
                self.hub.publish(Disconnected(connection=name, reason=why, detail=detail))
            case CandleSnapshot(series=series):
                span = fact.oldest_s, fact.newest_s, fact.gateway_ns
                self._closed_candles.snapshot(series, *span)
            case NotServed(key=key, reason=reason):
                self._lose(key)
                if (what := self._words(key)) is not None:
                    again_s = fact.retry_after_s
                    self.hub.publish(
                        SubscriptionRefused(**what, reason=reason, retry_after_s=again_s)
                    )
            case FellMute(key=key):
                self._lose(key)
                if (what := self._words(key)) is not None:
                    self.hub.publish(SubscriptionMute(**what))
            case Recovered(key=key):
                if (what := self._words(key)) is not None:
                    self.hub.publish(SubscriptionRecovered(**what))
            case ReferenceData(raw_json=raw_json):
                self._reference(raw_json)
            case Loss() | Heard():
                pass

    def _greeted(self, connection: str, greeting: Greeting) -> None:
        """Take the exchange's state, and a reconnect when there was a loss."""
        if greeting.gap_s is not None:
            self.hub.publish(Reconnected(connection=connection, gap_s=greeting.gap_s))
        system = greeting.system
        if system is None:
            return
        self._notices = read_notices(greeting.raw_json)
        if system == self.system:
            return
        came_back = self.system is not None and system == "online"
        self.system = system
        self.hub.publish(MarketStatus(system=system))
        for each in self._pool:
            each.in_maintenance = system == MAINTENANCE
            if came_back:  # what it refused meanwhile it may serve now
                each.ask_again()

    def _reference(self, raw_json: str) -> None:
        """Take reference data: names that differ, states that change, pairs that end or return."""
        statuses = decode_instrument(raw_json)
        anew = self.names.unlisted(statuses)
        renamed = self.names.listed(statuses, self._table())
        for _, old, new in renamed:
            log.warning("the exchange lists %s as %s", old, new)
            self._forget(old, None)
            self._pool.rename(old, new)
        if renamed and self._on_symbols is not None:
            try:
                self._on_symbols(statuses)
            except Exception as error:  # whatever follows from new names, prices go on
                log.error("new names could not be taken over: %s", error, exc_info=error)
        for symbol, status in statuses.items():
            pair = self.names.canonical(symbol)
            if pair is None:
                continue
            if self.names.status_changed(pair, status):
                self.hub.publish(PairStatus(pair=pair, status=status))
                anew.add(symbol)
            if status in DELISTED:
                self._pool.end(symbol, f"The pair is {status}")
                anew.discard(symbol)
        if anew:  # what was refused before the exchange listed it so
            for supervisor in self._pool:
                supervisor.ask_again(anew)

    def state_changed(self) -> None:
        """Wake who waits for a state."""
        self._changed.set()
        self._changed = trio.Event()

    # --- inside ---

    async def _compare_with_rest(self, crosscheck: Crosscheck) -> None:
        while True:
            await trio.sleep(EVERY_S - ROWS_LATE_S)
            told = self._told()
            if not told and not self._silent():
                crosscheck.forget()
                continue
            look = await crosscheck.look(told)
            if look is None:
                continue
            await trio.sleep(ROWS_LATE_S)
            found = crosscheck.judge(look, self._told(), self._silent())
            self._mark_mute(found.mute)
            self._wakeup.ring()
            self._compare(found.short)

    def _silent(self) -> list[Silent]:
        subscriptions = (
            state for supervisor in self._pool for state in supervisor.table.states().items()
        )
        return silent_ones(self, subscriptions, self._table())

    def _told(self) -> dict[str, int]:
        """How many trades the shortest candles of each pair have told of, by AssetPairs key."""
        interval, pairs = min(self._pool.intervals, default=None), self._table().by_canonical
        told = {} if interval is None else self._closed_candles.trades_told(interval)
        return {pairs[pair].raw_name: count for pair, count in told.items() if pair in pairs}

    def _compare(self, short: dict[str, float]) -> None:
        """Compare candles of pairs that lack trades, by AssetPairs key, with REST's."""
        for name, since_s in list(short.items())[:COMPARED_AT_MOST]:
            symbol = self.names.symbol(self.resolve(name))
            if symbol is not None:
                for interval in self._pool.intervals:
                    self._closed_candles.compare((symbol, interval), since_s)

    def _mark_mute(self, keys: list[SubscriptionKey]) -> None:
        for supervisor in self._pool:
            mine = [key for key in keys if self._pool.supervisor_of(key) is supervisor]
            if mine:
                supervisor.mark_mute(mine)

    def _lose(self, key: SubscriptionKey) -> None:
        if key.series is not None:
            self._closed_candles.lost([key.series])

    def _words(self, key: SubscriptionKey) -> _Words | None:
        """Return how a subscription is told of; None when its symbol is not streamed."""
        pair = self.names.canonical(key.symbol) if key.symbol is not None else None
        if pair is None:
            return None
        timeframe = LABELS.get(key.interval) if key.interval is not None else None
        return {"pair": pair, "channel": key.channel, "timeframe": timeframe}

    def _check_sleep(self) -> None:
        heard = [
            int(supervisor.last_frame_s * 1e9) for supervisor in self._pool if supervisor.connected
        ]
        match self._suspend.check(min(heard, default=None)):
            case Finding.DOUBT:
                log.warning("the wall clock leapt: did the machine sleep, or was the clock set?")
            case Finding.STEP:
                log.info("the clock was set: the connections are alive")
            case Finding.SLEPT:
                slept_s = self._suspend.slept_s
                self._resumes += 1
                log.warning("the machine slept for %.0f s: connecting anew", slept_s)
                for supervisor in self._pool:
                    supervisor.stop(DisconnectReason.RESUMED, f"slept for {slept_s:.0f} s")

    def _now_s(self) -> float:
        return self.clock.elapsed_ns() / 1e9
