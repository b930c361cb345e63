"""Kraken's clock as far as the calls of one client taught it, and a word when ours is wrong."""

from __future__ import annotations

import logging

from krakked._network.clock import Clock
from krakked._rest.skew import WARN_S, SkewMeasure, measure_skew, server_wall_ns, skew_s

log = logging.getLogger("krakked.rest")


class ServerClock:
    """Learns from replies of ``Time``.

    Args:
        clock: Our own clocks.
    """

    __slots__ = ("_clock", "_measure", "_warned")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._measure: SkewMeasure | None = None
        self._warned = False

    def learn(self, unixtime_s: int, sent_ns: int, received_ns: int) -> None:
        """Take in a reply of ``Time`` and the elapsed times around it; warn once per trouble."""
        self._measure = measure_skew(unixtime_s, sent_ns, received_ns)
        ahead_s = self.ahead_s() or 0.0
        wrong, warned_before = abs(ahead_s) >= WARN_S, self._warned
        self._warned = wrong
        if wrong and not warned_before:
            log.warning(
                "The system clock is %.1f s %s Kraken's; candles are closed by Kraken's clock. "
                "Set the clock (NTP).",
                abs(ahead_s),
                "ahead of" if ahead_s > 0 else "behind",
            )

    def wall_ns(self) -> int:
        """Return Kraken's unix time in nanoseconds, as far as known.

        That is our wall clock, unless the last look at Kraken's showed that it is wrong.
        """
        return server_wall_ns(self._measure, self._clock.wall_ns(), self._clock.elapsed_ns())

    def ahead_s(self) -> float | None:
        """Return how far our wall clock is ahead, in seconds; None when never measured."""
        if self._measure is None:
            return None
        return skew_s(self._measure, self._clock.wall_ns(), self._clock.elapsed_ns())
