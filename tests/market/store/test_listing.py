"""Strays: files and directories that this store never made are listed and left alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from krakked._market.bars import OHLCBar
from krakked._market.store.ohlc_store import OHLCStore

Make = Callable[..., list[OHLCBar]]
START = 1_793_491_200


def series_dir(root: Path) -> Path:
    return root / "bars" / "timeframe=1m" / "pair=XBTUSD"


STRAY_FILES = [
    "bars/timeframe=1m/pair=XBTUSD/._2026-11.parquet",
    "bars/timeframe=1m/pair=XBTUSD/2026-11 (conflicted copy).parquet",
    "bars/timeframe=1m/pair=XBTUSD/2026-11.sync-conflict-20261126.parquet",
    "bars/timeframe=1m/pair=XBTUSD/2026-11.parquet.tmp",
    "bars/timeframe=1m/pair=XBTUSD/2026-11.parquet~",
    "bars/timeframe=1m/pair=XBTUSD/2026-11.PARQUET",
    "bars/timeframe=1m/pair=XBTUSD/2026-11.csv",
    "bars/timeframe=1m/pair=XBTUSD/2026-13.parquet",
    "bars/timeframe=1m/pair=XBTUSD/2026.parquet",
    "bars/timeframe=1m/pair=XBTUSD/all.parquet",
    "bars/timeframe=1m/pair=XBTUSD/1969-12.parquet",
    "bars/timeframe=1m/pair=XBTUSD/\uff12\uff10\uff12\uff16-11.parquet",
    "bars/timeframe=1m/pair=XBTUSD/.DS_Store",
    "bars/timeframe=1m/pair=XBTUSD/.parquet",
    "bars/timeframe=1m/pair=XBTUSD/2026-10.parquet/inner.parquet",
    "bars/timeframe=1m/pair=xbtusd/2026-11.parquet",
    "bars/timeframe=1m/pair=/2026-11.parquet",
    "bars/timeframe=1m/2026-11.parquet",
    "bars/timeframe=1m/Thumbs.db",
    "bars/timeframe=7m/pair=XBTUSD/2026-11.parquet",
    "bars/timeframe=1m (1)/pair=XBTUSD/2026-11.parquet",
    "bars/desktop.ini",
    "bars/timeframe=5m",
    ".krakked/coverage/._1m~XBTUSD.json",
    ".krakked/coverage/1m~XBTUSD (1).json",
    ".krakked/coverage/1m~xbtusd.json",
    ".krakked/coverage/7m~XBTUSD.json",
    ".krakked/coverage/1m~XBTUSD.json.bak",
    ".krakked/journal/._1m.journal",
    ".krakked/journal/1m.journal.bak",
    ".krakked/journal/1m.journal.\u00b2",
    ".krakked/journal/7m.journal",
    ".krakked/journal/1m.journal.1/inner",
]


OUTERMOST = {
    "bars/timeframe=1m/pair=XBTUSD/2026-10.parquet/inner.parquet": (
        "bars/timeframe=1m/pair=XBTUSD/2026-10.parquet"
    ),
    "bars/timeframe=1m/pair=xbtusd/2026-11.parquet": "bars/timeframe=1m/pair=xbtusd",
    "bars/timeframe=1m/pair=/2026-11.parquet": "bars/timeframe=1m/pair=",
    "bars/timeframe=7m/pair=XBTUSD/2026-11.parquet": "bars/timeframe=7m",
    "bars/timeframe=1m (1)/pair=XBTUSD/2026-11.parquet": "bars/timeframe=1m (1)",
    ".krakked/journal/1m.journal.1/inner": ".krakked/journal/1m.journal.1",
}


@pytest.mark.parametrize("name", STRAY_FILES)
def test_a_stray_is_listed_and_left_alone(tmp_path: Path, make_bars: Make, name: str) -> None:
    bars = make_bars(30)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars[:10], covered=(START, START + 600))
    store.append_provisional("1m", [("XBTUSD", bar) for bar in bars[10:20]])
    stray = tmp_path / name
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"\x00\x05\x16\x07 not ours")
    store = OHLCStore(tmp_path)
    assert store.series() == [("XBTUSD", "1m")]
    assert store.get_bars("XBTUSD", "1m", provisional=True) == bars[:20]
    assert store.get_bars("XBTUSD", "1m", lookback=3) == bars[7:10]
    assert store.gaps("XBTUSD", "1m", START, START + 600, provisional=True) == store.gaps(
        "XBTUSD", "1m", START, START + 600
    )
    (listed,) = store.strays()
    # The topmost name that is none of ours: `timeframe=7m`, not what lies in it.
    assert Path(listed) == (tmp_path / OUTERMOST[name] if name in OUTERMOST else stray)
    assert [f.path for f in store.verify()] == [listed]
    assert [f.path for f in store.repair().left] == [listed]
    store.fold_journal()
    store.compact()
    store.append_bars("XBTUSD", "1m", bars, covered=(START, bars[-1].time + 60))
    assert store.get_bars("XBTUSD", "1m") == bars
    assert stray.read_bytes() == b"\x00\x05\x16\x07 not ours"
    copy = tmp_path / "copy"
    assert store.snapshot(copy) == 1
    assert OHLCStore(copy).strays() == []
    assert OHLCStore(copy).get_bars("XBTUSD", "1m") == bars


def test_a_stray_of_the_other_format_does_not_make_it_one(tmp_path: Path, make_bars: Make) -> None:
    stray = series_dir(tmp_path) / "._2026-11.csv"
    stray.parent.mkdir(parents=True)
    stray.touch()
    OHLCStore(tmp_path).append_bars("XBTUSD", "1m", make_bars(1))
    assert OHLCStore(tmp_path).get_bars("XBTUSD", "1m") == make_bars(1)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path / "ohlc")
    store.append_bars("XBTUSD", "1m", make_bars(5))
    partition = next((tmp_path / "ohlc" / "bars").rglob("*.parquet"))
    moved = tmp_path / "elsewhere.parquet"
    partition.rename(moved)
    partition.symlink_to(moved)  # to a file: as good as the file
    assert store.get_bars("XBTUSD", "1m") == make_bars(5)
    loop = partition.with_name("2026-10.parquet")
    loop.symlink_to(loop)
    dangling = partition.with_name("2026-09.parquet")
    dangling.symlink_to(tmp_path / "nothing")
    assert store.strays() == [str(dangling), str(loop)]
    assert store.get_bars("XBTUSD", "1m") == make_bars(5)
