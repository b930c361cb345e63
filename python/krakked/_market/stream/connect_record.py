"""The connect budget that the processes of a machine share.

Kraken's front bans an address of ours that connects too often, whichever process it was: three
programs that each keep to the budget could pass it together. Where the record cannot be used, each
keeps to the budget for itself.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, Self

import msgspec
import trio

from krakked._errors import ConfigError, LockTimeoutError
from krakked._files.shared_record import boot_id
from krakked._market.stream.backoff import BUDGET_ATTEMPTS, BUDGET_WINDOW_S, MARGIN_S
from krakked._network.clock import Clock
from krakked._rest.record_times import Stamp, boot_name, passed_ns, same_clock
from krakked._rest.shared_state import SharedState, StateChange

_SECOND_NS: Final = 1_000_000_000
_WINDOW_NS: Final = int((BUDGET_WINDOW_S + MARGIN_S) * _SECOND_NS)
_LOCK_S: Final = 5.0
_TELL_AFTER_S: Final = 2.0

_log = logging.getLogger("krakked.stream")


class ConnectRecord(Stamp, frozen=True, kw_only=True):
    """What processes share about connecting to one host."""

    attempts_ns: tuple[int, ...] = ()
    """Elapsed times of the attempts in the window, oldest first."""


def wait_ns(record: ConnectRecord) -> int:
    """Return how long the next attempt has to wait; 0 = it may go. Pure.

    Example: sixty attempts, the oldest 590 s ago: it leaves the window of 600 s in 10 s.
    """
    if len(record.attempts_ns) < BUDGET_ATTEMPTS:
        return 0
    return max(0, record.attempts_ns[-BUDGET_ATTEMPTS] + _WINDOW_NS - record.at_ns)


def brought_to(record: ConnectRecord, now: ConnectRecord, waited_ns: int) -> ConnectRecord:
    """Carry the attempts over to this moment, also from another clock; old ones fall out. Pure."""
    shift_ns = 0
    if not same_clock(record, now):
        shift_ns = now.at_ns - passed_ns(record, now, waited_ns) - record.at_ns
    attempts = tuple(
        at_ns
        for at_ns in (min(at_ns + shift_ns, now.at_ns) for at_ns in record.attempts_ns)
        if at_ns > now.at_ns - _WINDOW_NS
    )
    return msgspec.structs.replace(now, attempts_ns=attempts)


class SharedBudget:
    """At most sixty attempts in any ten minutes, over all processes that use the record.

    Args:
        path: The state file.
        clock: Whose times count.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._state: SharedState[ConnectRecord] = SharedState(path, ConnectRecord, clock)
        self._clock = clock
        self._boot = boot_name(boot_id(), clock.wall_ns(), clock.elapsed_ns())
        self.free_s: float = 0.0
        """Elapsed seconds before which no attempt may be made, as last looked up."""

    @classmethod
    def of_host(cls, state_dir: Path, host: str, clock: Clock) -> Self:
        """Return the budget for one host, as ``ws.kraken.com`` or ``127.0.0.1:4711``."""
        plain = "".join(char if char.isalnum() or char in "-." else "_" for char in host)
        return cls(state_dir / f"stream-{plain}.state", clock)

    async def spend(self) -> None:
        """Wait until one more attempt may be made, and count it."""
        begun_ns = self._clock.elapsed_ns()
        told = False

        def take(record: ConnectRecord | None) -> StateChange[ConnectRecord, int]:
            now = ConnectRecord(
                boot=self._boot, at_ns=self._clock.elapsed_ns(), at_wall_ns=self._clock.wall_ns()
            )
            current = now if record is None else brought_to(record, now, now.at_ns - begun_ns)
            left_ns = wait_ns(current)
            if left_ns <= 0:
                attempts = (*current.attempts_ns, now.at_ns)
                current = msgspec.structs.replace(current, attempts_ns=attempts)
            return StateChange(left_ns, current)

        while True:
            try:
                left_s = await self._state.update(take, timeout_s=_LOCK_S) / _SECOND_NS
            except (ConfigError, LockTimeoutError) as error:
                _log.warning("The connect budget is not shared with other processes: %s", error)
                return
            if left_s <= 0:
                return
            if left_s > _TELL_AFTER_S and not told:
                told = True
                _log.info(
                    "connecting waits %.0f s: the programs of this machine have connected %d times "
                    "in ten minutes, and Kraken bans an address that goes on",
                    left_s,
                    BUDGET_ATTEMPTS,
                )
            self.free_s = self._clock.elapsed_ns() / 1e9 + left_s
            await trio.sleep(left_s)
