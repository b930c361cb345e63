"""Frames of the journal of live bars: magic, length, CRC-32, payload. Pure.

A kill or a power cut in mid-write leaves a torn frame at the end; `scan` stops before it. Damage
in the middle is told apart: the magic finds the next sound frame, and nothing behind is given up.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

import msgspec

from krakked._market.bars import OHLCBar
from krakked._unreadable import UNREADABLE

_MAGIC: Final = b"KJF1"
_HEAD: Final = Struct("<4sII")
_LIMIT: Final = 1 << 26

Entry = tuple[str, OHLCBar]
"""Pair and bar."""

_Row = tuple[str, int, float, float, float, float, float | None, float, int]


class JournalScan(NamedTuple):
    """What `scan` found."""

    payloads: list[bytes]
    """Payloads of the sound frames, in order."""
    end: int
    """Where the last sound frame ends: what follows is a torn tail."""
    damaged: list[tuple[int, int]]
    """Stretches between sound frames that hold none."""


def frame(payload: bytes) -> bytes:
    """Frame one payload; the sum covers its length too, so that zeros are no frame."""
    length = len(payload).to_bytes(4, "little")
    return _HEAD.pack(_MAGIC, len(payload), zlib.crc32(payload, zlib.crc32(length))) + payload


def _sound(data: bytes, at: int) -> bytes | None:
    if at + _HEAD.size > len(data):
        return None
    magic, length, checksum = _HEAD.unpack_from(data, at)
    start = at + _HEAD.size
    if magic != _MAGIC or not 0 < length <= _LIMIT or start + length > len(data):
        return None
    payload = data[start : start + length]
    expected = zlib.crc32(payload, zlib.crc32(length.to_bytes(4, "little")))
    return payload if checksum == expected else None


def scan(data: bytes, start: int = 0) -> JournalScan:
    """Read the frames of a journal from an offset that is a frame's start."""
    payloads: list[bytes] = []
    damaged: list[tuple[int, int]] = []
    end = at = start
    while at < len(data):
        payload = _sound(data, at)
        if payload is None:
            at = data.find(_MAGIC, at + 1)
            if at < 0:
                break
            continue
        if at > end:
            damaged.append((end, at))
        payloads.append(payload)
        at = end = at + _HEAD.size + len(payload)
    return JournalScan(payloads, end, damaged)


def encode(entries: Iterable[Entry]) -> bytes:
    """Return the payload of one batch of bars."""
    return msgspec.msgpack.encode([_row(pair, bar) for pair, bar in entries])


def _row(pair: str, bar: OHLCBar) -> _Row:
    """Plain numbers: those of other libraries are kinds of them, and cannot be encoded."""
    vwap = None if bar.vwap is None else float(bar.vwap)
    return (
        str(pair),
        int(bar.time),
        float(bar.open),
        float(bar.high),
        float(bar.low),
        float(bar.close),
        vwap,
        float(bar.volume),
        int(bar.count),
    )


class Decoded(NamedTuple):
    """What `decode` found."""

    entries: list[Entry]
    """The bars, in order."""
    unreadable: int
    """How many entries hold none; a payload that is no list of entries counts as one."""


def decode(payload: bytes) -> Decoded:
    """Read `encode` back, entry by entry where one of them is no bar."""
    with contextlib.suppress(*UNREADABLE):
        rows = msgspec.msgpack.decode(payload, type=list[_Row])
        return Decoded([_entry(row) for row in rows], 0)
    entries: list[Entry] = []
    try:
        each = msgspec.msgpack.decode(payload, type=list[msgspec.Raw])
    except UNREADABLE:
        return Decoded(entries, 1)
    for raw in each:
        with contextlib.suppress(*UNREADABLE):
            entries.append(_entry(msgspec.msgpack.decode(raw, type=_Row)))
    return Decoded(entries, len(each) - len(entries))


def _entry(row: _Row) -> Entry:
    return row[0], OHLCBar(*row[1:])
