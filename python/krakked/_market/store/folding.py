"""Moving live bars from the journal into the partitions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from krakked._errors import StoreError
from krakked._market.bars import OHLCBar
from krakked._market.store import journal
from krakked._market.store.journal import Journal
from krakked._public import public

Append = Callable[[str, list[OHLCBar]], int]
"""Store provisional bars of a pair; gives how many are new."""


@public
class FoldReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `OHLCStore.fold_journal` did."""

    bars: int
    """Bars that are new in the files, or replaced an older provisional one."""
    series: int
    """Series that had bars in the journal."""
    set_aside: tuple[str, ...] = ()
    """Where journal files lie that held something unreadable; their sound bars are stored."""


class Folded(NamedTuple):
    """What became of one journal."""

    bars: int
    series: int
    set_aside: list[str]
    failed: StoreError | None
    """The first refusal: the bars concerned are still in the journal."""


def fold(live: Journal, append: Append, quarantine: Path) -> Folded:
    """Fold what is in a journal by now; the caller holds the fold's lock.

    A file is removed only after all its bars are durable elsewhere. A kill in between leaves it,
    and folding it again changes nothing. What cannot be read or refused by the store keeps nothing
    else back: the rest of its file is folded, and so are the files behind it.
    """
    bars = series = 0
    set_aside: list[str] = []
    failed: StoreError | None = None
    for path in live.set_aside():
        try:
            found = journal.read(path, live.timeframe)
        except StoreError as refused:
            failed = failed or refused
            continue
        stored, error = _append_all(append, found.by_pair)
        bars += stored
        series += len(found.by_pair)
        if error is None:
            kept = live.discard(path, keep_in=quarantine if found.problems else None)
            set_aside += [] if kept is None else [str(kept)]
        failed = failed or error
    return Folded(bars, series, set_aside, failed)


def _append_all(
    append: Append, by_pair: Mapping[str, list[OHLCBar]]
) -> tuple[int, StoreError | None]:
    bars = 0
    failed: StoreError | None = None
    for pair, rows in by_pair.items():
        try:
            bars += append(pair, rows)
        except StoreError as refused:
            failed = failed or refused
    return bars, failed
