"""The sandbox's times: the market's own clock, and the clock it hands to a client."""

from __future__ import annotations

import time

import trio

from krakked._sandbox.digits import NS


class MarketClock:
    """Unix time of the market, driven by trio's clock (virtual or real).

    Market time starts at `start_ns` when the sandbox opens and runs `factor` times as fast as
    trio's clock. It never steps; `shown_ns` is what the exchange *says* the time is, and can.
    """

    def __init__(self, start_ns: int, factor: float = 1.0) -> None:
        self._start_ns = start_ns
        self._timer = trio.lowlevel.current_clock()  # asked from other threads, too
        self._start = self._timer.current_time()
        self._factor = factor
        self.shown_offset_ns = 0

    def now_ns(self) -> int:
        """Return the market's time."""
        passed = self._timer.current_time() - self._start
        return self._start_ns + int(passed * self._factor * NS)

    def shown_ns(self) -> int:
        """Return the time the exchange writes into replies."""
        return self.now_ns() + self.shown_offset_ns

    def trio_time(self, market_ns: int) -> float:
        """Return the time on trio's clock at which the market reaches an instant."""
        return self._start + (market_ns - self._start_ns) / NS / self._factor


class VirtualClock:
    """A client's clock on virtual time (satisfies `krakked._network.clock.Clock`)."""

    virtual = True

    def __init__(self, market: MarketClock) -> None:
        self._market = market
        self._timer = trio.lowlevel.current_clock()  # asked from other threads, too
        self._start = self._timer.current_time()
        self._step_ns = 0
        self._suspended_ns = 0

    def wall_ns(self) -> int:
        """Unix time in nanoseconds; steps when told to."""
        return self._market.now_ns() + self._step_ns

    def elapsed_ns(self) -> int:
        """Nanoseconds since the sandbox opened, suspends included."""
        return int((self._timer.current_time() - self._start) * NS) + self._suspended_ns

    def step_wall(self, seconds: float) -> None:
        """Step the client's wall clock, as an NTP correction or a user would."""
        self._step_ns += int(seconds * NS)

    def suspend(self, seconds: float) -> None:
        """Pretend the machine slept: elapsed time passes while trio's timers did not."""
        self._suspended_ns += int(seconds * NS)


class LoopbackClock:
    """A client's clock beside real sockets (satisfies `krakked._network.clock.Clock`)."""

    virtual = False

    def __init__(self, market: MarketClock) -> None:
        self._market = market
        self._step_ns = 0
        self._suspended_ns = 0

    def wall_ns(self) -> int:
        """Unix time in nanoseconds, as the market has it, plus the steps."""
        return self._market.now_ns() + self._step_ns

    def elapsed_ns(self) -> int:
        """Nanoseconds of the monotonic clock, suspends included."""
        return time.monotonic_ns() + self._suspended_ns

    def step_wall(self, seconds: float) -> None:
        """Step the client's wall clock."""
        self._step_ns += int(seconds * NS)

    def suspend(self, seconds: float) -> None:
        """Pretend the machine slept."""
        self._suspended_ns += int(seconds * NS)
