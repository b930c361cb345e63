"""Files whose lines do not run from the oldest to the newest, read as if they did.

Kraken's own do; what people have saved from a spreadsheet or a query often has the newest first.
"""

from __future__ import annotations

import codecs
import io
import re
import shutil
import tempfile
from contextlib import ExitStack
from itertools import pairwise
from typing import IO, Final, Self

from krakked._market.history.archive import ArchiveFile, Zips

LOOKED_AT: Final = 1 << 16
"""Bytes at the beginning of a file by which its order is judged."""

MOST_SORTED: Final = 32 << 20
"""Unpacked bytes of a file that is sorted in memory; a larger one in no order is read as it is."""

_LONGEST: Final = 1 << 16
_TIME: Final = re.compile(rb"\s*(\d+(?:\.\d+)?)\s*,")
_FEWEST: Final = 6
_MOSTLY: Final = 4


class OrderedFile:
    """Opens a file so that its lines rise in time; close it.

    Wholly falling ones are read backwards, in bounded memory. Candles in no order at all are sorted
    when the file is small and every line has a time.
    """

    def __init__(self, file: ArchiveFile, zips: Zips) -> None:
        self._file = file
        self._zips = zips
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def lines(self) -> _AsItIs | _Backward | _Sorted:
        """Return the lines. Raises what opening and reading the file raises."""
        stream = self._open()
        begin = stream.read(LOOKED_AT)
        rises, falls = _steps(begin)
        if falls and falls >= _MOSTLY * rises:
            whole = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - a stack
            whole.write(begin)
            shutil.copyfileobj(stream, whole, LOOKED_AT)
            return _Backward(whole)
        in_no_order = falls * _MOSTLY > rises and rises + falls >= _FEWEST
        if in_no_order and self._file.minutes is not None:
            sorted_lines = _sorted(begin + stream.read(MOST_SORTED))
            if sorted_lines is not None:
                return sorted_lines
            stream, begin = self._open(), b""
        return _AsItIs(begin, stream)

    def _open(self) -> IO[bytes]:
        return self._stack.enter_context(self._zips.open(self._file))


class _AsItIs:
    def __init__(self, begin: bytes, rest: IO[bytes]) -> None:
        self._begin = begin
        self._rest = rest
        self._mark = codecs.BOM_UTF8

    def read(self, size: int) -> bytes:
        if self._begin:
            part, self._begin = self._begin[:size], self._begin[size:]
        else:
            part = self._rest.read(size)
        part, self._mark = part.removeprefix(self._mark), b""
        return part

    @staticmethod
    def number(line: int) -> int:
        return line


class _Backward:
    """The lines of a file from the last to the first."""

    def __init__(self, whole: IO[bytes]) -> None:
        self._whole = whole
        self._at = whole.seek(0, io.SEEK_END)
        self._cut = b""
        self._count = 0

    def read(self, size: int) -> bytes:
        while self._at:
            start = max(0, self._at - size)
            self._whole.seek(start)
            block = self._whole.read(self._at - start) + self._cut
            self._at, self._cut = start, b""
            if start:
                # The first line is perhaps not whole: it waits for what lies before it.
                first, feed, rest = block.partition(b"\n")
                if not feed and len(block) <= _LONGEST:
                    self._cut = block
                    continue
                if len(first) <= _LONGEST:
                    self._cut, block = first + feed, rest
            else:
                block = block.removeprefix(codecs.BOM_UTF8)
            lines = block.removesuffix(b"\n").split(b"\n") if block else []
            if lines:
                self._count += len(lines)
                return b"\n".join(reversed(lines)) + b"\n"
        return b""

    def number(self, line: int) -> int:
        while self.read(LOOKED_AT):
            pass  # only the whole file tells how many lines there are
        return self._count - line + 1


class _Sorted:
    def __init__(self, lines: list[bytes], numbers: list[int]) -> None:
        self._text = io.BytesIO(b"\n".join(lines))
        self._numbers = numbers

    def read(self, size: int) -> bytes:
        return self._text.read(size)

    def number(self, line: int) -> int:
        return self._numbers[line - 1]


def _steps(text: bytes) -> tuple[int, int]:
    """Count how often the time rises and how often it falls from line to line."""
    found = [_TIME.match(line) for line in text.removeprefix(codecs.BOM_UTF8).split(b"\n")]
    # The last line is perhaps cut off; its time is not when a comma follows it.
    times = [float(match[1]) for match in found if match is not None]
    pairs = list(pairwise(times))
    return sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)


def _sorted(text: bytes) -> _Sorted | None:
    """Sort lines by time; None for too many, or when one of them has no time."""
    if len(text) > MOST_SORTED:
        return None
    keyed: list[tuple[float, int, bytes]] = []
    lines = text.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, start=1):
        match = _TIME.match(line)
        if match is not None:
            keyed.append((float(match[1]), number, line))
        elif line.strip() and number > 1:  # the first one may be a header
            return None
    keyed.sort()
    return _Sorted([line for _, _, line in keyed], [number for _, number, _ in keyed])
