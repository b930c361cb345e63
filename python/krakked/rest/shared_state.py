"""A typed record shared between the processes of a machine, for trio programs.

The lock is taken by polling without blocking, with jitter and a deadline: a cancelled waiter never
holds it (a thread blocked in flock would take the lock later and keep it for ever). A dead holder's
lock is free at once, because the kernel drops it with the process.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import trio

from krakked._files.record import MemoryRecord, RecordFile, SharedRecord, boot_id
from krakked.errors import LockTimeoutError
from krakked.network import Clock, run_blocking
from krakked.rest.limits import SECOND_NS

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")

_POLL_FIRST_S = 0.002
_POLL_LAST_S = 0.05


class Change(msgspec.Struct, Generic[R, T]):
    """What a decision under the lock comes to."""

    answer: T
    """Handed to the caller."""
    record: R | None = None
    """Record to write, None to leave it as it is."""
    durable: bool = False
    """Whether the record must be on the disk before the answer is used."""
    keep: bool = False
    """Whether to go on holding the lock after the answer, until `finish`."""


class SharedState(Generic[R]):
    """One record behind one lock.

    Tasks of this process take turns as well; whoever keeps the lock must call `finish` from the
    same task.

    Args:
        path: State file, or None to keep the record in this object only.
        kind: Struct type of the record; an unreadable record counts as absent.
        clock: Decides whether file work runs on a thread.
        seed: For the jitter; None in production.
    """

    def __init__(
        self, path: Path | None, kind: type[R], clock: Clock, *, seed: int | None = None
    ) -> None:
        self._store: SharedRecord = MemoryRecord() if path is None else RecordFile(path)
        self._in_memory = path is None
        self._decoder = msgspec.json.Decoder(kind)
        self._clock = clock
        self._random = random.Random(seed)  # noqa: S311 -- jitter only
        self._session = trio.Lock()

    @property
    def path(self) -> str:
        """Where the record is, for messages."""
        return self._store.path

    async def update(
        self,
        decide: Callable[[R | None], Change[R, T]],
        *,
        timeout_s: float,
        on_wait: Callable[[], None] | None = None,
    ) -> T:
        """Take the lock, let `decide` look at the record, write what it says, give the lock back.

        Args:
            decide: Called under the lock, possibly on a thread; must not block.
            timeout_s: Longest wait for the lock.
            on_wait: Called once when somebody else holds the lock.

        Raises:
            LockTimeoutError: Another process held the lock all the time; names its pid.
            ConfigError: The file cannot be used.
        """
        deadline = trio.current_time() + timeout_s
        poll_s = _POLL_FIRST_S
        told = False
        while True:
            change = await self._enter(decide)
            if change is not None:
                return change.answer
            if trio.current_time() >= deadline:
                pid = self._store.holder_pid()
                raise LockTimeoutError(
                    f"Another process (pid {pid or 'unknown'}) has held {self.path} for "
                    f"{timeout_s:.0f} s. Is it stopped in a debugger or suspended?",
                    path=self.path,
                    holder_pid=pid,
                )
            if on_wait is not None and not told:
                on_wait()
                told = True
            await trio.sleep(poll_s * self._random.uniform(0.5, 1.5))
            poll_s = min(poll_s * 1.5, _POLL_LAST_S)

    async def _enter(self, decide: Callable[[R | None], Change[R, T]]) -> Change[R, T] | None:
        await self._session.acquire()
        kept = False
        try:
            if self._in_memory:
                change = self._attempt(decide)
            else:
                change = await run_blocking(self._clock, self._attempt, decide)
            kept = change is not None and change.keep
            return change
        finally:
            if not kept:
                self._session.release()

    async def finish(self, decide: Callable[[R | None], Change[R, T]]) -> T:
        """Change the record once more under the kept lock, then give the lock back.

        Runs to its end even when the caller is cancelled.
        """
        try:
            with trio.CancelScope(shield=True):
                if self._in_memory:
                    answer = self._conclude(decide)
                else:
                    answer = await run_blocking(self._clock, self._conclude, decide)
            return answer
        finally:
            self._session.release()

    def _attempt(self, decide: Callable[[R | None], Change[R, T]]) -> Change[R, T] | None:
        if not self._store.try_lock():
            return None
        keep = False
        try:
            change = self._apply(decide)
            keep = change.keep
            return change
        finally:
            if not keep:
                self._store.unlock()

    def _conclude(self, decide: Callable[[R | None], Change[R, T]]) -> T:
        try:
            return self._apply(decide).answer
        finally:
            self._store.unlock()

    def _apply(self, decide: Callable[[R | None], Change[R, T]]) -> Change[R, T]:
        payload = self._store.read()
        record: R | None = None
        if payload is not None:
            try:
                record = self._decoder.decode(payload)
            except msgspec.MsgspecError:
                record = None  # written by another version: begin anew
        change = decide(record)
        if change.record is not None:
            self._store.write(msgspec.json.encode(change.record), durable=change.durable)
        return change


_UPTIME = "started "


def boot_name(wall_ns: int, elapsed_ns: int) -> str:
    """Name this run of the machine: by the system's own id, else by when it must have started."""
    return boot_id() or f"{_UPTIME}{(wall_ns - elapsed_ns) // SECOND_NS}"


def same_boot(left: str, right: str) -> bool:
    """Whether two names mean the same run of the machine.

    Start times are compared loosely; a clock step or a suspend may make one run look like two,
    which costs a little waiting and nothing else.
    """
    if left.startswith(_UPTIME) and right.startswith(_UPTIME):
        starts = left.removeprefix(_UPTIME), right.removeprefix(_UPTIME)
        return abs(int(starts[0]) - int(starts[1])) <= 60
    return left == right
