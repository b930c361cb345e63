"""Candles of a rule out of shorter ones, over whole Arrow columns. Pure.

Prices are taken as they are: the first trade's, the highest, the lowest, the last. An interval in
which nothing traded has none of its own (it repeats the close before), so it opens nothing.
Volumes are added as whole numbers of their last decimal, so that the sum has no error of its own.

*Example.* 1m candles (open, close, count): (7, 7, 0) (8, 9, 2) (9, 9, 0) make a 3m candle that
opens at 8 and closes at 9: the first minute only repeats what was before.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Literal, overload

import pyarrow as pa
import pyarrow.compute as pc

from krakked._errors import MissingBarsError
from krakked._market.arguments import one_of, wrong
from krakked._market.bars import OHLCBar, Source
from krakked._market.resample_rule import ResampleRule, check_fits, parse_rule
from krakked._market.store.arrow import SCHEMA, bars_of_table, table_of_bars, times, view
from krakked._market.times import utc_minute
from krakked._public import public
from krakked._timeframes import Timeframe

DECIMALS: Final = (8, 10, 6)
"""Decimals that volumes are tried with; Kraken's lots have 8 at most, its finest asset 10."""
_EXACT: Final = 2.0**53
"""Below this each whole number is a double of its own."""
_INT64: Final = 2.0**62
_NONE: Final = pa.scalar(None, pa.float64())


@overload
def resample(
    bars: Sequence[OHLCBar],
    timeframe: Timeframe,
    rule: str,
    *,
    on_gap: Literal["cut", "raise", "join"] = ...,
) -> list[OHLCBar]: ...


@overload
def resample(
    bars: Any,  # noqa: ANN401 - Arrow has no types
    timeframe: Timeframe,
    rule: str,
    *,
    on_gap: Literal["cut", "raise", "join"] = ...,
) -> Any: ...  # noqa: ANN401


@public
def resample(
    bars: Any,
    timeframe: Timeframe,
    rule: str,
    *,
    on_gap: Literal["cut", "raise", "join"] = "cut",
) -> Any:
    """Put candles together to longer ones: `3m`, `2h`, `12h`, `1w-mon`, `1M`, ...

    A rule is no timeframe: Kraken makes candles of timeframes. Everything is UTC; candles begin at
    multiples of their length since 1970, weeks on the named day, months on their first.

    Args:
        bars: Candles of one pair, oldest first: a list of `OHLCBar`, or a table as
            ``get_ohlc(as_="arrow")`` gives it.
        timeframe: What they are: ``1m``, ``1h``, ...
        rule: What is wanted: a number and ``m``, ``h``, ``d`` or ``M``, or ``1w-mon`` ...
            ``1w-sun``.
        on_gap: What becomes of a candle some of whose own are missing. ``cut``: it is left out; so
            the running one is, and a first one that had begun before. ``raise``: raise, but for
            those two, which are left out. ``join``: each is made of those that there are.

    Returns:
        The same form as `bars`. `vwap` is None where a candle that traded had none.

    Raises:
        UnknownTimeframeError: No such timeframe.
        ConfigError: `rule` or `on_gap` is none, or candles of the rule are not made of whole ones.
        MissingBarsError: Candles are missing, with ``on_gap="raise"``.
    """
    one_of(on_gap, "on_gap", ("cut", "raise", "join"))
    read = parse_rule(rule)
    step_s = check_fits(read, timeframe)
    given: object = bars
    if isinstance(given, pa.Table):
        return _resampled(given, timeframe, step_s, read, on_gap)
    if not isinstance(given, Sequence) or not all(isinstance(it, OHLCBar) for it in given):
        raise wrong("bars", bars, "a list of OHLCBar, or an Arrow table of candles")
    table = table_of_bars(given, Source.REST)
    return bars_of_table(_resampled(table, timeframe, step_s, read, on_gap))


def _resampled(
    table: pa.Table, timeframe: str, step_s: int, rule: ResampleRule, on_gap: str
) -> pa.Table:
    if not set(SCHEMA.names) <= set(table.column_names):
        raise wrong("bars", table.column_names, f"columns {', '.join(SCHEMA.names)}")
    if table.num_rows == 0:
        return table.select(SCHEMA.names)
    opens = times(table)
    edges = list(rule.edges(opens[0], opens[-1]))
    decimals = _decimals(table.column("volume"))
    grouped = _grouped(table, _periods(opens, edges, rule), decimals)
    found = view(grouped.column("period"), "q").tolist()
    rows = view(grouped.column("time_count"), "q").tolist()
    full = [
        edges[at + 1] - edges[at] == count * step_s for at, count in zip(found, rows, strict=True)
    ]
    if on_gap == "raise":
        _refuse_holes(found, full, edges, timeframe)
    made = _columns(grouped, [edges[at] for at in found], decimals)
    return made if on_gap == "join" or all(full) else made.filter(pa.array(full))


