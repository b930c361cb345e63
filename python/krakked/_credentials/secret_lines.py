"""The first line of a file or descriptor that holds a secret, such as a container's or systemd's.

Every buffer on the way is wiped; the caller wipes what it is given.
"""

from __future__ import annotations

import codecs
import logging
import os
import select
import stat
from pathlib import Path
from typing import Final

from krakked._errors import CredentialsError, CredentialsFormatError
from krakked._secrecy import wipe

MAX_LINE_BYTES: Final = 4096
"""Longest line that is read; it is given whole, up to one byte more."""

PIPE_WAIT_S: Final = 10.0
"""How long a pipe in place of a file may stay empty."""

_log = logging.getLogger("krakked.credentials")


def line_of_file(
    path: str | Path, *, what: str, field: str, failed: type[CredentialsError]
) -> bytearray:
    """Read the first line of a file.

    ``~`` is the home directory. Links and pipes are fine (that is how secrets are mounted); a file
    that others may change is refused, one that others may read only draws a warning.

    Args:
        path: The file.
        what: What is in it, for errors: ``password``.
        field: Likewise, as `CredentialsFormatError.field` has it.
        failed: Error to raise when it cannot be read, or others may write it.

    Raises:
        CredentialsFormatError: It is UTF-16.
    """
    named = f"The {what} file {path}"
    try:
        path = Path(path).expanduser()
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(path, flags)
    except (OSError, RuntimeError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else str(error)
        raise failed(f"{named} cannot be opened: {problem}.") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if os.name == "posix" and stat.S_ISFIFO(mode):
            if not select.select([descriptor], [], [], PIPE_WAIT_S)[0]:
                raise failed(
                    f"{named} is a pipe, and nobody has written into it for {PIPE_WAIT_S:g} s."
                )
            os.set_blocking(descriptor, True)
        if stat.S_ISREG(mode) and os.name == "posix":
            if mode & 0o022:
                raise failed(f"{named} may be written by others. Run: chmod 600 {path}")
            if mode & 0o044:
                _log.warning("%s may be read by others; chmod 600 is better", named)
        return line_of_descriptor(
            descriptor, what=what, field=field, failed=failed, named=str(path)
        )
    finally:
        os.close(descriptor)


def line_of_descriptor(
    descriptor: int, *, what: str, field: str, failed: type[CredentialsError], named: str = ""
) -> bytearray:
    """Read the first line of an open file descriptor; the caller closes it.

    Args:
        descriptor: The descriptor.
        what: As for `line_of_file`, likewise `field` and `failed`.
        field: See there.
        failed: See there.
        named: What the descriptor is, for errors.

    Raises:
        CredentialsFormatError: It is UTF-16.
    """
    buffer = bytearray()
    try:
        while b"\n" not in buffer and len(buffer) <= MAX_LINE_BYTES:
            chunk = os.read(descriptor, MAX_LINE_BYTES + 1)
            if not chunk:
                break
            buffer += chunk
            del chunk
    except OSError as error:
        wipe(buffer)
        source = named or f"file descriptor {descriptor}"
        raise failed(f"The {what} cannot be read from {source}: {error.strerror}.") from error
    try:
        if buffer.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise CredentialsFormatError(
                f"The file of the {what} is UTF-16; save it as UTF-8.", field=field
            )
        begin = len(codecs.BOM_UTF8) if buffer.startswith(codecs.BOM_UTF8) else 0
        end = buffer.find(b"\n")
        line = buffer[begin:] if end < 0 else buffer[begin:end]
        if line.endswith(b"\r"):
            del line[-1:]
        return line
    finally:
        wipe(buffer)
