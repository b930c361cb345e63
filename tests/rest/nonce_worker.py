"""Child of test_nonces.py: takes nonces through the gate and appends them to a common file.

Arguments: state file, log file, wall clock offset in seconds, how many to take.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import trio

from krakked._rest.limits import CounterRule
from krakked._rest.private_limiter import PrivateLimiter
from krakked._rest.waits import WaitBoard


class InlineClock:
    """Real time with a step; file work inline, because these children do nothing else."""

    virtual = True

    def __init__(self, offset_s: float) -> None:
        self.offset_ns = int(offset_s * 1e9)

    def wall_ns(self) -> int:
        return time.time_ns() + self.offset_ns

    def elapsed_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


async def take(state: Path, log: int, offset_s: float, count: int) -> None:
    rule = CounterRule(max_micro=10**12, decay_micro_per_s=10**12)
    gate = PrivateLimiter(state, "tag", InlineClock(offset_s), rule, WaitBoard())
    for _ in range(count):
        async with gate.passage("Balance") as passage:
            # still under the lock: the order in this file is the order of arrival
            os.write(log, passage.ticket.nonce.to_bytes(8, "big"))
            passage.answered(None, accepted=True)


if __name__ == "__main__":
    descriptor = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    trio.run(take, Path(sys.argv[1]), descriptor, float(sys.argv[3]), int(sys.argv[4]))
