"""What time the exchange has, without trusting the wall clock after the start. Pure.

Candles close by the exchange's time. The wall clock may step by an hour at any moment; the elapsed
clock never does, and every ticker update carries the exchange's own stamp. So: the wall clock once,
at the start, and from then on the offset between the exchange's stamps and the elapsed clock.
"""

from __future__ import annotations

from collections import deque
from typing import Final

SAMPLES: Final = 64
"""Stamps remembered."""
QUANTILE: Final = 0.75
"""A stamp can be old (nothing changed) but hardly too new: high, yet no single one decides."""


class ExchangeTime:
    """Maps the elapsed clock to the exchange's wall clock."""

    def __init__(self, wall_ns: int, elapsed_ns: int) -> None:
        self._offset_ns = wall_ns - elapsed_ns
        self._samples: deque[int] = deque(maxlen=SAMPLES)

    @property
    def learned(self) -> bool:
        """Whether the exchange itself has told the time."""
        return bool(self._samples)

    def sample(self, exchange_ns: int, elapsed_ns: int) -> None:
        """Note a stamp of the exchange and the elapsed time of its arrival."""
        self._samples.append(exchange_ns - elapsed_ns)

    def settle(self) -> None:
        """Draw the conclusion from the samples so far."""
        if self._samples:
            ordered = sorted(self._samples)
            self._offset_ns = ordered[int(QUANTILE * (len(ordered) - 1))]

    def now_ns(self, elapsed_ns: int) -> int:
        """Give the exchange's unix time in nanoseconds."""
        return self._offset_ns + elapsed_ns
