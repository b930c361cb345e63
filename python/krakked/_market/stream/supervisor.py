"""One place in the plan of connections: it connects, again and again, and keeps its subscriptions.

A supervisor outlives its connections. It owns the desired state and the backoff; what concerns the
whole feed (candles, names, changes) it puts as facts into a queue of its own.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from random import Random

import trio

from krakked._core import MarketCache, WireEvent
from krakked._market.stream.backoff import Backoff
from krakked._market.stream.channels import INSTRUMENT, OHLC, TICKER
from krakked._market.stream.connect_limiter import ConnectLimiter
from krakked._market.stream.connection import Connection, Endpoint
from krakked._market.stream.disconnect import Disconnect, DisconnectReason
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
from krakked._market.stream.opening import StreamOpener
from krakked._market.stream.requests import (
    SUBSCRIBE,
    UNSUBSCRIBE,
    RequestAnswer,
    SubscriptionKey,
    SubscriptionState,
)
from krakked._market.stream.statistics import ConnectionState, ConnectionStatus
from krakked._market.stream.subscriptions import ENDED, SubscriptionTable
from krakked._network.clock import Clock

MUTE_RECONNECT_S = 300.0
"""A connection all of whose tickers are mute is replaced, at most so often."""
NAMED = 100
"""So many refused subscriptions one line of the log names."""
MAINTENANCE = "maintenance"
"""Kraken's word for a system that serves nobody. (Source: WebSocket v2, channel "status".)"""
REFUSED = SubscriptionState.REFUSED

log = logging.getLogger("krakked.stream")


