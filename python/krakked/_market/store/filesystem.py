"""Where a store may lie: on this machine, and best on a file system of its own."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Final

from krakked._errors import StoreError
from krakked._files.durable import may_be_path

_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "fuse.sshfs"})


_ADDRESS: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL)
"""Two letters or more before the colon: `C:/` is a drive. A `Path` keeps one slash of the two."""


class RemoteFileSystemWarning(UserWarning):
    """The store lies on a network file system: keep to one writing process, or move it."""


def directory_of(named: str | Path) -> Path:
    """Make the absolute path of a directory on this machine of what a user wrote.

    Raises:
        StoreError: It is the address of something else, or names no directory.
    """
    given: object = named  # callers without a type checker pass anything
    if not isinstance(given, str | os.PathLike):
        raise StoreError(f"{given!r:.60} is no path of a directory.")
    text = str(named)
    found = _ADDRESS.match(text)
    if found is not None and found["scheme"].lower() == "file":
        raise StoreError(f"{text!r:.200} is an address: write the path alone: /{found['rest']}.")
    if found is not None:
        raise StoreError(
            f"{text!r:.200} is no directory of this machine, and object storage and other remote "
            "addresses are not supported here. Name a local directory "
            "(market_data.ohlc_store.root_dir), and copy finished files from there.",
            path=text,
        )
    if not text.strip() or not may_be_path(text):
        raise StoreError(f"{text!r:.200} names no directory.")
    try:
        return Path(named).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # no home directory; no current directory
        raise StoreError(
            f"{text!r:.200} cannot be made an absolute path ({error}). Write it in full.",
            path=text,
        ) from error


def why_unwritable(root: Path) -> str | None:
    """Say why no candle can be written below a root; None when nothing speaks against it.

    A look only: nothing is made. Of a root that is still to be made, the directory that is to hold
    it is looked at.
    """
    there = next((path for path in (root, *root.parents) if os.path.lexists(path)), root)
    if not there.is_dir():
        return f"{there} is no directory"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written by this user, or is mounted read-only"
    return None


def file_system_of(path: str, mountinfo: str) -> str | None:
    """Find the type of the file system that holds a path. Pure.

    Args:
        path: Absolute, without links.
        mountinfo: Text of `/proc/self/mountinfo` (man 5 proc_pid_mountinfo).
    """
    best, kind = -1, None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, rest = left.split(), right.split()
        if len(fields) < 5 or not rest:
            continue
        mount = fields[4].replace("\\040", " ")
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= best:
            best, kind = len(mount), rest[0]
    return kind


def warn_if_remote(root: Path) -> None:
    """Warn when the store lies on NFS, SMB and the like; only Linux can tell."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    kind = file_system_of(os.path.realpath(root), mountinfo)
    if kind in _REMOTE:
        warnings.warn(
            f"{root} lies on {kind}: locks between machines and durable renames are not certain "
            "there. Let one process write, or move market_data.ohlc_store.root_dir to a "
            "local disk.",
            RemoteFileSystemWarning,
            stacklevel=3,
        )
