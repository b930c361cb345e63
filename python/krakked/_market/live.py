"""The live reads: the newest price, quote and candle of a pair, or one of four errors.

Plain calls that never wait. Data that is too old is never handed out as fresh, and the error says
why it is old: the feed is down, this subscription went mute, or nobody traded.
"""

from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from krakked._errors import DataStaleError, NoDataYetError, StaleReason
from krakked._market.stream.channels import OHLC, TICKER
from krakked._market.stream.feed import Feed
from krakked._market.stream.requests import SubscriptionKey, SubscriptionState
from krakked._market.stream.wait_live import refusal
from krakked._public import public
from krakked._timeframes import LABELS, Timeframe, parse_timeframe

Number = TypeVar("Number", bound=float | Decimal)
"""What prices and amounts are given as: float, or `Decimal` with ``exact=True``."""


@public
class LatestPrice(msgspec.Struct, Generic[Number], frozen=True, kw_only=True):
    """The last trade of a pair."""

    pair: str
    """Canonical name."""
    price: Number
    """Quote per base."""
    last_update_ts: float
    """Unix seconds by the local wall clock: when the newest ticker arrived, less what it came late
    by its own time."""

    def __float__(self) -> float:
        return float(self.price)


@public
class BestBidAsk(msgspec.Struct, Generic[Number], frozen=True, kw_only=True):
    """The best quotes of a pair."""

    pair: str
    """Canonical name."""
    bid: Number
    """Highest bid, quote per base."""
    bid_qty: Number
    """Base units at the bid."""
    ask: Number
    """Lowest ask, quote per base."""
    ask_qty: Number
    """Base units at the ask."""
    last_update_ts: float
    """Unix seconds by the local wall clock: when the newest ticker arrived, less what it came late
    by its own time."""


@public
class LiveTicker(msgspec.Struct, Generic[Number], frozen=True, kw_only=True):
    """Everything that Kraken's ticker says of a pair; what it left out is None.

    Source: Kraken "Spot Websockets (v2)", channel ticker. Figures other than quotes and `last` are
    of the last 24 hours. Kraken writes 0 where there is none: an empty side of the book, a pair
    that never traded.
    """

    pair: str
    """Canonical name."""
    bid: Number | None
    """Highest bid, quote per base."""
    bid_qty: Number | None
    """Base units at the bid."""
    ask: Number | None
    """Lowest ask, quote per base."""
    ask_qty: Number | None
    """Base units at the ask."""
    last: Number | None
    """Price of the last trade, quote per base."""
    volume: Number | None
    """Base units traded."""
    vwap: Number | None
    """Volume-weighted average price."""
    low: Number | None
    """Lowest price."""
    high: Number | None
    """Highest price."""
    change: Number | None
    """Price difference, quote per base."""
    change_pct: Number | None
    """The same in percent."""
    trades: int | None
    """Number of trades; Kraken's documentation does not name it, recorded frames have it."""
    exchange_ts: float | None
    """Kraken's own time of the ticker, unix seconds."""
    last_update_ts: float
    """Unix seconds by the local wall clock: when it arrived, less what it came late by its own
    time."""


@public
class LiveOHLC(msgspec.Struct, Generic[Number], frozen=True, kw_only=True):
    """The newest candle of a pair; it may still be running."""

    pair: str
    """Canonical name."""
    timeframe: Timeframe
    """Label such as ``1m``."""
    time: int
    """Open time, unix seconds UTC."""
    open: Number
    """First price, quote per base."""
    high: Number
    """Highest price."""
    low: Number
    """Lowest price."""
    close: Number
    """Newest price."""
    vwap: Number | None
    """Volume-weighted average price."""
    volume: Number
    """Base units."""
    trades: int
    """Number of trades."""
    closed: bool
    """True from its end until the next one begins."""
    last_update_ts: float
    """Unix seconds by the local wall clock: when its newest update arrived, less what it came late
    by its own time."""


