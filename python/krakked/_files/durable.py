"""Files that are old or new, never half: write a temp, fsync, rename, fsync the directory.

An fsync that failed is never tried again: the kernel may have dropped the dirty pages and would
answer the second call with success (the PostgreSQL lesson of 2018).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Final

_FLAGS: Final = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_DIRECTORY_FLAGS: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


class NotForcedError(OSError):
    """The new file is in place and whole; after a power cut the old one may be back."""


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every byte: `os.write` may write less than it was given."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(fd, rest) :]


if sys.platform == "darwin":
    import fcntl

    def sync_file(fd: int) -> None:
        """Put a file's bytes on the medium; plain fsync stops at the drive's cache there."""
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
            os.fsync(fd)  # a network volume does not know the call
else:

    def sync_file(fd: int) -> None:
        """Put a file's bytes on the medium."""
        os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory survive a power cut."""
    if sys.platform == "win32":  # directories can't be opened there; NTFS journals its names
        return
    fd = os.open(path, _DIRECTORY_FLAGS)
    try:
        sync_file(fd)
    except OSError as error:
        # Some file systems (FUSE, SMB) have no such call; the rename itself was made.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def may_be_path(text: str) -> bool:
    """Whether a file could have that name: some text without NUL that the system can encode."""
    try:
        return "\0" not in text and bool(os.fsencode(text))
    except UnicodeEncodeError:
        return False


def make_directories(path: Path, *, mode: int = 0o777) -> None:
    """Create a directory and its parents so that the names survive a power cut.

    Args:
        path: The directory.
        mode: Of those that are made; the umask is taken off.
    """
    missing: list[Path] = []
    at = path
    while not at.is_dir():
        missing.append(at)
        if at == at.parent:
            break
        at = at.parent
    for directory in reversed(missing):
        directory.mkdir(mode=mode, exist_ok=True)
        sync_directory(directory.parent)


def replace(target: Path, data: bytes | memoryview, *, temp: Path, private: bool = False) -> None:
    """Make `data` the content of `target`; when this returns, it survives a power cut.

    The file is the old one or the new one, whatever happens; no temp is left but by a kill.

    Args:
        target: The file; its directory is there.
        data: The bytes.
        temp: Name of the temp, on the same file system, that nobody else uses.
        private: Mode 0600 exactly, whatever the umask.

    Raises:
        NotForcedError: The new file is in place, but not forced to the medium.
        OSError: What the operating system refused; the old file is untouched.
    """
    try:
        _write_new(temp, data, private=private)
        temp.replace(target)
    except BaseException as error:
        if not isinstance(error, FileExistsError):  # then it is somebody else's
            with contextlib.suppress(OSError):
                temp.unlink()
        raise
    try:
        sync_directory(target.parent)
    except OSError as error:
        raise NotForcedError(error.errno, error.strerror, str(target)) from error


def _write_new(path: Path, data: bytes | memoryview, *, private: bool) -> None:
    fd = os.open(path, _FLAGS, 0o600 if private else 0o644)
    try:
        if private and sys.platform != "win32":
            os.fchmod(fd, 0o600)  # exactly, even under an umask that takes our own bits
        write_all(fd, data)
        if os.fstat(fd).st_size != memoryview(data).nbytes:
            raise OSError(errno.EIO, "The file is shorter than what was written", str(path))
        sync_file(fd)
    finally:
        os.close(fd)
