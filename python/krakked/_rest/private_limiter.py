"""The way in for private calls of one key: nonce, counter and breaker in one shared record.

Order: calls that cost the counter something go first come, first served; the first of them waits
for the counter, the others for it. Calls that cost nothing (orders, cancels) do not stand in that
queue: they go as soon as the call in flight is answered, in their own order. An order waits for its
own pair only, when the matching engine has had enough of it. A cancelled waiter leaves nothing
behind: a call gets its nonce and is counted under the lock at the moment it may go, never before.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from krakked._errors import (
    Action,
    ApiError,
    AuthError,
    ConfigError,
    LockoutError,
    LockTimeoutError,
    NonceError,
    RateLimitError,
)
from krakked._files.shared_record import boot_id
from krakked._network.clock import Clock
from krakked._rest import breaker, limits
from krakked._rest.breaker import BreakerState
from krakked._rest.health import NonceStatus
from krakked._rest.limits import SECOND_NS, CallOutcome, CounterRule, Plan, PrivateState, WaitReason
from krakked._rest.nonces import NonceState, after_power_cut, may_overlap, next_nonce
from krakked._rest.record_times import Stamp, boot_name, passed_ns, same_boot, same_clock
from krakked._rest.shared_state import SharedState, StateChange
from krakked._rest.waits import Wait, WaitBoard, wait_for

log = logging.getLogger("krakked.rest")

_SETTLE_TIMEOUT_S = 5.0
"""Longest wait for the lock after a call that overlapped with others; nobody can cancel it."""


ENGINE_LIMITS = ("EOrder:Rate limit exceeded", "EOrder:Domain rate limit exceeded")
"""Answers of the matching engine, which counts per pair."""


class KeyRecord(Stamp, frozen=True, kw_only=True):
    """What processes share about one API key."""

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


class PrivateLimiter:
    """Lets the private calls of one key through: nonce, counter and breaker in one record.

    Unless the key has a nonce window, the key stays locked, over all processes of the machine, from
    the moment a call gets its nonce until it is settled: the order in which nonces are given is
    then the order in which they arrive.

    Args:
        path: State file of the key, or None.
        tag: Names key and secret together; a corrected secret is another.
        clock: Whose times count.
        rule: Kraken's counter.
        board: Where waiting calls are shown.
        lock_timeout_s: Longest wait for the key to be free of other processes.
    """

    def __init__(
        self,
        path: Path | None,
        tag: str,
        clock: Clock,
        rule: CounterRule,
        board: WaitBoard,
        *,
        lock_timeout_s: float = 60.0,
    ) -> None:
        self._state: SharedState[KeyRecord] = SharedState(path, KeyRecord, clock)
        self._tag = tag
        self._clock = clock
        self._rule = rule
        self._board = board
        self._lock_timeout_s = lock_timeout_s
        self._queue = trio.Lock()  # of calls that cost something
        self._flight = trio.Lock()  # one call in flight at a time
        self._boot = boot_name(boot_id(), clock.wall_ns(), clock.elapsed_ns())
        self.latest: KeyRecord | None = None
        """The record as last seen; for the health report."""

    def nonce_status(self, window: int | None) -> NonceStatus:
        """Return the state of the key's nonces as last seen; `window` as Kraken told it."""
        last = self.latest.nonce.last if self.latest is not None else 0
        ahead_s = (last - self._clock.wall_ns()) / SECOND_NS
        return NonceStatus(
            last=last or None,
            ahead_s=ahead_s if last else None,
            window=window,
            overlap=may_overlap(window),
            shared=self._state.shared,
        )

    @asynccontextmanager
    async def passage(
        self, endpoint: str, *, pair: str | None = None, overlap: bool = False
    ) -> AsyncIterator[Passage]:
        """Wait until a call may go; the block sends it and reports what became of it.

        Args:
            endpoint: Endpoint name.
            pair: Pair of an order, in the caller's spelling; None = of no pair.
            overlap: Whether the key's nonce window lets calls be in flight together.

        Raises:
            LockoutError: A lockout is in force; nothing was sent.
            AuthError: Kraken keeps rejecting the key; nothing was sent.
            NonceError: Kraken keeps rejecting the key's nonces; nothing was sent.
            LockTimeoutError: Another process blocks the key.
        """
        with self._board.waiting(endpoint) as wait:
            if limits.call_cost_micro(endpoint):
                async with self._queue:
                    ticket = await self._admit(endpoint, pair, wait, keep=not overlap)
            else:
                ticket = await self._admit(endpoint, pair, wait, keep=not overlap)
        # no checkpoint from the reservation to the try: what is reserved is always settled
        if overlap:
            self._flight.release()
        passage = Passage(ticket, pair)
        try:
            yield passage
        finally:
            try:
                await self._settle(passage)
            finally:
                if not overlap:
                    self._flight.release()

    async def _admit(self, endpoint: str, pair: str | None, wait: Wait, *, keep: bool) -> Ticket:
        """Wait for the call's moment; `_flight` is held when this returns."""
        begun_ns = self._clock.elapsed_ns()
        while True:
            await self._flight.acquire()
            try:
                answer = await self._try_take(endpoint, pair, begun_ns, wait, keep=keep)
            except BaseException:
                self._flight.release()
                raise
            if isinstance(answer, Ticket):
                return answer
            self._flight.release()
            if isinstance(answer, ApiError):
                raise answer
            await wait_for(answer, wait)

    async def _try_take(
        self, endpoint: str, pair: str | None, begun_ns: int, wait: Wait, *, keep: bool
    ) -> Ticket | Plan | ApiError:
        cost = limits.call_cost_micro(endpoint)
        token = secrets.randbits(53)

        # What a look changes is written in any case, see PublicLimiter.
        def take(record: KeyRecord | None) -> StateChange[KeyRecord, Ticket | Plan | ApiError]:
            current = self.latest = self._current(record, begun_ns)
            now_ns = current.at_ns
            refusal = _refusal(current.breaker, endpoint, self._tag, now_ns)
            if refusal is not None:
                return StateChange(refusal, current)
            plan = limits.plan_private(current.counter, self._rule, cost, now_ns, pair=pair)
            if plan.wait_ns > 0:
                return StateChange(plan, current)
            nonce, nonces, durable = next_nonce(current.nonce, current.at_wall_ns)
            counter = limits.reserve(current.counter, self._rule, cost, token, now_ns)
            taken = msgspec.structs.replace(current, nonce=nonces, counter=counter)
            self.latest = taken
            return StateChange(Ticket(nonce, token, keep), taken, durable, keep)

        return await self._state.update(
            take,
            timeout_s=self._lock_timeout_s,
            on_wait=lambda: wait.set(WaitReason.OTHER_PROCESS),
        )

    async def _settle(self, passage: Passage) -> None:
        begun_ns = self._clock.elapsed_ns()

        def book(record: KeyRecord | None) -> StateChange[KeyRecord, None]:
            booked = self._booked(self._current(record, begun_ns), passage)
            self.latest = booked
            return StateChange(None, booked)

        try:
            if passage.ticket.locked:
                await self._state.finish(book)
                return
            with trio.CancelScope(shield=True):
                await self._state.update(book, timeout_s=_SETTLE_TIMEOUT_S)
        except (ConfigError, LockTimeoutError) as error:
            # the call's own outcome matters more; its reservation ages out by itself
            log.warning("A private call could not be booked: %s", error)

    def _booked(self, record: KeyRecord, passage: Passage) -> KeyRecord:
        now_ns = record.at_ns
        counter = limits.settle(
            record.counter, self._rule, passage.ticket.token, passage.outcome, now_ns
        )
        state, error = record.breaker, passage.error
        if isinstance(error, LockoutError):
            state = breaker.note_lockout(state, now_ns, record.at_wall_ns)
        elif isinstance(error, RateLimitError):
            until_ns = now_ns + int((error.retry_after_s or 5.0) * SECOND_NS)
            if error.code.startswith(ENGINE_LIMITS):
                if passage.pair is not None:
                    counter = limits.hold_pair(counter, passage.pair, until_ns, now_ns)
            elif error.code.startswith("EAPI:Rate limit exceeded"):
                counter = limits.exceed(counter, self._rule, until_ns, now_ns)
            else:
                counter = limits.hold_private(counter, until_ns)
        elif error is not None and breaker.is_rejection(error.code):
            state = breaker.note_rejected(state, error.code, self._tag, now_ns)
        elif passage.accepted:
            state = breaker.note_accepted(state)
        elif error is not None and error.code.startswith("E"):
            state = breaker.note_nonce_accepted(state)
        return msgspec.structs.replace(record, counter=counter, breaker=state)

    def _current(self, record: KeyRecord | None, begun_ns: int) -> KeyRecord:
        """Return the record as of now, for a call that has been asking since `begun_ns`."""
        wall_ns = self._clock.wall_ns()
        now = KeyRecord(boot=self._boot, at_ns=self._clock.elapsed_ns(), at_wall_ns=wall_ns)
        # Never below a nonce that this process gave, even if somebody removed the file meanwhile.
        own = self.latest.nonce if self.latest is not None else NonceState()
        if record is None:
            return msgspec.structs.replace(now, nonce=own)
        nonce = max(record.nonce, own, key=lambda each: each.last)
        if same_clock(record, now):
            return msgspec.structs.replace(record, at_ns=now.at_ns, at_wall_ns=wall_ns, nonce=nonce)
        passed = passed_ns(record, now, now.at_ns - begun_ns)
        rebooted = not same_boot(record.boot, self._boot)
        return msgspec.structs.replace(
            now,
            nonce=after_power_cut(nonce) if rebooted else nonce,
            counter=limits.rebase_private(record.counter, self._rule, now.at_ns, passed),
            breaker=breaker.rebase(record.breaker, now.at_ns, wall_ns),
        )


