"""What happens, as one ordered iterator: conflated prices and candles, every closed candle, events.

A slow consumer sees the newest state of each pair and backs up no memory: prices and running
candles are looked up when they are handed over. Closed candles and feed events are kept in one log
shared by all consumers; they are never dropped or repeated, and a consumer that falls behind by
more than `LOG_LIMIT` of them is told so by an error instead of losing any silently.
"""

import contextlib
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from typing import Final

import msgspec
import trio

from krakked._core import MarketCache
from krakked._errors import ChangesInUseError, ChangesLaggedError, ConfigError
from krakked._market.arguments import one_of, one_or_many
from krakked._market.bars import OHLCBar, Source, live_bar
from krakked._market.stream.disconnect import DisconnectReason
from krakked._market.stream.evidence import Evidence
from krakked._market.universe_source import UniverseChange
from krakked._network.clock import Clock, require_home
from krakked._public import public
from krakked._timeframes import LABELS, Timeframe

LOG_LIMIT: Final = 250_000
"""Closed candles and events that one consumer may be behind: hours of the whole universe."""


IN_A_ROW: Final = 16
"""Changes that a consumer takes at most before other tasks have a turn."""


@public
class ChangeKind(StrEnum):
    """What to listen to."""

    TICKER = "ticker"
    """`TickerChange`."""
    CANDLE = "candle"
    """`CandleChange`."""
    CANDLE_CLOSED = "candle_closed"
    """CandleClosed, and CandleCorrected where one turns out wrong: the two come together."""
    FEED = "feed"
    """Connections, subscriptions, the exchange and its pairs: every `FeedEvent`."""


def change_kinds(kinds: Iterable[ChangeKind | str]) -> list[ChangeKind]:
    """Read one kind or a collection of them.

    Raises:
        ConfigError: One of them does not exist, or there is none.
    """
    known = {kind.value: kind for kind in ChangeKind}
    chosen = []
    for kind in one_or_many(kinds, "kinds"):
        one_of(kind, "kinds", list(known))
        chosen.append(known[kind])
    if not chosen:
        raise ConfigError("kinds is empty: nothing would ever come. Leave it out for all kinds.")
    return chosen


@public
class TickerChange(msgspec.Struct, frozen=True, kw_only=True):
    """The newest ticker of a pair; states in between are skipped."""

    pair: str
    """Canonical name."""
    bid: float | None
    """Highest bid, quote per base."""
    bid_qty: float | None
    """Base units at the bid."""
    ask: float | None
    """Lowest ask, quote per base."""
    ask_qty: float | None
    """Base units at the ask."""
    last: float | None
    """Price of the last trade."""
    volume: float | None
    """Base units in 24 hours."""
    last_update_ts: float
    """Unix seconds by the local wall clock: when it arrived, less what it came late."""


@public
class CandleChange(msgspec.Struct, frozen=True, kw_only=True):
    """The running candle of a pair; states in between are skipped."""

    pair: str
    """Canonical name."""
    timeframe: Timeframe
    """Label such as ``1m``."""
    bar: OHLCBar
    """The candle as it stands; it may still change."""
    last_update_ts: float
    """Unix seconds by the local wall clock: when it arrived, less what it came late."""


@public
class CandleClosed(msgspec.Struct, frozen=True, kw_only=True):
    """A finished candle: each exactly once, in order of time for each pair and timeframe."""

    pair: str
    """Canonical name."""
    timeframe: Timeframe
    """Label such as ``1m``."""
    bar: OHLCBar
    """The finished candle."""
    source: Source
    """WEBSOCKET, or REST where an outage was filled."""
    evidence: Evidence = Evidence.NEXT
    """Why it counts as closed; ``quiet`` is the weakest, and is compared with REST afterwards."""


@public
class CandleCorrected(msgspec.Struct, frozen=True, kw_only=True):
    """A candle given out before was wrong, or one was left out: `bar` is what it is.

    It replaces the bar in the journal. May come at any time after the `CandleClosed`.
    """

    pair: str
    """Canonical name."""
    timeframe: Timeframe
    """Label such as ``1m``."""
    bar: OHLCBar
    """The candle as it is known now."""
    previous: OHLCBar | None
    """What was given out before; None when the interval had been passed over as empty."""
    source: Source
    """WEBSOCKET for a row that came late, or REST."""


