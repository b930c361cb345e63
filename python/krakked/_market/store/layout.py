"""Where things lie below the root of a store. Pure: no file is touched here.

    <root>/bars/timeframe=1m/pair=XBTUSD/2026-11.parquet    finished files and nothing else
    <root>/.krakked/store.json                              what the root says about itself
    <root>/.krakked/partial/1m~XBTUSD.parquet               candles that may lack trades
    <root>/.krakked/tmp|locks|coverage|journal|quarantine   everything else

1m is split by month, 5m to 30m by year, longer timeframes are one file, so that an append rewrites
a bounded piece however long the history is. Months and years are UTC.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from krakked._errors import StoreError
from krakked._market.times import FAR_S
from krakked._timeframes import TIMEFRAMES, interval_s

FORMAT_VERSION: Final = 2
"""Version of the format as a whole: raised when a reader of the last one could spoil a store."""

ROOT_LABEL: Final = "root"
"""Label of temps that belong to no series but to the root."""

ALL: Final = "all"
"""Name of the one partition of a series that is not split."""
_SMALL: Final = re.compile("[a-z]")
_NAME: Final = re.compile(r"(?:(?P<year>[0-9]{4})(?:-(?P<month>0[1-9]|1[0-2]))?|all)")
_FIRST_YEAR: Final = "1970"
_LONGEST_PAIR: Final = 100
_LONGEST_QUOTED: Final = 220
"""File systems take 255 bytes for a name; the longest of ours puts 35 around the pair."""


class Series(NamedTuple):
    """One candle series of the store."""

    pair: str
    """Canonical name of the pair, such as ``XBTUSD``."""
    timeframe: str
    """Label such as ``1m``."""

    def __str__(self) -> str:
        return f"{self.pair} {self.timeframe}"

    @property
    def step_s(self) -> int:
        """Interval in seconds."""
        return interval_s(self.timeframe)

    @property
    def aligned(self) -> bool:
        """Whether open times are multiples of the interval."""
        return TIMEFRAMES[self.timeframe].aligned

    @property
    def file_stem(self) -> str:
        """Name of this series in flat directories; `series_of_stem` reads it back."""
        return f"{self.timeframe}~{quote_pair(self.pair)}"


def quote_pair(pair: str) -> str:
    """Make a pair's name safe as one path component, readable back by hive readers.

    Small letters are written as ``%78`` too: ``AAPLxUSD`` and ``AAPLXUSD`` are two pairs, and macOS
    and Windows would give them one directory.
    """
    quoted = _quoted(pair)
    if quoted is None:
        raise StoreError(f"Not a pair's name: {pair!r:.100}.")
    return quoted


def is_pair(pair: object) -> bool:
    """Whether this can be a pair's name."""
    return _quoted(pair) is not None


def _quoted(pair: object) -> str | None:
    known = isinstance(pair, str) and 0 < len(pair) <= _LONGEST_PAIR
    return _quoted_text(pair) if known else None


@functools.lru_cache(maxsize=4096)
def _quoted_text(pair: str) -> str | None:
    try:
        quoted = quote(pair, safe="").replace("~", "%7E")
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    quoted = _SMALL.sub(lambda m: f"%{ord(m[0]):02X}", quoted)
    return quoted if len(quoted) <= _LONGEST_QUOTED else None


def series_of_stem(stem: str) -> Series | None:
    """Read back `Series.file_stem`, from the start of a longer name too; None for a stranger."""
    timeframe, *rest = stem.split("~")
    return _series(timeframe, rest[0]) if rest else None


def series_of_directories(timeframe_dir: str, pair_dir: str) -> Series | None:
    """Read back the two hive directory names; None when they are none of ours."""
    key_t, _, timeframe = timeframe_dir.partition("=")
    key_p, _, pair = pair_dir.partition("=")
    return _series(timeframe, pair) if (key_t, key_p) == ("timeframe", "pair") else None


def _series(timeframe: str, quoted: str) -> Series | None:
    """Read back the two parts of a name; None unless this very name is the one we give."""
    pair = unquote(quoted)
    known = timeframe in TIMEFRAMES and _quoted(pair) == quoted
    return Series(pair, timeframe) if known else None


