"""The seam to time: every look at a clock goes through a `Clock`.

Timers (sleeps, time-outs, backoff) use trio's own clock, so a `trio.testing.MockClock` moves them.
`Clock` answers the two questions trio cannot: what the wall says, and how much time has really
passed, suspend included. A virtual clock is only ever used together with an in-memory exchange.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple, Unpack

import trio

from krakked._errors import KrakkedError
from krakked._public import public

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@public
class Clock(Protocol):
    """Where times come from."""

    @property
    def virtual(self) -> bool:
        """True when time is simulated: blocking work then runs inline, see `run_blocking`."""
        ...

    def wall_ns(self) -> int:
        """Unix time in nanoseconds; may step."""
        ...

    def elapsed_ns(self) -> int:
        """Nanoseconds from an arbitrary start: never steps back, counts suspend if the OS can."""
        ...


@public
class SystemClock:
    """The machine's clocks; the elapsed one counts sleep wherever the system has such a clock.

    All are the whole machine's, so processes can share what they say.
    """

    virtual = False

    def wall_ns(self) -> int:
        """Unix time in nanoseconds."""
        return time.time_ns()

    def elapsed_ns(self) -> int:
        """Nanoseconds since boot or so.

        Linux: CLOCK_BOOTTIME (`man 2 clock_gettime`). macOS: its CLOCK_MONOTONIC, which goes on
        during sleep, while `time.monotonic` and trio's timers use mach_absolute_time, which does
        not (python-trio/trio#1586). Windows: QueryPerformanceCounter, which counts sleep
        (Microsoft, "Acquiring high-resolution time stamps"). Elsewhere the monotonic clock; what
        it misses the wall clock must tell.
        """
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        if boottime is not None:
            return time.clock_gettime_ns(boottime)
        if sys.platform == "darwin":
            return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        return time.perf_counter_ns() if sys.platform == "win32" else time.monotonic_ns()


async def run_blocking(clock: Clock, function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
    """Run blocking file work off the event loop; inline when time is virtual.

    A `MockClock` that jumps when idle takes a busy thread for idleness and would fire every
    time-out while the thread works, so virtual time never meets a thread.
    """
    if clock.virtual:
        await trio.lowlevel.checkpoint()
        return function(*args)
    return await trio.to_thread.run_sync(function, *args)


def require_trio(what: str) -> None:
    """Refuse a program that runs no trio, in one sentence instead of trio's riddle.

    Raises:
        KrakkedError: No trio is running in this thread.
    """
    if not trio.lowlevel.in_trio_run():
        raise KrakkedError(
            f"{what} runs under trio, and this is not a trio program: start it with trio.run, or "
            "use krakked.aio (asyncio) or krakked.blocking (plain calls)."
        )


def require_home(home: trio.lowlevel.TrioToken | None, what: str) -> None:
    """Refuse another thread, or another trio, than the one in which something lives.

    Args:
        home: Where it lives; None before it runs: anybody may use it then.
        what: What it is, for the error.

    Raises:
        KrakkedError: Called from elsewhere.
    """
    if home is None:
        return
    if not trio.lowlevel.in_trio_run() or trio.lowlevel.current_trio_token() is not home:
        raise KrakkedError(
            f"{what} belongs to the trio that opened the client, and was called from elsewhere. "
            "From another thread: trio.from_thread.run or run_sync with that trio's token, or use "
            "krakked.blocking."
        )
