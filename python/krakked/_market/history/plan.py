"""What a back-fill will do before it does it: pure interval arithmetic and estimates."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from krakked._market.bars import Source
from krakked._market.history.ohlc_rows import SETTLED_S
from krakked._market.store.coverage import CoverageRange, Range, intersect, subtract, union
from krakked._public import public
from krakked._rest.models import OHLC_ROWS

MAX_CALLS: Final = 2000
"""More calls than this need `allow_long=True`: at one a second it is more than half an hour."""

PAGE_ROWS: Final = 1000
"""Trades in one page. Source: Kraken REST "Get Recent Trades", `count` at most 1000."""

PAGE_BYTES: Final = 75_000
"""Size of a full page of Trades as received (recorded: 70 to 76 bytes a row)."""

OHLC_BYTES: Final = 60_000
"""Size of a full reply of OHLC (recorded: 721 rows of about 80 bytes)."""

BEGINNING_S: Final = 1_293_840_000
"""2011-01-01: no trade on Kraken is older, so what lies before is no range to be covered."""


@public
class BackfillOrigin(StrEnum):
    """Where a stretch of a back-fill comes from."""

    STORED = "stored"
    """In the store already: nothing is fetched."""
    ARCHIVE = "archive"
    """From the archive given."""
    TRADES = "trades"
    """From the pair's trades."""
    OHLC = "ohlc"
    """From Kraken's newest 720 candles."""


@public
class PlanStep(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of a back-fill."""

    origin: BackfillOrigin
    """Where it comes from."""
    start_s: int
    """First second."""
    end_s: int
    """First second after it."""
    calls: int = 0
    """REST calls it takes (estimated for trades)."""
    trades: int = 0
    """Trades to read."""
    bytes: int = 0
    """Bytes to receive (estimated)."""


@public
class BackfillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a back-fill would do."""

    pair: str
    """Canonical name."""
    timeframe: str
    """Label such as ``1h``."""
    since_s: int
    """First open time wanted, unix seconds."""
    until_s: int
    """Server time of the plan, unix seconds: bars closed by then are wanted."""
    steps: tuple[PlanStep, ...]
    """Stretches, oldest first."""
    minutes: float
    """Time it takes at the pace of the limiter, in minutes."""
    left_out: tuple[Range, ...] = ()
    """Old holes that would take too many calls, when no `since` was given: they are left."""

    @property
    def calls(self) -> int:
        """REST calls in all."""
        return sum(step.calls for step in self.steps)

    @property
    def bytes(self) -> int:
        """Bytes to receive in all."""
        return sum(step.bytes for step in self.steps)

    @property
    def sources(self) -> tuple[BackfillOrigin, ...]:
        """The origins that take part, in the order of the steps, each once."""
        return tuple(dict.fromkeys(step.origin for step in self.steps))

    def text(self) -> str:
        """Say it in one sentence."""
        origins = ", ".join(self.sources) or "nothing"
        return (
            f"{self.pair} {self.timeframe}: {self.calls:,} calls, about {self.minutes:,.0f} "
            f"minutes, {self.bytes / 1e6:,.1f} MB; from {origins}."
        )


def confirmed_ranges(
    coverage: Iterable[CoverageRange], *, provisional: bool = False
) -> list[Range]:
    """Join what sources have answered for; the WebSocket's word counts only provisionally."""
    return union(
        (known.start_s, known.end_s)
        for known in coverage
        if provisional or known.source is not Source.WEBSOCKET
    )


def rest_ranges(coverage: Iterable[CoverageRange]) -> list[Range]:
    """Join what REST's OHLC has answered for."""
    return confirmed_ranges(known for known in coverage if known.source is Source.REST)


def known_ranges(coverage: Sequence[CoverageRange], now_s: float, step_s: int) -> list[Range]:
    """Join what need not be asked for again.

    Where OHLC reaches, one call confirms all of it, so nothing weaker counts there, nor what can be
    settled by now; beyond, what any source has answered for.
    """
    beyond = intersect(confirmed_ranges(coverage), (0, reach_start(now_s, step_s)))
    return union([*beyond, *subtract(rest_ranges(coverage), due_ranges(coverage, now_s, step_s))])


def unsettled_ranges(coverage: Iterable[CoverageRange]) -> list[Range]:
    """Join what REST answered so early that Kraken may have revised it since."""
    return union((known.start_s, known.end_s) for known in coverage if not known.settled)


def due_ranges(coverage: Iterable[CoverageRange], now_s: float, step_s: int) -> list[Range]:
    """Join what was unsettled when REST gave it and within reach can change no more by now."""
    reach_s = reach_start(now_s, step_s)
    return union(
        (a, min(b, a + int((now_s - SETTLED_S - a) // step_s) * step_s))
        for a, b in intersect(unsettled_ranges(coverage), (reach_s, int(now_s)))
    )


def missing_ranges(
    covered: Sequence[Range], since_s: int, now_s: float, step_s: int
) -> list[Range]:
    """Return the stretches of [since, now) in which at least one closed bar is not known.

    Works whatever the alignment of the candles is: a rest shorter than an interval holds no closed
    bar.
    """
    missing = subtract([(since_s, int(now_s))], covered)
    return [(a, b) for a, b in missing if b - a >= step_s]


def reach_start(now_s: float, step_s: int) -> int:
    """Return the open time of the oldest candle that OHLC still has, unix seconds.

    One interval later than Kraken's own limit would be, were the boundary to pass while asking.
    """
    return int(now_s) // step_s * step_s - (OHLC_ROWS - 1) * step_s


def ohlc_since(missing_from_s: int, step_s: int) -> int | None:
    """Return the `since` to ask for, one candle early: some servers exclude it, some don't."""
    since_s = missing_from_s - step_s
    return since_s if since_s > 0 else None


def pages_of(trades: int) -> int:
    """Return the pages that so many trades take, the overlap of one trade included."""
    return -(-trades // (PAGE_ROWS - 1)) if trades else 1
