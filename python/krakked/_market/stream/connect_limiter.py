"""Who may connect now: the connect budget, and one probe after a loss."""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

import trio

from krakked._market.stream.backoff import ConnectBudget
from krakked._market.stream.connect_record import SharedBudget
from krakked._network.clock import Clock

_real_budgets: Final[dict[str, ConnectBudget]] = {}
_virtual_budgets: Final[WeakKeyDictionary[Clock, dict[str, ConnectBudget]]] = WeakKeyDictionary()


def budget_for(clock: Clock, host: str) -> ConnectBudget:
    """Return the one budget that this process has for an exchange's address.

    The ban it keeps us from is by address of ours and host of theirs, so feeds share it; simulated
    time has a budget of its own.
    """
    budgets = _virtual_budgets.setdefault(clock, {}) if clock.virtual else _real_budgets
    return budgets.setdefault(host, ConnectBudget())


class ConnectLimiter:
    """Lets connections through: one at a time while none is known to work.

    Args:
        clock: Elapsed time for the budget.
        budget: Shared by every feed of the process.
        shared: Shared by the processes of the machine; None = this one is alone.
    """

    def __init__(
        self, clock: Clock, budget: ConnectBudget, shared: SharedBudget | None = None
    ) -> None:
        self._clock = clock
        self._budget = budget
        self._shared = shared
        self._up: set[object] = set()
        self._prober: object | None = None
        self._changed = trio.Event()

    def waits_s(self) -> float | None:
        """Return the seconds until the budget allows an attempt; None when it does now."""
        now_s = self._now_s()
        shared_s = self._shared.free_s - now_s if self._shared is not None else 0.0
        wait_s = max(self._budget.wait_s(now_s), shared_s)
        return wait_s if wait_s > 0.0 else None

    async def enter(self, line: object) -> None:
        """Wait until this connection may be tried; the attempt is then counted."""
        while not self._up and self._prober not in {None, line}:
            await self._changed.wait()
        if not self._up:
            self._prober = line
        while True:
            wait_s = self._budget.wait_s(self._now_s())
            if wait_s <= 0.0:
                break
            await trio.sleep(wait_s)
        self._budget.spend(self._now_s())
        if self._shared is not None:
            await self._shared.spend()

    def up(self, line: object) -> None:
        """Note that the exchange greeted this connection: the others may follow."""
        self._up.add(line)
        self._hand_over(line)

    def down(self, line: object) -> None:
        """Note that this connection is lost."""
        self._up.discard(line)

    def leave(self, line: object) -> None:
        """Note that this connection will not be tried again."""
        self._up.discard(line)
        self._hand_over(line)

    def attempts(self) -> int:
        """Return the attempts in the window that ends now."""
        return self._budget.spent(self._now_s())

    def _hand_over(self, line: object) -> None:
        if self._prober is line:
            self._prober = None
        self._changed.set()
        self._changed = trio.Event()

    def _now_s(self) -> float:
        return self._clock.elapsed_ns() / 1e9
