"""Decaying counters and budgets, as pure arithmetic over a time passed in (seconds)."""

from __future__ import annotations

from collections import deque


class Counter:
    """A counter that decays with time and may not go over its maximum."""

    def __init__(self, maximum: float, decay_per_s: float) -> None:
        self.maximum = maximum
        self.decay_per_s = decay_per_s
        self._value = 0.0
        self._at = 0.0

    def value(self, now: float) -> float:
        """Return the count at a time."""
        return max(0.0, self._value - (now - self._at) * self.decay_per_s)

    def add(self, now: float, cost: float = 1.0) -> bool:
        """Count a call; False (and nothing counted) when that would exceed the maximum."""
        value = self.value(now) + cost
        # A hair of slack: a client that waits exactly long enough must not lose to rounding.
        if value > self.maximum + 1e-6:
            return False
        self._value, self._at = value, now
        return True


class Window:
    """At most so many events in any window; one more bans for the length of the window."""

    def __init__(self, most: int, window_s: float) -> None:
        self.most = most
        self.window_s = window_s
        self._events: deque[float] = deque()
        self.banned_until = 0.0

    def add(self, now: float) -> bool:
        """Count an event; False when it is refused."""
        if now < self.banned_until:
            return False
        while self._events and self._events[0] <= now - self.window_s:
            self._events.popleft()
        if len(self._events) >= self.most:
            self.banned_until = now + self.window_s
            return False
        self._events.append(now)
        return True


TIERS = {"starter": (15.0, 0.33), "intermediate": (20.0, 0.5), "pro": (20.0, 1.0)}
"""Private counter: maximum and decay a second by tier.

Source: Kraken guide "Spot REST rate limits".
"""
