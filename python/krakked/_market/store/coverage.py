"""What is known to be complete: interval arithmetic over coverage ranges. Pure.

A bar proves itself; an interval without a bar proves nothing unless it lies inside a range that
some source has answered for as a whole. Ranges are half-open, in unix seconds.
"""

import zlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from krakked._market.bars import Source
from krakked._public import public
from krakked._unreadable import UNREADABLE

Range = tuple[int, int]
"""Start (included) and end (excluded), unix seconds."""


@public
class CoverageRange(msgspec.Struct, frozen=True):
    """A stretch that one source has answered for: what is not stored there did not trade."""

    start_s: int
    """First second, an open time."""
    end_s: int
    """First second after it."""
    source: Source
    """Who answered."""
    settled: bool = True
    """False: REST answered within minutes of the end, and Kraken may still revise it."""


@public
class GapKind(StrEnum):
    """Why there is no traded bar."""

    MISSING = "missing"
    """Nobody has answered for it: bars may exist that are not stored."""
    NO_TRADE = "no_trade"
    """Covered, and nothing traded."""


@public
class Gap(msgspec.Struct, frozen=True):
    """A stretch without traded bars."""

    start_s: int
    """Open time of the first interval concerned."""
    end_s: int
    """End of the last one (excluded)."""
    kind: GapKind
    """Missing, or known to be empty."""


def union(ranges: Iterable[Range]) -> list[Range]:
    """Sort and join ranges that overlap or touch."""
    joined: list[Range] = []
    for start, end in sorted(r for r in ranges if r[0] < r[1]):
        if joined and start <= joined[-1][1]:
            if end > joined[-1][1]:
                joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def intersect(ranges: Sequence[Range], window: Range) -> list[Range]:
    """Clip disjoint sorted ranges to a window."""
    low, high = window
    return [(max(a, low), min(b, high)) for a, b in ranges if a < high and b > low]


def subtract(ranges: Sequence[Range], holes: Sequence[Range]) -> list[Range]:
    """Take `holes` out of `ranges`; both disjoint and sorted."""
    left: list[Range] = []
    at_hole = 0
    for start, end in ranges:
        while at_hole < len(holes) and holes[at_hole][1] <= start:
            at_hole += 1
        index, at = at_hole, start
        while at < end and index < len(holes) and holes[index][0] < end:
            hole_start, hole_end = holes[index]
            if at < hole_start:
                left.append((at, hole_start))
            at = max(at, hole_end)
            index += 1
        if at < end:
            left.append((at, end))
    return left


