"""Kernel locks between threads and processes: they die with their holder, unlike a pid file.

A lock is taken by polling without blocking, with jitter and a deadline. A blocked `flock` cannot be
called off: it would take the lock later and keep it.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from krakked.errors import LockTimeoutError
from krakked.market.store.durable import make_directories, typed_errors

if sys.platform == "win32":
    import msvcrt

    def _try(fd: int) -> bool:
        # A byte far behind the pid, so that the pid stays readable while the lock is held.
        os.lseek(fd, 1024, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        make_directories(path.parent)
        return os.open(path, flags, 0o644)


def _holder(fd: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        os.lseek(fd, 0, os.SEEK_SET)
        return int(os.read(fd, 32))
    return None


@contextlib.contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Take the lock if it is free, without waiting; says whether it was."""
    with typed_errors(path):
        fd = _open(path)
    try:
        taken = _tried(fd, path)
        if taken:
            _note_pid(fd)
        yield taken
    finally:
        os.close(fd)  # closing releases


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float, what: str) -> Iterator[None]:
    """Hold the lock of a file; another thread, process or store object waits.

    Args:
        path: Lock file, made when missing and never removed.
        timeout_s: How long to wait, in seconds.
        what: What the lock guards, for the error.

    Raises:
        LockTimeoutError: Still taken at the deadline; names the holder's pid.
    """
    with typed_errors(path):
        fd = _open(path)
    try:
        deadline = time.monotonic() + timeout_s
        pause_s = 0.0002
        while not _tried(fd, path):
            if time.monotonic() >= deadline:
                pid = _holder(fd)
                raise LockTimeoutError(
                    f"{what} is being written by process {pid or 'unknown'}; "
                    f"waited {timeout_s:g} s. Nothing was changed.",
                    path=str(path),
                    holder_pid=pid,
                )
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            pause_s = min(pause_s * 1.5, 0.02)
        _note_pid(fd)
        yield
    finally:
        os.close(fd)  # closing releases


def _tried(fd: int, path: Path) -> bool:
    with typed_errors(path):
        return _try(fd)


def _note_pid(fd: int) -> None:
    # Only a help for whoever waits: no fsync, and a failure (a full disk) is no reason to refuse.
    with contextlib.suppress(OSError):
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"%-16d" % os.getpid())
