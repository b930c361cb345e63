"""One pair's trades, random access by id and by time.

Trades come in eras of constant rate, an era in blocks of 64 trades. Within a block of fixed length
the times are sorted random draws, so arrivals look like a Poisson process, and four in ten share
their predecessor's time (recorded: 586 distinct times in 1,000 rows). Ids count from 1 at the
listing without holes. Everything about trade k follows from (seed, k) alone.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np

from krakked._sandbox.digits import NS
from krakked._sandbox.hashing import F64, I64, Bools, field, hash64, seed_of, unit
from krakked._sandbox.prices import Quotes

BLOCK = 64
_TIE_SHARE = 0.41
_FAR = np.int64(2**62)


@dataclass(frozen=True, slots=True)
class Era:
    """A stretch of time with one rate of trades.

    Attributes:
        start_ns: First instant.
        end_ns: First instant after it; None: goes on for ever.
        block_ns: Length of a full block; 0 when the era has no trades.
        first_id: Id of its first trade.
        count: Number of its trades; None: goes on for ever.
        mean_lots: Mean size of a trade, in lots.
    """

    start_ns: int
    end_ns: int | None
    block_ns: int
    first_id: int
    count: int | None
    mean_lots: float


@dataclass(frozen=True, slots=True)
class Trades:
    """Consecutive trades, as columns."""

    ids: I64
    times: I64
    """Unix nanoseconds, never falling."""
    prices: I64
    """Ticks of 10**-pair_decimals."""
    lots: I64
    """Units of 10**-lot_decimals."""
    buys: Bools
    markets: Bools

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, start: int, stop: int) -> Trades:
        """Return a slice, as views."""
        s = slice(start, stop)
        return Trades(
            self.ids[s],
            self.times[s],
            self.prices[s],
            self.lots[s],
            self.buys[s],
            self.markets[s],
        )


def eras(spans: list[tuple[int, int | None, float]], daily_lots: float) -> tuple[Era, ...]:
    """Lay eras end to end.

    Args:
        spans: start_ns, end_ns, trades a second.
        daily_lots: Lots traded in 24 h, kept in every era.
    """
    made: list[Era] = []
    first_id = 1
    for start_ns, end_ns, rate in spans:
        mean = daily_lots / (86_400 * rate) if rate else 0.0
        count: int | None
        if end_ns is None:
            count = None if rate else 0
            block_ns = max(BLOCK, round(BLOCK * NS / rate)) if rate else 0
        else:
            count = round((end_ns - start_ns) * rate / NS)
            block_ns = (end_ns - start_ns) * BLOCK // count if count else 0
        made.append(Era(start_ns, end_ns, block_ns, first_id, count, max(mean, 1.0)))
        first_id += count or 0
    return tuple(made)


class Tape:
    """The trades of one pair."""

    def __init__(self, seed: int, pair_eras: tuple[Era, ...], quotes: Quotes) -> None:
        self._eras = pair_eras
        self._starts = [era.start_ns for era in pair_eras]
        self._first_ids = [era.first_id for era in pair_eras]
        self._time_seeds = [seed_of(seed, "time", n) for n in range(len(pair_eras))]
        self._trade_seed = seed_of(seed, "trade")
        self._quotes = quotes
        self._recent: dict[tuple[int, int], Trades] = {}
        self._recent_times: dict[tuple[int, int], I64] = {}

    @property
    def listed_ns(self) -> int:
        """When the pair was listed."""
        return self._starts[0]

    def count_at(self, at_ns: int) -> int:
        """Return the number of trades at or before a time: the id of the newest one."""
        n = bisect.bisect_right(self._starts, at_ns) - 1
        if n < 0:
            return 0
        era = self._eras[n]
        if era.count == 0:
            return era.first_id - 1
        if era.end_ns is not None and at_ns >= era.end_ns:
            return era.first_id - 1 + (era.count or 0)
        block = (at_ns - era.start_ns) // era.block_ns
        if era.count is not None:
            block = min(block, (era.count - 1) // BLOCK)
        times = self._kept_times(n, block)
        inside = int(np.searchsorted(times, at_ns, side="right"))
        return era.first_id - 1 + block * BLOCK + inside

    def trades(self, first_id: int, last_id: int) -> Trades:
        """Return trades `first_id` to `last_id`, both included; ids that never will be are cut."""
        first_id = max(first_id, 1)
        if last_id - first_id < BLOCK:  # small readings come from whole blocks, which are kept
            n = max(0, bisect.bisect_right(self._first_ids, first_id) - 1)
            while n and self._eras[n].count == 0:
                n -= 1
            era = self._eras[n]
            block, place = divmod(first_id - era.first_id, BLOCK)
            inside = place + last_id - first_id < BLOCK
            if inside and (era.count is None or last_id - era.first_id < era.count):
                return self._block(n, block).cut(place, place + last_id - first_id + 1)
        return self._complete(*self._times(first_id, last_id))

    def _block(self, era_index: int, block: int) -> Trades:
        kept = self._recent.get((era_index, block))
        if kept is None:
            if len(self._recent) >= 4:
                self._recent.pop(next(iter(self._recent)))
            era = self._eras[era_index]
            times = self._kept_times(era_index, block)
            first = era.first_id + block * BLOCK
            kept = self._complete(np.arange(first, first + len(times), dtype=np.int64), times)
            self._recent[era_index, block] = kept
        return kept

    def _kept_times(self, era_index: int, block: int) -> I64:
        times = self._recent_times.get((era_index, block))
        if times is None:
            if len(self._recent_times) >= 4:
                self._recent_times.pop(next(iter(self._recent_times)))
            times = self._block_times(era_index, block, block + 1)
            self._recent_times[era_index, block] = times
        return times

    def _complete(self, ids: I64, times: I64) -> Trades:
        """Return trades everything but their id and time."""
        bits = hash64(self._trade_seed, ids)
        buys = field(bits, 0, 1) < 0.5
        bid, ask = self._quotes.prices(self._quotes.slot_at(times))
        walk = np.floor(field(bits, 1, 8) ** 4 * 4).astype(np.int64) * self._quotes.walk_ticks
        prices = np.maximum(np.where(buys, ask + walk, bid - walk), 1)
        # Log-normal sizes with a heavy tail; the factor keeps the mean where it should be.
        normal = (field(bits, 9, 14) + field(bits, 23, 14) + field(bits, 37, 14) - 1.5) * 2.0
        lots = np.maximum(np.rint(self._mean_lots(ids) * np.exp(1.3 * normal - 0.82)), 1.0)
        markets = field(bits, 51, 8) < 0.45
        return Trades(ids, times, prices, lots.astype(np.int64), buys, markets)

    def rest_of_block(self, first_id: int) -> Trades:
        """Return the trades from an id to the end of its block; none when none will ever follow."""
        n = max(0, bisect.bisect_right(self._first_ids, first_id) - 1)
        era = self._eras[n]
        if era.count is not None and first_id - era.first_id >= era.count:
            return self._complete(np.empty(0, np.int64), np.empty(0, np.int64))
        block, place = divmod(first_id - era.first_id, BLOCK)
        return self._block(n, block).cut(place, BLOCK)

    def between(self, start_ns: int, end_ns: int) -> Trades:
        """Return the trades with start_ns <= time < end_ns."""
        return self.trades(self.count_at(start_ns - 1) + 1, self.count_at(end_ns - 1))

    def _mean_lots(self, ids: I64) -> F64:
        means = np.array([era.mean_lots for era in self._eras])
        index = np.searchsorted(np.array(self._first_ids), ids, side="right") - 1
        return means[index]

    def _times(self, first_id: int, last_id: int) -> tuple[I64, I64]:
        parts: list[I64] = [np.empty(0, np.int64)]
        for n, era in enumerate(self._eras):
            start = max(first_id - era.first_id, 0)
            stop = last_id - era.first_id + 1
            if era.count is not None:
                stop = min(stop, era.count)
            if stop <= start:
                continue
            low, high = start // BLOCK, (stop + BLOCK - 1) // BLOCK
            times = self._block_times(n, low, high)
            parts.append(times[start - low * BLOCK : stop - low * BLOCK])
        times = np.concatenate(parts)
        return np.arange(first_id, first_id + len(times), dtype=np.int64), times

    def _block_times(self, era_index: int, low: int, high: int) -> I64:
        """Return the times of blocks low..high-1 in a row, short last block included."""
        era = self._eras[era_index]
        places = np.arange(low * BLOCK, high * BLOCK, dtype=np.int64)
        bits = hash64(self._time_seeds[era_index], places).reshape(high - low, BLOCK)
        within = unit(bits)
        starts = era.start_ns + np.arange(low, high, dtype=np.int64)[:, None] * era.block_ns
        length = np.full((high - low, 1), float(era.block_ns))
        short = 0
        if era.count is not None and era.end_ns is not None and high * BLOCK > era.count:
            short = high * BLOCK - era.count
            within[-1, BLOCK - short :] = 2.0  # sorts behind the real ones
            length[-1] = float(era.end_ns - int(starts[-1, 0]))
        within.sort(axis=1)
        times = starts + (within * length).astype(np.int64)
        ties = field(bits, 0, 11) < _TIE_SHARE
        ties[:, 0] = False
        times = np.maximum.accumulate(np.where(ties, np.int64(0), times), axis=1).reshape(-1)
        return times[: len(times) - short] if short else times
