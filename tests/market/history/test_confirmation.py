"""REST confirms what it reaches: weaker bars, bars that Kraken may revise, rows that are none."""

from __future__ import annotations

import logging
import random
from typing import Any

import msgspec
import pytest

from krakked._errors import ConfigError, MissingBarsError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store.coverage import GapKind

NS = 10**9
START_S = 1_790_000_040  # a full minute
NOW_S = START_S + 3600 + 30.0
END_S = START_S + 3600


def tape(start_s: int, end_s: int, every_s: int, seed: int = 1) -> list[tuple[int, float, float]]:
    draw = random.Random(seed)
    return [
        (time * NS + draw.randrange(NS), 100 + draw.randrange(100) / 10, draw.randrange(1, 90) / 8)
        for time in range(start_s, end_s, every_s)
    ]


def truth(exchange: Any, start_s: int, end_s: int, step_s: int = 60) -> list[OHLCBar]:
    return [
        OHLCBar(
            row.time,
            *map(float, (row.open, row.high, row.low, row.close)),
            float(row.vwap) if row.count else None,
            float(row.volume),
            row.count,
        )
        for row in exchange.candles(step_s, start_s, end_s)
    ]


def archive_of(bars: list[OHLCBar]) -> list[OHLCBar]:
    """The same as an archive has them, and a little wrong."""
    return [msgspec.structs.replace(bar, vwap=None, volume=bar.volume + 1) for bar in bars]


@pytest.fixture
def old(exchange: Any) -> Any:
    """A pair that has traded for longer than OHLC reaches."""
    return exchange(tape(START_S - 60_000, START_S + 90_000, 40), NOW_S)


# --- weaker sources ---------------------------------------------------------------------------


@pytest.mark.parametrize("source", [Source.ARCHIVE, Source.TRADES, Source.WEBSOCKET])
async def test_one_call_confirms_720_whoever_told_them_before(
    old: Any, history: Any, store: Any, source: Source
) -> None:
    wrong = archive_of(truth(old, END_S - 900 * 60, END_S))
    store.append_bars("XBTUSD", "1m", wrong, source=source, covered=(wrong[0].time, END_S))
    bars = await history(old).get_ohlc("XBTUSD", "1m", 720)
    assert bars == truth(old, END_S - 720 * 60, END_S)
    assert [call[0] for call in old.calls] == ["OHLC"]
    assert await history(old).get_ohlc("XBTUSD", "1m", 720) == bars
    assert len(old.calls) == 1
    # Beyond its reach the weaker word stands.
    since = await history(old).get_ohlc_since("XBTUSD", "1m", END_S - 900 * 60)
    assert (since[0] == wrong[0]) is (source is not Source.WEBSOCKET)


async def test_a_back_fill_confirms_an_archive_with_one_call(
    old: Any, history: Any, store: Any
) -> None:
    wrong = archive_of(truth(old, END_S - 900 * 60, END_S))
    store.append_bars("XBTUSD", "1m", wrong, source=Source.ARCHIVE, covered=(wrong[0].time, END_S))
    report = await history(old).backfill_ohlc("XBTUSD", "1m")
    assert (report.calls, report.bars) == (1, 720)
    assert store.get_bars("XBTUSD", "1m", lookback=720) == truth(old, END_S - 720 * 60, END_S)
    assert (await history(old).backfill_ohlc("XBTUSD", "1m")).calls == 0


async def test_nothing_newer_than_rest_has_confirmed_is_handed_out(
    old: Any, history: Any, store: Any
) -> None:
    # REST's newest row may still be running for some seconds after its end; the archive has it.
    old.now_s = END_S + 1.0
    late = archive_of(truth(old, END_S - 60, END_S))
    store.append_bars("XBTUSD", "1m", late, source=Source.ARCHIVE, covered=(END_S - 60, END_S))
    old.tape = [trade for trade in old.tape if trade[0] < END_S * NS]
    reader = history(old)

    async def without_the_running_row(*call: Any) -> Any:
        reply = await type(old).ohlc(old, *call)
        return msgspec.structs.replace(reply, rows=reply.rows[:-1])

    old.ohlc = without_the_running_row
    bars = await reader.get_ohlc("XBTUSD", "1m", 5)
    assert [bar.time for bar in bars] == [END_S - n * 60 for n in (6, 5, 4, 3, 2)]
    assert (await reader.get_ohlc("XBTUSD", "1m", 5, refresh=False))[-1] == late[0]
    assert (await reader.get_ohlc("XBTUSD", "1m", 5, provisional=True))[-1] == late[0]
    old.now_s += 5
    assert (await reader.get_ohlc("XBTUSD", "1m", 5))[-1] == truth(old, END_S - 60, END_S)[0]


