"""Files that are old or new, never half: write a temp, fsync, rename, fsync the directory.

An fsync that failed is never tried again: the kernel may have dropped the dirty pages and would
answer the second call with success (the PostgreSQL lesson of 2018).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from krakked.errors import StoreError, StoreFullError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FLAGS: Final = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
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
    return StoreError(f"{error.strerror or type(error).__name__}: {path}.", path=str(path))


def write_all(fd: int, data: memoryview) -> None:
    """Write every byte: `os.write` may write less than it was given."""
    while data:
        data = data[os.write(fd, data) :]


if sys.platform == "darwin":
    import fcntl

    def sync_file(fd: int) -> None:
        """Put a file's bytes on the medium; plain fsync stops at the drive's cache there."""
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
else:

    def sync_file(fd: int) -> None:
        """Put a file's bytes on the medium."""
        os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory survive a power cut."""
    if sys.platform != "win32":  # directories can't be opened there; NTFS journals its names
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sync_file(fd)
        finally:
            os.close(fd)


def make_directories(path: Path) -> None:
    """Create a directory and its parents so that the names survive a power cut."""
    missing: list[Path] = []
    at = path
    while not at.is_dir():
        missing.append(at)
        at = at.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


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
        try:
            _write_temp(temp, data)
            temp.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink()
            raise
        sync_directory(target.parent)


def _write_temp(temp: Path, data: memoryview) -> None:
    fd = os.open(temp, _FLAGS, 0o644)
    try:
        write_all(fd, data)
        if os.fstat(fd).st_size != len(data):
            raise OSError(errno.EIO, "The file is shorter than what was written")
        sync_file(fd)
    finally:
        os.close(fd)
