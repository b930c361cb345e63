"""krakked for plain programs: the calls of `krakked.blocking`.

Written by `make faces` from the trio face, of which it is a copy in everything but how one waits;
a test holds the two together. Long because every function of the contract stands in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final, overload

from krakked._faces.blocking_changes import Changes

if TYPE_CHECKING:
    import krakked
    from krakked import (
        ApiKeyInfo,
        AssetPairInfo,
        BackfillFailure,
        BackfillPlan,
        BackfillProgress,
        BackfillReport,
        BestBidAsk,
        CandleStore,
        ChangeKind,
        DataStatus,
        ExtendedBalance,
        FeedStatistics,
        Form,
        Gap,
        JsonValue,
        KrakkedConfig,
        LatestPrice,
        LiveOHLC,
        LiveTicker,
        OHLCBar,
        OHLCReply,
        OnGap,
        Otp,
        PairMetadata,
        Pause,
        RegionProfile,
        RestStatus,
        ServerTime,
        SystemStatus,
        TickerInfo,
        Time,
        Timeframe,
        TradesReply,
        Universe,
        UniverseChange,
        Value,
        Waiting,
        WebSocketsToken,
    )
    from krakked._faces.trio_thread import TrioThread

T = TypeVar("T")


@final
class RestClient:
    """Kraken's REST API: limited, signed, retried where that is safe. An async context manager."""

    def __init__(self, thread: TrioThread[krakked.Kraken], rest: krakked.RestClient) -> None:
        self._thread = thread
        self._rest = rest

    def __repr__(self) -> str:
        return repr(self._rest)

    @property
    def sandbox(self) -> str | None:
        """Which sandbox has answered, as ``sandbox-5-20261126``; None for a real exchange."""
        return self._rest.sandbox

    @overload
    def public(
        self, endpoint: str, params: Mapping[str, Value] | None = None, *, reply: None = None
    ) -> JsonValue: ...

    @overload
    def public(
        self, endpoint: str, params: Mapping[str, Value] | None = None, *, reply: type[T]
    ) -> T: ...

    def public(
        self,
        endpoint: str,
        params: Mapping[str, Value] | None = None,
        *,
        reply: type[T] | None = None,
    ) -> T | JsonValue:
        """Call a public endpoint and return its decoded ``result``.

        Args:
            endpoint: Kraken's name, such as ``Time`` or ``Depth``.
            params: Query parameters; None values are left out, sequences become comma lists.
            reply: What to decode into: a type that msgspec knows, such as ``dict[str, str]`` or a
                Struct of yours. None = plain values of JSON, of which a type checker knows nothing.

        Raises:
            NetworkError: No usable answer came, after at most three attempts.
            ApiError: Kraken refused the call; see its subclasses. `ServiceError` too where the
                answer is none of `reply`.
        """
        return self._thread.call(lambda: self._rest.public(endpoint, params, reply=reply))

    def public_bytes(self, endpoint: str, params: Mapping[str, Value] | None = None) -> bytes:
        """Call a public endpoint and give the whole body of the successful reply.

        Raises:
            NetworkError: No usable answer came, after at most three attempts.
            ApiError: Kraken refused the call; see its subclasses.
        """
        return self._thread.call(lambda: self._rest.public_bytes(endpoint, params))

    @overload
    def private(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: Otp | None = None,
        json: bool = False,
        reply: None = None,
    ) -> JsonValue: ...

    @overload
    def private(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: Otp | None = None,
        json: bool = False,
        reply: type[T],
    ) -> T: ...

    def private(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: Otp | None = None,
        json: bool = False,
        reply: type[T] | None = None,
    ) -> T | JsonValue:
        """Call a private endpoint, signed, and return its decoded ``result``.

        Calls that only read are tried at most three times, each with a fresh nonce and signature.
        Everything else is sent once. Where it may have taken effect although no proper answer came,
        the error is not retryable and its action is `Action.LOOK_UP_OUTCOME`: look before sending
        it again.

        Args:
            endpoint: Kraken's name, such as ``Balance``.
            data: Parameters, without ``nonce``.
            otp: One-time password of a key with a second factor: the code, or a function that
                gives the code of the moment, asked when the call goes out. No code is sent twice
                by a call; a read is only repeated with another one.
            json: Send the parameters as JSON, for the endpoints that want it.
            reply: What to decode into, as for `public`.

        Raises:
            NoCredentialsError: The client was made without credentials.
            NetworkError: No usable answer came.
            ApiError: Kraken refused the call; `LockoutError` and a repeated `AuthError` come
                without anything being sent.
        """
        return self._thread.call(
            lambda: self._rest.private(endpoint, data, otp=otp, json=json, reply=reply)
        )

    def private_bytes(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: Otp | None = None,
        json: bool = False,
    ) -> bytes:
        """Call a private endpoint that answers with a file, such as ``RetrieveExport``.

        Gives its zip, of at most 256 MiB, or the whole body of a successful answer in JSON. The
        download, too, has to be over within `rest.timeout_s`. Otherwise as `private`.
        """
        return self._thread.call(
            lambda: self._rest.private_bytes(endpoint, data, otp=otp, json=json)
        )

    def time(self) -> ServerTime:
        """Ask for Kraken's clock, and compare ours with it."""
        return self._thread.call(self._rest.time)

    def api_key_info(self, *, otp: Otp | None = None) -> ApiKeyInfo:
        """Ask what the key may do; a wide enough nonce window lets later calls overlap."""
        return self._thread.call(lambda: self._rest.api_key_info(otp=otp))

    def server_wall_ns(self) -> int:
        """Return Kraken's unix time in nanoseconds, as far as known.

        That is the wall clock, unless the last `time` showed that it is wrong.
        """
        return self._thread.run_sync(self._rest.server_wall_ns)

    def why_waiting(self) -> tuple[Waiting, ...]:
        """Say which calls wait and for what, the longest waiting first; empty when none does."""
        return self._thread.run_sync(self._rest.why_waiting)

    def reachability(self) -> RestStatus:
        """Say what the calls so far tell about the API; sends nothing."""
        return self._thread.run_sync(self._rest.reachability)

    def system_status(self) -> SystemStatus:
        """Ask whether the exchange is online."""
        return self._thread.call(self._rest.system_status)

    def asset_pairs(self, *, country_code: str | None = None) -> dict[str, AssetPairInfo]:
        """Ask for all pairs, by their REST key (``XXBTZUSD``); odd entries are left out.

        Args:
            country_code: Only what is offered there, such as ``GB``; None = everywhere. Whether a
                region (``US:CA``) is understood is unverified.
        """
        return self._thread.call(lambda: self._rest.asset_pairs(country_code=country_code))

    def asset_pairs_bytes(self) -> bytes:
        """Ask for all pairs; the whole reply body."""
        return self._thread.call(self._rest.asset_pairs_bytes)

    def ticker(self, pairs: Sequence[str] | None = None) -> dict[str, TickerInfo]:
        """Ask for tickers, by REST key; odd entries are left out.

        Args:
            pairs: Any names REST accepts; None = all pairs in one call.
        """
        return self._thread.call(lambda: self._rest.ticker(pairs))

    def ohlc(self, pair: str, interval_minutes: int, since_s: int | None = None) -> OHLCReply:
        """Ask for at most 720 closed candles and the running one; odd rows are left out.

        Args:
            pair: REST key or altname.
            interval_minutes: 1, 5, 15, 30, 60, 240, 1440, 10080 or 21600.
            since_s: Open time from which to answer, unix seconds; older than the last 720 candles
                cannot be had.
        """
        return self._thread.call(lambda: self._rest.ohlc(pair, interval_minutes, since_s))

    def trades(self, pair: str, since_ns: int, count: int = 1000) -> TradesReply:
        """Ask for a page of trades.

        Args:
            pair: REST key or altname.
            since_ns: Unix nanoseconds after which to begin; 0 = the first trade ever.
            count: 1 to 1000.
        """
        return self._thread.call(lambda: self._rest.trades(pair, since_ns, count))

    def trades_bytes(self, pair: str, since_ns: int, count: int = 1000) -> bytes:
        """Ask for a page of trades; the whole reply body. Arguments as for `trades`."""
        return self._thread.call(lambda: self._rest.trades_bytes(pair, since_ns, count))

    def balance(self, *, otp: Otp | None = None) -> dict[str, str]:
        """Ask for the balances: asset id -> decimal text."""
        return self._thread.call(lambda: self._rest.balance(otp=otp))

    def balance_ex(self, *, otp: Otp | None = None) -> dict[str, ExtendedBalance]:
        """Ask for the balances with credit and holds, by asset id."""
        return self._thread.call(lambda: self._rest.balance_ex(otp=otp))

    def websockets_token(self, *, otp: Otp | None = None) -> WebSocketsToken:
        """Ask for a token for the private WebSocket channels."""
        return self._thread.call(lambda: self._rest.websockets_token(otp=otp))


