"""The vault under kills, failing calls and power cuts: the old or the new one, never neither.

Three parts, each printing its figures; exit status 1 when one of them fails.

1. `strace` records one save over an existing vault and shows the calls in their order.
2. The same save again for every file system call in it, once killed at that call, once for each
   error, once with a short write. Afterwards the vault opens as the old or the new one, the error
   was one of ours, and no temporary file is left.
3. Power cuts (EXT4_IOC_SHUTDOWN on a loop-mounted ext4) at random moments of a saving process:
   every acknowledged save is still there. Needs root and loop devices, else skipped with a reason.

Run by `make torture`; installs strace with apt only where it is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import mmap
import os
import random
import re
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
from dataclasses import dataclass
from pathlib import Path

from krakked._config.settings import KrakkedConfig
from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Outcome, Validation
from krakked._credentials.passwords import MasterPassword
from krakked._credentials.saving import save_credentials
from krakked._credentials.sources import open_vault
from krakked._credentials.vault import DerivationCost
from krakked._credentials.vault_file import VaultFile
from krakked._errors import KrakkedError, VaultError

PASSWORD = "correct horse battery staple"
KEY, SECRET = "K" * 56, "S" * 88
OLD, NEW = 1, 2
TYPED, UNTYPED, DONE = 3, 4, 0
MARK = "/krakked-torture-begins"
FILE_CALLS = {
    *("openat", "read", "write", "pwrite64", "fsync", "rename", "fchmod", "newfstatat", "fstat"),
    *("lstat", "stat", "mkdir", "unlink", "close", "flock", "lseek", "getdents64"),
}
ERRORS = ("EIO", "ENOSPC", "EACCES", "EMFILE")
SHUTDOWN_IOCTL = 0x8004587D  # EXT4_IOC_SHUTDOWN (linux/fs/ext4/ext4.h)


def cheap(password: MasterPassword, salt: bytes, cost: DerivationCost) -> bytearray:
    """Stand in for Argon2id, which has no part in what is tested here."""
    text = bytes(password.reveal()) + repr(cost).encode()
    return bytearray(hashlib.blake2b(text, key=salt, digest_size=32).digest())


def save(directory: Path, generation: int, *, backup: bool = False) -> None:
    """Save one generation; its number stands as the time of validation."""
    candidate = Candidate(KEY, SECRET)
    outcome = Outcome.SERVICE_PROBLEM if backup else Outcome.VALID
    stamp = None if backup else generation
    save_credentials(
        candidate,
        PASSWORD,
        validation=Validation(outcome=outcome, tag=candidate.tag, validated_at_s=stamp),
        allow_unvalidated=backup,
        config=KrakkedConfig(config_dir=str(directory)),
        derive=cheap,
    )


def generation(directory: Path) -> int | None:
    """Open the vault and give the generation it holds; None for the one saved with a backup."""
    return open_vault(VaultFile(directory), PASSWORD, derive=cheap).validated_at_s


def left_over(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.endswith(".tmp")]


# --- parts 1 and 2: strace -----------------------------------------------------------------------


@dataclass
class Call:
    """One recorded system call and its ordinal among those of its name."""

    name: str
    ordinal: int
    text: str


@dataclass
class Run:
    """What one traced save did."""

    calls: list[Call]
    status: int
    injected: bool


def traced_save(directory: Path, inject: str | None, *, backup: bool) -> Run:
    """Save in a child with strace attached from before its first own call."""
    return traced(lambda: save_once(directory, backup=backup), directory.parent, inject)


def save_once(directory: Path, *, backup: bool) -> int:
    save(directory, NEW, backup=backup)
    return DONE


def traced(work: Callable[[], int], scratch: Path, inject: str | None) -> Run:
    """Fork a child that works, with strace attached from before its first own call."""
    go = mmap.mmap(-1, 1)  # shared with the child: waiting on it makes no call that is counted

    def wait_and_work() -> int:
        while not go[0]:
            time.sleep(0.001)
        os.access(MARK, os.F_OK)
        return work()

    child = forked(wait_and_work)
    log = scratch / "strace.log"
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
    text = log.read_text(encoding="utf-8", errors="replace")
    code = os.waitstatus_to_exitcode(status)
    return Run(calls=parse_calls(text), status=code, injected="(INJECTED)" in text or code < 0)


def forked(work: Callable[[], int]) -> int:
    """Run `work` in a child that never comes back into this program; give its pid."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = UNTYPED
    try:
        status = work()
    except KrakkedError:
        status = TYPED
    except BaseException:  # whatever it is, it is a finding
        traceback.print_exc()
    finally:
        os._exit(status)