# --- candles that Kraken revises ----------------------------------------------------------------


@pytest.mark.parametrize("again", ["read", "backfill"])
async def test_an_unsettled_candle_alone_causes_one_call(
    exchange: Any, history: Any, store: Any, again: str
) -> None:
    # An hour that just ended, read once; nothing else closes for another hour.
    hour_s = START_S // 3600 * 3600
    rest = exchange(tape(START_S - 60_000, START_S + 90_000, 40), hour_s + 5.0)
    right = truth(rest, hour_s - 3600, hour_s, 3600)[0]
    rest.odd_rows[hour_s - 3600] = {"count": right.count - 1, "close": "1", "low": "1"}
    reader = history(rest)

    async def read() -> OHLCBar:
        if again == "backfill":
            await reader.backfill_ohlc("XBTUSD", "1h")
            return store.get_bars("XBTUSD", "1h", lookback=1)[0]
        return (await reader.get_ohlc("XBTUSD", "1h", 3))[-1]

    def asked() -> list[Any]:
        return [call[3] for call in rest.calls if call[0] == "OHLC"]

    assert (await read()).close == 1
    rest.odd_rows.clear()
    rest.now_s = hour_s + 899.0
    assert (await read()).close == 1
    assert len(asked()) == 1
    rest.now_s = hour_s + 900.0
    assert await read() == right
    # Only what is needed: from one candle before.
    assert asked() == [None, hour_s - 2 * 3600]
    rest.now_s = hour_s + 3590.0
    assert await read() == right
    assert await history(rest).get_ohlc("XBTUSD", "1h", 3)
    assert len(asked()) == 2


async def test_a_minute_read_again_and_again_needs_no_call_of_its_own(
    old: Any, history: Any, store: Any
) -> None:
    reader = history(old)
    for minute in range(20):
        old.now_s = END_S + minute * 60 + 10.0
        # Each candle shows wrong for the first five minutes of its life.
        old.odd_rows = {END_S + (minute - back) * 60: {"high": "999"} for back in range(1, 6)}
        await reader.get_ohlc("XBTUSD", "1m", 60)
    assert len(old.calls) == 20
    end_s = int(old.now_s) // 60 * 60
    settled = [bar for bar in store.get_bars("XBTUSD", "1m") if bar.time < end_s - 300]
    assert settled == truth(old, settled[0].time, end_s - 300)


async def test_an_answer_that_settles_nothing_is_not_asked_for_for_ever(
    old: Any, history: Any
) -> None:
    hour_s = START_S // 3600 * 3600
    old.now_s = hour_s + 5.0
    reader = history(old)
    await reader.get_ohlc("XBTUSD", "1h", 3)
    old.odd_rows[hour_s - 3600] = {"close": "rubbish"}
    old.now_s = hour_s + 1000.0
    for _ in range(5):
        assert len(await reader.get_ohlc("XBTUSD", "1h", 3)) == 3
        old.now_s += 100
    assert len(old.calls) == 2


async def test_what_follows_a_revised_candle_without_trades_is_made_anew(store: Any) -> None:
    def bar(minute: int, close: float, count: int) -> OHLCBar:
        vwap = close if count else None
        return OHLCBar(minute * 60, close, close, close, close, vwap, float(count), count)

    # REST answers for ten minutes with the first one alone; then it revises that.
    for close in (5.0, 7.0):
        store.append_bars("XBTUSD", "1m", [bar(1, close, 3)], covered=(60, 660))
        assert store.get_bars("XBTUSD", "1m") == [
            bar(1, close, 3),
            *(bar(minute, close, 0) for minute in range(2, 11)),
        ]


