"""Taking a series out of the store."""

from __future__ import annotations

import contextlib

from krakked._market.store.durable import remove, typed_errors
from krakked._market.store.layout import Series, StorePaths
from krakked._market.store.partition_files import PartitionFiles
from krakked._market.store.series_files import SeriesFiles


def delete_series(paths: StorePaths, files: PartitionFiles, series: Series) -> int:
    """Remove the files of a series, and give how many partitions; the caller holds its lock.

    What is known to be complete goes first: killed in between, nothing is claimed that is not
    there, and the same call again removes the rest.
    """
    own = SeriesFiles(paths, series, files)
    remove(paths.coverage_of(series))
    remove(own.partial_path)
    names = own.partitions()
    for name in names:
        remove(own.path(name))
    with typed_errors(paths.series_dir(series)), contextlib.suppress(FileNotFoundError):
        # A stranger's file in there is not ours to remove.
        if not any(paths.series_dir(series).iterdir()):
            paths.series_dir(series).rmdir()
    return len(names)
