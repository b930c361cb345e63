"""A copy by hard links that other programs may read beside a live writer."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from krakked._errors import StoreError
from krakked._files.durable import make_directories, sync_directory
from krakked._market.store.durable import link, typed_errors
from krakked._market.store.layout import StorePaths
from krakked._market.store.listing import (
    covered_series,
    listed,
    partial_series,
    partitions_of,
    series_below,
)


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
    with typed_errors(destination):
        if any(entry.name == destination.name for entry in listed(destination.parent)):
            raise StoreError(
                f"{destination} exists already. Name a new directory.", path=str(destination)
            )
        building = destination.with_name(f"{destination.name}.{secrets.token_hex(4)}.partial")
        try:
            make_directories(building)
            for path in private:
                _link_below(building, paths.root, path)
            count = sum(_link_below(building, paths.root, path) for path in bars)
            building.rename(destination)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        sync_directory(destination.parent)
    return count


def _link_below(building: Path, root: Path, path: Path) -> bool:
    target = building / path.relative_to(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        link(path, target)
    except FileNotFoundError:
        return False  # a name that went away meanwhile
    return True