@final
class LiveFeed:
    """The live stream of one `Kraken`: what it streams, and how it does; get it as `Kraken.feed`.

    Pairs may be named in any spelling. What is asked for is streamed as soon as the exchange has
    acknowledged it; `Kraken.wait_live` waits for that.
    """

    def __init__(self, thread: TrioThread[krakked.Kraken], feed: krakked.LiveFeed) -> None:
        self._thread = thread
        self._feed = feed

    def __repr__(self) -> str:
        return repr(self._feed)

    @property
    def pairs(self) -> tuple[str, ...]:
        """Canonical names of the streamed pairs."""
        return self._feed.pairs

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Streamed timeframes."""
        return self._feed.timeframes

    def add_pairs(self, pairs: Iterable[str]) -> None:
        """Stream more pairs.

        Raises:
            UnknownPairError: One of them does not exist; nothing was changed.
            ClosedError: The stream has ended.
        """
        return self._thread.run_sync(lambda: self._feed.add_pairs(pairs))

    def remove_pairs(self, pairs: Iterable[str]) -> None:
        """Stop streaming pairs; their data is forgotten. Errors as for `add_pairs`."""
        return self._thread.run_sync(lambda: self._feed.remove_pairs(pairs))

    def set_pairs(self, pairs: Iterable[str]) -> None:
        """Stream exactly these pairs. Errors as for `add_pairs`."""
        return self._thread.run_sync(lambda: self._feed.set_pairs(pairs))

    def add_timeframe(self, timeframe: Timeframe) -> None:
        """Stream one more timeframe, over a connection of its own.

        Raises:
            UnknownTimeframeError: No such timeframe, or one that is not streamed.
            ClosedError: The stream has ended.
        """
        return self._thread.run_sync(lambda: self._feed.add_timeframe(timeframe))

    def remove_timeframe(self, timeframe: Timeframe) -> None:
        """Stop streaming a timeframe. Errors as for `add_timeframe`."""
        return self._thread.run_sync(lambda: self._feed.remove_timeframe(timeframe))

    def statistics(self) -> FeedStatistics:
        """Return the facts about the stream as it stands; sends nothing and never waits."""
        return self._thread.run_sync(self._feed.statistics)


@final
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

    def __init__(self, thread: TrioThread[krakked.Kraken], kraken: krakked.Kraken) -> None:
        self._thread = thread
        self._kraken = kraken
        self.config: KrakkedConfig = kraken.config
        self.rest: RestClient = RestClient(thread, kraken.rest)
        self.store: CandleStore = kraken.store

    def __repr__(self) -> str:
        return repr(self._kraken)

    @property
    def region(self) -> RegionProfile:
        """The region and capability profile; read-only."""
        return self._kraken.region

    @property
    def universe(self) -> Universe:
        """The universe in force: names, metadata, and the reason of every pair left out."""
        return self._kraken.universe

    def get_universe(self) -> list[str]:
        """Return the canonical names of the universe, in Kraken's order."""
        return self._kraken.get_universe()

    def get_pair_metadata(self, pair: str) -> PairMetadata:
        """Return what Kraken says about a pair, inside the universe or not.

        Raises:
            UnknownPairError: No such pair; the nearest name is suggested.
        """
        return self._kraken.get_pair_metadata(pair)

    def refresh_universe(self) -> UniverseChange:
        """Ask Kraken for its pairs again and apply every rule; the live stream follows.

        Who listens to `changes` is told, too.

        Returns:
            What was listed, delisted and changed.

        Raises:
            NetworkError: Kraken could not be reached; the universe in force stays.
            ApiError: Kraken refused; likewise.
        """
        return self._thread.call(self._kraken.refresh_universe)

    @overload
    def get_ohlc(
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
    def get_ohlc(
        self,
        pair: str,
        timeframe: Timeframe,
        lookback: int,
        *,
        refresh: bool = ...,
        provisional: bool = ...,
        on_gap: OnGap = ...,
        as_: Form,
    ) -> Any: ...

    def get_ohlc(
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
        return self._thread.call(
            lambda: self._kraken.get_ohlc(
                pair,
                timeframe,
                lookback,
                refresh=refresh,
                provisional=provisional,
                on_gap=on_gap,
                as_=as_,
            )
        )

    @overload
    def resample(
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
    def resample(
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
    ) -> Any: ...

    def resample(
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
        return self._thread.call(
            lambda: self._kraken.resample(
                pair,
                rule,
                lookback,
                timeframe=timeframe,
                refresh=refresh,
                provisional=provisional,
                on_gap=on_gap,
                as_=as_,
            )
        )

    @overload
    def get_ohlc_since(
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
    def get_ohlc_since(
        self,
        pair: str,
        timeframe: Timeframe,
        since_ts: Time,
        *,
        refresh: bool = ...,
        provisional: bool = ...,
        as_: Form,
    ) -> Any: ...

    def get_ohlc_since(
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
        return self._thread.call(
            lambda: self._kraken.get_ohlc_since(
                pair, timeframe, since_ts, refresh=refresh, provisional=provisional, as_=as_
            )
        )

    def gaps(
        self, pair: str, timeframe: Timeframe, since: Time | None = None, until: Time | None = None
    ) -> list[Gap]:
        """Return the stretches without traded bars, missing ones told from those without trades.

        Without `until` that includes the newest ones that Kraken's last answer lacked, see
        `get_ohlc`. The pair may be one that Kraken lists no more, by the name that it is stored
        under.
        """
        return self._thread.call(lambda: self._kraken.gaps(pair, timeframe, since, until))

    def plan_backfill(
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
        return self._thread.call(
            lambda: self._kraken.plan_backfill(pair, timeframe, since, force=force)
        )

    def backfill_ohlc(
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
        return self._thread.call(
            lambda: self._kraken.backfill_ohlc(
                pair,
                timeframe,
                since,
                allow_long=allow_long,
                force=force,
                progress=progress,
                pause=pause,
                archive=archive,
            )
        )

    def backfill_pairs(
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
        return self._thread.call(
            lambda: self._kraken.backfill_pairs(
                pairs, timeframe, force=force, progress=progress, pause=pause
            )
        )

    def repair(
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
        return self._thread.call(
            lambda: self._kraken.repair(
                pair, timeframe, allow_long=allow_long, force=force, progress=progress
            )
        )

    @property
    def feed(self) -> LiveFeed:
        """The live stream: add and remove pairs and timeframes, statistics.

        Raises:
            MarketDataError: Opened with ``live=False``.
        """
        return LiveFeed(self._thread, self._kraken.feed)

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
        return self._kraken.get_latest_price(pair, exact=exact)

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
        return self._kraken.get_ticker(pair, exact=exact)

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
        return self._kraken.get_best_bid_ask(pair, exact=exact)

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
        return self._kraken.get_live_ohlc(pair, timeframe, exact=exact)

    def wait_live(self, pairs: Iterable[str] | None = None, *, timeout_s: float = 30.0) -> None:
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
        return self._thread.call(lambda: self._kraken.wait_live(pairs, timeout_s=timeout_s))

    def changes(
        self,
        pairs: Iterable[str] | None = None,
        kinds: Collection[ChangeKind | str] | None = None,
        timeframes: Iterable[Timeframe] | None = None,
        *,
        snapshot: bool = False,
    ) -> Changes:
        """Listen: ``for change in kraken.changes(...)``.

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
        return Changes(
            self._thread,
            self._thread.run_sync(
                lambda: self._kraken.changes(pairs, kinds, timeframes, snapshot=snapshot)
            ),
        )

    def get_data_status(self) -> DataStatus:
        """Return the health of everything in one report; sends nothing and never waits."""
        return self._thread.run_sync(self._kraken.get_data_status)
