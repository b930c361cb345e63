"""open_kraken(): the only file that wires the rooms together, and the facade that users hold.

Long because every function of the contract is a method here, with its overloads and its manual.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import trio

from krakked._errors import ClosedError, KrakkedError, MarketDataError
from krakked._files.owner import OwnerProcess
from krakked._network.clock import Clock, SystemClock, require_trio, run_blocking
from krakked._public import public
from krakked._roles import require_able, require_kind

if TYPE_CHECKING:  # the rooms are loaded when a Kraken is opened: importing must cost little
    from krakked._config.directories import Files
    from krakked._config.settings import KrakkedConfig, RegionProfile
    from krakked._market.bars import OHLCBar
    from krakked._market.candle_store import CandleStore
    from krakked._market.changes import CandleEvent, ChangeKind, Changes
    from krakked._market.history.plan import BackfillPlan
    from krakked._market.history.progress import BackfillProgress, Pause
    from krakked._market.history.reader import Form, OnGap
    from krakked._market.history.report import BackfillFailure, BackfillReport
    from krakked._market.live import BestBidAsk, LatestPrice, LiveOHLC, LiveReads, LiveTicker
    from krakked._market.live_feed import LiveFeed
    from krakked._market.pairs import PairMetadata, PairTable
    from krakked._market.status import DataStatus
    from krakked._market.store.coverage import Gap
    from krakked._market.store.ohlc_store import OHLCStore
    from krakked._market.stream.feed import Feed
    from krakked._market.times import Time
    from krakked._market.universe import Universe
    from krakked._market.universe_source import UniverseChange, UniverseSource
    from krakked._network.network import Network
    from krakked._rest.client import RestClient
    from krakked._rest.signing import Credentials
    from krakked._timeframes import Timeframe

FOLD_EVERY_S = 3600.0
"""How often the journal of live candles is folded into the partitions."""

_log = logging.getLogger("krakked.client")


@public
class Kraken:
    """Everything krakked knows and can ask, behind one object; get it from `open_kraken`.

    Live reads never wait. Whatever may touch the network or the disk is awaited. A pair may be
    named in any of Kraken's spellings; answers always name it canonically (``XBTUSD``). After the
    end of the block that opened it, every call raises `ClosedError`.

    Attributes:
        config: The settings in force.
        rest: The REST client: `public`, `private` and typed endpoints.
        store: The candle store, for work of your own; its calls block. An `OHLCStore`, unless
            `open_kraken` was given another one.
    """

    config: KrakkedConfig
    rest: RestClient
    store: CandleStore

    def __init__(
        self,
        *,
        config: KrakkedConfig,
        clock: Clock,
        rest: RestClient,
        source: UniverseSource,
        store: CandleStore,
        feed: Feed | None,
        follows_universe: bool,
    ) -> None:
        from krakked._market.history.backfill import History
        from krakked._market.live import LiveReads

        self.config = config
        self.rest = rest
        self.store = store
        self._source = source
        self._feed = feed
        self._reads = None if feed is None else LiveReads(feed)
        self._follows_universe = follows_universe
        self._closed = False
        self._owner = OwnerProcess("This Kraken object")
        self._history = History(rest, store, clock, self._table)

    def __repr__(self) -> str:
        live = "live" if self._feed is not None else "not live"
        state = "closed" if self._closed else live
        return f"<Kraken {self.config.region.code} at {self.config.rest.base_url}, {state}>"

    def _close(self) -> None:
        """Refuse every further call; for `open_kraken`."""
        self._closed = True

    def _check_open(self) -> None:
        self._owner.check()
        if self._closed:
            raise ClosedError

    def _table(self) -> PairTable:
        self._check_open()
        return self._source.table

    # --- region and universe ---------------------------------------------------------------------

    @property
    def region(self) -> RegionProfile:
        """The region and capability profile; read-only."""
        return self.config.region

    @property
    def universe(self) -> Universe:
        """The universe in force: names, metadata, and the reason of every pair left out."""
        self._check_open()
        return self._source.current

    def get_universe(self) -> list[str]:
        """Return the canonical names of the universe, in Kraken's order."""
        return list(self.universe.pairs)

    def get_pair_metadata(self, pair: str) -> PairMetadata:
        """Return what Kraken says about a pair, inside the universe or not.

        Raises:
            UnknownPairError: No such pair; the nearest name is suggested.
        """
        return self._table().metadata(pair)

    async def refresh_universe(self) -> UniverseChange:
        """Ask Kraken for its pairs again and apply every rule; the live stream follows.

        Who listens to `changes` is told, too.

        Returns:
            What was listed, delisted and changed.

        Raises:
            NetworkError: Kraken could not be reached; the universe in force stays.
            ApiError: Kraken refused; likewise.
        """
        self._check_open()
        change = await self._source.refresh()
        if self._feed is not None and self._follows_universe:
            # What the user has added to the stream or taken out of it by hand stays that way.
            gone, table = set(change.delisted), self._source.table
            kept = [pair for pair in self._feed.pairs if pair not in gone and pair in table]
            self._feed.set_pairs([*kept, *change.listed])
        if self._feed is not None and change:
            self._feed.hub.publish(change)
        return change

    # --- closed candles ---------------------------------------------------------------------------

    @overload
    async def get_ohlc(
        self,
        pair: str,
        timeframe: Timeframe,
        lookback: int,
        *,
        refresh: bool = ...,
        provisional: bool = ...,
        on_gap: OnGap = ...,
        as_: None = ...,
    ) -> list[OHLCBar]: ...

    @overload
    async def get_ohlc(
        self,
        pair: str,
        timeframe: Timeframe,
        lookback: int,
        *,
        refresh: bool = ...,
        provisional: bool = ...,
        on_gap: OnGap = ...,
        as_: Form,
    ) -> Any: ...  # noqa: ANN401 - see Form

    async def get_ohlc(
        self,
        pair: str,
        timeframe: Timeframe,
        lookback: int,
        *,
        refresh: bool = True,
        provisional: bool = False,
        on_gap: OnGap = "cut",
        as_: Form | None = None,
    ) -> object:
        """Return the newest closed candles, oldest first; the running one is never among them.

        Answers from the store; what Kraken's OHLC still has (720) and has not confirmed yet is
        fetched first, in one call, whoever else has told it already. Candles that Kraken gave
        within 15 minutes of their end are asked for once more after those, as it may revise them.
        Closed is decided by Kraken's clock. Fewer than asked are returned as they are: the pair may
        be young, or older candles were never back-filled (`backfill_ohlc`, `gaps`).

        The newest candles may be missing, too: Kraken's answer ended earlier, or had them as what
        can be no candles. A candle counts as missing there when Kraken has a newer one, or else
        when it ended more than a minute ago by Kraken's clock; until then it may just not be there
        yet. Older ones are still given, with one warning, unless `on_gap` is ``raise``.

        Args:
            pair: Any spelling. With ``refresh=False`` also a pair that Kraken lists no more, by the
                name that it is stored under.
            timeframe: ``1m``, ``5m``, ``15m``, ``30m``, ``1h``, ``4h``, ``1d`` or ``1w``.
            lookback: How many, at most.
            refresh: False reads the store alone and never raises a network error.
            provisional: Whether candles count that only the live stream has reported, or that stand
                at the edge of an imported file and may lack trades.
            on_gap: What to do when candles are missing. ``cut``: give only those after the newest
                hole between them, and log one warning (``krakked.history``) that names it; of a
                hole behind the newest only the warning. ``raise``: raise. ``join``: give all as if
                nothing was missing.
            as_: ``arrow``, ``polars``, ``pandas`` or ``numpy`` gives columns instead of bars.

        Raises:
            UnknownPairError: No such pair.
            UnknownTimeframeError: No such timeframe.
            MissingBarsError: Candles are missing, with ``on_gap="raise"``.
            NetworkError: The missing candles could not be fetched.
            RateLimitError: Kraken refused them for now; `ServiceError` likewise.
            StoreError: The store could not be read or written, or `as_` names a library that is
                not installed.
            ConfigError: `lookback`, `as_` or `on_gap` is none; its `key` says which.
        """
        return await self._history.get_ohlc(
            pair,
            timeframe,
            lookback,
            refresh=refresh,
            provisional=provisional,
            on_gap=on_gap,
            as_=as_,
        )

    @overload
    async def resample(
        self,
        pair: str,
        rule: str,
        lookback: int,
        *,
        timeframe: Timeframe | None = ...,
        refresh: bool = ...,
        provisional: bool = ...,
        on_gap: OnGap = ...,
        as_: None = ...,
    ) -> list[OHLCBar]: ...

    @overload
    async def resample(
        self,
        pair: str,
        rule: str,
        lookback: int,
        *,
        timeframe: Timeframe | None = ...,
        refresh: bool = ...,
        provisional: bool = ...,
        on_gap: OnGap = ...,
        as_: Form,
    ) -> Any: ...  # noqa: ANN401 - see Form

    async def resample(
        self,
        pair: str,
        rule: str,
        lookback: int,
        *,
        timeframe: Timeframe | None = None,
        refresh: bool = True,
        provisional: bool = False,
        on_gap: OnGap = "cut",
        as_: Form | None = None,
    ) -> object:
        """Return the newest closed candles of a length that Kraken makes none of.

        They are put together from candles of a timeframe, as `krakked.resample` does it; the
        running one is never among them.

        Args:
            pair: As for `get_ohlc`.
            rule: ``3m``, ``2h``, ``12h``, ``3d``, ``1w-mon``, ``1M``, ...
            lookback: How many, at most.
            timeframe: What they are made of; None = the longest that fits: the fewest to fetch.
            refresh: As for `get_ohlc`; Kraken's OHLC reaches 720 candles of the timeframe back.
            provisional: As for `get_ohlc`.
            on_gap: ``cut``: as `get_ohlc`; and a candle that lacks some of its own is left out.
                ``raise``: raise instead. ``join``: as if nothing was missing.
            as_: As for `get_ohlc`.

        Raises:
            ConfigError: `rule` is none, or its candles are not made of whole ones of `timeframe`.
            KrakkedError: Those of `get_ohlc`.
        """
        return await self._history.resample(
            pair,
            rule,
            lookback,
            timeframe=timeframe,
            refresh=refresh,
            provisional=provisional,
            on_gap=on_gap,
            as_=as_,
        )

    @overload
    async def get_ohlc_since(
        self,
        pair: str,
        timeframe: Timeframe,
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
        timeframe: Timeframe,
        since_ts: Time,
        *,
        refresh: bool = ...,
        provisional: bool = ...,
        as_: Form,
    ) -> Any: ...  # noqa: ANN401 - see Form

    async def get_ohlc_since(
        self,
        pair: str,
        timeframe: Timeframe,
        since_ts: Time,
        *,
        refresh: bool = True,
        provisional: bool = False,
        as_: Form | None = None,
    ) -> object:
        """Return the closed candles that open at or after `since_ts`, oldest first.

        `since_ts` is a time in unix seconds or an aware datetime; `InvalidTimeError` says what is
        neither. Otherwise as `get_ohlc`, with the same errors, but never cut at a hole: `gaps`
        names those. Candles older than Kraken's newest 720 come from the store alone:
        `backfill_ohlc(since=...)` puts them there.
        """
        return await self._history.get_ohlc_since(
            pair, timeframe, since_ts, refresh=refresh, provisional=provisional, as_=as_
        )

    async def gaps(
        self, pair: str, timeframe: Timeframe, since: Time | None = None, until: Time | None = None
    ) -> list[Gap]:
        """Return the stretches without traded bars, missing ones told from those without trades.

        Without `until` that includes the newest ones that Kraken's last answer lacked, see
        `get_ohlc`. The pair may be one that Kraken lists no more, by the name that it is stored
        under.
        """
        return await self._history.gaps(pair, timeframe, since, until)

    async def plan_backfill(
        self, pair: str, timeframe: Timeframe, since: Time | None = None, *, force: bool = False
    ) -> BackfillPlan:
        """Say what `backfill_ohlc` would do: sources, calls, minutes, bytes.

        Costs two or three calls itself for each stretch further back than OHLC reaches: trades are
        counted by their ids.

        Args:
            pair: Any spelling.
            timeframe: Label such as ``1h``.
            since: First open time wanted, unix seconds or an aware datetime; 0 = from the listing;
                None = from the oldest hole after the first stored bar that was not asked for in
                vain, else from the last stored bar, else the newest 720.
            force: Whether to ask again for what is confirmed already.

        Raises:
            UnknownPairError: No such pair; `UnknownTimeframeError` likewise.
            NetworkError: Kraken could not be reached; `ApiError` likewise.
        """
        return await self._history.plan_backfill(pair, timeframe, since, force=force)

    async def backfill_ohlc(
        self,
        pair: str,
        timeframe: Timeframe,
        since: Time | None = None,
        *,
        allow_long: bool = False,
        force: bool = False,
        progress: Callable[[BackfillProgress], None] | None = None,
        pause: Pause | None = None,
        archive: str | Path | None = None,
    ) -> BackfillReport:
        """Put closed candles into the store, from as few calls as possible.

        The newest 720 come from OHLC, older ones from the Trades endpoint (or from `archive`). What
        is confirmed already is not fetched again, so a job that was cancelled or killed goes on
        where it stopped when it is called again. Cancel it like any trio code.

        Args:
            pair: Any spelling.
            timeframe: Label such as ``1h``. ``1w`` has only OHLC.
            since: First open time wanted, unix seconds or an aware datetime; 0 = from the listing;
                None = from the oldest hole after the first stored bar that was not asked for in
                vain, else from the last stored bar, else the newest 720. With None old holes alone
                never take more than 2,000 calls: those that would are left, and named in the
                report.
            allow_long: Whether more than 2,000 calls are all right.
            force: Whether to ask again for what is confirmed already, because Kraken may have
                revised it; without `since`, for the newest 720.
            progress: Told after every call.
            pause: A switch that holds the job between calls.
            archive: Kraken's OHLCVT download (zip or folder) to use for what it holds. Its bad
                lines are left out; `import_archive` tells them.

        Raises:
            UnknownPairError: No such pair; `UnknownTimeframeError` likewise.
            BackfillTooLargeError: It would take more than 2,000 calls; `plan` says how many.
            NetworkError: Kraken could not be reached; what was complete is stored.
            RateLimitError: Kraken refused; `ServiceError` likewise.
            ImportFormatError: The archive does not exist.
            StoreError: The disk refused.
        """
        return await self._history.backfill_ohlc(
            pair,
            timeframe,
            since,
            allow_long=allow_long,
            force=force,
            progress=progress,
            pause=pause,
            archive=archive,
        )

    async def backfill_pairs(
        self,
        pairs: Iterable[str],
        timeframe: Timeframe,
        *,
        force: bool = False,
        progress: Callable[[BackfillProgress], None] | None = None,
        pause: Pause | None = None,
    ) -> tuple[list[BackfillReport], list[BackfillFailure]]:
        """Bring many pairs up to date in one timeframe, one call a pair, at the limiter's pace.

        A pair that fails does not stop the others; three in a row that fail for want of a network
        do. With `force` the newest 720 of each are asked for again.

        Returns:
            The reports, and the failures.

        Raises:
            UnknownPairError: A name is unknown; nothing was fetched.
            NetworkError: Three pairs in a row could not be reached.
        """
        return await self._history.backfill_pairs(
            pairs, timeframe, force=force, progress=progress, pause=pause
        )

    async def repair(
        self,
        pair: str,
        timeframe: Timeframe,
        *,
        allow_long: bool = False,
        force: bool = False,
        progress: Callable[[BackfillProgress], None] | None = None,
    ) -> BackfillReport:
        """Fetch what `gaps` calls missing, as far as Kraken still has it; `missing` says the rest.

        Of a stored pair that Kraken lists no more nothing can be fetched: `missing` has all of it.
        With `force` what is confirmed since the oldest hole (without one: the newest 720) is asked
        for again, too.

        Raises:
            UnknownPairError: Kraken lists no such pair, and none is stored under this name.
            BackfillTooLargeError: It would take more than 2,000 calls.
            NetworkError: Kraken could not be reached; otherwise as `backfill_ohlc`.
        """
        return await self._history.repair(
            pair, timeframe, allow_long=allow_long, force=force, progress=progress
        )

    # --- live data -------------------------------------------------------------------------------

    @property
    def feed(self) -> LiveFeed:
        """The live stream: add and remove pairs and timeframes, statistics.

        Raises:
            MarketDataError: Opened with ``live=False``.
        """
        from krakked._market.live_feed import LiveFeed

        return LiveFeed(self._stream())

    def _stream(self) -> Feed:
        self._check_open()
        if self._feed is None:
            raise MarketDataError("There is no live stream: open_kraken(live=True) starts it.")
        return self._feed

    def _live(self) -> LiveReads:
        self._check_open()
        if self._reads is None:
            raise MarketDataError("There is no live stream: open_kraken(live=True) starts it.")
        return self._reads

    @overload
    def get_latest_price(self, pair: str, *, exact: Literal[False] = ...) -> LatestPrice[float]: ...

    @overload
    def get_latest_price(self, pair: str, *, exact: Literal[True]) -> LatestPrice[Decimal]: ...

    @overload
    def get_latest_price(
        self, pair: str, *, exact: bool
    ) -> LatestPrice[float] | LatestPrice[Decimal]: ...

    def get_latest_price(
        self, pair: str, *, exact: bool = False
    ) -> LatestPrice[float] | LatestPrice[Decimal]:
        """Return the price of the last trade.

        Args:
            pair: Any spelling.
            exact: `Decimal` with the digits the exchange sent, instead of float.

        Raises:
            UnknownPairError: No such pair.
            SubscriptionRefusedError: Kraken refuses to stream it.
            NoDataYetError: Nothing has arrived yet, or the pair is not streamed.
            DataStaleError: Too old to be handed out as fresh; `why` says what that means.
            MarketDataError: Opened with ``live=False``.
        """
        return self._live().get_latest_price(pair, exact=exact)

    @overload
    def get_ticker(self, pair: str, *, exact: Literal[False] = ...) -> LiveTicker[float]: ...

    @overload
    def get_ticker(self, pair: str, *, exact: Literal[True]) -> LiveTicker[Decimal]: ...

    @overload
    def get_ticker(self, pair: str, *, exact: bool) -> LiveTicker[float] | LiveTicker[Decimal]: ...

    def get_ticker(
        self, pair: str, *, exact: bool = False
    ) -> LiveTicker[float] | LiveTicker[Decimal]:
        """Return everything that Kraken's ticker says of a pair, with Kraken's own time of it.

        Args:
            pair: Any spelling.
            exact: `Decimal` with the digits the exchange sent, instead of float.

        Raises:
            KrakkedError: Those of `get_latest_price`; what Kraken left out is None here.
        """
        return self._live().get_ticker(pair, exact=exact)

    @overload
    def get_best_bid_ask(self, pair: str, *, exact: Literal[False] = ...) -> BestBidAsk[float]: ...

    @overload
    def get_best_bid_ask(self, pair: str, *, exact: Literal[True]) -> BestBidAsk[Decimal]: ...

    @overload
    def get_best_bid_ask(
        self, pair: str, *, exact: bool
    ) -> BestBidAsk[float] | BestBidAsk[Decimal]: ...

    def get_best_bid_ask(
        self, pair: str, *, exact: bool = False
    ) -> BestBidAsk[float] | BestBidAsk[Decimal]:
        """Return the best bid and ask, with their quantities.

        Args:
            pair: Any spelling.
            exact: `Decimal` with the digits the exchange sent, instead of float.

        Raises:
            NoDataYetError: Nothing has arrived yet, one side of the book is empty, the newest bid
                lies above its ask, or the pair is not streamed.
            KrakkedError: The others of `get_latest_price`.
        """
        return self._live().get_best_bid_ask(pair, exact=exact)

    @overload
    def get_live_ohlc(
        self, pair: str, timeframe: Timeframe, *, exact: Literal[False] = ...
    ) -> LiveOHLC[float]: ...

    @overload
    def get_live_ohlc(
        self, pair: str, timeframe: Timeframe, *, exact: Literal[True]
    ) -> LiveOHLC[Decimal]: ...

    @overload
    def get_live_ohlc(
        self, pair: str, timeframe: Timeframe, *, exact: bool
    ) -> LiveOHLC[float] | LiveOHLC[Decimal]: ...

    def get_live_ohlc(
        self, pair: str, timeframe: Timeframe, *, exact: bool = False
    ) -> LiveOHLC[float] | LiveOHLC[Decimal]:
        """Return the newest candle; it may be running, see `LiveOHLC.closed`.

        Args:
            pair: Any spelling.
            timeframe: One of the streamed timeframes, such as ``1m``.
            exact: `Decimal` with the digits the exchange sent, instead of float.

        Raises:
            UnknownTimeframeError: No such timeframe.
            NoDataYetError: No candle has arrived yet, or the timeframe is not streamed.
            KrakkedError: The others of `get_latest_price`.
        """
        return self._live().get_live_ohlc(pair, timeframe, exact=exact)

    async def wait_live(
        self, pairs: Iterable[str] | None = None, *, timeout_s: float = 30.0
    ) -> None:
        """Wait until pairs have a live ticker and Kraken has acknowledged their candles.

        Args:
            pairs: Any spelling; None for all that are streamed.
            timeout_s: Longest wait, in seconds.

        Raises:
            UnknownPairError: No such pair.
            SubscriptionRefusedError: Kraken refused it.
            NoDataYetError: Not live in time; the message says what stands in the way.
            NotLiveError: More than one pair failed: `errors` has one of the above for each.
        """
        await self._stream().wait_live(pairs, timeout_s)

    def changes(
        self,
        pairs: Iterable[str] | None = None,
        kinds: Collection[ChangeKind | str] | None = None,
        timeframes: Iterable[Timeframe] | None = None,
        *,
        snapshot: bool = False,
    ) -> Changes:
        """Listen: ``async for change in kraken.changes(...)``.

        A change wakes who waits at once, the next one after `market_data.ws.conflate_ms`; what
        came in between is told with it, each pair's newest state once.

        Args:
            pairs: Only these, any spelling; None for all. Feed events come in any case.
            kinds: ``ticker candle candle_closed feed``; None for all.
            timeframes: Only candles of these; None for all that are streamed.
            snapshot: Begin with how everything stands: each ticker and running candle once.

        Raises:
            UnknownPairError: No such pair.
            UnknownTimeframeError: No such timeframe.
            ConfigError: No such kind.
        """
        return self._stream().changes(pairs, kinds, timeframes, snapshot=snapshot)

    # --- health ----------------------------------------------------------------------------------

    def get_data_status(self) -> DataStatus:
        """Return the health of everything in one report; sends nothing and never waits."""
        from krakked._market.status import assemble_status

        self._check_open()
        return assemble_status(
            rest=self.rest.reachability(),
            feed=None if self._feed is None else self._feed.statistics(),
            universe_pairs=self._source.current.pairs,
            universe_age_s=self._source.age_s,
            universe_from_copy=self._source.from_copy,
            stale_after_s=self.config.market_data.ws.stale_tolerance_seconds,
            store_error=self._store_error(),
        )

    def _store_error(self) -> str | None:
        from krakked._market.store.ohlc_store import OHLCStore

        return self.store.why_unwritable() if isinstance(self.store, OHLCStore) else None


