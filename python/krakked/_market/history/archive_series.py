"""One archive file on its way into the store: parsed in Rust, stored a partition at a time.

What is claimed about a file is what it can know: its last candle may have been running when it was
made, a file of trades begins somewhere inside its first one, and where a line had to be left out
nobody can say what was there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from krakked._core import CandleBuilder, OhlcvtParser
from krakked._market.bars import Source
from krakked._market.history.archive import ARCHIVE_MINUTES, ArchiveFile
from krakked._market.history.import_report import ImportedFile
from krakked._market.store import merge
from krakked._market.store.arrow import bars_of_table, table_of_buffers
from krakked._market.store.coverage import Range, subtract, union
from krakked._market.store.layout import partition_bounds, partition_of
from krakked._market.store.ohlc_store import OHLCStore
from krakked._timeframes import MINUTES, interval_s

BATCH_ROWS: Final = 400_000
"""Rows after which whole partitions are handed to the store; bounds the memory of an import."""

EARLIEST_S: Final = 1_309_478_400
"""2011-07-01T00:00Z, unix seconds: an earlier time is a bad line. Kraken was founded in July 2011
(unverified: when the first trade was; the archive's oldest lines are of 2013)."""

_DAY_S: Final = 86_400
_NS: Final = 1_000_000_000
_LOOKED_AT: Final = 1000
_BY_CHANCE: Final = 9.0
"""One in a billion, as a power of ten."""
_OFF_GRID: Final = "no multiple of the interval"


def longest_silence_s(step_s: int) -> int:
    """Return the seconds without a line, inside one file, that are believed to be without trades.

    The archive leaves out intervals without trades, and files are put together of pieces, one of
    which may be missing: a short stretch is the former, of a long one nobody can say. Fifty
    intervals, at least a day (up to 15m, about it for 30m), at most two weeks (1d): pairs traded at
    all rest no longer, quarterly and monthly pieces are longer. A wrong guess costs a request.
    """
    return min(max(_DAY_S, 50 * step_s), 14 * _DAY_S)


class NoCandlesError(Exception):
    """A file whose lines are not what its name says."""


class SeriesReader(ABC):
    """Reads one file, piece by piece, into one or several series."""

    series: Sequence[SeriesWriter]

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
            NoCandlesError: The lines so far are not what the file's name says.
        """

    @abstractmethod
    def bad_lines(self) -> tuple[int, list[tuple[int, str]]]:
        """How many lines were left out, and the first ten."""


class CandleReader(SeriesReader):
    """Reads an OHLCVT file."""

    def __init__(self, file: ArchiveFile, series: SeriesWriter, now_s: int) -> None:
        self._parser = OhlcvtParser(
            file.minutes or 1,
            earliest_s=EARLIEST_S,
            now_s=now_s,
            silence_s=longest_silence_s(series.step_s),
        )
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
            self._check(memoryview(b"").cast("q"), is_last=is_last)
            return
        end_s = last_s + series.step_s
        if is_last:
            columns = parser.take()
            self._check(memoryview(columns["time"]).cast("q"), is_last=True)
            edge = (last_s, end_s)
            series.silent(parser.take_silences())
            series.put(columns, end_s, parser.take_doubts(), [edge], parser.in_order)
            series.prove_edges()
        elif parser.rows >= BATCH_ROWS:
            # Whole partitions only: none is written twice.
            cut_s = partition_bounds(partition_of(series.timeframe, last_s))[0]
            if cut_s > series.next_s or not parser.in_order:
                columns = parser.take(cut_s)
                self._check(memoryview(columns["time"]).cast("q"), is_last=False)
                series.silent(parser.take_silences())
                series.put(columns, cut_s, parser.take_doubts(), [], parser.in_order)

    def _check(self, times: memoryview[int], *, is_last: bool) -> None:
        """Refuse a file of which no line, or by its times most likely none, is what it says."""
        if not self._rows:
            self._check_grid(times)
        self._rows += len(times)
        bad, first = self._parser.bad_lines()
        if not bad or not (is_last or self._rows):
            return
        line, problem = first[0]
        if self._rows == 0:
            raise NoCandlesError(f"none of its {bad:,} lines is a candle (line {line}: {problem}).")
        off_grid = sum(_OFF_GRID in problem for _, problem in first) / len(first)
        if bad * off_grid > self._rows:
            raise NoCandlesError(f"most of its candles are not of {self._minutes} minutes.")

    def _check_grid(self, times: memoryview[int]) -> None:
        """Refuse candles of a longer interval: all their times are multiples of that one.

        So many lines of the interval that the name says would not be so by chance.
        """
        step_s, some = self._one.step_s, times[:_LOOKED_AT]
        common_s = math.gcd(*some)
        for minutes in sorted(ARCHIVE_MINUTES, reverse=True):
            longer = minutes * 60 / step_s
            if longer > 1 and common_s % (minutes * 60) == 0:
                if len(some) * math.log10(longer) > _BY_CHANCE:
                    raise NoCandlesError(
                        f"its candles are of {minutes} minutes, as it seems, not of "
                        f"{self._minutes}."
                    )
                return


class TradeReader(SeriesReader):
    """Reads a time-and-sales file into several timeframes."""

    def __init__(self, series: Sequence[SeriesWriter], now_s: int) -> None:
        self.series = series
        self._now_s = now_s
        minutes = [MINUTES[each.timeframe] for each in series]
        self._builder = CandleBuilder(
            minutes or [1],
            earliest_ns=EARLIEST_S * _NS,
            latest_ns=now_s * _NS,
            silence_ns=_DAY_S * _NS,
        )
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
            raise NoCandlesError(f"none of its {bad:,} lines is a trade (line {line}: {problem}).")
        doubts, silences = builder.take_doubts(), builder.take_silences()
        for series in self.series:
            series.doubt(doubts)
            series.doubt_silences(silences)
            minutes = MINUTES[series.timeframe]
            newest_s = builder.newest_s(minutes)
            if newest_s is None:
                continue
            end_s = newest_s + series.step_s
            if is_last and end_s > self._now_s:
                # The file goes on into a candle that has not ended: those before it are whole.
                series.put(builder.take(minutes, newest_s), newest_s, [], [])
                series.running = builder.pending(minutes)
            elif is_last:
                series.put(builder.take(minutes), end_s, [], [(newest_s, end_s)])
            elif builder.pending(minutes) >= BATCH_ROWS:
                cut_s = partition_bounds(partition_of(series.timeframe, newest_s))[0]
                if cut_s > series.next_s:
                    series.put(builder.take(minutes, cut_s), cut_s, [], [])


class SeriesWriter:
    """Hands the columns of one series to the store, one batch behind the reader."""

    def __init__(
        self, store: OHLCStore, writer: ThreadPoolExecutor, pair: str, timeframe: str
    ) -> None:
        self._store = store
        self._writer = writer
        self._pair = pair
        self.timeframe = timeframe
        self.step_s = interval_s(timeframe)
        self._pending: Future[_Written] | None = None
        self._rows = 0
        self._first_s: int | None = None
        self._last_s = 0
        self._doubtful: list[Range] | None = None
        self._gaps: list[Range] = []
        self._ends: list[Range] = []
        self._silences: list[Range] = []
        self._covered: list[Range] = []
        self.stored = 0
        self._replaced = 0
        self._differing = 0
        self.next_s = 0
        self.running = 0

    def doubt(self, doubts_ns: Sequence[tuple[int, int]]) -> None:
        """Note times between which trades may be missing: all candles that hold any of them."""
        step_ns = self.step_s * _NS
        if self._doubtful is None:
            self._doubtful = []
        self._doubtful += [
            (start // step_ns * self.step_s, (end // step_ns + 1) * self.step_s)
            for start, end in doubts_ns
        ]

    def doubt_silences(self, silences_ns: Sequence[tuple[int, int]]) -> None:
        """Note times of trades between which a piece may be missing, those that are too long."""
        longest_ns = longest_silence_s(self.step_s) * _NS
        long = [(start, end) for start, end in silences_ns if end - start > longest_ns]
        before = len(self._doubtful or [])
        self.doubt(long)
        self._silences += (self._doubtful or [])[before:]

    def silent(self, silences: Sequence[Range]) -> None:
        """Note stretches without a line in which a piece of the file may be missing.

        The candle before one may end a piece, and have been running when that was made.
        """
        self._silences += silences
        self._gaps += silences
        self._ends += [(start_s - self.step_s, start_s) for start_s, _ in silences]

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
        partial = union([*edges, *self._ends, *(self._doubtful or [])])
        self._gaps += gaps  # one may reach beyond `end_s`
        claims = subtract([(start_s, end_s)], union([*self._gaps, *partial])) if in_order else []
        firm, loose = _split(columns, times, partial, in_order)
        self._settle()
        self._rows += len(times)
        self._last_s = times[-1]
        self.next_s = end_s
        self._covered = union([*self._covered, *claims])
        self._pending = self._writer.submit(self._write, firm, claims, loose)

    def _write(
        self, firm: dict[str, bytes], claims: Sequence[Range], loose: dict[str, bytes]
    ) -> _Written:
        new = table_of_buffers(firm, Source.ARCHIVE)
        loose_too = table_of_buffers(loose, Source.PARTIAL)
        since, until = merge.span(new, loose_too)
        before = self._store.get_columns(
            self._pair, self.timeframe, since=since, until=until, provisional=True
        )
        count = self._store.import_columns(
            self._pair, self.timeframe, firm, Source.ARCHIVE, claims, partial=loose
        )
        fresh = merge.added(before, new, loose_too)
        return _Written(count, max(0, count - fresh), merge.contradictions(before, new))

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
            silent=tuple(self._silences),
            running=self.running,
            replaced=self._replaced,
            differing=self._differing,
        )

    def _settle(self) -> None:
        if self._pending is not None:
            written = self._pending.result()
            self.stored += written.stored
            self._replaced += written.replaced
            self._differing += written.differing
            self._pending = None


class _Written(NamedTuple):
    """What a batch did: bars stored, those of them that replaced others, contradictions."""

    stored: int
    replaced: int
    differing: int


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
