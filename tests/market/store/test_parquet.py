"""Parquet files: pieces and wholes alike, damage noticed, footers that other tools agree with."""

from __future__ import annotations

import contextlib
import random
from array import array
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from krakked._errors import StoreCorruptError, StoreError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store.ohlc_store import OHLCStore

Make = Callable[..., list[OHLCBar]]
START = 1_793_491_200


def partition(root: Path) -> Path:
    return next((root / "bars").rglob("*.parquet"))


def test_appending_bit_by_bit_equals_writing_at_once(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(30_000)
    whole, pieces = OHLCStore(tmp_path / "whole"), OHLCStore(tmp_path / "pieces")
    whole.append_bars("XBTUSD", "1m", bars)
    at, chance = 0, random.Random(1)
    while at < len(bars):
        size = chance.choice((1, 720, 5000))
        back = chance.choice((0, 1, 300))
        pieces.append_bars("XBTUSD", "1m", bars[max(at - back, 0) : at + size])
        at += size
    assert pieces.get_bars("XBTUSD", "1m") == bars
    assert pieces.verify() == []
    ours, once = (pq.read_metadata(partition(s.root)) for s in (pieces, whole))
    for index in range(ours.num_row_groups):
        mine, its = ours.row_group(index), once.row_group(index)
        assert mine.num_rows == its.num_rows
        assert mine.total_byte_size == its.total_byte_size
        times = mine.column(0).statistics
        assert (times.min, times.max) == (
            its.column(0).statistics.min,
            its.column(0).statistics.max,
        )
    assert ours.num_row_groups == once.num_row_groups == 4
    assert pq.read_table(partition(pieces.root)).equals(pq.read_table(partition(whole.root)))


def test_a_change_in_the_middle(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(20_000)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars[:9000] + bars[9100:], source=Source.ARCHIVE)
    # Archive rows have no vwap in life, but the store keeps what it is given.
    assert store.append_bars("XBTUSD", "1m", bars[8990:9110]) == 120
    assert store.get_bars("XBTUSD", "1m") == bars
    window = store.get_bars("XBTUSD", "1m", since=bars[8190].time, until=bars[8195].time)
    assert window == bars[8190:8195]
    assert store.verify() == []


@pytest.mark.parametrize("position", [8190, 8191, 8192, 16383])
def test_a_bar_at_the_end_of_a_full_row_group_is_rewritten_once(
    tmp_path: Path, make_bars: Make, position: int
) -> None:
    bars = make_bars(16_384)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars)
    changed = OHLCBar(bars[position].time, 5.0, 9.0, 4.0, 6.0, 5.5, 7.0, 8)
    for _ in range(2):
        store.append_bars("XBTUSD", "1m", [changed])
        bars[position] = changed
        assert store.get_bars("XBTUSD", "1m") == bars
    assert store.verify() == []


def test_an_append_rewrites_the_newest_partition_alone(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(1000, start=START - 500 * 60)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars[:-1])
    older, newest = (
        tmp_path / "bars" / "timeframe=1m" / "pair=XBTUSD" / f"{name}.parquet"
        for name in ("2026-10", "2026-11")
    )
    before = older.stat().st_ino, newest.stat().st_ino
    store.append_bars("XBTUSD", "1m", bars[-1:])
    assert older.stat().st_ino == before[0]
    assert newest.stat().st_ino != before[1]


@pytest.mark.parametrize("appended", [False, True])
def test_single_bit_flips_are_noticed(tmp_path: Path, make_bars: Make, appended: bool) -> None:
    bars = make_bars(600 if not appended else 9000)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars[:-10])
    store.append_bars("XBTUSD", "1m", bars[-10:])
    path = partition(tmp_path)
    sound = path.read_bytes()
    chance = random.Random(7)
    places = [*(chance.randrange(len(sound) * 8) for _ in range(40)), len(sound) * 8 - 1]
    places += [(len(sound) - 4000) * 8 + chance.randrange(32_000) for _ in range(40)]
    for place in places:
        data = bytearray(sound)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        found = store.verify()
        assert len(found) == 1, place
        assert found[0].pair == "XBTUSD"
        # A read is right or refused; an append never buries the damage.
        with contextlib.suppress(StoreCorruptError):
            assert store.get_bars("XBTUSD", "1m") == bars
        with pytest.raises(StoreCorruptError):
            store.append_bars("XBTUSD", "1m", bars[-1:])
    path.write_bytes(sound)
    assert store.verify() == []


