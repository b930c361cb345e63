"""Importing Kraken's downloads: parsed in Rust, stored a partition at a time, resumable.

Blocking; async code calls it through `run_blocking`. Two things happen at once: one piece is
unpacked and parsed while the one before is written.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from krakked._errors import ImportFormatError
from krakked._market.history.archive import ArchiveFile, Skipped, Zips, find_files
from krakked._market.history.archive_order import OrderedFile
from krakked._market.history.archive_series import (
    CandleReader,
    NoCandlesError,
    SeriesReader,
    SeriesWriter,
    TradeReader,
)
from krakked._market.history.import_record import ImportRecord
from krakked._market.history.import_report import (
    BadLine,
    BadLines,
    ImportCallback,
    ImportedFile,
    ImportProgress,
    ImportReport,
)
from krakked._market.store.ohlc_store import OHLCStore
from krakked._timeframes import MINUTES, TRADE_TIMEFRAMES, interval_s

PIECE_BYTES: Final = 1 << 20
"""Unpacked bytes parsed at a time."""

TELL_EVERY_S: Final = 0.05
"""Seconds between two looks at the progress."""

"""Timeframes that are built from trades (a week's alignment is unverified)."""

_log = logging.getLogger("krakked.store")

_PLAIN: Final = re.compile(r"[A-Za-z0-9]+(\.d)?")
"""A name that may be an altname; anything else is imported only when it is known to spell one."""

_NO_PAIR: Final = "its name is neither ALTNAME_minutes.csv nor ALTNAME.csv of a pair that is known."
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


def import_archive(
    store: OHLCStore,
    paths: Sequence[str | Path],
    *,
    pairs: Collection[str] | None = None,
    timeframes: Collection[str] | None = None,
    canonical: Callable[[str], str | None] | None = None,
    again: bool = False,
    strict: bool = False,
    now_s: float | None = None,
    progress: ImportCallback | None = None,
) -> ImportReport:
    """Import OHLCVT and time-and-sales files: zips as downloaded, folders, single CSVs (or gz).

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
        now_s: Unix seconds; what has not ended then is refused. None = the machine's clock.
        progress: Told how far it is.

    Raises:
        ImportFormatError: A path does not exist. With `strict` also a bad line or a broken file:
            the line and what follows it in that file are not stored; whole partitions before it may
            be.
        UnknownTimeframeError: A label in `timeframes` is none.
        StoreError: The disk refused.
    """
    wanted = tuple(timeframes) if timeframes is not None else tuple(MINUTES)
    for label in wanted:
        interval_s(label)
    with Zips() as zips, ThreadPoolExecutor(1, thread_name_prefix="krakked-import") as writer:
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
                skipped.append(Skipped(label=file.label, why=_NO_PAIR))
                continue
            name = pair or file.pair
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
        job = _ImportJob(store, wanted, files, zips, writer, at_s, strict, progress)
        for file, pair in files:
            done = job.read(file, pair)
            if done is not None:
                record.note(file, pair, done)
    if strict and job.errors:
        raise _told(job.errors, len(files)) from job.errors[0]
    return ImportReport(
        files=tuple(job.imported),
        known=tuple(known),
        skipped=(*skipped, *job.skipped),
        failed=tuple(job.failed),
        bad=tuple(job.bad),
        unlisted=tuple(unlisted),
        elapsed_s=job.elapsed_s,
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


def _refuse_broken(skipped: Sequence[Skipped]) -> None:
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


class _ImportJob:
    """Counts over all files, and the two ways to read one."""

    def __init__(  # noqa: PLR0917 - one place makes it
        self,
        store: OHLCStore,
        wanted: Collection[str],
        files: Sequence[tuple[ArchiveFile, str]],
        zips: Zips,
        writer: ThreadPoolExecutor,
        now_s: int,
        strict: bool,
        progress: ImportCallback | None,
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._files = len(files)
        self._bytes_in_all = sum(file.size_bytes for file, _ in files)
        self._zips = zips
        self._writer = writer
        self._now_s = now_s
        self._strict = strict
        self._progress = progress
        self._files_done = self._bytes = self._bars = 0
        self._began_s = self._told_s = time.monotonic()
        self.imported: list[ImportedFile] = []
        self.skipped: list[Skipped] = []
        self.failed: list[Skipped] = []
        self.bad: list[BadLines] = []
        self.errors: list[ImportFormatError] = []
        self._number: Callable[[int], int] = int
        """Gives the number in the file of a line that was read as number so and so."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began_s

    def read(self, file: ArchiveFile, pair: str) -> list[ImportedFile] | None:
        """Read one file and count it; None when it was not read to its end."""
        reader: SeriesReader
        if file.timeframe is not None:
            reader = CandleReader(file, self._series(pair, file.timeframe), self._now_s)
        else:
            labels = [label for label in TRADE_TIMEFRAMES if label in self._wanted]
            reader = TradeReader([self._series(pair, label) for label in labels], self._now_s)
        done: list[ImportedFile] | None = None
        try:
            self._pieces(file, reader)
        except ImportFormatError as error:
            self.errors.append(error)  # one bad file of thousands is no reason to leave the rest
            reader.finish(file.label)
        except NoCandlesError as error:
            self.skipped.append(Skipped(label=file.label, why=str(error)))
            reader.finish(file.label)
        except _UNREADABLE as error:
            why = f"it cannot be read to its end ({error}). Is the download complete?"
            self.errors.append(ImportFormatError(f"{file.label}: {why}", path=file.label))
            self.failed.append(Skipped(label=file.label, why=why, unreadable=True))
            if isinstance(error, EOFError) and not self._strict:
                reader.parse(b"", is_last=True)  # cut off: what came before is good
                with contextlib.suppress(NoCandlesError):
                    reader.hand_on(is_last=True)
            self._count(file, reader)
        else:
            done = self._count(file, reader)
        self._files_done += 1
        return done

    def _series(self, pair: str, timeframe: str) -> SeriesWriter:
        return SeriesWriter(self._store, self._writer, pair, timeframe)

    def _pieces(self, file: ArchiveFile, reader: SeriesReader) -> None:
        self._number = int
        with OrderedFile(file, self._zips) as ordered:
            stream = ordered.lines()
            piece = stream.read(PIECE_BYTES)
            while True:
                try:
                    after = stream.read(PIECE_BYTES) if piece else b""
                except EOFError:
                    reader.parse(piece, is_last=False)
                    raise
                reader.parse(piece, is_last=not after)
                count, first = reader.bad_lines()
                if count and self._strict:
                    line, problem = first[0]
                    raise _malformed(file, stream.number(line), problem)
                reader.hand_on(is_last=not after)
                self._bytes += len(piece)
                self._tell(file.label, self._bars + reader.stored)
                if not after:
                    self._number = stream.number
                    return
                piece = after

    def _count(self, file: ArchiveFile, reader: SeriesReader) -> list[ImportedFile]:
        done = reader.finish(file.label)
        count, first = reader.bad_lines()
        if count:
            number = self._number
            lines = tuple(BadLine(line=number(line), problem=problem) for line, problem in first)
            self.bad.append(BadLines(label=file.label, count=count, first=lines))
        self._bars += reader.stored
        self.imported += done
        return done

    def _tell(self, label: str, bars: int) -> None:
        now_s = time.monotonic()
        if self._progress is None or (now_s - self._told_s < TELL_EVERY_S):
            return
        self._told_s = now_s
        left = self._bytes_in_all - self._bytes
        self._progress(
            ImportProgress(
                label=label,
                files=self._files_done,
                files_in_all=self._files,
                read_bytes=self._bytes,
                all_bytes=self._bytes_in_all,
                bars=bars,
                eta_s=self.elapsed_s / self._bytes * left if self._bytes else None,
            )
        )


def _malformed(file: ArchiveFile, line: int, problem: str) -> ImportFormatError:
    return ImportFormatError(
        f"{file.label}, line {line}: {problem}. That line and what follows it were not stored.",
        path=file.label,
        line=line,
    )
