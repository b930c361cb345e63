"""Bars as a caller gives them, as a table, or a sentence about the one that is none."""

from __future__ import annotations

import pyarrow as pa

from krakked._errors import StoreError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store import arrow
from krakked._market.store.fitness import why_unfit
from krakked._market.store.layout import Series


def checked_table(bars: list[OHLCBar], source: Source, series: Series) -> pa.Table:
    """Make a table of bars.

    Raises:
        StoreError: One of them cannot be a bar of the series; which and why.
    """
    failed: Exception | None = None
    table: pa.Table = arrow.EMPTY
    try:
        table = arrow.table_of_bars(bars, Source(source))
        if {type(bar.time) for bar in bars} | {type(bar.count) for bar in bars} <= {int}:
            return table
    except (pa.ArrowException, ValueError, TypeError, AttributeError, OverflowError) as error:
        failed = error
    # Arrow takes more than a bar may hold, and says little when it does not.
    for bar in bars:
        why = why_unfit(bar, series)
        if why is not None:
            raise StoreError(f"{series}: {bar!r:.200} can't be stored: {why}.") from failed
    if failed is not None:
        raise StoreError(f"{series}: the bars can't be stored: {failed!s:.200}.") from failed
    return table
