"""Kernel locks between threads and processes: they die with their holder, unlike a pid file.

A lock is taken by polling without blocking, with jitter and a deadline: a blocked `flock` cannot be
called off, it would take the lock later and keep it.

A kernel lock belongs to the open file, which a forked child shares. So the owner unlocks explicitly
before it closes (closing alone would leave the lock with the child), and the child closes its
copies without unlocking (else it would take the lock from its parent, or keep it when the parent
is killed). Example: a parent holds the lock and forks; the child's copies are closed at once; the
parent unlocks, and the next process gets the lock though the child lives on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
import struct
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

from krakked._errors import LockTimeoutError
from krakked._files.durable import make_directories

_HOLDER_BYTES: Final = 64
_WAITER_AT: Final = 128
_WAITER: Final = struct.Struct("<QQ")
"""Behind the holder's pid: unix time in nanoseconds and pid of whoever asked in vain last."""
WANTED_S: Final = 0.25
"""How long such a note counts; whoever waits asks again sooner."""
_LOCKED_BYTE: Final = 1 << 30
"""Windows locks bytes, and forbids all others to read them: one that nobody reads."""
_FLAGS: Final = (
    os.O_RDWR
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a planted FIFO must not hang the open
)

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> bool:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


@final
class KernelLock:
    """The lock of one file. One instance is used by one task or thread at a time.

    Args:
        path: The file; made when missing, never removed.
        private: Make the file for its owner alone (0600, its directory 0700).
    """

    def __init__(self, path: Path, *, private: bool = False) -> None:
        self.path = path
        self._mode = 0o600 if private else 0o644
        self._directory_mode = 0o700 if private else 0o777
        self._fd = -1

    @property
    def fd(self) -> int:
        """Descriptor of the locked file; -1 while the lock is not held."""
        return self._fd

    def try_acquire(self) -> bool:
        """Take the lock if it is free; never waits.

        The file is opened anew each time: a lock held by another thread of this process then
        counts as held, too.

        Raises:
            OSError: The file cannot be opened or locked, or is no regular file.
        """
        if self._fd >= 0:
            return False
        fd = self._open()
        _held[fd] = self
        self._fd = fd
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(self.path))
            free = _lock(fd)
            if free and not self._still_there(fd):
                _unlock(fd)
                free = False
        except BaseException:
            self._close()
            raise
        if not free:
            _note(fd, _WAITER_AT, _WAITER.pack(time.time_ns(), os.getpid()))
            self._close()
            return False
        _note(fd, 0, f"{os.getpid()}\n".encode().ljust(_HOLDER_BYTES))
        return True

    def wanted(self) -> bool:
        """Whether another process has asked for the lock in vain just now; only while it is held.

        A holder that takes the lock again at once would starve those who poll for it; this tells
        it to let them have a turn.
        """
        try:
            os.lseek(self._fd, _WAITER_AT, os.SEEK_SET)
            note: tuple[int, int] = _WAITER.unpack(os.read(self._fd, _WAITER.size))
        except (OSError, struct.error):
            return False
        at_ns, pid = note
        return pid != os.getpid() and 0 <= time.time_ns() - at_ns < WANTED_S * 1e9

    def release(self) -> None:
        """Give the lock back; harmless when it is not held, or in a forked child."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):  # closing releases as well, unless a child has a copy
            _unlock(self._fd)
        self._close()

    def holder_pid(self) -> int | None:
        """Return the process that took the lock last, where known."""
        try:
            fd = os.open(self.path, os.O_RDONLY | (_FLAGS & ~(os.O_RDWR | os.O_CREAT)))
        except OSError:
            return None
        try:
            text = os.read(fd, _HOLDER_BYTES).split(b"\n", 1)[0].strip()
        except OSError:
            return None
        finally:
            os.close(fd)
        return int(text) if text.isdigit() else None

    def _open(self) -> int:
        try:
            return self._open_there()
        except FileNotFoundError:
            make_directories(self.path.parent, mode=self._directory_mode)
            return self._open_there()

    def _open_there(self) -> int:
        # A umask such as 0777 makes a file that its owner, unless root, could never open again.
        missing = not self.path.exists() and hasattr(os, "fchmod")
        fd = os.open(self.path, _FLAGS, self._mode)
        mode = os.fstat(fd).st_mode
        if missing and mode & 0o600 != 0o600:
            with contextlib.suppress(OSError):  # another user made it just now: that is his affair
                os.fchmod(fd, stat.S_IMODE(mode) | 0o600)
        return fd

    def _still_there(self, fd: int) -> bool:
        """Whether the path still leads to the file we locked (it may have been deleted)."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(fd))
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        _held.pop(fd, None)
        with contextlib.suppress(OSError):  # nothing that matters was written through it
            os.close(fd)


_held: Final[weakref.WeakValueDictionary[int, KernelLock]] = weakref.WeakValueDictionary()
"""The locks of this process, by descriptor."""


def _close_in_child() -> None:
    for fd, lock in list(_held.items()):
        lock._fd = -1
        with contextlib.suppress(OSError):
            os.close(fd)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _note(fd: int, at: int, note: bytes) -> None:
    # Only a help for others: no fsync, and a failure (a full disk) is no reason to refuse.
    with contextlib.suppress(OSError):
        os.lseek(fd, at, os.SEEK_SET)
        os.write(fd, note)


@contextlib.contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Take the lock if it is free, without waiting; says whether it was.

    Raises:
        OSError: See `KernelLock.try_acquire`.
    """
    lock = KernelLock(path)
    free = lock.try_acquire()
    try:
        yield free
    finally:
        lock.release()


@contextlib.contextmanager
def locked(
    path: Path, *, timeout_s: float, what: str, private: bool = False
) -> Iterator[KernelLock]:
    """Hold the lock of a file; another thread, process or object waits. Blocks the thread.

    Args:
        path: Lock file, made when missing and never removed.
        timeout_s: How long to wait, in seconds.
        what: What the lock guards, for the error.
        private: See `KernelLock`.

    Raises:
        LockTimeoutError: Still taken at the deadline; names the holder's pid.
        OSError: See `KernelLock.try_acquire`.
    """
    lock = KernelLock(path, private=private)
    deadline = time.monotonic() + timeout_s
    pause_s = 0.0002
    while not lock.try_acquire():
        if time.monotonic() >= deadline:
            pid = lock.holder_pid()
            raise LockTimeoutError(
                f"{what} is being written by process {pid or 'unknown'}; "
                f"waited {timeout_s:g} s. Nothing was changed.",
                path=str(path),
                holder_pid=pid,
            )
        time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
        pause_s = min(pause_s * 1.5, 0.02)
    try:
        yield lock
    finally:
        lock.release()