class Passage:
    """One private call between its reservation and its settlement."""

    __slots__ = ("accepted", "error", "outcome", "pair", "ticket")

    def __init__(self, ticket: Ticket, pair: str | None) -> None:
        self.ticket = ticket
        self.pair = pair
        self.outcome = CallOutcome.UNKNOWN
        self.error: ApiError | None = None
        self.accepted = False

    def not_sent(self) -> None:
        """No byte of it left this machine."""
        self.outcome = CallOutcome.NOT_SENT

    def sent(self) -> None:
        """It goes out now; whether it arrives is not known."""
        self.outcome = CallOutcome.UNKNOWN

    def answered(self, error: ApiError | None, *, accepted: bool) -> None:
        """An answer came: the API's refusal, or None; `accepted` when the key was good."""
        self.outcome = CallOutcome.ANSWERED
        self.error = error
        self.accepted = accepted


def _refusal(state: BreakerState, endpoint: str, tag: str, now_ns: int) -> ApiError | None:
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
    left_s = breaker.rejection_left_s(state, tag, now_ns)
    if left_s <= 0:
        return None
    if state.rejected_code.startswith(breaker.NONCE_REJECTION):
        return NonceError(
            f"{endpoint} was not sent: Kraken refused the last {state.rejections} nonces of this "
            "key. Another program uses it with larger ones, and Kraken never forgets the largest. "
            "Make a key for this program alone (or give the key a nonce window at Kraken). "
            f"It rests for {left_s:.0f} s.",
            code=state.rejected_code,
            endpoint=endpoint,
            retry_after_s=left_s,
            action=Action.FIX_CREDENTIALS,
        )
    return AuthError(
        f"{endpoint} was not sent: Kraken rejected this key {state.rejections} times in a row "
        f"({state.rejected_code}). To avoid a lockout it rests for {left_s:.0f} s.",
        code=state.rejected_code,
        endpoint=endpoint,
        retry_after_s=left_s,
        action=Action.FIX_CREDENTIALS,
    )
