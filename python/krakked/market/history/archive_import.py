"""Importing Kraken's downloads: parsed in Rust, stored a partition at a time, resumable.

Blocking; async code calls it through `krakked.network.run_blocking`. Two things happen at once: one
piece is unpacked and parsed while the one before is written.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import time
import zipfile
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from krakked._core import CandleBuilder, OhlcvtParser
from krakked.errors import ImportFormatError
from krakked.market.bars import Source
from krakked.market.history.archive import ArchiveFile, Skipped, Zips, find_files
from krakked.market.history.import_record import ImportRecord
from krakked.market.store.columns import bars_of_table
from krakked.market.store.coverage import Range, subtract, union
from krakked.market.store.layout import partition_bounds, partition_of
from krakked.market.store.ohlc_store import OHLCStore
from krakked.market.timeframes import MINUTES, interval_s

PIECE_BYTES: Final = 1 << 20
"""Unpacked bytes parsed at a time."""

BATCH_ROWS: Final = 400_000
"""Rows after which whole partitions are handed to the store; bounds the memory of an import."""

TELL_EVERY_S: Final = 0.05
"""Seconds between two looks at the progress."""

TRADE_TIMEFRAMES: Final = tuple(label for label in MINUTES if label != "1w")
"""Timeframes that are built from trades (a week's alignment is unverified)."""

_NS: Final = 1_000_000_000
_OFF_GRID: Final = "no multiple of the interval"
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


class ImportProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an import is."""

    label: str
    """File being read."""
    files: int
    """Files done."""
    files_in_all: int
    """Files to do."""
    read_bytes: int
    """Unpacked bytes read."""
    all_bytes: int
    """Unpacked bytes to read."""
    bars: int
    """Bars stored so far."""
    eta_s: float | None
    """Seconds left at the pace so far; None before it is known."""


class BadLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that was left out."""

    line: int
    """1-based number."""
    problem: str
    """What is wrong with it."""


class BadLines(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one file that were left out."""

    label: str
    """The file, with the member inside an archive."""
    count: int
    """How many there are."""
    first: tuple[BadLine, ...]
    """The first ten."""


class ImportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What one file brought to one series."""

    label: str
    """The file, with the member inside an archive."""
    pair: str
    """Canonical name of the pair it was stored under."""
    timeframe: str
    """Label such as ``1m``."""
    rows: int
    """Candles in the file, or built from its trades."""
    bars: int
    """Bars stored that were not stored before, or replaced weaker ones."""
    covered: tuple[Range, ...]
    """What is complete by this file, in order: not its edges, nor where lines were left out."""


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did."""

    files: tuple[ImportedFile, ...]
    """By file and timeframe."""
    known: tuple[str, ...]
    """Files that an earlier import had finished already."""
    skipped: tuple[Skipped, ...]
    """Files that were passed over, and why."""
    failed: tuple[Skipped, ...]
    """Files that could not be read to their end, and why."""
    bad: tuple[BadLines, ...]
    """Lines that were left out, by file."""
    unlisted: tuple[str, ...]
    """Names of pairs that nobody knew: stored as they are."""
    elapsed_s: float
    """How long it took."""

    @property
    def bars(self) -> int:
        """Bars stored in all."""
        return sum(file.bars for file in self.files)

    @property
    def bad_lines(self) -> int:
        """Lines left out in all."""
        return sum(file.count for file in self.bad)


ImportCallback = Callable[[ImportProgress], None]
"""Called about twenty times a second, from the thread that imports."""


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
    Bad lines are left out and told; nothing is claimed about what they may have held.
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
        now_s: Unix seconds; what opens later is refused. None = the machine's clock.
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
        latest_s = int(time.time() if now_s is None else now_s)
        job = _ImportJob(store, wanted, files, zips, writer, latest_s, strict, progress)
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
    """Import what an archive holds of one series; give the bars stored. As `import_archive`."""
    return import_archive(
        store, [path], pairs={pair}, timeframes={timeframe}, canonical=canonical, now_s=now_s
    ).bars


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
        if each.label.lower().endswith(".zip") and each.why.startswith("it cannot be read"):
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


class _NoCandlesError(Exception):
    """A file whose lines are not what its name says."""


class _ImportJob:
    """Counts over all files, and the two ways to read one."""

    def __init__(  # noqa: PLR0917 - one place makes it
        self,
        store: OHLCStore,
        wanted: Collection[str],
        files: Sequence[tuple[ArchiveFile, str]],
        zips: Zips,
        writer: ThreadPoolExecutor,
        latest_s: int,
        strict: bool,
        progress: ImportCallback | None,
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._files = len(files)
        self._bytes_in_all = sum(file.size_bytes for file, _ in files)
        self._zips = zips
        self._writer = writer
        self._latest_s = latest_s
        self._strict = strict
        self._progress = progress
        self._files_done = self._bytes = self._bars = 0
        self._began_s = self._told_s = time.monotonic()
        self.imported: list[ImportedFile] = []
        self.skipped: list[Skipped] = []
        self.failed: list[Skipped] = []
        self.bad: list[BadLines] = []
        self.errors: list[ImportFormatError] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began_s

    def read(self, file: ArchiveFile, pair: str) -> list[ImportedFile] | None:
        """Read one file and count it; None when it was not read to its end."""
        reader: _Reader
        if file.timeframe is not None:
            reader = _CandleReader(file, self._series(pair, file.timeframe), self._latest_s)
        else:
            labels = [label for label in TRADE_TIMEFRAMES if label in self._wanted]
            reader = _TradeReader([self._series(pair, label) for label in labels], self._latest_s)
        done: list[ImportedFile] | None = None
        try:
            self._pieces(file, reader)
        except ImportFormatError as error:
            self.errors.append(error)  # one bad file of thousands is no reason to leave the rest
            reader.finish(file.label)
        except _NoCandlesError as error:
            self.skipped.append(Skipped(label=file.label, why=str(error)))
            reader.finish(file.label)
        except _UNREADABLE as error:
            why = f"it cannot be read to its end ({error}). Is the download complete?"
            self.errors.append(ImportFormatError(f"{file.label}: {why}", path=file.label))
            self.failed.append(Skipped(label=file.label, why=why))
            if isinstance(error, EOFError) and not self._strict:
                reader.parse(b"", is_last=True)  # cut off: what came before is good
                with contextlib.suppress(_NoCandlesError):
                    reader.hand_on(is_last=True)
            self._count(file, reader)
        else:
            done = self._count(file, reader)
        self._files_done += 1
        return done

    def _series(self, pair: str, timeframe: str) -> _SeriesWriter:
        return _SeriesWriter(self._store, self._writer, pair, timeframe)

    def _pieces(self, file: ArchiveFile, reader: _Reader) -> None:
        with self._zips.open(file) as stream:
            piece = stream.read(PIECE_BYTES).removeprefix(codecs.BOM_UTF8)
            while True:
                try:
                    after = stream.read(PIECE_BYTES) if piece else b""
                except EOFError:
                    reader.parse(piece, is_last=False)
                    raise
                reader.parse(piece, is_last=not after)
                count, first = reader.bad_lines()
                if count and self._strict:
                    raise _malformed(file, *first[0])
                reader.hand_on(is_last=not after)
                self._bytes += len(piece)
                self._tell(file.label, self._bars + reader.stored)
                if not after:
                    return
                piece = after

    def _count(self, file: ArchiveFile, reader: _Reader) -> list[ImportedFile]:
        done = reader.finish(file.label)
        count, first = reader.bad_lines()
        if count:
            lines = tuple(BadLine(line=line, problem=problem) for line, problem in first)
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


class _Reader(ABC):
    """Reads one file, piece by piece, into one or several series."""

    series: Sequence[_SeriesWriter]

    @property
    def stored(self) -> int:
        """Bars stored so far."""
        return sum(series.stored for series in self.series)

    def finish(self, label: str) -> list[ImportedFile]:
        """Wait until everything read is stored; what it brought, by series."""
        return [series.finish(label) for series in self.series]

    @abstractmethod
    def parse(self, piece: bytes, *, is_last: bool) -> None:
        """Read the next piece."""

    @abstractmethod
    def hand_on(self, *, is_last: bool) -> None:
        """Store what is enough of it by now.

        Raises:
            _NoCandlesError: The lines so far are not what the file's name says.
        """

    @abstractmethod
    def bad_lines(self) -> tuple[int, list[tuple[int, str]]]:
        """How many lines were left out, and the first ten."""


class _CandleReader(_Reader):
    """Reads an OHLCVT file."""

    def __init__(self, file: ArchiveFile, series: _SeriesWriter, latest_s: int) -> None:
        self._parser = OhlcvtParser(file.minutes or 1, latest_s=latest_s)
        self._minutes = file.minutes
        self._one = series
        self._rows = 0
        self.series = (series,)

    def bad_lines(self) -> tuple[int, list[tuple[int, str]]]:
        """How many lines were left out, and the first ten."""
        return self._parser.bad_lines()

    def parse(self, piece: bytes, *, is_last: bool) -> None:
        """Read the next piece."""
        self._parser.feed(piece, is_last=is_last)

    def hand_on(self, *, is_last: bool) -> None:
        """Store whole partitions, and in the end what is left."""
        parser, series = self._parser, self._one
        last_s = parser.last_s
        if last_s is None:
            self._check(0, is_last=is_last)
            return
        end_s = last_s + series.step_s
        if is_last:
            self._check(parser.rows, is_last=True)
            edge = (last_s, end_s)
            series.put(parser.take(), end_s, parser.take_doubts(), [edge], parser.in_order)
            series.prove_edges()
        elif parser.rows >= BATCH_ROWS:
            # Whole partitions only: none is written twice.
            cut_s = partition_bounds(partition_of(series.timeframe, last_s))[0]
            if cut_s > series.next_s or not parser.in_order:
                self._check(parser.rows, is_last=False)
                columns = parser.take(cut_s)
                series.put(columns, cut_s, parser.take_doubts(), [], parser.in_order)

    def _check(self, rows: int, *, is_last: bool) -> None:
        """Refuse a file of which no line, or by its times most likely none, is what it says."""
        self._rows += rows
        bad, first = self._parser.bad_lines()
        if not bad or not (is_last or self._rows):
            return
        line, problem = first[0]
        if self._rows == 0:
            raise _NoCandlesError(
                f"none of its {bad:,} lines is a candle (line {line}: {problem})."
            )
        if bad > self._rows and _OFF_GRID in problem:
            raise _NoCandlesError(f"most of its candles are not of {self._minutes} minutes.")


class _TradeReader(_Reader):
    """Reads a time-and-sales file into several timeframes."""

    def __init__(self, series: Sequence[_SeriesWriter], latest_s: int) -> None:
        self.series = series
        minutes = [MINUTES[each.timeframe] for each in series]
        self._builder = CandleBuilder(minutes or [1], latest_ns=latest_s * _NS)
        self._taken = 0

    def bad_lines(self) -> tuple[int, list[tuple[int, str]]]:
        """How many lines were left out, and the first ten."""
        return self._builder.bad_lines()

    def parse(self, piece: bytes, *, is_last: bool) -> None:
        """Read the next piece."""
        self._taken += self._builder.add_csv(piece, is_last=is_last)

    def hand_on(self, *, is_last: bool) -> None:
        """Store whole partitions, and in the end what is left."""
        builder = self._builder
        bad, first = builder.bad_lines()
        if is_last and bad and not self._taken:
            line, problem = first[0]
            raise _NoCandlesError(f"none of its {bad:,} lines is a trade (line {line}: {problem}).")
        doubts = builder.take_doubts()
        for series in self.series:
            series.doubt(doubts)
            minutes = MINUTES[series.timeframe]
            newest_s = builder.newest_s(minutes)
            if newest_s is None:
                continue
            edges = [(newest_s, newest_s + series.step_s)] if is_last else []
            if is_last:
                series.put(builder.take(minutes), newest_s + series.step_s, [], edges)
            elif builder.pending(minutes) >= BATCH_ROWS:
                cut_s = partition_bounds(partition_of(series.timeframe, newest_s))[0]
                if cut_s > series.next_s:
                    series.put(builder.take(minutes, cut_s), cut_s, [], edges)


class _SeriesWriter:
    """Hands the columns of one series to the store, one batch behind the reader."""

    def __init__(
        self, store: OHLCStore, writer: ThreadPoolExecutor, pair: str, timeframe: str
    ) -> None:
        self._store = store
        self._writer = writer
        self._pair = pair
        self.timeframe = timeframe
        self.step_s = interval_s(timeframe)
        self._pending: Future[int] | None = None
        self._rows = 0
        self._first_s: int | None = None
        self._last_s = 0
        self._doubtful: list[Range] | None = None
        self._covered: list[Range] = []
        self.stored = 0
        self.next_s = 0

    def doubt(self, doubts_ns: Sequence[tuple[int, int]]) -> None:
        """Note times between which trades may be missing: all candles that hold any of them."""
        step_ns = self.step_s * _NS
        if self._doubtful is None:
            self._doubtful = []
        self._doubtful += [
            (start // step_ns * self.step_s, (end // step_ns + 1) * self.step_s)
            for start, end in doubts_ns
        ]

    def put(
        self,
        columns: dict[str, bytes],
        end_s: int,
        gaps: Sequence[Range],
        edges: Sequence[Range],
        in_order: bool = True,
    ) -> None:
        """Store candles up to `end_s`.

        Args:
            columns: The candles.
            end_s: Before this all there is has been read.
            gaps: Stretches without candles about which nothing is known.
            edges: Candles that may not be whole.
            in_order: Whether the file never went back in time; else nothing is claimed.
        """
        times = memoryview(columns["time"]).cast("q")
        if not len(times):
            return
        edges = list(edges)
        if not in_order:
            edges.append((max(times), max(times) + self.step_s))
        if self._first_s is None:
            self._first_s = times[0]
            if self._doubtful is not None:  # of trades: the file begins inside a candle
                edges.append((times[0], times[0] + self.step_s))
            start_s = times[0]
        else:
            start_s = self.next_s
        partial = union([*edges, *(self._doubtful or [])])
        claims = subtract([(start_s, end_s)], union([*gaps, *partial])) if in_order else []
        firm, loose = _split(columns, times, partial, in_order)
        self._settle()
        self._rows += len(times)
        self._last_s = times[-1]
        self.next_s = end_s
        self._covered = union([*self._covered, *claims])
        self._pending = self._writer.submit(self._write, firm, claims, loose)

    def _write(
        self, firm: dict[str, bytes], claims: Sequence[Range], loose: dict[str, bytes]
    ) -> int:
        return self._store.import_columns(
            self._pair, self.timeframe, firm, Source.ARCHIVE, claims, partial=loose
        )

    def prove_edges(self) -> None:
        """Believe the last candle of a file behind which another goes on, this file or that one.

        Kraken's increments begin where the archive before them ended, so that what ends one was
        whole (unverified: seen in the names of the quarterly files alone).
        """
        self._settle()
        if self._first_s is None:
            return
        ranges = self._store.coverage(self._pair, self.timeframe)
        archive = [known for known in ranges if known.source is Source.ARCHIVE]
        begins, ends = {r.start_s for r in archive}, {r.end_s for r in archive}
        for open_s in {self._first_s - self.step_s, self._last_s}:
            end_s = open_s + self.step_s
            if open_s in ends and end_s in begins:
                self._believe(open_s, end_s)

    def _believe(self, open_s: int, end_s: int) -> None:
        table = self._store.get_columns(
            self._pair, self.timeframe, since=open_s, until=end_s, provisional=True
        )
        bars = bars_of_table(table)
        # One with a vwap was made of trades, whose files end anywhere.
        if bars and table.column("source")[0].as_py() == Source.PARTIAL and bars[0].vwap is None:
            covered = (open_s, end_s)
            self._store.append_bars(
                self._pair, self.timeframe, bars, source=Source.ARCHIVE, covered=covered
            )

    def finish(self, label: str) -> ImportedFile:
        """Wait for the last batch."""
        self._settle()
        return ImportedFile(
            label=label,
            pair=self._pair,
            timeframe=self.timeframe,
            rows=self._rows,
            bars=self.stored,
            covered=tuple(self._covered),
        )

    def _settle(self) -> None:
        if self._pending is not None:
            self.stored += self._pending.result()
            self._pending = None


def _split(
    columns: dict[str, bytes], times: memoryview[int], partial: Sequence[Range], in_order: bool
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Part the rows outside of some ranges from those inside."""
    if in_order:
        inside = [(bisect_left(times, a), bisect_left(times, b)) for a, b in partial]
    else:
        rows = enumerate(times)
        inside = [(n, n + 1) for n, at in rows if any(a <= at < b for a, b in partial)]
    outside = subtract([(0, len(times))], [(a, b) for a, b in inside if a < b])
    return _picked(columns, outside), _picked(columns, inside)


def _picked(columns: dict[str, bytes], rows: Sequence[Range]) -> dict[str, bytes]:
    return {
        name: b"".join(column[8 * low : 8 * high] for low, high in rows)
        for name, column in columns.items()
    }
