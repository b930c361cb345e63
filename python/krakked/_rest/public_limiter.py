"""The way in for public calls: it asks the planner, sleeps, and keeps the record of the host.

First come, first served, over the tasks of this process (trio's locks are FIFO) and over the
processes of the machine (each keeps one turn in the record). A cancelled waiter leaves nothing
behind: a call is counted under the lock at the moment it may go, never before.
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from krakked._errors import (
    ConfigError,
    KrakkedError,
    LockTimeoutError,
    RateLimitError,
    ServiceError,
)
from krakked._files.shared_record import boot_id
from krakked._network.clock import Clock
from krakked._rest import limits
from krakked._rest.limits import SECOND_NS, Plan, PublicRule, PublicState, WaitReason
from krakked._rest.record_times import Stamp, boot_name, passed_ns, same_clock
from krakked._rest.shared_state import SharedState, StateChange
from krakked._rest.waits import Wait, WaitBoard, wait_for

BLOCKED_PAUSE_S = 60.0
"""Pause of public calls after a 403 of the servers in front (unpublished: a guess)."""

_LEAVE_TIMEOUT_S = 2.0


class HostRecord(Stamp, frozen=True, kw_only=True):
    """What processes share about public calls to one host."""

    public: PublicState = PublicState()


class PublicLimiter:
    """Lets public calls to one host through, one after the other.

    Args:
        path: State file of the host, or None.
        clock: Whose elapsed time counts.
        rule: The spacings.
        board: Where waiting calls are shown.
        lock_timeout_s: Longest wait for the state file.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Clock,
        rule: PublicRule,
        board: WaitBoard,
        *,
        lock_timeout_s: float = 30.0,
    ) -> None:
        self._state: SharedState[HostRecord] = SharedState(path, HostRecord, clock)
        self._clock = clock
        self._rule = rule
        self._board = board
        self._lock_timeout_s = lock_timeout_s
        self._turn = trio.Lock()
        self._pair_turns: dict[str, trio.Lock] = {}
        self._boot = boot_name(boot_id(), clock.wall_ns(), clock.elapsed_ns())
        self.spacing_s = rule.spacing_ns / SECOND_NS
        """Spacing in force, in seconds, as of the last call."""

    async def admit(self, endpoint: str, pair: str | None) -> None:
        """Wait until this call may go, and count it.

        Args:
            endpoint: Endpoint name.
            pair: Pair of an OHLC or Trades call, else None.

        Raises:
            LockTimeoutError: Another process blocks the state file.
        """
        with self._board.waiting(endpoint) as wait:
            if pair is None:
                await self._pass(None, wait)
                return
            # calls for one pair queue among themselves, so that they never hold up the others
            turn = self._pair_turns.setdefault(pair, trio.Lock())
            try:
                async with turn:
                    await self._pass(pair, wait)
            finally:
                if not turn.locked() and not turn.statistics().tasks_waiting:
                    self._pair_turns.pop(pair, None)

    async def _pass(self, pair: str | None, wait: Wait) -> None:
        call = _PublicCall(secrets.randbits(53), pair, self._clock.elapsed_ns())
        pair_left_ns = await self._pair_left(call)
        while True:
            if pair_left_ns > 0:
                await wait_for(Plan(pair_left_ns, WaitReason.PAIR_SPACING), wait)
            async with self._turn:
                plan = await self._take_in_turn(call, wait)
            if plan.wait_ns <= 0:
                return
            pair_left_ns = plan.wait_ns  # it is waited for outside the common queue

    async def _take_in_turn(self, call: _PublicCall, wait: Wait) -> Plan:
        """Wait until the call may go, or until only its pair's own spacing holds it back."""
        try:
            plan = await self._try_take(call, wait)
            while plan.wait_ns > 0 and plan.reason is not WaitReason.PAIR_SPACING:
                await wait_for(plan, wait)
                plan = await self._try_take(call, wait)
        except BaseException:
            await self._leave(call)
            raise
        return plan

    async def _pair_left(self, call: _PublicCall) -> int:
        if call.pair is None or self._rule.pair_spacing_ns <= self._rule.spacing_ns:
            return 0  # the common spacing is as wide

        def look(record: HostRecord | None) -> StateChange[HostRecord, int]:
            current = self._current(record, call.begun_ns)
            left_ns = limits.plan_pair(current.public, call.pair, current.at_ns)
            return StateChange(left_ns, current)

        return await self._state.update(look, timeout_s=self._lock_timeout_s)

    async def _try_take(self, call: _PublicCall, wait: Wait) -> Plan:
        # What a look changes is written in any case: a record of another clock that was only
        # carried over in thought would be carried over anew at every look, and never let a call go.
        def take(record: HostRecord | None) -> StateChange[HostRecord, tuple[Plan, int]]:
            current = self._current(record, call.begun_ns)
            public, now_ns = current.public, current.at_ns
            ahead_ns = limits.ahead_ns(public, self._rule, call.token, now_ns)
            plan = limits.plan_public(public, call.pair, now_ns, ahead_ns=ahead_ns)
            if plan.wait_ns <= 0:
                public = limits.take_public(public, self._rule, call.pair, now_ns)
                public = limits.leave_public(public, call.token)
            elif plan.reason is WaitReason.PAIR_SPACING:
                public = limits.leave_public(public, call.token)
            else:
                public = limits.queue_public(public, call.token, plan.wait_ns, now_ns)
            return StateChange((plan, public.spacing_ns), _with(current, public))

        plan, spacing_ns = await self._state.update(
            take,
            timeout_s=self._lock_timeout_s,
            on_wait=lambda: wait.set(WaitReason.OTHER_PROCESS),
        )
        self.spacing_s = max(spacing_ns, self._rule.spacing_ns) / SECOND_NS
        return plan

    async def _leave(self, call: _PublicCall) -> None:
        """Give up the turn of a call that is not made; it would run out by itself, too."""

        def leave(record: HostRecord | None) -> StateChange[HostRecord, None]:
            current = self._current(record, call.begun_ns)
            return StateChange(
                None, _with(current, limits.leave_public(current.public, call.token))
            )

        with (
            trio.CancelScope(shield=True),
            contextlib.suppress(ConfigError, LockTimeoutError),
        ):
            await self._state.update(leave, timeout_s=_LEAVE_TIMEOUT_S)

    async def react(self, error: KrakkedError) -> None:
        """Slow down after an error that says "too often"; other errors change nothing."""
        if isinstance(error, RateLimitError):
            await self.refused(error.retry_after_s)
        elif isinstance(error, ServiceError) and error.code == "HTTP 403":
            # Cloudflare's "error 1015" (rate limited) also comes as 403: asking on makes it worse.
            await self.refused(BLOCKED_PAUSE_S)

    async def refused(self, pause_s: float | None) -> None:
        """React to "Too many requests"; runs to its end even when cancelled."""
        begun_ns = self._clock.elapsed_ns()

        def slow(record: HostRecord | None) -> StateChange[HostRecord, int]:
            current = self._current(record, begun_ns)
            pause_ns = int((pause_s or 0.0) * SECOND_NS)
            public = limits.slow_public(current.public, self._rule, current.at_ns, pause_ns)
            return StateChange(public.spacing_ns, _with(current, public))

        with trio.CancelScope(shield=True):
            spacing_ns = await self._state.update(slow, timeout_s=self._lock_timeout_s)
        self.spacing_s = spacing_ns / SECOND_NS

    def _current(self, record: HostRecord | None, begun_ns: int) -> HostRecord:
        """Return the record as of now, for a call that has been asking since `begun_ns`."""
        now = HostRecord(
            boot=self._boot, at_ns=self._clock.elapsed_ns(), at_wall_ns=self._clock.wall_ns()
        )
        if record is None:
            return now
        if same_clock(record, now):
            return _with(now, record.public)
        passed = passed_ns(record, now, now.at_ns - begun_ns)
        return _with(now, limits.rebase_public(record.public, self._rule, now.at_ns, passed))


class _PublicCall(NamedTuple):
    """One call that wants to go."""

    token: int
    pair: str | None
    begun_ns: int


def _with(record: HostRecord, public: PublicState) -> HostRecord:
    return msgspec.structs.replace(record, public=public)
