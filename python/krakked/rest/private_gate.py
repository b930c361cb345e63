"""The way in for private calls of one key: nonce, counter and breaker in one shared record.

First come, first served (trio's locks are FIFO). A cancelled waiter leaves nothing behind: a call
gets its nonce and is counted under the lock at the moment it may go, never before.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from krakked.errors import (
    Action,
    ApiError,
    AuthError,
    ConfigError,
    LockoutError,
    LockTimeoutError,
    RateLimitError,
)
from krakked.network import Clock
from krakked.rest import breaker, limits
from krakked.rest.breaker import BreakerState
from krakked.rest.health import NonceStatus
from krakked.rest.limits import SECOND_NS, CounterRule, Outcome, Plan, PrivateState, Reason
from krakked.rest.nonces import NonceState, after_power_cut, may_overlap, next_nonce
from krakked.rest.shared_state import Change, SharedState, boot_name, same_boot
from krakked.rest.waits import Wait, WaitBoard, wait_for

log = logging.getLogger("krakked.rest")

_SETTLE_TIMEOUT_S = 5.0
"""Longest wait for the lock after a call that overlapped with others; nobody can cancel it."""


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What processes share about one API key."""

    boot: str
    at_ns: int
    nonce: NonceState = NonceState()
    counter: PrivateState = PrivateState()
    breaker: BreakerState = BreakerState()


class Ticket(msgspec.Struct, frozen=True):
    """Leave to send one private call."""

    nonce: int
    """Nonce to sign with; good for this sending only."""
    token: int
    """Names the reservation."""
    locked: bool
    """Whether the key stays locked until the call is settled."""


class PrivateGate:
    """Lets the private calls of one key through: nonce, counter and breaker in one record.

    Unless the key has a nonce window, the key stays locked, over all processes of the machine, from
    the moment a call gets its nonce until it is settled: the order in which nonces are given is
    then the order in which they arrive.

    Args:
        path: State file of the key, or None.
        clock: Whose times count.
        rule: Kraken's counter.
        board: Where waiting calls are shown.
        lock_timeout_s: Longest wait for the key to be free of other processes.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Clock,
        rule: CounterRule,
        board: WaitBoard,
        *,
        lock_timeout_s: float = 60.0,
    ) -> None:
        self._state: SharedState[KeyRecord] = SharedState(path, KeyRecord, clock)
        self._shared = path is not None
        self._clock = clock
        self._rule = rule
        self._board = board
        self._lock_timeout_s = lock_timeout_s
        self._turn = trio.Lock()
        self._boot = boot_name(clock.wall_ns(), clock.elapsed_ns())
        self.latest: KeyRecord | None = None
        """The record as last seen; for the health report."""

    def nonce_status(self, window: int | None) -> NonceStatus:
        """Give the state of the key's nonces as last seen; `window` as Kraken told it."""
        last = self.latest.nonce.last if self.latest is not None else 0
        ahead_s = (last - self._clock.wall_ns()) / SECOND_NS
        return NonceStatus(
            last=last or None,
            ahead_s=ahead_s if last else None,
            window=window,
            overlap=may_overlap(window),
            shared=self._shared,
        )

    @asynccontextmanager
    async def passage(self, endpoint: str, *, overlap: bool = False) -> AsyncIterator[Passage]:
        """Wait until a call may go; the block sends it and reports what became of it.

        Args:
            endpoint: Endpoint name.
            overlap: Whether the key's nonce window lets calls be in flight together.

        Raises:
            LockoutError: A lockout is in force; nothing was sent.
            AuthError: Kraken keeps rejecting the key; nothing was sent.
            LockTimeoutError: Another process blocks the key.
        """
        with self._board.waiting(endpoint) as wait:
            await self._turn.acquire()
            try:
                ticket = await self._admit(endpoint, wait, keep=not overlap)
            except BaseException:
                self._turn.release()
                raise
        # no checkpoint from the reservation to the try: what is reserved is always settled
        if overlap:
            self._turn.release()
        passage = Passage(ticket)
        try:
            yield passage
        finally:
            try:
                await self._settle(passage)
            finally:
                if not overlap:
                    self._turn.release()

    async def _admit(self, endpoint: str, wait: Wait, *, keep: bool) -> Ticket:
        cost = limits.call_cost_micro(endpoint)
        while True:
            token = secrets.randbits(60)

            def take(
                record: KeyRecord | None, token: int = token
            ) -> Change[KeyRecord, Ticket | Plan | ApiError]:
                now_ns = self._clock.elapsed_ns()
                current = self.latest = self._current(record, now_ns)
                refusal = _refusal(current.breaker, endpoint, now_ns)
                if refusal is not None:
                    return Change(refusal)
                plan = limits.plan_private(current.counter, self._rule, cost, now_ns)
                if plan.wait_ns > 0:
                    return Change(plan)
                nonce, nonces, durable = next_nonce(current.nonce, self._clock.wall_ns())
                counter = limits.reserve(current.counter, self._rule, cost, token, now_ns)
                taken = msgspec.structs.replace(current, nonce=nonces, counter=counter)
                self.latest = taken
                return Change(Ticket(nonce, token, keep), taken, durable, keep)

            answer = await self._state.update(
                take,
                timeout_s=self._lock_timeout_s,
                on_wait=lambda: wait.set(Reason.OTHER_PROCESS),
            )
            if isinstance(answer, Ticket):
                return answer
            if isinstance(answer, ApiError):
                raise answer
            await wait_for(answer, wait)

    async def _settle(self, passage: Passage) -> None:
        def book(record: KeyRecord | None) -> Change[KeyRecord, None]:
            now_ns = self._clock.elapsed_ns()
            booked = self._booked(self._current(record, now_ns), passage, now_ns)
            self.latest = booked
            return Change(None, booked)

        try:
            if passage.ticket.locked:
                await self._state.finish(book)
                return
            with trio.CancelScope(shield=True):
                await self._state.update(book, timeout_s=_SETTLE_TIMEOUT_S)
        except (ConfigError, LockTimeoutError) as error:
            # the call's own outcome matters more; its reservation ages out by itself
            log.warning("A private call could not be booked: %s", error)

    def _booked(self, record: KeyRecord, passage: Passage, now_ns: int) -> KeyRecord:
        counter = limits.settle(
            record.counter, self._rule, passage.ticket.token, passage.outcome, now_ns
        )
        state, error = record.breaker, passage.error
        if isinstance(error, LockoutError):
            state = breaker.note_lockout(state, now_ns, self._clock.wall_ns())
        elif isinstance(error, RateLimitError):
            if error.code.startswith("EAPI:Rate limit exceeded"):
                counter = limits.exceed(counter, self._rule, now_ns)
            pause_s = error.retry_after_s or 5.0
            counter = limits.hold_private(counter, now_ns + int(pause_s * SECOND_NS))
        elif error is not None and error.code.startswith(breaker.REJECTIONS):
            state = breaker.note_rejected(state, error.code, now_ns)
        elif passage.accepted:
            state = breaker.note_accepted(state)
        return msgspec.structs.replace(record, counter=counter, breaker=state, at_ns=now_ns)

    def _current(self, record: KeyRecord | None, now_ns: int) -> KeyRecord:
        if record is None:
            return KeyRecord(boot=self._boot, at_ns=now_ns)
        rebooted = not same_boot(record.boot, self._boot)
        if not rebooted and record.at_ns <= now_ns:
            return msgspec.structs.replace(record, at_ns=now_ns)
        return KeyRecord(
            boot=self._boot,
            at_ns=now_ns,
            nonce=after_power_cut(record.nonce) if rebooted else record.nonce,
            counter=limits.rebase_private(record.counter, now_ns),
            breaker=breaker.rebase(record.breaker, now_ns, self._clock.wall_ns()),
        )


