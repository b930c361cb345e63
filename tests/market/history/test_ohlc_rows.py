"""Contract Phase 2, section 8, item 3: only closed candles, each once, in order. The pure part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from krakked._market.bars import OHLCBar, Source, bar_of_row
from krakked._market.history.ohlc_rows import SETTLED_S, read_closed
from krakked._market.store.ohlc_store import OHLCStore
from krakked._rest.models import KEPT_S, OHLC_ROWS, OHLCRow


def row(time: int, close: str = "2", count: int = 1, vwap: str = "2.0") -> OHLCRow:
    return OHLCRow(time, "1", "9", "0.5", close, vwap, "10.5", count)


def test_contract_8_3_the_running_candle_is_excluded_by_the_clock() -> None:
    rows = [row(0), row(60), row(120)]
    assert [bar.time for bar in read_closed(rows, 60, 120.0).bars] == [0, 60]
    assert [bar.time for bar in read_closed(rows, 60, 179.9).bars] == [0, 60]
    assert [bar.time for bar in read_closed(rows, 60, 119.9).bars] == [0]
    assert read_closed(rows, 60, 120.0).covered == ((0, 120),)
    assert read_closed(rows, 60, 30.0).covered == ()
    assert read_closed([], 60, 1e4).bars == ()


def test_contract_8_3_the_place_in_the_reply_does_not_decide() -> None:
    # Right after a boundary Kraken may not show the new running candle yet: the last row is closed.
    rows = [row(0), row(60)]
    assert [bar.time for bar in read_closed(rows, 60, 120.0 + KEPT_S).bars] == [0, 60]
    # Before that it may be a reply that the servers in front kept for two seconds.
    assert [bar.time for bar in read_closed(rows, 60, 122.5).bars] == [0]
    # A clock that is behind leaves out more than the last row.
    assert [bar.time for bar in read_closed([row(0), row(60), row(120)], 60, 70).bars] == [0]


def test_how_far_a_reply_reaches_and_how_long_its_newest_row_waits() -> None:
    assert (OHLC_ROWS, KEPT_S) == (720, 3.0)
    assert [bar.time for bar in read_closed([row(0), row(60)], 60, 122.9).bars] == [0]
    assert [bar.time for bar in read_closed([row(0), row(60)], 60, 123.0).bars] == [0, 60]


def test_contract_8_3_bars_are_deduplicated_and_ordered() -> None:
    rows = [row(120), row(0, "7"), row(60), row(0, "8")]
    bars = read_closed(rows, 60, 1e4).bars
    assert [(bar.time, bar.close) for bar in bars] == [(0, 8.0), (60, 2.0), (120, 2.0)]


def test_an_interval_without_trades_has_no_vwap() -> None:
    (bar,) = read_closed([row(0, count=0, vwap="0.0")], 60, 1e4).bars
    assert bar.vwap is None
    (bar,) = read_closed([row(0)], 60, 1e4).bars
    assert bar.vwap == 2.0


def test_a_row_becomes_a_bar_in_one_place() -> None:
    assert bar_of_row(row(60), 60) == OHLCBar(60, 1.0, 9.0, 0.5, 2.0, 2.0, 10.5, 1)
    untraded = OHLCRow(60, "2", "2", "2", "2", "0.0", "0.00000000", 0)
    assert bar_of_row(untraded, 60) == OHLCBar(60, 2.0, 2.0, 2.0, 2.0, None, 0.0, 0)
    assert bar_of_row(row(60, vwap="0.0"), 60) == OHLCBar(60, 1.0, 9.0, 0.5, 2.0, None, 10.5, 1)
    # How weeks are aligned is unverified.
    week = 604_800
    assert bar_of_row(row(week + 60), week) is not None
    assert bar_of_row(row(86_400 + 60), 86_400) is None


def test_small_numbers_are_numbers() -> None:
    """A price or an amount below 1 is as good as any."""
    small = OHLCRow(60, "0.02", "0.02", "0.01", "0.01", "0.015", "0.5", 1)
    assert bar_of_row(small, 60) == OHLCBar(60, 0.02, 0.02, 0.01, 0.01, 0.015, 0.5, 1)


def test_the_numbers_of_the_sources_are_those_stored() -> None:
    stored = {"PARTIAL": 0, "WEBSOCKET": 1, "ARCHIVE": 2, "TRADES": 3, "REST": 4}
    assert {source.name: source.value for source in Source} == stored


UNFIT = {
    **{
        f"{name} is {text!r}": {name: text}
        for text in ("", "x", "nan", "inf", "-inf", "1e999")
        for name in ("open", "high", "low", "close", "vwap", "volume")
    },
    "off the grid": {"time": 61},
    "before 1970": {"time": -60},
    "milliseconds": {"time": 1_790_000_040_000 * 1000},
    "the year 10000": {"time": 253_402_300_800},
    "negative volume": {"volume": "-1"},
    "negative count": {"count": -1},
    "a count that no int64 holds": {"count": 2**63},
    "a price of 0": {"low": "0"},
    "a negative price": {"open": "-1", "low": "-1"},
    "open above high": {"open": "10"},
    "open below low": {"open": "0.4"},
    "close above high": {"close": "10"},
    "close below low": {"close": "0.4"},
}


@pytest.mark.parametrize("wrong", UNFIT.values(), ids=UNFIT.keys())
def test_a_row_that_can_be_no_candle_is_refused_and_costs_no_other(
    wrong: dict[str, object],
) -> None:
    unfit = msgspec.structs.replace(row(60), **wrong)
    assert bar_of_row(unfit, 60) is None
    closed = read_closed([row(0), unfit, row(120), row(180)], 60, 1e4)
    assert [bar.time for bar in closed.bars] == [0, 120, 180]
    assert closed.refused == 1
    # What it would have said stays unknown: nothing claims that the minute did not trade.
    assert closed.covered == ((0, 60), (120, 240))


def test_the_last_open_time_that_is_one_is_taken() -> None:
    assert bar_of_row(row(253_402_300_740), 60) is not None
    assert bar_of_row(row(0), 60) is not None


def test_rows_that_could_not_be_decoded_leave_the_same_doubt() -> None:
    closed = read_closed([row(0), row(60), row(180)], 60, 1e4, unfit=2)
    assert closed.refused == 2
    assert closed.covered == ((0, 120), (180, 240))
    whole = read_closed([row(0), row(60), row(180)], 60, 1e4)
    # A row that is not there is no answer either: REST sends one for an untraded minute as well.
    assert (whole.refused, whole.covered) == (0, closed.covered)


def test_a_row_given_twice_is_the_later_fit_one() -> None:
    closed = read_closed([row(0), row(0, close="x"), row(60), row(120)], 60, 1e4)
    assert [bar.time for bar in closed.bars] == [0, 60, 120]
    assert closed.bars[0].close == 2.0


@pytest.mark.parametrize("hours_back", [5000, 723, 600])
def test_one_old_row_claims_nothing_but_itself(hours_back: int) -> None:
    now_s = 10_000 * 3600 + 60.0
    times = [9_950 * 3600 + hour * 3600 for hour in range(51)]
    old_s = (10_000 - hours_back) * 3600
    closed = read_closed([row(old_s), *map(row, times)], 3600, now_s)
    reached = hours_back <= 721
    assert closed.refused == (0 if reached else 1)
    own = [(old_s, old_s + 3600)] if reached else []
    assert closed.covered == (*own, (times[0], 10_000 * 3600))
    assert len(closed.bars) == 50 + len(own)


def test_a_row_of_the_future_is_refused_and_closes_no_other() -> None:
    rows = [row(0), row(60), row(6000)]
    closed = read_closed(rows, 60, 120.0)
    assert ([bar.time for bar in closed.bars], closed.refused) == ([0], 1)
    assert closed.newest_s == 60
    # The next one may have begun already, by Kraken's clock.
    soon = read_closed([row(0), row(60), row(120)], 60, 119.0)
    assert ([bar.time for bar in soon.bars], soon.refused) == ([0], 0)


@pytest.mark.parametrize("interval_s", [60, 14_400])
def test_rows_of_another_interval_are_no_candles(interval_s: int) -> None:
    now_s = 10_000 * 14_400.0
    rows = [row(10_000 * 14_400 - at * interval_s) for at in range(150)]
    closed = read_closed(rows, 3600, now_s)
    assert (closed.bars, closed.covered, closed.refused) == ((), (), 150)
    # Two may have lost those between them: they say nothing about what is there.
    pair = [row(10_000 * 14_400 - 20_000 // 3600 * 3600), row(10_000 * 14_400 - 7200)]
    assert len(read_closed(pair, 3600, now_s).covered) == 2


@pytest.mark.parametrize(
    ("vwap", "kept"),
    [("9", 9.0), ("0.5", 0.5), ("9.1", None), ("0.4", None), ("-1", None), ("5e9", None)],
)
def test_a_vwap_outside_of_its_candle_is_none_and_counted(vwap: str, kept: float | None) -> None:
    closed = read_closed([row(0, vwap=vwap), row(60)], 60, 1e4)
    assert closed.bars[0].vwap == kept
    assert closed.without_vwap == (kept is None)
    assert (closed.refused, closed.covered) == (0, ((0, 120),))


def test_a_candle_that_came_twice_and_not_alike_is_counted() -> None:
    closed = read_closed([row(0), row(0), row(60), row(60, close="3"), row(120)], 60, 1e4)
    assert closed.contradicted == 1
    assert [bar.close for bar in closed.bars] == [2.0, 3.0, 2.0]


def test_what_kraken_may_still_revise_is_unsettled() -> None:
    rows = [row(at) for at in range(0, 1800, 60)]
    end_s = 1800.0
    assert read_closed(rows, 60, end_s + KEPT_S).unsettled_from == 960 - 60
    # The candle that opened at 840 ended 15 minutes ago, to the second.
    assert read_closed(rows, 60, 900 + SETTLED_S).unsettled_from == 900
    assert read_closed(rows, 60, 899.9 + SETTLED_S).unsettled_from == 840
    assert read_closed(rows, 60, end_s + SETTLED_S).unsettled_from is None
    assert read_closed(rows, 60, end_s + SETTLED_S - 0.1).unsettled_from == 1740
    assert SETTLED_S == 15 * 60


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
    assert store.append_bars("XBTUSDT", "1m", closed.bars, covered=closed.covered[0]) == 720
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
