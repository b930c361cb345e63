"""The state files under kills, failing calls and power cuts: no nonce is ever given twice.

Two parts, each printing its figures; exit status 1 when one of them fails.

1. A child takes nonces through the real gate. Once for every file system call in that, it is killed
   there, and once for each error. Afterwards another process, whose clock was set back by an hour,
   must get a larger nonce than any that was given; the child went on (in memory where there can be
   no file) or ended in one of our errors.
2. Power cuts (EXT4_IOC_SHUTDOWN on a loop-mounted ext4) at random moments of such a child: the next
   nonce is larger than any that was given. Needs root and loop devices, else skipped with a reason.

Run by `make torture`; installs strace with apt only where it is missing.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import random
import re
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import trio
from vault_torture import (
    DONE,
    TYPED,
    Call,
    cut_power,
    ensure_strace,
    forked,
    run,
    small_disk,
    traced,
    why_no_cuts,
)

from krakked._rest import private_limiter
from krakked._rest.limits import CounterRule
from krakked._rest.private_limiter import PrivateLimiter
from krakked._rest.waits import WaitBoard

HOUR_NS = 3600 * 10**9
ERRORS = ("EIO", "ENOSPC", "EACCES", "EMFILE", "EROFS", "ENOLCK")
IN_MEMORY = {"ENOSPC", "EACCES", "EROFS", "ENOLCK"}
"""Where these come there can be no file: the child goes on alone, and was told so."""
ROUNDS = 3


class SetClock:
    """A clock with an offset; file work runs inline, so that every call is the child's own."""

    virtual = True

    def __init__(self, offset_ns: int = 0) -> None:
        self._offset_ns = offset_ns

    def wall_ns(self) -> int:
        return time.time_ns() + self._offset_ns

    def elapsed_ns(self) -> int:
        return time.monotonic_ns()


async def take(state: Path, offset_ns: int, given: int | None, rounds: int | None) -> list[int]:
    """Take nonces and write each, once it is given, to a descriptor."""
    gate = PrivateLimiter(state, "tag", SetClock(offset_ns), CounterRule(), WaitBoard())
    nonces = []
    for _ in itertools.count() if rounds is None else range(rounds):
        async with gate.passage("AddOrder") as passage:
            nonces.append(passage.ticket.nonce)
            if given is not None:
                os.write(given, struct.pack("<q", passage.ticket.nonce))
            passage.answered(None, accepted=True)
    return nonces


def take_in_child(state: Path, given: int, rounds: int | None) -> int:
    trio.run(take, state, 0, given, rounds)
    return DONE


def next_elsewhere(state: Path, *, boot: str = "") -> int:
    """Give the nonce that the next process gets, whose clock was set back."""
    real = private_limiter.boot_id
    if boot:
        private_limiter.boot_id = lambda: boot
    try:
        return trio.run(take, state, -HOUR_NS, None, 1)[0]
    finally:
        private_limiter.boot_id = real


