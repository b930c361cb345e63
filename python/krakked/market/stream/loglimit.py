"""Keeps a noisy event from filling the log. Pure."""

from __future__ import annotations

from typing import Final

BURST: Final = 5
"""Lines of one kind let through at once."""
EVERY_S: Final = 10.0
"""One more line of that kind is let through after so many seconds."""


class LogLimiter:
    """A small bucket per kind of line."""

    def __init__(self, burst: int = BURST, every_s: float = EVERY_S) -> None:
        self._burst = burst
        self._every_s = every_s
        self._buckets: dict[str, tuple[float, float, int]] = {}  # tokens, at, suppressed

    def admit(self, kind: str, now_s: float) -> str | None:
        """Give the text to append when a line may go out ("" or a count), None when it may not."""
        tokens, at_s, suppressed = self._buckets.get(kind, (float(self._burst), now_s, 0))
        tokens = min(float(self._burst), tokens + (now_s - at_s) / self._every_s)
        if tokens < 1.0:
            self._buckets[kind] = (tokens, now_s, suppressed + 1)
            return None
        self._buckets[kind] = (tokens - 1.0, now_s, 0)
        return f" ({suppressed} more like this were not logged)" if suppressed else ""
