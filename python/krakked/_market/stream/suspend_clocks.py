"""The clocks that tell a sleep, read for `SuspendWatch`, which judges."""

from __future__ import annotations

import trio

from krakked._market.stream.suspend import Finding, Instant, SuspendWatch
from krakked._network.clock import Clock


class SuspendClocks:
    """The clocks of one run of the stream, watched from `start` on.

    Args:
        clock: Elapsed and wall time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timer: trio.abc.Clock | None = None
        self._watch: SuspendWatch | None = None

    @property
    def slept_s(self) -> float:
        """Length of the newest sleep, in seconds."""
        return self._watch.slept_s if self._watch is not None else 0.0

    def start(self) -> None:
        """Begin, in the task whose timers are the first witness."""
        self._timer = trio.lowlevel.current_clock()
        self._watch = SuspendWatch(self._now(self._timer))

    def trusted_from_ns(self) -> int:
        """Return the elapsed time from which on data is trusted; 0 = always. Only looks."""
        if self._watch is None or self._timer is None:
            return 0
        return self._watch.trusted_from_ns(self._now(self._timer))

    def check(self, heard_ns: int | None) -> Finding:
        """Judge what happened since the last check, see `SuspendWatch.check`."""
        if self._watch is None or self._timer is None:
            return Finding.AWAKE
        return self._watch.check(self._now(self._timer), heard_ns)

    def _now(self, timer: trio.abc.Clock) -> Instant:
        return Instant(self._clock.elapsed_ns(), timer.current_time(), self._clock.wall_ns())
