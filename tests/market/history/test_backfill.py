"""Back-fills: plans, deep history out of trades, resuming, pausing, gaps and repair."""

from __future__ import annotations

import random
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import trio

from krakked._errors import (
    BackfillTooLargeError,
    ConnectFailedError,
    ImportFormatError,
    ServiceError,
)
from krakked._market.bars import OHLCBar, Source
from krakked._market.history.plan import BackfillOrigin
from krakked._market.history.progress import BackfillProgress, Pause
from krakked._market.store.coverage import GapKind

NS = 10**9
HOUR = 3600
LISTED_S = 1_780_002_000  # a full hour
NOW_S = LISTED_S + 1000 * HOUR + 1800


def tape(
    start_s: int, end_s: int, mean_gap_s: float, *, ties: float = 0.3, seed: int = 1
) -> list[tuple[int, float, float]]:
    """Random trades with ties and quiet hours; times as Kraken's doubles can say them."""
    draw = random.Random(seed)
    trades: list[tuple[int, float, float]] = []
    time_ns = start_s * NS + 12_345_678
    while time_ns < end_s * NS:
        trades.append((time_ns, round(100 + draw.gauss(0, 5), 1), draw.randrange(1, 10**6) / 10**4))
        if draw.random() > ties:
            time_ns += int(draw.expovariate(1 / mean_gap_s) * 10**6) * 1000
    return trades


def check_hours(bars: list[OHLCBar], exchange: Any, start_s: int, end_s: int) -> None:
    rows = exchange.candles(HOUR, start_s, end_s)
    assert [bar.time for bar in bars] == [row.time for row in rows]
    for bar, row in zip(bars, rows, strict=True):
        assert (bar.open, bar.high, bar.low, bar.close, bar.count) == (
            float(row.open),
            float(row.high),
            float(row.low),
            float(row.close),
            row.count,
        )
        assert bar.volume == pytest.approx(float(row.volume))
        if row.count:
            assert bar.vwap == pytest.approx(float(row.vwap))
        else:
            assert bar.vwap is None


@pytest.fixture
def old(exchange: Any) -> Any:
    """A pair listed 1,000 hours ago: OHLC reaches back 720 of them."""
    rest = exchange(tape(LISTED_S, int(NOW_S) + HOUR, 1500), NOW_S)
    rest.page_rows = 100
    return rest


async def test_without_since_the_newest_720_and_then_only_what_is_new(
    old: Any, history: Any, store: Any
) -> None:
    job = history(old)
    report = await job.backfill_ohlc("BTC/USD", "1h")
    assert (report.pair, report.bars, report.calls, report.missing) == ("XBTUSD", 720, 1, ())
    check_hours(store.get_bars("XBTUSD", "1h"), old, LISTED_S + 280 * HOUR, LISTED_S + 1000 * HOUR)
    assert (await job.backfill_ohlc("XBTUSD", "1h")).calls == 0
    old.now_s += 2 * HOUR
    assert (await job.backfill_ohlc("XBTUSD", "1h")).bars >= 2
    assert len(old.calls) == 2


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("page_rows", [7, 100, 1000])
async def test_from_the_listing_every_closed_bar(
    old: Any, history: Any, store: Any, inclusive: bool, page_rows: int
) -> None:
    old.inclusive_since, old.page_rows = inclusive, page_rows
    report = await history(old).backfill_ohlc("XBTUSD", "1h", since=0)
    assert report.missing == ()
    assert report.covered == ((LISTED_S, LISTED_S + 1000 * HOUR),)
    check_hours(store.get_bars("XBTUSD", "1h"), old, LISTED_S, LISTED_S + 1000 * HOUR)
    # A second time there is one thing to ask: whether anything is older than the first trade.
    before = len(old.calls)
    again = await history(old).backfill_ohlc("XBTUSD", "1h", since=0)
    assert again.bars == 0
    assert len(old.calls) - before <= 3


