"""One scheduler for the whole stream: a heap of next events over all subscribed pairs.

A pair costs nothing between its events, a connection nothing between its heartbeats; there is one
task however many pairs and connections there are.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import trio

from krakked._sandbox import ws_frames as frames
from krakked._sandbox.listing import Pair
from krakked._sandbox.live_pair import LivePair
from krakked._sandbox.venue import Venue

_EVENTS_PER_TURN = 64
_FAR = 2**62


class Subscriber(Protocol):
    """What the pump needs to know of a connection."""

    variant: int
    last_data: float

    def push_data(self, channel: str, symbol: str, text: str) -> None:
        """Queue a data frame."""

    def push(self, text: str) -> None:
        """Queue any other frame."""


class PairFeed:
    """A pair that someone listens to."""

    def __init__(self, live: LivePair) -> None:
        self.live = live
        self.tickers: dict[Subscriber, str] = {}
        self.candles: dict[int, set[Subscriber]] = {}
        self.trades: set[Subscriber] = set()
        self.due_ns = -1
        self.due_at: float = -1.0
        self.under_way: deque[int] = deque()
        """Trades whose candle rows the maker has not sent yet, unix nanoseconds."""

    def maker_ns(self, now_ns: int) -> int:
        """How far the candle maker is with this pair."""
        return self.under_way[0] - 1 if self.under_way else now_ns

    @property
    def idle(self) -> bool:
        """Whether nobody listens."""
        return not (self.tickers or self.trades or self.candles)

    @property
    def wants_quotes(self) -> bool:
        """Whether someone wants to hear of every quote."""
        return "bbo" in self.tickers.values()


class Pump:
    """Sends market data and heartbeats to connections."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._feeds: dict[str, PairFeed] = {}
        self._heap: list[tuple[float, int, PairFeed | Subscriber | Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake = trio.Event()
        self._beating: set[Subscriber] = set()
        self.paused = False
        """While true no market data is sent (maintenance)."""
        self.lag_of: Callable[[str], tuple[float, bool]] = lambda _symbol: (0.0, True)
        """How late the candle maker is with a row, and whether later rows wait for it."""
        self.lags: Callable[[str], bool] = lambda _symbol: False
        """Whether the candle maker is late at all: then it goes on with nobody listening."""
        self._maker_at: dict[tuple[str, int], float] = {}

    # --- subscriptions --------------------------------------------------------------------------

    def feed(self, pair: Pair, now_ns: int) -> PairFeed:
        """Return a pair's feed, up to date at a time."""
        feed = self._feeds.get(pair.symbol)
        if feed is None:
            feed = PairFeed(LivePair(self._venue.market.of(pair)))
            feed.live.seek(now_ns)
            self._feeds[pair.symbol] = feed
        elif self._sleeps(feed):
            feed.live.seek(now_ns)
            feed.due_ns = -1
        else:
            self._catch_up(feed, now_ns)
        return feed

    def add_ticker(self, to: Subscriber, pair: Pair, trigger: str, now_ns: int) -> str:
        """Subscribe to a ticker; gives the snapshot's data object."""
        feed = self.feed(pair, now_ns)
        feed.live.skip_quotes(now_ns)
        feed.tickers[to] = trigger
        self._arm(feed)
        return feed.live.ticker(now_ns)

    def add_candles(self, to: Subscriber, pair: Pair, step_s: int, now_ns: int) -> str:
        """Subscribe to candles; gives the snapshot's data objects."""
        feed = self.feed(pair, now_ns)
        feed.candles.setdefault(step_s, set()).add(to)
        feed.live.watch(step_s, now_ns)
        self._arm(feed)
        # What the maker has not made yet, its snapshot does not know; the rows still come.
        return feed.live.candle_snapshot(step_s, feed.maker_ns(now_ns))

    def add_trades(self, to: Subscriber, pair: Pair, now_ns: int) -> str:
        """Subscribe to trades; gives the data objects of the last 50."""
        feed = self.feed(pair, now_ns)
        feed.trades.add(to)
        self._arm(feed)
        return feed.live.last_trades(50, now_ns)

    def remove(self, to: Subscriber, channel: str, symbol: str) -> None:
        """End a subscription."""
        feed = self._feeds.get(symbol)
        if feed is None:
            return
        if channel == "ticker":
            feed.tickers.pop(to, None)
        elif channel == "trade":
            feed.trades.discard(to)
        elif channel == "ohlc":
            for step in [s for s, listeners in feed.candles.items() if to in listeners]:
                feed.candles[step].discard(to)
                if not feed.candles[step] and not feed.under_way and not self.lags(symbol):
                    del feed.candles[step]
                    if step != 60:  # the ticker keeps the running minute
                        feed.live.unwatch(step)

    def start_heartbeats(self, to: Subscriber) -> None:
        """Send heartbeats whenever a connection has been quiet."""
        if to not in self._beating:
            self._beating.add(to)
            self._schedule(trio.current_time() + self._venue.settings.heartbeat_s, to)

    def stop_heartbeats(self, to: Subscriber) -> None:
        """Send no more heartbeats."""
        self._beating.discard(to)

    # --- running --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send everything that is due, for ever."""
        while True:
            for _ in range(_EVENTS_PER_TURN):
                if not self._heap or self._heap[0][0] > trio.current_time():
                    break
                at, _, what = heapq.heappop(self._heap)
                if isinstance(what, PairFeed):
                    self._market_event(at, what)
                elif callable(what):
                    what()
                elif what in self._beating:
                    self._heartbeat(at, what)
            else:
                await trio.lowlevel.checkpoint()
                continue
            self._wake = trio.Event()
            deadline = self._heap[0][0] if self._heap else float("inf")
            with trio.move_on_at(deadline):
                await self._wake.wait()

    def later(self, at: float, action: Callable[[], None]) -> None:
        """Do something at a time of trio's clock, in its place among the market's events."""
        self._schedule(at, action)

    def _schedule(self, at: float, what: PairFeed | Subscriber | Callable[[], None]) -> None:
        heapq.heappush(self._heap, (at, next(self._order), what))
        self._wake.set()

    def _sleeps(self, feed: PairFeed) -> bool:
        """Whether nobody listens, and the candle maker owes no row of a trade that happened."""
        return feed.idle and not feed.under_way and not self.lags(feed.live.pair.symbol)

    def _arm(self, feed: PairFeed) -> None:
        """Schedule a feed's next event, unless it is scheduled already."""
        if self._sleeps(feed):
            return
        due_ns = feed.live.next_trade_ns()
        if feed.wants_quotes:
            due_ns = min(due_ns, feed.live.next_quote_ns())
        if due_ns < _FAR and due_ns != feed.due_ns:
            feed.due_ns = due_ns
            feed.due_at = self._venue.clock.trio_time(due_ns)
            self._schedule(feed.due_at, feed)

    def _market_event(self, at: float, feed: PairFeed) -> None:
        if at != feed.due_at:  # an entry from before the feed was armed anew
            return
        if self._sleeps(feed):
            feed.due_ns = -1
            return
        # Only what is due here: after a hold-up, the events of all pairs still come in order.
        self._catch_up(feed, feed.due_ns)
        self._arm(feed)

    def _catch_up(self, feed: PairFeed, now_ns: int) -> None:
        live = feed.live
        while True:
            trade_ns, quote_ns = live.next_trade_ns(), live.next_quote_ns()
            if min(trade_ns, quote_ns if feed.wants_quotes else _FAR) > now_ns:
                return
            if feed.wants_quotes and quote_ns <= trade_ns:
                if live.take_quote():
                    self._send_ticker(feed, quote_ns, "bbo")
            else:
                live.skip_quotes(trade_ns)
                self._send_trades(feed, trade_ns)

    def _send_trades(self, feed: PairFeed, at_ns: int) -> None:
        live = feed.live
        trades = live.take_trades()
        symbol = live.pair.symbol
        if feed.trades:
            text = partial(frames.data_frame, "trade", "update", live.trade_rows(trades))
            self._send(feed.trades, "trade", symbol, text)
        for step in feed.candles:
            text = partial(frames.candle_frame, "update", live.candle(step), at_ns)
            self._make_candle(feed, step, at_ns, text)
        self._send_ticker(feed, at_ns, None)

    def _make_candle(
        self, feed: PairFeed, step: int, at_ns: int, text: frames.FrameByVariant
    ) -> None:
        """Send a candle row, as late as the candle maker is."""
        symbol = feed.live.pair.symbol
        lag_s, in_order = self.lag_of(symbol)
        if lag_s <= 0.0 and not feed.under_way:
            self._send(feed.candles.get(step, ()), "ohlc", symbol, text)
            return
        at = self._venue.clock.trio_time(at_ns) + lag_s
        if in_order:
            at = self._maker_at[symbol, step] = max(at, self._maker_at.get((symbol, step), 0.0))
            feed.under_way.append(at_ns)

        def send() -> None:
            if in_order:
                feed.under_way.popleft()
            self._send(feed.candles.get(step, ()), "ohlc", symbol, text)

        self.later(at, send)

    def _send_ticker(self, feed: PairFeed, at_ns: int, only: str | None) -> None:
        if feed.tickers:
            to = [s for s, trigger in feed.tickers.items() if only in (None, trigger)]
            text = partial(frames.data_frame, "ticker", "update", feed.live.ticker(at_ns))
            self._send(to, "ticker", feed.live.pair.symbol, text)

    def _send(
        self, to: Iterable[Subscriber], channel: str, symbol: str, text: frames.FrameByVariant
    ) -> None:
        if self.paused:
            return
        built: dict[int, str] = {}
        for subscriber in to:
            variant = subscriber.variant % 2
            if variant not in built:
                built[variant] = text(variant)
            subscriber.push_data(channel, symbol, built[variant])

    def _heartbeat(self, at: float, to: Subscriber) -> None:
        due = to.last_data + self._venue.settings.heartbeat_s
        if due <= at + 1e-9:
            to.push(frames.heartbeat())
            due = at + self._venue.settings.heartbeat_s
        self._schedule(due, to)
