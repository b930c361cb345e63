"""A typed record shared between the processes of a machine, for trio programs.

The lock is taken by polling without blocking, with jitter and a deadline: a cancelled waiter never
holds it (a thread blocked in flock would take the lock later and keep it for ever). A dead holder's
lock is free at once, because the kernel drops it with the process.
"""

from __future__ import annotations

import errno
import logging
import random
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import trio

from krakked._errors import ConfigError, LockTimeoutError
from krakked._files.shared_record import MemoryRecord, RecordFile
from krakked._network.clock import Clock, run_blocking
from krakked._unreadable import UNREADABLE

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")

_POLL_FIRST_S = 0.002
_POLL_LAST_S = 0.05
_YIELD_S = 2 * 1.5 * _POLL_LAST_S
"""How long a process leaves the lock to another that asked for it: twice the widest poll."""
_SLICE_S = 0.2
"""How long a process may take the lock again and again before it leaves it to others."""
_TELL_AFTER_S = 2.0

_NO_FILE = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENOLCK,
        errno.ENOTSUP,
        errno.ENOSYS,
    }
)
"""What says that there can be no state file here; anything else may pass, and is an error."""

_log = logging.getLogger("krakked.rest")
_waits = logging.getLogger("krakked.rest.waits")
_told: set[Path] = set()
"""Directories without a state file that were warned about."""


class StateChange(msgspec.Struct, Generic[R, T]):
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
    same task. Where no file can be written the record goes on in memory, with one warning: limits
    and nonces are then those of this process alone.

    Args:
        path: State file, or None to keep the record in this object only.
        kind: Struct type of the record; an unreadable record counts as absent.
        clock: Decides whether file work runs on a thread.
        seed: For the jitter; None in production.
    """

    def __init__(
        self, path: Path | None, kind: type[R], clock: Clock, *, seed: int | None = None
    ) -> None:
        self._store: MemoryRecord | RecordFile = (
            MemoryRecord() if path is None else RecordFile(path)
        )
        self._file = path
        self._payload: bytes | None = None
        self._yield_until = -inf
        self._wanted = False
        self._wanted_since = inf
        self._decoder = msgspec.json.Decoder(kind)
        self._clock = clock
        self._random = random.Random(seed)  # noqa: S311 -- jitter only
        self._session = trio.Lock()

    @property
    def path(self) -> str:
        """Where the record is, for messages."""
        return self._store.path

    @property
    def shared(self) -> bool:
        """Whether other processes see the record; known after the first look at it."""
        return isinstance(self._store, RecordFile)

    async def update(
        self,
        decide: Callable[[R | None], StateChange[R, T]],
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
        tell_at = trio.current_time() + _TELL_AFTER_S
        poll_s = _POLL_FIRST_S
        told = False
        if self._yield_until > trio.current_time():
            await trio.sleep_until(self._yield_until)
        while True:
            change = await self._enter(decide)
            if change is not None:
                return change.answer
            if trio.current_time() >= deadline:
                pid = self._store.holder_pid()
                raise LockTimeoutError(
                    f"Another process (pid {pid or 'unknown'}) has held {self.path} for "
                    f"{timeout_s:.0f} s. Let it go on or end it, then try again.",
                    path=self.path,
                    holder_pid=pid,
                )
            if on_wait is not None and not told:
                on_wait()
                told = True
            if trio.current_time() >= tell_at:
                tell_at = inf
                _log.info(
                    "waiting for process %s, which holds %s", self._store.holder_pid(), self.path
                )
            await trio.sleep(poll_s * self._random.uniform(0.5, 1.5))
            poll_s = min(poll_s * 1.5, _POLL_LAST_S)

    async def _enter(
        self, decide: Callable[[R | None], StateChange[R, T]]
    ) -> StateChange[R, T] | None:
        await self._session.acquire()
        kept = False
        try:
            if not self.shared:
                change = self._attempt(decide)
            else:
                change = await run_blocking(self._clock, self._attempt, decide)
            kept = change is not None and change.keep
            return change
        finally:
            if not kept:
                self._session.release()

    async def finish(self, decide: Callable[[R | None], StateChange[R, T]]) -> T:
        """Change the record once more under the kept lock, then give the lock back.

        Runs to its end even when the caller is cancelled.
        """
        try:
            with trio.CancelScope(shield=True):
                if not self.shared:
                    answer = self._conclude(decide)
                else:
                    answer = await run_blocking(self._clock, self._conclude, decide)
            return answer
        finally:
            self._let_others_in()
            self._session.release()

    def _let_others_in(self) -> None:
        """After a while of taking the lock again and again, leave it to who waits for it."""
        now = trio.current_time()
        if not self._wanted:
            self._wanted_since = inf
            return
        self._wanted_since = min(self._wanted_since, now)
        if now - self._wanted_since >= _SLICE_S:
            self._wanted_since = inf
            self._yield_until = now + _YIELD_S

    def _attempt(self, decide: Callable[[R | None], StateChange[R, T]]) -> StateChange[R, T] | None:
        try:
            return self._attempt_once(decide)
        except OSError as error:
            self._go_on_in_memory(error)
            return self._attempt_once(decide)

    def _attempt_once(
        self, decide: Callable[[R | None], StateChange[R, T]]
    ) -> StateChange[R, T] | None:
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

    def _conclude(self, decide: Callable[[R | None], StateChange[R, T]]) -> T:
        store = self._store
        try:
            self._wanted = store.wanted()
            return self._apply(decide).answer
        except OSError as error:
            self._go_on_in_memory(error)
            return self._apply(decide).answer
        finally:
            store.unlock()

    def _go_on_in_memory(self, error: OSError) -> None:
        """Where there can be no file, keep the record here from its last known state on."""
        if self._file is None or error.errno not in _NO_FILE:
            raise ConfigError(
                f"The state file {self.path} cannot be used "
                f"({error.strerror or type(error).__name__}). Remove it, or name another directory "
                "in KRAKKED_STATE_DIR.",
                path=self.path,
            ) from error
        self._store = MemoryRecord(self._payload)
        directory = self._file.parent
        if directory not in _told:
            _told.add(directory)
            _log.warning(
                "No state can be kept in %s (%s): nonces and limits are those of this process "
                "alone. Use this key in no other process, or name a writable directory in "
                "KRAKKED_STATE_DIR.",
                directory,
                error.strerror or type(error).__name__,
            )

    def _apply(self, decide: Callable[[R | None], StateChange[R, T]]) -> StateChange[R, T]:
        payload = self._payload = self._store.read()
        record: R | None = None
        if payload is not None:
            try:
                record = self._decoder.decode(payload)
            except UNREADABLE:
                record = None  # written by another version: begin anew
        change = decide(record)
        if change.record is not None:
            payload = msgspec.json.encode(change.record)
            self._store.write(payload, durable=change.durable)
            self._payload = payload
        return change
