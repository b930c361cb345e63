"""What history and the stream need of a place for candles: `open_kraken(store=...)` takes any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from krakked._market.bars import OHLCBar, Source
from krakked._market.store.coverage import CoverageRange, Gap
from krakked._market.store.fitness import RefusedBar
from krakked._market.times import Time
from krakked._public import public
from krakked._timeframes import Timeframe

if TYPE_CHECKING:
    import pyarrow


@public
class CandleStore(Protocol):
    """A place for closed candles. `OHLCStore` is the one that krakked brings.

    Pairs come as canonical names, times in unix seconds, ranges as (first second, first second
    after). Calls block and may come from several threads; each takes effect as a whole. Failures
    are `StoreError`. What the methods have to keep to is written at `OHLCStore`'s.
    """

    def append_bars(
        self,
        pair: str,
        timeframe: str,
        bars: Iterable[OHLCBar],
        *,
        source: Source = ...,
        covered: tuple[int, int] | None = ...,
        unsettled_from: int | None = ...,
    ) -> int:
        """Store closed bars, merged by rank of source; return how many are new or changed."""
        ...

    def import_columns(
        self,
        pair: str,
        timeframe: str,
        buffers: Mapping[str, Any],
        source: Source,
        covered: Sequence[tuple[int, int]] = ...,
        *,
        partial: Mapping[str, Any] | None = ...,
    ) -> int:
        """Store bars that come as raw columns; otherwise as `append_bars`."""
        ...

    def append_provisional(
        self, timeframe: str, entries: Sequence[tuple[str, OHLCBar]]
    ) -> tuple[RefusedBar, ...]:
        """Store (pair, bar) of the live stream, weaker than every other; return the unfit ones."""
        ...

    def get_bars(
        self,
        pair: str,
        timeframe: str,
        *,
        lookback: int | None = ...,
        since: Time | None = ...,
        until: Time | None = ...,
        provisional: bool = ...,
    ) -> list[OHLCBar]:
        """Return what `get_columns` returns, as bars."""
        ...

    def get_columns(
        self,
        pair: str,
        timeframe: str,
        *,
        lookback: int | None = ...,
        since: Time | None = ...,
        until: Time | None = ...,
        provisional: bool = ...,
    ) -> pyarrow.Table:
        """Return stored bars, oldest first, as columns: those of `OHLCBar`, then `source`."""
        ...

    def gaps(
        self,
        pair: str,
        timeframe: str,
        since: Time | None = ...,
        until: Time | None = ...,
        *,
        provisional: bool = ...,
    ) -> list[Gap]:
        """Return the stretches without traded bars, oldest first, told by `GapKind`."""
        ...

    def first_stored(self, pair: str, timeframe: str) -> int | None:
        """Return the open time of the oldest stored bar, or None."""
        ...

    def coverage(self, pair: str, timeframe: str) -> tuple[CoverageRange, ...]:
        """Return the ranges that sources have answered for."""
        ...

    def unavailable(self, pair: str, timeframe: str) -> tuple[tuple[int, int], ...]:
        """Return the stretches that `mark_unavailable` was told of and no source covers yet."""
        ...

    def mark_unavailable(
        self, pair: str, timeframe: str, stretches: Iterable[tuple[int, int]]
    ) -> None:
        """Remember stretches that were asked for in vain."""
        ...

    def series(self) -> list[tuple[str, Timeframe]]:
        """Return (pair, timeframe) of everything stored."""
        ...