@public
@asynccontextmanager
async def open_kraken(
    config: KrakkedConfig | None = None,
    credentials: Credentials | None = None,
    *,
    pairs: Iterable[str] | None = None,
    live: bool = True,
    network: Network | None = None,
    clock: Clock | None = None,
    store: CandleStore | None = None,
    on_frame: Callable[[str, str], None] | None = None,
) -> AsyncIterator[Kraken]:
    """Open everything: REST, the universe, the candle store and, if asked, the live stream.

    Leaving the block stops every task, writes what the stream had closed and folds the journal.

    Args:
        config: Settings; config.yaml by default.
        credentials: For private calls, from `load_credentials`; None = public data only.
        pairs: What to stream, any spelling; None = the universe, followed as it is refreshed.
        live: Whether to open the WebSocket stream.
        network: How to reach the exchange; real sockets by default.
        clock: Where times come from; the machine's by default.
        store: Where candles are kept; an `OHLCStore` in the directory of the settings by default,
            opened and closed here. One that is given is only used: its files, its exchange and its
            end are the giver's affair.
        on_frame: Gets (connection name, text) of every frame, for recording; slows the stream.

    Yields:
        The one object for all of it. The stream is connecting by then; `Kraken.wait_live` waits.

    Raises:
        ConfigError: config.yaml is wrong.
        NetworkError: Kraken can't be reached and there is no copy of its pairs on disk.
        ApiError: Kraken refuses to list its pairs.
        UnknownPairError: One of `pairs` does not exist.
        StoreExchangeError: The store holds candles of another exchange.
        StoreError: The store's directory cannot be used.
    """
    from krakked._config.directories import files_of
    from krakked._config.loader import load_config
    from krakked._config.settings import KrakkedConfig
    from krakked._market.arguments import one_or_many
    from krakked._market.candle_store import CandleStore
    from krakked._market.universe_source import UniverseSource
    from krakked._network.network import SystemNetwork, exchange_reached
    from krakked._rest.client import RestClient

    require_trio("open_kraken")
    config = config if config is not None else load_config()
    require_kind(config, "config", KrakkedConfig)
    network = network if network is not None else SystemNetwork(config.network.proxy)
    clock = clock if clock is not None else SystemClock()
    if store is not None:
        require_able(store, "store", CandleStore)
    named = None if pairs is None else one_or_many(pairs)
    files = files_of(config, exchange_reached(network))
    state = files.state_dir
    async with (
        RestClient(
            config.rest, network=network, clock=clock, credentials=credentials, state_dir=state
        ) as rest,
    ):
        source = UniverseSource(rest, config.universe, config.region, clock, state)
        await source.start()
        rest.know_pairs(lambda name: source.table.resolve(name) if name in source.table else None)
        async with (
            nullcontext(store)
            if store is not None
            else _own_store(config, files, clock, rest.sandbox, source)
        ) as candles:
            feed = None
            if live:
                from krakked._market.stream.feed import Feed

                feed = Feed(
                    config.market_data.ws,
                    network=network,
                    clock=clock,
                    table=lambda: source.table,
                    rest=rest,
                    on_closed=_LiveJournal(candles, clock),
                    pairs=source.current.pairs if named is None else named,
                    on_frame=on_frame,
                    on_symbols=source.apply_instrument,
                    state_dir=state,
                )
            kraken = Kraken(
                config=config,
                clock=clock,
                rest=rest,
                source=source,
                store=candles,
                feed=feed,
                follows_universe=named is None,
            )
            async with _running(feed, candles, clock):
                try:
                    yield kraken
                finally:
                    kraken._close()


