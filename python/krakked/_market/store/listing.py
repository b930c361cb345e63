"""What lies below a root: names that this store gives, and strays that it leaves alone.

Sync tools, desktops and people put files where they like (`._2026-11.parquet`, `2026-11 (conflicted
copy).parquet`, a directory): only a name that the store itself gives, of the kind it gives it to,
is ever opened.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from krakked._market.store.durable import typed_errors
from krakked._market.store.layout import (
    Series,
    StorePaths,
    is_partition,
    series_of_directories,
    series_of_stem,
)
from krakked._timeframes import MINUTES

_TIMEFRAME_DIRECTORIES: Final = {f"timeframe={label}" for label in MINUTES}
_JOURNAL: Final = re.compile(r"(?P<timeframe>[0-9a-z]+)\.journal(?:\.(?P<number>[0-9]+))?")


class DirectoryEntry(NamedTuple):
    """One name in a directory; of a link, what it leads to."""

    name: str
    is_file: bool
    is_directory: bool


def listed(directory: Path) -> list[DirectoryEntry]:
    """Return what lies in a directory, in order of names; nothing for a missing one.

    Raises:
        StoreError: It cannot be read, or is none.
    """
    with typed_errors(directory):
        try:
            with os.scandir(directory) as found:
                return sorted(_entry(each) for each in found)
        except FileNotFoundError:
            return []


def _entry(found: os.DirEntry[str]) -> DirectoryEntry:
    try:
        return DirectoryEntry(found.name, found.is_file(), found.is_dir())
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link to itself is neither
            raise
        return DirectoryEntry(found.name, is_file=False, is_directory=False)


def series_below(paths: StorePaths) -> list[Series]:
    """Find every series that has a directory, in order."""
    order = list(MINUTES)
    found = [
        series
        for timeframe in listed(paths.bars)
        if _holds_series(timeframe)
        for pair in listed(paths.bars / timeframe.name)
        if (series := _series_in(timeframe, pair)) is not None
    ]
    return sorted(found, key=lambda s: (order.index(s.timeframe), s.pair))


def partitions_of(paths: StorePaths, series: Series, suffix: str) -> list[str]:
    """Name the partitions of a series, oldest first."""
    entries = listed(paths.series_dir(series))
    return [entry.name.removesuffix(suffix) for entry in entries if _is_part(entry, series, suffix)]


def covered_series(paths: StorePaths) -> list[Series]:
    """Find every series that has a coverage file, in order of the files' names."""
    return _series_of_files(paths.coverage, ".json")


def partial_series(paths: StorePaths, suffix: str) -> list[Series]:
    """Find every series that has candles that may lack trades, in order of the files' names."""
    return _series_of_files(paths.partial, suffix)


def _series_of_files(directory: Path, suffix: str) -> list[Series]:
    """Find every series that has a file in a flat directory."""
    found = (_series_of_file(entry, suffix) for entry in listed(directory))
    return [series for series in found if series is not None]


def journals(paths: StorePaths, timeframe: str | None = None) -> list[Path]:
    """Find journal files, of one timeframe or of all; of each, the oldest entries first."""
    found = [
        (match["timeframe"], match["number"] is None, int(match["number"] or 0), entry.name)
        for entry in listed(paths.journal)
        if (match := _journal_name(entry)) is not None and timeframe in {None, match["timeframe"]}
    ]
    return [paths.journal / name for *_, name in sorted(found)]


def strays(paths: StorePaths, suffix: str) -> Iterator[Path]:
    """Find what is not this store's, where other readers or this one could trip over it."""
    for timeframe in listed(paths.bars):
        directory = paths.bars / timeframe.name
        if not _holds_series(timeframe):
            yield directory
            continue
        for pair in listed(directory):
            series = _series_in(timeframe, pair)
            if series is None:
                yield directory / pair.name
                continue
            for entry in listed(directory / pair.name):
                if not _is_part(entry, series, suffix):
                    yield directory / pair.name / entry.name
    for directory, ending in ((paths.coverage, ".json"), (paths.partial, suffix)):
        for entry in listed(directory):
            if _series_of_file(entry, ending) is None:
                yield directory / entry.name
    for entry in listed(paths.journal):
        if _journal_name(entry) is None:
            yield paths.journal / entry.name


def _holds_series(timeframe: DirectoryEntry) -> bool:
    return timeframe.is_directory and timeframe.name in _TIMEFRAME_DIRECTORIES


def _series_in(timeframe: DirectoryEntry, pair: DirectoryEntry) -> Series | None:
    return series_of_directories(timeframe.name, pair.name) if pair.is_directory else None


def _is_part(entry: DirectoryEntry, series: Series, suffix: str) -> bool:
    name = entry.name.removesuffix(suffix)
    return entry.is_file and name != entry.name and is_partition(series.timeframe, name)


def _series_of_file(entry: DirectoryEntry, suffix: str) -> Series | None:
    series = series_of_stem(entry.name.removesuffix(suffix))
    ours = entry.is_file and series is not None and entry.name == f"{series.file_stem}{suffix}"
    return series if ours else None


def _journal_name(entry: DirectoryEntry) -> re.Match[str] | None:
    match = _JOURNAL.fullmatch(entry.name)
    return match if match is not None and match["timeframe"] in MINUTES and entry.is_file else None
