"""Candles for other programs: read where they lie, or written in their own form."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

import krakked
from krakked import OHLCBar, OHLCStore, Source, StoreError, scan
from krakked._market.store import arrow
from krakked._market.store import export as export_module
from krakked._market.store.export import FORMS, file_name, write_file

DAY_S = 86_400
T0 = 1_767_225_600  # 2026-01-01


def bars(count: int, start_s: int = T0, step_s: int = 60) -> list[OHLCBar]:
    return [
        OHLCBar(start_s + i * step_s, 1.0 + i, 2.0 + i, 0.5 + i, 1.5 + i, 1.2 + i, 0.25, 4)
        for i in range(count)
    ]


@pytest.fixture
def store(tmp_path: Path) -> OHLCStore:
    made = OHLCStore(tmp_path / "a [dir] * of 'mine'")
    months = bars(45, T0 - 20 * 60)  # over the turn of a year: two files
    made.append_bars("XBTUSD", "1m", months, covered=(months[0].time, months[-1].time + 60))
    live = [("XBTUSD", bar) for bar in bars(2, months[-1].time + 60)]
    made.append_provisional("1m", live)
    made.compact()
    return made


@pytest.mark.parametrize("provisional", [False, True])
def test_polars_and_duckdb_read_what_the_store_gives(store: OHLCStore, provisional: bool) -> None:
    wanted = store.get_columns("XBTUSD", "1m", provisional=provisional).to_pylist()
    assert len(wanted) == 45 + 2 * provisional
    frame = scan("XBTUSD", "1m", store=store, provisional=provisional)
    assert isinstance(frame, pl.LazyFrame)
    rows = frame.collect()
    assert rows.drop("timestamp").to_dicts() == wanted
    relation = scan("XBTUSD", "1m", "duckdb", store=store, provisional=provisional)
    assert isinstance(relation, duckdb.DuckDBPyRelation)
    table = relation.to_arrow_table()
    assert table.drop_columns("timestamp").to_pylist() == wanted
    for stamps in (rows["timestamp"].to_list(), table.column("timestamp").to_pylist()):
        assert [stamp.timestamp() for stamp in stamps] == [row["time"] for row in wanted]


def test_scanning_leaves_the_files_as_they_are(store: OHLCStore) -> None:
    files = store.partitions("XBTUSD", "1m")
    assert [file.name for file in files] == ["2025-12.parquet", "2026-01.parquet"]
    before = [file.read_bytes() for file in files]
    scan("XBTUSD", "1m", store=store).collect()
    scan("XBTUSD", "1m", "duckdb", store=store).fetchall()
    assert [file.read_bytes() for file in files] == before
    assert store.partitions("ETHUSD", "1m") == []


def test_the_store_of_the_settings(own_config_dir: Path, tmp_path: Path) -> None:
    root = tmp_path / "candles"
    (own_config_dir / "config.yaml").write_text(
        f"market_data: {{ohlc_store: {{root_dir: {root}}}}}\n", "utf-8"
    )
    with OHLCStore(root, exchange="kraken") as made:
        made.append_bars("XBTUSD", "1d", bars(3, T0, DAY_S))
    assert scan("XBTUSD", "1d").collect().height == 3
    with OHLCStore(tmp_path / "other", exchange="a-sandbox") as made:
        made.append_bars("XBTUSD", "1d", bars(3, T0, DAY_S))
    config = krakked.KrakkedConfig(
        market_data=krakked.MarketDataSettings(
            ohlc_store=krakked.OHLCStoreSettings(root_dir=str(tmp_path / "other"))
        )
    )
    with pytest.raises(krakked.StoreExchangeError):
        scan("XBTUSD", "1d", config=config)


def test_what_cannot_be_scanned_says_why(
    store: OHLCStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(krakked.UnknownPairError, match="Did you mean XBTUSD") as caught:
        scan("XBTUSDT", "1m", store=store)
    assert caught.value.suggestion == "XBTUSD"
    with pytest.raises(krakked.UnknownPairError, match="krakked store check"):
        scan("XBTUSD", "1h", store=store)
    with pytest.raises(krakked.UnknownTimeframeError):
        scan("XBTUSD", "2m", store=store)  # type: ignore[arg-type]
    with pytest.raises(krakked.ConfigError, match="polars, duckdb"):
        scan("XBTUSD", "1m", "pandas", store=store)  # type: ignore[arg-type]
    with (
        OHLCStore(tmp_path / "csv", backend="csv") as csv,
        pytest.raises(krakked.StoreError, match="krakked export"),
    ):
        scan("XBTUSD", "1m", store=csv)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(krakked.StoreError, match="pip install duckdb"):
        scan("XBTUSD", "1m", "duckdb", store=store)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_reads_back(store: OHLCStore, tmp_path: Path, form: str) -> None:
    table = store.get_columns("XBTUSD", "1m")
    path = tmp_path / file_name("XBTUSD", "1m", form, "BTC/USD")
    write_file(table, path, form)
    assert sorted(tmp_path.glob(".*")) == [], "nothing half done is left"
    if form == "csv":
        read = pd.read_csv(path)
    elif form == "parquet":
        read = pq.read_table(path).to_pandas()
    else:
        read = pd.read_feather(path)
    if form == "freqtrade":
        assert path.name == "BTC_USD-1m.feather"
        assert list(read.columns) == ["date", "open", "high", "low", "close", "volume"]
        assert str(read["date"].dtype) == "datetime64[ms, UTC]"
        assert [stamp.timestamp() for stamp in read["date"]] == table.column("time").to_pylist()
    else:
        assert list(read.columns) == table.column_names
        assert read["time"].tolist() == table.column("time").to_pylist()
    for name in ("open", "high", "low", "close", "volume"):
        assert read[name].tolist() == table.column(name).to_pylist()


def test_no_file_is_replaced_unasked_and_none_is_left_half(
    store: OHLCStore, tmp_path: Path
) -> None:
    table, path = store.get_columns("XBTUSD", "1m"), tmp_path / "there.csv"
    path.write_text("mine", "utf-8")
    with pytest.raises(krakked.StoreError, match="--force") as caught:
        write_file(table, path, "csv")
    assert caught.value.path == str(path)
    assert path.read_text("utf-8") == "mine"
    write_file(table, path, "csv", replace=True)
    assert len(path.read_text("utf-8").splitlines()) == 46
    with pytest.raises(krakked.StoreError, match="could not be written"):
        write_file(table, tmp_path / "nowhere" / "x.csv", "csv")
    with pytest.raises(krakked.ConfigError):
        write_file(table, path, "xlsx", replace=True)


def test_the_weakest_source_is_the_live_stream_s(store: OHLCStore) -> None:
    rows = scan("XBTUSD", "1m", store=store, provisional=True).collect()
    assert set(rows["source"].to_list()) == {int(Source.WEBSOCKET), int(Source.REST)}


def test_a_month_is_no_minute_whatever_the_file_system() -> None:
    names = {file_name("XBTUSD", rule, "csv").lower() for rule in ("1m", "1M")}
    assert len(names) == 2


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_came_meanwhile_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    path = tmp_path / "x.csv"
    table = arrow.table_of_bars([OHLCBar(60, 1.0, 1.0, 1.0, 1.0, None, 1.0, 1)], Source.REST)
    real = export_module._write

    def slowly(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        path.write_text("mine")

    monkeypatch.setattr(export_module, "_write", slowly)
    if not links:
        monkeypatch.setattr(
            Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported"))
        )
    with pytest.raises(StoreError, match="there already"):
        write_file(table, path, "csv")
    assert path.read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir()] == ["x.csv"]
    monkeypatch.setattr(export_module, "_write", real)
    path.unlink()
    write_file(table, path, "csv")
    assert path.read_text().count("\n") == 2


@pytest.mark.skipif(os.name != "posix", reason="devices, pipes and links of POSIX")
def test_what_is_no_regular_file_is_never_replaced(store: OHLCStore, tmp_path: Path) -> None:
    table = store.get_columns("XBTUSD", "1m")
    pipe, link, real = tmp_path / "pipe", tmp_path / "link.csv", tmp_path / "real.csv"
    os.mkfifo(pipe)
    link.symlink_to(real)
    to_null = tmp_path / "null"
    to_null.symlink_to(os.devnull)
    for path in (pipe, to_null, tmp_path):
        with pytest.raises(krakked.StoreError, match="no regular file"):
            write_file(table, path, "csv", replace=True)
    assert pipe.is_fifo()
    assert Path(os.devnull).is_char_device()
    write_file(table, link, "csv", replace=True)
    assert link.is_symlink()
    assert len(real.read_text("utf-8").splitlines()) == 46
    with pytest.raises(krakked.StoreError, match="--force"):
        write_file(table, link, "csv")