@asynccontextmanager
async def _own_store(
    config: KrakkedConfig, files: Files, clock: Clock, sandbox: str | None, source: UniverseSource
) -> AsyncIterator[CandleStore]:
    """Open the store of the settings around a block."""
    from krakked._market.store.ohlc_store import OHLCStore

    async with _store_root(files, clock) as root:
        store = await run_blocking(
            clock,
            lambda: OHLCStore(
                root,
                backend=config.market_data.ohlc_store.backend,
                exchange=files.exchange,
                sandbox=sandbox,
                # Pairs that Kraken lists no more keep the name they are stored under.
                canonical=lambda name: source.table.resolve(name) if name in source.table else name,
            ),
        )
        try:
            yield store
        finally:
            with trio.CancelScope(shield=True):
                await run_blocking(clock, store.close)


def _store_root(files: Files, clock: Clock) -> AbstractAsyncContextManager[Path]:
    if files.store_root is not None:
        return nullcontext(files.store_root)
    from krakked._market.store.temporary_root import temporary_root

    return temporary_root(files.exchange, clock)


@asynccontextmanager
async def _running(feed: Feed | None, store: CandleStore, clock: Clock) -> AsyncIterator[None]:
    """Run the stream around the user's block, whose errors come out as they are, not in a group."""
    from krakked._market.store.ohlc_store import OHLCStore

    if feed is None:
        yield
        return
    users_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(feed.run)
            if isinstance(store, OHLCStore):
                fold = partial(_fold_hourly, store, clock)
                nursery.start_soon(feed.background.keep, "folding the journal", fold)
            try:
                yield
            except BaseException as error:
                users_error = error
                raise
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if users_error is None or group.exceptions != (users_error,):
            raise
    if users_error is not None:
        raise users_error


class _LiveJournal:
    """Takes closed live candles from the stream into the store's journal, as provisional bars.

    A correction is written like a candle: of two entries for one time the later one counts.
    """

    def __init__(self, store: CandleStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def __call__(self, closed: list[CandleEvent]) -> None:
        by_timeframe: dict[str, list[tuple[str, OHLCBar]]] = defaultdict(list)
        for candle in closed:
            by_timeframe[candle.timeframe].append((candle.pair, candle.bar))
        for timeframe, entries in by_timeframe.items():
            await run_blocking(self._clock, self._store.append_provisional, timeframe, entries)


async def _fold_hourly(store: OHLCStore, clock: Clock) -> None:
    while True:
        await trio.sleep(FOLD_EVERY_S)
        try:
            await run_blocking(clock, store.fold_journal)
        except KrakkedError as error:
            # The bars stay in the journal, and the next hour or the next start folds them.
            _log.warning("the journal of live candles could not be folded: %s", error)
