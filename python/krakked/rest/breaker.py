"""When private calls must not even be tried: a lockout, or a key that Kraken keeps rejecting. Pure.

A loop with a bad key is what makes Kraken lock a user out, so the second of these guards against
the first. Both are refusals, not waits: the caller hears at once and decides.
"""

from __future__ import annotations

import msgspec

from krakked.rest.error_table import LOCKOUT_S
from krakked.rest.limits import SECOND_NS

FREE_REJECTIONS = 2
"""So many rejections in a row have no consequence: a user may mistype."""
FIRST_PAUSE_S = 30.0
"""Pause after the next one; every further rejection doubles it, up to the lockout's 15 minutes."""

REJECTIONS = ("EAPI:Invalid key", "EAPI:Invalid signature")
"""Answers that count as a rejection of the key itself."""


class BreakerState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one key's refusals."""

    lockout_until_ns: int = 0
    """Elapsed time at which the lockout ends."""
    lockout_until_wall_ns: int = 0
    """The same as unix time, for a restart of the machine in between."""
    rejections: int = 0
    """Rejections of the key in a row."""
    rejected_code: str = ""
    """Kraken's last such text."""
    rejected_until_ns: int = 0
    """No further try before this."""


def lockout_left_s(state: BreakerState, now_ns: int) -> float:
    """Give the seconds until the lockout ends; 0 when there is none."""
    return max(0, state.lockout_until_ns - now_ns) / SECOND_NS


def rejection_left_s(state: BreakerState, now_ns: int) -> float:
    """Give the seconds for which the rejected key is not tried again; 0 when it may be."""
    return max(0, state.rejected_until_ns - now_ns) / SECOND_NS


def note_lockout(state: BreakerState, now_ns: int, wall_ns: int) -> BreakerState:
    """Open the breaker for 15 minutes."""
    pause_ns = int(LOCKOUT_S * SECOND_NS)
    return msgspec.structs.replace(
        state, lockout_until_ns=now_ns + pause_ns, lockout_until_wall_ns=wall_ns + pause_ns
    )


def note_rejected(state: BreakerState, code: str, now_ns: int) -> BreakerState:
    """Count a rejection of the key."""
    rejections = state.rejections + 1
    pause_s = 0.0
    if rejections > FREE_REJECTIONS:
        doublings = min(rejections - FREE_REJECTIONS - 1, 10)
        pause_s = min(FIRST_PAUSE_S * 2.0**doublings, LOCKOUT_S)
    return msgspec.structs.replace(
        state,
        rejections=rejections,
        rejected_code=code,
        rejected_until_ns=now_ns + int(pause_s * SECOND_NS),
    )


def note_accepted(state: BreakerState) -> BreakerState:
    """Forget the rejections: Kraken accepted the key."""
    if not state.rejections:
        return state
    return msgspec.structs.replace(state, rejections=0, rejected_code="", rejected_until_ns=0)


def rebase(state: BreakerState, now_ns: int, wall_ns: int) -> BreakerState:
    """Carry the state over a restart of the machine; the wall clock tells what is left."""
    left_ns = min(max(0, state.lockout_until_wall_ns - wall_ns), int(LOCKOUT_S * SECOND_NS))
    return msgspec.structs.replace(
        state,
        lockout_until_ns=now_ns + left_ns if left_ns else 0,
        rejected_until_ns=0,
    )
