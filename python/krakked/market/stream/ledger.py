"""Closed candles, each exactly once and in order, over however many outages. Pure.

The cache closes candles; a lost connection leaves holes. After a reconnect the ohlc snapshot mends
a short outage by itself (it brings the last few traded candles whole). Only when its oldest row is
newer than the newest candle known is there a hole, and REST has to fill it. While a series has a
hole its newer candles wait here, so that order holds.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from krakked.market.bars import OHLCBar, Source

Series = tuple[str, int]
"""(WebSocket v2 symbol, interval in minutes)."""


class SeriesCandle(msgspec.Struct, frozen=True, gc=False):
    """One closed candle of one series."""

    symbol: str
    """WebSocket v2 symbol."""
    interval: int
    """Minutes."""
    bar: OHLCBar
    source: Source
    """WEBSOCKET, or REST where an outage was filled."""


class Hole(msgspec.Struct, frozen=True):
    """Candles of one series that the stream has missed: [since_s, until_s) by open time."""

    symbol: str
    interval: int
    since_s: int
    until_s: int


class _Story:
    """What is known of one series."""

    __slots__ = ("hole", "last_s", "lost_at_s", "waiting")

    def __init__(self) -> None:
        self.last_s = -1  # open time of the last candle given out
        self.lost_at_s: int | None = None  # newest candle known when the connection was lost
        self.hole: Hole | None = None
        self.waiting: list[SeriesCandle] = []


class CandleLedger:
    """Remembers per series what was given out, and what has to wait."""

    def __init__(self) -> None:
        self._stories: dict[Series, _Story] = {}
        self.repeats = 0
        """Candles that came again, or out of order, and were left out."""

    def knows(self, series: Series) -> bool:
        """Whether anything of a series was seen before."""
        return series in self._stories

    def is_lost(self, series: Series) -> bool:
        """Whether a series still waits for its first snapshot after an outage."""
        story = self._stories.get(series)
        return story is not None and story.lost_at_s is not None

    def begin(self, series: Series, first_open_s: int) -> None:
        """Begin a series: only candles from this open time on are given out.

        The first snapshot of all brings candles from before we listened; they are history.
        """
        self._stories.setdefault(series, _Story()).last_s = first_open_s - 1

    def lost(self, series: Series, newest_open_s: int | None) -> None:
        """Note that the connection of a series is lost, and the newest candle known then."""
        story = self._stories.get(series)
        if newest_open_s is None and story is None:
            return
        story = self._stories.setdefault(series, _Story())
        if story.lost_at_s is None and newest_open_s is not None:
            story.lost_at_s = newest_open_s

    def snapshot(self, series: Series, oldest_open_s: int) -> Hole | None:
        """Note a snapshot; give the hole it leaves, or None."""
        story = self._stories.get(series)
        if story is None or story.lost_at_s is None:
            return None
        lost_at_s, story.lost_at_s = story.lost_at_s, None
        return self._open_hole(story, series, lost_at_s, oldest_open_s)

    def unresolved(self, series: Series, now_open_s: int) -> Hole | None:
        """Give up waiting for a snapshot of a series; give the hole up to the running interval.

        While that is still the interval in which the connection was lost, the wait goes on.
        """
        story = self._stories.get(series)
        if story is None or story.lost_at_s is None or story.lost_at_s >= now_open_s:
            return None
        return self.snapshot(series, now_open_s)

    def _open_hole(self, story: _Story, series: Series, since_s: int, until_s: int) -> Hole | None:
        since_s = max(since_s, story.last_s + 1)
        if story.hole is not None:
            since_s = min(since_s, story.hole.since_s)
        if since_s >= until_s:
            return None
        story.hole = Hole(series[0], series[1], since_s, until_s)
        return story.hole

    def closed(self, candle: SeriesCandle) -> list[SeriesCandle]:
        """Take in one closed candle; give what may go out now."""
        story = self._stories.setdefault((candle.symbol, candle.interval), _Story())
        if story.hole is not None and candle.bar.time >= story.hole.since_s:
            story.waiting.append(candle)
            return []
        return self._give(story, [candle])

    def current_hole(self, hole: Hole) -> bool:
        """Whether this hole is still the one of its series (a later outage may have grown it)."""
        story = self._stories.get((hole.symbol, hole.interval))
        return story is not None and story.hole == hole

    def filled(self, hole: Hole, bars: Iterable[OHLCBar]) -> list[SeriesCandle]:
        """Close a hole with REST's bars (oldest first); give what may go out now, in order.

        Intervals without a trade are left out, as the stream does.
        """
        story = self._stories.get((hole.symbol, hole.interval))
        if story is None or story.hole != hole:
            return []
        mended = [
            SeriesCandle(hole.symbol, hole.interval, bar, Source.REST)
            for bar in bars
            if hole.since_s <= bar.time < hole.until_s and bar.count > 0
        ]
        waiting, story.waiting, story.hole = story.waiting, [], None
        return self._give(story, [*mended, *waiting])

    def forget(self, series: Series) -> list[SeriesCandle]:
        """Drop a series; give what was still waiting."""
        story = self._stories.pop(series, None)
        return self._give(story, story.waiting) if story is not None else []

    def _give(self, story: _Story, candles: list[SeriesCandle]) -> list[SeriesCandle]:
        given: list[SeriesCandle] = []
        for candle in candles:
            if candle.bar.time <= story.last_s:
                self.repeats += 1
                continue
            story.last_s = candle.bar.time
            given.append(candle)
        return given
