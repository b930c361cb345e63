"""Candles further back than OHLC reaches, out of the Trades endpoint.

Pages follow each other by `last`; each is asked for from one nanosecond before it, so that trades
that share the border's time are not lost, and trade ids tell doubles and holes apart. Candles grow
in Rust in constant memory and are stored as soon as they are complete, so a killed job goes on
where it was.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from krakked._core import CandleBuilder
from krakked._errors import Action, ServiceError
from krakked._market.bars import Source
from krakked._market.candle_store import CandleStore
from krakked._market.history.plan import BEGINNING_S, PAGE_ROWS
from krakked._market.store.coverage import Range
from krakked._network.clock import Clock, run_blocking
from krakked._public import public
from krakked._rest.models import TradeRow

if TYPE_CHECKING:  # its HTTP library is loaded when a client is made
    from krakked._rest.client import RestClient

NS: Final = 1_000_000_000

SLACK_NS: Final = 1_000
"""Kraken sends times as doubles of seconds, good to 0.3 us: a border is taken that much earlier."""

LEAST_SINCE_NS: Final = 10**18
"""A `since` of fewer than 19 digits is misread by Kraken. It lies before the first trade: 2001."""

BELIEVED_NS: Final = 1_000_000
"""A page's `last` is the time of its last trade; old replies give that with four decimals only."""

FLUSH_PAGES: Final = 20
"""Pages after which complete candles are stored: at most so many calls are lost to a kill."""

FLUSH_S: Final = 10.0
"""The same in seconds."""

SETTLE_NS: Final = 10 * NS
"""A candle is complete when the tape is this far beyond it, should times not rise strictly."""

HOLE_TRIES: Final = 2
"""How often a page with missing ids is asked for again."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One series as the history room needs it."""

    pair: str
    """Canonical name."""
    rest_symbol: str
    """Name for REST."""
    timeframe: str
    """Label such as ``1h``."""
    minutes: int
    """Interval in minutes."""
    listed: bool = True
    """False: Kraken lists the pair no more; only what is stored can be read."""

    @property
    def step_s(self) -> int:
        """Interval in seconds."""
        return self.minutes * 60


