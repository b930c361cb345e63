"""Looking after the files: verify, repair, compact, snapshot."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from krakked._files.durable import make_directories, sync_directory
from krakked.errors import StoreCorruptError, StoreError
from krakked.market.store import coverage as coverage_format
from krakked.market.store import merge
from krakked.market.store.columns import EMPTY
from krakked.market.store.coverage import Coverage
from krakked.market.store.durable import locked, replace, store_error, typed_errors
from krakked.market.store.journal import read as read_journal
from krakked.market.store.layout import (
    Series,
    StorePaths,
    is_partition,
    partition_bounds,
    series_of_directories,
    series_of_stem,
)
from krakked.market.store.partition_files import PartitionFiles
from krakked.market.store.series_files import Change, SeriesFiles
from krakked.market.timeframes import MINUTES


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that `OHLCStore.verify` found."""

    path: str
    """The file."""
    problem: str
    """What is wrong, in plain words."""
    pair: str | None = None
    """Pair concerned, where known."""
    timeframe: str | None = None
    """Timeframe concerned, where known."""
    partition: str | None = None
    """Partition concerned, where it is one."""


class RepairedPartition(msgspec.Struct, frozen=True, kw_only=True):
    """One file that was set aside, or whose removal was noted."""

    pair: str
    """Pair."""
    timeframe: str
    """Timeframe."""
    start_s: int
    """First second whose coverage is forgotten."""
    end_s: int
    """First second after it."""
    kept: int
    """Rows that were sound and are still stored."""
    moved_to: str | None
    """Where the damaged file lies now; None when it was gone."""


class RepairReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `OHLCStore.repair` did."""

    partitions: tuple[RepairedPartition, ...]
    """Files set aside."""
    left: tuple[Finding, ...]
    """What it could not mend."""


class CompactReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `OHLCStore.compact` did."""

    series: int
    """Series looked at."""
    rewritten: int
    """Partitions written anew."""


