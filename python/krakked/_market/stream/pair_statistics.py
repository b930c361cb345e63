"""The per-pair part of the stream's facts, and which subscriptions have fallen silent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from krakked._core import MarketCache
from krakked._market.pairs import PairTable
from krakked._market.stream.channels import OHLC, TICKER
from krakked._market.stream.crosscheck import SILENT_S, Silent
from krakked._market.stream.requests import SubscriptionKey, SubscriptionState
from krakked._market.stream.statistics import PairStream
from krakked._market.stream.symbols import SymbolNames
from krakked._network.clock import Clock
from krakked._timeframes import Timeframe, parse_timeframe


class ReportedFeed(Protocol):
    """What the report needs to know."""

    @property
    def cache(self) -> MarketCache:
        """The live cache."""
        ...

    @property
    def clock(self) -> Clock:
        """Elapsed time."""
        ...

    @property
    def names(self) -> SymbolNames:
        """Pairs and symbols."""
        ...

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Streamed timeframes."""
        ...

    def subscription(self, key: SubscriptionKey) -> tuple[SubscriptionState, str | None]:
        """Return a subscription's state and reason."""
        ...

    def retry_after_s(self, key: SubscriptionKey) -> float | None:
        """Return the seconds until a refused subscription is asked for again, or None."""
        ...

    def line_is_up(self, key: SubscriptionKey) -> bool:
        """Whether its connection is up."""
        ...

    def resumed_ns(self) -> int:
        """Elapsed time of the newest resume from suspend; 0 when there was none."""
        ...


def pair_streams(feed: ReportedFeed) -> dict[str, PairStream]:
    """Return how every streamed pair stands, by canonical name."""
    now_ns, resumed_ns = feed.clock.elapsed_ns(), feed.resumed_ns()
    intervals = [(t, parse_timeframe(t)) for t in feed.timeframes]
    streams: dict[str, PairStream] = {}
    for canonical in feed.names.pairs:
        symbol = feed.names.symbol(canonical) or ""
        key = SubscriptionKey(TICKER.name, symbol)
        state, reason = feed.subscription(key)
        series = {t: SubscriptionKey(OHLC.name, symbol, i) for t, i in intervals}
        candles = {t: feed.subscription(each)[0] for t, each in series.items()}
        ticker = feed.cache.ticker(symbol)  # once: the next one may come at any moment
        waits = [
            w for each in (key, *series.values()) if (w := feed.retry_after_s(each)) is not None
        ]
        streams[canonical] = PairStream(
            state=state,
            reason=reason or feed.names.statuses.get(canonical),
            age_s=None if ticker is None else (now_ns - ticker.updated_ns + ticker.late_ns) / 1e9,
            late_s=0.0 if ticker is None else ticker.late_ns / 1e9,
            refused_timeframes=_those(candles, SubscriptionState.REFUSED),
            mute_timeframes=_those(candles, SubscriptionState.MUTE),
            connected=feed.line_is_up(key),
            retry_after_s=min(waits, default=None),
            slept=ticker is not None and ticker.updated_ns < resumed_ns,
        )
    return streams


def silent_ones(
    feed: ReportedFeed,
    subscriptions: Iterable[tuple[SubscriptionKey, tuple[SubscriptionState, str | None]]],
    table: PairTable,
) -> list[Silent]:
    """Return the live subscriptions whose data is old although their connection is up."""
    now_s, pairs = feed.clock.elapsed_ns() / 1e9, table.by_canonical
    silent: list[Silent] = []
    for key, (state, _) in subscriptions:
        pair = feed.names.canonical(key.symbol) if key.symbol is not None else None
        promised = {SubscriptionState.LIVE}
        if key.row.acknowledged_is_live:
            promised.add(SubscriptionState.ACKNOWLEDGED)
        if state not in promised or pair is None or key.symbol is None:
            continue
        updated_ns = feed.cache.updated_ns(key.symbol)
        if key.interval is not None:
            if updated_ns is not None and now_s - updated_ns / 1e9 <= SILENT_S:
                continue  # its ticker tells
            candle = feed.cache.candle(key.symbol, key.interval or 0)
            updated_ns = candle.updated_ns if candle is not None else 0
        if updated_ns is not None and pair in pairs and now_s - updated_ns / 1e9 > SILENT_S:
            silent.append(Silent(key, pairs[pair].raw_name, updated_ns / 1e9))
    return silent


def _those(
    candles: dict[Timeframe, SubscriptionState], state: SubscriptionState
) -> tuple[Timeframe, ...]:
    return tuple(timeframe for timeframe, found in candles.items() if found is state)