def parse_calls(text: str) -> list[Call]:
    """Give the calls after the mark, each counted from the attach on, as strace's `when` does."""
    counts: Counter[str] = Counter()
    calls: list[Call] = []
    begun = False
    for line in text.splitlines():
        found = re.match(r"\d+\s+(\w+)\((.*)", line)
        if not found:
            continue
        name = found[1]
        counts[name] += 1
        if begun and name in FILE_CALLS:
            calls.append(Call(name=name, ordinal=counts[name], text=found[0]))
        begun = begun or MARK in line
    return calls


@contextlib.contextmanager
def fresh_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as top:
        directory = Path(top) / "kraken_bot"
        save(directory, OLD)
        yield directory


def check_order(calls: list[Call]) -> list[str]:
    """Find the durable replacement's calls in their order; give what is missing."""
    wanted = [
        ("temporary file", r"openat\(.*\.secrets\.enc\.[0-9a-f]{16}\.tmp\".*O_CREAT"),
        ("exact mode", r"fchmod\(\d+, 0600\)"),
        ("content", r"write\(\d+, \"KRAKVLT1"),
        ("file to disk", r"fsync\("),
        ("rename", r"rename\(.*\.tmp\", \".*secrets\.enc\"\)"),
        ("directory", r"openat\(.*kraken_bot\".*O_DIRECTORY"),
        ("directory to disk", r"fsync\("),
    ]
    missing, position = [], 0
    for what, pattern in wanted:
        for at in range(position, len(calls)):
            if re.search(pattern, calls[at].text):
                print(f"    {what:18} {calls[at].text[:140]}")
                position = at + 1
                break
        else:
            missing.append(what)
    for call in calls:
        if ".secrets.enc." in call.text and call.name == "openat":
            if not all(flag in call.text for flag in ("O_EXCL", "O_NOFOLLOW", "0600")):
                missing.append(f"flags in {call.text}")
        elif re.search(r"openat\(.*secrets\.enc\"", call.text) and "O_NOFOLLOW" not in call.text:
            missing.append(f"O_NOFOLLOW in {call.text}")
    return missing


def injections(call: Call) -> list[tuple[str, str]]:
    """Give every (kind, strace rule) for one call."""
    rules = [("kill", f"{call.name}:signal=SIGKILL:when={call.ordinal}")]
    rules += [(error, f"{call.name}:error={error}:when={call.ordinal}") for error in ERRORS]
    if call.name == "write":
        rules.append(("short write", f"write:retval=100:when={call.ordinal}"))
    return rules


def verify(directory: Path, run: Run, *, backup: bool) -> str | None:
    """Say what is wrong after an injected fault, or None."""
    if run.status == UNTYPED:
        return "an exception that is not ours"
    if run.status not in {DONE, TYPED, -signal.SIGKILL}:
        return f"exit status {run.status}"
    if run.status != -signal.SIGKILL and left_over(directory):
        return f"left {left_over(directory)}"
    try:
        found = generation(directory)
    except VaultError as error:
        return f"neither old nor new: {error!r}"
    if found not in ({OLD, None} if backup else {OLD, NEW}):
        return f"generation {found}"
    if run.status == DONE and found == OLD:
        return "acknowledged, yet the old vault"
    if left_over(directory):
        return "a temporary file after the next start"
    return None


def inject_everywhere(*, backup: bool) -> tuple[int, list[str]]:
    with fresh_directory() as directory:
        baseline = traced_save(directory, None, backup=backup)
        if baseline.status != DONE:
            return 0, [f"the plain save ended with {baseline.status}"]
        print(f"  {'with' if backup else 'without'} backup: {len(baseline.calls)} file calls")
        if not backup:
            missing = check_order(baseline.calls)
            if missing:
                return 0, [f"not seen: {missing}"]
    problems: list[str] = []
    outcomes: Counter[str] = Counter()
    runs = 0
    for call in baseline.calls:
        for kind, rule in injections(call):
            with fresh_directory() as directory:
                run = traced_save(directory, rule, backup=backup)
                runs += 1
                if not run.injected:
                    problems.append(f"{kind} at {call.text[:90]}: nothing was injected")
                    continue
                problem = verify(directory, run, backup=backup)
                if problem:
                    problems.append(f"{kind} at {call.text[:90]}: {problem}")
                outcomes[{DONE: "saved", TYPED: "typed error"}.get(run.status, "killed")] += 1
    print(f"  {runs} faults: {dict(outcomes)}, {len(problems)} problems")
    return runs, problems


