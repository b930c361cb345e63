"""The rule of the signal bots: two moving averages of closed candles, without a word of Kraken."""

from __future__ import annotations

from collections import deque


class Averages:
    """Says when the short average crosses the long one.

    Args:
        short: Candles in the short average.
        long: Candles in the long one.
    """

    def __init__(self, short: int = 5, long: int = 20) -> None:
        self._short, self._closes = short, deque[float](maxlen=long)
        self._was_above: bool | None = None

    def closed(self, close: float) -> str | None:
        """Take the next closed candle; give ``up`` or ``down`` when the averages cross."""
        self._closes.append(close)
        if len(self._closes) < (self._closes.maxlen or 0):
            return None
        newest = list(self._closes)[-self._short :]
        above = sum(newest) / len(newest) > sum(self._closes) / len(self._closes)
        crossed = self._was_above is not None and above != self._was_above
        self._was_above = above
        return ("up" if above else "down") if crossed else None

    def restart(self, closes: list[float]) -> None:
        """Begin anew with these candles, oldest first, without a signal for any of them."""
        self._closes.clear()
        self._was_above = None
        for close in closes:
            self.closed(close)
