"""Contract Phase 2, section 8, item 3: only closed candles, each once, in order. The pure part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from krakked.errors import ServiceError
from krakked.market.history.ohlc_rows import NEWEST_WAITS_S, read_closed
from krakked.market.store.ohlc_store import OHLCStore
from krakked.rest.wire import OHLCRow


def row(time: int, close: str = "2", count: int = 1, vwap: str = "2.0") -> OHLCRow:
    return OHLCRow(time, "1", "3", "0.5", close, vwap, "10.5", count)


def test_contract_8_3_the_running_candle_is_excluded_by_the_clock() -> None:
    rows = [row(0), row(60), row(120)]
    assert [bar.time for bar in read_closed(rows, 60, 120.0).bars] == [0, 60]
    assert [bar.time for bar in read_closed(rows, 60, 179.9).bars] == [0, 60]
    assert [bar.time for bar in read_closed(rows, 60, 119.9).bars] == [0]
    assert read_closed(rows, 60, 120.0).covered == (0, 120)
    assert read_closed(rows, 60, 30.0).covered is None
    assert read_closed([], 60, 1e9).bars == ()


def test_contract_8_3_the_place_in_the_reply_does_not_decide() -> None:
    # Right after a boundary Kraken may not show the new running candle yet: the last row is closed.
    rows = [row(0), row(60)]
    assert [bar.time for bar in read_closed(rows, 60, 120.0 + NEWEST_WAITS_S).bars] == [0, 60]
    # Before that it may be a reply that the servers in front kept for two seconds.
    assert [bar.time for bar in read_closed(rows, 60, 122.5).bars] == [0]
    # A clock that is behind leaves out more than the last row.
    assert [bar.time for bar in read_closed([row(0), row(60), row(120)], 60, 70).bars] == [0]


def test_contract_8_3_bars_are_deduplicated_and_ordered() -> None:
    rows = [row(120), row(0, "7"), row(60), row(0, "8")]
    bars = read_closed(rows, 60, 1e9).bars
    assert [(bar.time, bar.close) for bar in bars] == [(0, 8.0), (60, 2.0), (120, 2.0)]


def test_an_interval_without_trades_has_no_vwap() -> None:
    (bar,) = read_closed([row(0, count=0, vwap="0.0")], 60, 1e9).bars
    assert bar.vwap is None
    (bar,) = read_closed([row(0)], 60, 1e9).bars
    assert bar.vwap == 2.0


@pytest.mark.parametrize("wrong", ["", "x", "nan", "inf", "1e999"])
def test_numbers_that_are_none_are_refused(wrong: str) -> None:
    with pytest.raises(ServiceError):
        read_closed([row(0, close=wrong)], 60, 1e9)


def test_the_recorded_reply_gives_720_bars_and_leaves_the_721st_out(
    recorded: Callable[[str], Path], tmp_path: Path
) -> None:
    reply = msgspec.json.decode(recorded("rest_ohlc_1m").read_bytes())
    now = msgspec.json.decode(recorded("rest_time").read_bytes())["result"]["unixtime"]
    raw = reply["result"]["XBTUSDT"]
    rows = msgspec.convert(raw, list[OHLCRow])
    closed = read_closed(rows, 60, now)
    assert len(raw) == 721
    assert len(closed.bars) == 720
    store = OHLCStore(tmp_path)
    assert store.append_bars("XBTUSDT", "1m", closed.bars, covered=closed.covered) == 720
    stored = store.get_bars("XBTUSDT", "1m")
    assert len(stored) == 720
    for bar, values in zip(stored, raw, strict=False):
        assert bar.time == values[0]
        assert [bar.open, bar.high, bar.low, bar.close] == [float(v) for v in values[1:5]]
        assert bar.vwap == (float(values[5]) if values[7] else None)
        assert (bar.volume, bar.count) == (float(values[6]), values[7])
    quiet = sum(values[7] == 0 for values in raw)  # the running one among them
    assert quiet > 100
    assert sum(bar.count == 0 for bar in stored) == quiet - 1
    # One minute later the same reply would have closed its last row as well.
    assert len(read_closed(rows, 60, now + 60).bars) == 721
