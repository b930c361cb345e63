"""When private calls must not even be tried: a lockout, or a key that Kraken keeps rejecting. Pure.

A loop with a bad key is what makes Kraken lock a user out, so the second of these guards against
the first. Both are refusals, not waits: the caller hears at once and decides.
"""

from __future__ import annotations

import msgspec

from krakked._rest.error_table import LOCKOUT_S
from krakked._rest.limits import SECOND_NS

FREE_REJECTIONS = 2
"""So many rejections in a row have no consequence: a user may mistype."""
FIRST_PAUSE_S = 30.0
"""Pause after the next one; every further rejection doubles it, up to the lockout's 15 minutes."""

REJECTIONS = ("EAPI:Invalid key", "EAPI:Invalid signature", "EAuth:")
"""Answers that count as a rejection of the key itself, or of the account behind it (disabled, not
confirmed): asked again, they stay the same. That ``EAuth:`` ones count for Kraken's lockout is
unverified; a rest costs nothing then."""

NONCE_REJECTION = "EAPI:Invalid nonce"
FREE_NONCE_REJECTIONS = 5
"""Another program that uses the key now and then costs a call or two; then something is wrong."""


class BreakerState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one key's refusals."""

    lockout_until_ns: int = 0
    """Elapsed time at which the lockout ends."""
    lockout_until_wall_ns: int = 0
    """The same as unix time, for a restart of the machine in between."""
    rejections: int = 0
    """Rejections of one kind in a row."""
    rejected_code: str = ""
    """Kraken's last such text."""
    rejected_tag: str = ""
    """Which pair of key and secret it was; a corrected secret may be tried at once."""
    rejected_until_ns: int = 0
    """No further try before this."""


def lockout_left_s(state: BreakerState, now_ns: int) -> float:
    """Return the seconds until the lockout ends; 0 when there is none."""
    return max(0, state.lockout_until_ns - now_ns) / SECOND_NS


def rejection_left_s(state: BreakerState, tag: str, now_ns: int) -> float:
    """Return the seconds for which this key and secret are not tried again; 0 when they may be."""
    if tag != state.rejected_tag:
        return 0.0
    return max(0, state.rejected_until_ns - now_ns) / SECOND_NS


def is_rejection(code: str) -> bool:
    """Whether an answer counts against the key."""
    return code.startswith((*REJECTIONS, NONCE_REJECTION))


def note_lockout(state: BreakerState, now_ns: int, wall_ns: int) -> BreakerState:
    """Open the breaker for 15 minutes."""
    pause_ns = int(LOCKOUT_S * SECOND_NS)
    return msgspec.structs.replace(
        state, lockout_until_ns=now_ns + pause_ns, lockout_until_wall_ns=wall_ns + pause_ns
    )


def note_rejected(state: BreakerState, code: str, tag: str, now_ns: int) -> BreakerState:
    """Count a rejection of the key.

    Args:
        state: State before.
        code: Kraken's text.
        tag: Names key and secret together.
        now_ns: Time of the answer.
    """
    nonce = code.startswith(NONCE_REJECTION)
    same_kind = nonce == state.rejected_code.startswith(NONCE_REJECTION)
    before = state.rejections if tag == state.rejected_tag and same_kind else 0
    rejections = before + 1
    over = rejections - (FREE_NONCE_REJECTIONS if nonce else FREE_REJECTIONS)
    pause_s = min(FIRST_PAUSE_S * 2.0 ** min(over - 1, 10), LOCKOUT_S) if over > 0 else 0.0
    return msgspec.structs.replace(
        state,
        rejections=rejections,
        rejected_code=code,
        rejected_tag=tag,
        rejected_until_ns=now_ns + int(pause_s * SECOND_NS) if pause_s else 0,
    )


def note_accepted(state: BreakerState) -> BreakerState:
    """Forget the rejections: Kraken accepted the key."""
    if not state.rejections:
        return state
    return msgspec.structs.replace(
        state, rejections=0, rejected_code="", rejected_tag="", rejected_until_ns=0
    )


def note_nonce_accepted(state: BreakerState) -> BreakerState:
    """Forget refused nonces: Kraken refused a call for another reason, so this one was good."""
    return note_accepted(state) if state.rejected_code.startswith(NONCE_REJECTION) else state


def rebase(state: BreakerState, now_ns: int, wall_ns: int) -> BreakerState:
    """Carry the state over from another clock; the wall clock tells what is left of a lockout."""
    left_ns = min(max(0, state.lockout_until_wall_ns - wall_ns), int(LOCKOUT_S * SECOND_NS))
    return msgspec.structs.replace(
        state,
        lockout_until_ns=now_ns + left_ns if left_ns else 0,
        rejected_until_ns=0,
    )
