"""What the field brings, through the public face alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import trio.testing

import krakked
from krakked._market.store.ohlc_store import OHLCStore
from krakked.sandbox import SandboxSettings, open_sandbox

START = 1_793_491_200
OLD_STORE = Path(__file__).parent / "vectors" / "version_1"


def bar(minute: int, **other: object) -> krakked.OHLCBar:
    fields = {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "vwap": 1.2, "volume": 3.0}
    return krakked.OHLCBar(**{"time": START + 60 * minute, "count": 4, **fields, **other})


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def test_a_sandbox_never_gets_among_candles_of_kraken(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    root = Path(shutil.copytree(OLD_STORE, tmp_path / "ohlc"))
    before = contents(root)
    config = krakked.KrakkedConfig(
        market_data=krakked.MarketDataSettings(
            ohlc_store=krakked.OHLCStoreSettings(root_dir=str(root))
        )
    )
    async with open_sandbox(seed=7, memory=True, settings=SandboxSettings(pair_count=40)) as there:
        with pytest.raises(krakked.StoreError, match="root_dir"):
            async with krakked.open_kraken(
                config, live=False, network=there.network, clock=there.clock
            ) as kraken:
                await kraken.get_ohlc("XBTUSD", "1h", lookback=3)
    assert contents(root) == before


def test_a_store_of_a_newer_krakked_is_neither_read_nor_written(tmp_path: Path) -> None:
    krakked.OHLCStore(tmp_path).append_bars("XBTUSD", "1m", [bar(0)])
    (tmp_path / ".krakked" / "store.json").write_text('{"version":99}')
    before = contents(tmp_path)
    with pytest.raises(krakked.StoreError, match="Upgrade krakked"):
        krakked.OHLCStore(tmp_path)
    assert contents(tmp_path) == before


def test_one_unfit_live_bar_stops_no_other_pair(tmp_path: Path) -> None:
    store = krakked.OHLCStore(tmp_path)
    float_time = bar(0, time=float(START))
    store.append_provisional("1m", [("XBTUSD", float_time), ("ETHUSD", bar(0))])
    store.append_provisional("1m", [("ETHUSD", bar(1))])
    store.fold_journal()
    assert store.get_bars("ETHUSD", "1m", provisional=True) == [bar(0), bar(1)]


@pytest.mark.parametrize("name", ["._2026-11.parquet", "2026-11 (conflicted copy).parquet"])
def test_a_stray_file_stops_no_read(tmp_path: Path, name: str) -> None:
    store = krakked.OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", [bar(0)])
    next(tmp_path.rglob("*.parquet")).with_name(name).write_bytes(b"no candles")
    assert store.get_bars("XBTUSD", "1m") == [bar(0)]
    store.append_bars("XBTUSD", "1m", [bar(1)])
    assert store.get_bars("XBTUSD", "1m") == [bar(0), bar(1)]


def test_an_address_is_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(krakked.StoreError, match="object storage"):
        krakked.OHLCStore("s3://bucket/candles").append_bars("XBTUSD", "1m", [bar(0)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "other", [{"high": 0.1}, {"low": 1.9}, {"volume": -1.0}, {"open": None}, {"close": "1.5"}]
)
def test_an_impossible_bar_is_refused(tmp_path: Path, other: dict[str, object]) -> None:
    store = krakked.OHLCStore(tmp_path)
    with pytest.raises(krakked.StoreError):
        store.append_bars("XBTUSD", "1m", [bar(0, **other)])
    assert store.series() == []


def test_repair_says_what_it_gave_up_with_damaged_coverage(tmp_path: Path) -> None:
    store = krakked.OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", [bar(0)], covered=(START, START + 60))
    path = tmp_path / ".krakked" / "coverage" / "1m~XBTUSD.json"
    path.write_bytes(b"torn")
    assert str(path) in str(store.repair())
    assert store.get_bars("XBTUSD", "1m") == [bar(0)]


def test_a_store_says_why_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OHLCStore(tmp_path / "a" / "b").why_unwritable() is None
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    assert OHLCStore(tmp_path / "ohlc").why_unwritable() is None
    monkeypatch.setattr(os, "access", lambda path, _: str(path) != str(tmp_path))  # root may all
    why = OHLCStore(tmp_path / "a" / "b").why_unwritable()
    assert why == f"{tmp_path} cannot be written by this user, or is mounted read-only"
    (tmp_path / "ohlc").symlink_to(tmp_path / "nowhere")
    assert OHLCStore(tmp_path / "ohlc").why_unwritable() == f"{tmp_path / 'ohlc'} is no directory"
