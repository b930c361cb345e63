"""Strictly rising nonces for one key, over threads, processes, restarts and clock steps. Pure.

Kraken remembers the highest nonce of a key for ever, so a nonce may never fall back. The unit is
nanoseconds, as Kraken recommends; a key that was used with nanoseconds cannot go back to a smaller
unit, which is why every program should have a key of its own.

The last nonce is written down at once but reaches the disk only when the operating system likes.
What is forced to the disk, every ten seconds or so, is a mark ahead of it: after a power cut we go
on from the mark, which no nonce has passed.

Source: "Spot REST authentication", docs.kraken.com/api/docs/guides/spot-rest-auth, and support
article 360000906023 (what is a nonce).
"""

from __future__ import annotations

import msgspec

from krakked._core import NonceSequence
from krakked._rest.limits import SECOND_NS

AHEAD_NS = 10 * SECOND_NS
"""How far the durable mark runs ahead: one forced write per so much time."""

OVERLAP_WINDOW = 10 * SECOND_NS
"""Smallest nonce window of a key that lets calls overlap.

Unverified: the window is taken to be in the unit of the nonces, here nanoseconds, so that it has to
cover the time by which one call can overtake another."""


class NonceState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one key's nonces."""

    last: int = 0
    """Highest nonce given."""
    mark: int = 0
    """No nonce up to here is safe after a power cut; everything above is."""


def next_nonce(state: NonceState, wall_ns: int) -> tuple[int, NonceState, bool]:
    """Take the next nonce: the wall clock, or one more than the last.

    Returns:
        The nonce, the state to write before using it, and whether that write must reach the disk
        first.
    """
    nonce = NonceSequence(state.last).next(wall_ns)
    if nonce <= state.mark:
        return nonce, NonceState(last=nonce, mark=state.mark), False
    return nonce, NonceState(last=nonce, mark=nonce + AHEAD_NS), True


def after_power_cut(state: NonceState) -> NonceState:
    """Go on above the mark: what was written after the last forced write may be lost."""
    return NonceState(last=max(state.last, state.mark), mark=state.mark)


def may_overlap(nonce_window: int | None) -> bool:
    """Say whether calls of a key with this nonce window may be in flight together."""
    return nonce_window is not None and nonce_window >= OVERLAP_WINDOW
