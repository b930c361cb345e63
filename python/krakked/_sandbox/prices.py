"""Where a price stands at any instant, and the best bid and ask around it.

The logarithm of a price is a sum of value noises at periods from 256 days down to 15 seconds with
amplitudes growing as the square root of the period, which looks like a random walk and can be read
at any time without walking. It belongs to the base asset, so XBTUSD and XBTEUR move together.
Quotes stand still within a slot and change from slot to slot.
"""

from __future__ import annotations

import math

import numpy as np

from krakked._sandbox.digits import NS
from krakked._sandbox.hashing import F64, I64, field, hash64, seed_of, unit

_DAY_NS = 86_400 * NS
_PERIODS = tuple(256 * _DAY_NS // 4**n for n in range(11))
_PERIODS_ROW = np.array(_PERIODS, np.int64)
_FEW = 256  # times for which all periods are drawn in one sweep


class PricePath:
    """The price of one asset, as a factor around 1."""

    def __init__(self, seed: int, daily_move: float) -> None:
        self._seeds = [seed_of(seed, "path", n) for n in range(len(_PERIODS))]
        self._sizes = [daily_move * math.sqrt(p / _DAY_NS) for p in _PERIODS]
        self._seeds_row = np.array(self._seeds, np.uint64)
        self._sizes_row = np.array(self._sizes) * 2

    def log_factor(self, times: I64) -> F64:
        """Return the logarithm of the factor at unix nanoseconds."""
        if len(times) <= _FEW:
            column = times[:, None]
            cells = column // _PERIODS_ROW
            parts = (column - cells * _PERIODS_ROW) / _PERIODS_ROW
            ends = unit(hash64(self._seeds_row, np.stack((cells, cells + 1))))
            heights = ends[0] + (ends[1] - ends[0]) * parts - 0.5
            # Added one after the other, as below: both ways must agree to the last bit.
            return np.cumsum(heights * self._sizes_row, axis=1)[:, -1]
        total = np.zeros(len(times))
        for seed, size, period in zip(self._seeds, self._sizes, _PERIODS, strict=True):
            cell = times // period
            low, high = int(cell.min()), int(cell.max()) + 2
            part = (times - cell * period) / period
            if high - low <= 2 * len(times) + 2:  # few lattice points: draw each once
                lattice = unit(hash64(seed, np.arange(low, high, dtype=np.int64)))
                cell -= low
                left, right = lattice[cell], lattice[cell + 1]
            else:
                left, right = unit(hash64(seed, cell)), unit(hash64(seed, cell + 1))
            total += (left + (right - left) * part - 0.5) * (2 * size)
        return total


class Quotes:
    """Best bid and ask of one pair, slot by slot."""

    def __init__(
        self,
        seed: int,
        path: PricePath,
        *,
        price: float,
        decimals: int,
        spread: float,
        slot_ns: int,
        mean_lots: float,
    ) -> None:
        self._seed = seed_of(seed, "quote")
        self._path = path
        self._price_ticks = price * 10**decimals
        self._spread_ticks = max(1, round(self._price_ticks * spread))
        self.walk_ticks: int = max(1, self._spread_ticks // 2)
        self._mean_lots = mean_lots
        self.slot_ns = slot_ns
        self._phase_ns = seed_of(seed, "phase") % slot_ns

    def slot_at(self, times: I64) -> I64:
        """Return the slots in which times lie."""
        return (times - self._phase_ns) // self.slot_ns

    def slot_start(self, slot: int) -> int:
        """Return the first nanosecond of a slot."""
        return slot * self.slot_ns + self._phase_ns

    def prices(self, slots: I64) -> tuple[I64, I64]:
        """Return bid and ask in ticks, bid < ask."""
        times = slots * self.slot_ns + self._phase_ns
        middle = self._price_ticks * np.exp(self._path.log_factor(times))
        bits = hash64(self._seed, slots)
        width = self._spread_ticks + np.floor(
            field(bits, 0, 8) ** 3 * 2 * self.walk_ticks + 0.3
        ).astype(np.int64)
        bid = np.maximum(np.floor(middle - width * field(bits, 8, 8)).astype(np.int64), 1)
        return bid, bid + width

    def sizes(self, slots: I64) -> tuple[I64, I64]:
        """Return the lots standing at bid and ask."""
        bits = hash64(self._seed, slots)
        bid = np.exp(3 * field(bits, 16, 20) - 1.0) * self._mean_lots
        ask = np.exp(3 * field(bits, 36, 20) - 1.0) * self._mean_lots
        return np.maximum(bid, 1.0).astype(np.int64), np.maximum(ask, 1.0).astype(np.int64)
