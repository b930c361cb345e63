"""Frames of the journal of live bars: magic, length, CRC-32, payload. Pure.

A kill or a power cut in mid-write leaves a torn frame at the end; `scan` stops before it. Damage
in the middle is told apart: the magic finds the next sound frame, and nothing behind is given up.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

import msgspec

from krakked.errors import StoreCorruptError
from krakked.market.bars import OHLCBar

_MAGIC: Final = b"KJF1"
_HEAD: Final = Struct("<4sII")
_LIMIT: Final = 1 << 26

Entry = tuple[str, OHLCBar]
"""Pair and bar."""

_Row = tuple[str, int, float, float, float, float, float | None, float, int]


class Scan(NamedTuple):
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


def scan(data: bytes, start: int = 0) -> Scan:
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
    return Scan(payloads, end, damaged)


def encode(entries: Iterable[Entry]) -> bytes:
    """Give the payload of one batch of bars."""
    rows = [
        (pair, b.time, b.open, b.high, b.low, b.close, b.vwap, b.volume, b.count)
        for pair, b in entries
    ]
    return msgspec.msgpack.encode(rows)


def decode(payload: bytes) -> list[Entry]:
    """Read `encode` back.

    Raises:
        StoreCorruptError: A sound frame with something else in it: of a newer version.
    """
    try:
        rows = msgspec.msgpack.decode(payload, type=list[_Row])
    except msgspec.MsgspecError as error:
        raise StoreCorruptError(
            "A frame of the journal holds no bars of this version: a newer krakked wrote it."
        ) from error
    return [(row[0], OHLCBar(*row[1:])) for row in rows]
