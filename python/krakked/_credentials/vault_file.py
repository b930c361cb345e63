"""The file secrets.enc on disk: refused when unsafe, replaced whole or not at all.

Reading opens the file without following links and judges the open descriptor, as ssh does with its
keys. Writing goes to a fresh file of mode 0600 in the same directory, forced to disk, renamed over
the old one, and the directory forced to disk: after a crash there is the old vault or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from krakked._credentials.vault import MAX_FILE_BYTES, SENTENCE
from krakked._errors import (
    LockTimeoutError,
    VaultDamagedError,
    VaultError,
    VaultLockedError,
    VaultUnsafeError,
)
from krakked._files import durable, locks

VAULT_NAME: Final = "secrets.enc"
BACKUP_SUFFIX: Final = ".bak"
LOCK_WAIT_S: Final = 5.0
"""Longest wait for another process that is writing; a write takes milliseconds."""

_POSIX: Final = sys.platform != "win32"
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
_BINARY: Final = getattr(os, "O_BINARY", 0)
_NONBLOCK: Final = getattr(os, "O_NONBLOCK", 0)  # a planted FIFO must not hang the open
_REPARSE_POINT: Final = 0x400  # Windows: FILE_ATTRIBUTE_REPARSE_POINT, its kind of link
_TEMP_PREFIX: Final = f".{VAULT_NAME}."
_TEMP_SUFFIX: Final = ".tmp"


def _is_mounted(found: os.stat_result, descriptor: int) -> bool:
    """Whether a file is a secret mounted for us to read: ours or root's, and nobody's to write.

    So containers get their secrets: root-owned, 0444 or on a read-only file system, often by links.
    Others may be able to read such a file; the seal, not its mode, keeps them out.
    """
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in {0, os.geteuid()}:
        return False
    if found.st_mode & 0o022:
        return False
    owners = os.geteuid() in {0, found.st_uid}
    read_only = os.fstatvfs(descriptor).f_flag & getattr(os, "ST_RDONLY", 1)
    return bool(not owners or not found.st_mode & 0o200 or read_only)


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said about a vault file without opening the seal."""

    path: str
    size_bytes: int
    modified_s: float
    """Unix seconds of the last change."""
    backup: str | None
    """The kept older vault, or None."""


