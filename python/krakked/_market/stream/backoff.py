"""When to connect again. Pure: times come in, waits go out; chance comes in as a `random.Random`.

Two rules stand apart. `Backoff` belongs to one connection: full jitter, forgotten only after a
minute of healthy data. `ConnectBudget` belongs to the process: however many connections fail and
however the server behaves, never more than 60 attempts in any 10 minutes (Kraken's edge bans an
address for 10 minutes after about 150. Source: Kraken "Spot Websockets" introduction).
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Final

BASE_S: Final = 1.0
"""Upper bound of the first wait; it doubles with each failure."""
CAP_S: Final = 30.0
"""Upper bound of any wait by jitter."""
HEALTHY_S: Final = 60.0
"""Data must have flowed this long before earlier failures are forgotten."""
AFTER_MAINTENANCE_S: Final = 5.0
"""Least wait while or after the exchange is in maintenance. Source: as above, FAQ."""
AFTER_REJECTION_S: Final = 20.0
"""Least wait after the server in front answered with 403, 429 or an error page."""
BUDGET_ATTEMPTS: Final = 60
BUDGET_WINDOW_S: Final = 600.0
MARGIN_S: Final = 2.0
"""An attempt is counted where it arrives: the way there takes its time, now more, now less."""


class Backoff:
    """The waits of one connection: uniform between 0 and min(cap, base * 2**failures)."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.failures = 0
        """Failures since data last flowed for a minute."""

    def next_wait_s(self, *, maintenance: bool = False, rejected: bool = False) -> float:
        """Count a failure; give the seconds to wait before the next attempt."""
        bound_s = min(CAP_S, BASE_S * 2.0 ** min(self.failures, 10))
        self.failures += 1
        least_s = AFTER_REJECTION_S if rejected else AFTER_MAINTENANCE_S if maintenance else 0.0
        return least_s + self._random.uniform(0.0, bound_s)

    def healthy(self, data_for_s: float) -> bool:
        """Note how long data has flowed on the present connection; True when that resets."""
        if self.failures and data_for_s >= HEALTHY_S:
            self.failures = 0
            return True
        return False


class ConnectBudget:
    """At most `attempts` connection attempts in any window of `window_s` seconds."""

    def __init__(self, attempts: int = BUDGET_ATTEMPTS, window_s: float = BUDGET_WINDOW_S) -> None:
        self._window_s = window_s
        self._times: deque[float] = deque(maxlen=attempts)

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until an attempt is allowed; 0 when it is allowed now."""
        if len(self._times) < (self._times.maxlen or 0):
            return 0.0
        return max(0.0, self._times[0] + self._window_s + MARGIN_S - now_s)

    def spend(self, now_s: float) -> None:
        """Note an attempt."""
        self._times.append(now_s)

    def spent(self, now_s: float) -> int:
        """Return how many attempts lie in the window that ends now."""
        return sum(1 for t in self._times if now_s - t < self._window_s)