def read_coverage(paths: StorePaths, series: Series) -> Coverage:
    """Read a series' coverage; none when there is no file.

    Raises:
        StoreCorruptError: The file is damaged.
    """
    path = paths.coverage_of(series)
    with typed_errors(path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return Coverage()
    try:
        return coverage_format.decode(data)
    except (ValueError, KeyError) as error:
        raise StoreCorruptError(
            f"{path} is damaged ({error}). Run: krakked store repair", path=str(path)
        ) from error


def write_coverage(
    paths: StorePaths, files: PartitionFiles, series: Series, known: Coverage
) -> None:
    """Replace a series' coverage, durably; the caller holds the series' lock."""
    there = [n for n in SeriesFiles(paths, series, files).partitions() if is_partition(n)]
    data = memoryview(coverage_format.encode(known.with_files(there)))
    replace(paths.coverage_of(series), data, temp_dir=paths.tmp, label=series.file_stem)


def credible_coverage(paths: StorePaths, files: PartitionFiles, series: Series) -> Coverage:
    """Read a series' coverage without the claims about partitions that somebody removed.

    Raises:
        StoreCorruptError: The file is damaged.
    """
    known = read_coverage(paths, series)
    for name in _removed(paths, files, series, known):
        known = known.without(partition_bounds(name))
    return known


def coverage_to_write(paths: StorePaths, files: PartitionFiles, series: Series) -> Coverage:
    """Give the credible coverage and forget the rest for good; the caller holds the series' lock.

    Before the first write, that is: a partition that is made anew must not bring old claims back.
    """
    known = read_coverage(paths, series)
    removed = _removed(paths, files, series, known)
    for name in removed:
        known = known.without(partition_bounds(name))
    if removed:
        write_coverage(paths, files, series, known)
    return known


def _removed(
    paths: StorePaths, files: PartitionFiles, series: Series, known: Coverage
) -> list[str]:
    there = SeriesFiles(paths, series, files).partitions() if known.files else []
    return sorted(set(known.files).difference(there))


def all_series(paths: StorePaths) -> list[Series]:
    """Find every series that has a directory, in order."""
    found: list[Series] = []
    for timeframe_dir in _listed(paths.bars):
        for pair_dir in _listed(timeframe_dir):
            series = series_of_directories(timeframe_dir.name, pair_dir.name)
            if series is not None and series.timeframe in MINUTES:
                found.append(series)
    order = list(MINUTES)
    return sorted(found, key=lambda s: (order.index(s.timeframe), s.pair))


def _listed(directory: Path) -> list[Path]:
    with typed_errors(directory):
        try:
            return sorted(directory.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []


# --- verify ------------------------------------------------------------------------------------


def verify(paths: StorePaths, files: PartitionFiles) -> list[Finding]:
    """Check everything; see `OHLCStore.verify`."""
    found = list(_strangers(paths, files.suffix))
    for series in all_series(paths):
        found += _series_findings(paths, files, series)
    found += _coverage_findings(paths, files)
    for path in _listed(paths.journal):
        found += _journal_findings(path)
    return found


def _series_findings(paths: StorePaths, files: PartitionFiles, series: Series) -> Iterator[Finding]:
    own = SeriesFiles(paths, series, files)
    for name in own.partitions():
        for problem in files.problems(own.path(name), series, name):
            yield Finding(
                path=str(own.path(name)),
                problem=problem,
                pair=series.pair,
                timeframe=series.timeframe,
                partition=name,
            )


def _strangers(paths: StorePaths, suffix: str) -> Iterator[Finding]:
    """Find what is no partition: other readers would trip over it."""
    for directory, _, names in os.walk(paths.bars):
        at = Path(directory)
        series = series_of_directories(at.parent.name, at.name)
        for name in names:
            known = series is not None and series.timeframe in MINUTES and name.endswith(suffix)
            if not known or not is_partition(name.removesuffix(suffix)):
                yield Finding(path=str(at / name), problem="not a file of this store")


def _coverage_findings(paths: StorePaths, files: PartitionFiles) -> Iterator[Finding]:
    for path in _listed(paths.coverage):
        series = series_of_stem(path.name.removesuffix(".json"))
        if series is None:
            yield Finding(path=str(path), problem="not a file of this store")
            continue
        try:
            removed = _removed(paths, files, series, read_coverage(paths, series))
        except StoreCorruptError as error:
            yield Finding(
                path=str(path), problem=str(error), pair=series.pair, timeframe=series.timeframe
            )
            continue
        for name in removed:
            yield Finding(
                path=str(SeriesFiles(paths, series, files).path(name)),
                problem="the file was removed, and its bars with it",
                pair=series.pair,
                timeframe=series.timeframe,
                partition=name,
            )


def _journal_findings(path: Path) -> Iterator[Finding]:
    try:
        _, damaged, _torn = read_journal(path)
    except StoreCorruptError as error:
        yield Finding(path=str(path), problem=str(error))
        return
    # A torn tail is no finding: what was never acknowledged is cut by the next writer.
    for start, end in damaged:
        yield Finding(path=str(path), problem=f"bytes {start} to {end} are damaged")


# --- repair ------------------------------------------------------------------------------------


def repair(paths: StorePaths, files: PartitionFiles, *, timeout_s: float) -> RepairReport:
    """Set damaged files aside; see `OHLCStore.repair`."""
    mended: list[RepairedPartition] = []
    left: list[Finding] = []
    seen: set[str] = set()
    for finding in verify(paths, files):
        if finding.path in seen:
            continue
        seen.add(finding.path)
        if finding.pair is None or finding.timeframe is None:
            left.append(finding)
            continue
        series = Series(finding.pair, finding.timeframe)
        what = f"{series.pair} {series.timeframe}"
        with locked(paths.lock(series), timeout_s=timeout_s, what=what):
            if finding.partition is None:
                _set_aside(paths, Path(finding.path), series)
            else:
                mended += _mend(paths, files, series, finding.partition)
    return RepairReport(partitions=tuple(mended), left=tuple(left))


def _mend(
    paths: StorePaths, files: PartitionFiles, series: Series, name: str
) -> list[RepairedPartition]:
    own = SeriesFiles(paths, series, files)
    path = own.path(name)
    start, end = partition_bounds(name)
    if not path.exists():
        coverage_to_write(paths, files, series)
        return [
            RepairedPartition(
                pair=series.pair,
                timeframe=series.timeframe,
                start_s=start,
                end_s=end,
                kept=0,
                moved_to=None,
            )
        ]
    if not files.problems(path, series, name):
        return []  # somebody else was faster
    sound = _sound_rows(files.salvage(path), name)
    try:
        known = read_coverage(paths, series)
    except StoreCorruptError:
        _set_aside(paths, paths.coverage_of(series), series)
        known = Coverage()
    # Coverage first: rows may be lost only where nothing claims that all are there.
    write_coverage(paths, files, series, known.without((start, end)))
    moved = _set_aside(paths, path, series)
    if sound.num_rows:
        own.write(Change(name, sound))
    else:
        coverage_to_write(paths, files, series)  # it names the file no longer
    return [
        RepairedPartition(
            pair=series.pair,
            timeframe=series.timeframe,
            start_s=start,
            end_s=end,
            kept=sound.num_rows,
            moved_to=str(moved),
        )
    ]


def _sound_rows(table: pa.Table, name: str) -> pa.Table:
    """Keep rows that belong here, each once."""
    if table.num_rows == 0 or not table.schema.equals(EMPTY.schema):
        return EMPTY
    return merge.between(merge.unique(table), *partition_bounds(name))


def _set_aside(paths: StorePaths, path: Path, series: Series) -> Path:
    with typed_errors(path):
        make_directories(paths.quarantine)
        target = paths.quarantine / f"{series.file_stem}~{path.name}.{secrets.token_hex(4)}"
        path.rename(target)
        sync_directory(path.parent)
        sync_directory(target.parent)
    return target


# --- compact -----------------------------------------------------------------------------------


def compact(paths: StorePaths, files: PartitionFiles, *, timeout_s: float) -> CompactReport:
    """Refill covered intervals and rewrite what differs; see `OHLCStore.compact`."""
    rewritten = 0
    every = all_series(paths)
    for series in every:
        own = SeriesFiles(paths, series, files)
        what = f"{series.pair} {series.timeframe}"
        with locked(paths.lock(series), timeout_s=timeout_s, what=what):
            known = coverage_to_write(paths, files, series)
            for start, end in known.all():
                for change, _ in own.changes(EMPTY, (start, end), known):
                    if change is not None:
                        own.write(change)
                        rewritten += 1
    return CompactReport(series=len(every), rewritten=rewritten)


# --- snapshot ----------------------------------------------------------------------------------


def snapshot(paths: StorePaths, destination: Path) -> int:
    """Link every finished file into a new directory; see `OHLCStore.snapshot`.

    A partition is only ever replaced, never changed, so that a link keeps its content for good.
    """
    with typed_errors(destination):
        if destination.exists():
            raise StoreError(f"{destination} exists already.", path=str(destination))
        building = destination.with_name(f"{destination.name}.{secrets.token_hex(4)}.partial")
        count = 0
        try:
            make_directories(building)
            if paths.record.exists():
                make_directories(building / paths.record.parent.relative_to(paths.root))
                _link(paths.record, building / paths.record.relative_to(paths.root))
            for source in (paths.coverage, paths.bars):
                for path in _files_below(source):
                    target = building / path.relative_to(paths.root)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link(path, target)
                    count += source == paths.bars
            building.rename(destination)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        sync_directory(destination.parent)
    return count


def _files_below(directory: Path) -> Iterator[Path]:
    for at, _, names in os.walk(directory):
        for name in sorted(names):
            yield Path(at) / name


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except FileNotFoundError:
        return  # a name that went away meanwhile
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}:
            raise store_error(error, target) from error
        shutil.copyfile(path, target)  # another file system: one descriptor, so still one state
