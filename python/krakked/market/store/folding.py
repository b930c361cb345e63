"""Moving live bars from the journal into the partitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from krakked.errors import StoreError
from krakked.market.bars import OHLCBar
from krakked.market.store import journal
from krakked.market.store.journal import Journal

Append = Callable[[str, list[OHLCBar]], int]
"""Store provisional bars of a pair; gives how many are new."""


class FoldReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `OHLCStore.fold_journal` did."""

    bars: int
    """Bars that are new in the files, or replaced an older provisional one."""
    series: int
    """Series that had bars in the journal."""


def fold(live: Journal, append: Append, quarantine: Path) -> tuple[int, int, StoreError | None]:
    """Fold what is in a journal by now; the caller holds the fold's lock.

    A file is removed only after all its bars are durable elsewhere. A kill in between leaves it,
    and folding it again changes nothing.

    Returns:
        Bars stored, series seen, and the first error; a file with an error stays.
    """
    bars = series = 0
    failed: StoreError | None = None
    for path in live.set_aside():
        entries, damaged, _torn = journal.read(path)
        by_pair: dict[str, list[OHLCBar]] = {}
        for pair, bar in entries:
            by_pair.setdefault(pair, []).append(bar)
        error = None
        for pair, rows in by_pair.items():
            try:
                bars += append(pair, rows)
            except StoreError as refused:
                error = error or refused
        series += len(by_pair)
        failed = failed or error
        if error is None:
            live.discard(path, keep_in=quarantine if damaged else None)
    return bars, series, failed
