"""Did the machine sleep? Two witnesses, since no clock of every system counts sleep. Pure.

The first is the elapsed clock: where it counts sleep (Linux, macOS) and trio's timers do not, the
difference is a sleep. The second is the wall clock: time that it shows and the elapsed clock does
not is a sleep, or somebody set the clock. To tell which, the connections are asked: after a step of
the clock they go on being heard, after a sleep the far side has given them up.

While that is in doubt nothing from before counts as fresh. Steps back are no sleep, and NTP's
slewing (at most a few ms between two checks) is far too small to be taken for one.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

SLEPT_S: Final = 1.0
"""What the elapsed clock must be ahead of the timers between two checks to be a sleep."""
LEAP_S: Final = 5.0
"""What the wall clock must be ahead of the elapsed clock between two checks to raise a doubt."""
SURELY_S: Final = 2 * 3600.0
"""A leap beyond which nothing else is asked: corrections of a clock are smaller."""
HEARD_S: Final = 2.0
"""A frame this long after the leap proves a connection: what lay in the socket while the machine
slept is read at once. Heartbeats come every second. Source: Kraken "Spot Websockets (v2)"."""
PATIENCE_S: Final = 8.0
"""How long a doubt may last; then it was a sleep."""


class Instant(NamedTuple):
    """The three clocks at one moment."""

    elapsed_ns: int
    timer_s: float
    wall_ns: int


class Finding(Enum):
    """What a check found."""

    AWAKE = "awake"
    DOUBT = "doubt"
    """The wall clock leapt: a sleep, or a step."""
    STEP = "step"
    """It was a step: the connections are still heard."""
    SLEPT = "slept"


class SuspendWatch:
    """Watches for sleeps from one moment on; one task checks, any thread may look."""

    def __init__(self, now: Instant) -> None:
        self._before = now
        self._doubt_ns: int | None = None
        self._doubted_leap_s = 0.0
        self._leapt = False
        self._trusted_ns = 0
        self.slept_s = 0.0
        """Length of the newest sleep, in seconds."""

    def trusted_from_ns(self, now: Instant) -> int:
        """Return the elapsed time from which on data can be trusted; 0 for ever. Only looks."""
        leapt = self._leap_s(now) >= LEAP_S and not self._leapt
        if leapt or self._slept_s(now) >= SLEPT_S:
            return now.elapsed_ns + 1
        return self._trusted_ns if self._doubt_ns is None else self._doubt_ns + 1

    def check(self, now: Instant, heard_ns: int | None) -> Finding:
        """Judge what happened since the last check.

        Args:
            now: The clocks.
            heard_ns: Elapsed time of the newest frame on that connection which was silent longest;
                None without a connection.
        """
        slept_s, leap_s = self._slept_s(now), self._leap_s(now)
        # A clock that leaps at every check runs fast (a market in fast motion): no sleep does that.
        runs_fast, self._leapt = self._leapt, leap_s >= LEAP_S
        self._before = now
        if slept_s >= SLEPT_S or leap_s >= SURELY_S:
            return self._sleep(now, max(slept_s, leap_s))
        if self._leapt and not runs_fast:
            self._doubt_ns, self._doubted_leap_s = now.elapsed_ns, leap_s
            return Finding.DOUBT
        if self._doubt_ns is None:
            return Finding.AWAKE
        heard = heard_ns is not None and heard_ns - self._doubt_ns >= HEARD_S * 1e9
        if heard or self._leapt:
            self._doubt_ns = None
            return Finding.STEP
        if now.elapsed_ns - self._doubt_ns >= PATIENCE_S * 1e9:
            return self._sleep(now, self._doubted_leap_s)
        return Finding.AWAKE

    def _sleep(self, now: Instant, seconds: float) -> Finding:
        self._doubt_ns, self._trusted_ns, self.slept_s = None, now.elapsed_ns + 1, seconds
        return Finding.SLEPT

    def _slept_s(self, now: Instant) -> float:
        elapsed_s = (now.elapsed_ns - self._before.elapsed_ns) / 1e9
        return elapsed_s - (now.timer_s - self._before.timer_s)

    def _leap_s(self, now: Instant) -> float:
        wall_ns = now.wall_ns - self._before.wall_ns
        return (wall_ns - (now.elapsed_ns - self._before.elapsed_ns)) / 1e9