def _periods(opens: memoryview[int], edges: list[int], rule: ResampleRule) -> pa.Array:
    """Number each row's period, counted from the first edge."""
    if not rule.months:
        column = pa.Array.from_buffers(pa.int64(), len(opens), [None, pa.py_buffer(opens)])
        return pc.divide(pc.subtract(column, edges[0]), rule.period_s)
    counted, at = [], 0
    for number, edge in enumerate(edges[1:]):
        upto = bisect.bisect_left(opens, edge, at)
        counted.append(pa.repeat(pa.scalar(number, pa.int64()), upto - at))
        at = upto
    return pa.concat_arrays(counted)


def _decimals(volume: pa.ChunkedArray) -> int | None:
    """Find decimals with which every volume is a whole number; None when none fit."""
    most, total = pc.max(volume).as_py() or 0.0, pc.sum(volume).as_py() or 0.0
    for decimals in DECIMALS:
        scale = 10.0**decimals
        if not (most * scale < _EXACT and total * scale < _INT64):
            continue
        again = pc.divide(pc.round(pc.multiply(volume, scale)), scale)
        if pc.all(pc.equal(again, volume)).as_py():
            return decimals
    return None


def _grouped(table: pa.Table, periods: pa.Array, decimals: int | None) -> pa.Table:
    traded = pc.greater(table.column("count"), 0)
    volume, vwap = table.column("volume"), table.column("vwap")
    amounts = volume
    if decimals is not None:
        amounts = pc.cast(pc.round(pc.multiply(volume, 10.0**decimals)), pa.int64())
    columns = {
        "period": periods,
        "time": table.column("time"),
        **{name: pc.if_else(traded, table.column(name), _NONE) for name in ("open", "high", "low")},
        "close": table.column("close"),
        "turnover": pc.multiply(vwap, volume),
        "without": pc.cast(pc.and_(traded, pc.is_null(vwap)), pa.int64()),
        "volume": amounts,
        "count": table.column("count"),
        "source": table.column("source"),
    }
    # One thread: the first and the last of a period are then its oldest and its newest row.
    return (
        pa.table(columns)
        .group_by("period", use_threads=False)
        .aggregate(
            [
                ("time", "count"),
                ("open", "first"),
                ("high", "max"),
                ("low", "min"),
                ("close", "first"),
                ("close", "last"),
                ("turnover", "sum"),
                ("without", "sum"),
                ("volume", "sum"),
                ("count", "sum"),
                ("source", "min"),
            ]
        )
    )


def _columns(grouped: pa.Table, opens: list[int], decimals: int | None) -> pa.Table:
    volume = grouped.column("volume_sum")
    if decimals is not None:
        volume = pc.divide(pc.cast(volume, pa.float64()), 10.0**decimals)
    quiet = grouped.column("close_first")  # nothing traded at all: every price is the close before
    high = pc.coalesce(grouped.column("high_max"), quiet)
    low = pc.coalesce(grouped.column("low_min"), quiet)
    known = pc.and_(pc.equal(grouped.column("without_sum"), 0), pc.greater(volume, 0.0))
    vwap = pc.if_else(known, pc.divide(grouped.column("turnover_sum"), volume), _NONE)
    vwap = pc.max_element_wise(
        low, pc.min_element_wise(vwap, high, skip_nulls=False), skip_nulls=False
    )
    return pa.table(
        {
            "time": pa.array(opens, pa.int64()),
            "open": pc.coalesce(grouped.column("open_first"), quiet),
            "high": high,
            "low": low,
            "close": grouped.column("close_last"),
            "vwap": vwap,  # within the candle, whatever rounding did
            "volume": volume,
            "count": grouped.column("count_sum"),
            "source": grouped.column("source_min"),
        },
        schema=SCHEMA,
    )


def _refuse_holes(found: list[int], full: list[bool], edges: list[int], timeframe: str) -> None:
    """The first may have begun before, and the last may still run: those are no holes."""
    holes = [found[i] for i in range(1, len(found) - 1) if not full[i]]
    holes += [at + 1 for at, after in pairwise(found) if after != at + 1]
    if not holes:
        return
    start_s, end_s = edges[min(holes)], edges[min(holes) + 1]
    raise MissingBarsError(
        f"{timeframe} candles are missing between {utc_minute(start_s)} and {utc_minute(end_s)} "
        "UTC. backfill_ohlc fetches them; on_gap='join' makes candles of the others.",
        pair="",
        timeframe=timeframe,
        start_s=start_s,
        end_s=end_s,
    )
