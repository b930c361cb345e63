"""DuckDB, Polars and pandas read the folder as it is, and a snapshot beside a live writer."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from krakked._errors import ConfigError, StoreError
from krakked._market.bars import OHLCBar
from krakked._market.store.arrow import convert
from krakked._market.store.ohlc_store import OHLCStore

Make = Callable[..., list[OHLCBar]]
FIELDS = ["time", "open", "high", "low", "close", "vwap", "volume", "count"]


def rows(bars: list[OHLCBar]) -> list[tuple]:
    return [tuple(getattr(bar, field) for field in FIELDS) for bar in bars]


def by_duckdb(folder: Path, pair: str) -> list[tuple]:
    wanted = ", ".join(f'"{field}"' for field in FIELDS)
    return duckdb.sql(
        f"SELECT {wanted} FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true) "
        f"WHERE timeframe = '1m' AND pair = '{pair}' ORDER BY time"
    ).fetchall()


def by_polars(folder: Path, pair: str) -> list[tuple]:
    frame = pl.read_parquet(folder, hive_partitioning=True)
    mine = frame.filter(pl.col("timeframe") == "1m", pl.col("pair") == pair).sort("time")
    return mine.select(FIELDS).rows()


def by_pandas(folder: Path, pair: str) -> list[tuple]:
    frame = pd.read_parquet(folder)
    mine = frame[(frame["timeframe"] == "1m") & (frame["pair"] == pair)].sort_values("time")
    found = mine[FIELDS].itertuples(index=False, name=None)
    return [tuple(none_of_nan(row)) for row in found]


def none_of_nan(values: Iterable[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


READERS = [by_duckdb, by_polars, by_pandas]


@pytest.fixture
def store(tmp_path: Path, make_bars: Make) -> OHLCStore:
    store = OHLCStore(tmp_path / "store")
    store.append_bars("XBTUSD", "1m", make_bars(1500, start=1_793_491_200 - 600 * 60))
    store.append_bars("1INCHUSD", "1m", make_bars(20))
    store.append_bars("AAPLxUSD", "1m", make_bars(20))
    store.append_bars("ETHXBT.d", "1h", make_bars(20, 3600))
    store.append_provisional("1m", [("XBTUSD", make_bars(1, start=1_793_481_180)[0])])
    return store


@pytest.mark.parametrize("read", READERS)
def test_they_agree_with_the_store_when_no_writer_runs(store: OHLCStore, read) -> None:
    store.close()
    for pair in ("XBTUSD", "1INCHUSD", "AAPLxUSD"):
        expected = rows(store.get_bars(pair, "1m", provisional=True))
        assert read(store.root / "bars", pair) == expected


@pytest.mark.parametrize("read", READERS)
def test_a_snapshot_beside_a_live_writer(
    store: OHLCStore, tmp_path: Path, make_bars: Make, read
) -> None:
    stop = threading.Event()
    more = make_bars(3000, start=1_793_491_200 + 900 * 60)

    def write() -> None:
        at = 0
        while not stop.is_set():
            store.append_bars("XBTUSD", "1m", more[at : at + 3])
            at = (at + 3) % 3000

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for round_ in range(2):
            copy = tmp_path / f"copy{round_}"
            assert store.snapshot(copy) == 5
            frozen = OHLCStore(copy)
            expected = rows(frozen.get_bars("XBTUSD", "1m"))
            for _ in range(2):
                assert read(copy / "bars", "XBTUSD") == expected
            assert frozen.verify() == []
            assert len(expected) >= 1500
    finally:
        stop.set()
        writer.join()


def test_a_snapshot_never_overwrites(store: OHLCStore, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(StoreError, match="exists already"):
        store.snapshot(tmp_path / "there")
    store.snapshot(tmp_path / "new")
    copy = OHLCStore(tmp_path / "new")
    before = store.get_bars("XBTUSD", "1m")
    copy.append_bars("XBTUSD", "1m", [OHLCBar(before[0].time, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1)])
    assert store.get_bars("XBTUSD", "1m") == before


def test_columns_in_every_form(store: OHLCStore) -> None:
    bars = store.get_bars("XBTUSD", "1m", lookback=50)
    table = store.get_columns("XBTUSD", "1m", lookback=50)
    assert convert(table, "arrow") is table
    assert convert(table, "polars").select(FIELDS).rows() == rows(bars)
    assert convert(table, "pandas")["close"].tolist() == [bar.close for bar in bars]
    arrays = convert(table, "numpy")
    assert arrays["time"].tolist() == [bar.time for bar in bars]
    assert none_of_nan(arrays["vwap"].tolist()) == [bar.vwap for bar in bars]
    with pytest.raises(ConfigError, match="arrow, polars, pandas, numpy"):
        convert(table, "excel")


def test_a_form_whose_library_is_missing(store: OHLCStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(StoreError, match="pip install polars"):
        convert(store.get_columns("XBTUSD", "1m"), "polars")
