"""A small record in a file, shared by processes under a lock that dies with its holder. Blocking.

The file has a page that names the holder of the lock and four slots. A write goes into the slot
after the newest one's, never over the newest: a process killed half-way leaves the record before.
Two slots take ordinary writes, which survive a kill but not a power cut; the other two take forced
writes, so that no ordinary write ever spoils the newest record that surely reached the disk.

Every slot is: magic, sequence number, length, CRC-32, payload. The newest valid slot counts.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import zlib
from pathlib import Path
from typing import final

from krakked._errors import ConfigError
from krakked._files.durable import sync_directory, sync_file, write_all
from krakked._files.locks import KernelLock

_SLOT_BYTES = 1 << 16
_FIRST_SLOT = 4096
_HEADER = struct.Struct("<8sQII")
_MAGIC = b"KRKSTAT1"
MAX_PAYLOAD_BYTES = _SLOT_BYTES - _HEADER.size


@final
class MemoryRecord:
    """The record of one process; its user's own lock keeps tasks apart."""

    path = "memory"

    def __init__(self, payload: bytes | None = None) -> None:
        self._payload = payload

    def try_lock(self) -> bool:
        """Always free: only one task at a time asks."""
        return True

    def read(self) -> bytes | None:
        """Return the record."""
        return self._payload

    def write(self, payload: bytes, *, durable: bool) -> None:  # noqa: ARG002 -- nothing to force
        """Keep the record."""
        self._payload = payload

    def unlock(self) -> None:
        """Nothing to do."""

    def wanted(self) -> bool:
        """Nobody else can ask."""
        return False

    def holder_pid(self) -> int | None:
        """Return our own process."""
        return os.getpid()


@final
class RecordFile:
    """The record in a file. One instance is used by one task at a time.

    Args:
        path: The file; its directory is created with mode 0700, the file with 0600.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = KernelLock(path, private=True)
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

        Raises:
            ConfigError: The file or its directory is not ours alone.
            OSError: The system refuses it.
        """
        if not self._lock.try_acquire():
            return False
        try:
            self._check()
        except BaseException:
            self.unlock()
            raise
        return True

    def _check(self) -> None:
        """Refuse what others could have written: they would choose our nonces and our pauses."""
        if sys.platform == "win32":
            return
        file, directory = os.fstat(self._lock.fd), self._path.parent.stat()
        if file.st_uid != os.geteuid():
            raise ConfigError(
                f"The state file {self.path} belongs to another user. Remove it, or name another "
                f"directory in KRAKKED_STATE_DIR.",
                path=self.path,
            )
        if stat.S_IMODE(file.st_mode) & 0o022:
            raise ConfigError(
                f"The state file {self.path} can be written by others. Run: chmod 600 {self.path}",
                path=self.path,
            )
        sticky = directory.st_mode & stat.S_ISVTX  # then nobody can swap our file
        if stat.S_IMODE(directory.st_mode) & 0o022 and not sticky:
            raise ConfigError(
                f"The state directory {self._path.parent} can be changed by others. "
                f"Run: chmod go-w {self._path.parent}",
                path=str(self._path.parent),
            )

    def read(self) -> bytes | None:
        """Return the newest valid record."""
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
        payload = os.read(self._lock.fd, length)
        if len(payload) != length or zlib.crc32(payload, sequence & 0xFFFFFFFF) != crc:
            return None
        return sequence, payload

    def _read_at(self, offset: int, length: int) -> bytes:
        os.lseek(self._lock.fd, offset, os.SEEK_SET)
        return os.read(self._lock.fd, length)

    def write(self, payload: bytes, *, durable: bool) -> None:
        """Write the next record. `read` must have been called under this lock.

        Raises:
            OSError: The disk is full or failing; the record before still counts.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError("the record is too large")
        sequence = self._sequence + 1
        crc = zlib.crc32(payload, sequence & 0xFFFFFFFF)
        data = _HEADER.pack(_MAGIC, sequence, len(payload), crc) + payload
        slot = self._next_durable if durable else self._next_plain
        os.lseek(self._lock.fd, _FIRST_SLOT + slot * _SLOT_BYTES, os.SEEK_SET)
        write_all(self._lock.fd, data)
        if durable:
            self._force()
        if durable:
            self._next_durable = 5 - slot
        else:
            self._next_plain = 1 - slot
        self._sequence = sequence

    def _force(self) -> None:
        """Force file and, the first time, the name of the file to the disk."""
        sync_file(self._lock.fd)
        if not self._name_forced:
            sync_directory(self._path.parent)
            self._name_forced = True

    def unlock(self) -> None:
        """Give the lock back; harmless when it is not held."""
        self._lock.release()

    def wanted(self) -> bool:
        """Whether another process has asked for the lock in vain just now; only under the lock."""
        return self._lock.wanted()

    def holder_pid(self) -> int | None:
        """Read who took the lock last."""
        return self._lock.holder_pid()


def boot_id() -> str:
    """Name this run of the machine; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
