"""Candles that may lack trades: stored, but given only when asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from krakked._errors import StoreCorruptError, StoreError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store import merge
from krakked._market.store.arrow import EMPTY
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.store.series_files import SeriesFiles

Make = Callable[..., list[OHLCBar]]


def test_a_candle_at_the_edge_of_a_file_is_given_only_when_asked_for(
    tmp_path: Path, make_bars: Make
) -> None:
    store = OHLCStore(tmp_path)
    bars = make_bars(3)
    store.append_bars("XBTUSD", "1m", bars[:2], source=Source.ARCHIVE)
    store.append_bars("XBTUSD", "1m", bars[2:], source=Source.PARTIAL)
    assert store.get_bars("XBTUSD", "1m") == bars[:2]
    assert store.get_bars("XBTUSD", "1m", lookback=1) == bars[1:2]
    assert store.get_bars("XBTUSD", "1m", provisional=True) == bars
    # Whatever anybody else says of it is better, and it never comes back.
    stream = msgspec.structs.replace(bars[2], close=bars[2].high)
    store.append_bars("XBTUSD", "1m", [stream], source=Source.WEBSOCKET)
    store.append_bars("XBTUSD", "1m", bars[2:], source=Source.PARTIAL)
    assert store.get_bars("XBTUSD", "1m", provisional=True) == [*bars[:2], stream]
    with pytest.raises(StoreError, match="whole"):
        store.append_bars("XBTUSD", "1m", bars, source=Source.PARTIAL, covered=(bars[0].time,) * 2)


def seen_by_others(root: Path) -> list[tuple[int, int]]:
    """Give what a program sees that reads the folder of bars as it is: open times and sources."""
    files = sorted((root / "bars").rglob("*.parquet"))
    tables = [pq.read_table(path, partitioning=None) for path in files]
    return [
        (row["time"], row["source"])
        for table in tables
        for row in table.select(["time", "source"]).to_pylist()
    ]


def test_other_programs_never_see_a_candle_that_may_lack_trades(
    tmp_path: Path, make_bars: Make
) -> None:
    store = OHLCStore(tmp_path)
    # Ten minutes at the turn of a month, so that edges lie in two partitions.
    bars = make_bars(10, start=1_793_491_200 - 300)
    for at in (0, 4, 5, 9):
        store.append_bars("XBTUSD", "1m", bars[at : at + 1], source=Source.PARTIAL)
    assert seen_by_others(tmp_path) == []
    assert store.series() == []
    assert store.get_bars("XBTUSD", "1m", provisional=True) == [bars[i] for i in (0, 4, 5, 9)]
    assert store.first_stored("XBTUSD", "1m", provisional=True) == bars[0].time
    store.append_bars("XBTUSD", "1m", bars[1:9], source=Source.ARCHIVE)
    assert seen_by_others(tmp_path) == [(bar.time, Source.ARCHIVE) for bar in bars[1:9]]
    assert store.get_bars("XBTUSD", "1m", provisional=True) == bars
    assert store.get_bars("XBTUSD", "1m", provisional=True, lookback=2) == bars[-2:]
    until = bars[1].time
    assert store.get_bars("XBTUSD", "1m", provisional=True, until=until) == bars[:1]
    since = bars[-1].time
    assert store.get_bars("XBTUSD", "1m", provisional=True, since=since) == bars[-1:]
    store.append_bars("XBTUSD", "1m", bars, source=Source.REST)
    assert seen_by_others(tmp_path) == [(bar.time, Source.REST) for bar in bars]
    assert not list((tmp_path / ".krakked" / "partial").iterdir())
    assert store.verify() == []


def test_a_kill_between_the_two_files_loses_nothing(
    tmp_path: Path, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = OHLCStore(tmp_path)
    bars = make_bars(3)
    store.append_bars("XBTUSD", "1m", bars[2:], source=Source.PARTIAL)
    with monkeypatch.context() as patch:
        patch.setattr(SeriesFiles, "_write_partial", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            store.append_bars("XBTUSD", "1m", bars, source=Source.REST)
    assert store.get_bars("XBTUSD", "1m", provisional=True) == bars
    assert store.get_bars("XBTUSD", "1m") == bars
    assert store.append_bars("XBTUSD", "1m", bars, source=Source.REST) == 0
    assert not list((tmp_path / ".krakked" / "partial").iterdir())


class Killed(BaseException):
    """The process ended here."""


def test_damage_to_what_may_lack_trades_is_found_and_costs_nothing_else(
    tmp_path: Path, make_bars: Make
) -> None:
    store = OHLCStore(tmp_path)
    bars = make_bars(3)
    store.append_bars("XBTUSD", "1m", bars[:2], source=Source.ARCHIVE)
    store.append_bars("XBTUSD", "1m", bars[2:], source=Source.PARTIAL)
    (path,) = (tmp_path / ".krakked" / "partial").iterdir()
    copy = tmp_path / "copy"
    store.snapshot(copy)
    assert OHLCStore(copy).get_bars("XBTUSD", "1m", provisional=True) == bars
    path.write_bytes(path.read_bytes()[:-20])
    assert store.get_bars("XBTUSD", "1m") == bars[:2]
    with pytest.raises(StoreCorruptError):
        store.get_bars("XBTUSD", "1m", provisional=True)
    (finding,) = store.verify()
    assert finding.path == str(path)
    report = store.repair()
    assert [gone.path for gone in report.given_up] == [str(path)]
    assert not report.partitions
    assert not report.left
    assert store.verify() == []
    assert store.get_bars("XBTUSD", "1m", provisional=True) == bars[:2]


def test_a_stranger_among_them_is_named(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", make_bars(1), source=Source.PARTIAL)
    stray = tmp_path / ".krakked" / "partial" / "._1m~XBTUSD.parquet"
    stray.write_bytes(b"")
    assert store.strays() == [str(stray)]


def test_what_an_earlier_build_wrote_among_the_bars_is_taken_out_by_compact(
    tmp_path: Path, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = OHLCStore(tmp_path)
    bars = make_bars(4)
    with monkeypatch.context() as patch:
        patch.setattr(merge, "parted", lambda table: merge.Parted(table, EMPTY))
        store.append_bars("XBTUSD", "1m", bars[3:], source=Source.PARTIAL)
        covered = (bars[0].time, bars[3].time)
        store.append_bars("XBTUSD", "1m", bars[:3], source=Source.ARCHIVE, covered=covered)
    assert seen_by_others(tmp_path)[-1] == (bars[3].time, Source.PARTIAL)
    assert store.compact().rewritten == 1
    assert seen_by_others(tmp_path) == [(bar.time, Source.ARCHIVE) for bar in bars[:3]]
    assert store.get_bars("XBTUSD", "1m", provisional=True) == bars
    assert store.compact().rewritten == 0