@public
class Disconnected(msgspec.Struct, frozen=True, kw_only=True):
    """A connection was lost."""

    connection: str
    """Name of the connection: ``1m``, ``5m/2``."""
    reason: DisconnectReason
    """Why, as one of a few kinds."""
    detail: str
    """The same in words, for people."""


@public
class Reconnected(msgspec.Struct, frozen=True, kw_only=True):
    """A lost connection is back."""

    connection: str
    """Its name: ``1m``, ``5m/2``."""
    gap_s: float
    """Seconds without it."""


@public
class Resubscribed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything wanted was answered after a reconnect."""

    connection: str
    """Its name: ``1m``, ``5m/2``."""
    ok: int
    """Subscriptions that were acknowledged."""
    refused: int
    """Subscriptions that were refused."""


@public
class MarketStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's system status changed."""

    system: str
    """``online``, ``maintenance``, ``cancel_only``, ``post_only``, or whatever comes next."""


@public
class SubscriptionRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange refused a subscription, or ended it."""

    pair: str
    """Canonical name."""
    channel: str
    """``ticker`` or ``ohlc``."""
    timeframe: Timeframe | None
    """For ``ohlc``."""
    reason: str
    """The exchange's text."""
    retry_after_s: float | None
    """Seconds until it is asked for again; None when the reason lasts."""


