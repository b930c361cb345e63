"""Looking after the files: verify, repair, compact."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from krakked._errors import StoreCorruptError, StoreError
from krakked._files.durable import make_directories, sync_directory
from krakked._market.store import coverage as coverage_format
from krakked._market.store import merge
from krakked._market.store.arrow import EMPTY
from krakked._market.store.coverage import Coverage
from krakked._market.store.durable import link, locked, newer_format, replace, typed_errors
from krakked._market.store.journal import read as read_journal
from krakked._market.store.layout import (
    ALL,
    FORMAT_VERSION,
    Series,
    StorePaths,
    partition_bounds,
)
from krakked._market.store.listing import (
    covered_series,
    journals,
    partial_series,
    series_below,
    strays,
)
from krakked._market.store.partition_files import PartitionFiles
from krakked._market.store.series_files import SeriesFiles
from krakked._public import public


@public
class StoreFinding(msgspec.Struct, frozen=True, kw_only=True):
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


@public
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


@public
class GivenUp(msgspec.Struct, frozen=True, kw_only=True):
    """A damaged file other than a partition that was set aside, and what went with it."""

    path: str
    """The file."""
    moved_to: str
    """Where it lies now."""
    what: str
    """What is not known any more, in plain words."""


@public
class RepairReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `OHLCStore.repair` did."""

    partitions: tuple[RepairedPartition, ...]
    """Partitions set aside."""
    given_up: tuple[GivenUp, ...] = ()
    """Other files set aside, and what went with them."""
    left: tuple[StoreFinding, ...]
    """What it could not mend."""


@public
class CompactReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `OHLCStore.compact` did."""

    series: int
    """Series looked at."""
    rewritten: int
    """Partitions written anew."""


def read_coverage(paths: StorePaths, series: Series) -> Coverage:
    """Read a series' coverage; none when there is no file.

    Raises:
        StoreVersionError: A newer krakked wrote it.
        StoreCorruptError: The file is damaged.
    """
    path = paths.coverage_of(series)
    data = _read_coverage_file(paths, series)
    if data is None:
        return Coverage()
    try:
        version = coverage_format.version(data)
        if version <= FORMAT_VERSION:
            return coverage_format.decode(data)
    except (ValueError, KeyError) as error:
        raise StoreCorruptError(
            f"{path} is damaged ({error}). Run: krakked store repair", path=str(path)
        ) from error
    raise newer_format(path, version)


def _read_coverage_file(paths: StorePaths, series: Series) -> bytes | None:
    path = paths.coverage_of(series)
    with typed_errors(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def write_coverage(
    paths: StorePaths, files: PartitionFiles, series: Series, known: Coverage
) -> None:
    """Replace a series' coverage, durably; the caller holds the series' lock."""
    there = SeriesFiles(paths, series, files).partitions()
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
    """Return the credible coverage and forget the rest for good; the caller holds the series' lock.

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


# --- verify ------------------------------------------------------------------------------------


def verify(paths: StorePaths, files: PartitionFiles) -> list[StoreFinding]:
    """Check everything; see `OHLCStore.verify`."""
    return [*_file_findings(paths, files), *journal_findings(paths)]


def _file_findings(paths: StorePaths, files: PartitionFiles) -> Iterator[StoreFinding]:
    for path in strays(paths, files.suffix):
        yield StoreFinding(path=str(path), problem="not a file of this store: move it away")
    for series in series_below(paths):
        yield from _series_findings(paths, files, series)
    for series in covered_series(paths):
        yield from _coverage_findings(paths, files, series)
    for series in partial_series(paths, files.suffix):
        path = SeriesFiles(paths, series, files).partial_path
        yield from _findings_of_file(files, path, series, ALL, is_partition=False)


def _series_findings(
    paths: StorePaths, files: PartitionFiles, series: Series
) -> Iterator[StoreFinding]:
    own = SeriesFiles(paths, series, files)
    for name in own.partitions():
        yield from _findings_of_file(files, own.path(name), series, name, is_partition=True)


def _findings_of_file(
    files: PartitionFiles, path: Path, series: Series, name: str, *, is_partition: bool
) -> Iterator[StoreFinding]:
    try:
        problems = files.problems(path, series, name)
    except StoreError as error:  # not to be mended from here: a newer format, a failing disk
        yield StoreFinding(path=str(path), problem=str(error))
        return
    for problem in problems:
        yield StoreFinding(
            path=str(path),
            problem=problem,
            pair=series.pair,
            timeframe=series.timeframe,
            partition=name if is_partition else None,
        )


def _coverage_findings(
    paths: StorePaths, files: PartitionFiles, series: Series
) -> Iterator[StoreFinding]:
    path = str(paths.coverage_of(series))
    try:
        removed = _removed(paths, files, series, read_coverage(paths, series))
    except StoreCorruptError as error:
        yield StoreFinding(
            path=path, problem=str(error), pair=series.pair, timeframe=series.timeframe
        )
        return
    except StoreError as error:
        yield StoreFinding(path=path, problem=str(error))
        return
    for name in removed:
        yield StoreFinding(
            path=str(SeriesFiles(paths, series, files).path(name)),
            problem="the file was removed, and its bars with it",
            pair=series.pair,
            timeframe=series.timeframe,
            partition=name,
        )


