"""The candle store under kills, failing calls, power cuts, races, bit flips and a full disk.

Each part prints one line with its figures; exit status 1 when one of them fails.

1. kill -9 at random moments of a process that appends, journals and folds: every acknowledged bar
   is there once, no file is unreadable, coverage claims nothing that is not there, no temp stays,
   and the root says whose bars they are. Every tenth kill meets the very first write of a root.
2. `strace` refuses (EIO, ENOSPC) or kills at every file call of one append, one journal write and
   the first write of a root: the state is the old or the new one, the error is typed, nothing is
   left behind.
3. Power cuts (EXT4_IOC_SHUTDOWN on a loop-mounted ext4, two flags, two mount options).
4. Two processes race with 2 x 1,000 appends to one series.
5. 10,000 reads through `get_bars` while another process replaces the partition.
6. 400 single-bit flips in Parquet files.
7. A full disk (tmpfs of one mebibyte).

Parts that need root, strace or loop devices are skipped with a printed reason where those are
missing. Run by `make torture`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import mmap
import os
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from krakked._errors import StoreCorruptError, StoreError, StoreExchangeError, StoreFullError
from krakked._market.bars import OHLCBar
from krakked._market.store.ohlc_store import OHLCStore

START = 1_793_491_200  # 2026-11-01 00:00 UTC
BY_REST, LIVE_ONE, LIVE_TWO = "XBTUSD", "ETHUSD", "SOLUSD"
OURS, OTHERS = "sandbox-7", "kraken"
DONE, TYPED, UNTYPED = 0, 3, 4
MARK = "/krakked-torture-begins"
CALLS = {
    *("openat", "read", "write", "pread64", "fsync", "rename", "flock", "ftruncate", "mkdir"),
    *("fstat", "newfstatat", "lseek", "getdents64", "unlink", "link", "close"),
}
_ACK = struct.Struct("<qii")
SHUTDOWN_IOCTL = 0x8004587D  # EXT4_IOC_SHUTDOWN (linux/fs/ext4/ext4.h)


def bar_at(index: int) -> OHLCBar:
    """The only right bar of a minute; digits that do not compress away."""
    noise = index * 2_654_435_761 % (1 << 32)
    price, volume = 80_000 + noise % 99_991 / 10, noise / 1e8
    return OHLCBar(
        START + 60 * index,
        price,
        price + 1.5,
        price - 2.5,
        price + 0.1,
        price,
        volume,
        1 + noise % 7,
    )


def bars_to(end: int) -> list[OHLCBar]:
    return [bar_at(index) for index in range(end)]


def forked(work: Callable[[], int]) -> int:
    """Run `work` in a child that never comes back into this program; give its pid."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = UNTYPED
    try:
        status = work()
    except StoreError:
        status = TYPED
    except BaseException:  # whatever it is, it is a finding
        traceback.print_exc()
    finally:
        os._exit(status)


def acknowledge(pipe: int, kind: int, end: int) -> None:
    """Tell the parent that a call has returned, and when."""
    os.write(pipe, _ACK.pack(time.monotonic_ns(), kind, end))


def let_run(read: int, chance: random.Random, longest_s: float) -> None:
    """Wait some time: mostly from the first acknowledgement on, else from the very start."""
    if chance.random() < 0.8:
        select.select([read], [], [], 5)
    time.sleep(chance.uniform(0, longest_s))


def drained(read: int) -> list[tuple[int, int, int]]:
    """Read what was acknowledged: (time in ns, kind, bars so far)."""
    data = b""
    while chunk := os.read(read, 65536):
        data += chunk
    os.close(read)
    whole = len(data) // _ACK.size * _ACK.size
    return list(_ACK.iter_unpack(data[:whole]))


# --- 1: kills ------------------------------------------------------------------------------------

REST, JOURNAL = 0, 1


