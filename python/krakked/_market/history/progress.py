"""Watching and holding a long job."""

from collections.abc import Callable

import msgspec
import trio

from krakked._public import public


@public
class BackfillProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a back-fill is."""

    pair: str
    """Canonical name being worked on."""
    timeframe: str
    """Label such as ``1h``."""
    calls: int
    """REST calls made so far."""
    calls_expected: int
    """REST calls expected in all (an estimate that is corrected on the way)."""
    trades: int = 0
    """Trades read so far."""
    bars: int = 0
    """Bars stored so far."""
    at_s: int | None = None
    """Unix seconds up to which trades have been read; None before the first page."""
    fraction: float = 0.0
    """Part of the job done, 0 to 1."""
    eta_s: float | None = None
    """Seconds left at the pace so far; None before it is known."""


ProgressCallback = Callable[[BackfillProgress], None]
"""Called after every REST call, from the task that does the work; must not block."""


@public
class Pause:
    """A switch that holds a back-fill between two calls; share one with the job."""

    def __init__(self) -> None:
        self._running = trio.Event()
        self._running.set()

    @property
    def paused(self) -> bool:
        """Whether the job is being held."""
        return not self._running.is_set()

    def pause(self) -> None:
        """Hold the job before its next call; a call under way is finished."""
        if self._running.is_set():
            self._running = trio.Event()

    def resume(self) -> None:
        """Let the job go on."""
        self._running.set()

    async def passage(self) -> None:
        """Wait until the job may go on."""
        while not self._running.is_set():
            await self._running.wait()
        await trio.lowlevel.checkpoint()
