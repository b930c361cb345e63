"""The market: every pair's trades, candles, quotes and 24 h figures at any instant.

Nothing here has state that matters: all of it follows from (seed, settings, time), so REST, the
stream and a test's ground truth read the same market and cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from krakked._sandbox.candles import Candles, CandleSeries, candles_of, empty, joined, regrouped
from krakked._sandbox.digits import NS
from krakked._sandbox.hashing import seed_of
from krakked._sandbox.listing import Listing, Pair
from krakked._sandbox.prices import PricePath, Quotes
from krakked._sandbox.settings import SandboxSettings
from krakked._sandbox.tape import Tape, eras

DAY_S = 86_400
_MONTH_NS = 31 * DAY_S * NS
_LEAST_HISTORY_RATE = 1 / 1800  # a quiet pair's past is not thinned out
_CLOSED_PAIR_RATE = 1 / 3600  # pairs that are not online any more did trade once
_EVER_S = 2**40  # longer than any time: one candle of everything
_SHAPING = ("activity", "quote_activity", "history_activity", "trade_rates", "listed_s")
_CLOSED_FOR_NS = 60 * DAY_S * NS


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFigures:
    """Sums over a stretch of time, in ticks and lots; zeros when nothing traded."""

    lots: int = 0
    vwap: int = 0
    low: int = 0
    high: int = 0
    open: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TickerFigures:
    """Everything a ticker shows, in ticks and lots.

    The 24 h window begins at a full minute: it holds the 1,440 minutes before the current one and
    what has happened of the current one.
    """

    time_ns: int
    bid: int
    ask: int
    bid_lots: int
    ask_lots: int
    last: int
    last_lots: int
    day: DayFigures
    """The last 24 hours."""
    today: DayFigures
    """Since 00:00 UTC."""


class PairMarket:
    """One pair's market."""

    def __init__(self, pair: Pair, tape: Tape, quotes: Quotes) -> None:
        self.pair = pair
        self.tape = tape
        self.quotes = quotes
        self._series: dict[int, CandleSeries] = {}
        self._day_minute = -1
        self._day = self._today = empty()

    def closed(self, step_s: int, start_s: int, end_s: int) -> Candles:
        """Return candles that had trades, start_s <= time < end_s; nothing of an open interval."""
        series = self._series.get(step_s)
        if series is None:
            series = self._series[step_s] = CandleSeries(self.tape, step_s)
        return series.get(start_s, end_s)

    def running(self, step_s: int, at_ns: int) -> Candles:
        """Return the candle in progress at a time (the newest trade included), or none."""
        begin = at_ns // (step_s * NS) * step_s
        minute = at_ns // (60 * NS) * 60
        tail = candles_of(self.tape.between(minute * NS, at_ns + 1), 60)
        if step_s == 60:
            return tail
        return regrouped(joined([self.closed(60, begin, minute), tail]), step_s)

    def price_at(self, at_ns: int) -> int:
        """Return the price of the newest trade at or before a time, in ticks; 0 if none."""
        count = self.tape.count_at(at_ns)
        return int(self.tape.trades(count, count).prices[0]) if count else 0

    def quote_at(self, at_ns: int) -> tuple[int, int, int, int]:
        """Return bid, ask, bid lots, ask lots; zeros where nobody stands in the book."""
        if not self.pair.quoted:
            return 0, 0, 0, 0
        slots = self.quotes.slot_at(np.array([at_ns], np.int64))
        bid, ask = self.quotes.prices(slots)
        bid_lots, ask_lots = self.quotes.sizes(slots)
        return int(bid[0]), int(ask[0]), int(bid_lots[0]), int(ask_lots[0])

    def ticker(self, at_ns: int) -> TickerFigures:
        """Return the ticker at a time."""
        minute = at_ns // (60 * NS) * 60
        tail = candles_of(self.tape.between(minute * NS, at_ns + 1), 60)
        if minute != self._day_minute:
            closed = self.closed(60, minute - DAY_S, minute)
            self._day = regrouped(closed, _EVER_S)
            self._today = regrouped(closed.cut(minute // DAY_S * DAY_S, minute), _EVER_S)
            self._day_minute = minute
        count = self.tape.count_at(at_ns)
        last = self.tape.trades(count, count) if count else None
        bid, ask, bid_lots, ask_lots = self.quote_at(at_ns)
        return TickerFigures(
            time_ns=at_ns,
            bid=bid,
            ask=ask,
            bid_lots=bid_lots,
            ask_lots=ask_lots,
            last=int(last.prices[0]) if last else 0,
            last_lots=int(last.lots[0]) if last else 0,
            day=day_figures(self._day, tail),
            today=day_figures(self._today, tail),
        )


def day_figures(closed: Candles, tail: Candles) -> DayFigures:
    """Sum up one candle of all closed minutes and the running minute."""
    candles = joined([closed, tail])
    if not len(candles):
        return DayFigures()
    lots = int(candles.lots.sum())
    return DayFigures(
        lots=lots,
        vwap=round(float(candles.costs.sum()) / lots),
        low=int(candles.lows.min()),
        high=int(candles.highs.max()),
        open=int(candles.opens[0]),
        count=int(candles.counts.sum()),
    )


class Market:
    """All pairs."""

    def __init__(
        self, seed: int, settings: SandboxSettings, listing: Listing, start_ns: int
    ) -> None:
        self.seed = seed
        self._settings = settings
        self._anchor_ns = (start_ns // (DAY_S * NS) * DAY_S - DAY_S // 2) * NS
        self._markets: dict[str, PairMarket] = {}
        self._paths: dict[str, PricePath] = {}
        pairs = listing.pairs
        if settings.pair_count is not None:
            pairs = pairs[: settings.pair_count]
        self.pairs: tuple[Pair, ...] = pairs
        self.tokenized: tuple[Pair, ...] = listing.tokenized

    @property
    def name(self) -> str:
        """Name this market among all that a sandbox can run: two of one name agree on every trade.

        Which market it is follows from the seed, the day on which it opened and, where they are not
        the default ones, the settings that shape its trades.
        """
        opened = self._anchor_ns // NS + DAY_S // 2
        day = datetime.fromtimestamp(opened, UTC).date()
        shape = [(name, getattr(self._settings, name)) for name in _SHAPING]
        usual = [(name, getattr(SandboxSettings(), name)) for name in _SHAPING]
        suffix = "" if shape == usual else f"-{seed_of(0, repr(shape)) % 2**32:08x}"
        return f"sandbox-{self.seed}-{day}{suffix}"

    def listed_ns(self, pair: Pair) -> int:
        """When a pair was, or will be, listed."""
        return self._settings.listed_s.get(pair.altname, pair.listed_s) * NS

    def of(self, pair: Pair) -> PairMarket:
        """Return the market of a pair."""
        market = self._markets.get(pair.altname)
        if market is None:
            market = self._markets[pair.altname] = self._open(pair)
        return market

    def all(self, pairs: Iterable[Pair]) -> list[PairMarket]:
        """Return the markets of several pairs."""
        return [self.of(pair) for pair in pairs]

    def _open(self, pair: Pair) -> PairMarket:
        seed = seed_of(self.seed, "pair", pair.altname)
        daily_lots = pair.daily_cost / pair.price * 10**pair.lot_decimals
        rate = self._settings.trade_rates.get(pair.altname, pair.trades_per_s)
        rate *= 1.0 if pair.altname in self._settings.trade_rates else self._settings.activity
        quotes = self._quotes(pair, seed, rate, daily_lots)
        spans = self._spans(pair, rate)
        return PairMarket(pair, Tape(seed, eras(spans, daily_lots), quotes), quotes)

    def _quotes(self, pair: Pair, seed: int, rate: float, daily_lots: float) -> Quotes:
        per_s = max(2.5 * rate, 1 / 45) * self._settings.quote_activity
        slot_ns = min(DAY_S * NS, round(NS / per_s)) if per_s > 0 else DAY_S * NS
        path = self._paths.get(pair.base_short)
        if path is None:
            path_seed = seed_of(self.seed, "asset", pair.base_short)
            move = 0.0003 if pair.stable else 0.02 + 0.03 * (path_seed / 2**64)
            path = self._paths[pair.base_short] = PricePath(path_seed, move)
        return Quotes(
            seed,
            path,
            price=pair.price,
            decimals=pair.pair_decimals,
            spread=min(0.01, 3e-5 * (3e8 / pair.daily_cost) ** 0.33),
            slot_ns=slot_ns,
            mean_lots=max(1.0, daily_lots / 2000),
        )

    def _spans(self, pair: Pair, rate: float) -> list[tuple[int, int | None, float]]:
        """Eras of a pair: thin long ago, thicker in the month before the anchor, full from then."""
        listed = self.listed_ns(pair)
        if pair.altname in self._settings.trade_rates:
            return [(listed, None, rate)]
        if rate == 0.0:
            closed = max(listed, self._anchor_ns - _CLOSED_FOR_NS)
            return [(listed, closed, _CLOSED_PAIR_RATE / 10), (closed, None, 0.0)]
        recent = max(rate * self._settings.history_activity, min(rate, _LEAST_HISTORY_RATE))
        old = max(recent / 4, min(recent, _LEAST_HISTORY_RATE))
        cuts = [(listed, old), (self._anchor_ns - _MONTH_NS, recent), (self._anchor_ns, rate)]
        spans: list[tuple[int, int | None, float]] = []
        for n, (start, era_rate) in enumerate(cuts):
            end = cuts[n + 1][0] if n + 1 < len(cuts) else None
            if end is None or end > listed:
                spans.append((max(start, listed), end, era_rate))
        return spans