# --- part 3: power cuts --------------------------------------------------------------------------


def saver(directory: Path, acknowledge: int) -> int:
    """Save generation after generation; write each number once it is promised."""
    number = generation(directory) or 0
    while True:
        number += 1
        save(directory, number)
        os.write(acknowledge, struct.pack("<q", number))


def one_cut(mounted: Path, delay_s: float, flag: int) -> tuple[int, int]:
    """Let a child save, cut the power after a while; give (last promised, promises made)."""
    directory = mounted / "kraken_bot"
    start = generation(directory)
    assert start is not None
    read, write = os.pipe()
    child = forked(lambda: saver(directory, write))
    os.close(write)
    time.sleep(delay_s)
    cut_power(mounted, flag)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != TYPED:
        raise RuntimeError("the saving process met something other than our error")
    data = b""
    while chunk := os.read(read, 65536):
        data += chunk
    os.close(read)
    numbers = [number for (number,) in struct.iter_unpack("<q", data)]
    return (numbers[-1] if numbers else start), len(numbers)


def power_cuts(cuts: int, seed: int) -> tuple[str, list[str]]:
    reason = why_no_cuts()
    if reason:
        return f"skipped: {reason}", []
    chance = random.Random(seed)
    problems: list[str] = []
    promises = 0
    with small_disk() as (image, mounted):
        for cut in range(cuts):
            options = "loop,noauto_da_alloc" if cut % 2 else "loop"
            flag = 2 if cut // 2 % 2 else 1  # 2 drops the unflushed journal, 1 flushes it
            run("mount", "-o", options, str(image), str(mounted))
            try:
                if cut == 0:
                    save(mounted / "kraken_bot", 1)
                    os.sync()
                promised, made = one_cut(mounted, chance.uniform(0, 0.04), flag)
                promises += made
            finally:
                run("umount", str(mounted))
            run("mount", "-o", options, str(image), str(mounted))
            try:
                problem = after_cut(mounted / "kraken_bot", promised)
            finally:
                run("umount", str(mounted))
            if problem:
                problems.append(f"cut {cut} ({options}, flag {flag}): {problem}")
    return f"{cuts} cuts, {promises} promised saves, {len(problems)} problems", problems


@contextlib.contextmanager
def small_disk() -> Iterator[tuple[Path, Path]]:
    """Make an ext4 file system in a file, and a place to mount it."""
    with tempfile.TemporaryDirectory() as top:
        image, mounted = Path(top) / "disk.img", Path(top) / "mnt"
        mounted.mkdir()
        with image.open("wb") as file:
            file.truncate(32 << 20)
        run("mkfs.ext4", "-q", "-F", str(image))
        yield image, mounted


def cut_power(mounted: Path, flag: int) -> None:
    """Let the file system forget what it was not forced to keep."""
    descriptor = os.open(mounted, os.O_RDONLY)
    fcntl.ioctl(descriptor, SHUTDOWN_IOCTL, struct.pack("<I", flag))
    os.close(descriptor)


def after_cut(directory: Path, promised: int) -> str | None:
    try:
        found = generation(directory)
    except VaultError as error:
        return f"neither old nor new: {error!r}"
    if found not in {promised, promised + 1}:
        return f"generation {promised} was promised, {found} is there"
    return f"left {left_over(directory)}" if left_over(directory) else None


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


# -------------------------------------------------------------------------------------------------


def ensure_strace() -> str | None:
    """Install strace where it is missing; give why that did not work."""
    if shutil.which("strace"):
        return None
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return "strace is missing; install it (apt-get install strace)"
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "strace"]):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            return f"{' '.join(command)} failed: {done.stderr[-300:]}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    problems: list[str] = []
    parts: list[tuple[str, Callable[[], tuple[object, list[str]]]]] = [
        ("faults at every call of a save", lambda: inject_everywhere(backup=False)),
        ("faults at every call of a save with backup", lambda: inject_everywhere(backup=True)),
        ("power cuts", lambda: power_cuts(arguments.cuts, arguments.seed)),
    ]
    missing = ensure_strace()
    if missing:
        print(f"FAILED: {missing}")
        return 1
    for title, part in parts:
        begun = time.monotonic()
        print(f"{title} ...", flush=True)
        figures, found = part()
        print(f"  {title}: {figures} in {time.monotonic() - begun:.1f} s", flush=True)
        problems += found
    for problem in problems:
        print(f"PROBLEM {problem}")
    print(f"vault torture: {'FAILED' if problems else 'passed'}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
