"""What really happened on the market: ground truth for tests, read from the tape itself."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from krakked._sandbox.digits import NS
from krakked._sandbox.listing import Pair
from krakked._sandbox.market import DayFigures
from krakked._sandbox.venue import Venue


@dataclass(frozen=True, slots=True)
class TrueTrade:
    """One trade."""

    id: int
    """Rising by one within a pair."""
    time_ns: int
    """Unix nanoseconds."""
    price: Decimal
    """Quote per base."""
    volume: Decimal
    """Base units."""
    side: str
    """buy or sell."""


@dataclass(frozen=True, slots=True)
class TrueCandle:
    """One candle; filled ones have count 0, volume 0 and vwap None."""

    time: int
    """Open time, unix seconds."""
    open: Decimal
    """First price, quote per base."""
    high: Decimal
    """Highest price."""
    low: Decimal
    """Lowest price."""
    close: Decimal
    """Last price."""
    vwap: Decimal | None
    """Volume-weighted average price."""
    volume: Decimal
    """Base units."""
    count: int
    """Number of trades."""


@dataclass(frozen=True, slots=True)
class TrueTicker:
    """A ticker; zeros where nothing traded or nobody stands in the book."""

    time_ns: int
    """Unix nanoseconds."""
    bid: Decimal
    """Highest bid, quote per base."""
    ask: Decimal
    """Lowest ask, quote per base."""
    bid_qty: Decimal
    """Base units at the bid."""
    ask_qty: Decimal
    """Base units at the ask."""
    last: Decimal
    """Price of the last trade."""
    volume_24h: Decimal
    """Base units in 24 hours."""
    vwap_24h: Decimal
    """Volume-weighted average price of 24 hours."""
    low_24h: Decimal
    """Lowest price in 24 hours."""
    high_24h: Decimal
    """Highest price in 24 hours."""
    count_24h: int
    """Number of trades in 24 hours."""


class Truth:
    """Ground truth. Pairs may be spelled in any of the four ways."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def now_ns(self) -> int:
        """Return the market's time, unix nanoseconds."""
        return self._venue.clock.now_ns()

    def pair(self, name: str) -> Pair:
        """Return a pair's listing.

        Raises:
            KeyError: No such pair.
        """
        return self._venue.directory.any(name)

    def symbols(self, *, quote: str = "USD", status: str | None = "online") -> list[str]:
        """Return the WebSocket v2 symbols listed now, in AssetPairs order."""
        pairs = self._venue.pairs(self.now_ns())
        chosen = (p for p in pairs if status is None or self._venue.status(p) == status)
        return [p.symbol for p in chosen if p.quote_short == quote]

    def trade_count(self, pair: str, until_ns: int | None = None) -> int:
        """Return the number of trades up to a time (now by default): the newest id."""
        tape = self._venue.market.of(self.pair(pair)).tape
        return tape.count_at(self.now_ns() if until_ns is None else until_ns)

    def trades(self, pair: str, start_ns: int, end_ns: int) -> list[TrueTrade]:
        """Return the trades with start_ns <= time < end_ns, oldest first (the future included)."""
        found = self.pair(pair)
        trades = self._venue.market.of(found).tape.between(start_ns, end_ns)
        columns = (trades.ids, trades.times, trades.prices, trades.lots, trades.buys)
        return [
            TrueTrade(
                trade_id,
                at,
                Decimal(price).scaleb(-found.pair_decimals),
                Decimal(lots).scaleb(-found.lot_decimals),
                "buy" if buy else "sell",
            )
            for trade_id, at, price, lots, buy in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def candles(
        self, pair: str, interval_minutes: int, start_s: int, end_s: int, *, filled: bool = False
    ) -> list[TrueCandle]:
        """Return candles with start_s <= open time < end_s, oldest first, as if all were closed.

        With `filled`, intervals without trades repeat the close before, from the first trade on;
        otherwise they are absent.
        """
        found, step = self.pair(pair), interval_minutes * 60
        market = self._venue.market.of(found)
        start_s, end_s = -(-start_s // step) * step, -(-end_s // step) * step
        candles = market.closed(step, start_s, end_s)
        vwaps = candles.vwap_ticks().tolist()
        made = {
            at: self._candle(found, at, (opened, high, low, close, vwap), lots, count)
            for at, opened, high, low, close, lots, count, vwap in zip(
                candles.times.tolist(),
                candles.opens.tolist(),
                candles.highs.tolist(),
                candles.lows.tolist(),
                candles.closes.tolist(),
                candles.lots.tolist(),
                candles.counts.tolist(),
                vwaps,
                strict=True,
            )
        }
        if not filled:
            return list(made.values())
        before = market.price_at(start_s * NS - 1)
        close = Decimal(before).scaleb(-found.pair_decimals) if before else None
        rows: list[TrueCandle] = []
        for at in range(start_s, end_s, step):
            row = made.get(at)
            if row is None and close is not None:
                row = TrueCandle(at, close, close, close, close, None, Decimal(0), 0)
            if row is not None:
                close = row.close
                rows.append(row)
        return rows

    def _candle(
        self, pair: Pair, at: int, prices: tuple[int, ...], lots: int, count: int
    ) -> TrueCandle:
        digits = -pair.pair_decimals
        opened, high, low, close, average = (Decimal(ticks).scaleb(digits) for ticks in prices)
        volume = Decimal(lots).scaleb(-pair.lot_decimals)
        return TrueCandle(at, opened, high, low, close, average, volume, count)

    def ticker(self, pair: str, at_ns: int | None = None) -> TrueTicker:
        """Return the ticker at a time (now by default)."""
        found = self.pair(pair)
        figures = self._venue.market.of(found).ticker(self.now_ns() if at_ns is None else at_ns)
        day: DayFigures = figures.day

        def price(ticks: int) -> Decimal:
            return Decimal(ticks).scaleb(-found.pair_decimals)

        def volume(lots: int) -> Decimal:
            return Decimal(lots).scaleb(-found.lot_decimals)

        return TrueTicker(
            figures.time_ns,
            price(figures.bid),
            price(figures.ask),
            volume(figures.bid_lots),
            volume(figures.ask_lots),
            price(figures.last),
            volume(day.lots),
            price(day.vwap),
            price(day.low),
            price(day.high),
            day.count,
        )
