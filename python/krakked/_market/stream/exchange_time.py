"""What time the exchange has, without trusting the wall clock after the start. Pure.

The wall clock may step by an hour at any moment; the elapsed clock never does, and every answer of
the exchange bears its time. So: the wall clock once, at the start, then REST's Time, and from the
first answer of the stream on the offset that the cache has learned from all of them.
"""

from __future__ import annotations

from collections.abc import Callable


class ExchangeTime:
    """Maps the elapsed clock to the exchange's wall clock.

    Args:
        wall_ns: The wall clock at the start, unix nanoseconds.
        elapsed_ns: The elapsed clock at the start.
        told: Gives what the stream's answers tell of an elapsed time, or None so far.
    """

    def __init__(
        self, wall_ns: int, elapsed_ns: int, told: Callable[[int], int | None] | None = None
    ) -> None:
        self._offset_ns = wall_ns - elapsed_ns
        self._told = told

    def sample(self, exchange_ns: int, elapsed_ns: int) -> None:
        """Note what REST told, and the elapsed time of its answer."""
        self._offset_ns = exchange_ns - elapsed_ns

    def now_ns(self, elapsed_ns: int) -> int:
        """Return the exchange's unix time in nanoseconds."""
        told = self._told(elapsed_ns) if self._told is not None else None
        return self._offset_ns + elapsed_ns if told is None else told
