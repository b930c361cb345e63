"""Candles of a rule out of shorter ones, over whole Arrow columns. Pure.

Prices are taken as they are: the first trade's, the highest, the lowest, the last. An interval in
which nothing traded has none of its own (it repeats the close before), so it opens nothing.
Volumes are added as whole numbers of their last decimal, so that the sum has no error of its own.

*Example.* 1m candles (open, close, count): (7, 7, 0) (8, 9, 2) (9, 9, 0) make a 3m candle that
opens at 8 and closes at 9: the first minute only repeats what was before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, overload

import pyarrow as pa

from krakked._core import Resampler
from krakked._errors import MissingBarsError
from krakked._market.arguments import one_of, wrong
from krakked._market.bars import OHLCBar, Source
from krakked._market.resample_rule import ResampleRule, check_fits, parse_rule
from krakked._market.store.arrow import (
    FLOATS,
    SCHEMA,
    bars_of_table,
    table_of_bars,
    table_of_buffers,
    times,
    view,
)
from krakked._market.times import utc_minute
from krakked._public import public
from krakked._timeframes import Timeframe

AT_ONCE: Final = 8_192
"""Rows that are handed over at once: few enough to stay in the processor's cache."""


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
    floats = {name: table.column(name) for name in FLOATS}
    if floats["vwap"].null_count:
        floats["vwap"] = floats["vwap"].fill_null(float("nan"))
    opened, high, low, close, vwap, volume = (view(floats[name], "d") for name in FLOATS)
    count, source = view(table.column("count"), "q"), view(table.column("source"), "b")
    resampler = Resampler(edges)
    try:
        for start in range(0, len(opens), AT_ONCE):
            end = start + AT_ONCE
            resampler.feed(
                (
                    opens[start:end].tobytes(),
                    opened[start:end].tobytes(),
                    high[start:end].tobytes(),
                    low[start:end].tobytes(),
                    close[start:end].tobytes(),
                    vwap[start:end].tobytes(),
                    volume[start:end].tobytes(),
                    count[start:end].tobytes(),
                ),
                source[start:end].tobytes(),
            )
    except ValueError as error:
        raise wrong("bars", bars_of_table(table.slice(0, 2)), "candles, oldest first") from error
    columns = resampler.finish()
    ranks = pa.py_buffer(columns.pop("source"))
    sources = pa.Array.from_buffers(pa.int64(), ranks.size // 8, [None, ranks])
    ends, rows = memoryview(columns.pop("end")).cast("q"), memoryview(columns.pop("rows")).cast("q")
    made = table_of_buffers(columns, Source.REST)
    made = made.set_column(8, SCHEMA.field("source"), sources.cast(pa.int8()))
    starts = times(made)
    full = [
        end - start == count * step_s for start, end, count in zip(starts, ends, rows, strict=True)
    ]
    if on_gap == "raise":
        _refuse_holes(starts.tolist(), ends.tolist(), full, timeframe)
    return made if on_gap == "join" or all(full) else made.filter(pa.array(full))


def _refuse_holes(starts: list[int], ends: list[int], full: list[bool], timeframe: str) -> None:
    """The first may have begun before, and the last may still run: those are no holes."""
    holes = [starts[i] for i in range(1, len(starts) - 1) if not full[i]]
    holes += [end for end, start in zip(ends, starts[1:], strict=False) if end != start]
    if not holes:
        return
    start_s = min(holes)
    end_s = next((end for start, end in zip(starts, ends, strict=True) if start == start_s), None)
    if end_s is None:
        end_s = next(start for start in starts if start > start_s)
    raise MissingBarsError(
        f"{timeframe} candles are missing between {utc_minute(start_s)} and {utc_minute(end_s)} "
        "UTC. backfill_ohlc fetches them; on_gap='join' makes candles of the others.",
        pair="",
        timeframe=timeframe,
        start_s=start_s,
        end_s=end_s,
    )
