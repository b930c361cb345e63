"""What a back-fill did, and the counting while it runs."""

from collections.abc import Callable

import msgspec
import trio

from krakked._errors import KrakkedError
from krakked._market.history.plan import BackfillPlan
from krakked._market.history.progress import BackfillProgress, Pause, ProgressCallback
from krakked._market.history.trades_backfill import DeepProgress, MissingRange, Target
from krakked._market.store.coverage import Range
from krakked._public import public


@public
class BackfillReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a back-fill did."""

    pair: str
    """Canonical name."""
    timeframe: str
    """Label such as ``1h``."""
    bars: int
    """Bars stored that were not stored before, or replaced weaker ones."""
    calls: int
    """REST calls made, the planning included."""
    trades: int
    """Trades read."""
    covered: tuple[Range, ...]
    """What is complete now of the range asked for: (first second, first second after it)."""
    missing: tuple[MissingRange, ...]
    """What could not be had, and why."""
    elapsed_s: float
    """How long it took."""
    refused: int = 0
    """Rows that Kraken sent and that can be no candles."""


@public
class BackfillFailure(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of many that could not be back-filled."""

    pair: str
    """Canonical name."""
    error: KrakkedError
    """Why."""


class Job:
    """Counts and tells while a back-fill runs."""

    def __init__(
        self,
        target: Target,
        plan: BackfillPlan,
        progress: ProgressCallback | None,
        pause: Pause,
        *,
        force: bool = False,
    ) -> None:
        self.target = target
        self.pause = pause
        self.force = force
        self.calls = self.bars = self.trades = 0
        self.settled: list[Range] = []
        """Stretches that were fetched or walked over, whatever came of it."""
        self._plan = plan
        self._progress = progress
        self._began = trio.current_time()
        self._made = 0

    def watch(self) -> Callable[[DeepProgress], None]:
        """Return the callback of one walk."""
        calls, trades, bars = self.calls, self.trades, self.bars

        def after_call(step: DeepProgress) -> None:
            self.calls = calls + step.calls
            self.trades, self.bars = trades + step.trades, bars + step.bars
            self.tell(step.at_s)

        return after_call

    def tell(self, at_s: int | None = None) -> None:
        """Tell the user's callback where the job is."""
        if self._progress is None:
            return
        self._made += 1
        expected = max(self._plan.calls, self._made)
        elapsed_s = trio.current_time() - self._began
        self._progress(
            BackfillProgress(
                pair=self.target.pair,
                timeframe=self.target.timeframe,
                calls=self._made,
                calls_expected=expected,
                trades=self.trades,
                bars=self.bars,
                at_s=at_s,
                fraction=self._made / expected,
                eta_s=elapsed_s / self._made * (expected - self._made),
            )
        )
