"""Whether and when a failed call is sent again. Pure.

Only reads are ever repeated, at most twice, after a random pause (full jitter), and only while the
budget lasts: when everything fails, retries stop instead of multiplying the load.

The numbers of the budget are those of the AWS SDKs ("standard" retry mode): 500 tokens, 5 for a
retry, 10 after a time-out, given back by calls that succeed.
"""

from __future__ import annotations

from krakked.errors import (
    ApiError,
    KrakkedError,
    LockoutError,
    NetworkError,
    NetworkTimeoutError,
    RateLimitError,
)

MAX_ATTEMPTS = 3
"""A call is sent at most so often."""
FIRST_PAUSE_S = 0.5
"""Upper end of the first random pause; every further one doubles it."""
LONGEST_PAUSE_S = 8.0
"""No random pause is longer."""
LONGEST_HOLD_S = 60.0
"""A stated waiting time beyond this is the caller's to wait, not ours."""

_CAPACITY = 500
_RETRY_COST = 5
_TIMEOUT_COST = 10
_REFUND = 1


class RetryBudget:
    """Tokens that retries use up and successes give back."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = _CAPACITY
        """What is left, 0 to 500."""

    def spend(self, error: KrakkedError) -> bool:
        """Pay for one retry; False when the budget is exhausted."""
        cost = _TIMEOUT_COST if isinstance(error, NetworkTimeoutError) else _RETRY_COST
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def refund(self) -> None:
        """Book a call that succeeded."""
        self.tokens = min(_CAPACITY, self.tokens + _REFUND)


def worth_retrying(error: KrakkedError, *, attempt: int, read: bool) -> bool:
    """Whether a call that failed with `error` may be sent again.

    Args:
        error: What attempt number `attempt` ended with.
        attempt: Attempts made so far, from 1.
        read: Whether the call only reads.
    """
    if not read or attempt >= MAX_ATTEMPTS or isinstance(error, LockoutError):
        return False
    if isinstance(error, ApiError):
        waitable = error.retry_after_s is None or error.retry_after_s <= LONGEST_HOLD_S
        return error.retryable and waitable
    return isinstance(error, NetworkError) and error.retryable


def pause_s(error: KrakkedError, *, attempt: int, chance: float) -> float:
    """Give the pause before the next attempt, in seconds.

    Args:
        error: What attempt number `attempt` ended with. A stated waiting time is kept by the
            limiter, before the call goes out again.
        attempt: Attempts made so far, from 1.
        chance: Random number from 0 to 1.
    """
    if isinstance(error, RateLimitError):
        return chance * FIRST_PAUSE_S  # only to spread: the limiter holds the call back
    return chance * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1))
