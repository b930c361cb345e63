"""Bars as Arrow columns and back, and Arrow columns as other libraries want them. Pure.

pyarrow has no types, so to the checker a `pa.Table` is anything; only this room handles one.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, overload

import pyarrow as pa
import pyarrow.compute as pc

from krakked._errors import StoreError
from krakked._market.arguments import one_of, shown
from krakked._market.bars import OHLCBar, Source
from krakked._market.store.layout import Series
from krakked._market.times import FAR_S

PRICES: Final = ("open", "high", "low", "close")
FLOATS: Final = (*PRICES, "vwap", "volume")

SCHEMA: Final = pa.schema(
    [
        pa.field("time", pa.int64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=name == "vwap") for name in FLOATS),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("source", pa.int8(), nullable=False),
    ]
)
"""Columns of every stored table: the fields of `OHLCBar` in order, then `source` (`Source`)."""

EMPTY: Final = pa.Table.from_batches([], schema=SCHEMA)  # `empty_table()` would import pandas


@overload
def view(column: pa.Array | pa.ChunkedArray, code: Literal["q", "b"]) -> memoryview[int]: ...
@overload
def view(column: pa.Array | pa.ChunkedArray, code: Literal["d"]) -> memoryview[float]: ...
def view(
    column: pa.Array | pa.ChunkedArray, code: Literal["q", "b", "d"]
) -> memoryview[int] | memoryview[float]:
    """Look at a column without nulls as a sequence of Python numbers, without copying it.

    Args:
        column: An Arrow array or chunked array.
        code: `struct` letter of its type: ``q`` int64, ``d`` float64, ``b`` int8.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    start, end = column.offset, column.offset + len(column)
    data = memoryview(column.buffers()[1] if end else b"").cast("B")
    return data.cast("d")[start:end] if code == "d" else data.cast(code)[start:end]


def times(table: pa.Table) -> memoryview[int]:
    """Look at the open times of a table."""
    return view(table.column("time"), "q")


