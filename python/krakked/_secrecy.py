"""What is secret: never copied or pickled, and no walk over attributes gives it away.

A `Veil` is kept XORed with a random pad of its length, both in buffers that are overwritten when
the owner is done. That is no encryption: it keeps secrets out of tracebacks with locals, crash
reporters, debuggers' summaries and core-file greps, all of which show what they happen to see.
"""

from __future__ import annotations

import os
from operator import xor
from typing import NoReturn, final


def masked(data: bytes | bytearray | memoryview, pad: bytes | bytearray) -> bytearray:
    """Return the bytewise XOR of two byte strings of one length."""
    return bytearray(map(xor, data, pad))


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer with zeros, in place."""
    buffer[:] = bytes(len(buffer))


def veiled_text(text: str | bytes | bytearray) -> Veil:
    """Take text in, outer white space cut off; never raises, so no traceback shows the argument.

    Anything that is not text becomes the empty string, which every check refuses.
    """
    if isinstance(text, str):
        return Veil(text.strip().encode("utf-8", "surrogatepass"))
    given: object = text
    return Veil(given.strip() if isinstance(given, bytes | bytearray) else b"")


class NeverCopied:
    """A base of everything that holds a secret: `copy` and `pickle` are refused."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:  # `copy.copy` and `deepcopy` end here
        raise TypeError(f"{type(self).__name__} holds a secret: it is not copied or pickled")


@final
class Veil(NeverCopied):
    """Bytes held masked; `reveal` is the one way to them."""

    __slots__ = ("_pad", "_veiled")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._pad = bytearray(os.urandom(len(data)))
        self._veiled = masked(data, self._pad)

    def reveal(self) -> bytearray:
        """Return the bytes in a fresh buffer; the caller overwrites it with `wipe`."""
        return masked(self._veiled, self._pad)

    def reveal_text(self) -> str:
        """Return the bytes as ASCII text, for a header: text could not be overwritten anyway."""
        # As numbers, three times as fast as byte by byte: it is part of every private call.
        plain = int.from_bytes(self._veiled, "little") ^ int.from_bytes(self._pad, "little")
        return plain.to_bytes(len(self._pad), "little").decode("ascii")

    def __len__(self) -> int:
        return len(self._pad)

    def clear(self) -> None:
        """Overwrite what is held; `reveal` gives zeros from now on."""
        wipe(self._pad)
        wipe(self._veiled)

    def __repr__(self) -> str:
        return "<Veil>"