class Coverage(msgspec.Struct, frozen=True):
    """Coverage of one series; immutable."""

    by_source: dict[Source, list[Range]] = {}
    """Disjoint sorted ranges of each source."""
    files: tuple[str, ...] = ()
    """Partitions that were there when this was written: one that is not any more takes its claims
    with it."""
    lost: tuple[Range, ...] = ()
    """What had been answered for and is not stored any more: missing, though nothing is beyond."""
    unsettled: tuple[Range, ...] = ()
    """Part of REST's ranges: answered so soon after its end that Kraken may still revise it."""
    unavailable: tuple[Range, ...] = ()
    """Asked for in vain: missing, and not worth asking again unless somebody says so."""

    def with_range(
        self, source: Source, covered: Range, *, unsettled_from: int | None = None
    ) -> "Coverage":
        """Add a range; gives `self` when it was known already. See `with_ranges`."""
        return self.with_ranges(source, [covered], unsettled_from=unsettled_from)

    def with_ranges(
        self, source: Source, covered: Sequence[Range], *, unsettled_from: int | None = None
    ) -> "Coverage":
        """Add ranges; gives `self` when they were known already.

        Args:
            source: Who answered.
            covered: The ranges, in any order.
            unsettled_from: REST's answer may still be revised from this second on.
        """
        new = union(covered)
        known = self.by_source.get(source, [])
        joined = union([*known, *new])
        unsettled = self.unsettled
        if source is Source.REST:
            young = [] if unsettled_from is None else subtract(new, [(0, unsettled_from)])
            unsettled = tuple(union([*subtract(unsettled, new), *young]))
        if joined == known and unsettled == self.unsettled:
            return self
        return msgspec.structs.replace(
            self,
            by_source={**self.by_source, source: joined},
            lost=tuple(subtract(self.lost, new)),
            unsettled=unsettled,
            unavailable=tuple(subtract(self.unavailable, new)),
        )

    def without(self, lost: Range) -> "Coverage":
        """Take a range away from every source, and remember what of it had been known."""
        remaining = {s: subtract(r, [lost]) for s, r in self.by_source.items()}
        known = union([*self.lost, *intersect(self.all(), lost)])
        return msgspec.structs.replace(
            self,
            by_source={s: r for s, r in remaining.items() if r},
            lost=tuple(known),
            unsettled=tuple(subtract(self.unsettled, [lost])),
            unavailable=tuple(subtract(self.unavailable, [lost])),
        )

    def with_files(self, files: Iterable[str]) -> "Coverage":
        """Name the partitions that are there."""
        return msgspec.structs.replace(self, files=tuple(sorted(files)))

    def with_unavailable(self, stretches: Iterable[Range]) -> "Coverage":
        """Remember what was asked for in vain; gives `self` when that was known already."""
        left = subtract(union([*self.unavailable, *stretches]), self.all())
        unavailable = tuple(left)
        if unavailable == self.unavailable:
            return self
        return msgspec.structs.replace(self, unavailable=unavailable)

    def all(self) -> list[Range]:
        """Ranges that any source has answered for."""
        return union(r for ranges in self.by_source.values() for r in ranges)

    def holds(self, moment_s: int) -> bool:
        """Whether any source has answered for a second."""
        return any(a <= moment_s < b for ranges in self.by_source.values() for a, b in ranges)

    def strongest(self, window: Range) -> list[tuple[int, int, Source]]:
        """Split the window's covered part by the strongest source that answered; sorted."""
        pieces: list[tuple[int, int, Source]] = []
        taken: list[Range] = []
        for source in sorted(self.by_source, reverse=True):
            mine = intersect(self.by_source[source], window)
            pieces += [(a, b, source) for a, b in subtract(mine, taken)]
            taken = union([*taken, *mine])
        return sorted(pieces)

    def ranges(self) -> tuple[CoverageRange, ...]:
        """Every range, by source (strongest first), then by time; unsettled ones by themselves."""
        found: list[CoverageRange] = []
        for source in sorted(self.by_source, reverse=True):
            young = self.unsettled if source is Source.REST else ()
            settled = [(a, b, True) for a, b in subtract(self.by_source[source], young)]
            unsettled = [(a, b, False) for a, b in young]
            found += [CoverageRange(a, b, source, old) for a, b, old in sorted(settled + unsettled)]
        return tuple(found)


class _Versioned(msgspec.Struct):
    version: int


class _Document(_Versioned, forbid_unknown_fields=True):
    ranges: dict[str, list[Range]]
    files: tuple[str, ...] = ()
    lost: tuple[Range, ...] = ()
    unsettled: tuple[Range, ...] = ()
    unavailable: tuple[Range, ...] = ()


_VERSION: Final = 2
"""Version of the document: 2 knows what is unsettled and what is unavailable."""


def encode(coverage: Coverage) -> bytes:
    """Return the file's bytes: one line of JSON, one line with its CRC-32."""
    document = _Document(
        _VERSION,
        {s.name: r for s, r in sorted(coverage.by_source.items())},
        coverage.files,
        coverage.lost,
        coverage.unsettled,
        coverage.unavailable,
    )
    body = msgspec.json.encode(document)
    return body + b"\n%08x\n" % zlib.crc32(body)


def version(data: bytes) -> int:
    """Return the version of the document in a file.

    Raises:
        ValueError: The bytes are damaged.
    """
    return _document(data, _Versioned).version


def decode(data: bytes) -> "Coverage":
    """Read `encode` back.

    Raises:
        ValueError: The bytes are damaged, or of a newer version.
    """
    document = _document(data, _Document)
    if not 1 <= document.version <= _VERSION:
        raise ValueError(f"version {document.version} is newer than this krakked")
    return Coverage(
        {Source[name]: union(r) for name, r in document.ranges.items()},
        document.files,
        document.lost,
        document.unsettled,
        document.unavailable,
    )


_D = TypeVar("_D", bound=_Versioned)


def _document(data: bytes, kind: type[_D]) -> _D:
    body, _, checksum = data.partition(b"\n")
    if checksum != b"%08x\n" % zlib.crc32(body):
        raise ValueError("the checksum does not fit")
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise ValueError("it is no coverage document") from error
