"""open_kraken(): the only file that wires the rooms together, and the facade that users hold."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path

import trio

from krakked._config.directories import Files, files_of
from krakked._config.loader import load_config
from krakked._config.settings import KrakkedConfig, RegionProfile
from krakked._errors import ClosedError, KrakkedError, MarketDataError
from krakked._files.owner import OwnerProcess
from krakked._market.bars import OHLCBar
from krakked._market.changes import CandleEvent, ChangeKind, Changes
from krakked._market.history.backfill import History
from krakked._market.live import BestBidAsk, LatestPrice, LiveOHLC, LiveReads
from krakked._market.pairs import PairMetadata, PairTable, one_or_many
from krakked._market.status import DataStatus, assemble_status
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.store.temporary_root import temporary_root
from krakked._market.stream.feed import Feed
from krakked._market.universe import Universe
from krakked._market.universe_source import UniverseChange, UniverseSource
from krakked._network.clock import Clock, SystemClock, run_blocking
from krakked._network.network import Network, SystemNetwork, exchange_reached
from krakked._rest.client import RestClient
from krakked._rest.signing import Credentials

FOLD_EVERY_S = 3600.0
"""How often the journal of live candles is folded into the partitions."""

_log = logging.getLogger("krakked.client")


class Kraken:
    """Everything krakked knows and can ask, behind one object; get it from `open_kraken`.

    Live reads never wait. Whatever may touch the network or the disk is awaited. A pair may be
    named in any of Kraken's spellings; answers always name it canonically (``XBTUSD``). After the
    end of the block that opened it, every call raises `ClosedError`.

    Attributes:
        config: The settings in force.
        rest: The REST client: `public`, `private` and typed endpoints.
        store: The candle store, for work of your own; its calls block.
        plan_backfill: What a back-fill would take; see `History.plan_backfill`.
        backfill_ohlc: Fill the store over REST; see `History.backfill_ohlc`.
        backfill_pairs: The same for many pairs of one timeframe; see `History.backfill_pairs`.
        get_ohlc: The newest closed candles, oldest first; see `OHLCReader.get_ohlc`.
        get_ohlc_since: Closed candles from a time on; see `OHLCReader.get_ohlc_since`.
        gaps: What is missing, and what merely did not trade; see `OHLCReader.gaps`.
        repair: Fetch what is missing and Kraken still has; see `History.repair`.
    """

    def __init__(
        self,
        *,
        config: KrakkedConfig,
        clock: Clock,
        rest: RestClient,
        source: UniverseSource,
        store: OHLCStore,
        feed: Feed | None,
        follows_universe: bool,
    ) -> None:
        self.config = config
        self.rest = rest
        self.store = store
        self._source = source
        self._feed = feed
        self._reads = None if feed is None else LiveReads(feed)
        self._follows_universe = follows_universe
        self._closed = False
        self._owner = OwnerProcess("This Kraken object")
        history = History(rest, store, clock, self._table)
        # The history room's own methods, so that signatures and docstrings exist once.
        self.plan_backfill = history.plan_backfill
        self.backfill_ohlc = history.backfill_ohlc
        self.backfill_pairs = history.backfill_pairs
        self.get_ohlc = history.get_ohlc
        self.get_ohlc_since = history.get_ohlc_since
        self.gaps = history.gaps
        self.repair = history.repair

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
        """Give the canonical names of the universe, in Kraken's order."""
        return list(self.universe.pairs)

    def get_pair_metadata(self, pair: str) -> PairMetadata:
        """Give what Kraken says about a pair, inside the universe or not.

        Raises:
            UnknownPairError: No such pair; the nearest name is suggested.
        """
        return self._table().metadata(pair)

    async def refresh_universe(self) -> UniverseChange:
        """Ask Kraken for its pairs again and apply every rule; the live stream follows.

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
        return change

    # --- live data -------------------------------------------------------------------------------

    @property
    def feed(self) -> Feed:
        """The live stream: add and remove pairs and timeframes, statistics.

        Raises:
            MarketDataError: Opened with ``live=False``.
        """
        self._check_open()
        if self._feed is None:
            raise MarketDataError("There is no live stream: open_kraken(live=True) starts it.")
        return self._feed

    def _live(self) -> LiveReads:
        self._check_open()
        if self._reads is None:
            raise MarketDataError("There is no live stream: open_kraken(live=True) starts it.")
        return self._reads

    def get_latest_price(self, pair: str, *, exact: bool = False) -> LatestPrice:
        """Give the price of the last trade; see `LiveReads.get_latest_price`.

        Raises:
            UnknownPairError: No such pair.
            SubscriptionRefusedError: Kraken refuses to stream it.
            NoDataYetError: Nothing has arrived yet, or it is not streamed.
            DataStaleError: Too old to be handed out as fresh; `why` says what that means.
            MarketDataError: Opened with ``live=False``.
        """
        return self._live().get_latest_price(pair, exact=exact)

    def get_best_bid_ask(self, pair: str, *, exact: bool = False) -> BestBidAsk:
        """Give the best bid and ask; errors as for `get_latest_price`."""
        return self._live().get_best_bid_ask(pair, exact=exact)

    def get_live_ohlc(self, pair: str, timeframe: str, *, exact: bool = False) -> LiveOHLC:
        """Give the newest candle, which may be running; errors as for `get_latest_price`."""
        return self._live().get_live_ohlc(pair, timeframe, exact=exact)

    async def wait_live(
        self, pairs: Iterable[str] | None = None, *, timeout_s: float = 30.0
    ) -> None:
        """Wait until pairs have a live ticker; see `Feed.wait_live`.

        Args:
            pairs: Any spelling; None for all that are streamed.
            timeout_s: Longest wait, in seconds.

        Raises:
            UnknownPairError: No such pair.
            SubscriptionRefusedError: Kraken refused it.
            NoDataYetError: Not live in time.
            ExceptionGroup: More than one pair failed: one of the above for each.
        """
        await self.feed.wait_live(pairs, timeout_s)

    def changes(
        self,
        pairs: Iterable[str] | None = None,
        kinds: Collection[ChangeKind | str] | None = None,
    ) -> Changes:
        """Listen: ``async for change in kraken.changes(...)``; see `krakked._market.changes`.

        Args:
            pairs: Only these, any spelling; None for all. Feed events come in any case.
            kinds: ``ticker candle candle_closed feed``; None for all.
        """
        return self.feed.changes(pairs, kinds)

    # --- health ----------------------------------------------------------------------------------

    def get_data_status(self) -> DataStatus:
        """Give the health of everything in one report; sends nothing and never waits."""
        self._check_open()
        return assemble_status(
            rest=self.rest.reachability(),
            feed=None if self._feed is None else self._feed.statistics(),
            universe_pairs=self._source.current.pairs,
            universe_age_s=self._source.age_s,
            universe_from_copy=self._source.from_copy,
            stale_after_s=self.config.market_data.ws.stale_tolerance_seconds,
        )


@asynccontextmanager
async def open_kraken(
    config: KrakkedConfig | None = None,
    credentials: Credentials | None = None,
    *,
    pairs: Iterable[str] | None = None,
    live: bool = True,
    network: Network | None = None,
    clock: Clock | None = None,
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
    config = config if config is not None else load_config()
    network = network if network is not None else SystemNetwork(config.network.proxy)
    clock = clock if clock is not None else SystemClock()
    files = files_of(config, exchange_reached(network))
    state = files.state_dir
    async with (
        RestClient(
            config.rest, network=network, clock=clock, credentials=credentials, state_dir=state
        ) as rest,
        _store_root(files, clock) as root,
    ):
        source = UniverseSource(rest, config.universe, config.region, clock, state)
        await source.start()
        rest.know_pairs(lambda name: source.table.resolve(name) if name in source.table else None)
        settings = config.market_data
        store = await run_blocking(
            clock,
            lambda: OHLCStore(
                root,
                backend=settings.ohlc_store.backend,
                exchange=files.exchange,
                sandbox=rest.sandbox,
                # Pairs that Kraken lists no more keep the name they are stored under.
                canonical=lambda name: source.table.resolve(name) if name in source.table else name,
            ),
        )
        try:
            feed = None
            if live:
                feed = Feed(
                    settings.ws,
                    network=network,
                    clock=clock,
                    table=lambda: source.table,
                    rest=rest,
                    on_closed=_Journal(store, clock),
                    pairs=source.current.pairs if pairs is None else one_or_many(pairs),
                    on_frame=on_frame,
                    on_symbols=source.apply_instrument,
                    state_dir=state,
                )
            kraken = Kraken(
                config=config,
                clock=clock,
                rest=rest,
                source=source,
                store=store,
                feed=feed,
                follows_universe=pairs is None,
            )
            async with _running(feed, store, clock):
                try:
                    yield kraken
                finally:
                    kraken._close()
        finally:
            with trio.CancelScope(shield=True):
                await run_blocking(clock, store.close)


def _store_root(files: Files, clock: Clock) -> AbstractAsyncContextManager[Path]:
    if files.store_root is not None:
        return nullcontext(files.store_root)
    return temporary_root(files.exchange, clock)


@asynccontextmanager
async def _running(feed: Feed | None, store: OHLCStore, clock: Clock) -> AsyncIterator[None]:
    """Run the stream around the user's block, whose errors come out as they are, not in a group."""
    if feed is None:
        yield
        return
    users_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(feed.run)
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


class _Journal:
    """Takes closed live candles from the stream into the store's journal, as provisional bars.

    A correction is written like a candle: of two entries for one time the later one counts.
    """

    def __init__(self, store: OHLCStore, clock: Clock) -> None:
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