async def test_continuing_after_a_long_absence_leaves_no_hole(
    old: Any, history: Any, store: Any
) -> None:
    now_s, old.now_s = old.now_s, LISTED_S + 50 * HOUR + 5.0
    await history(old).backfill_ohlc("XBTUSD", "1h")
    old.now_s = now_s  # 950 hours later: OHLC reaches back 720 of them
    report = await history(old).backfill_ohlc("XBTUSD", "1h")
    assert report.missing == ()
    assert report.trades > 0
    check_hours(store.get_bars("XBTUSD", "1h"), old, LISTED_S, LISTED_S + 1000 * HOUR)


async def test_the_plan_says_what_will_be_done(old: Any, history: Any) -> None:
    job = history(old)
    plan = await job.plan_backfill("XBTUSD", "1h", since=0)
    wanted = sum(trade[0] < plan.steps[0].end_s * NS for trade in old.tape)
    assert plan.sources == (BackfillOrigin.TRADES, BackfillOrigin.OHLC)
    assert plan.steps[0].trades == wanted
    assert plan.calls == 1 + -(-wanted // 999)
    assert plan.minutes == pytest.approx(plan.calls / 60)
    assert plan.bytes > 60_000
    await job.backfill_ohlc("XBTUSD", "1h")
    plan = await job.plan_backfill("XBTUSD", "1h", since=LISTED_S + 500 * HOUR)
    assert plan.sources == (BackfillOrigin.STORED,)
    assert plan.calls == 0
    assert (await job.plan_backfill("XBTUSD", "1h")).calls == 0


async def test_trades_are_counted_when_nothing_traded_after_the_end(
    exchange: Any, history: Any
) -> None:
    trades = tape(LISTED_S, LISTED_S + 100 * HOUR, 1500)
    plan = await history(exchange(trades, NOW_S)).plan_backfill("XBTUSD", "1h", since=0)
    assert plan.steps[0].trades == len(trades)


async def test_too_many_calls_need_a_word(old: Any, history: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("krakked._market.history.backfill.MAX_CALLS", 1)
    old.page_rows = 1000
    with pytest.raises(BackfillTooLargeError, match="allow_long=True") as caught:
        await history(old).backfill_ohlc("XBTUSD", "1h", since=0)
    assert caught.value.plan.calls > 1  # type: ignore[attr-defined]
    assert (await history(old).backfill_ohlc("XBTUSD", "1h", since=0, allow_long=True)).bars


async def test_a_job_that_breaks_off_goes_on_where_it_was(
    old: Any, history: Any, store: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("krakked._market.history.trades_backfill.FLUSH_PAGES", 2)
    old.page_rows = 20
    whole = len(old.tape) // 20
    for at in (8, 16, 24):
        old.failures[len(old.calls) + at] = ConnectFailedError("no way", endpoint="Trades")
        with pytest.raises(ConnectFailedError):
            await history(old).backfill_ohlc("XBTUSD", "1h", since=0)
    report = await history(old).backfill_ohlc("XBTUSD", "1h", since=0)
    assert report.missing == ()
    check_hours(store.get_bars("XBTUSD", "1h"), old, LISTED_S, LISTED_S + 1000 * HOUR)
    assert len(old.calls) < whole + 60  # not four times the whole


async def test_a_crowd_at_one_instant_is_kept_when_a_page_holds_it(
    exchange: Any, history: Any, store: Any
) -> None:
    crowd = [(LISTED_S * NS + 5 * NS, 100.0 + n / 10, 1.0) for n in range(900)]
    trades = crowd + tape(LISTED_S + 60, NOW_S, 5000)
    rest = exchange(trades, NOW_S)
    report = await history(rest).backfill_ohlc("XBTUSD", "1h", since=0)
    assert report.missing == ()
    check_hours(store.get_bars("XBTUSD", "1h"), rest, LISTED_S, LISTED_S + 1000 * HOUR)


async def test_a_crowd_that_no_page_can_hold_is_said_to_be_missing(
    exchange: Any, history: Any, store: Any
) -> None:
    crowd = [(LISTED_S * NS + 5 * NS, 100.0, 1.0)] * 150
    rest = exchange(crowd + tape(LISTED_S + 2 * HOUR, NOW_S, 5000), NOW_S)
    rest.page_rows = 100
    # The page is full for this server, which makes 100 its most.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("krakked._market.history.trades_backfill.PAGE_ROWS", 100)
        report = await history(rest).backfill_ohlc("XBTUSD", "1h", since=0)
    (missing,) = report.missing
    assert "trades 101 to 150" in missing.why
    assert missing.start_s == LISTED_S
    bars = store.get_bars("XBTUSD", "1h")
    check_hours(bars, rest, bars[0].time, LISTED_S + 1000 * HOUR)
    assert bars[0].time >= missing.end_s - HOUR


async def test_trades_that_are_withheld_leave_a_hole_and_the_rest_is_right(
    old: Any, history: Any, store: Any
) -> None:
    old.withheld = {301, 302}
    report = await history(old).backfill_ohlc("XBTUSD", "1h", since=0)
    (missing,) = report.missing
    assert "trades 301 to 302" in missing.why
    bars = store.get_bars("XBTUSD", "1h")
    outside = [bar for bar in bars if not missing.start_s <= bar.time < missing.end_s]
    assert len(bars) == len(outside)
    rows = {row.time: row for row in old.candles(HOUR, LISTED_S, LISTED_S + 1000 * HOUR)}
    assert all(bar.count == rows[bar.time].count for bar in bars)
    gaps = [g for g in store.gaps("XBTUSD", "1h") if g.kind is GapKind.MISSING]
    assert [(g.start_s, g.end_s) for g in gaps] == [(missing.start_s, missing.end_s)]
    # Later Kraken hands them out after all.
    old.withheld = set()
    repaired = await history(old).repair("XBTUSD", "1h")
    assert repaired.missing == ()
    check_hours(store.get_bars("XBTUSD", "1h"), old, LISTED_S, LISTED_S + 1000 * HOUR)


async def test_repair_says_what_kraken_does_not_have(old: Any, history: Any, store: Any) -> None:
    await history(old).backfill_ohlc("XBTUSD", "1h", since=0)
    week = 604_800
    bar = OHLCBar(100 * week, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1)
    store.append_bars("XBTUSD", "1w", [bar], covered=(100 * week, 101 * week))
    report = await history(old).repair("XBTUSD", "1w")
    assert report.missing
    assert "OHLC" in report.missing[0].why
    assert (await history(old).repair("XBTUSD", "1h")).missing == ()


async def test_stronger_bars_are_never_replaced(old: Any, history: Any, store: Any) -> None:
    bar = OHLCBar(LISTED_S + 5 * HOUR, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1)
    store.append_bars("XBTUSD", "1h", [bar], source=Source.REST)
    await history(old).backfill_ohlc("XBTUSD", "1h", since=0)
    assert bar in store.get_bars("XBTUSD", "1h")


async def test_progress_rises_and_ends_at_one(old: Any, history: Any) -> None:
    told: list[BackfillProgress] = []
    await history(old).backfill_ohlc("XBTUSD", "1h", since=0, progress=told.append)
    assert [step.calls for step in told] == list(range(1, len(told) + 1))
    assert told[-1].fraction == pytest.approx(1.0)
    assert told[-1].eta_s == pytest.approx(0.0)
    assert told[-1].trades > 600
    assert told[-1].bars > 900  # those with trades, and the 720 of OHLC


async def test_a_pause_holds_the_job_between_calls(
    old: Any, history: Any, autojump_clock: Any
) -> None:
    pause = Pause()
    made: list[int] = []

    def progress(step: BackfillProgress) -> None:
        made.append(step.calls)
        if step.calls == 3:
            pause.pause()

    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await history(old).backfill_ohlc(
                "XBTUSD", "1h", since=0, progress=progress, pause=pause
            )

        nursery.start_soon(run)
        await trio.sleep(1000)
        assert pause.paused
        assert made == [1, 2, 3]
        pause.resume()
    assert len(made) > 3


async def test_many_pairs_one_call_each_and_failures_apart(
    exchange: Any, history: Any, store: Any
) -> None:
    rest = exchange(tape(LISTED_S, NOW_S, 5000), NOW_S)
    rest.failures[1] = ServiceError("busy", code="EService:Busy", endpoint="OHLC")
    told: list[BackfillProgress] = []
    reports, failures = await history(rest).backfill_pairs(
        ["BTC/USD", "ETH/USD"], "1h", progress=told.append
    )
    assert [report.pair for report in reports] == ["ETHUSD"]
    assert [(failure.pair, failure.error.code) for failure in failures] == [
        ("XBTUSD", "EService:Busy")
    ]
    assert told[-1].fraction == 1.0
    for number in range(3, 7):
        rest.failures[number] = ConnectFailedError("no way", endpoint="OHLC")
    with pytest.raises(ConnectFailedError):
        await history(rest).backfill_pairs(["XBTUSD", "XBTUSD", "XBTUSD", "XBTUSD"], "1h")
    assert len(rest.calls) == 5


@pytest.mark.parametrize("spelling", ["XBTUSD", "XXBTZUSD", "BTC-USD"])
async def test_an_archive_serves_what_it_holds(
    old: Any, history: Any, store: Any, tmp_path: Path, spelling: str
) -> None:
    rows = old.candles(HOUR, LISTED_S, LISTED_S + 300 * HOUR)
    lines = [
        f"{r.time},{r.open},{r.high},{r.low},{r.close},{r.volume},{r.count}\n"
        for r in rows
        if r.count
    ]
    path = tmp_path / f"{spelling}_60.csv"
    path.write_text("".join(lines))
    before = len(old.calls)
    report = await history(old).backfill_ohlc("XBTUSD", "1h", since=LISTED_S, archive=path)
    assert report.missing == ()
    assert [call[0] for call in old.calls[before:]] == ["OHLC"]
    bars = store.get_bars("XBTUSD", "1h")
    assert [bar.time for bar in bars] == [
        row.time for row in old.candles(HOUR, LISTED_S, LISTED_S + 1000 * HOUR)
    ]
    assert bars[0].vwap is None


@pytest.mark.parametrize("damage", ["a cut zip", "a cut member", "no zip at all", "nothing there"])
async def test_an_archive_that_cannot_be_read_is_told_before_any_call(
    old: Any, history: Any, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "Kraken_OHLCVT.zip"
    rows = "".join(f"{LISTED_S + n * HOUR},1,1,1,1,{random.random()},1\n" for n in range(300))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("XBTUSD_60.csv", rows)
    data = bytearray(path.read_bytes())
    if damage == "a cut zip":
        path.write_bytes(data[:-40])
    elif damage == "a cut member":
        data[600:700] = bytes(100)
        path.write_bytes(data)
    elif damage == "no zip at all":
        path.write_bytes(b"<html>Not found</html>")
    else:
        path.unlink()
    before = [call for call in old.calls if call[0] != "Time"]
    with pytest.raises(ImportFormatError, match=re.escape(str(path))):
        await history(old).backfill_ohlc("XBTUSD", "1h", since=LISTED_S, archive=path)
    assert [call for call in old.calls if call[0] != "Time"] == before


async def test_an_archive_without_the_series_is_told(
    old: Any, history: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ETHUSD_60.csv"
    path.write_text(f"{LISTED_S},1,1,1,1,1,1\n")
    await history(old).backfill_ohlc("XBTUSD", "1h", archive=path)
    assert f"{path} holds no candles and no trades of XBTUSD 1h." in caplog.text
