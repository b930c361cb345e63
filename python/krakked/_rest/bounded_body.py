"""The body of an answer, put together and unpacked within bounds. Pure.

Bodies are unpacked here and not by the HTTP library for two reasons: a small packed body must not
grow beyond the limit even for a moment, and a body that cannot be unpacked must not leave the
library's readers half-way, for the garbage collector to find.
"""

from __future__ import annotations

import zlib

ACCEPTED = "gzip"
"""What to send as Accept-Encoding."""

_GZIP = 31
"""zlib's number for gzip with the largest window."""


class BodyReader:
    """Takes in a body chunk by chunk.

    Args:
        encoding: Value of Content-Encoding, or "".
        limit: Most bytes to accept, before and after unpacking.
    """

    __slots__ = ("_limit", "_parts", "_size", "_taken", "_unpacker", "problem", "too_large")

    def __init__(self, encoding: str, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._taken = 0
        self._unpacker = None
        self.problem: str | None = None
        """Why the body cannot be had, or None."""
        self.too_large: bool = False
        """Whether that is because of its size."""
        kind = encoding.strip().lower()
        if kind == ACCEPTED:
            self._unpacker = zlib.decompressobj(_GZIP)
        elif kind not in {"", "identity"}:
            self.problem = "a compression that was not asked for"

    def feed(self, chunk: bytes) -> bool:
        """Take in what came next; False when there is no use in reading on."""
        if self.problem is not None:
            return False
        self._taken += len(chunk)
        try:
            part = chunk
            if self._unpacker is not None:
                part = self._unpacker.decompress(chunk, self._limit - self._size + 1)
        except zlib.error:
            self.problem = "its compression is broken"
            return False
        self._size += len(part)
        if self._size > self._limit or self._taken > self._limit:
            self.problem, self.too_large = f"more than {self._limit >> 20} MiB", True
            return False
        self._parts.append(part)
        return True

    def body(self) -> bytes:
        """Return the whole body, after the last chunk; empty when there is a problem."""
        if self.problem is None and self._unpacker is not None and not self._unpacker.eof:
            self.problem = "its compression ends too early"
        return b"" if self.problem is not None else b"".join(self._parts)

    def __repr__(self) -> str:
        return f"BodyReader({self._size} bytes)"