def worker(root: Path, pipe: int, seed: int, rest: int, live: int) -> int:
    """Append, journal and fold for ever; each promise is written to the pipe after it was given."""
    chance = random.Random(seed)
    store = OHLCStore(root, exchange=OURS)
    while True:
        draw = chance.random()
        if draw < 0.5:
            end = rest + chance.choice((1, 1, 30))
            back = max(rest - chance.choice((0, 5)), 0)
            store.append_bars(
                BY_REST,
                "1m",
                [bar_at(index) for index in range(back, end)],
                covered=(START + 60 * back, START + 60 * end),
            )
            rest = end
            acknowledge(pipe, REST, rest)
        elif draw < 0.95:
            store.append_provisional("1m", [(LIVE_ONE, bar_at(live)), (LIVE_TWO, bar_at(live))])
            live += 1
            acknowledge(pipe, JOURNAL, live)
        else:
            store.fold_journal()


def check_state(root: Path, promised: dict[int, int]) -> tuple[list[str], int, int]:
    """Hold a store against what was promised; give problems, and how many bars there are."""
    store = OHLCStore(root, exchange=OURS)
    problems = [f"{f.path}: {f.problem}" for f in store.verify()]
    rest = live = 0
    try:
        kept = store.get_bars(BY_REST, "1m")
        rest = len(kept)
        if kept != bars_to(rest) or rest < promised[REST]:
            problems.append(f"{promised[REST]} REST bars were promised, {rest} are there")
        if any(c.end_s > START + 60 * rest for c in store.coverage(BY_REST, "1m")):
            problems.append("coverage claims more than is stored")
        for pair in (LIVE_ONE, LIVE_TWO):
            kept = store.get_bars(pair, "1m", provisional=True)
            live = len(kept)
            if kept != bars_to(live) or live < promised[JOURNAL]:
                problems.append(f"{promised[JOURNAL]} live bars were promised, {live} are there")
    except StoreError as error:
        problems.append(f"unreadable: {error}")
    left = list((root / ".krakked" / "tmp").glob("*"))
    if left:
        problems.append(f"temps left: {left}")
    if rest or live:
        # A root that holds bars without saying whose they are would be taken for Kraken's.
        try:
            OHLCStore(root, exchange=OTHERS)
        except StoreExchangeError as error:
            if error.stored != OURS:
                problems.append(f"the root says it is of {error.stored}")
        else:
            problems.append("the root does not say whose bars it holds")
    return problems, rest, live


