"""What Kraken's clock says, learned from its Time endpoint. Pure."""

from __future__ import annotations

import msgspec

from krakked._rest.limits import SECOND_NS

WARN_S = 2.0
"""From this difference on the user is told: candles would be closed at the wrong moment."""


class SkewMeasure(msgspec.Struct, frozen=True, kw_only=True):
    """One look at Kraken's clock, tied to the elapsed clock, which no wall clock step moves."""

    server_ns: int
    """Kraken's unix time in the middle of the second that `Time` named."""
    elapsed_ns: int
    """Our elapsed time half-way through the call."""
    error_ns: int
    """How far `server_ns` may be off: half a second plus half the round trip."""

    def server_now_ns(self, elapsed_ns: int) -> int:
        """Return Kraken's unix time now."""
        return self.server_ns + elapsed_ns - self.elapsed_ns


def measure_skew(unixtime_s: int, sent_elapsed_ns: int, received_elapsed_ns: int) -> SkewMeasure:
    """Tie a reply of `Time` (whole seconds) to the elapsed clock."""
    return SkewMeasure(
        server_ns=unixtime_s * SECOND_NS + SECOND_NS // 2,
        elapsed_ns=(sent_elapsed_ns + received_elapsed_ns) // 2,
        error_ns=SECOND_NS // 2 + (received_elapsed_ns - sent_elapsed_ns) // 2,
    )


def skew_s(measure: SkewMeasure, wall_ns: int, elapsed_ns: int) -> float:
    """Return how far our wall clock is ahead of Kraken's, in seconds; 0 when within the error."""
    off_ns = wall_ns - measure.server_now_ns(elapsed_ns)
    return 0.0 if abs(off_ns) <= measure.error_ns else off_ns / SECOND_NS


def server_wall_ns(measure: SkewMeasure | None, wall_ns: int, elapsed_ns: int) -> int:
    """Return the best guess of Kraken's unix time in nanoseconds.

    The wall clock, as long as it agrees with the measure: it is finer than whole seconds. When it
    does not, because it is wrong or was stepped since, the measure counts.
    """
    if measure is None or not skew_s(measure, wall_ns, elapsed_ns):
        return wall_ns
    return measure.server_now_ns(elapsed_ns)
