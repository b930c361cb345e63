"""Importing Kraken's downloads: which files, then reading them, resumable.

Blocking; async code calls it through `run_blocking`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from krakked._errors import ImportFormatError
from krakked._market.arguments import MOST_WORKERS, count_of, wrong
from krakked._market.history.archive import ArchiveFile, Zips, find_files
from krakked._market.history.import_job import ImportTask, read_files
from krakked._market.history.import_record import ImportRecord
from krakked._market.history.import_report import ImportCallback, ImportReport, SkippedFile
from krakked._market.history.import_workers import read_in_workers
from krakked._market.store.ohlc_store import OHLCStore
from krakked._public import public
from krakked._timeframes import MINUTES, interval_s

_log = logging.getLogger("krakked.store")

_PLAIN: Final = re.compile(r"[A-Za-z0-9]+(\.d)?")
"""A name that may be an altname; anything else is imported only when it is known to spell one."""

_NO_PAIR: Final = "its name is neither ALTNAME_minutes.csv nor ALTNAME.csv of a pair that is known."


@public
def import_archive(
    store: OHLCStore,
    paths: Sequence[str | Path],
    *,
    pairs: Collection[str] | None = None,
    timeframes: Collection[str] | None = None,
    canonical: Callable[[str], str | None] | None = None,
    again: bool = False,
    strict: bool = False,
    workers: int = 1,
    now_s: float | None = None,
    progress: ImportCallback | None = None,
) -> ImportReport:
    """Import OHLCVT and time-and-sales files: zips as downloaded, folders, single CSVs (or gz).

    Blocking, for minutes or hours; under trio, ``await trio.to_thread.run_sync(...)``.

    Archive candles have no vwap and rank below REST and numbered trades, above the live stream.
    The last candle of a file was perhaps still running when it was made, and a file of trades
    begins somewhere inside its first one: those are stored as provisional (`Source.PARTIAL`), until
    another source tells them or the next file of candles goes on exactly behind.
    Files with the newest line first are read backwards, small ones in no order are sorted.
    Bad lines are left out and told; nothing is claimed about what they may have held. Nor is it of
    a long stretch without any line (`longest_silence_s`): a piece of the file may be missing there.
    Interrupted, it goes on with the first unfinished file when called again.

    Args:
        store: Where to.
        paths: Zips, folders, CSV files.
        pairs: Only these (canonical); None = all.
        timeframes: Only these labels; None = all.
        canonical: Turns a name into the canonical one, or gives None for one it does not know,
            which is then stored as it is; None = all names as they are.
        again: Read files anew that an earlier import finished.
        strict: Whether a bad line or a broken file raises, after every other file was read.
        workers: Processes to share the work, series by series; each takes some 150 MB.
        now_s: Unix seconds; what has not ended then is refused. None = the machine's clock.
        progress: Told how far it is.

    Raises:
        ImportFormatError: A path does not exist. With `strict` also a bad line or a broken file:
            the line and what follows it in that file are not stored; whole partitions before it may
            be.
        UnknownTimeframeError: A label in `timeframes` is none.
        StoreError: The disk refused, or a worker process ended; what was finished is stored.
        ConfigError: `workers` is no number from 1 to 64.
    """
    if not 1 <= count_of(workers, "workers") <= MOST_WORKERS:
        raise wrong("workers", workers, f"a whole number from 1 to {MOST_WORKERS}")
    wanted = tuple(timeframes) if timeframes is not None else tuple(MINUTES)
    for label in wanted:
        interval_s(label)
    began_s = time.monotonic()
    with Zips() as zips:
        found, skipped = find_files([Path(path) for path in paths], zips)
        if strict:
            _refuse_broken(skipped)
        record = ImportRecord(store)
        files: list[tuple[ArchiveFile, str]] = []
        known: list[str] = []
        unlisted: dict[str, None] = {}
        for file in found:
            pair = None if canonical is None else _pair_of(file.pair, canonical)
            if pair is None and _PLAIN.fullmatch(file.pair) is None:
                skipped.append(SkippedFile(label=file.label, why=_NO_PAIR))
                continue
            name = store.canonical_name(pair or file.pair)
            if (pairs is not None and name not in pairs) or (
                file.timeframe is not None and file.timeframe not in wanted
            ):
                continue
            if pair is None and canonical is not None:
                unlisted[name] = None
            if not again and record.finished(file, name):
                known.append(file.label)
                continue
            files.append((file, name))
        at_s = int(time.time() if now_s is None else now_s)
        task = ImportTask(wanted, at_s, strict)
        if workers > 1 and len(files) > 1:
            done = read_in_workers(store.elsewhere(), files, task, workers, progress)
        else:
            done = read_files(store, files, task, record, zips, progress)
    if strict and done.errors:
        raise _told(done.errors, len(files)) from done.errors[0]
    return ImportReport(
        files=tuple(done.imported),
        known=tuple(known),
        skipped=(*skipped, *done.skipped),
        failed=tuple(done.failed),
        bad=tuple(done.bad),
        unlisted=tuple(unlisted),
        elapsed_s=time.monotonic() - began_s,
    )


def import_series(
    store: OHLCStore,
    path: Path,
    pair: str,
    timeframe: str,
    *,
    canonical: Callable[[str], str | None] | None = None,
    now_s: float | None = None,
) -> int:
    """Import what an archive holds of one series; give the bars stored. As `import_archive`.

    Raises:
        ImportFormatError: The archive, or the file of this series in it, cannot be read to its end;
            what came before the damage is stored.
    """
    report = import_archive(
        store, [path], pairs={pair}, timeframes={timeframe}, canonical=canonical, now_s=now_s
    )
    _refuse_broken([*report.skipped, *report.failed])
    if not (report.files or report.known):
        _log.warning("%s holds no candles and no trades of %s %s.", path, pair, timeframe)
    return report.bars


def _pair_of(name: str, canonical: Callable[[str], str | None]) -> str | None:
    """Find the pair that a file's name spells: as it stands, with a slash, without a sign."""
    parts = re.split("[-_.]", name)
    spellings = [name, "/".join(parts), "".join(parts)]
    for spelling in dict.fromkeys([*spellings, *(each.upper() for each in spellings)]):
        found = canonical(spelling)
        if found is not None:
            return found
    return None


def _refuse_broken(skipped: Sequence[SkippedFile]) -> None:
    for each in skipped:
        if each.unreadable:
            raise ImportFormatError(f"{each.label}: {each.why}", path=each.label)


def _told(failed: Sequence[ImportFormatError], files: int) -> ImportFormatError:
    """Make one error of those of several files."""
    text = str(failed[0])
    if len(failed) > 1:
        text += f" Likewise {len(failed) - 1} more: {', '.join(e.path for e in failed[1:6])}"
        text += ", ..." if len(failed) > 6 else "."
    if files > len(failed):
        text += f" The other {files - len(failed):,} files are imported."
    return ImportFormatError(text, path=failed[0].path, line=failed[0].line)
