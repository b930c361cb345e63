"""Keeps a noisy event, and an outage as a whole, from filling the log. Pure."""

from __future__ import annotations

from typing import Final

BURST: Final = 5
"""Lines of one kind let through at once."""
EVERY_S: Final = 10.0
"""One more line of that kind is let through after so many seconds."""
LOSING_LINES: Final = 6
"""Lines of one outage about what is lost and in vain: three at once, then at growing distances."""
RETURNING_LINES: Final = 4
"""Lines of one outage about what is back."""
RETURNING: Final = frozenset({"connect", "subscribed", "resubscribed"})
CALM_S: Final = 60.0
"""An outage is over when everything has been up for so long."""
AT_ONCE: Final = 3
FIRST_DISTANCE_S: Final = 60.0


class LogLimiter:
    """A small bucket per kind of line, and a small budget for each outage."""

    def __init__(self, burst: int = BURST, every_s: float = EVERY_S) -> None:
        self._burst = burst
        self._every_s = every_s
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, at
        self._suppressed: dict[str, int] = {}
        self._outage_s: float | None = None
        self._calm_since_s: float | None = None
        self._losing = self._returning = 0
        self._next_s = 0.0

    def outage(self, now_s: float) -> None:
        """Note that something was lost."""
        self._calm_since_s = None
        if self._outage_s is None:
            self._outage_s = now_s
            self._losing = self._returning = 0
            self._next_s = now_s

    def calm(self, now_s: float) -> None:
        """Note that all is up."""
        if self._outage_s is None:
            return
        if self._calm_since_s is None:
            self._calm_since_s = now_s
        if now_s - self._calm_since_s >= CALM_S:
            self._outage_s = self._calm_since_s = None

    def admit(self, kind: str, now_s: float) -> str | None:
        """Return the text to append when a line may go out ("" or a count), else None."""
        tokens, at_s = self._buckets.get(kind, (float(self._burst), now_s))
        tokens = min(float(self._burst), tokens + (now_s - at_s) / self._every_s)
        allowed = tokens >= 1.0 and (self._outage_s is None or self._in_outage(kind, now_s))
        self._buckets[kind] = (tokens - allowed, now_s)
        if not allowed:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return None
        suppressed = self._suppressed.pop(kind, 0)
        return f" ({suppressed} more like this were not logged)" if suppressed else ""

    def _in_outage(self, kind: str, now_s: float) -> bool:
        if kind in RETURNING:
            self._returning += 1
            return self._returning <= RETURNING_LINES
        if self._losing >= LOSING_LINES or (self._losing >= AT_ONCE and now_s < self._next_s):
            return False
        self._losing += 1
        if self._losing >= AT_ONCE:
            self._next_s = now_s + FIRST_DISTANCE_S * 4.0 ** (self._losing - AT_ONCE)
        return True
