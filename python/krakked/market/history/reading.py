"""Closed candles on demand: from the store, topped up over REST when some are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, overload

from krakked.market.bars import OHLCBar
from krakked.market.history.deep import Target, TradesRest
from krakked.market.history.tail import OHLCRest, Tail
from krakked.market.pairs import PairTable
from krakked.market.store.columns import convert, library_of
from krakked.market.store.coverage import Gap
from krakked.market.store.ohlc_store import OHLCStore
from krakked.market.timeframes import parse_timeframe
from krakked.market.times import Time, unix_seconds
from krakked.network import Clock, run_blocking
from krakked.rest.health import RestStatus

Form = Literal["arrow", "polars", "pandas", "numpy"]
"""Columns instead of bars; see `krakked.market.store.columns.convert`."""


class HistoryRest(OHLCRest, TradesRest, Protocol):
    """The calls needed of the REST client."""

    def reachability(self) -> RestStatus:
        """Say how calls are being held back."""
        ...


class OHLCReader:
    """Closed candles of any pair.

    Args:
        rest: REST client.
        store: Candle store.
        clock: Clock.
        table: Gives the pairs known at present; any spelling of a pair is understood.
    """

    def __init__(
        self, rest: HistoryRest, store: OHLCStore, clock: Clock, table: Callable[[], PairTable]
    ) -> None:
        self._rest = rest
        self._store = store
        self._clock = clock
        self._table = table
        self._tail = Tail(rest, store, clock)

    def target(self, pair: str, timeframe: str) -> Target:
        """Resolve a pair (any spelling) and a timeframe.

        Raises:
            UnknownPairError: No such pair; the nearest name is suggested.
            UnknownTimeframeError: No such timeframe.
        """
        minutes = parse_timeframe(timeframe)
        metadata = self._table().metadata(pair)
        return Target(
            pair=metadata.canonical,
            rest_symbol=metadata.rest_symbol,
            timeframe=timeframe,
            minutes=minutes,
        )

    # --- reading -------------------------------------------------------------------------------

    @overload
    async def get_ohlc(
        self,
        pair: str,
        timeframe: str,
        lookback: int,
        *,
        refresh: bool = ...,
        provisional: bool = ...,
        as_: None = ...,
    ) -> list[OHLCBar]: ...

    @overload
    async def get_ohlc(
        self,
        pair: str,
        timeframe: str,
        lookback: int,
        *,
        refresh: bool = ...,
        provisional: bool = ...,
        as_: Form,
    ) -> Any: ...  # noqa: ANN401 - another library's table

    async def get_ohlc(
        self,
        pair: str,
        timeframe: str,
        lookback: int,
        *,
        refresh: bool = True,
        provisional: bool = False,
        as_: Form | None = None,
    ) -> Any:
        """Give the newest closed candles, oldest first; the running one is never among them.

        Answers from the store; when closed candles are missing that Kraken's OHLC still has (720),
        one call fetches them first. Closed is decided by Kraken's clock. Fewer than asked are
        returned as they are: the pair may be young, or older candles were never back-filled
        (`backfill_ohlc`, `gaps`).

        Args:
            pair: Any spelling.
            timeframe: ``1m``, ``5m``, ``15m``, ``30m``, ``1h``, ``4h``, ``1d`` or ``1w``.
            lookback: How many, at most.
            refresh: False reads the store alone and never raises a network error.
            provisional: Whether candles that only the live stream has reported count.
            as_: ``arrow``, ``polars``, ``pandas`` or ``numpy`` gives columns instead of bars.

        Raises:
            UnknownPairError: No such pair.
            UnknownTimeframeError: No such timeframe.
            NetworkError: The missing candles could not be fetched.
            RateLimitError: Kraken refused them for now; `ServiceError` likewise.
            StoreError: The store could not be read or written, or `as_` names a library that is
                not installed.
            ValueError: `lookback` is negative, or `as_` is no such form.
        """
        if lookback < 0:
            raise ValueError(f"lookback is {lookback}; it can't be negative")
        target = self._asked(pair, timeframe, as_)
        if refresh and lookback:
            await self._tail.top_up(target, None, lookback, provisional=provisional)
        return await self._read(target, lookback, None, provisional, as_)

    @overload
    async def get_ohlc_since(
        self,
        pair: str,
        timeframe: str,
        since_ts: Time,
        *,
        refresh: bool = ...,
        provisional: bool = ...,
        as_: None = ...,
    ) -> list[OHLCBar]: ...

    @overload
    async def get_ohlc_since(
        self,
        pair: str,
        timeframe: str,
        since_ts: Time,
        *,
        refresh: bool = ...,
        provisional: bool = ...,
        as_: Form,
    ) -> Any: ...  # noqa: ANN401 - another library's table

    async def get_ohlc_since(
        self,
        pair: str,
        timeframe: str,
        since_ts: Time,
        *,
        refresh: bool = True,
        provisional: bool = False,
        as_: Form | None = None,
    ) -> Any:
        """Give the closed candles that open at or after `since_ts`, oldest first.

        `since_ts` is a time in unix seconds or an aware datetime; `InvalidTimeError` says what is
        neither. Otherwise as `get_ohlc`, with the same errors. Candles older than Kraken's newest
        720 come from the store alone: `backfill_ohlc(since=...)` puts them there.
        """
        target = self._asked(pair, timeframe, as_)
        since_s = unix_seconds(since_ts, "since_ts", now_s=self._rest.server_wall_ns() / 1e9)
        if refresh:
            await self._tail.top_up(target, since_s, None, provisional=provisional)
        return await self._read(target, None, since_s, provisional, as_)

    def _asked(self, pair: str, timeframe: str, form: Form | None) -> Target:
        """Resolve what is asked for, and refuse what can't be answered before any call is made."""
        if form is not None:
            library_of(form)
        return self.target(pair, timeframe)

    async def _read(
        self,
        target: Target,
        lookback: int | None,
        since_s: int | None,
        provisional: bool,
        form: Form | None,
    ) -> Any:  # noqa: ANN401 - bars, or another library's table
        # Whatever the store was given (an import may hold the running candle): closed ones only.
        until_s = self._rest.server_wall_ns() // 1_000_000_000 - target.step_s + 1

        def read() -> Any:  # noqa: ANN401
            if form is None:
                return self._store.get_bars(
                    target.pair,
                    target.timeframe,
                    lookback=lookback,
                    since=since_s,
                    until=until_s,
                    provisional=provisional,
                )
            table = self._store.get_columns(
                target.pair,
                target.timeframe,
                lookback=lookback,
                since=since_s,
                until=until_s,
                provisional=provisional,
            )
            return convert(table, form)

        return await run_blocking(self._clock, read)

    async def gaps(
        self, pair: str, timeframe: str, since: Time | None = None, until: Time | None = None
    ) -> list[Gap]:
        """Give the stretches without traded bars, missing ones told from those without trades."""
        target = self.target(pair, timeframe)
        return await run_blocking(
            self._clock, self._store.gaps, target.pair, target.timeframe, since, until
        )