def drained(reader: int) -> list[int]:
    data = b""
    while chunk := os.read(reader, 65536):
        data += chunk
    os.close(reader)
    return [number for (number,) in struct.iter_unpack("<q", data[: len(data) // 8 * 8])]


def injections(call: Call) -> list[tuple[str, str]]:
    rules = [("kill", f"{call.name}:signal=SIGKILL:when={call.ordinal}")]
    rules += [(error, f"{call.name}:error={error}:when={call.ordinal}") for error in ERRORS]
    return rules


def on_state_files(calls: list[Call]) -> list[Call]:
    """Pick the calls that concern the state file or its directory, by name or by descriptor."""
    ours: list[Call] = []
    descriptors: set[str] = set()
    for call in calls:
        opened = re.search(r"/state[/\"].* = (\d+)$", call.text)
        first = re.search(r"\w+\((\d+)", call.text)
        if opened or "/state" in call.text:
            ours.append(call)
        elif first and first[1] in descriptors:
            ours.append(call)
            if call.name == "close":
                descriptors.discard(first[1])
        if opened and call.name == "openat":
            descriptors.add(opened[1])
    return ours


def one_fault(rule: str | None, kind: str) -> tuple[list[Call], str, str | None]:
    """Run the child with one fault; give its calls, how it ended, and what is wrong."""
    with tempfile.TemporaryDirectory() as top:
        state = Path(top) / "state" / "key-x.state"
        before = trio.run(take, state, 0, None, 2)
        reader, writer = os.pipe()
        traced_run = traced(lambda: take_in_child(state, writer, ROUNDS), Path(top), rule)
        os.close(writer)
        given = before + drained(reader)
        if rule is not None and not traced_run.injected:
            return [], "", "nothing was injected"
        ends = {DONE: "went on", TYPED: "typed error", -signal.SIGKILL: "killed"}
        end = ends.get(traced_run.status)
        if end is None:
            return [], "", f"ended with {traced_run.status}"
        if given != sorted(set(given)):
            return [], end, "the child gave a nonce twice"
        if kind not in IN_MEMORY and (after := next_elsewhere(state)) <= max(given):
            return [], end, f"{after} was given after {max(given)}"
        return traced_run.calls, end, None


def faults_everywhere() -> tuple[str, list[str]]:
    calls, _, problem = one_fault(None, "none")
    if problem:
        return "", [problem]
    ours = on_state_files(calls)
    problems: list[str] = []
    ends: Counter[str] = Counter()
    for call in ours:
        for kind, rule in injections(call):
            _, end, problem = one_fault(rule, kind)
            ends[end] += 1
            if problem:
                problems.append(f"{kind} at {call.text[:90]}: {problem}")
    return f"{sum(ends.values())} faults at {len(ours)} calls: {dict(ends)}", problems


def power_cuts(cuts: int, seed: int) -> tuple[str, list[str]]:
    reason = why_no_cuts()
    if reason:
        return f"skipped: {reason}", []
    chance = random.Random(seed)
    problems: list[str] = []
    highest = promises = 0
    with small_disk() as (image, mounted):
        state = mounted / "state" / "key-x.state"
        for cut in range(cuts):
            options = "loop,noauto_da_alloc" if cut % 2 else "loop"
            run("mount", "-o", options, str(image), str(mounted))
            try:
                reader, writer = os.pipe()
                child = forked(lambda out=writer: take_in_child(state, out, None))
                os.close(writer)
                time.sleep(chance.uniform(0.15, 0.35))
                cut_power(mounted, 2 if cut // 2 % 2 else 1)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                given = drained(reader)
            finally:
                run("umount", str(mounted))
            run("mount", "-o", options, str(image), str(mounted))
            try:
                highest, promises = max([highest, *given]), promises + len(given)
                after = next_elsewhere(state, boot=f"boot {cut}")
            finally:
                run("umount", str(mounted))
            if after <= highest:
                problems.append(f"cut {cut}: {after} was given after {highest}")
            highest = max(highest, after)
    return f"{cuts} cuts, {promises} nonces given", problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    logging.getLogger("krakked").setLevel(logging.CRITICAL)
    missing = ensure_strace()
    if missing:
        print(f"FAILED: {missing}")
        return 1
    parts: list[tuple[str, Callable[[], tuple[str, list[str]]]]] = [
        ("faults at every file call of taking nonces", faults_everywhere),
        ("power cuts", lambda: power_cuts(arguments.cuts, arguments.seed)),
    ]
    problems: list[str] = []
    for title, part in parts:
        begun = time.monotonic()
        figures, found = part()
        print(f"{title}: {figures}, {len(found)} problems in {time.monotonic() - begun:.1f} s")
        problems += found
    for problem in problems:
        print(f"PROBLEM {problem}")
    print(f"state torture: {'FAILED' if problems else 'passed'}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
