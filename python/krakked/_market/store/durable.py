"""The store's edge to the disk: everything the operating system refuses leaves here typed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from krakked._errors import (
    LockTimeoutError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreVersionError,
)
from krakked._files import durable, locks
from krakked._files.durable import make_directories
from krakked._market.store.layout import FORMAT_VERSION

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_ROOT_KEY: Final = "market_data.ohlc_store.root_dir"
_IN_THE_WAY: Final = f"Something else lies there: move it away, or choose another {_ROOT_KEY}."
_NOT_ALLOWED: Final = f"Give this user the right to use it, or choose another {_ROOT_KEY}."
_TOO_MANY: Final = "Too many files are open: close some, or raise the limit (ulimit -n)."
_NO_LOCKS: Final = f"The file system offers no locks: choose a {_ROOT_KEY} on a local disk."
_REMEDIES: Final = {
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: f"Mount the file system for writing, or choose another {_ROOT_KEY}.",
    errno.EMFILE: _TOO_MANY,
    errno.ENFILE: _TOO_MANY,
    errno.ENOLCK: _NO_LOCKS,
    errno.EOPNOTSUPP: _NO_LOCKS,
    errno.EIO: "The disk or the way to it fails: check it before anything else is written.",
    errno.ESTALE: "The network file system went away: mount it again.",
    errno.ENAMETOOLONG: f"Choose a shorter {_ROOT_KEY}.",
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EISDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ELOOP: _IN_THE_WAY,
}


@contextlib.contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Turn `OSError` into the store's own errors, once, at the edge."""
    try:
        yield
    except OSError as error:
        raise store_error(error, path) from error


def store_error(error: OSError, path: Path) -> StoreError:
    """Return the typed error for what the operating system refused: what, where, what to do."""
    if isinstance(error, durable.NotForcedError):
        return StoreError(
            f"{error.strerror}: {path} is in place but may not survive a power cut. "
            "Check the disk.",
            path=str(path),
        )
    if error.errno in _FULL:
        return StoreFullError(
            f"The disk of {path} is full. Free some space and try again; "
            "everything stored before is intact.",
            path=str(path),
        )
    what = error.strerror or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, f"Try again; if it stays, choose another {_ROOT_KEY}.")
    return StoreError(f"{what}: {path}. {remedy}", path=str(path))


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
        temp = temp_dir / f"{label}~{os.getpid()}-{secrets.token_hex(8)}.tmp"
        durable.replace(target, data, temp=temp)


def remove(target: Path) -> None:
    """Take a file away for good; one that is gone already is fine.

    Raises:
        StoreError: Refused.
    """
    with typed_errors(target):
        try:
            target.unlink()
        except FileNotFoundError:
            if not target.parent.is_dir():
                return  # it never was
        durable.sync_directory(target.parent)


def link(path: Path, target: Path) -> None:
    """Give a finished file a second name; a copy where the file system has no hard links.

    Raises:
        OSError: Refused.
    """
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}:
            raise
        shutil.copyfile(path, target)  # one descriptor, so still one state


def newer_format(path: Path, version: int) -> StoreVersionError:
    """Return the error for a file that a newer krakked wrote."""
    return StoreVersionError(
        f"{path} is of format {version}, and this krakked knows formats up to {FORMAT_VERSION}. "
        "Upgrade krakked to use this store; nothing was changed.",
        path=str(path),
        version=version,
    )


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float, what: str) -> Iterator[None]:
    """Hold the lock of a file; another thread, process or store object waits.

    Args:
        path: Lock file, made when missing and never removed.
        timeout_s: How long to wait, in seconds.
        what: What the lock guards, for the error.

    Raises:
        StoreLockedError: Still taken at the deadline; names the holder's pid.
        StoreError: The lock file cannot be opened or locked.
    """
    with contextlib.ExitStack() as stack:
        with typed_errors(path):
            try:
                stack.enter_context(locks.locked(path, timeout_s=timeout_s, what=what))
            except LockTimeoutError as late:
                raise StoreLockedError(
                    str(late), path=late.path, holder_pid=late.holder_pid
                ) from None
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
