"""A copy by hard links that other programs may read beside a live writer."""

from __future__ import annotations

from pathlib import Path

from krakked._market.store.durable import link
from krakked._market.store.layout import StorePaths
from krakked._market.store.listing import (
    covered_series,
    partial_series,
    partitions_of,
    series_below,
)
from krakked._market.store.new_root import new_root


def snapshot(paths: StorePaths, suffix: str, destination: Path) -> int:
    """Link every finished file into a new directory; see `OHLCStore.snapshot`.

    A file is only ever replaced, never changed, so that a link keeps its content for good. Coverage
    comes first: it then claims nothing that the bars linked later do not hold.
    """
    private = [
        paths.record,
        *(paths.coverage_of(series) for series in covered_series(paths)),
        *(paths.partial_of(series, suffix) for series in partial_series(paths, suffix)),
    ]
    bars = [
        paths.series_dir(series) / f"{name}{suffix}"
        for series in series_below(paths)
        for name in partitions_of(paths, series, suffix)
    ]
    with new_root(destination) as building:
        for path in private:
            _link_below(building, paths.root, path)
        return sum(_link_below(building, paths.root, path) for path in bars)


def _link_below(building: Path, root: Path, path: Path) -> bool:
    target = building / path.relative_to(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        link(path, target)
    except FileNotFoundError:
        return False  # a name that went away meanwhile
    return True
