"""Who waits for what: the answer to "why is my call not going out?"."""

import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import trio

from krakked._public import public
from krakked._rest.limits import SECOND_NS, Plan, WaitReason


@public
class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """One call that waits before it is sent."""

    endpoint: str
    """Endpoint name."""
    reason: WaitReason
    """What it waits for, in words."""
    since_s: float
    """How long it has waited so far, in seconds."""
    left_s: float | None
    """How long it will still wait, in seconds; None when that depends on others."""


class Wait:
    """The entry of one waiting call."""

    __slots__ = ("clock", "endpoint", "reason", "since", "told", "until")

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.clock = trio.lowlevel.current_clock()  # so that any thread may ask how long
        self.since = self.clock.current_time()
        self.reason = WaitReason.TURN
        self.until: float | None = None
        self.told: set[WaitReason] = set()

    def set(self, reason: WaitReason, seconds: float | None = None) -> None:
        """Say what the call waits for now, and how long if that is known."""
        self.reason = reason
        self.until = None if seconds is None else trio.current_time() + seconds


class WaitBoard:
    """All waiting calls of one client, in the order in which they came."""

    def __init__(self) -> None:
        self._entries: dict[int, Wait] = {}
        self._numbers = itertools.count()

    @contextmanager
    def waiting(self, endpoint: str) -> Iterator[Wait]:
        """Enter a call for as long as the block runs."""
        number = next(self._numbers)
        entry = self._entries[number] = Wait(endpoint)
        try:
            yield entry
        finally:
            del self._entries[number]

    def snapshot(self) -> tuple[Waiting, ...]:
        """Return every waiting call, the longest waiting first."""
        return tuple(
            _told(entry, entry.clock.current_time()) for entry in [*self._entries.values()]
        )


def _told(entry: Wait, now: float) -> Waiting:
    return Waiting(
        endpoint=entry.endpoint,
        reason=entry.reason,
        since_s=now - entry.since,
        left_s=None if entry.until is None else max(0.0, entry.until - now),
    )


log = logging.getLogger("krakked.rest.waits")
"""Says each reason of a long wait once for a call; the command line shows it."""

TELL_AFTER_S = 2.0
"""A wait of more than this is said."""

_TINY_S = 1e-6
"""Added to every sleep, so that rounding never wakes a call a nanosecond early."""


async def wait_for(plan: Plan, wait: Wait) -> None:
    """Sleep as long as a planner said, and show it."""
    seconds = plan.wait_ns / SECOND_NS
    wait.set(plan.reason, seconds)
    if seconds > TELL_AFTER_S and plan.reason not in wait.told:
        wait.told.add(plan.reason)
        log.info("%s waits %.0f s: %s", wait.endpoint, seconds, plan.reason)
    await trio.sleep(seconds + _TINY_S)