async def test_force_asks_again_for_what_is_confirmed(old: Any, history: Any, store: Any) -> None:
    old.odd_rows[END_S - 3000] = {"high": "999"}
    reader = history(old)
    await reader.backfill_ohlc("XBTUSD", "1m")
    old.odd_rows.clear()
    old.now_s += 3600
    await reader.backfill_ohlc("XBTUSD", "1m")
    end_s = END_S + 3600
    assert store.get_bars("XBTUSD", "1m") != truth(old, END_S - 719 * 60, end_s)
    plan = await reader.plan_backfill("XBTUSD", "1m", force=True)
    assert plan.calls == 1
    calls = len(old.calls)
    report = await reader.backfill_ohlc("XBTUSD", "1m", force=True)
    assert (report.calls, len(old.calls) - calls, report.missing) == (1, 1, ())
    bars = store.get_bars("XBTUSD", "1m")
    assert bars == truth(old, bars[0].time, end_s)
    # Repair and many pairs likewise.
    for again in (
        reader.repair("XBTUSD", "1m", force=True),
        reader.backfill_pairs(["XBTUSD"], "1m", force=True),
    ):
        calls = len(old.calls)
        await again
        assert len(old.calls) - calls == 1


async def test_force_walks_over_old_trades_again(old: Any, history: Any, store: Any) -> None:
    since_s = END_S - 900 * 60
    wrong = archive_of(truth(old, since_s, END_S))
    store.append_bars("XBTUSD", "1m", wrong, source=Source.ARCHIVE, covered=(since_s, END_S))
    report = await history(old).backfill_ohlc("XBTUSD", "1m", since=since_s, force=True)
    assert report.missing == ()
    assert report.trades > 0
    found = store.get_bars("XBTUSD", "1m")
    assert [(b.time, b.count, b.close) for b in found] == [
        (b.time, b.count, b.close) for b in truth(old, since_s, END_S)
    ]
    assert all(bar.vwap is not None for bar in found if bar.count)


# --- rows that are none -------------------------------------------------------------------------