class LiveReads:
    """`get_latest_price`, `get_best_bid_ask`, `get_ticker`, `get_live_ohlc` over one feed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def get_latest_price(self, pair: str, *, exact: bool = False) -> LatestPrice[Any]:
        """Return the price of the last trade; see `Kraken.get_latest_price`."""
        canonical, key, symbol = self._ticker_key(pair)
        cache = self._feed.cache
        row = cache.ticker_exact(symbol) if exact else cache.ticker(symbol)
        if row is None:
            raise _nothing_yet(canonical, key)
        updated_ts = self._fresh(canonical, key, row.updated_ns, row.late_ns)
        last = row.last
        if last is None or float(last) <= 0:  # Kraken writes 0 for a pair without any trade
            raise NoDataYetError(f"{canonical} has no last trade yet.", pair=canonical)
        return LatestPrice(pair=canonical, price=_number(last), last_update_ts=updated_ts)

    def get_ticker(self, pair: str, *, exact: bool = False) -> LiveTicker[Any]:
        """Return everything that the ticker says; see `Kraken.get_ticker`."""
        canonical, key, symbol = self._ticker_key(pair)
        cache = self._feed.cache
        row = cache.ticker_exact(symbol) if exact else cache.ticker(symbol)
        if row is None:
            raise _nothing_yet(canonical, key)
        stamp_ns = row.exchange_ns
        return LiveTicker(
            pair=canonical,
            **{name: _maybe(getattr(row, name)) for name in _TICKER_NUMBERS},
            trades=row.trades,
            exchange_ts=None if stamp_ns is None else stamp_ns / 1e9,
            last_update_ts=self._fresh(canonical, key, row.updated_ns, row.late_ns),
        )

    def get_best_bid_ask(self, pair: str, *, exact: bool = False) -> BestBidAsk[Any]:
        """Return the best bid and ask; see `Kraken.get_best_bid_ask`."""
        canonical, key, symbol = self._ticker_key(pair)
        cache = self._feed.cache
        row = cache.ticker_exact(symbol) if exact else cache.ticker(symbol)
        if row is None:
            raise _nothing_yet(canonical, key)
        updated_ts = self._fresh(canonical, key, row.updated_ns, row.late_ns)
        bid, bid_qty, ask, ask_qty = row.bid, row.bid_qty, row.ask, row.ask_qty
        if bid is None or bid_qty is None or ask is None or ask_qty is None or not _both(bid, ask):
            raise NoDataYetError(f"{canonical} has no quotes on both sides.", pair=canonical)
        if float(bid) > float(ask):
            raise NoDataYetError(
                f"{canonical} is quoted with a bid of {bid} above the ask of {ask}: no such market "
                "can last. Ask again after the next ticker.",
                pair=canonical,
            )
        return BestBidAsk(
            pair=canonical,
            bid=_number(bid),
            bid_qty=_number(bid_qty),
            ask=_number(ask),
            ask_qty=_number(ask_qty),
            last_update_ts=updated_ts,
        )

    def get_live_ohlc(self, pair: str, timeframe: str, *, exact: bool = False) -> LiveOHLC[Any]:
        """Return the newest candle; see `Kraken.get_live_ohlc`."""
        canonical = self._feed.resolve(pair)
        interval = parse_timeframe(timeframe)
        symbol = self._symbol(canonical)
        key = SubscriptionKey(OHLC.name, symbol, interval)
        self._not_refused(canonical, key)
        cache = self._feed.cache
        row = cache.candle_exact(symbol, interval) if exact else cache.candle(symbol, interval)
        if row is None:
            raise _nothing_yet(canonical, key)
        updated_ts = self._fresh(canonical, key, row.updated_ns, row.late_ns)
        return LiveOHLC(
            pair=canonical,
            timeframe=LABELS[interval],
            time=row.open_s,
            open=_number(row.open),
            high=_number(row.high),
            low=_number(row.low),
            close=_number(row.close),
            vwap=_number(row.vwap) if row.vwap is not None else None,
            volume=_number(row.volume),
            trades=row.trades,
            closed=row.closed,
            last_update_ts=updated_ts,
        )

    # --- inside ---

    def _ticker_key(self, pair: str) -> tuple[str, SubscriptionKey, str]:
        canonical = self._feed.resolve(pair)
        symbol = self._symbol(canonical)
        key = SubscriptionKey(TICKER.name, symbol)
        self._not_refused(canonical, key)
        return canonical, key, symbol

    def _symbol(self, canonical: str) -> str:
        symbol = self._feed.symbol_of(canonical)
        if symbol is None:
            raise NoDataYetError(
                f"{canonical} is not streamed: it is outside the universe, or was removed. "
                "Name it in universe.include_pairs, or add it to the stream.",
                pair=canonical,
            )
        return symbol

    def _not_refused(self, canonical: str, key: SubscriptionKey) -> None:
        state, reason = self._feed.subscription(key)
        if state is SubscriptionState.REFUSED:
            raise refusal(key, canonical, reason, self._feed.retry_after_s(key))
        if state is SubscriptionState.ENDED:
            raise NoDataYetError(
                f"{key.channel} of {canonical} is not subscribed"
                + (f" for {key.interval} minutes" if key.interval is not None else "")
                + "; see market_data.ws.timeframes.",
                pair=canonical,
            )

    def _fresh(self, canonical: str, key: SubscriptionKey, updated_ns: int, late_ns: int) -> float:
        """Return the wall time of an update; raise when it is too old."""
        feed = self._feed
        here_s = (feed.clock.elapsed_ns() - updated_ns) / 1e9
        age_s = here_s + late_ns / 1e9
        resumed = updated_ns < feed.resumed_ns()
        if age_s <= feed.stale_after_s and not resumed:
            return feed.clock.wall_ns() / 1e9 - age_s
        if resumed:
            why = StaleReason.RESUMED
        elif here_s <= feed.stale_after_s:
            why = StaleReason.DATA_LATE
        else:
            why = self._why(key)
        raise DataStaleError(
            f"The newest {key.channel} data of {canonical} is {age_s:.1f} s old "
            f"(at most {feed.stale_after_s:g} s count as fresh): {_WORDS[why]}.",
            pair=canonical,
            age_s=age_s,
            why=why,
        )

    def _why(self, key: SubscriptionKey) -> StaleReason:
        state, _ = self._feed.subscription(key)
        if not self._feed.line_is_up(key) or state is SubscriptionState.WANTED:
            return StaleReason.FEED_DOWN
        if state in {SubscriptionState.MUTE, SubscriptionState.ACKNOWLEDGED}:
            return StaleReason.SUBSCRIPTION_MUTE
        return StaleReason.MARKET_QUIET


_TICKER_NUMBERS = (
    *("bid", "bid_qty", "ask", "ask_qty", "last"),
    *("volume", "vwap", "low", "high", "change", "change_pct"),
)

_WORDS = {
    StaleReason.FEED_DOWN: "the connection to the exchange is down and being restored",
    StaleReason.SUBSCRIPTION_MUTE: "the subscription is acknowledged but brings nothing",
    StaleReason.MARKET_QUIET: "the feed is live, the market is quiet",
    StaleReason.DATA_LATE: "what comes was made that long ago, by its own time",
    StaleReason.RESUMED: "the machine has slept since",
}


def _nothing_yet(canonical: str, key: SubscriptionKey) -> NoDataYetError:
    return NoDataYetError(f"No {key.channel} data of {canonical} has arrived yet.", pair=canonical)


def _maybe(value: float | str | None) -> Any:  # noqa: ANN401 - as `exact` says
    return None if value is None else _number(value)


def _number(value: float | str | None) -> Any:  # noqa: ANN401 - as `exact` says
    if value is None:
        raise NoDataYetError("The exchange left this value out.", pair="")
    return Decimal(value) if isinstance(value, str) else float(value)


def _both(bid: float | str, ask: float | str) -> bool:
    """Whether both sides of the book have a price; Kraken writes 0 for an empty side."""
    return float(bid) > 0 and float(ask) > 0
