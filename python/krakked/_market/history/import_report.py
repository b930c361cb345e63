"""What an import of archives did, and how far it is."""

from collections.abc import Callable

import msgspec

from krakked._market.store.coverage import Range
from krakked._public import public


@public
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


@public
class BadLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that was left out."""

    line: int
    """1-based number."""
    problem: str
    """What is wrong with it."""


@public
class BadLines(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one file that were left out."""

    label: str
    """The file, with the member inside an archive."""
    count: int
    """How many there are."""
    first: tuple[BadLine, ...]
    """The first ten."""


@public
class SkippedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was passed over."""

    label: str
    """The file, with the member inside an archive."""
    why: str
    """The reason, in plain words."""
    unreadable: bool = False
    """Whether it is a zip or a folder that could not be looked into: what it holds is not read."""


@public
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
    silent: tuple[Range, ...] = ()
    """Stretches without a line too long to be taken for no trades: left open, unix seconds."""
    replaced: int = 0
    """Of the bars stored: those in whose place there was another one."""
    differing: int = 0
    """Candles that an archive file had told otherwise before: this file's are stored."""
    running: int = 0
    """Candles made of trades that were left out, because they have not ended yet."""


@public
class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did."""

    files: tuple[ImportedFile, ...]
    """By file and timeframe."""
    known: tuple[str, ...]
    """Files that an earlier import had finished already."""
    skipped: tuple[SkippedFile, ...]
    """Files that were passed over, and why."""
    failed: tuple[SkippedFile, ...]
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
    def new_bars(self) -> int:
        """Of these: where there was none before."""
        return self.bars - sum(file.replaced for file in self.files)

    @property
    def series(self) -> int:
        """How many series the files brought something to, each counted once."""
        return len({(file.pair, file.timeframe) for file in self.files})

    @property
    def bad_lines(self) -> int:
        """Lines left out in all."""
        return sum(file.count for file in self.bad)


ImportCallback = Callable[[ImportProgress], None]
"""Called about twenty times a second, from the thread that imports."""
