"""A small record in a file, shared by processes under a lock that dies with its holder. Blocking.

The file has a page that names the holder of the lock and four slots. A write goes into the slot
after the newest one's, never over the newest: a process killed half-way leaves the record before.
Two slots take ordinary writes, which survive a kill but not a power cut; the other two take forced
writes, so that no ordinary write ever spoils the newest record that surely reached the disk.

Every slot is: magic, sequence number, length, CRC-32, payload. The newest valid slot counts.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
import zlib
from pathlib import Path
from typing import Protocol, final

from krakked.errors import ConfigError

_HOLDER_BYTES = 64
_SLOT_BYTES = 1 << 16
_FIRST_SLOT = 4096
_HEADER = struct.Struct("<8sQII")
_MAGIC = b"KRKSTAT1"
MAX_PAYLOAD_BYTES = _SLOT_BYTES - _HEADER.size


class StateStore(Protocol):
    """A locked record: a file for several processes, or memory for one."""

    @property
    def path(self) -> str:
        """Where it is, for messages."""
        ...

    def try_lock(self) -> bool:
        """Take the lock if it is free; never waits."""
        ...

    def read(self) -> bytes | None:
        """Give the newest record, None when there is none; only under the lock."""
        ...

    def write(self, payload: bytes, *, durable: bool) -> None:
        """Write a record; `durable` returns only when it would survive a power cut."""
        ...

    def unlock(self) -> None:
        """Give the lock back; harmless when it is not held."""
        ...

    def holder_pid(self) -> int | None:
        """Give the process that took the lock last, where known."""
        ...


@final
class MemoryState:
    """The record of one process; its user's own lock keeps tasks apart."""

    path = "memory"

    def __init__(self) -> None:
        self._payload: bytes | None = None

    def try_lock(self) -> bool:
        """Always free: only one task at a time asks."""
        return True

    def read(self) -> bytes | None:
        """Give the record."""
        return self._payload

    def write(self, payload: bytes, *, durable: bool) -> None:  # noqa: ARG002 -- nothing to force
        """Keep the record."""
        self._payload = payload

    def unlock(self) -> None:
        """Nothing to do."""

    def holder_pid(self) -> int | None:
        """Give our own process."""
        return os.getpid()


@final
class StateFile:
    """The record in a file. One instance is used by one task at a time.

    Args:
        path: The file; its directory is created with mode 0700, the file with 0600.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._sequence = 0
        self._next_plain = 0
        self._next_durable = 2
        self._name_forced = False

    @property
    def path(self) -> str:
        """Where it is."""
        return str(self._path)

    def try_lock(self) -> bool:
        """Open the file and take its kernel lock if that is free.

        The file is opened anew each time, so that a forked child never shares our lock.

        Raises:
            ConfigError: The file is not ours alone or cannot be opened.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
            fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise ConfigError(
                f"The state file cannot be opened ({error.strerror}).", path=self.path
            ) from error
        try:
            free = self._check(fd) and _lock(fd) and self._still_there(fd)
            if free:
                os.lseek(fd, 0, os.SEEK_SET)
                os.write(fd, f"{os.getpid()}\n".encode().ljust(_HOLDER_BYTES))
        except BaseException:
            os.close(fd)
            raise
        if not free:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def _check(self, fd: int) -> bool:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError("The state file is not a regular file.", path=self.path)
        if sys.platform != "win32" and found.st_uid != os.geteuid():
            raise ConfigError("The state file belongs to another user.", path=self.path)
        return True

    def _still_there(self, fd: int) -> bool:
        """Whether the path still leads to the file we locked (it may have been deleted)."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(fd))
        except FileNotFoundError:
            return False

    def read(self) -> bytes | None:
        """Give the newest valid record."""
        found = [self._read_slot(slot) for slot in range(4)]
        sequences = [slot[0] if slot else 0 for slot in found]
        # a write goes over the older one of its two slots
        self._next_plain = 0 if sequences[0] < sequences[1] else 1
        self._next_durable = 2 if sequences[2] < sequences[3] else 3
        self._sequence = max(sequences)
        newest = found[sequences.index(self._sequence)]
        return newest[1] if newest else None

    def _read_slot(self, slot: int) -> tuple[int, bytes] | None:
        header = self._read_at(_FIRST_SLOT + slot * _SLOT_BYTES, _HEADER.size)
        if len(header) < _HEADER.size:
            return None
        magic, sequence, length, crc = _HEADER.unpack(header)
        if magic != _MAGIC or length > MAX_PAYLOAD_BYTES:
            return None
        payload = os.read(self._fd, length)
        if len(payload) != length or zlib.crc32(payload, sequence & 0xFFFFFFFF) != crc:
            return None
        return sequence, payload

    def _read_at(self, offset: int, length: int) -> bytes:
        os.lseek(self._fd, offset, os.SEEK_SET)
        return os.read(self._fd, length)

    def write(self, payload: bytes, *, durable: bool) -> None:
        """Write the next record. `read` must have been called under this lock.

        Raises:
            ConfigError: The disk is full or failing; the record before still counts.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError("the record is too large")
        sequence = self._sequence + 1
        crc = zlib.crc32(payload, sequence & 0xFFFFFFFF)
        data = _HEADER.pack(_MAGIC, sequence, len(payload), crc) + payload
        slot = self._next_durable if durable else self._next_plain
        try:
            os.lseek(self._fd, _FIRST_SLOT + slot * _SLOT_BYTES, os.SEEK_SET)
            while data:
                data = data[os.write(self._fd, data) :]
            if durable:
                self._force()
        except OSError as error:
            raise ConfigError(
                f"The state file cannot be written ({error.strerror}).", path=self.path
            ) from error
        if durable:
            self._next_durable = 5 - slot
        else:
            self._next_plain = 1 - slot
        self._sequence = sequence

    def _force(self) -> None:
        """Force file and, the first time, the name of the file to the disk."""
        os.fsync(self._fd)
        if self._name_forced or sys.platform == "win32":
            return
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._name_forced = True

    def unlock(self) -> None:
        """Close the file; the kernel's lock goes with it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def holder_pid(self) -> int | None:
        """Read who took the lock last."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_HOLDER_BYTES).split(b"\n", 1)[0]
        except OSError:
            return None
        return int(text) if text.isdigit() else None


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> bool:
        os.lseek(fd, 1 << 30, os.SEEK_SET)  # a byte nobody reads: such locks are mandatory
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EINTR):
                return False
            raise
        return True


def boot_id() -> str:
    """Name this run of the machine; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
