"""One place in the plan of connections: it connects, again and again, and keeps its subscriptions.

A supervisor outlives its connections. It owns the desired state and the backoff; what concerns the
whole feed (candles, names, changes) it hands to its hooks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from random import Random
from typing import Protocol, cast

import trio

from krakked._core import MarketCache
from krakked._market.stream.backoff import Backoff
from krakked._market.stream.connect_limiter import ConnectLimiter
from krakked._market.stream.connection import Connection, Endpoint
from krakked._market.stream.disconnect import Disconnect, DisconnectReason
from krakked._market.stream.loglimit import LogLimiter
from krakked._market.stream.opening import StreamOpener
from krakked._market.stream.requests import (
    INSTRUMENT,
    OHLC,
    SUBSCRIBE,
    TICKER,
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
"""So many refused subscriptions one log supervisor names."""
REFUSED = SubscriptionState.REFUSED

log = logging.getLogger("krakked.stream")


class SupervisorHooks(Protocol):
    """What a supervisor tells its feed. All plain calls; none may raise or wait."""

    def greeted(self, supervisor: ConnectionSupervisor, system: str | None, raw_json: str) -> None:
        """Take a status frame; None when the exchange spoke without one."""

    def resubscribed(self, supervisor: ConnectionSupervisor, ok: int, refused: int) -> None:
        """Everything wanted was answered after a reconnect."""

    def lost(self, supervisor: ConnectionSupervisor, outcome: Disconnect) -> None:
        """A connection that had been greeted is gone, or never got that far."""

    def ohlc_snapshot(
        self, symbol: str, interval: int, oldest_s: int, newest_s: int, gateway_ns: int | None
    ) -> None:
        """A snapshot of candles was applied: open times of its oldest and newest row, its time."""

    def refused(
        self, supervisor: ConnectionSupervisor, keys: Iterable[SubscriptionKey], reason: str
    ) -> None:
        """The exchange refused these subscriptions, or ended them though they are wanted."""

    def fell_mute(self, supervisor: ConnectionSupervisor, keys: Iterable[SubscriptionKey]) -> None:
        """These subscriptions are acknowledged and bring nothing."""

    def recovered(self, supervisor: ConnectionSupervisor, key: SubscriptionKey) -> None:
        """A mute subscription brings data again."""

    def instrument(self, raw_json: str) -> None:
        """Reference data."""

    def state_changed(self) -> None:
        """Subscriptions may have changed their state."""

    def in_maintenance(self) -> bool:
        """Whether the exchange last said that it is in maintenance."""
        ...

    def chunk(self) -> None:
        """Market data may have changed."""


class ConnectionSupervisor:
    """Supervises one connection after the other.

    Args:
        name: For people: ``1m``, ``5m/2``.
        endpoint: Where to.
        opener: How to get there.
        clock: Elapsed time.
        cache: Where market data goes.
        gate: Who may connect now.
        hooks: The feed.
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
        hooks: SupervisorHooks,
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
        self.down_since_s: float | None = None
        """Elapsed time of the last loss; None before the first and while connected."""
        self._endpoint = endpoint
        self._opener = opener
        self._clock = clock
        self._cache = cache
        self._gate = gate
        self._hooks = hooks
        self._req_ids = req_ids
        self._backoff = Backoff(random)
        self._limiter = limiter
        self._on_frame = on_frame
        self._connection: Connection | None = None
        self._healthy_since_s: float | None = None
        self._announce_when_settled = False
        self._resubscribes = False
        self._replaced_for_mute_s = -MUTE_RECONNECT_S
        self._totals: dict[str, int] = {}

    # --- for the feed ---

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
                    maintenance=self._hooks.in_maintenance(), rejected=outcome.rejected
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
            on_events=self._on_events,
            on_chunk=self._hooks.chunk,
            on_frame=None if on_frame is None else lambda text: on_frame(self.name, text),
        )
        self.table.connected(self._now_s())
        self._healthy_since_s = None
        self._announce_when_settled = False
        try:
            outcome = await connection.run()
        finally:
            self._count(connection)
            self._connection = None
            self._gate.down(self)
            for key in self.table.states():  # candles are put in doubt by the end of the tap
                if key.channel == TICKER and key.symbol is not None:
                    self._cache.expect_ticker(key.symbol, None)
            self.table.disconnected(self._now_s())
        self.last_disconnect = outcome
        if self.connected:
            self.down_since_s = self._now_s()
        self._hooks.lost(self, outcome)
        self._log("disconnect", logging.WARNING, "disconnected: %s", outcome)
        return outcome

    def series(self) -> list[tuple[str, int]]:
        """Return the candle series that this supervisor carries."""
        return [
            (key.symbol, key.interval)
            for key in self.table.states()
            if key.channel == OHLC and key.symbol is not None and key.interval is not None
        ]

    def end(self, symbol: str, reason: str) -> None:
        """Note that the exchange serves a symbol no more."""
        self.table.end([key for key in self.table.states() if key.symbol == symbol], reason)

    def mark_mute(self, keys: Iterable[SubscriptionKey]) -> None:
        """Note that subscriptions brought nothing although their pairs trade."""
        turned = [key for key in keys if self.table.mark_mute(key, self._now_s())]
        for key in turned:
            self._log("mute", logging.WARNING, "%s %s is mute", *key_words(key))
        if turned:
            self._hooks.fell_mute(self, turned)
            self.wake()

    def data(self, key: SubscriptionKey, at_s: float) -> None:
        """Note that data of a subscription came at an elapsed time."""
        if self.table.data(key, at_s):
            self._hooks.recovered(self, key)
            self._expect(key)

    def ask_again(self, symbols: Collection[str] | None = None) -> None:
        """Ask once more for what was refused, of these symbols or at all."""
        keys = [key for key in self.table.states() if symbols is None or key.symbol in symbols]
        if self.table.ask_again(keys):
            self.wake()

    def tick(self) -> list[SubscriptionKey]:
        """Let time pass; give the subscriptions that turned mute just now."""
        connection = self._connection
        if connection is None or not self.connected:
            return []
        now_s = self._now_s()
        if self.table.acknowledged and self._healthy_since_s is None:
            self._healthy_since_s = now_s
        if self._healthy_since_s is not None:
            self._backoff.healthy(now_s - self._healthy_since_s)
        lag_ns = connection.tap.lag_ns
        self.table.slow_s = lag_ns[0] / 1e9 if lag_ns is not None else 0.0
        turned = self.table.tick(now_s)
        for key in turned:
            self._log("mute", logging.WARNING, "%s %s is mute", *key_words(key))
        if turned:
            self._hooks.fell_mute(self, turned)
        all_mute = self.table.mute > 0 and self.table.live_tickers == 0
        if turned and all_mute and now_s - self._replaced_for_mute_s >= MUTE_RECONNECT_S:
            self._replaced_for_mute_s = now_s
            self.stop(DisconnectReason.MUTE, f"{self.table.mute} tickers mute, none live")
        connection.wake()
        return turned

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
        )

    # --- what the exchange says ---

    def _on_events(self, events: list[tuple[object, ...]]) -> None:
        for event in events:
            handler = self._HANDLERS.get(cast("str", event[0]))
            if handler is not None:
                handler(self, event)
        if self._announce_when_settled and self.table.settled:
            self._settled()
        self._hooks.state_changed()

    def _on_status(self, event: tuple[object, ...]) -> None:
        _, system, _, raw_json = event
        self._up(str(system))
        self._hooks.greeted(self, str(system), str(raw_json))

    def _on_subscribed(self, event: tuple[object, ...]) -> None:
        _, channel, symbol, interval, *_ = event
        if not self.connected:  # an exchange that answers is there, even without a status frame
            self._up("no status frame")
            self._hooks.greeted(self, None, "")
        key = self.table.subscribed(
            str(channel), cast("str | None", symbol), cast("int | None", interval), self._now_s()
        )
        if key is not None:
            self._expect(key)

    def _on_unsubscribed(self, event: tuple[object, ...]) -> None:
        _, channel, symbol, interval, req_id = cast(
            "tuple[str, str | None, str | None, int | None, int | None]", event
        )
        answer = RequestAnswer(UNSUBSCRIBE, channel, symbol, interval, req_id)
        ended = self.table.unsubscribed(answer, self._now_s())
        for key in ended:
            self._log("ended", logging.WARNING, "%s %s ended by the exchange", *key_words(key))
        if ended:
            self._hooks.refused(self, ended, ENDED)
        self.wake()

    def _on_refused(self, event: tuple[object, ...]) -> None:
        _, method, channel, symbol, interval, req_id, error = cast(
            "tuple[str, str, str | None, str | None, int | None, int | None, str]", event
        )
        answer = RequestAnswer(method or SUBSCRIBE, channel, symbol, interval, req_id)
        refusal = self.table.refused(answer, error, self._now_s())
        if refusal.slow_down:
            self._log("slow", logging.WARNING, "asked to send fewer requests: %s", error)
        for key in refusal.keys:
            self._log("refusal", logging.WARNING, "%s %s refused: %s", *key_words(key), error)
        if refusal.keys:
            self._hooks.refused(self, refusal.keys, error)
        self.wake()

    def _on_ticker_snapshot(self, event: tuple[object, ...]) -> None:
        self.data(SubscriptionKey(TICKER, cast("str", event[1])), self._now_s())

    def _on_ohlc_snapshot(self, event: tuple[object, ...]) -> None:
        _, symbol, interval, oldest_s, newest_s, gateway_ns = cast(
            "tuple[str, str, int, int, int, int | None]", event
        )
        self._hooks.ohlc_snapshot(symbol, interval, oldest_s, newest_s, gateway_ns)
        self.data(SubscriptionKey(OHLC, symbol, interval), self._now_s())

    def _on_instrument(self, event: tuple[object, ...]) -> None:
        self.data(SubscriptionKey(INSTRUMENT), self._now_s())
        self._hooks.instrument(cast("str", event[2]))

    def _expect(self, key: SubscriptionKey) -> None:
        """Let the cache watch a subscription: what its pair trades has to show."""
        now_ns = self._clock.elapsed_ns()
        if key.channel == TICKER and key.symbol is not None:
            self._cache.expect_ticker(key.symbol, now_ns)
        elif key.channel == OHLC and key.symbol is not None and key.interval is not None:
            self._cache.expect_candles(key.symbol, key.interval, now_ns)

    def _on_malformed(self, event: tuple[object, ...]) -> None:
        self._log("malformed", logging.WARNING, "malformed frame (%s): %s", event[1], event[2])

    _HANDLERS = {  # noqa: RUF012 - a constant table of methods
        "status": _on_status,
        "subscribed": _on_subscribed,
        "unsubscribed": _on_unsubscribed,
        "refused": _on_refused,
        "ticker_snapshot": _on_ticker_snapshot,
        "ohlc_snapshot": _on_ohlc_snapshot,
        "instrument": _on_instrument,
        "malformed": _on_malformed,
    }

    # --- inside ---

    def _up(self, how: str) -> None:
        if self.connected or self._connection is None:
            return
        self.state = ConnectionState.CONNECTED
        self.connects += 1
        self._resubscribes = self.connects > 1
        self._announce_when_settled = True
        self._gate.up(self)
        self._connection.status_seen()
        self._log("connect", logging.INFO, "connected (%s)", how)

    def _settled(self) -> None:
        self._announce_when_settled = False
        states = self.table.states().items()
        refused = [" ".join(key_words(key)) for key, (state, _) in states if state is REFUSED]
        ok, names = self.table.acknowledged, f": {', '.join(refused[:NAMED])}" if refused else ""
        again, self._resubscribes = self._resubscribes, False
        word = "resubscribed" if again else "subscribed"
        text = "%s: %d acknowledged, %d refused%s"
        self._log(word, logging.INFO, text, word, ok, len(refused), names)
        if again:
            self._hooks.resubscribed(self, ok, len(refused))

    def _count(self, connection: Connection) -> None:
        _add(self._totals, connection.tap.statistics(), connection.received_bytes)

    def _log(self, kind: str, level: int, text: str, *arguments: object) -> None:
        more = self._limiter.admit(kind, self._now_s())
        if more is not None:
            log.log(level, "[%s] " + text + "%s", self.name, *arguments, more)

    def _now_s(self) -> float:
        return self._clock.elapsed_ns() / 1e9


def key_words(key: SubscriptionKey) -> tuple[str, str]:
    """Return channel and symbol for a log supervisor."""
    return key.channel, key.symbol or ""


def _add(totals: dict[str, int], counters: dict[str, int], received_bytes: int) -> None:
    for name, value in counters.items():
        totals[name] = totals.get(name, 0) + value
    totals["received_bytes"] = totals.get("received_bytes", 0) + received_bytes
