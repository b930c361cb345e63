"""A word of warning where locks and renames do not mean what this store relies on."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Final

_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "fuse.sshfs"})


class RemoteFileSystemWarning(UserWarning):
    """The store lies on a network file system: keep to one writing process, or move it."""


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