def table_of_bars(bars: Iterable[OHLCBar], source: Source) -> pa.Table:
    """Make a table of bars in the order given."""
    rows = bars if isinstance(bars, Sequence) else list(bars)
    count = len(rows)
    arrays = [
        pa.array([b.time for b in rows], pa.int64()),
        pa.array([b.open for b in rows], pa.float64()),
        pa.array([b.high for b in rows], pa.float64()),
        pa.array([b.low for b in rows], pa.float64()),
        pa.array([b.close for b in rows], pa.float64()),
        # Kraken writes vwap "0.0" where nothing traded; that is no price.
        pa.array([b.vwap if b.count else None for b in rows], pa.float64()),
        pa.array([b.volume for b in rows], pa.float64()),
        pa.array([b.count for b in rows], pa.int64()),
        _constant(source, count),
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _constant(source: Source, count: int) -> pa.Array:
    return pa.Array.from_buffers(pa.int8(), count, [None, pa.py_buffer(bytes([source]) * count)])


def table_of_buffers(columns: Mapping[str, Any], source: Source) -> pa.Table:
    """Put little-endian int64 (`time`, `count`) and float64 buffers under one table, uncopied.

    `vwap` may be missing; NaN in it, or a count of 0, means none.

    Raises:
        StoreError: A column is missing, unknown, or of another length.
    """
    wanted = set(SCHEMA.names) - {"source"}
    if not wanted - {"vwap"} <= set(columns) <= wanted:
        raise StoreError(f"Columns are {shown(sorted(columns))}; wanted: {sorted(wanted)}.")
    buffers = {name: pa.py_buffer(data) for name, data in columns.items()}
    count = buffers["time"].size // 8
    if any(buffer.size != count * 8 for buffer in buffers.values()):
        raise StoreError("The columns differ in length.")
    arrays: dict[str, Any] = {
        name: pa.Array.from_buffers(SCHEMA.field(name).type, count, [None, buffer])
        for name, buffer in buffers.items()
    }
    arrays["vwap"] = _vwap(arrays.get("vwap"), arrays["count"])
    arrays["source"] = _constant(source, count)
    return pa.Table.from_arrays([arrays[name] for name in SCHEMA.names], schema=SCHEMA)


def _vwap(vwap: pa.Array | None, counts: pa.Array) -> pa.Array:
    if vwap is None:
        return pa.nulls(len(counts), pa.float64())
    absent = pc.or_(pc.is_nan(vwap), pc.equal(counts, 0))
    if not pc.any(absent, min_count=0).as_py():
        return vwap
    return pc.if_else(absent, pa.scalar(None, pa.float64()), vwap)


def check(table: pa.Table, series: Series) -> None:
    """Refuse rows that can be no bars of the series; `fitness.why_unfit` over whole columns.

    Raises:
        StoreError: An open time off the interval's grid or out of range, a number that is none or
            negative, or prices that contradict each other.
    """
    if table.num_rows == 0:
        return
    opens = table.column("time")
    bounds = pc.min_max(opens).as_py()
    if bounds["min"] < 0 or bounds["max"] >= FAR_S:
        raise StoreError(f"{series}: open times must be unix seconds, got {bounds}.")
    if series.aligned:
        step = pa.scalar(series.step_s, pa.int64())
        off = pc.not_equal(pc.multiply(pc.divide(opens, step), step), opens)
        if pc.any(off).as_py():
            raise StoreError(f"{series}: an open time is no multiple of {series.step_s} s.")
    for name in SCHEMA.names:
        if name != "vwap" and table.column(name).null_count:
            raise StoreError(f"{series}: column {name} holds a value that is none.")
    for name in FLOATS:
        # The sum is finite if all are, barring overflow; only then is the slow question asked.
        total = pc.sum(table.column(name)).as_py()
        if total is None or math.isfinite(total):
            continue
        if not pc.all(pc.is_finite(table.column(name))).as_py():
            raise StoreError(f"{series}: column {name} holds a value that is not a finite number.")
    for name in (*FLOATS, "count"):
        if (pc.min(table.column(name)).as_py() or 0) < 0:
            raise StoreError(f"{series}: column {name} holds a negative value.")
    low, high = table.column("low"), table.column("high")
    inner = pc.min_element_wise(table.column("open"), table.column("close"))
    outer = pc.max_element_wise(table.column("open"), table.column("close"))
    fits = pc.and_(pc.less_equal(low, inner), pc.less_equal(outer, high))
    if not pc.all(fits).as_py():
        raise StoreError(f"{series}: the low, open, close and high of a bar contradict each other.")


def check_range(series: Series, covered: tuple[int, int]) -> None:
    """Refuse what can be no covered range of the series.

    Raises:
        StoreError: It begins before 1970 or after its end, or lies off the interval's grid.
    """
    start, end = covered
    step_s = series.step_s
    whole = all(isinstance(moment, int) for moment in covered)
    if not whole or not 0 <= start <= end <= FAR_S:
        raise StoreError(f"{series}: not a range in whole unix seconds: {covered}.")
    if series.aligned and (start % step_s or end % step_s):
        raise StoreError(f"{series}: not a range on the grid of {step_s} s: {covered}.")


def bars_of_table(table: pa.Table) -> list[OHLCBar]:
    """Make typed bars of a table; columns leave Arrow whole, no row is touched in Python."""
    vwap = table.column("vwap")
    vwaps = vwap.to_pylist() if vwap.null_count else view(vwap, "d").tolist()
    prices = (view(table.column(name), "d").tolist() for name in PRICES)
    return list(
        map(
            OHLCBar,
            times(table).tolist(),
            *prices,
            vwaps,
            view(table.column("volume"), "d").tolist(),
            view(table.column("count"), "q").tolist(),
        )
    )


FORMS: Final = ("arrow", "polars", "pandas", "numpy")
"""What `convert` can give."""


def convert(table: pa.Table, form: str) -> Any:  # noqa: ANN401 - one of four libraries' types
    """Hand a table over as another library's columns, without a Python loop.

    Args:
        table: What `OHLCStore.get_columns` gave.
        form: ``arrow`` (the table itself), ``polars`` or ``pandas`` (a DataFrame), or ``numpy`` (a
            dict of arrays by column name; a vwap that is none is NaN).

    Raises:
        ConfigError: Unknown form.
        StoreError: The library is not installed.
    """
    library = library_of(form)
    if library is None:
        return table
    if form == "polars":
        return library.from_arrow(table)
    if form == "pandas":
        return table.to_pandas()
    return {name: table.column(name).to_numpy() for name in table.column_names}


def library_of(form: str, forms: Sequence[str] = FORMS) -> Any:  # noqa: ANN401 - a module
    """Import what a form needs: None for ``arrow``.

    Raises:
        ConfigError: Unknown form.
        StoreError: The library is not installed.
    """
    one_of(form, "as_", forms)
    if form == "arrow":
        return None
    try:
        return importlib.import_module(form)
    except ImportError as error:
        raise StoreError(f"{form} is not installed: pip install {form}.") from error
