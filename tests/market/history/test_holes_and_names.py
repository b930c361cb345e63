"""Where a back-fill begins, what it leaves, and pairs that Kraken lists no more."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from krakked._errors import BackfillTooLargeError, UnknownPairError
from krakked._market.bars import OHLCBar, Source
from krakked._market.history import renamed
from krakked._market.history.backfill import History
from krakked._market.pairs import PairMetadata, PairTable
from krakked._market.store.coverage import GapKind

NS = 10**9
HOUR = 3600
LISTED_S = 1_780_002_000  # a full hour
NOW_S = LISTED_S + 2000 * HOUR + 1800
END_S = LISTED_S + 2000 * HOUR


@pytest.fixture
def old(exchange: Any) -> Any:
    """A pair of 2,000 hours, of which OHLC reaches the last 720."""
    draw = random.Random(5)
    trades, time_ns = [], LISTED_S * NS + 5
    while time_ns < NOW_S * NS:
        trades.append((time_ns, round(100 + draw.gauss(0, 5), 1), 1.5))
        time_ns += int(draw.expovariate(1 / 1500) * 10**6) * 1000
    return exchange(trades, NOW_S)


def hours(first: int, last: int) -> list[OHLCBar]:
    return [
        OHLCBar(LISTED_S + n * HOUR, 1.0, 1.0, 1.0, 1.0, None, 1.0, 1) for n in range(first, last)
    ]


def put(store: Any, first: int, last: int, source: Source = Source.ARCHIVE) -> None:
    covered = (LISTED_S + first * HOUR, LISTED_S + last * HOUR)
    store.append_bars("XBTUSD", "1h", hours(first, last), source=source, covered=covered)


def missing(store: Any) -> list[tuple[int, int]]:
    gaps = [g for g in store.gaps("XBTUSD", "1h") if g.kind is GapKind.MISSING]
    return [((g.start_s - LISTED_S) // HOUR, (g.end_s - LISTED_S) // HOUR) for g in gaps]


async def test_without_since_it_begins_at_the_oldest_hole(
    old: Any, history: Any, store: Any
) -> None:
    put(store, 100, 200)
    put(store, 300, 400)
    put(store, 500, 2000)
    report = await history(old).backfill_ohlc("XBTUSD", "1h")
    assert missing(store) == []
    assert report.missing == ()
    assert store.first_stored("XBTUSD", "1h") == LISTED_S + 100 * HOUR  # and not before
    found = {bar.time: bar.count for bar in store.get_bars("XBTUSD", "1h")}
    for row in old.candles(HOUR, LISTED_S + 200 * HOUR, LISTED_S + 300 * HOUR):
        assert found[row.time] == row.count
    plan = await history(old).plan_backfill("XBTUSD", "1h")
    assert plan.calls == 0
    assert plan.since_s == END_S - HOUR  # the last stored bar


async def test_what_was_asked_for_in_vain_is_not_asked_for_again_unless_told(
    old: Any, history: Any, store: Any
) -> None:
    put(store, 100, 200)
    put(store, 300, 2000)
    inside = [
        number
        for number, trade in enumerate(old.tape, start=1)
        if LISTED_S + 240 * HOUR <= trade[0] / NS < LISTED_S + 250 * HOUR
    ]
    old.withheld = set(inside[2:5])
    report = await history(old).backfill_ohlc("XBTUSD", "1h")
    assert "did not hand out" in report.missing[0].why
    hole = [(g.start_s, g.end_s) for g in report.missing]
    assert list(store.unavailable("XBTUSD", "1h")) == hole
    calls = len(old.calls)
    again = await history(old).backfill_ohlc("XBTUSD", "1h")
    assert (again.calls, again.missing) == (0, ())
    assert len(old.calls) == calls
    # Said so, it is: by repair, by a since before it, by force; and then it is there.
    told = await history(old).repair("XBTUSD", "1h")
    assert [(g.start_s, g.end_s) for g in told.missing] == hole
    old.withheld.clear()
    assert (await history(old).backfill_ohlc("XBTUSD", "1h", since=hole[0][0])).missing == ()
    assert missing(store) == []
    assert store.unavailable("XBTUSD", "1h") == ()


async def test_old_holes_alone_never_take_too_many_calls(
    old: Any, history: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("krakked._market.history.backfill.MAX_CALLS", 5)
    monkeypatch.setattr("krakked._market.history.plan.PAGE_ROWS", 101)
    put(store, 10, 20)
    put(store, 600, 700)  # before it: hundreds of trades
    put(store, 720, 2000)  # before it: a few
    job = history(old)
    plan = await job.plan_backfill("XBTUSD", "1h")
    long_hole = (LISTED_S + 20 * HOUR, LISTED_S + 600 * HOUR)
    assert plan.left_out == (long_hole,)
    report = await job.backfill_ohlc("XBTUSD", "1h")
    assert [(g.start_s, g.end_s) for g in report.missing] == [long_hole]
    assert "allow_long=True" in report.missing[0].why
    assert missing(store) == [(20, 600)]
    # It is left, not given up: with more calls allowed it is fetched.
    assert (await job.backfill_ohlc("XBTUSD", "1h", allow_long=True)).missing == ()
    assert missing(store) == []


async def test_continuing_from_the_last_bar_may_still_be_too_long(
    old: Any, history: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("krakked._market.history.backfill.MAX_CALLS", 1)
    put(store, 10, 20)
    with pytest.raises(BackfillTooLargeError, match="allow_long=True"):
        await history(old).backfill_ohlc("XBTUSD", "1h")


async def test_a_bar_of_the_future_hides_nothing(old: Any, history: Any, store: Any) -> None:
    put(store, 1300, 1990)
    store.append_bars("XBTUSD", "1h", hours(40_000, 40_001), source=Source.ARCHIVE)
    await history(old).backfill_ohlc("XBTUSD", "1h")
    found = await history(old).get_ohlc("XBTUSD", "1h", 5, refresh=False)
    assert found[-1].time == END_S - HOUR
    assert found[-1].count == old.candles(HOUR, END_S - HOUR, END_S)[0].count


async def test_trades_have_time_to_settle_before_a_candle_is_made_of_them(
    exchange: Any, history: Any, store: Any
) -> None:
    # OHLC does not say the newest hour yet; its trades may still be coming.
    now_s = END_S + 9.0
    rest = exchange([(END_S * NS - 5 * NS, 7.0, 1.0), (END_S * NS - 4000 * NS, 6.0, 1.0)], now_s)

    async def late(*call: Any) -> Any:
        reply = await type(rest).ohlc(rest, *call)
        return msgspec.structs.replace(reply, rows=reply.rows[:-2])

    rest.ohlc = late
    await history(rest).backfill_ohlc("XBTUSD", "1h", since=END_S - 2 * HOUR)
    assert [bar.time for bar in store.get_bars("XBTUSD", "1h")] == [END_S - 2 * HOUR]
    rest.now_s = END_S + 10.0
    await history(rest).backfill_ohlc("XBTUSD", "1h", since=END_S - 2 * HOUR)
    assert store.last_closed("XBTUSD", "1h") == END_S - HOUR


# --- pairs that are listed no more ----------------------------------------------------------------


POL = PairMetadata(
    canonical="POLUSD",
    base="POL",
    quote="USD",
    rest_symbol="POLUSD",
    ws_symbol="POL/USD",
    wsname="POL/USD",
    raw_name="POLUSD",
    price_decimals=4,
    volume_decimals=8,
    lot_size=1.0,
    status="online",
)


@pytest.fixture
def delisted(old: Any, store: Any) -> History:
    """MATICUSD is stored with a hole; Kraken lists POLUSD in its place."""
    for first, last in ((0, 10), (20, 30)):
        covered = (LISTED_S + first * HOUR, LISTED_S + last * HOUR)
        store.append_bars("MATICUSD", "1h", hours(first, last), covered=covered)
    return History(old, store, old, lambda: PairTable([POL]))


async def test_the_stored_history_of_a_delisted_pair_stays_readable(
    delisted: History, old: Any
) -> None:
    bars = await delisted.get_ohlc("MATICUSD", "1h", 50, refresh=False, on_gap="join")
    assert bars == [*hours(0, 10), *hours(20, 30)]
    assert await delisted.get_ohlc("MATICUSD", "1h", 50, refresh=False) == hours(20, 30)
    since = await delisted.get_ohlc_since("MATICUSD", "1h", LISTED_S, refresh=False)
    assert since == bars
    assert await delisted.get_ohlc("MATICUSD", "1d", 5, refresh=False) == []
    (gap,) = [g for g in await delisted.gaps("MATICUSD", "1h") if g.kind is GapKind.MISSING]
    hole = (LISTED_S + 10 * HOUR, LISTED_S + 20 * HOUR)
    assert (gap.start_s, gap.end_s) == hole
    report = await delisted.repair("MATICUSD", "1h")
    assert [(m.start_s, m.end_s) for m in report.missing] == [hole]
    assert report.missing[0].why == "Kraken lists MATICUSD no more."
    assert (report.calls, report.bars) == (0, 0)
    assert old.calls == []


async def test_a_successor_is_named_and_never_joined(delisted: History, store: Any) -> None:
    for ask in (
        delisted.get_ohlc("MATICUSD", "1h", 5),
        delisted.get_ohlc_since("MATICUSD", "1h", 0),
        delisted.backfill_ohlc("MATICUSD", "1h"),
        delisted.plan_backfill("MATICUSD", "1h"),
        delisted.backfill_pairs(["MATICUSD"], "1h"),
    ):
        with pytest.raises(UnknownPairError, match="POLUSD may be its successor") as caught:
            await ask
        assert "refresh=False" in str(caught.value)
        assert (caught.value.pair, caught.value.suggestion) == ("MATICUSD", "POLUSD")
    assert await delisted.get_ohlc("POLUSD", "1h", 5, refresh=False) == []
    assert store.series() == [("MATICUSD", "1h")]


async def test_a_pair_that_is_neither_listed_nor_stored_is_unknown(delisted: History) -> None:
    for ask in (
        delisted.get_ohlc("MATICEUR", "1h", 5, refresh=False),
        delisted.gaps("MATICEUR", "1h"),
        delisted.repair("MATICEUR", "1h"),
        delisted.get_ohlc("MATICEUR", "1h", 5),
    ):
        with pytest.raises(UnknownPairError, match="MATICEUR"):
            await ask


@pytest.mark.parametrize(
    ("old", "new"), [("MATIC", "POL"), ("RNDR", "RENDER"), ("LUNA", "LUNA2"), ("REP", "REPV2")]
)
def test_every_asset_with_another_name(old: str, new: str) -> None:
    listed = msgspec.structs.replace(
        POL, canonical=f"{new}EUR", wsname=f"{new}/EUR", ws_symbol=f"{new}/EUR", raw_name=f"{new}E"
    )
    table = PairTable([listed])
    assert renamed.successor_of(f"{old}EUR", table) == f"{new}EUR"
    assert renamed.successor_of(f"{new}EUR", table) is None
    assert len(renamed.RENAMED) == 4


def test_a_successor_is_guessed_only_where_kraken_lists_it() -> None:
    table = PairTable([POL])
    assert renamed.successor_of("MATICUSD", table) == "POLUSD"
    assert renamed.successor_of("MATICEUR", table) is None
    assert renamed.successor_of("XBTUSD", table) is None
    assert renamed.successor_of("MATICUSD", PairTable([])) is None
