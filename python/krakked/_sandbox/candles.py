"""Candles, always computed from trades, and kept once computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from krakked._sandbox.digits import NS
from krakked._sandbox.hashing import F64, I64
from krakked._sandbox.tape import Tape, Trades

_CHUNK = 400_000  # trades in memory at once


@dataclass(frozen=True, slots=True)
class Candles:
    """Candles that had at least one trade, as columns, ascending."""

    times: I64
    """Open time in unix seconds."""
    opens: I64
    highs: I64
    lows: I64
    closes: I64
    lots: I64
    costs: F64
    """Sum of ticks * lots."""
    counts: I64

    def __len__(self) -> int:
        return len(self.times)

    def columns(self) -> tuple[I64, I64, I64, I64, I64, I64, F64, I64]:
        """Return all columns in the order of the fields."""
        return (
            self.times,
            self.opens,
            self.highs,
            self.lows,
            self.closes,
            self.lots,
            self.costs,
            self.counts,
        )

    def cut(self, start_s: int, end_s: int) -> Candles:
        """Return the candles with start_s <= time < end_s, as views."""
        low, high = (int(i) for i in np.searchsorted(self.times, (start_s, end_s)))
        return Candles(*(column[low:high] for column in self.columns()))  # type: ignore[arg-type]

    def vwap_ticks(self) -> I64:
        """Return each candle's volume-weighted price, rounded to a tick."""
        return np.rint(self.costs / self.lots).astype(np.int64)


def empty() -> Candles:
    """Return no candles."""
    none = np.empty(0, np.int64)
    return Candles(none, none, none, none, none, none, np.empty(0), none)


def candles_of(trades: Trades, step_s: int) -> Candles:
    """Build candles from trades in time order."""
    if not len(trades):
        return empty()
    buckets = trades.times // (step_s * NS)
    firsts = np.concatenate(([0], np.flatnonzero(np.diff(buckets)) + 1))
    lasts = np.concatenate((firsts[1:], [len(trades)])) - 1
    costs = trades.prices.astype(np.float64) * trades.lots
    return Candles(
        times=buckets[firsts] * step_s,
        opens=trades.prices[firsts],
        highs=np.maximum.reduceat(trades.prices, firsts),
        lows=np.minimum.reduceat(trades.prices, firsts),
        closes=trades.prices[lasts],
        lots=np.add.reduceat(trades.lots, firsts),
        costs=np.add.reduceat(costs, firsts),
        counts=lasts - firsts + 1,
    )


def joined(parts: list[Candles], *, merge: bool = False) -> Candles:
    """Put parts in a row; with `merge` a part's first candle may continue the last one before."""
    parts = [part for part in parts if len(part)]
    if len(parts) <= 1:
        return parts[0] if parts else empty()
    columns = [np.concatenate(column) for column in zip(*(p.columns() for p in parts), strict=True)]
    whole = Candles(*columns)
    if not merge or len(np.unique(whole.times)) == len(whole):
        return whole
    return regrouped(whole, 1)


def regrouped(candles: Candles, step_s: int) -> Candles:
    """Build longer candles from shorter ones."""
    if not len(candles):
        return candles
    buckets = candles.times // step_s
    firsts = np.concatenate(([0], np.flatnonzero(np.diff(buckets)) + 1))
    lasts = np.concatenate((firsts[1:], [len(candles)])) - 1
    return Candles(
        times=buckets[firsts] * step_s,
        opens=candles.opens[firsts],
        highs=np.maximum.reduceat(candles.highs, firsts),
        lows=np.minimum.reduceat(candles.lows, firsts),
        closes=candles.closes[lasts],
        lots=np.add.reduceat(candles.lots, firsts),
        costs=np.add.reduceat(candles.costs, firsts),
        counts=np.add.reduceat(candles.counts, firsts),
    )


class CandleSeries:
    """Closed candles of one pair and interval, computed on demand and kept."""

    def __init__(self, tape: Tape, step_s: int) -> None:
        self._tape = tape
        self._step_s = step_s
        self._start_s = 0
        self._end_s = 0
        self._kept = empty()

    def get(self, start_s: int, end_s: int) -> Candles:
        """Return the candles with start_s <= time < end_s; both multiples of the interval."""
        if self._start_s == self._end_s or end_s < self._start_s or start_s > self._end_s:
            self._kept = self._compute(start_s, end_s)
            self._start_s, self._end_s = start_s, end_s
        if start_s < self._start_s:
            self._kept = joined([self._compute(start_s, self._start_s), self._kept])
            self._start_s = start_s
        if end_s > self._end_s:
            self._kept = joined([self._kept, self._compute(self._end_s, end_s)])
            self._end_s = end_s
        return self._kept.cut(start_s, end_s)

    def learn(self, start_s: int, end_s: int, known: Candles) -> None:
        """Take over candles computed elsewhere from the same trades."""
        if self._start_s == self._end_s:
            self._start_s, self._end_s, self._kept = start_s, end_s, known

    def _compute(self, start_s: int, end_s: int) -> Candles:
        first = self._tape.count_at(start_s * NS - 1) + 1
        last = self._tape.count_at(end_s * NS - 1)
        parts = [
            candles_of(self._tape.trades(at, min(at + _CHUNK - 1, last)), self._step_s)
            for at in range(first, last + 1, _CHUNK)
        ]
        return joined(parts, merge=True)
