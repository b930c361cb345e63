"""Contract phase 2, section 8, item 4: the OHLC store's file-based backends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from krakked._market.bars import OHLCBar, Source
from krakked._market.store.ohlc_store import OHLCStore

START = 1_793_491_200  # 2026-11-01 00:00 UTC
BACKENDS = ["parquet", "csv"]
Make = Callable[..., list[OHLCBar]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_contract_8_4_append_bars_then_get_bars_returns_the_same_logical_bars(
    tmp_path: Path, backend: str, make_bars: Make
) -> None:
    bars = make_bars(720)
    with OHLCStore(tmp_path / "s", backend=backend) as store:
        assert store.append_bars("XBTUSD", "1m", bars) == 720
        assert store.get_bars("XBTUSD", "1m") == bars
    with OHLCStore(tmp_path / "s", backend=backend) as again:
        assert again.get_bars("XBTUSD", "1m") == bars
        assert again.last_closed("XBTUSD", "1m") == bars[-1].time


@pytest.mark.parametrize("backend", BACKENDS)
def test_contract_8_4_multiple_calls_never_duplicate(
    tmp_path: Path, backend: str, make_bars: Make
) -> None:
    bars = make_bars(300)
    store = OHLCStore(tmp_path, backend=backend)
    assert store.append_bars("XBTUSD", "1m", bars[:200]) == 200
    assert store.append_bars("XBTUSD", "1m", bars[:200]) == 0
    assert store.append_bars("XBTUSD", "1m", bars[100:]) == 100
    assert store.append_bars("XBTUSD", "1m", reversed(bars)) == 0
    assert store.append_bars("XBTUSD", "1m", [bars[7], bars[7]]) == 0
    assert store.get_bars("XBTUSD", "1m") == bars


@pytest.mark.parametrize("backend", BACKENDS)
def test_contract_8_4_lookback_and_timestamps(
    tmp_path: Path, backend: str, make_bars: Make
) -> None:
    # Across a month's end, so across partitions.
    bars = make_bars(400, start=START - 200 * 60)
    store = OHLCStore(tmp_path, backend=backend)
    store.append_bars("XBTUSD", "1m", bars)
    assert len(list(tmp_path.glob("bars/timeframe=1m/pair=XBTUSD/*"))) == 2
    for lookback in (0, 1, 200, 201, 399, 400, 5000):
        assert store.get_bars("XBTUSD", "1m", lookback=lookback) == bars[400 - lookback :][
            -400:
        ] * (lookback > 0)
    since, until = bars[150].time, bars[250].time
    assert store.get_bars("XBTUSD", "1m", since=since) == bars[150:]
    assert store.get_bars("XBTUSD", "1m", until=until) == bars[:250]
    assert store.get_bars("XBTUSD", "1m", since=since, until=until) == bars[150:250]
    assert store.get_bars("XBTUSD", "1m", since=since, until=until, lookback=7) == bars[243:250]
    assert store.get_bars("ETHUSD", "1m") == []
    assert store.last_closed("ETHUSD", "1m") is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "layout",
    [
        ("1m", 60, "2026-11"),
        ("5m", 300, "2026"),
        ("15m", 900, "2026"),
        ("30m", 1800, "2026"),
        ("1h", 3600, "all"),
        ("4h", 14400, "all"),
        ("1d", 86400, "all"),
        ("1w", 604800, "all"),
    ],
)
def test_every_timeframe_in_its_own_layout(
    tmp_path: Path, backend: str, layout: tuple[str, int, str], make_bars: Make
) -> None:
    timeframe, step_s, file = layout
    bars = make_bars(20, step_s)
    store = OHLCStore(tmp_path, backend=backend)
    store.append_bars("XBTUSD", timeframe, bars)
    assert store.get_bars("XBTUSD", timeframe) == bars
    folder = tmp_path / "bars" / f"timeframe={timeframe}" / "pair=XBTUSD"
    assert sorted(p.stem for p in folder.iterdir()) == [file]
    assert {p.suffix for p in folder.iterdir()} == {f".{backend}"}


def test_a_weaker_source_never_replaces_a_stronger_one(tmp_path: Path) -> None:
    store = OHLCStore(tmp_path)
    rows = {source: OHLCBar(START, 1.0, 9.0, 0.0, float(source), 1.0, 1.0, 1) for source in Source}
    store.append_bars("XBTUSD", "1m", [rows[Source.ARCHIVE]], source=Source.ARCHIVE)
    assert store.append_bars("XBTUSD", "1m", [rows[Source.WEBSOCKET]], source=Source.WEBSOCKET) == 0
    assert store.get_bars("XBTUSD", "1m") == [rows[Source.ARCHIVE]]
    assert store.append_bars("XBTUSD", "1m", [rows[Source.REST]]) == 1
    assert store.append_bars("XBTUSD", "1m", [rows[Source.TRADES]], source=Source.TRADES) == 0
    assert store.get_bars("XBTUSD", "1m") == [rows[Source.REST]]


def test_any_spelling_is_understood_where_the_names_are_known(
    tmp_path: Path, make_bars: Make
) -> None:
    names = {"BTC/USD": "XBTUSD", "XXBTZUSD": "XBTUSD"}
    store = OHLCStore(tmp_path, canonical=lambda name: names.get(name, name))
    bars = make_bars(3)
    store.append_bars("BTC/USD", "1m", bars[:1])
    store.append_provisional("1m", [("XXBTZUSD", bars[1])])
    for name in ("XBTUSD", "BTC/USD", "XXBTZUSD"):
        assert store.get_bars(name, "1m", provisional=True) == bars[:2]
    store.append_bars("GONEUSD", "1m", bars)
    assert store.series() == [("GONEUSD", "1m"), ("XBTUSD", "1m")]
