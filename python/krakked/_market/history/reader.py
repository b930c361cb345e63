"""Closed candles on demand: from the store, topped up over REST when some are missing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from krakked._errors import MissingBarsError, UnknownPairError
from krakked._market.arguments import count_of, one_of
from krakked._market.candle_store import CandleStore
from krakked._market.history.ohlc_topup import Tail, ToppedUp
from krakked._market.history.renamed import successor_of
from krakked._market.history.trades_backfill import Target
from krakked._market.pairs import PairTable
from krakked._market.resample_rule import check_fits, fitting, parse_rule
from krakked._market.store.arrow import bars_of_table, convert, library_of, times
from krakked._market.store.coverage import Gap, GapKind, union
from krakked._market.store.merge import between
from krakked._market.store.resample import resample
from krakked._market.times import Time, unix_seconds, utc_minute
from krakked._network.clock import Clock, run_blocking
from krakked._timeframes import LABELS, parse_timeframe

if TYPE_CHECKING:  # its HTTP library is loaded when a client is made
    from krakked._rest.client import RestClient

Form = Literal["arrow", "polars", "pandas", "numpy"]
"""Columns instead of bars: a `pyarrow.Table`, a DataFrame of `polars` or `pandas`, or a dict of
`numpy` arrays by name. Typed as Any: what is not installed, or has no types of its own (pyarrow),
would make every call of `get_ohlc` "partially unknown" to pyright."""

OnGap = Literal["cut", "raise", "join"]
"""What `get_ohlc` does about candles missing between those there are."""

_ON_GAP: Final = get_args(OnGap)
LONGEST_MONTH_S: Final = 31 * 86_400
_HOLE: Final = ". backfill_ohlc fetches them; until then only newer ones are given."
_EDGE: Final = (
    " in Kraken's answer, or can be no candles there; until they come older ones are given."
)
_log = logging.getLogger("krakked.history")


class OHLCReader:
    """Closed candles of any pair.

    Args:
        rest: REST client.
        store: Candle store.
        clock: Clock.
        table: Gives the pairs known at present; any spelling of a pair is understood.
    """

    def __init__(
        self, rest: RestClient, store: CandleStore, clock: Clock, table: Callable[[], PairTable]
    ) -> None:
        self._rest = rest
        self._store = store
        self._clock = clock
        self._table = table
        self._tail = Tail(rest, store, clock)
        self._told: set[tuple[str, str, int]] = set()
        self._edges: dict[tuple[str, str], Gap] = {}

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

    async def get_ohlc(
        self,
        pair: str,
        timeframe: str,
        lookback: int,
        *,
        refresh: bool = True,
        provisional: bool = False,
        on_gap: OnGap = "cut",
        as_: Form | None = None,
    ) -> Any:  # noqa: ANN401 - bars, or another library's table
        """Return the newest closed candles; see `Kraken.get_ohlc`."""
        lookback = count_of(lookback, "lookback")
        one_of(on_gap, "on_gap", _ON_GAP)
        target = await self._asked(pair, timeframe, as_, refresh)
        asked = None
        if refresh and lookback:
            asked = await self._tail.top_up(target, None, lookback, provisional=provisional)
        return await run_blocking(
            self._clock,
            lambda: self._read(
                target,
                lookback=lookback,
                asked=asked,
                provisional=provisional,
                on_gap=on_gap,
                form=as_,
            ),
        )

    async def get_ohlc_since(
        self,
        pair: str,
        timeframe: str,
        since_ts: Time,
        *,
        refresh: bool = True,
        provisional: bool = False,
        as_: Form | None = None,
    ) -> Any:  # noqa: ANN401 - bars, or another library's table
        """Return closed candles from a time on; see `Kraken.get_ohlc_since`."""
        since_s = unix_seconds(since_ts, "since_ts", now_s=self._rest.server_wall_ns() / 1e9)
        target = await self._asked(pair, timeframe, as_, refresh)
        asked = None
        if refresh:
            asked = await self._tail.top_up(target, since_s, None, provisional=provisional)
        return await run_blocking(
            self._clock,
            lambda: self._read(
                target,
                since_s=since_s,
                asked=asked,
                provisional=provisional,
                on_gap="join",
                form=as_,
            ),
        )

    async def resample(
        self,
        pair: str,
        rule: str,
        lookback: int,
        *,
        timeframe: str | None = None,
        refresh: bool = True,
        provisional: bool = False,
        on_gap: OnGap = "cut",
        as_: Form | None = None,
    ) -> Any:  # noqa: ANN401 - bars, or another library's table
        """Return the newest closed candles of a rule; see `Kraken.resample`."""
        lookback, read = count_of(lookback, "lookback"), parse_rule(rule)
        base = fitting(read)[0] if timeframe is None else timeframe
        step_s = check_fits(read, base)
        if as_ is not None:
            library_of(as_)
        longest_s = read.period_s or read.months * LONGEST_MONTH_S
        table = await self.get_ohlc(
            pair,
            base,
            (lookback + 1) * longest_s // step_s,
            refresh=refresh,
            provisional=provisional,
            on_gap=on_gap,
            as_="arrow",
        )
        try:
            made = await run_blocking(
                self._clock, lambda: resample(table, LABELS[step_s // 60], rule, on_gap=on_gap)
            )
        except MissingBarsError as error:
            error.pair = self._table().metadata(pair).canonical
            raise
        # The newest may be running: one that is not whole yet is none, whatever `on_gap` says.
        end_s = times(table)[-1] + step_s if table.num_rows else 0
        newest = made.num_rows and list(read.edges(times(made)[-1], times(made)[-1]))[-1] > end_s
        made = made.slice(0, made.num_rows - bool(newest))
        made = made.slice(max(0, made.num_rows - lookback))
        return bars_of_table(made) if as_ is None else convert(made, as_)

    async def _asked(self, pair: str, timeframe: str, form: Form | None, refresh: bool) -> Target:
        """Resolve what is asked for, and refuse what can't be answered before any call is made."""
        if form is not None:
            library_of(form)
        return await (self._listed(pair, timeframe) if refresh else self._stored(pair, timeframe))

    def _until(self, target: Target, confirmed_s: int | None) -> int:
        """Return the second before which candles must open to be handed out: closed ones only.

        Whatever the store was given: an import may hold the running candle. And where REST has just
        been asked, nothing newer than it has confirmed.
        """
        until_s = self._rest.server_wall_ns() // 1_000_000_000 - target.step_s + 1
        return until_s if confirmed_s is None else min(until_s, confirmed_s)

    def _read(
        self,
        target: Target,
        *,
        asked: ToppedUp | None,
        provisional: bool,
        on_gap: OnGap,
        form: Form | None,
        lookback: int | None = None,
        since_s: int | None = None,
    ) -> Any:  # noqa: ANN401 - bars, or another library's table
        confirmed_s = None if asked is None or provisional else asked.confirmed_s
        until_s = self._until(target, confirmed_s)
        table = self._store.get_columns(
            target.pair,
            target.timeframe,
            lookback=lookback,
            since=since_s,
            until=until_s,
            provisional=provisional,
        )
        edge = None
        if asked is not None:
            edge = self._edge(target, table, asked, provisional)
        hole = None
        if on_gap != "join":
            hole = self._newest_hole(target, table, provisional)
            if edge is not None:
                self._tell_hole(target, edge, on_gap, _EDGE)
        if hole is not None:
            self._tell_hole(target, hole, on_gap, _HOLE)
            table = between(table, hole.end_s, None)
        return bars_of_table(table) if form is None else convert(table, form)

    def _edge(
        self,
        target: Target,
        table: Any,  # noqa: ANN401 - an Arrow table
        asked: ToppedUp,
        provisional: bool,
    ) -> Gap | None:
        """Find what is missing behind the newest candle that is given, and remember it."""
        opens, step_s = times(table), target.step_s
        key = (target.pair, target.timeframe)
        known_s = opens[-1] + step_s if len(opens) else asked.refused_from_s
        self._edges.pop(key, None)
        if known_s is None or asked.due_s is None or asked.due_s < known_s + step_s:
            return None
        end_s = known_s + (asked.due_s - known_s) // step_s * step_s
        gaps = self._store.gaps(*key, known_s, end_s, provisional=provisional)
        edge = next((gap for gap in reversed(gaps) if gap.kind is GapKind.MISSING), None)
        if edge is not None:
            self._edges[key] = edge
        return edge

    def _newest_hole(
        self,
        target: Target,
        table: Any,  # noqa: ANN401 - an Arrow table
        provisional: bool,
    ) -> Gap | None:
        opens, step_s = times(table), target.step_s
        if not len(opens) or opens[-1] - opens[0] == (len(opens) - 1) * step_s:
            return None
        gaps = self._store.gaps(
            *(target.pair, target.timeframe, opens[0], opens[-1]), provisional=provisional
        )
        return next((gap for gap in reversed(gaps) if gap.kind is GapKind.MISSING), None)

    def _tell_hole(self, target: Target, hole: Gap, on_gap: OnGap, then: str) -> None:
        first, end = utc_minute(hole.start_s), utc_minute(hole.end_s)
        what = f"{target.pair} {target.timeframe}: candles from {first} to {end} UTC are missing"
        if on_gap == "raise":
            raise MissingBarsError(
                f"{what}. backfill_ohlc fetches them; on_gap='join' gives the others as they are.",
                pair=target.pair,
                timeframe=target.timeframe,
                start_s=hole.start_s,
                end_s=hole.end_s,
            )
        # At the newest edge a hole grows; it is told when it begins.
        told = (target.pair, target.timeframe, hole.start_s)
        if told not in self._told:
            self._told.add(told)
            _log.warning("%s%s", what, then)

    async def gaps(
        self, pair: str, timeframe: str, since: Time | None = None, until: Time | None = None
    ) -> list[Gap]:
        """Return the stretches without bars; see `Kraken.gaps`."""
        target = await self._stored(pair, timeframe)
        return await run_blocking(self._clock, self._gaps, target, since, until)

    def _gaps(self, target: Target, since: Time | None, until: Time | None) -> list[Gap]:
        key = (target.pair, target.timeframe)
        found = self._store.gaps(*key, since, until)
        edge = self._edges.get(key)
        if until is not None or edge is None:
            return found
        first_s = edge.start_s if since is None else max(edge.start_s, unix_seconds(since, "since"))
        found += self._store.gaps(*key, min(first_s, edge.end_s), edge.end_s)
        joined = [
            Gap(start_s, end_s, kind)
            for kind in GapKind
            for start_s, end_s in union((g.start_s, g.end_s) for g in found if g.kind is kind)
        ]
        return sorted(joined, key=lambda gap: gap.start_s)

    # --- pairs that are listed no more -----------------------------------------------------------

    async def _listed(self, pair: str, timeframe: str) -> Target:
        """Resolve a pair that Kraken lists; of a stored one that it lists no more, say so."""
        try:
            return self.target(pair, timeframe)
        except UnknownPairError as error:
            if not await self._is_stored(pair):
                raise
            successor = successor_of(pair, self._table())
            hint = f" {successor} may be its successor." if successor else ""
            raise UnknownPairError(
                f"Kraken lists {pair} no more.{hint} Its stored history stays a series of its own: "
                "get_ohlc(..., refresh=False) reads it.",
                pair=pair,
                suggestion=successor,
            ) from error

    async def _stored(self, pair: str, timeframe: str) -> Target:
        """Resolve a pair that Kraken lists, or that is stored under just this name."""
        try:
            return self.target(pair, timeframe)
        except UnknownPairError:
            if not await self._is_stored(pair):
                raise
        return Target(
            pair=pair,
            rest_symbol=pair,
            timeframe=timeframe,
            minutes=parse_timeframe(timeframe),
            listed=False,
        )

    async def _is_stored(self, pair: str) -> bool:
        stored = await run_blocking(self._clock, self._store.series)
        return any(name == pair for name, _ in stored)