def test_every_truncation_is_refused(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", make_bars(50))
    path = partition(tmp_path)
    sound = path.read_bytes()
    for size in (*range(40), *range(40, len(sound), 397), len(sound) - 1):
        path.write_bytes(sound[:size])
        with pytest.raises(StoreCorruptError, match="krakked store repair"):
            store.get_bars("XBTUSD", "1m")
        assert store.verify()


def test_a_foreign_parquet_file_is_not_read_as_ours(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", make_bars(5))
    path = partition(tmp_path)
    pq.write_table(pq.read_table(path, partitioning=None), path)
    with pytest.raises(StoreCorruptError, match="its footer"):
        store.get_bars("XBTUSD", "1m")


def test_a_file_in_the_wrong_place_is_found(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", make_bars(5))
    path = partition(tmp_path)
    (path.parent / "2026-10.parquet").write_bytes(path.read_bytes())
    other = path.parent.with_name("pair=ETHUSD")
    other.mkdir()
    (other / path.name).write_bytes(path.read_bytes())
    problems = sorted(finding.problem for finding in store.verify())
    assert problems == [
        "bars of another partition than 2026-10",
        "it says it holds XBTUSD 1m 2026-11",
    ]


def columns(count: int) -> dict[str, array]:
    prices = array("d", [100.0 + i % 7 for i in range(count)])
    return {
        "time": array("q", range(START, START + 60 * count, 60)),
        **dict.fromkeys(("open", "high", "low", "close"), prices),
        "volume": array("d", [1.0] * count),
        "count": array("q", [1] * count),
    }


def test_import_columns_over_many_partitions(tmp_path: Path) -> None:
    store = OHLCStore(tmp_path)
    count = 70_000
    raw = columns(count)
    covered = (START, START + 60 * count)
    assert store.import_columns("XBTUSD", "1m", raw, Source.ARCHIVE, [covered]) == count
    assert [p.stem for p in sorted((tmp_path / "bars").rglob("*.parquet"))] == [
        "2026-11",
        "2026-12",
    ]
    table = store.get_columns("XBTUSD", "1m")
    assert table.num_rows == count
    assert table.column("vwap").null_count == count
    assert table.column("close").to_pylist() == raw["close"].tolist()
    assert store.gaps("XBTUSD", "1m") == []
    assert store.import_columns("XBTUSD", "1m", raw, Source.ARCHIVE, [covered]) == 0
    assert store.import_columns("XBTUSD", "1m", columns(50_000), Source.TRADES) == 50_000
    assert store.verify() == []


def test_columns_with_vwap_and_unfit_columns(tmp_path: Path) -> None:
    store = OHLCStore(tmp_path)
    raw = columns(3)
    raw["vwap"] = array("d", [1.0, float("nan"), 3.0])
    raw["count"] = array("q", [1, 1, 0])
    store.import_columns("XBTUSD", "1m", raw, Source.TRADES)
    assert [bar.vwap for bar in store.get_bars("XBTUSD", "1m")] == [1.0, None, None]
    short = {**raw, "close": array("d", [1.0])}
    unknown = {**raw, "colour": raw["open"]}
    missing = {name: data for name, data in raw.items() if name != "high"}
    off_grid = {**raw, "time": array("q", [1, 2, 3])}
    far = {**raw, "time": array("q", [60_000 * START * (i + 1) for i in range(3)])}
    infinite = {**raw, "low": array("d", [1.0, float("inf"), 1.0])}
    for bad in (short, unknown, missing, off_grid, far, infinite):
        with pytest.raises(StoreError):
            store.import_columns("XBTUSD", "1m", bad, Source.TRADES)
    assert store.verify() == []