def partition_of(timeframe: str, time_s: int) -> str:
    """Name the partition that holds a bar opening at `time_s` (unix seconds)."""
    if not 0 <= time_s < FAR_S:
        raise StoreError(f"Not an open time in unix seconds: {time_s}.")
    moment = datetime.fromtimestamp(time_s, UTC)
    match TIMEFRAMES[timeframe].partition:
        case "month":
            return f"{moment.year:04d}-{moment.month:02d}"
        case "year":
            return f"{moment.year:04d}"
        case "all":
            return ALL


def is_partition(timeframe: str, name: str) -> bool:
    """Whether this is a name that `partition_of` gives for a timeframe."""
    match = _partition_name(name)
    if match is None:
        return False
    holds = "month" if match["month"] else "year" if match["year"] else "all"
    return holds == TIMEFRAMES[timeframe].partition


def _partition_name(name: str) -> re.Match[str] | None:
    match = _NAME.fullmatch(name)
    return match if match is not None and (match["year"] or _FIRST_YEAR) >= _FIRST_YEAR else None


def partition_bounds(name: str) -> tuple[int, int]:
    """Return the first second of a partition and the first one after it.

    Raises:
        StoreError: The name is not one that `partition_of` gives.
    """
    match = _partition_name(name)
    if match is None:
        raise StoreError(f"Not the name of a partition: {name!r}.")
    if match["year"] is None:
        return 0, FAR_S
    year = int(match["year"])
    if match["month"] is None:
        return _start_s(year, 1), _start_s(year + 1, 1)
    month = int(match["month"])
    return _start_s(year, month), _start_s(year + month // 12, month % 12 + 1)


def _start_s(year: int, month: int) -> int:
    return FAR_S if year > 9999 else int(datetime(year, month, 1, tzinfo=UTC).timestamp())


def partitions_between(timeframe: str, first_s: int, last_s: int) -> list[str]:
    """Name the partitions of all times from `first_s` to `last_s`, both included, in order."""
    names: list[str] = []
    at = first_s
    while at <= last_s:
        names.append(partition_of(timeframe, at))
        at = partition_bounds(names[-1])[1]
    return names


class StorePaths:
    """Every path below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bars = root / "bars"
        self.private = root / ".krakked"
        self.record = self.private / "store.json"
        self.tmp = self.private / "tmp"
        self.locks = self.private / "locks"
        self.coverage = self.private / "coverage"
        self.partial = self.private / "partial"
        self.journal = self.private / "journal"
        self.quarantine = self.private / "quarantine"

    def series_dir(self, series: Series) -> Path:
        """Directory of a series' partitions."""
        return self.bars / f"timeframe={series.timeframe}" / f"pair={quote_pair(series.pair)}"

    @property
    def root_lock(self) -> Path:
        """Lock of the record of the whole root; never removed."""
        return self.locks / "root.lock"

    def lock(self, series: Series) -> Path:
        """Lock file of a series; never removed."""
        return self.locks / f"{series.file_stem}.lock"

    def lock_of_temp(self, name: str) -> Path | None:
        """Lock under which a temp of that name was made; None when it is none of ours."""
        label, _, rest = name.partition("~")
        if label == ROOT_LABEL and rest:
            return self.root_lock
        series = series_of_stem(name)
        return None if series is None else self.lock(series)

    def coverage_of(self, series: Series) -> Path:
        """Coverage file of a series."""
        return self.coverage / f"{series.file_stem}.json"

    def partial_of(self, series: Series, suffix: str) -> Path:
        """File of a series' candles that may lack trades (`Source.PARTIAL`)."""
        return self.partial / f"{series.file_stem}{suffix}"

    def journal_of(self, timeframe: str) -> Path:
        """Active journal of a timeframe; `.1`, `.2`, ... are set aside for folding."""
        return self.journal / f"{timeframe}.journal"

    def journal_lock(self, timeframe: str) -> Path:
        """Lock of a timeframe's journal; held for one write."""
        return self.locks / f"journal-{timeframe}.lock"

    def fold_lock(self, timeframe: str) -> Path:
        """Lock of the folding of a timeframe's journal; held for the whole fold."""
        return self.locks / f"fold-{timeframe}.lock"