class ConnectionSupervisor:
    """Supervises one connection after the other.

    Args:
        name: For people: ``1m``, ``5m/2``.
        endpoint: Where to.
        opener: How to get there.
        clock: Elapsed time.
        cache: Where market data goes.
        gate: Who may connect now.
        wakeup: Rung when there may be facts to take, or market data.
        req_ids: Request ids, shared by all supervisors.
        random: Chance, for the jitter.
        on_frame: Gets every raw text frame, for recording.
    """

    def __init__(
        self,
        name: str,
        *,
        endpoint: Endpoint,
        opener: StreamOpener,
        clock: Clock,
        cache: MarketCache,
        gate: ConnectLimiter,
        wakeup: Wakeup,
        req_ids: Iterator[int],
        random: Random,
        limiter: LogLimiter,
        on_frame: Callable[[str, str], None] | None = None,
    ) -> None:
        self.name = name
        self.table: SubscriptionTable = SubscriptionTable(req_ids)
        self.scope: trio.CancelScope = trio.CancelScope()
        self.state: ConnectionState = ConnectionState.WAITING
        self.connects: int = 0
        """Connections that the exchange greeted."""
        self.last_disconnect: Disconnect | None = None
        self.in_maintenance: bool = False
        """Whether the exchange last said so, on whatever connection."""
        self._endpoint = endpoint
        self._opener = opener
        self._clock = clock
        self._cache = cache
        self._gate = gate
        self._wakeup = wakeup
        self._facts: deque[Fact] = deque()
        self._req_ids = req_ids
        self._backoff = Backoff(random)
        self._limiter = limiter
        self._on_frame = on_frame
        self._connection: Connection | None = None
        self._healthy_since_s: float | None = None
        self._lost_s: float | None = None  # of a greeted connection, until the next is greeted
        self._announce_when_settled = False
        self._resubscribes = False
        self._replaced_for_mute_s = -MUTE_RECONNECT_S
        self._totals: dict[str, int] = {}

    # --- for the feed ---

    def take(self) -> Iterator[Fact]:
        """Take what happened, oldest first."""
        self._hear()
        while self._facts:
            yield self._facts.popleft()

    @property
    def connected(self) -> bool:
        """Whether the exchange has greeted the present connection."""
        return self.state is ConnectionState.CONNECTED

    @property
    def last_frame_s(self) -> float:
        """Elapsed time of the newest application frame of the present connection; 0 before."""
        connection = self._connection  # a read from another thread must not see it go
        return connection.last_frame_s if connection is not None else 0.0

    @property
    def connection_id(self) -> int | None:
        """The cache's number of the present connection."""
        connection = self._connection
        return connection.tap.connection if connection is not None else None

    def prove_quiet(self) -> None:
        """Ask the exchange for a sign that nothing is under way."""
        if self._connection is not None:
            self._connection.ping_soon()

    def want(self, keys: set[SubscriptionKey]) -> None:
        """Make exactly these the desired state."""
        present = set(self.table.states())
        self.table.unwant(sorted(present - keys))
        self.table.want(sorted(keys - present))
        self._announce_when_settled |= self.connected and keys != present
        self.wake()

    def wake(self) -> None:
        """Let the sender look at the desired state."""
        if self._connection is not None:
            self._connection.wake()

    def stop(self, reason: DisconnectReason, detail: str) -> None:
        """End the present connection; the supervisor connects again."""
        if self._connection is not None:
            self._connection.stop(reason, detail)

    async def run(self) -> None:
        """Connect and connect again until cancelled (the owner does so by `scope`)."""
        try:
            while True:
                self.state = ConnectionState.WAITING
                await self._gate.enter(self)
                outcome = await self._connect_once()
                self.state = ConnectionState.WAITING
                wait_s = self._backoff.next_wait_s(
                    maintenance=self.in_maintenance, rejected=outcome.rejected
                )
                self._log("retry", logging.INFO, "retry in %.1f s", wait_s)
                await trio.sleep(wait_s)
        finally:
            self._gate.leave(self)
            self.state = ConnectionState.CLOSED

    async def _connect_once(self) -> Disconnect:
        self.state = ConnectionState.CONNECTING
        on_frame = self._on_frame
        connection = self._connection = Connection(
            self._endpoint,
            opener=self._opener,
            clock=self._clock,
            cache=self._cache,
            table=self.table,
            req_ids=self._req_ids,
            wakeup=self._wakeup,
            on_frame=None if on_frame is None else lambda text: on_frame(self.name, text),
        )
        self.table.connected(self._now_s())
        self._healthy_since_s = None
        self._announce_when_settled = False
        try:
            outcome = await connection.run()
        finally:
            self._hear()
            _add(self._totals, connection.tap.statistics(), connection.received_bytes)
            self._connection = None
            self._gate.down(self)
            for key in self.table.states():  # candles are put in doubt by the end of the tap
                if key.symbol is not None and key.series is None:
                    self._cache.expect_ticker(key.symbol, None)
            self.table.disconnected(self._now_s())
        self.last_disconnect = outcome
        if self.connected:
            self._lost_s = self._now_s()
            self._limiter.outage(self._lost_s)
        self._facts.append(Loss(outcome, self.connected, self._series()))
        self._wakeup.ring()
        self._log("disconnect", logging.WARNING, "disconnected: %s", outcome)
        return outcome

    def end(self, symbol: str, reason: str) -> None:
        """Note that the exchange serves a symbol no more."""
        self.table.end([key for key in self.table.states() if key.symbol == symbol], reason)

    def mark_mute(self, keys: Iterable[SubscriptionKey]) -> None:
        """Note that subscriptions brought nothing although their pairs trade."""
        turned = [key for key in keys if self.table.mark_mute(key, self._now_s())]
        self._fell_mute(turned)
        if turned:
            self.wake()

    def data(self, key: SubscriptionKey, at_s: float) -> None:
        """Note that data of a subscription came at an elapsed time."""
        if self.table.data(key, at_s):
            self._facts.append(Recovered(key))
            self._watch_for(key)

    def ask_again(self, symbols: Collection[str] | None = None) -> None:
        """Ask once more for what was refused, of these symbols or at all."""
        keys = [key for key in self.table.states() if symbols is None or key.symbol in symbols]
        if self.table.ask_again(keys):
            self.wake()

    def tick(self) -> None:
        """Let time pass: subscriptions may turn mute."""
        connection = self._connection
        if connection is None or not self.connected:
            return
        now_s = self._now_s()
        if self.table.acknowledged and self._healthy_since_s is None:
            self._healthy_since_s = now_s
        if self._healthy_since_s is not None:
            self._backoff.healthy(now_s - self._healthy_since_s)
        lag_ns = connection.tap.lag_ns
        self.table.slow_s = lag_ns[0] / 1e9 if lag_ns is not None else 0.0
        turned = self.table.tick(now_s)
        self._fell_mute(turned)
        all_mute = self.table.mute > 0 and self.table.showing_life == 0
        if turned and all_mute and now_s - self._replaced_for_mute_s >= MUTE_RECONNECT_S:
            self._replaced_for_mute_s = now_s
            self.stop(
                DisconnectReason.MUTE, f"{self.table.mute} subscriptions mute, no ticker live"
            )
        connection.wake()

    def status(self) -> ConnectionStatus:
        """Return how things stand."""
        totals = dict(self._totals)
        connection = self._connection
        if connection is not None:
            _add(totals, connection.tap.statistics(), connection.received_bytes)
        now_s, last_s = self._now_s(), self.last_frame_s
        lag_ns = connection.tap.lag_ns if connection is not None else None
        return ConnectionStatus(
            name=self.name,
            state=self.state,
            connects=self.connects,
            last_disconnect=str(self.last_disconnect) if self.last_disconnect else None,
            frames=totals.get("frames", 0),
            received_bytes=totals.get("received_bytes", 0),
            malformed=totals.get("malformed", 0),
            last_frame_age_s=now_s - last_s if last_s > 0.0 else None,
            subscriptions=len(self.table.states()),
            acknowledged=self.table.acknowledged,
            mute=self.table.mute,
            lag_s=None if lag_ns is None else lag_ns[0] / 1e9,
            grace_s=None if lag_ns is None else lag_ns[1] / 1e9,
            budget_wait_s=self._gate.waits_s() if self.state is ConnectionState.WAITING else None,
        )

    # --- what the exchange says ---

    def _hear(self) -> None:
        """Turn what the exchange said since the last time into facts."""
        connection = self._connection
        if connection is None or not connection.tap.events_pending:
            return
        for event in connection.tap.take_events():
            self._read(event)
        if self._announce_when_settled and self.table.settled:
            self._settled()
        self._facts.append(Heard())

    def _read(self, event: WireEvent) -> None:
        match event:
            case WireEvent.Status(system=system, raw_json=raw_json):
                self._up(system, raw_json)
                self.in_maintenance = system == MAINTENANCE
            case WireEvent.Subscribed(channel=str(channel), symbol=symbol, interval=interval):
                if not self.connected:  # an exchange that answers is there, with or without status
                    self._up(None, "")
                key = self.table.subscribed(channel, symbol, interval, self._now_s())
                if key is not None:
                    self._watch_for(key)
            case WireEvent.Unsubscribed():
                self._unsubscribed(event)
            case WireEvent.Refused():
                self._refused(event)
            case WireEvent.TickerSnapshot(symbol=symbol):
                self.data(SubscriptionKey(TICKER.name, symbol), self._now_s())
            case WireEvent.OhlcSnapshot(symbol=symbol, interval=interval):
                span = event.oldest_s, event.newest_s, event.gateway_ns
                self._facts.append(CandleSnapshot((symbol, interval), *span))
                self.data(SubscriptionKey(OHLC.name, symbol, interval), self._now_s())
            case WireEvent.Instrument(raw_json=raw_json):
                self.data(SubscriptionKey(INSTRUMENT.name), self._now_s())
                self._facts.append(ReferenceData(raw_json))
            case WireEvent.Malformed(reason=reason, sample=sample):
                self._log("malformed", logging.WARNING, "malformed frame (%s): %s", reason, sample)
            case _:
                pass  # pongs, warnings and channels of no use here

    def _unsubscribed(self, said: WireEvent.Unsubscribed) -> None:
        answer = RequestAnswer(UNSUBSCRIBE, said.channel, said.symbol, said.interval, said.req_id)
        ended = self.table.unsubscribed(answer, self._now_s())
        for key in ended:
            self._log("ended", logging.WARNING, "%s ended by the exchange", key.words)
        self._not_served(ended, ENDED)
        self.wake()

    def _refused(self, said: WireEvent.Refused) -> None:
        method = said.method or SUBSCRIBE
        answer = RequestAnswer(method, said.channel, said.symbol, said.interval, said.req_id)
        refusal = self.table.refused(answer, said.error, self._now_s())
        if refusal.slow_down:
            self._log("slow", logging.WARNING, "asked to send fewer requests: %s", said.error)
        for key in refusal.keys:
            self._log("refusal", logging.WARNING, "%s refused: %s", key.words, said.error)
        self._not_served(refusal.keys, said.error)
        self.wake()

    def _not_served(self, keys: Iterable[SubscriptionKey], reason: str) -> None:
        now_s = self._now_s()
        for key in keys:
            self._facts.append(NotServed(key, reason, self.table.retry_after_s(key, now_s)))

    def _fell_mute(self, keys: Iterable[SubscriptionKey]) -> None:
        for key in keys:
            self._log("mute", logging.WARNING, "%s is mute", key.words)
            self._facts.append(FellMute(key))

    def _watch_for(self, key: SubscriptionKey) -> None:
        """Let the cache watch a subscription: what its pair trades has to show."""
        now_ns = self._clock.elapsed_ns()
        if key.series is not None:
            self._cache.expect_candles(*key.series, now_ns)
        elif key.symbol is not None:
            self._cache.expect_ticker(key.symbol, now_ns)

    # --- inside ---

    def _up(self, system: str | None, raw_json: str) -> None:
        """Note that the exchange spoke: the present connection is up."""
        gap_s = None
        if self._connection is not None and not self.connected:
            if self._lost_s is not None:
                gap_s, self._lost_s = self._now_s() - self._lost_s, None
            self.state = ConnectionState.CONNECTED
            self.connects += 1
            self._resubscribes = self.connects > 1
            self._announce_when_settled = True
            self._gate.up(self)
            self._connection.status_seen()
            how = "no status frame" if system is None else system
            self._log("connect", logging.INFO, "connected (%s)", how)
        self._facts.append(Greeting(system, raw_json, gap_s))

    def _settled(self) -> None:
        self._announce_when_settled = False
        states = self.table.states().items()
        refused = [key.words for key, (state, _) in states if state is REFUSED]
        ok, names = self.table.acknowledged, f": {', '.join(refused[:NAMED])}" if refused else ""
        again, self._resubscribes = self._resubscribes, False
        word = "resubscribed" if again else "subscribed"
        text = "%s: %d acknowledged, %d refused%s"
        self._log(word, logging.INFO, text, word, ok, len(refused), names)
        if again:
            self._facts.append(Settled(ok, len(refused), self._series()))

    def _series(self) -> list[tuple[str, int]]:
        return [key.series for key in self.table.states() if key.series is not None]

    def _log(self, kind: str, level: int, text: str, *arguments: object) -> None:
        more = self._limiter.admit(kind, self._now_s())
        if more is not None:
            log.log(level, "[%s] " + text + "%s", self.name, *arguments, more)

    def _now_s(self) -> float:
        return self._clock.elapsed_ns() / 1e9


def _add(totals: dict[str, int], counters: dict[str, int], received_bytes: int) -> None:
    for name, value in counters.items():
        totals[name] = totals.get(name, 0) + value
    totals["received_bytes"] = totals.get("received_bytes", 0) + received_bytes
