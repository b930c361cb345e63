"""Archive files with a piece missing, with times that cannot be, and with what is still running."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from krakked._cli.main import main
from krakked._market.bars import Source
from krakked._market.history import archive_series, import_job
from krakked._market.history.archive_import import import_archive
from krakked._market.history.archive_series import EARLIEST_S, longest_silence_s
from krakked._market.store.coverage import GapKind
from krakked._market.store.ohlc_store import OHLCStore

DAY_S = 1_704_067_200  # 2024-01-01


def rows(first_s: int, count: int, step_s: int, price: float = 10.0) -> str:
    row = f"{price},{price + 1},{price - 1},{price},1,1\n"
    return "".join(f"{first_s + n * step_s},{row}" for n in range(count))


def missing(store: OHLCStore, timeframe: str) -> list[tuple[int, int]]:
    gaps = store.gaps("XBTUSD", timeframe, provisional=True)
    return [(gap.start_s, gap.end_s) for gap in gaps if gap.kind is GapKind.MISSING]


@pytest.mark.parametrize(
    ("name", "timeframe", "step_s", "hole"),
    [
        ("1", "1m", 60, 1441),
        ("5", "5m", 300, 289),
        ("15", "15m", 900, 97),
        ("30", "30m", 1800, 51),
        ("60", "1h", 3600, 2200),
        ("240", "4h", 14_400, 51),
        ("1440", "1d", 86_400, 15),
    ],
)
def test_a_long_stretch_without_a_line_is_not_taken_for_no_trades(
    store: Any, tmp_path: Path, name: str, timeframe: str, step_s: int, hole: int
) -> None:
    path = tmp_path / f"XBTUSD_{name}.csv"
    behind_s = DAY_S + (20 + hole) * step_s
    path.write_text(rows(DAY_S, 20, step_s) + rows(behind_s, 20, step_s, 20.0))
    (file,) = import_archive(store, [path]).files
    assert file.silent == ((DAY_S + 20 * step_s, behind_s),)
    bars = store.get_bars("XBTUSD", timeframe, provisional=True)
    assert [bar.count for bar in bars] == [1] * 40
    assert missing(store, timeframe) == [(DAY_S + 20 * step_s, behind_s)]
    # Like the last one of a file, the candle before it was perhaps running.
    firm = {bar.time for bar in store.get_bars("XBTUSD", timeframe)}
    assert {bar.time for bar in bars} - firm == {behind_s - (hole + 1) * step_s, bars[-1].time}
    assert store.verify() == []


@pytest.mark.parametrize(
    ("name", "timeframe", "step_s", "hole"),
    [("1", "1m", 60, 1440), ("60", "1h", 3600, 50), ("1440", "1d", 86_400, 14)],
)
def test_a_short_one_is(
    store: Any, tmp_path: Path, name: str, timeframe: str, step_s: int, hole: int
) -> None:
    path = tmp_path / f"XBTUSD_{name}.csv"
    path.write_text(rows(DAY_S, 20, step_s) + rows(DAY_S + (20 + hole) * step_s, 20, step_s))
    (file,) = import_archive(store, [path]).files
    assert file.silent == ()
    assert len(store.get_bars("XBTUSD", timeframe)) == 39 + hole
    assert missing(store, timeframe) == []


def test_the_bound_of_every_timeframe() -> None:
    hours = [longest_silence_s(minutes * 60) / 3600 for minutes in (1, 15, 30, 60, 240, 1440)]
    assert hours == [24, 24, 25, 50, 200, 336]


def test_a_stretch_over_many_batches_and_borders_stays_open(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_series, "BATCH_ROWS", 8)
    monkeypatch.setattr(import_job, "PIECE_BYTES", 200)
    path = tmp_path / "XBTUSD_1.csv"
    behind_s = DAY_S + 70 * 86_400
    path.write_text(rows(DAY_S, 50, 60) + rows(behind_s, 50, 60))
    (file,) = import_archive(store, [path]).files
    assert file.covered == ((DAY_S, DAY_S + 49 * 60), (behind_s, behind_s + 49 * 60))
    assert len(store.get_bars("XBTUSD", "1m", provisional=True)) == 100


def test_a_stretch_without_trades_leaves_the_candles_around_it_open(
    store: Any, tmp_path: Path
) -> None:
    path = tmp_path / "XBTUSD.csv"
    behind_s = DAY_S + 30 * 3600
    at = [*range(DAY_S, DAY_S + 3600, 30), *range(behind_s, behind_s + 7200, 30)]
    path.write_text("".join(f"{one},5,1\n" for one in at))
    files = {file.timeframe: file for file in import_archive(store, [path]).files}
    # 29 hours are too many for minutes; of hours fifty are believed.
    assert files["1m"].silent == ((DAY_S + 59 * 60, behind_s + 60),)
    assert files["1h"].silent == ()
    assert missing(store, "1m") == [(DAY_S + 3600, behind_s)]
    assert all(bar.count for bar in store.get_bars("XBTUSD", "1m", provisional=True))
    assert missing(store, "1h") == []


def test_a_time_before_the_exchange_is_a_bad_line(store: Any, tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD_60.csv"
    early = rows(0, 1, 3600) + rows(EARLIEST_S - 3600, 1, 3600)
    path.write_text(early + rows(DAY_S, 10, 3600))
    trades = tmp_path / "ETHUSD.csv"
    trades.write_text(f"1,5,1\n{DAY_S},5,1\n{DAY_S + 7200},5,1\n")
    report = import_archive(store, [path, trades], timeframes={"1h"})
    assert [[(one.line, one.problem) for one in bad.first] for bad in report.bad] == [
        [
            (1, "the candle opens before the exchange existed"),
            (2, "the candle opens before the exchange existed"),
        ],
        [(1, "the trade lies before the exchange existed")],
    ]
    assert len(store.get_bars("XBTUSD", "1h", provisional=True)) == 10
    assert store.first_stored("ETHUSD", "1h", provisional=True) == DAY_S


def test_a_running_candle_is_refused_and_told(store: Any, tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD_60.csv"
    path.write_text(rows(DAY_S, 6, 3600))
    now_s = DAY_S + 5 * 3600 + 1800
    (bad,) = import_archive(store, [path], now_s=now_s).bad
    assert [(one.line, one.problem) for one in bad.first] == [(6, "the candle has not ended yet")]
    bars = store.get_bars("XBTUSD", "1h", provisional=True)
    assert [bar.time for bar in bars] == [DAY_S + n * 3600 for n in range(5)]


def test_trades_of_a_running_candle_make_none(store: Any, tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD.csv"
    now_s = DAY_S + 86_400 + 1800
    path.write_text("".join(f"{at},5,1\n" for at in range(DAY_S, now_s + 1, 60)))
    report = import_archive(store, [path], now_s=now_s)
    assert {file.timeframe: file.running for file in report.files} == {
        "1m": 1,
        "5m": 1,
        "15m": 1,
        "30m": 1,
        "1h": 1,
        "4h": 1,
        "1d": 1,
    }
    for label, step_s in (("1m", 60), ("1h", 3600), ("1d", 86_400)):
        last = store.get_bars("XBTUSD", label, provisional=True)[-1]
        assert last.time + step_s == now_s // step_s * step_s
        # The file goes on behind it: of that candle every trade was there.
        table = store.get_columns("XBTUSD", label, since=last.time, provisional=True)
        whole = label != "1d"  # the only day is also the one the file begins in
        assert table.column("source").to_pylist() == [Source.ARCHIVE if whole else Source.PARTIAL]


def test_the_command_says_what_is_left_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    path = tmp_path / "XBTUSD_60.csv"
    path.write_text(rows(DAY_S, 24, 3600) + rows(DAY_S + 90 * 86_400, 24, 3600))
    assert main(["import", str(path), "--root", str(tmp_path / "ohlc")]) == 0
    printed = capsys.readouterr().out
    assert (
        "XBTUSD 1h: the stretch from 2024-01-02 00:00 to 2024-03-31 00:00 has no line: left open."
    ) in printed


@pytest.mark.parametrize(("name", "step_s"), [("1", 3600), ("1440", 3600), ("60", 86_400)])
def test_candles_of_another_interval_than_the_name_says_are_passed_over(
    store: Any, tmp_path: Path, name: str, step_s: int
) -> None:
    path = tmp_path / f"XBTUSD_{name}.csv"
    header = "time,open,high,low,close,volume,trades\n"
    path.write_text(header + rows(DAY_S + 86_400, 10, step_s))
    report = import_archive(store, [path])
    (skipped,) = report.skipped
    assert f"of {name} minutes" in skipped.why or f"not of {name}" in skipped.why
    assert report.bars == 0
    assert store.get_bars("XBTUSD", "1h", provisional=True) == []


def test_a_few_lines_on_a_longer_grid_may_be_chance(store: Any, tmp_path: Path) -> None:
    quarters = tmp_path / "XBTUSD_15.csv"
    quarters.write_text(rows(DAY_S, 20, 1800))
    minutes = tmp_path / "ETHUSD_1.csv"
    minutes.write_text(rows(DAY_S, 4, 3600) + rows(DAY_S + 4 * 3600, 10, 60))
    assert import_archive(store, [quarters, minutes]).skipped == ()