class Passage:
    """One private call between its reservation and its settlement."""

    __slots__ = ("accepted", "error", "outcome", "ticket")

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.outcome = Outcome.UNKNOWN
        self.error: ApiError | None = None
        self.accepted = False

    def not_sent(self) -> None:
        """No byte of it left this machine."""
        self.outcome = Outcome.NOT_SENT

    def sent(self) -> None:
        """It goes out now; whether it arrives is not known."""
        self.outcome = Outcome.UNKNOWN

    def answered(self, error: ApiError | None, *, accepted: bool) -> None:
        """An answer came: the API's refusal, or None; `accepted` when the key was good."""
        self.outcome = Outcome.ANSWERED
        self.error = error
        self.accepted = accepted


def _refusal(state: BreakerState, endpoint: str, now_ns: int) -> ApiError | None:
    left_s = breaker.lockout_left_s(state, now_ns)
    if left_s > 0:
        return LockoutError(
            f"{endpoint} was not sent: Kraken has locked this key out for a while; private calls "
            f"may go again in {left_s:.0f} s. Check the key before that.",
            code="EGeneral:Temporary lockout",
            endpoint=endpoint,
            retryable=True,
            retry_after_s=left_s,
            action=Action.WAIT,
        )
    left_s = breaker.rejection_left_s(state, now_ns)
    if left_s > 0:
        return AuthError(
            f"{endpoint} was not sent: Kraken rejected this key {state.rejections} times in a row "
            f"({state.rejected_code}). To avoid a lockout it rests for {left_s:.0f} s.",
            code=state.rejected_code,
            endpoint=endpoint,
            retry_after_s=left_s,
            action=Action.FIX_CREDENTIALS,
        )
    return None
