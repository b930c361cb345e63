"""Whether and when a failed call is sent again, by us or by the caller. Pure.

We repeat only reads, at most twice, after a random pause (full jitter), and only while the
budget lasts: when everything fails, retries stop instead of multiplying the load.

The numbers of the budget are those of the AWS SDKs ("standard" retry mode): 500 tokens, 5 for a
retry, 10 after a time-out, given back by calls that succeed.
"""

from __future__ import annotations

from typing import TypeVar

from krakked._errors import (
    Action,
    ApiError,
    KrakkedError,
    LockoutError,
    NetworkError,
    NetworkTimeoutError,
    RateLimitError,
    RequestError,
)
from krakked._rest.error_table import find_row

E = TypeVar("E", bound=ApiError | NetworkError)

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


def advise(error: E, *, read: bool, sent: bool = True, told_more: bool = False) -> E:
    """Give `error` back, saying what its receiver may do: the one place that decides it.

    A call that changes something and may have taken effect must not be sent again unseen, whatever
    the answer looked like: orders were doubled that way (veox/python3-krakenex#98,
    nothingisdead/npm-kraken-api#37).

    Args:
        error: What a call ended with, with the advice for a call that only reads.
        read: Whether the call only reads.
        sent: False when surely nothing of it left this machine.
        told_more: Whether the answer held more than the error's own text, such as a result: then
            even a refusal says nothing for certain.
    """
    refused = _is_refusal(error) and not told_more
    if read or not sent or refused or error.action is Action.LOOK_UP_OUTCOME:
        return error
    error.retryable, error.action = False, Action.LOOK_UP_OUTCOME
    error.args = (
        f"{error} Whether {error.endpoint} took effect is not known: look that up, for example by "
        "its cl_ord_id or userref, before sending it again.",
    )
    return error


def _is_refusal(error: ApiError | NetworkError) -> bool:
    """Whether the answer says that the call was not carried out.

    Kraken's own texts say it, but for those of a service in trouble; so do the web servers in front
    when they take the request for malformed. Any other HTTP status leaves it open.
    """
    if isinstance(error, NetworkError):
        return False
    return isinstance(error, RequestError) if find_row(error.code) is None else refuses(error.code)


def refuses(code: str) -> bool:
    """Whether one of Kraken's texts says that the call was not carried out."""
    row = find_row(code)
    return row is not None and row.refusal


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
    """Return the pause before the next attempt, in seconds.

    Args:
        error: What attempt number `attempt` ended with. The waiting time that a refusal for too
            many calls states is kept by the limiter, before the call goes out again; that of a
            service in trouble is kept here.
        attempt: Attempts made so far, from 1.
        chance: Random number from 0 to 1.
    """
    if isinstance(error, RateLimitError):
        return chance * FIRST_PAUSE_S  # only to spread: the limiter holds the call back
    stated_s = error.retry_after_s or 0.0 if isinstance(error, ApiError) else 0.0
    return stated_s + chance * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1))