async def test_a_rubbish_row_is_left_out_told_and_asked_for_again(
    old: Any, history: Any, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hole_s = END_S - 600
    old.odd_rows[hole_s] = {"close": "nan"}
    reader = history(old)
    with caplog.at_level(logging.WARNING, "krakked.history"):
        bars = await reader.get_ohlc("XBTUSD", "1m", 30, on_gap="join")
    assert [bar.time for bar in bars] == [
        at for at in range(END_S - 1860, END_S, 60) if at != hole_s
    ][-30:]
    assert "1 rows of OHLC for XBTUSD 1m are no candles" in caplog.text
    gaps = [g for g in await reader.gaps("XBTUSD", "1m") if g.kind is GapKind.MISSING]
    assert [(g.start_s, g.end_s) for g in gaps] == [(hole_s, hole_s + 60)]
    # Not at every read, but a minute later; then it is whole.
    await reader.get_ohlc("XBTUSD", "1m", 30, on_gap="join")
    assert len(old.calls) == 1
    old.odd_rows.clear()
    old.now_s += 61
    bars = await reader.get_ohlc("XBTUSD", "1m", 30)
    assert len(old.calls) == 2
    assert bars == truth(old, END_S - 29 * 60, END_S + 60)


async def test_a_back_fill_counts_them_and_takes_the_trades_instead(
    old: Any, history: Any, store: Any
) -> None:
    old.odd_rows[END_S - 600] = {"low": "-1"}
    report = await history(old).backfill_ohlc("XBTUSD", "1m")
    assert report.refused >= 1
    assert report.missing == ()
    found = store.get_bars("XBTUSD", "1m", since=END_S - 600, until=END_S - 540)
    assert found[0].count == truth(old, END_S - 600, END_S - 540)[0].count


async def test_the_clock_that_decides_closed_is_read_before_the_call(
    old: Any, history: Any
) -> None:
    # The answer is written before the minute ends and arrives after it: that candle was running.
    old.now_s, old.slow_s = END_S + 55.0, 10.0
    bars = await history(old).get_ohlc("XBTUSD", "1m", 5)
    assert bars[-1].time == END_S - 60
    old.slow_s = 0.0
    assert (await history(old).get_ohlc("XBTUSD", "1m", 5))[-1].count == truth(
        old, END_S, END_S + 60
    )[0].count


# --- holes --------------------------------------------------------------------------------------


@pytest.fixture
async def torn(old: Any, history: Any, store: Any) -> Any:
    """Minutes of two sessions, 30 minutes apart, both confirmed; REST reaches neither."""
    for start_s in (END_S - 6000, END_S - 6000 + 3600):
        bars = truth(old, start_s, start_s + 1800)
        store.append_bars("XBTUSD", "1m", bars, covered=(start_s, start_s + 1800))
    return history(old)


HOLE = (END_S - 6000 + 1800, END_S - 6000 + 3600)


async def test_a_hole_cuts_and_one_warning_names_it(
    torn: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "krakked.history"):
        bars = await torn.get_ohlc("XBTUSD", "1m", 1000, refresh=False)
        assert await torn.get_ohlc("XBTUSD", "1m", 50, refresh=False) == bars
        assert await torn.get_ohlc("XBTUSD", "1m", 20, refresh=False) == bars[-20:]
    assert [bar.time for bar in bars] == list(range(HOLE[1], HOLE[1] + 1800, 60))
    (told,) = [record for record in caplog.records if record.name == "krakked.history"]
    assert "XBTUSD 1m" in told.getMessage()
    assert "2026-09-21 14:04 to 2026-09-21 14:34 UTC" in told.getMessage()


async def test_a_hole_raises_when_wished(torn: Any) -> None:
    with pytest.raises(MissingBarsError, match="missing") as caught:
        await torn.get_ohlc("XBTUSD", "1m", 1000, refresh=False, on_gap="raise")
    error = caught.value
    assert (error.pair, error.timeframe) == ("XBTUSD", "1m")
    assert (error.start_s, error.end_s) == HOLE
    # Not when the hole lies before what is asked for.
    assert len(await torn.get_ohlc("XBTUSD", "1m", 30, refresh=False, on_gap="raise")) == 30


async def test_a_hole_is_joined_when_wished_and_never_cut_elsewhere(torn: Any, store: Any) -> None:
    joined = await torn.get_ohlc("XBTUSD", "1m", 1000, refresh=False, on_gap="join")
    assert len(joined) == 60
    assert store.get_bars("XBTUSD", "1m") == joined
    assert await torn.get_ohlc_since("XBTUSD", "1m", 0, refresh=False) == joined
    with pytest.raises(ConfigError, match="cut, raise, join"):
        await torn.get_ohlc("XBTUSD", "1m", 5, on_gap="glue")


@pytest.mark.parametrize("form", ["arrow", "numpy"])
async def test_columns_are_cut_likewise(torn: Any, form: str) -> None:
    columns = await torn.get_ohlc("XBTUSD", "1m", 1000, refresh=False, as_=form)
    assert len(columns["time"]) == 30


async def test_minutes_without_trades_and_the_edges_are_no_holes(
    exchange: Any, history: Any, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    # An archive leaves them out; before the first and behind the last stored one nothing is cut.
    rest = exchange(tape(START_S, END_S, 40), NOW_S + 9000)
    bars = truth(rest, START_S, END_S)[::7]
    store.append_bars("XBTUSD", "1m", bars, source=Source.ARCHIVE, covered=(START_S, END_S))
    found = await history(rest).get_ohlc("XBTUSD", "1m", 500, refresh=False)
    assert [bar.time for bar in found] == list(range(START_S, END_S, 60))
    assert caplog.records == []


async def test_provisional_bars_close_a_hole_only_when_they_count(
    torn: Any, store: Any, old: Any
) -> None:
    live = truth(old, *HOLE)
    store.append_provisional("1m", [("XBTUSD", bar) for bar in live])
    assert len(await torn.get_ohlc("XBTUSD", "1m", 1000, refresh=False)) == 30
    whole = await torn.get_ohlc("XBTUSD", "1m", 1000, refresh=False, provisional=True)
    assert len(whole) == 90