@public
class SubscriptionMute(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription is acknowledged and brings nothing although the pair trades."""

    pair: str
    """Canonical name."""
    channel: str
    """``ticker`` or ``ohlc``."""
    timeframe: Timeframe | None
    """For ``ohlc``."""


@public
class SubscriptionRecovered(msgspec.Struct, frozen=True, kw_only=True):
    """A mute subscription brings data again."""

    pair: str
    """Canonical name."""
    channel: str
    """``ticker`` or ``ohlc``."""
    timeframe: Timeframe | None
    """For ``ohlc``."""


@public
class PairStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange changed the state of a pair."""

    pair: str
    """Canonical name."""
    status: str
    """``online``, ``post_only``, ``cancel_only``, ``delisted``, ... ; an open set."""


FeedEvent = (
    Disconnected
    | Reconnected
    | Resubscribed
    | MarketStatus
    | SubscriptionRefused
    | SubscriptionMute
    | SubscriptionRecovered
    | PairStatus
    | UniverseChange
)
"""What happens to the stream, the exchange and its pairs."""
CandleEvent = CandleClosed | CandleCorrected
"""What is said of a finished candle."""
Change = TickerChange | CandleChange | CandleEvent | FeedEvent
"""Whatever `Kraken.changes` may give."""


class ChangeHub:
    """Hands changes to any number of consumers.

    Args:
        cache: Where prices and running candles are looked up.
        clock: For stamps.
        canonical: Gives the pair behind a symbol, or None when it is not streamed.
    """

    def __init__(
        self, cache: MarketCache, clock: Clock, canonical: Callable[[str], str | None]
    ) -> None:
        self.cache = cache
        self.clock = clock
        self.canonical = canonical
        self.closed: bool = False
        self._log: deque[CandleEvent | FeedEvent] = deque()
        self._first = 0  # number of the oldest entry in the log
        self._consumers: weakref.WeakSet[Changes] = weakref.WeakSet()
        self._waiting = 0
        self._wake = trio.Event()
        self.home: trio.lowlevel.TrioToken | None = None
        """The trio in which the stream runs."""
        self._bell: int | None = None
        self._conflate_s = 0.0
        self._at_the_bell = False

    def listen(self, conflate_ms: float) -> None:
        """Hear of changes from the cache itself, which readers' threads feed.

        Args:
            conflate_ms: Two wakings are at least so far apart.
        """
        self._bell = self.cache.listen(int(conflate_ms * 1e6))
        self._conflate_s = conflate_ms / 1e3

    def publish(self, event: CandleEvent | FeedEvent) -> None:
        """Put a closed candle or an event into the log; nobody listening, it is gone."""
        if not self._consumers:
            return
        self._log.append(event)
        if len(self._log) > LOG_LIMIT:
            self._trim()
            while len(self._log) > LOG_LIMIT:
                self._log.popleft()
                self._first += 1
        self.touch()

    def touch(self) -> None:
        """Say that the cache may have changed."""
        if self._waiting:
            self._wake_all()
            if self._at_the_bell:
                self.cache.wake()

    def close(self) -> None:
        """End every iterator once it has given what is left."""
        self.closed = True
        self.touch()
        if self._bell is not None:
            trio.lowlevel.notify_closing(self._bell)
            self._bell = None
            self.cache.unlisten()

    def consumer(
        self,
        pairs: Collection[str] | None,
        kinds: Collection[ChangeKind],
        timeframes: Collection[str] | None = None,
        *,
        snapshot: bool = False,
    ) -> "Changes":
        """Return an iterator over what happens from now on."""
        position = self._first + len(self._log)
        changes = Changes(self, pairs, kinds, timeframes, position, snapshot=snapshot)
        self._consumers.add(changes)
        return changes

    def entry(self, number: int) -> CandleEvent | FeedEvent | None:
        """Return an entry of the log, or None when it has not happened yet.

        Raises:
            ChangesLaggedError: The entry is no longer kept.
        """
        if number < self._first:
            raise ChangesLaggedError(
                f"This consumer of changes fell behind by more than {LOG_LIMIT} closed candles and "
                "events. Read the missed candles from the store and listen anew."
            )
        at = number - self._first
        return self._log[at] if at < len(self._log) else None

    async def wait(self) -> None:
        """Wait for the next change of any kind."""
        wake = self._wake
        self._waiting += 1
        try:
            if self._bell is None or self._at_the_bell:
                await wake.wait()
            else:
                await self._wait_for_bell(self._bell)
        finally:
            self._waiting -= 1

    async def pause(self) -> None:
        """Wait before the next look, after one that brought nothing of interest."""
        if self._bell is None:
            await self.wait()
        else:
            await trio.sleep(self._conflate_s)

    async def _wait_for_bell(self, bell: int) -> None:
        """Wait for the cache's bell. Trio lets one task do so: that one wakes the others."""
        self._at_the_bell = True
        try:
            with contextlib.suppress(trio.ClosedResourceError):  # the end
                await trio.lowlevel.wait_readable(bell)
            self.cache.heard()
        finally:
            self._at_the_bell = False
            if self._waiting > 1:
                self._wake_all()

    def _wake_all(self) -> None:
        self._wake.set()
        self._wake = trio.Event()

    def forget(self, changes: "Changes") -> None:
        """Forget a consumer."""
        self._consumers.discard(changes)
        self._trim()

    def read(self) -> None:
        """Say that a consumer has moved on; drops what everybody has read, now and then."""
        if len(self._log) >= 64:
            self._trim()

    def _trim(self) -> None:
        needed = min((c.position for c in self._consumers), default=self._first + len(self._log))
        while self._log and self._first < needed:
            self._log.popleft()
            self._first += 1


@public
class Changes:
    """An asynchronous iterator over `Change`; for one task. Leaving the loop is enough.

    Raises:
        ChangesInUseError: A second task reads while the first one waits.
        ChangesLaggedError: The reader fell too far behind.
    """

    def __init__(
        self,
        hub: ChangeHub,
        pairs: Collection[str] | None,
        kinds: Collection[ChangeKind],
        timeframes: Collection[str] | None,
        position: int,
        *,
        snapshot: bool = False,
    ) -> None:
        self.position: int = position
        """Number of the next entry of the log to read."""
        self._hub = hub
        self._pairs = frozenset(pairs) if pairs is not None else None
        self._kinds = frozenset(kinds)
        self._timeframes = frozenset(LABELS.values() if timeframes is None else timeframes)
        self._conflated = not self._kinds.isdisjoint((ChangeKind.TICKER, ChangeKind.CANDLE))
        self._tickers: dict[str, None] = {}
        self._candles: dict[tuple[str, int], None] = {}
        self._reading = self._looked_in_vain = False
        self._in_a_row = 0  # given since others could run
        cache = hub.cache
        self._watcher = cache.add_watcher(everything=snapshot)
        self._finalizer = weakref.finalize(self, cache.remove_watcher, self._watcher)

    def __aiter__(self) -> "Changes":
        return self

    async def __anext__(self) -> Change:
        require_home(self._hub.home, "An iterator of changes()")
        if self._reading:
            raise ChangesInUseError(
                "Another task waits for this iterator of changes(): each would miss what the other "
                "one gets. Call changes() once for each task."
            )
        self._reading = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            while True:
                change = self._next_logged() or self._next_conflated()
                if change is not None:
                    # Letting others run costs more than a change does, so not after each one.
                    self._in_a_row += 1
                    if self._in_a_row >= IN_A_ROW:
                        self._in_a_row = 0
                        await trio.lowlevel.cancel_shielded_checkpoint()  # the change is taken
                    return change
                self._in_a_row = 0
                if self._hub.closed or not self._finalizer.alive:
                    raise StopAsyncIteration
                if self._looked_in_vain:
                    # Only others changed, so nothing wakes us; nor is each of them worth a look.
                    self._looked_in_vain = False
                    await self._hub.pause()
                else:
                    await self._hub.wait()
        finally:
            self._reading = False

    def close(self) -> None:
        """Stop listening; the iterator ends."""
        if self._finalizer.alive:
            self._finalizer()
            self._hub.forget(self)
            self._hub.touch()

    def _next_logged(self) -> CandleEvent | FeedEvent | None:
        while self._finalizer.alive:
            event = self._hub.entry(self.position)
            if event is None:
                return None
            self.position += 1
            self._hub.read()
            if isinstance(event, CandleClosed | CandleCorrected):
                wanted = ChangeKind.CANDLE_CLOSED in self._kinds and self._wants(event.pair)
                if wanted and event.timeframe in self._timeframes:
                    return event
            elif ChangeKind.FEED in self._kinds:
                return event
        return None

    def _next_conflated(self) -> TickerChange | CandleChange | None:
        if not self._finalizer.alive or not self._conflated:
            return None
        if not self._tickers and not self._candles:
            self._look()
        while self._tickers or self._candles:
            change: TickerChange | CandleChange | None
            if self._tickers:
                symbol = next(iter(self._tickers))
                del self._tickers[symbol]
                change = self._ticker(symbol)
            else:
                one = next(iter(self._candles))
                del self._candles[one]
                change = self._candle(*one)
            if change is not None:
                self._looked_in_vain = False
                return change
        return None

    def _look(self) -> None:
        """Take what changed; if nothing did, the cache wakes us for the next change."""
        symbols, series = self._hub.cache.take_changed(self._watcher, arm=True)
        self._looked_in_vain = bool(symbols or series)
        if ChangeKind.TICKER in self._kinds:
            self._tickers = dict.fromkeys(symbols)
        if ChangeKind.CANDLE in self._kinds:
            self._candles = dict.fromkeys(series)

    def _wants(self, pair: str | None) -> bool:
        return pair is not None and (self._pairs is None or pair in self._pairs)

    def _ticker(self, symbol: str) -> TickerChange | None:
        pair = self._hub.canonical(symbol)
        row = self._hub.cache.ticker(symbol)
        if pair is None or row is None or not self._wants(pair):
            return None
        return TickerChange(
            pair=pair,
            bid=row.bid,
            bid_qty=row.bid_qty,
            ask=row.ask,
            ask_qty=row.ask_qty,
            last=row.last,
            volume=row.volume,
            last_update_ts=self._stamp(row.updated_ns - row.late_ns),
        )

    def _candle(self, symbol: str, interval: int) -> CandleChange | None:
        pair = self._hub.canonical(symbol)
        row = self._hub.cache.candle(symbol, interval)
        timeframe = LABELS.get(interval)
        if pair is None or row is None or not self._wants(pair):
            return None
        if timeframe is None or timeframe not in self._timeframes:
            return None
        if row.closed:  # comes as CandleClosed
            return None
        return CandleChange(
            pair=pair,
            timeframe=timeframe,
            bar=live_bar(row),
            last_update_ts=self._stamp(row.updated_ns - row.late_ns),
        )

    def _stamp(self, made_ns: int) -> float:
        clock = self._hub.clock
        return (clock.wall_ns() - clock.elapsed_ns() + made_ns) / 1e9
