"""The same candles in files of the other format, as a store of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from krakked._market.store import maintenance
from krakked._market.store.durable import locked, replace
from krakked._market.store.layout import ALL, Series, StorePaths
from krakked._market.store.listing import covered_series, partial_series, series_below
from krakked._market.store.new_root import new_root
from krakked._market.store.partition_files import PartitionFiles
from krakked._market.store.series_files import SeriesFiles


def convert(
    paths: StorePaths,
    files: PartitionFiles,
    destination: Path,
    new_files: PartitionFiles,
    *,
    claim: Callable[[StorePaths], None],
    timeout_s: float,
) -> int:
    """Write every series in another format; see `OHLCStore.convert`.

    Args:
        paths: The store.
        files: Its format.
        destination: Directory of the new store; there whole, or not at all.
        new_files: Format of the new store.
        claim: Writes the record of the new store's root.
        timeout_s: Longest wait for another writer of a series, in seconds.
    """
    every = {*series_below(paths), *covered_series(paths), *partial_series(paths, files.suffix)}
    bars = 0
    with new_root(destination) as building:
        new = StorePaths(building)
        claim(new)
        for series in sorted(every):
            with locked(paths.lock(series), timeout_s=timeout_s, what=str(series)):
                bars += _copy(paths, files, new, new_files, series)
    return bars


def _copy(
    paths: StorePaths,
    files: PartitionFiles,
    new: StorePaths,
    new_files: PartitionFiles,
    series: Series,
) -> int:
    own, copied = SeriesFiles(paths, series, files), SeriesFiles(new, series, new_files)
    known = maintenance.credible_coverage(paths, files, series)
    bars = 0
    for name in own.partitions():
        table = files.whole(own.path(name))
        copied.write(name, table)
        bars += table.num_rows
    partial = files.whole(own.partial_path)
    if partial.num_rows:
        data = new_files.encode(partial, series, ALL)
        replace(copied.partial_path, data, temp_dir=new.tmp, label=series.file_stem)
    if series in covered_series(paths):
        maintenance.write_coverage(new, new_files, series, known)
    return bars
