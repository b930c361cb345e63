"""The locked record: kills, power cuts, damage, waiting, other processes."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys

import msgspec
import pytest
import trio

from krakked._errors import ConfigError, LockTimeoutError
from krakked._files import locks
from krakked._files.shared_record import RecordFile
from krakked._network.clock import SystemClock
from krakked._rest.record_times import same_boot
from krakked._rest.shared_state import SharedState, StateChange

HOLDER = """
import sys, time
from pathlib import Path
from krakked._files.shared_record import RecordFile
file = RecordFile(Path(sys.argv[1]))
assert file.try_lock()
print("locked", flush=True)
time.sleep(60)
"""


class Count(msgspec.Struct, frozen=True):
    n: int = 0


def add(record: Count | None) -> StateChange[Count, int]:
    n = (record.n if record else 0) + 1
    return StateChange(n, Count(n))


def forced(record: Count | None) -> StateChange[Count, int]:
    change = add(record)
    change.durable = True
    return change


@pytest.fixture
def file(tmp_path):
    return RecordFile(tmp_path / "state" / "x.state")


def put(file: RecordFile, payload: bytes, *, durable: bool = False) -> None:
    assert file.try_lock()
    file.read()
    file.write(payload, durable=durable)
    file.unlock()


def get(file: RecordFile) -> bytes | None:
    assert file.try_lock()
    try:
        return file.read()
    finally:
        file.unlock()


def test_records_come_back_and_files_are_private(file) -> None:
    assert get(file) is None
    for n in range(20):
        put(file, b"%d" % n, durable=n % 3 == 0)
        assert get(RecordFile(file._path)) == b"%d" % n
    assert stat.S_IMODE(file._path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file._path.parent.stat().st_mode) == 0o700


def test_the_lock_excludes_and_names_its_holder(file) -> None:
    other = RecordFile(file._path)
    assert file.try_lock()
    assert not other.try_lock()
    assert other.holder_pid() == os.getpid()
    file.unlock()
    assert other.try_lock()
    other.unlock()


def test_a_write_cut_anywhere_leaves_the_record_before(file) -> None:
    """A kill inside a write: the old record must count, at every length of the cut."""
    put(file, b"old" * 50, durable=True)
    put(file, b"before" * 40)
    data = file._path.read_bytes()
    put(file, b"after" * 45)
    written = file._path.read_bytes()
    changed = [i for i in range(len(written)) if data[i : i + 1] != written[i : i + 1]]
    first, last = changed[0], changed[-1]
    padded = data.ljust(len(written), b"\0")
    for cut in range(first, last):
        with file._path.open("r+b") as raw:
            raw.write(padded[:first] + written[first:cut] + padded[cut:])
        found = get(file)
        assert found in (b"before" * 40, b"after" * 45)
        if cut < last - 8:
            assert found == b"before" * 40


def test_ordinary_writes_never_touch_the_newest_forced_record(file) -> None:
    put(file, b"forced-1", durable=True)
    put(file, b"forced-2", durable=True)
    for n in range(50):
        put(file, b"plain-%d" % n)
        raw = file._path.read_bytes()
        assert b"forced-2" in raw
    put(RecordFile(file._path), b"forced-3", durable=True)
    raw = file._path.read_bytes()
    assert b"forced-2" in raw  # the one before stays whole while the new one is written
    assert get(file) == b"forced-3"


def test_any_flipped_bit_falls_back_or_is_harmless(file) -> None:
    put(file, b"one", durable=True)
    put(file, b"two")
    put(file, b"three")
    good = file._path.read_bytes()
    with file._path.open("r+b", buffering=0) as raw:
        for start in (4096, 4096 + (1 << 16), 4096 + (2 << 16)):
            for bit in range(30 * 8):
                at = start + bit // 8
                raw.seek(at)
                raw.write(bytes([good[at] ^ 1 << bit % 8]))
                assert get(file) in (b"one", b"two", b"three")
                raw.seek(at)
                raw.write(good[at : at + 1])
    file._path.write_bytes(b"")
    assert get(file) is None


def test_links_are_refused(tmp_path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "x.state").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        RecordFile(tmp_path / "x.state").try_lock()
    (tmp_path / "d.state").mkdir()
    with pytest.raises(OSError, match="directory"):
        RecordFile(tmp_path / "d.state").try_lock()
    assert victim.read_bytes() == b"precious"


def test_a_deleted_file_is_noticed(file) -> None:
    put(file, b"x")
    holder = RecordFile(file._path)
    assert holder.try_lock()
    file._path.unlink()
    assert get(file) is None  # a new file; the old lock is of no consequence
    holder.unlock()
    put(file, b"new")
    assert get(RecordFile(file._path)) == b"new"


def test_a_file_deleted_while_its_lock_is_taken_is_noticed(file, monkeypatch) -> None:
    """Between opening a file and locking it another process may remove it and make a new one."""
    put(file, b"x")
    locked, steps = locks._lock, []

    def swap_then_lock(fd: int) -> bool:
        if not steps:
            file._path.unlink()
            steps.append("removed")
        return locked(fd)

    monkeypatch.setattr(locks, "_lock", swap_then_lock)
    other = RecordFile(file._path)
    assert not file.try_lock()  # that lock excludes nobody
    assert other.try_lock()
    assert not file.try_lock()
    other.write(b"theirs", durable=False)
    other.unlock()
    assert get(file) == b"theirs"


def test_start_times_are_compared_loosely() -> None:
    assert same_boot("started 1000", "started 1010")
    assert not same_boot("started 1000", "started 2000")
    assert not same_boot("started 1000", "a-b-c")
    assert same_boot("a-b-c", "a-b-c")


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of x.state."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "x.state")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        yield child
        child.kill()


async def test_a_killed_holder_frees_the_lock(tmp_path, holder) -> None:
    path = tmp_path / "x.state"
    state: SharedState[Count] = SharedState(path, Count, SystemClock())
    with pytest.raises(LockTimeoutError) as caught:
        await state.update(add, timeout_s=0.05)
    assert caught.value.holder_pid == holder.pid
    async with trio.open_nursery() as nursery:
        done: list[int] = []

        async def wait() -> None:
            done.append(await state.update(add, timeout_s=30))  # alive, the holder sleeps for 60

        nursery.start_soon(wait)
        await trio.sleep(0.1)
        assert not done
        holder.send_signal(signal.SIGKILL)
    assert done == [1]


async def test_a_cancelled_waiter_never_holds_the_lock(tmp_path) -> None:
    path = tmp_path / "x.state"
    state: SharedState[Count] = SharedState(path, Count, SystemClock())
    other = RecordFile(path)
    for round_ in range(60):
        assert other.try_lock()
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(trio.sleep, 0)
                with trio.move_on_after(0.0005 * (round_ % 20)):
                    await state.update(add, timeout_s=30)
                scope.cancel()
        other.unlock()
        assert other.try_lock()
        other.unlock()
    # and cancelled at any moment around success
    for round_ in range(200):
        with trio.move_on_after(0.00005 * (round_ % 20)):
            await state.update(lambda _: StateChange(1, Count(1), keep=True), timeout_s=30)
            await state.finish(add)
        assert other.try_lock()
        other.unlock()


async def test_tasks_take_turns(tmp_path) -> None:
    state: SharedState[Count] = SharedState(tmp_path / "x.state", Count, SystemClock())
    answers: list[int] = []

    async def one() -> None:
        answers.append(await state.update(add, timeout_s=30))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one)
    assert sorted(answers) == list(range(1, 51))


def failing(code: int):
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("call", ["os.open", "os.write", "os.fsync", "fcntl.flock"])
@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.ENOLCK])
async def test_where_no_state_can_be_kept_it_goes_on_in_memory_and_says_so_once(
    tmp_path, monkeypatch, caplog, call, code
) -> None:
    """Public data must not stop because a directory is read-only or a disk is full."""
    state: SharedState[Count] = SharedState(tmp_path / "x.state", Count, SystemClock())
    other: SharedState[Count] = SharedState(tmp_path / "y.state", Count, SystemClock())
    for expected in (1, 2):
        assert await state.update(add, timeout_s=1) == expected
    with monkeypatch.context() as patch:
        patch.setattr(call, failing(code))
        assert await state.update(forced, timeout_s=1) == 3
        assert await other.update(forced, timeout_s=1) == 1
    assert not state.shared
    assert await state.update(add, timeout_s=1) == 4
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == 1
    assert str(tmp_path) in told[0]
    assert "KRAKKED_STATE_DIR" in told[0]


async def test_a_failing_disk_is_a_clear_error(tmp_path, monkeypatch) -> None:
    state: SharedState[Count] = SharedState(tmp_path / "x.state", Count, SystemClock())
    await state.update(add, timeout_s=1)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", failing(errno.EIO))
        with pytest.raises(ConfigError, match="Input/output error") as caught:
            await state.update(lambda _: StateChange(0, Count(9), durable=True), timeout_s=1)
        assert caught.value.path == str(tmp_path / "x.state")
    assert await state.update(add, timeout_s=1) > 1  # unlocked, and going on