class VaultFile:
    """secrets.enc in one configuration directory, with its backup and lock.

    Args:
        directory: The configuration directory; created with mode 0700 at the first write.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / VAULT_NAME
        self.backup_path = directory / (VAULT_NAME + BACKUP_SUFFIX)
        self._directory = directory
        self._lock_path = directory / (VAULT_NAME + ".lock")

    def exists(self) -> bool:
        """Tell whether there is anything at the vault's path, safe or not."""
        try:
            os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            self._fail(error, "looked at")
        return True

    def facts(self) -> FileFacts:
        """Return size and age, after the same checks as for reading.

        Raises:
            VaultUnsafeError: See `read`.
            VaultError: There is no file, or it cannot be looked at.
        """
        with self._open_checked() as descriptor:
            found = os.fstat(descriptor)
        return FileFacts(
            path=str(self.path),
            size_bytes=found.st_size,
            modified_s=found.st_mtime,
            backup=str(self.backup_path) if self.backup_path.exists() else None,
        )

    def read(self) -> bytes:
        """Read the whole file.

        Raises:
            VaultUnsafeError: A link, not a regular file, not ours, with a second name, or open to
                others; the message names the fix.
            VaultDamagedError: Far too large for a vault.
            VaultError: There is no file, or it cannot be read.
        """
        self._sweep_if_left()
        with self._open_checked() as descriptor:
            data = self._read_all(descriptor)
        if len(data) > MAX_FILE_BYTES:
            raise VaultDamagedError(SENTENCE, path=str(self.path))
        return data

    def write(
        self,
        data: bytes,
        *,
        keep_backup: bool = False,
        expected: bytes | None = None,
        only_new: bool = False,
    ) -> bool:
        """Replace the vault durably; give whether the older one was kept as a backup.

        Args:
            data: The whole new file.
            keep_backup: First keep what the old file holds as ``secrets.enc.bak``, as durably.
            expected: What the old file must hold, when the new one was made from it.
            only_new: Refuse where there is a vault already, also one made a moment ago.

        Raises:
            VaultLockedError: Another process is writing, or wrote something else than `expected`.
            VaultUnsafeError: Something at the vault's path is not a file of ours.
            VaultError: The disk is full or failing, or there is a vault that was not to be; the old
            vault is untouched.
        """
        with self.locked():
            there = self.exists()
            if there and only_new:
                raise there_already(self.path)
            if there:
                with self._open_checked() as descriptor:  # what lies there must be ours to replace
                    old = self._read_all(descriptor)
                if expected is not None and old != expected:
                    raise VaultLockedError(
                        f"Another process changed {self.path} meanwhile. Nothing was changed now.",
                        path=str(self.path),
                    )
                if keep_backup:
                    self._replace(self.backup_path, old)
            self._replace(self.path, data)
        return there and keep_backup

    def remove(self) -> bool:
        """Delete vault and backup; give whether there was one. Old bytes may stay on the medium.

        Raises:
            VaultLockedError: Another process is writing.
            VaultError: A file cannot be deleted.
        """
        with self.locked():
            found = False
            for path in (self.path, self.backup_path):
                try:
                    path.unlink()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self._fail(error, "deleted")
                found = True
            try:
                durable.sync_directory(self._directory)
            except OSError as error:
                self._fail(error, "deleted durably")
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the vault's lock; what a killed writer left behind is swept first.

        Raises:
            VaultLockedError: Another process held it for `LOCK_WAIT_S` seconds.
            VaultUnsafeError: The directory can be written by others.
            VaultError: The directory cannot be made or written.
        """
        self._prepare_directory()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(
                    locks.locked(
                        self._lock_path, timeout_s=LOCK_WAIT_S, what=str(self.path), private=True
                    )
                )
            except LockTimeoutError as error:
                raise VaultLockedError(
                    f"Another process (pid {error.holder_pid}) is writing {self.path}. "
                    "Nothing was changed; try again.",
                    path=str(self.path),
                ) from error
            except OSError as error:
                raise self._unusable_lock(error) from error
            self._sweep()
            yield

    # --- reading ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open_checked(self) -> Iterator[int]:
        try:
            if not _POSIX:
                self._refuse_reparse_point()
            descriptor = self._open()
        except OSError as error:
            self._fail(error, "opened")
        try:
            self._judge(os.fstat(descriptor), descriptor)
            yield descriptor
        except OSError as error:
            self._fail(error, "read")
        finally:
            with contextlib.suppress(OSError):  # nothing was written through it
                os.close(descriptor)

    def _open(self) -> int:
        flags = os.O_RDONLY | _BINARY | _NONBLOCK | _CLOEXEC
        try:
            return os.open(self.path, flags | _NOFOLLOW)
        except OSError:
            if not self.path.is_symlink():
                raise
        # Kubernetes mounts a secret as a link: followed only to what nobody here could have put.
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path, flags)
            if _POSIX and _is_mounted(os.fstat(descriptor), descriptor):
                return descriptor
            os.close(descriptor)
        raise self._unsafe("is a link", f"Replace it by the file itself: {self.path}")

    def _judge(self, found: os.stat_result, descriptor: int) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise self._unsafe("is not a regular file", f"Remove {self.path}")
        if _POSIX and _is_mounted(found, descriptor):
            return
        if found.st_nlink != 1:
            raise self._unsafe(
                "has a second name elsewhere (hard link)",
                f"Copy it: cp {self.path} {self.path}.new && mv {self.path}.new {self.path}",
            )
        if _POSIX:
            if found.st_uid != os.geteuid():
                raise self._unsafe("belongs to another user", f"Run: chown $USER {self.path}")
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise self._unsafe("is open to other users", f"Run: chmod 600 {self.path}")

    def _refuse_reparse_point(self) -> None:
        attributes = getattr(os.lstat(self.path), "st_file_attributes", 0)
        if attributes & _REPARSE_POINT:
            raise self._unsafe("is a link", f"Replace it by the file itself: {self.path}")

    def _read_all(self, descriptor: int) -> bytes:
        data = b""
        while len(data) <= MAX_FILE_BYTES:
            chunk = os.read(descriptor, MAX_FILE_BYTES + 1)
            if not chunk:
                break
            data += chunk
        return data

    # --- writing ---------------------------------------------------------------------------------

    def _prepare_directory(self) -> None:
        """Make the directory, ours alone; refuse one in which others could swap the file."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._directory.stat()
        except OSError as error:
            self._fail(error, "put into its directory")
        if _POSIX:
            ours = found.st_uid == os.geteuid()
            if not ours or stat.S_IMODE(found.st_mode) & 0o022:
                fix = f"chmod go-w {self._directory}" if ours else f"chown $USER {self._directory}"
                raise VaultUnsafeError(
                    f"The directory {self._directory} can be changed by other users. Run: {fix}",
                    path=str(self.path),
                )

    def _replace(self, target: Path, data: bytes) -> None:
        temp = self._directory / f"{_TEMP_PREFIX}{secrets.token_hex(8)}{_TEMP_SUFFIX}"
        try:
            durable.replace(target, data, temp=temp, private=True)
        except durable.NotForcedError as error:
            self._fail(
                error, "forced to disk; the new file is in place but may not survive a power cut"
            )
        except OSError as error:
            self._fail(error, "written; the old file is untouched")

    def _unusable_lock(self, error: OSError) -> VaultError:
        what = f"The lock {self._lock_path} cannot be used"
        if error.errno in (errno.EINVAL, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO):
            return VaultUnsafeError(
                f"{what}; if it is a link or not yours, remove it.", path=str(self.path)
            )
        return VaultError(
            f"{what}: {error.strerror or type(error).__name__}. Nothing was changed.",
            path=str(self.path),
        )

    def _sweep_if_left(self) -> None:
        """Clear away what a killed writer left, unless a writer is at work right now."""
        if not self._left():
            return
        # A courtesy: a directory that we cannot write is no reason not to read.
        with contextlib.suppress(OSError), locks.try_locked(self._lock_path) as free:
            if free:
                self._sweep()

    def _left(self) -> list[Path]:
        try:
            return list(self._directory.glob(f"{_TEMP_PREFIX}*{_TEMP_SUFFIX}"))
        except OSError:
            return []

    def _sweep(self) -> None:
        """Delete temporary files; under the lock none of them is anybody's."""
        for path in self._left():
            with contextlib.suppress(OSError):
                path.unlink()

    # --- errors ----------------------------------------------------------------------------------

    def _unsafe(self, what: str, fix: str) -> VaultUnsafeError:
        return VaultUnsafeError(
            f"The secrets file {what}, so it is not opened. {fix}", path=str(self.path)
        )

    def _fail(self, error: OSError, doing: str) -> NoReturn:
        raise VaultError(
            f"The secrets file {self.path} cannot be {doing}: "
            f"{error.strerror or type(error).__name__}.",
            path=str(self.path),
        ) from error


def there_already(path: Path) -> VaultError:
    """Return the error for a vault that nobody asked to replace."""
    return VaultError(
        f"There is a vault already: {path}. Nothing was changed; --replace replaces what it holds.",
        path=str(path),
    )
