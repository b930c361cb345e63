"""Seeded, random-access randomness: any draw can be made without making the ones before it.

splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014)
over numpy arrays; every array is at least one-dimensional, since numpy warns on scalar overflow.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def seed_of(*parts: int | str) -> int:
    """Return a 64-bit seed that depends on every part."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def hash64(seed: int | U64, index: I64) -> U64:
    """Return one well-mixed 64-bit number for each index; several seeds broadcast."""
    x = index.astype(np.uint64)
    x *= _GOLDEN
    x += np.uint64(seed) if isinstance(seed, int) else seed
    x ^= x >> _S30
    x *= _MIX_1
    x ^= x >> _S27
    x *= _MIX_2
    x ^= x >> _S31
    return x


def unit(bits: U64) -> F64:
    """Turn 64-bit numbers into floats in [0, 1)."""
    return (bits >> _S11).astype(np.float64) * 2.0**-53


def field(bits: U64, shift: int, width: int) -> F64:
    """Turn `width` bits from `shift` upward into floats in [0, 1)."""
    mask = np.uint64((1 << width) - 1)
    return ((bits >> np.uint64(shift)) & mask).astype(np.float64) * 2.0**-width