@public
class MissingRange(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch that could not be had."""

    start_s: int
    """First second."""
    end_s: int
    """First second after it."""
    why: str
    """The reason, in plain words."""


class DeepProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One page further."""

    calls: int
    """Pages so far."""
    trades: int
    """Trades so far."""
    bars: int
    """Bars stored so far."""
    at_s: int
    """Trades before this unix second have been read."""


class DeepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a walk over the tape brought."""

    calls: int
    """Pages asked for."""
    trades: int
    """Trades read."""
    bars: int
    """Bars stored that were not stored before, or were stored from a weaker source."""
    missing: tuple[MissingRange, ...]
    """Stretches around trades that Kraken did not hand out."""


async def count_trades(
    rest: "RestClient", target: Target, start_s: int, end_s: int
) -> tuple[int, int]:
    """Count the trades of [start, end) from their ids; give (trades, calls it took).

    Ids are consecutive within a pair, so two looks are enough unless nothing traded after the end.

    Source: Kraken REST "Get Recent Trades"; recorded pages have consecutive ids.
    """
    first = await rest.trades(target.rest_symbol, since_of(start_s * NS - 1), 1)
    if not first.rows or first.rows[0].time >= end_s:
        return 0, 1
    first_id = _id_of(first.rows[0])
    after = await rest.trades(target.rest_symbol, end_s * NS - 1, 1)
    calls = 2
    if after.rows:
        return max(0, _id_of(after.rows[0]) - first_id), calls
    # The tape ends before `end`: step back, twice as far each time, until a trade is seen.
    back_s = target.step_s
    while end_s - back_s > start_s:
        page = await rest.trades(target.rest_symbol, (end_s - back_s) * NS, PAGE_ROWS)
        calls += 1
        if page.rows:
            return max(0, _id_of(page.rows[-1]) - first_id + 1), calls
        back_s *= 2
    page = await rest.trades(target.rest_symbol, since_of(start_s * NS - 1), PAGE_ROWS)
    return len(page.rows), calls + 1


def since_of(ns: int) -> int:
    """Return the `since` to ask for: 0, the beginning, instead of what would be misread."""
    return ns if ns >= LEAST_SINCE_NS else 0


def believed_last(last: int | None, last_row_ns: int | None) -> int | None:
    """Return a page's `last` when it is the time of the page's last trade, else None.

    Now and then it is something else, of fewer than 19 digits; other clients met that, too.
    """
    if last is None or last_row_ns is None or abs(last - last_row_ns) > BELIEVED_NS:
        return None
    return last


def _id_of(row: TradeRow) -> int:
    if row.trade_id is None:
        raise _unreadable("a trade without an id")
    return row.trade_id


def _unreadable(what: str) -> ServiceError:
    return ServiceError(
        f"Trades answered something unreadable ({what}). Try again later.",
        code="unreadable",
        endpoint="Trades",
        retryable=True,
        action=Action.RETRY,
    )


class _TradesPage(msgspec.Struct, frozen=True, kw_only=True):
    rows: int
    fresh: bool
    last_id: int | None
    last_ns: int | None
    last: int | None


class TapeWalk:
    """One walk over the trades of [start, end), storing candles on the way."""

    def __init__(
        self,
        rest: "RestClient",
        store: CandleStore,
        clock: Clock,
        target: Target,
        wanted: Range,
    ) -> None:
        start_s, end_s = wanted
        self._rest = rest
        self._store = store
        self._clock = clock
        self._target = target
        self._start_s = start_s
        self._end_s = end_s
        self._builder = CandleBuilder([target.minutes])
        # What lies before Kraken's first day is not claimed as covered.
        self._flushed_s: int | None = start_s if start_s >= BEGINNING_S else None
        self._calls = self._trades = self._bars = 0
        self._last_id: int | None = None
        self._last_ns = start_s * NS
        self._wanted_from_s = start_s
        self._holes = 0
        self._missing: list[MissingRange] = []

    async def run(
        self,
        before_call: Callable[[], Awaitable[None]],
        after_call: Callable[[DeepProgress], None],
    ) -> DeepResult:
        """Walk to the end.

        Args:
            before_call: Awaited before each page; holds a paused job.
            after_call: Told about each page.

        Raises:
            NetworkError: Kraken could not be reached; complete candles so far are stored.
            ApiError: Kraken refused, or answered something unreadable.
            StoreError: A candle could not be stored.
        """
        since_ns = since_of(self._start_s * NS - SLACK_NS)
        pages, flushed_at = 0, trio.current_time()
        tries = 0
        while True:
            await before_call()
            page = await self._page(since_ns)
            pages += 1
            if self._builder.holes()[self._holes :] and tries < HOLE_TRIES:
                tries += 1
                since_ns = since_of(self._last_ns - SLACK_NS)
                continue
            tries = 0
            if self._builder.holes()[self._holes :]:
                await self._give_up_hole(page)
            done = self._follow(page)
            if done or pages >= FLUSH_PAGES or trio.current_time() - flushed_at >= FLUSH_S:
                await self._flush(self._end_s if done else self._complete_until_s())
                pages, flushed_at = 0, trio.current_time()
            after_call(
                DeepProgress(
                    calls=self._calls,
                    trades=self._trades,
                    bars=self._bars,
                    at_s=self._end_s if done else min(self._last_ns // NS, self._end_s),
                )
            )
            if done:
                break
            since_ns = self._next_since(page, since_ns)
        return DeepResult(
            calls=self._calls,
            trades=self._trades,
            bars=self._bars,
            missing=tuple(self._missing),
        )

    async def _page(self, since_ns: int) -> _TradesPage:
        reply = await self._rest.trades_bytes(self._target.rest_symbol, since_ns, PAGE_ROWS)
        self._calls += 1
        try:
            row = self._builder.add_page(reply, self._wanted_from_s * NS, self._end_s * NS)
        except ValueError as error:
            raise _unreadable(str(error)) from error
        rows, counted, _first_id, last_id, first_ns, last_ns, last = row
        self._trades += counted
        fresh = last_id is not None and (self._last_id is None or last_id > self._last_id)
        if self._flushed_s is None and first_ns is not None:
            step_ns = self._target.step_s * NS
            self._flushed_s = first_ns // step_ns * self._target.step_s
        return _TradesPage(rows=rows, fresh=fresh, last_id=last_id, last_ns=last_ns, last=last)

    def _follow(self, page: _TradesPage) -> bool:
        """Move on to the page's last trade; give whether everything wanted has been seen."""
        if page.fresh and page.last_ns is not None:
            self._last_id, self._last_ns = page.last_id, max(self._last_ns, page.last_ns)
        if page.last_ns is not None and page.last_ns >= self._end_s * NS:
            return True
        # A short page with nothing new is the end of the tape; a full one is a crowd of trades at
        # one instant, see _next_since.
        return not page.fresh and page.rows < PAGE_ROWS

    def _next_since(self, page: _TradesPage, since_ns: int) -> int:
        last = believed_last(page.last, page.last_ns)
        border_ns = last - 1 if last is not None else self._last_ns - SLACK_NS
        if page.fresh and border_ns > since_ns:
            return since_of(border_ns)
        # A whole page of trades at one instant: only `last` itself leads beyond it.
        return max(last if last is not None else self._last_ns + SLACK_NS, since_ns + 1)

    def _complete_until_s(self) -> int:
        step_ns = self._target.step_s * NS
        until = (self._last_ns - SETTLE_NS) // step_ns * self._target.step_s
        return min(until, self._end_s)

    async def _flush(self, until_s: int) -> None:
        """Store the candles that open before `until_s`: no trade of theirs can come any more."""
        if self._flushed_s is None or until_s <= self._flushed_s:
            return
        columns = self._builder.take(self._target.minutes, until_s)
        covered = (self._flushed_s, until_s)
        self._bars += await run_blocking(self._clock, self._import, columns, covered)
        self._flushed_s = until_s

    def _import(self, columns: dict[str, bytes], covered: tuple[int, int]) -> int:
        target = self._target
        return self._store.import_columns(
            target.pair, target.timeframe, columns, Source.TRADES, [covered]
        )

    async def _give_up_hole(self, page: _TradesPage) -> None:
        """Leave out the candles that a hole in the ids may have touched."""
        first, last = self._builder.holes()[self._holes :][0]
        self._holes = len(self._builder.holes())
        await self._flush(self._complete_until_s())
        step_s = self._target.step_s
        beyond_ns = self._last_ns if page.last_ns is None else page.last_ns
        start_s = self._last_ns // NS // step_s * step_s
        end_s = min((beyond_ns // NS // step_s + 1) * step_s, self._end_s)
        self._builder.take(self._target.minutes, end_s)  # they may lack trades: dropped
        self._flushed_s = self._wanted_from_s = end_s
        why = f"Kraken did not hand out the trades {first} to {last}."
        self._missing.append(MissingRange(start_s=start_s, end_s=end_s, why=why))
