"""What users may call on the live stream: the face of `krakked._market.stream`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from krakked._market.stream.feed import Feed
from krakked._market.stream.statistics import FeedStatistics
from krakked._network.clock import require_home
from krakked._public import public
from krakked._timeframes import Timeframe


@public
@final
class LiveFeed:
    """The live stream of one `Kraken`: what it streams, and how it does; get it as `Kraken.feed`.

    Pairs may be named in any spelling. What is asked for is streamed as soon as the exchange has
    acknowledged it; `Kraken.wait_live` waits for that.
    """

    def __init__(self, stream: Feed) -> None:
        self._stream = stream

    def __repr__(self) -> str:
        return f"<LiveFeed: {len(self.pairs)} pairs, {' '.join(self.timeframes)}>"

    @property
    def pairs(self) -> tuple[str, ...]:
        """Canonical names of the streamed pairs."""
        return self._stream.pairs

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Streamed timeframes."""
        return self._stream.timeframes

    def add_pairs(self, pairs: Iterable[str]) -> None:
        """Stream more pairs.

        Raises:
            UnknownPairError: One of them does not exist; nothing was changed.
            ClosedError: The stream has ended.
        """
        require_home(self._stream.hub.home, "The live stream")
        self._stream.add_pairs(pairs)

    def remove_pairs(self, pairs: Iterable[str]) -> None:
        """Stop streaming pairs; their data is forgotten. Errors as for `add_pairs`."""
        require_home(self._stream.hub.home, "The live stream")
        self._stream.remove_pairs(pairs)

    def set_pairs(self, pairs: Iterable[str]) -> None:
        """Stream exactly these pairs. Errors as for `add_pairs`."""
        require_home(self._stream.hub.home, "The live stream")
        self._stream.set_pairs(pairs)

    def add_timeframe(self, timeframe: Timeframe) -> None:
        """Stream one more timeframe, over a connection of its own.

        Raises:
            UnknownTimeframeError: No such timeframe, or one that is not streamed.
            ClosedError: The stream has ended.
        """
        require_home(self._stream.hub.home, "The live stream")
        self._stream.add_timeframe(timeframe)

    def remove_timeframe(self, timeframe: Timeframe) -> None:
        """Stop streaming a timeframe. Errors as for `add_timeframe`."""
        require_home(self._stream.hub.home, "The live stream")
        self._stream.remove_timeframe(timeframe)

    def statistics(self) -> FeedStatistics:
        """Return the facts about the stream as it stands; sends nothing and never waits."""
        return self._stream.statistics()
