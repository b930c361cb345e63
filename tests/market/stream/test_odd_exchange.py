"""The exchange as odd as it is said to be: readings that no recording has settled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
import trio
from tests.market.stream.hostile import VirtualClock

from krakked._market.bars import OHLCBar
from krakked._market.stream.disconnect import DisconnectReason
from krakked._market.stream.facts import Wakeup
from krakked._market.stream.gap_fill import GapFiller
from krakked._market.stream.loglimit import LogLimiter
from krakked._market.stream.requests import RequestAnswer, SubscriptionKey, SubscriptionState
from krakked._market.stream.sequencer import CandleSequencer, Hole, SeriesCandle
from krakked._market.stream.subscriptions import SubscriptionTable
from krakked._market.stream.symbols import SymbolNames
from krakked._rest.models import KEPT_S, OHLCReply, OHLCRow
from krakked.sandbox import SandboxSettings

pytestmark = pytest.mark.slow


A, B, C = (SubscriptionKey("ohlc", symbol, 1) for symbol in ("A/USD", "B/USD", "C/USD"))
OTHER_INTERVAL = "Already subscribed to one ohlc interval on this symbol"
SMALL = SandboxSettings(pair_count=60, activity=5, quote_activity=0.2)


def table_of(*keys: SubscriptionKey) -> SubscriptionTable:
    table = SubscriptionTable()
    table.want(keys)
    table.connected(0.0)
    return table


def test_an_answer_that_comes_after_all_counts() -> None:
    # A rate complaint names nobody, so it is laid at the oldest request's door; were it another's,
    # the oldest one's acknowledgements still come.
    table = table_of(A, B)
    assert table.next_request(0.0) is not None
    assert table.refused(RequestAnswer("subscribe"), "Exceeded msg rate", 0.0).slow_down
    assert table.subscribed("ohlc", "A/USD", 1, 0.1) == A
    assert table.acknowledged == 1
    again = table.next_request(5.0)
    assert again is not None
    assert again.symbols == ("B/USD",)
    assert table.subscribed("ohlc", "A/USD", 1, 5.1) is None  # a second one changes nothing
    assert table.acknowledged == 1


def test_our_own_interval_asked_for_again_is_no_refusal() -> None:
    table = table_of(A, B)
    assert table.next_request(0.0) is not None
    table.tick(20.0)  # no answers: sent again
    assert table.next_request(20.0) is not None
    refusal = table.refused(RequestAnswer("subscribe", symbol="A/USD"), OTHER_INTERVAL, 20.1)
    assert refusal.keys == ()
    assert table.state(A)[0] is SubscriptionState.ACKNOWLEDGED


def test_another_interval_of_ours_makes_it_one() -> None:
    other = SubscriptionKey("ohlc", "A/USD", 5)
    table = table_of(other, A)
    assert table.next_request(0.0) is not None
    assert table.next_request(0.0) is not None
    assert table.subscribed("ohlc", "A/USD", 5, 0.1) == other
    table.tick(20.0)
    assert table.next_request(20.0) is not None
    assert table.refused(RequestAnswer("subscribe", symbol="A/USD"), OTHER_INTERVAL, 20.1).keys == (
        A,
    )


@pytest.mark.parametrize("plain", [True, False])
async def test_lost_acks_refuse_nobody(autojump_clock: Any, stage: Any, plain: bool) -> None:
    settings = msgspec.structs.replace(
        SMALL, plain_duplicates=plain, refusals_echo_req_id=False, lean_frames=True
    )
    lose = lambda exchange: exchange.faults.lose_acks(9)  # noqa: E731
    async with stage(settings=settings, timeframes=("1m",), before=lose) as play:
        await trio.sleep(30)  # sent again by then
        (line,) = play.feed._pool
        states = line.table.states().values()
        assert {state for state, _ in states} <= {
            SubscriptionState.LIVE,
            SubscriptionState.ACKNOWLEDGED,
        }
        assert line.connects == 1


@pytest.mark.slow
async def test_frames_without_what_came_in_2026(
    autojump_clock: Any, stage: Any, true_candles: Any
) -> None:
    settings = msgspec.structs.replace(SMALL, lean_frames=True)
    async with stage(settings=settings) as play:
        await trio.sleep(200)
        await play.exchange.faults.cut()
        await trio.sleep(300)
        assert true_candles(play, "XBTUSD", "1m") >= 7
        assert play.reads.get_latest_price("XBTUSD").price > 0
        assert all(c.malformed == 0 for c in play.feed.statistics().connections)


async def test_the_handshake_names_us(autojump_clock: Any, stage: Any) -> None:
    settings = msgspec.structs.replace(SMALL, require_stream_user_agent=True)
    async with stage(settings=settings) as play:
        assert play.reads.get_best_bid_ask("XBTUSD").ask > 0
        reasons = {line.last_disconnect for line in play.feed._pool}
        assert DisconnectReason.REJECTED not in {r.reason for r in reasons if r is not None}


class KeptReplies:
    """REST whose first reply is as old as the servers in front make it."""

    def __init__(self, *replies: Sequence[OHLCRow]) -> None:
        self.replies = list(replies)

    async def ohlc(self, pair: str, interval_minutes: int, since_s: int | None = None) -> OHLCReply:
        rows = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return OHLCReply(rows=tuple(rows), last=0)


def row(time: int, close: str, count: int) -> OHLCRow:
    return OHLCRow(time, "1", "9", "1", close, "2", "5", count)


async def filled_by(rest: KeptReplies, until: float) -> list[list[OHLCBar]]:
    hole = Hole("A/USD", 1, 60, 180)
    given: list[list[OHLCBar]] = []

    class Told(CandleSequencer):
        def current_hole(self, hole: Hole) -> bool:
            return True

        def filled(self, hole: Hole, bars: Iterable[OHLCBar]) -> list[SeriesCandle]:
            given.append(list(bars))
            return []

        def give_up(self, hole: Hole) -> list[SeriesCandle]:
            given.append([])
            return []

    class Names(SymbolNames):
        def canonical(self, symbol: str) -> str | None:
            return symbol

    filler = GapFiller(
        rest,
        clock=VirtualClock(),
        names=Names(),
        sequencer=Told(),
        wakeup=Wakeup(),
        limiter=LogLimiter(),
    )
    filler.add(hole)
    with trio.move_on_after(until):
        await filler.run()
    return given


async def test_a_kept_reply_fills_no_hole_with_an_unfinished_candle(autojump_clock: Any) -> None:
    before = [row(60, "2", 3), row(120, "2", 1)]
    after = [row(60, "2", 3), row(120, "7", 8), row(180, "7", 1)]
    ((_, last, _),) = await filled_by(KeptReplies(before, after), KEPT_S + 1)
    assert (last.time, last.close, last.count) == (120, 7.0, 8)


async def test_a_pair_without_a_newer_row_holds_nobody_up(autojump_clock: Any) -> None:
    (bars,) = await filled_by(KeptReplies([row(60, "2", 3)]), KEPT_S + 1)
    assert [bar.time for bar in bars] == [60]


async def test_a_number_that_is_none_costs_its_own_candle_alone(autojump_clock: Any) -> None:
    broken = [row(60, "x", 3), row(120, "inf", 3), row(180, "2", 1)]
    (bars,) = await filled_by(KeptReplies(broken), 1)
    assert [bar.time for bar in bars] == [180]


class SinceReply(KeptReplies):
    """REST that reads `since` in one of the two ways."""

    def __init__(self, *, inclusive: bool) -> None:
        super().__init__([row(time, "2", 3) for time in range(0, 300, 60)])
        self.inclusive = inclusive

    async def ohlc(self, pair: str, interval_minutes: int, since_s: int | None = None) -> OHLCReply:
        reply = await super().ohlc(pair, interval_minutes)
        from_s = (since_s or 0) + (0 if self.inclusive else 1)
        return OHLCReply(rows=tuple(r for r in reply.rows if r.time >= from_s), last=0)


@pytest.mark.parametrize("inclusive", [True, False])
async def test_the_first_candle_of_a_hole_comes_however_since_is_read(
    autojump_clock: Any, inclusive: bool
) -> None:
    (bars,) = await filled_by(SinceReply(inclusive=inclusive), 1)
    assert {60, 120} <= {bar.time for bar in bars}
