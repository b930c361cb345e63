"""The kernel lock: who holds it, who inherits it (nobody), and what may stand in its way."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from krakked._errors import ForkedProcessError, LockTimeoutError
from krakked._files.locks import KernelLock, locked, try_locked
from krakked._files.owner import OwnerProcess

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


class Child:
    """A forked child that answers one question and then lives until it is ended."""

    def __init__(self, answer) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.write(writer, repr(answer()).encode())
            finally:
                signal.pause()
                os._exit(0)
        os.close(writer)
        self._reader = reader

    def answer(self) -> str:
        return os.read(self._reader, 1000).decode()

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._reader)


@pytest.fixture
def forked():
    children = []

    def make(answer=lambda: "up") -> Child:
        children.append(Child(answer))
        return children[-1]

    yield make
    for child in children:
        child.end()


def descriptors(path: Path) -> list[str]:
    return [fd.name for fd in Path("/proc/self/fd").iterdir() if fd.resolve() == path]


def test_one_holder_at_a_time_even_in_one_process(tmp_path) -> None:
    path = tmp_path / "a" / "b" / "x.lock"
    lock, other = KernelLock(path), KernelLock(path)
    assert lock.try_acquire()
    assert not lock.try_acquire()
    assert not other.try_acquire()
    assert other.holder_pid() == os.getpid()
    lock.release()
    lock.release()
    assert other.try_acquire()
    other.release()


@fork
def test_a_living_child_neither_keeps_nor_frees_its_parents_lock(tmp_path, forked) -> None:
    """Fork while the lock is held: it stays with the parent, and goes when the parent says."""
    path = (tmp_path / "x.lock").resolve()
    lock = KernelLock(path)
    assert lock.try_acquire()

    def in_child() -> object:
        lock.release()  # without effect: it is not the child's
        return descriptors(path) if sys.platform == "linux" else []

    child = forked(in_child)
    assert child.answer() == "[]"
    with try_locked(path) as free:
        assert not free
    lock.release()
    with try_locked(path) as free:
        assert free


@fork
def test_a_killed_parents_lock_is_free_though_its_child_lives(tmp_path) -> None:
    path = tmp_path / "x.lock"
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        lock = KernelLock(path)
        assert lock.try_acquire()
        if os.fork() == 0:
            os.write(writer, b"%d" % os.getpid())
        signal.pause()
        os._exit(0)
    child = int(os.read(reader, 100))
    try:
        with try_locked(path) as free:
            assert not free
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        with try_locked(path) as free:
            assert free
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(reader)
        os.close(writer)


def test_a_wait_is_bounded_and_names_the_holder(tmp_path) -> None:
    path = tmp_path / "x.lock"
    with (
        locked(path, timeout_s=1, what="The thing"),
        pytest.raises(LockTimeoutError, match=f"The thing .* process {os.getpid()}") as caught,
        locked(path, timeout_s=0.01, what="The thing"),
    ):
        pass
    assert (caught.value.path, caught.value.holder_pid) == (str(path), os.getpid())


def test_what_is_no_file_of_ours_is_refused_at_once(tmp_path) -> None:
    target = tmp_path / "target"
    target.write_text("keep")
    link = tmp_path / "link.lock"
    link.symlink_to(target)
    fifo = tmp_path / "fifo.lock"
    os.mkfifo(fifo)
    directory = tmp_path / "directory.lock"
    directory.mkdir()
    for path in (link, fifo, directory):
        with pytest.raises(OSError, match=r"not a regular file|Too many levels|Is a directory"):
            KernelLock(path).try_acquire()
        assert KernelLock(path).holder_pid() is None
    assert target.read_text() == "keep"


def test_a_lock_file_that_was_removed_or_swapped_is_not_the_lock(tmp_path, monkeypatch) -> None:
    path = tmp_path / "x.lock"
    real = os.fstat

    def removed_meanwhile(fd: int) -> os.stat_result:
        path.unlink(missing_ok=True)
        path.touch()
        return real(fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", removed_meanwhile)
        assert not KernelLock(path).try_acquire()
    assert KernelLock(path).try_acquire()


def test_no_descriptor_stays_behind(tmp_path, monkeypatch) -> None:
    path = tmp_path / "x.lock"
    before = set(Path("/dev/fd").iterdir())
    for _ in range(20):
        with try_locked(path) as free:
            assert free
            with try_locked(path) as again:
                assert not again
    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(37, "no locks")))
        with pytest.raises(OSError, match="no locks"):
            KernelLock(path).try_acquire()
    assert len(set(Path("/dev/fd").iterdir())) == len(before)


@fork
def test_what_one_process_opened_is_refused_in_its_child(forked) -> None:
    owner = OwnerProcess("The REST client")
    owner.check()

    def in_child() -> str:
        try:
            owner.check()
        except ForkedProcessError as error:
            return f"{error} {error.owner_pid}"
        return "used"

    answer = forked(in_child).answer()
    assert f"opened by process {os.getpid()}" in answer
    assert "spawn" in answer
