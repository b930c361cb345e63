"""One pair as the stream sees it: its next event, its running candles and its 24 h figures.

A cursor over the pair's tape and quote slots. All sums are carried along trade by trade, so that an
update costs a few microseconds; they start from the same candles that REST answers with.
"""

from __future__ import annotations

import numpy as np

from krakked._sandbox import ws_frames as frames
from krakked._sandbox.candles import Candles, candles_of, empty, joined
from krakked._sandbox.digits import NS
from krakked._sandbox.listing import Pair
from krakked._sandbox.market import DAY_S, PairMarket, day_figures
from krakked._sandbox.ws_frames import TradeRow

_SNAPSHOT_CLOSED = 9
_FAR = 2**62
_QUOTES_AHEAD = 16
_TRADES_BACK = (128, 1024)


class LivePair:
    """Cursor of one pair; `seek` before use."""

    def __init__(self, market: PairMarket) -> None:
        self.market = market
        self.pair: Pair = market.pair
        self._coming: list[TradeRow] = []
        self._slot = 0
        self._quotes: list[tuple[int, int, int, int]] = []
        self._quote = (0, 0, 0, 0)
        self._last = 0
        self._minute = -1
        # open, high, low, close, lots, cost, count
        self._closed_day: tuple[int, int, int, int, int, float, int] | None = None
        self._running: dict[int, tuple[int, list[int], float]] = {}

    # --- moving ---------------------------------------------------------------------------------

    def seek(self, now_ns: int) -> None:
        """Stand right after the events up to a time."""
        tape = self.market.tape
        count = tape.count_at(now_ns)
        self._fill(count + 1)
        self._last = int(tape.trades(count, count).prices[0]) if count else 0
        self._quotes.clear()
        if self.pair.quoted:
            self._slot = int(self.market.quotes.slot_at(np.array([now_ns], np.int64))[0])
            self._quote = self.market.quote_at(now_ns)
        self._running.clear()
        self._minute = -1

    def _fill(self, first_id: int) -> None:
        found = self.market.tape.rest_of_block(first_id)
        columns = (found.ids, found.times, found.prices, found.lots, found.buys, found.markets)
        self._coming = list(zip(*(c.tolist() for c in columns), strict=True))
        self._coming.reverse()

    def next_trade_ns(self) -> int:
        """Return the time of the next trade, or the far future."""
        return self._coming[-1][1] if self._coming else _FAR

    def next_quote_ns(self) -> int:
        """Return the time of the next quote, or the far future."""
        return self.market.quotes.slot_start(self._slot + 1) if self.pair.quoted else _FAR

    def take_trades(self) -> list[TradeRow]:
        """Take the next trade and those at the very same time, and carry all sums along."""
        taken = [self._coming.pop()]
        while True:
            if not self._coming:
                self._fill(taken[-1][0] + 1)
            if not self._coming or self._coming[-1][1] != taken[0][1]:
                break
            taken.append(self._coming.pop())
        for trade in taken:
            self._last = trade[2]
            for step in self._running:
                self._add(step, trade)
        return taken

    def take_quote(self) -> bool:
        """Go to the next quote; False when nothing about it is new."""
        if not self._quotes:
            slots = np.arange(self._slot + 1, self._slot + 1 + _QUOTES_AHEAD, dtype=np.int64)
            bid, ask = self.market.quotes.prices(slots)
            bid_lots, ask_lots = self.market.quotes.sizes(slots)
            columns = (bid, ask, bid_lots, ask_lots)
            self._quotes = list(zip(*(c.tolist() for c in columns), strict=True))
            self._quotes.reverse()
        self._slot += 1
        before, self._quote = self._quote, self._quotes.pop()
        return before != self._quote

    def skip_quotes(self, now_ns: int) -> None:
        """Catch up with quotes that nobody wanted to hear of."""
        if self.next_quote_ns() <= now_ns:
            self._quotes.clear()
            self._slot = int(self.market.quotes.slot_at(np.array([now_ns], np.int64))[0])
            self._quote = self.market.quote_at(now_ns)

    # --- candles --------------------------------------------------------------------------------

    def watch(self, step_s: int, now_ns: int) -> None:
        """Begin to carry the running candle of an interval."""
        if step_s in self._running:
            return
        candle = self.market.running(step_s, now_ns)
        if not len(candle):
            self._running[step_s] = (-1, [0, 0, 0, 0, 0, 0], 0.0)
            return
        _, opened, high, low, close, lots, cost, count = (c[0] for c in candle.columns())
        state = [int(opened), int(high), int(low), int(close), int(lots), int(count)]
        self._running[step_s] = (int(candle.times[0]), state, float(cost))

    def unwatch(self, step_s: int) -> None:
        """Stop carrying an interval."""
        self._running.pop(step_s, None)

    def _add(self, step: int, trade: TradeRow) -> None:
        _, at, price, lots, _, _ = trade
        begin = at // (step * NS) * step
        begun, state, cost = self._running[step]
        if begin != begun:
            self._running[step] = (
                begin,
                [price, price, price, price, lots, 1],
                float(price) * lots,
            )
            return
        state[1] = max(state[1], price)
        state[2] = min(state[2], price)
        state[3] = price
        state[4] += lots
        state[5] += 1
        self._running[step] = (begin, state, cost + float(price) * lots)

    def candle(self, step_s: int) -> str:
        """Return the running candle's data object; the interval must be watched and have traded."""
        begin, (opened, high, low, close, lots, count), cost = self._running[step_s]
        sums = (count, lots, round(cost / lots))
        return frames.candle_row(self.pair, step_s, begin, (opened, high, low, close), sums)

    def candle_snapshot(self, step_s: int, now_ns: int) -> str:
        """Return the data objects of the newest traded candles; empty when none ever traded."""
        begin = now_ns // (step_s * NS) * step_s
        closed = self.market.closed(step_s, begin - 20 * step_s, begin)
        if len(closed) < _SNAPSHOT_CLOSED:
            closed = self._recent_candles(step_s, begin)
        closed = (
            closed.cut(int(closed.times[-_SNAPSHOT_CLOSED:][0]), begin) if len(closed) else closed
        )
        recent = joined([closed, self.market.running(step_s, now_ns)])
        rows = zip(*(c.tolist() for c in recent.columns()), strict=True)
        return ",".join(
            frames.candle_row(
                self.pair, step_s, at, (opened, high, low, close), (count, lots, round(cost / lots))
            )
            for at, opened, high, low, close, lots, cost, count in rows
        )

    def _recent_candles(self, step_s: int, end_s: int) -> Candles:
        """Return complete candles out of the newest trades before a time."""
        last = self.market.tape.count_at(end_s * NS - 1)
        candles = empty()
        for count in _TRADES_BACK:
            candles = candles_of(self.market.tape.trades(last - count + 1, last), step_s)
            if last <= count:
                break
            candles = candles.cut(int(candles.times[0]) + 1, end_s)  # the first may be incomplete
            if len(candles) >= _SNAPSHOT_CLOSED:
                break
        return candles

    # --- ticker ---------------------------------------------------------------------------------

    def ticker(self, at_ns: int) -> str:
        """Return the ticker's data object at the time of an event."""
        minute = at_ns // (60 * NS) * 60
        if minute != self._minute:
            self._begin_minute(minute)
        self.watch(60, at_ns)
        begin, (opened, high, low, _, lots, count), cost = self._running[60]
        if begin != minute:
            opened = high = low = lots = count = 0
            cost = 0.0
        if self._closed_day is not None:
            was = self._closed_day
            opened = was[0]
            high, low = max(high, was[1]), min(low or was[2], was[2])
            lots, cost, count = lots + was[4], cost + was[5], count + was[6]
        vwap = round(cost / lots) if lots else 0
        day = (lots, vwap, low, high, opened, count)
        return frames.ticker_row(self.pair, self._quote, self._last, day, at_ns)

    def _begin_minute(self, minute: int) -> None:
        closed = self.market.closed(60, minute - DAY_S, minute)
        self._minute = minute
        self._closed_day = None
        if len(closed):
            sums = day_figures(closed, closed.cut(0, 0))
            cost = float(closed.costs.sum())
            self._closed_day = (sums.open, sums.high, sums.low, 0, sums.lots, cost, sums.count)

    def trade_rows(self, trades: list[TradeRow]) -> str:
        """Return the data objects of trades."""
        return ",".join(frames.trade_row(self.pair, trade) for trade in trades)

    def last_trades(self, count: int, now_ns: int) -> str:
        """Return the data objects of the newest trades."""
        last = self.market.tape.count_at(now_ns)
        found = self.market.tape.trades(last - count + 1, last)
        columns = (found.ids, found.times, found.prices, found.lots, found.buys, found.markets)
        return self.trade_rows(list(zip(*(c.tolist() for c in columns), strict=True)))
