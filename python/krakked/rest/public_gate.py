"""The way in for public calls: it asks the planner, sleeps, and keeps the record of the host.

First come, first served (trio's locks are FIFO). A cancelled waiter leaves nothing behind: a call
is counted under the lock at the moment it may go, never before.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from krakked.errors import KrakkedError, RateLimitError, ServiceError
from krakked.network import Clock
from krakked.rest import limits
from krakked.rest.limits import SECOND_NS, Plan, PublicRule, PublicState, Reason
from krakked.rest.shared_state import Change, SharedState, boot_name, same_boot
from krakked.rest.waits import Wait, WaitBoard, wait_for

BLOCKED_PAUSE_S = 60.0
"""Pause of public calls after a 403 of the servers in front (unpublished: a guess)."""


class HostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What processes share about public calls to one host."""

    boot: str
    at_ns: int
    public: PublicState


class PublicGate:
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
        self._boot = boot_name(clock.wall_ns(), clock.elapsed_ns())
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
        pair_left_ns = await self._pair_left(pair)
        while True:
            if pair_left_ns > 0:
                await wait_for(Plan(pair_left_ns, Reason.PAIR_SPACING), wait)
            async with self._turn:
                plan = await self._try_take(pair, wait)
                while plan.wait_ns > 0 and plan.reason is not Reason.PAIR_SPACING:
                    await wait_for(plan, wait)
                    plan = await self._try_take(pair, wait)
            if plan.wait_ns <= 0:
                return
            pair_left_ns = plan.wait_ns  # it is waited for outside the common queue

    async def _pair_left(self, pair: str | None) -> int:
        if pair is None or self._rule.pair_spacing_ns <= self._rule.spacing_ns:
            return 0  # the common spacing is as wide

        def look(record: HostRecord | None) -> Change[HostRecord, int]:
            now_ns = self._clock.elapsed_ns()
            return Change(limits.plan_pair(self._public(record, now_ns), pair, now_ns))

        return await self._state.update(look, timeout_s=self._lock_timeout_s)

    async def _try_take(self, pair: str | None, wait: Wait) -> Plan:
        def take(record: HostRecord | None) -> Change[HostRecord, tuple[Plan, int]]:
            now_ns = self._clock.elapsed_ns()
            public = self._public(record, now_ns)
            plan = limits.plan_public(public, pair, now_ns)
            if plan.wait_ns > 0:
                return Change((plan, public.spacing_ns))
            taken = limits.take_public(public, self._rule, pair, now_ns)
            return Change((plan, taken.spacing_ns), self._record(taken, now_ns))

        plan, spacing_ns = await self._state.update(
            take,
            timeout_s=self._lock_timeout_s,
            on_wait=lambda: wait.set(Reason.OTHER_PROCESS),
        )
        self.spacing_s = max(spacing_ns, self._rule.spacing_ns) / SECOND_NS
        return plan

    async def react(self, error: KrakkedError) -> None:
        """Slow down after an error that says "too often"; other errors change nothing."""
        if isinstance(error, RateLimitError):
            await self.refused(error.retry_after_s)
        elif isinstance(error, ServiceError) and error.code == "HTTP 403":
            # Cloudflare's "error 1015" (rate limited) also comes as 403: asking on makes it worse.
            await self.refused(BLOCKED_PAUSE_S)

    async def refused(self, pause_s: float | None) -> None:
        """React to "Too many requests"; runs to its end even when cancelled."""

        def slow(record: HostRecord | None) -> Change[HostRecord, int]:
            now_ns = self._clock.elapsed_ns()
            pause_ns = int((pause_s or 0.0) * SECOND_NS)
            public = limits.slow_public(self._public(record, now_ns), self._rule, now_ns, pause_ns)
            return Change(public.spacing_ns, self._record(public, now_ns))

        with trio.CancelScope(shield=True):
            spacing_ns = await self._state.update(slow, timeout_s=self._lock_timeout_s)
        self.spacing_s = spacing_ns / SECOND_NS

    def _public(self, record: HostRecord | None, now_ns: int) -> PublicState:
        if record is None:
            return PublicState()
        if not same_boot(record.boot, self._boot) or record.at_ns > now_ns:
            return limits.rebase_public(record.public, self._rule, now_ns)
        return record.public

    def _record(self, public: PublicState, now_ns: int) -> HostRecord:
        return HostRecord(boot=self._boot, at_ns=now_ns, public=public)
