"""Strays: files and directories that this store never made are listed and left alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from krakked.market.bars import OHLCBar
from krakked.market.store import listing
from krakked.market.store.layout import Series, StorePaths, is_partition, series_of_stem
from krakked.market.store.ohlc_store import OHLCStore

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
    assert Path(listed) in {stray, *stray.parents}
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


@pytest.mark.parametrize(
    ("timeframe", "name", "known"),
    [
        ("1m", "2026-11", True),
        ("1m", "1970-01", True),
        ("1m", "9999-12", True),
        ("1m", "2026", False),
        ("1m", "all", False),
        ("1m", "2026-00", False),
        ("5m", "2026", True),
        ("15m", "1970", True),
        ("30m", "9999", True),
        ("5m", "1969", False),
        ("5m", "0000", False),
        ("5m", "2026-11", False),
        ("5m", "all", False),
        ("1h", "all", True),
        ("4h", "all", True),
        ("1d", "all", True),
        ("1w", "all", True),
        ("1h", "2026", False),
        ("1h", "2026-11", False),
        ("1h", "All", False),
        ("1h", "", False),
    ],
)
def test_names_of_partitions(timeframe: str, name: str, known: bool) -> None:
    assert is_partition(timeframe, name) is known


def test_series_and_journals_come_in_order(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path)
    for pair in ("ZECUSD", "ADAUSD"):
        for timeframe, step_s in (("1h", 3600), ("5m", 300), ("1m", 60)):
            store.append_bars(pair, timeframe, make_bars(1, step_s))
    assert store.series() == [
        (pair, timeframe) for timeframe in ("1m", "5m", "1h") for pair in ("ADAUSD", "ZECUSD")
    ]
    paths = StorePaths(tmp_path)
    paths.journal.mkdir()
    for name in ("1m.journal", "1m.journal.10", "1m.journal.9", "5m.journal.1"):
        (paths.journal / name).touch()
    named = [path.name for path in listing.journals(paths, "1m")]
    assert named == ["1m.journal.9", "1m.journal.10", "1m.journal"]
    assert len(listing.journals(paths)) == 4


def test_only_the_name_that_is_given_reads_back() -> None:
    assert series_of_stem("1m~XBTUSD") == Series("XBTUSD", "1m")
    for stem in ("1m~xbtusd", "1m~X/B", "1m~", "~XBTUSD", "1m", "7m~XBTUSD", "1m~%58BTUSD"):
        assert series_of_stem(stem) is None, stem
