"""Closed candles, each exactly once and in order, over however many outages; and what is corrected.

Pure. The cache closes candles on evidence; a lost connection, a series that fell mute and a candle
that its ticker contradicts leave holes. After a reconnect the ohlc snapshot mends a short outage by
itself (it brings the last few traded candles whole); what it does not reach, REST has to fill.
While a series has a hole its newer candles wait here, so that order holds. Whatever comes later for
a candle that was given out, from the stream or from REST, is a correction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from krakked._market.bars import OHLCBar, Source
from krakked._market.stream.evidence import Evidence

Series = tuple[str, int]
"""(WebSocket v2 symbol, interval in minutes)."""

REMEMBERED: Final = 16
"""Candles of a series that were given out and may still be corrected."""


class SeriesCandle(msgspec.Struct, frozen=True, gc=False):
    """One closed candle of one series."""

    symbol: str
    """WebSocket v2 symbol."""
    interval: int
    """Minutes."""
    bar: OHLCBar
    source: Source
    """WEBSOCKET, or REST where an outage was filled."""
    evidence: Evidence = Evidence.NEXT
    previous: OHLCBar | None = None
    """What was given out before, when this corrects it."""
    corrects: bool = False
    """Whether this comes after the candle was given out, or passed over as empty."""


class Hole(msgspec.Struct, frozen=True):
    """Candles of one series that the stream has missed: [since_s, until_s) by open time."""

    symbol: str
    interval: int
    since_s: int
    until_s: int
    confirms: bool = False
    """Nothing waits for it: REST is asked whether what was given out is right."""

    @property
    def series(self) -> Series:
        """Symbol and interval."""
        return self.symbol, self.interval


class _SeriesState:
    """What is known of one series."""

    __slots__ = ("by_rest", "first_s", "given", "hole", "last_s", "lost_at_s", "waiting")

    def __init__(self, first_s: int) -> None:
        self.first_s = first_s  # candles before this are history, not news
        self.last_s = first_s - 1  # open time of the last candle given out
        self.given: dict[int, tuple[OHLCBar, Source]] = {}  # the newest of them
        self.by_rest = 0  # trades of REST's candles among all that were given out
        self.lost_at_s: int | None = None  # from here on candles are in doubt
        self.hole: Hole | None = None
        self.waiting: dict[int, SeriesCandle] = {}

    def holds_back(self, open_s: int) -> bool:
        """Whether a candle has to wait for older ones."""
        if self.hole is not None and open_s >= self.hole.since_s:
            return True
        return self.lost_at_s is not None and open_s >= self.lost_at_s


class CandleSequencer:
    """Remembers per series what was given out, and what has to wait."""

    def __init__(self) -> None:
        self._states: dict[Series, _SeriesState] = {}

    def knows(self, series: Series) -> bool:
        """Whether a series has begun."""
        return series in self._states

    def is_lost(self, series: Series) -> bool:
        """Whether a series still waits for its first snapshot after an outage."""
        state = self._states.get(series)
        return state is not None and state.lost_at_s is not None

    def begin(self, series: Series, first_open_s: int) -> None:
        """Begin a series: only candles from this open time on are given out.

        The first snapshot of all brings candles from before we listened; they are history.
        """
        self._states.setdefault(series, _SeriesState(first_open_s))

    def lost(self, series: Series, from_s: int) -> None:
        """Note that a series is lost, and from which open time on its candles are in doubt."""
        state = self._states.get(series)
        if state is None:
            return
        known_s = state.lost_at_s
        state.lost_at_s = max(from_s if known_s is None else min(known_s, from_s), state.first_s)

    def snapshot(
        self, series: Series, oldest_open_s: int
    ) -> tuple[Hole | None, list[SeriesCandle]]:
        """Note a snapshot; give the hole it leaves, or None, and what may go out now."""
        state = self._states.get(series)
        if state is None or state.lost_at_s is None:
            return None, []
        lost_at_s, state.lost_at_s = state.lost_at_s, None
        hole = self._open_hole(state, series, lost_at_s, oldest_open_s)
        return hole, [] if state.hole is not None else self._release(state)

    def unresolved(self, series: Series, now_open_s: int) -> Hole | None:
        """Return the hole up to the running interval of a series that is still lost, or None.

        While that is still the interval in which it was lost, the wait goes on. The series stays
        lost: what ends from then on is in doubt, too.
        """
        state = self._states.get(series)
        if state is None or state.lost_at_s is None or state.lost_at_s >= now_open_s:
            return None
        lost_at_s, state.lost_at_s = state.lost_at_s, now_open_s
        return self._open_hole(state, series, lost_at_s, now_open_s)

    def recovered(self, series: Series) -> list[SeriesCandle]:
        """Note that a lost series flows again without a snapshot; give what may go out now."""
        state = self._states.get(series)
        if state is None:
            return []
        state.lost_at_s = None
        return self._release(state) if state.hole is None else []

    def doubtful(self, candle: SeriesCandle) -> Hole | None:
        """Note a candle that lacks a trade for all we know; give the hole to fill, or None."""
        series, open_s = (candle.symbol, candle.interval), candle.bar.time
        state = self._states.get(series)
        if state is None or open_s <= state.last_s:
            return None
        state.waiting[open_s] = candle
        return self._open_hole(state, series, open_s, open_s + candle.interval * 60)

    def passed_over(self, series: Series, open_s: int) -> Hole | None:
        """Note an interval that traded and brought no candle; give the hole to fill, or None."""
        state = self._states.get(series)
        if state is None or open_s < state.first_s or open_s in state.given:
            return None
        if open_s <= state.last_s:  # newer ones are out: what REST has of it is a correction
            return Hole(*series, open_s, open_s + series[1] * 60, confirms=True)
        return self._open_hole(state, series, open_s, open_s + series[1] * 60)

    def filled_trades(self, series: Series) -> int:
        """Return how many trades REST's candles of a series have told of so far."""
        state = self._states.get(series)
        return state.by_rest if state is not None else 0

    def gap_before(self, series: Series, open_s: int, at_most: int) -> int:
        """Return the open time from which on intervals before a candle were passed over as empty.

        Args:
            series: Symbol and interval.
            open_s: Open time of the candle; the answer when the one before it was given out.
            at_most: Longest gap, in intervals.
        """
        length_s = series[1] * 60
        state = self._states.get(series)
        if state is None:
            return open_s
        before = max((t for t in state.given if t < open_s), default=state.first_s - length_s)
        return max(before + length_s, open_s - at_most * length_s)

    def _open_hole(
        self, state: _SeriesState, series: Series, since_s: int, until_s: int
    ) -> Hole | None:
        if since_s >= until_s:
            return None
        if state.hole is not None:
            since_s = min(since_s, state.hole.since_s)
            until_s = max(until_s, state.hole.until_s)
        state.hole = Hole(series[0], series[1], since_s, until_s)
        return state.hole

    def closed(self, candle: SeriesCandle) -> list[SeriesCandle]:
        """Take in one closed candle; give what may go out now."""
        series, open_s = (candle.symbol, candle.interval), candle.bar.time
        state = self._states.get(series)
        if state is None:
            if candle.evidence is Evidence.SNAPSHOT:
                return []  # history, told before its snapshot was
            state = self._states[series] = _SeriesState(open_s)
        if open_s < state.first_s:
            return []
        if open_s <= state.last_s:
            return self._correct(state, candle)
        hole = state.hole
        if hole is not None and hole.since_s == open_s == hole.until_s - candle.interval * 60:
            # The row that the hole was for has come after all.
            state.hole = None
            return [*self._give(state, [candle]), *self._release(state)]
        if state.holds_back(open_s):
            waiting = state.waiting.get(open_s)
            if waiting is None or is_better(candle.bar, waiting.bar, candle.source, waiting.source):
                state.waiting[open_s] = candle
            return []
        return self._give(state, [candle])

    def current_hole(self, hole: Hole) -> bool:
        """Whether this hole is still to be filled (a later outage may have grown it)."""
        state = self._states.get(hole.series)
        return state is not None and (hole.confirms or state.hole == hole)

    def filled(self, hole: Hole, bars: Iterable[OHLCBar]) -> list[SeriesCandle]:
        """Close a hole with REST's bars (oldest first); give what may go out now, in order.

        Intervals without a trade are left out, as the stream does. What was given out before is
        corrected where REST knows better.
        """
        state = self._states.get(hole.series)
        if state is None:
            return []
        mended = {
            bar.time: SeriesCandle(hole.symbol, hole.interval, bar, Source.REST, Evidence.REST)
            for bar in bars
            if hole.since_s <= bar.time < hole.until_s
            and bar.time >= state.first_s
            and bar.count > 0
        }
        known = [one for open_s, one in sorted(mended.items()) if open_s <= state.last_s]
        given = [c for one in known for c in self._correct(state, one)]
        if state.hole == hole:
            state.hole = None
        elif not hole.confirms:
            return given  # superseded by a larger one
        for open_s, one in mended.items():
            waiting = state.waiting.get(open_s)
            if open_s > state.last_s and (
                waiting is None or not is_better(waiting.bar, one.bar, waiting.source, one.source)
            ):
                state.by_rest -= waiting.bar.count if waiting is not None else 0
                state.waiting[open_s] = one
        return given + self._release(state)

    def give_up(self, hole: Hole) -> list[SeriesCandle]:
        """Let newer candles wait no longer for a hole; give what may go out now.

        The hole may still be filled: what it brings is then told as corrections.
        """
        state = self._states.get(hole.series)
        if state is None or state.hole != hole:
            return []
        state.hole = None
        for open_s in [t for t, c in state.waiting.items() if c.evidence is Evidence.DOUBTFUL]:
            del state.waiting[open_s]  # better missing than wrong
        return self._release(state)

    def forget(self, series: Series) -> list[SeriesCandle]:
        """Drop a series; give what was still waiting."""
        state = self._states.pop(series, None)
        if state is None:
            return []
        state.lost_at_s = state.hole = None
        return [c for c in self._release(state) if c.evidence is not Evidence.DOUBTFUL]

    # --- inside ---

    def _release(self, state: _SeriesState) -> list[SeriesCandle]:
        ready = [t for t in sorted(state.waiting) if not state.holds_back(t)]
        return self._give(state, [state.waiting.pop(t) for t in ready])

    def _give(self, state: _SeriesState, candles: list[SeriesCandle]) -> list[SeriesCandle]:
        given: list[SeriesCandle] = []
        for candle in candles:
            if candle.bar.time <= state.last_s:
                given += self._correct(state, candle)
                continue
            state.last_s = candle.bar.time
            self._remember(state, candle)
            given.append(candle)
        return given

    def _correct(self, state: _SeriesState, candle: SeriesCandle) -> list[SeriesCandle]:
        """Compare what comes for a candle of the past with what was given out."""
        known = state.given.get(candle.bar.time)
        if known is None:
            oldest_s = min(state.given, default=state.first_s)
            if len(state.given) >= REMEMBERED and candle.bar.time < oldest_s:
                return []  # too long ago to be compared
        elif not is_better(candle.bar, known[0], candle.source, known[1]):
            return []
        self._remember(state, candle)
        previous = known[0] if known is not None else None
        return [msgspec.structs.replace(candle, previous=previous, corrects=True)]

    def _remember(self, state: _SeriesState, candle: SeriesCandle) -> None:
        known = state.given.get(candle.bar.time)
        state.given[candle.bar.time] = (candle.bar, candle.source)
        if candle.source is Source.REST:  # what rows have told of it is counted there
            state.by_rest += candle.bar.count - (known[0].count if known is not None else 0)
        if len(state.given) > REMEMBERED:
            del state.given[min(state.given)]


def is_better(new: OHLCBar, known: OHLCBar, source: Source, known_source: Source) -> bool:
    """Whether a bar tells more of an interval than another one; the same twice does not.

    Within a candle trades only rise, so more trades are the later state, whoever tells of them.
    """
    if new.count and known.count and new.count != known.count:
        return new.count > known.count
    if source < known_source:
        return False
    return any(
        getattr(new, name) != getattr(known, name)
        for name in ("open", "high", "low", "close", "volume")
    )