def kills(count: int, seed: int) -> tuple[str, list[str]]:
    chance = random.Random(seed)
    problems: list[str] = []
    promises = bars = 0
    with tempfile.TemporaryDirectory() as top:
        state = {REST: 0, JOURNAL: 0}
        for number in range(count):
            first = number % 10 == 9
            root = Path(top) / (f"first-{number}" if first else str(number // 50))
            if number % 50 == 0:
                state = {REST: 0, JOURNAL: 0}
            kept, state = state, {REST: 0, JOURNAL: 0} if first else state
            read, write = os.pipe()
            args = (root, write, seed + number, state[REST], state[JOURNAL])
            child = forked(lambda args=args: worker(*args))
            os.close(write)
            if first:
                time.sleep(chance.uniform(0, 0.02))
            else:
                let_run(read, chance, 0.03)
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                problems.append(f"kill {number}: the worker ended by itself")
            acknowledged = drained(read)
            promises += len(acknowledged)
            for _, kind, end in acknowledged:
                state[kind] = max(state[kind], end)
            found, rest, live = check_state(root, state)
            problems += [f"kill {number}: {problem}" for problem in found]
            state = kept if first else {REST: rest, JOURNAL: live}
            bars = max(bars, rest, live)
    lost = f"{count} kill -9, {promises} acknowledged writes, series of up to {bars} bars"
    return f"{lost}: {len(problems)} lost, doubled or unreadable", problems


# --- 2: every call refused or killed -------------------------------------------------------------


def one_change(root: Path, go: mmap.mmap, journal: bool, first: bool) -> int:
    while not go[0]:
        time.sleep(0.001)
    os.access(MARK, os.F_OK)
    store = OHLCStore(root, exchange=OURS)
    if journal:
        at = 0 if first else 20
        store.append_provisional("1m", [(LIVE_ONE, bar_at(at)), (LIVE_TWO, bar_at(at))])
    else:
        start, end = (0, 10) if first else (15, 25)
        store.append_bars(
            BY_REST,
            "1m",
            [bar_at(index) for index in range(start, end)],
            covered=(START + 60 * start, START + 60 * end),
        )
    return DONE


def traced(root: Path, inject: str | None, journal: bool, first: bool) -> tuple[str, int]:
    """Fork a child that makes one change, with strace attached; give the log and the exit code."""
    go = mmap.mmap(-1, 1)  # shared with the child: waiting on it makes no call that is counted
    child = forked(lambda: one_change(root, go, journal, first))
    log = root.parent / "strace.log"
    command = ["strace", "-f", "-s", "16", "-o", str(log), "-p", str(child)]
    if inject:
        command += ["-e", f"inject={inject}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        if "attached" not in line:
            raise RuntimeError(f"strace could not attach: {line}")
        go[0] = 1
        tracer.stderr.read()
    _, status = os.waitpid(child, 0)
    return log.read_text(errors="replace"), os.waitstatus_to_exitcode(status)


def calls_of(log: str) -> list[tuple[str, int]]:
    """Give the file calls after the mark, numbered as strace's `when` numbers them."""
    counts: Counter[str] = Counter()
    calls: list[tuple[str, int]] = []
    begun = False
    for line in log.splitlines():
        found = re.match(r"\d+\s+(\w+)\(", line)
        if not found:
            continue
        counts[found[1]] += 1
        if begun and found[1] in CALLS:
            calls.append((found[1], counts[found[1]]))
        begun = begun or MARK in line
    return calls


@contextlib.contextmanager
def seeded_store(*, first: bool) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as top:
        root = Path(top) / "store"
        if first:
            yield root
            return
        store = OHLCStore(root, exchange=OURS)
        store.append_bars(BY_REST, "1m", bars_to(20), covered=(START, START + 1200))
        for index in range(20):
            store.append_provisional("1m", [(LIVE_ONE, bar_at(index)), (LIVE_TWO, bar_at(index))])
        yield root


def inject_everywhere() -> tuple[str, list[str]]:
    if not shutil.which("strace"):
        return "skipped: needs strace", []
    problems: list[str] = []
    runs = points = 0
    for first, journal in itertools.product((False, True), repeat=2):
        kept = 0 if first else 20
        done = (kept, kept + 1) if journal else (10 if first else 25, kept)
        with seeded_store(first=first) as root:
            log, status = traced(root, None, journal, first)
            calls = calls_of(log)
        if status != DONE or not calls:
            return "the change fails without any fault", [log[-2000:]]
        points += len(calls)
        for name, ordinal in calls:
            faults = ["signal=KILL"]
            if name != "close":  # what close reports comes too late to be of use
                faults += ["error=EIO", "error=ENOSPC"]
            for fault in faults:
                runs += 1
                with seeded_store(first=first) as root:
                    log, status = traced(root, f"{name}:{fault}:when={ordinal}", journal, first)
                    found, rest, live = check_state(root, {REST: kept, JOURNAL: kept})
                    if status == DONE and (rest, live) != done:
                        found.append(f"acknowledged, but {rest} and {live} bars are there")
                    if status == UNTYPED:
                        found.append("an error that is not ours")
                    problems += [f"{name} {ordinal} {fault}: {problem}" for problem in found]
    return f"{runs} faults at {points} calls: {len(problems)} problems", problems


# --- 3: power cuts -------------------------------------------------------------------------------


def why_no_cuts() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("mkfs.ext4", "mount", "umount"):
        if not shutil.which(tool):
            return f"needs {tool}"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices"
    return None


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def one_cut(
    mounted: Path, state: dict[int, int], seed: int, flag: int
) -> tuple[dict[int, int], int, list[tuple[int, int]]]:
    """Let a child write, cut the power after a while.

    A machine without power acknowledges nothing, but the ioctl lets an fsync that is under way
    return success without its data: what is acknowledged after the cut has begun is no promise.

    Returns:
        What was promised, how many acknowledgements before the cut, and those after.
    """
    read, write = os.pipe()
    root = mounted / "store"
    child = forked(lambda: worker(root, write, seed, state[REST], state[JOURNAL]))
    os.close(write)
    let_run(read, random.Random(seed), 0.06)
    descriptor = os.open(mounted, os.O_RDONLY)
    cut_at = time.monotonic_ns()
    fcntl.ioctl(descriptor, SHUTDOWN_IOCTL, struct.pack("<I", flag))
    os.close(descriptor)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != TYPED:
        raise RuntimeError("the writing process met something other than our error")
    acknowledged = drained(read)
    promised = dict(state)
    before = [ack for ack in acknowledged if ack[0] <= cut_at]
    for _, kind, end in before:
        promised[kind] = max(promised[kind], end)
    return promised, len(before), [ack[1:] for ack in acknowledged[len(before) :]]


def power_cuts(cuts: int, seed: int) -> tuple[str, list[str]]:
    reason = why_no_cuts()
    if reason:
        return f"skipped: {reason}", []
    problems: list[str] = []
    promises = doubtful = gone = 0
    state = {REST: 0, JOURNAL: 0}
    with tempfile.TemporaryDirectory() as top:
        image, mounted = Path(top) / "disk.img", Path(top) / "mnt"
        mounted.mkdir()
        for cut in range(cuts):
            if cut % 100 == 0:
                with image.open("wb") as file:
                    file.truncate(64 << 20)
                run("mkfs.ext4", "-q", "-F", str(image))
                state = {REST: 0, JOURNAL: 0}
            options = "loop,noauto_da_alloc" if cut % 2 else "loop"
            flag = 2 if cut // 2 % 2 else 1  # 2 drops the unflushed journal, 1 flushes it
            try:
                run("mount", "-o", options, str(image), str(mounted))
            except subprocess.CalledProcessError as error:
                return f"skipped: loop mounts are refused here ({error.stderr!r})", []
            try:
                state, made, late = one_cut(mounted, state, seed + cut, flag)
                promises += made
                doubtful += len(late)
            finally:
                run("umount", str(mounted))
            run("mount", "-o", options, str(image), str(mounted))
            try:
                found, rest, live = check_state(mounted / "store", state)
            finally:
                run("umount", str(mounted))
            state = {REST: rest, JOURNAL: live}
            gone += sum(end > state[kind] for kind, end in late)
            problems += [f"cut {cut} ({options}, flag {flag}): {problem}" for problem in found]
    line = f"{cuts} cuts, {promises} writes acknowledged before them: {len(problems)} problems"
    return f"{line}; {doubtful} acknowledged while cutting, {gone} of those gone", problems


# --- 4: a race -----------------------------------------------------------------------------------


def race(appends: int) -> tuple[str, list[str]]:
    def racer(root: Path, parity: int) -> int:
        store = OHLCStore(root, lock_timeout_s=120)
        for index in range(parity, 2 * appends, 2):
            store.append_bars(BY_REST, "1m", [bar_at(index)])
        return DONE

    with tempfile.TemporaryDirectory() as top:
        root = Path(top) / "store"
        children = [forked(lambda parity=parity: racer(root, parity)) for parity in (0, 1)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        kept = OHLCStore(root).get_bars(BY_REST, "1m")
        sound = codes == [DONE, DONE] and kept == bars_to(2 * appends)
        findings = OHLCStore(root).verify()
    line = f"two writers, 2 x {appends} appends: {len(kept)} bars kept"
    return line, [] if sound and not findings else [f"race: {codes}, {len(kept)} kept, {findings}"]


# --- 5: readers beside a writer ------------------------------------------------------------------


def reads(count: int) -> tuple[str, list[str]]:
    start = 9000

    def writer(root: Path) -> int:
        store = OHLCStore(root)
        index = start
        while True:
            store.append_bars(BY_REST, "1m", [bar_at(index)])
            index += 1

    problems: list[str] = []
    seen: set[int] = set()
    with tempfile.TemporaryDirectory() as top:
        root = Path(top) / "store"
        OHLCStore(root).append_bars(BY_REST, "1m", bars_to(start))
        child = forked(lambda: writer(root))
        store = OHLCStore(root)
        try:
            for number in range(count):
                try:
                    kept = store.get_bars(BY_REST, "1m", lookback=600 if number % 10 else 20_000)
                except StoreError as error:
                    problems.append(f"read {number}: {error}")
                    continue
                end = (kept[-1].time - START) // 60 + 1
                seen.add(end)
                if kept != [bar_at(index) for index in range(end - len(kept), end)]:
                    problems.append(f"read {number}: wrong rows")
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"{count} reads, {len(seen)} states seen: {len(problems)} errors", problems


# --- 6: bit flips --------------------------------------------------------------------------------


def bit_flips(count: int, seed: int) -> tuple[str, list[str]]:
    chance = random.Random(seed)
    noticed = wrong = 0
    with tempfile.TemporaryDirectory() as top:
        root = Path(top) / "store"
        store = OHLCStore(root)
        right = bars_to(20_000)
        store.append_bars(BY_REST, "1m", right[:15_000])
        store.append_bars(BY_REST, "1m", right[15_000:])
        path = next((root / "bars").rglob("*.parquet"))
        sound = path.read_bytes()
        for _ in range(count):
            place = chance.randrange(len(sound) * 8)
            data = bytearray(sound)
            data[place // 8] ^= 1 << place % 8
            path.write_bytes(data)
            noticed += bool(store.verify())
            with contextlib.suppress(StoreCorruptError):
                wrong += store.get_bars(BY_REST, "1m") != right
    line = f"{noticed} of {count} single-bit flips noticed by verify; {wrong} reads silently wrong"
    return line, [] if noticed == count and not wrong else [line]


# --- 7: a full disk ------------------------------------------------------------------------------


def full_disk() -> tuple[str, list[str]]:
    if os.geteuid() != 0:
        return "skipped: needs root for a small tmpfs", []
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as top:
        try:
            run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", top)
        except (OSError, subprocess.CalledProcessError):
            return "skipped: tmpfs cannot be mounted here", []
        try:
            root = Path(top) / "store"
            store = OHLCStore(root)
            kept = 0
            refused = None
            try:
                for kept in range(0, 200_000, 1000):
                    store.append_bars(BY_REST, "1m", [bar_at(kept + i) for i in range(1000)])
            except StoreError as error:
                refused = error
            if not isinstance(refused, StoreFullError):
                problems.append(f"full disk: {refused!r}")
            if list((root / ".krakked" / "tmp").glob("*")):
                problems.append("full disk: a temp is left")
            if store.get_bars(BY_REST, "1m") != bars_to(kept) or store.verify():
                problems.append("full disk: old data is damaged")
        finally:
            run("umount", top)
    line = f"{type(refused).__name__} after {kept} bars, all of them readable, no temp left"
    return line, problems


# -------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--appends", type=int, default=1000)
    parser.add_argument("--reads", type=int, default=10_000)
    parser.add_argument("--flips", type=int, default=400)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--only", default="", help="part of a title")
    chosen = parser.parse_args()
    parts: list[tuple[str, Callable[[], tuple[str, list[str]]]]] = [
        ("kills", lambda: kills(chosen.kills, chosen.seed)),
        ("faults at every call", inject_everywhere),
        ("power cuts", lambda: power_cuts(chosen.cuts, chosen.seed)),
        ("race", lambda: race(chosen.appends)),
        ("reads beside a writer", lambda: reads(chosen.reads)),
        ("bit flips", lambda: bit_flips(chosen.flips, chosen.seed)),
        ("full disk", full_disk),
    ]
    problems: list[str] = []
    for title, part in parts:
        if chosen.only not in title:
            continue
        begun = time.monotonic()
        line, found = part()
        print(f"{title}: {line} ({time.monotonic() - begun:.1f} s)", flush=True)
        problems += found
    for problem in problems[:50]:
        print(f"PROBLEM {problem}")
    print(f"store torture: {'FAILED' if problems else 'passed'}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
