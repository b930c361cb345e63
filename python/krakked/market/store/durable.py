"""The store's edge to the disk: durable replacement and locks, with the store's own errors."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from krakked._files import durable, locks
from krakked._files.durable import make_directories
from krakked.errors import StoreError, StoreFullError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_counter = itertools.count()


@contextlib.contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Turn `OSError` into the store's own errors, once, at the edge."""
    try:
        yield
    except OSError as error:
        raise store_error(error, path) from error


def store_error(error: OSError, path: Path) -> StoreError:
    """Give the typed error for what the operating system refused."""
    if error.errno in _FULL:
        return StoreFullError(
            f"The disk of {path} is full. Free some space and try again; "
            "everything stored before is intact.",
            path=str(path),
        )
    if isinstance(error, durable.NotForcedError):
        return StoreError(
            f"{error.strerror}: {path} is in place but may not survive a power cut. "
            "Check the disk.",
            path=str(path),
        )
    return StoreError(f"{error.strerror or type(error).__name__}: {path}.", path=str(path))


def replace(target: Path, data: memoryview, *, temp_dir: Path, label: str) -> None:
    """Make `data` the content of `target`; when this returns, it survives a power cut.

    Args:
        target: The file; its directory is made when missing.
        data: The bytes.
        temp_dir: Directory of temps, on the same file system.
        label: Start of the temp's name; tells a later sweep whose lock guards it.

    Raises:
        StoreFullError: No space; the old file is untouched and no temp is left.
        StoreError: Any other refusal. The file is the old one or the new one.
    """
    with typed_errors(target):
        make_directories(temp_dir)
        make_directories(target.parent)
        temp = temp_dir / f"{label}~{os.getpid()}-{next(_counter)}.tmp"
        durable.replace(target, data, temp=temp)


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float, what: str) -> Iterator[None]:
    """Hold the lock of a file; another thread, process or store object waits.

    Args:
        path: Lock file, made when missing and never removed.
        timeout_s: How long to wait, in seconds.
        what: What the lock guards, for the error.

    Raises:
        LockTimeoutError: Still taken at the deadline; names the holder's pid.
        StoreError: The lock file cannot be opened or locked.
    """
    with contextlib.ExitStack() as stack:
        with typed_errors(path):
            stack.enter_context(locks.locked(path, timeout_s=timeout_s, what=what))
        yield


@contextlib.contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Take the lock if it is free, without waiting; says whether it was.

    Raises:
        StoreError: The lock file cannot be opened or locked.
    """
    with contextlib.ExitStack() as stack:
        with typed_errors(path):
            free = stack.enter_context(locks.try_locked(path))
        yield free