def journal_findings(paths: StorePaths) -> list[StoreFinding]:
    """Read every journal; a torn tail is no finding: what was never acknowledged is cut."""
    found: list[StoreFinding] = []
    for path in journals(paths):
        try:
            problems = read_journal(path, path.name.partition(".")[0]).problems
        except StoreError as error:
            problems = [str(error)]
        found += [StoreFinding(path=str(path), problem=problem) for problem in problems]
    return found


# --- repair ------------------------------------------------------------------------------------


def repair(paths: StorePaths, files: PartitionFiles, *, timeout_s: float) -> RepairReport:
    """Set damaged partitions and coverage aside; see `OHLCStore.repair`."""
    mended: list[RepairedPartition] = []
    given_up: list[GivenUp] = []
    left: list[StoreFinding] = []
    seen: set[str] = set()
    for finding in list(_file_findings(paths, files)):
        if finding.path in seen:
            continue
        seen.add(finding.path)
        if finding.pair is None or finding.timeframe is None:
            left.append(finding)
            continue
        series = Series(finding.pair, finding.timeframe)
        what = str(series)
        try:
            with locked(paths.lock(series), timeout_s=timeout_s, what=what):
                given_up += _give_up_damaged_coverage(paths, series)
                given_up += _give_up_damaged_partial(paths, files, series)
                if finding.partition is not None:
                    mended += _mend(paths, files, series, finding.partition)
        except StoreError as error:  # the next file may well be mended
            left.append(msgspec.structs.replace(finding, problem=str(error)))
    return RepairReport(partitions=tuple(mended), given_up=tuple(given_up), left=tuple(left))


def _give_up_damaged_coverage(paths: StorePaths, series: Series) -> list[GivenUp]:
    try:
        read_coverage(paths, series)
    except StoreCorruptError:
        path = paths.coverage_of(series)
        moved = _set_aside(paths, path, series)
        what = f"which stretches of {series} are complete"
        return [GivenUp(path=str(path), moved_to=str(moved), what=what)]
    return []


def _give_up_damaged_partial(
    paths: StorePaths, files: PartitionFiles, series: Series
) -> list[GivenUp]:
    path = paths.partial_of(series, files.suffix)
    if series not in partial_series(paths, files.suffix) or not files.problems(path, series, ALL):
        return []
    moved = _set_aside(paths, path, series)
    what = f"candles of {series} that may lack trades"
    return [GivenUp(path=str(path), moved_to=str(moved), what=what)]


def _mend(
    paths: StorePaths, files: PartitionFiles, series: Series, name: str
) -> list[RepairedPartition]:
    own = SeriesFiles(paths, series, files)
    start, end = partition_bounds(name)
    moved: Path | None = None
    kept = 0
    if name not in own.partitions():
        coverage_to_write(paths, files, series)
    else:
        path = own.path(name)
        if not files.problems(path, series, name):
            return []  # somebody else was faster
        sound = _sound_rows(files.salvage(path), name)
        kept = sound.num_rows
        # Coverage first: rows may be lost only where nothing claims that all are there.
        known = read_coverage(paths, series)
        write_coverage(paths, files, series, known.without((start, end)))
        moved = _set_aside(paths, path, series, stays=kept > 0)
        if kept:
            own.write(name, sound)
        else:
            coverage_to_write(paths, files, series)  # it names the file no longer
    return [
        RepairedPartition(
            pair=series.pair,
            timeframe=series.timeframe,
            start_s=start,
            end_s=end,
            kept=kept,
            moved_to=None if moved is None else str(moved),
        )
    ]


def _sound_rows(table: pa.Table, name: str) -> pa.Table:
    """Keep rows that belong here, each once."""
    if table.num_rows == 0 or not table.schema.equals(EMPTY.schema):
        return EMPTY
    return merge.between(merge.unique(table), *partition_bounds(name))


def _set_aside(paths: StorePaths, path: Path, series: Series, *, stays: bool = False) -> Path:
    """Keep a damaged file for people; one that `stays` in its place is about to be replaced."""
    with typed_errors(path):
        make_directories(paths.quarantine)
        target = paths.quarantine / f"{series.file_stem}~{path.name}.{secrets.token_hex(4)}"
        if stays:
            link(path, target)
        else:
            path.rename(target)
            sync_directory(path.parent)
        sync_directory(target.parent)
    return target


# --- compact -----------------------------------------------------------------------------------


def compact(paths: StorePaths, files: PartitionFiles, *, timeout_s: float) -> CompactReport:
    """Refill covered intervals and rewrite what differs; see `OHLCStore.compact`."""
    rewritten = 0
    every = series_below(paths)
    for series in every:
        own = SeriesFiles(paths, series, files)
        what = str(series)
        with locked(paths.lock(series), timeout_s=timeout_s, what=what):
            known = coverage_to_write(paths, files, series)
            for start, end in known.all():
                rewritten += own.apply(EMPTY, (start, end), known).rewritten
            rewritten += _migrate(paths, files, series)
    return CompactReport(series=len(every), rewritten=rewritten)


def _migrate(paths: StorePaths, files: PartitionFiles, series: Series) -> int:
    """Rewrite what an older krakked wrote; gives the number of partitions."""
    own = SeriesFiles(paths, series, files)
    old = [n for n in own.partitions() if files.version(own.path(n)) < FORMAT_VERSION]
    for name in old:
        own.write(name, files.whole(own.path(name)))
    data = _read_coverage_file(paths, series)
    if data is not None and coverage_format.version(data) < FORMAT_VERSION:
        write_coverage(paths, files, series, read_coverage(paths, series))
    return len(old)
