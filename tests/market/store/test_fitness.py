"""Bars that can be none are refused, by the same rule in every way in."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from krakked._errors import StoreError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store import arrow
from krakked._market.store.fitness import why_unfit
from krakked._market.store.layout import FAR_S, Series
from krakked._market.store.ohlc_store import OHLCStore

Make = Callable[..., list[OHLCBar]]
SERIES = Series("XBTUSD", "1m")
GOOD = OHLCBar(120, 2.0, 4.0, 1.0, 3.0, 2.5, 10.0, 5)


def changed(**fields: object) -> OHLCBar:
    values = {name: getattr(GOOD, name) for name in GOOD.__struct_fields__}
    return OHLCBar(**{**values, **fields})  # type: ignore[arg-type]


def changed_vwap(bar: OHLCBar) -> OHLCBar:
    """As it is stored where nothing traded."""
    return changed(**{**{n: getattr(bar, n) for n in bar.__struct_fields__}, "vwap": None})


@pytest.mark.parametrize(
    "bar",
    [
        GOOD,
        changed(time=0),
        changed(time=FAR_S - 60),
        changed(vwap=None),
        changed(volume=0.0),
        changed(count=0),
        changed(count=2**63 - 1),
        changed(low=0.0),
        changed(open=4.0),
        changed(open=1.0),
        changed(close=4.0),
        changed(close=1.0),
        changed(open=2, high=4, low=1, close=3),
        changed(time=np.int64(120), count=np.int32(5), open=np.float64(2), close=np.float32(3)),
        OHLCBar(0, 1.0, 1.0, 1.0, 1.0, None, 0.0, 0),
    ],
)
def test_what_a_bar_may_be(bar: OHLCBar, tmp_path: Path) -> None:
    assert why_unfit(bar, SERIES) is None
    store = OHLCStore(tmp_path)
    assert store.append_bars("XBTUSD", "1m", [bar]) == 1
    assert store.append_provisional("1m", [("ETHUSD", bar)]) == ()
    (stored,) = store.get_bars("XBTUSD", "1m")
    assert [stored] == store.get_bars("ETHUSD", "1m", provisional=True)
    assert stored == (bar if bar.count else changed_vwap(bar))


UNFIT = [
    *((changed(time=bad), "time") for bad in (-60, 121, 120.0, True, "120", None, FAR_S)),
    (changed(time=1_793_491_200_000), "time"),
    *((changed(count=bad), "count") for bad in (-1, 1.0, 2**63, None)),
    *((changed(volume=bad), "volume") for bad in (-1.0, math.nan, math.inf, None, "1", 10**400)),
    *((changed(vwap=bad), "vwap") for bad in (-1.0, math.nan, math.inf, "1")),
    *((changed(open=bad), "open") for bad in (math.nan, -1.0, None, Decimal(2))),
    *((changed(high=bad), "high") for bad in (math.inf, -1.0, None)),
    *((changed(low=bad), "low") for bad in (-math.inf, -1.0, None)),
    *((changed(close=bad), "close") for bad in (math.nan, -1.0, None, [1.0])),
    (changed(high=0.5), "contradict"),
    (changed(high=2.9), "contradict"),
    (changed(low=2.1), "contradict"),
    (changed(open=4.1), "contradict"),
    (changed(open=0.9), "contradict"),
    (changed(close=4.1), "contradict"),
    (changed(close=0.9), "contradict"),
    ("no bar", "OHLCBar"),
    (None, "OHLCBar"),
]


@pytest.mark.parametrize(("bar", "word"), UNFIT, ids=lambda value: str(value)[-60:])
def test_what_no_bar_may_be(bar: OHLCBar, word: str, tmp_path: Path) -> None:
    why = why_unfit(bar, SERIES)
    assert why is not None
    assert word in why
    store = OHLCStore(tmp_path)
    # Nothing of a call that is refused is stored, the sound bars of it included.
    with pytest.raises(StoreError, match="XBTUSD"):
        store.append_bars("XBTUSD", "1m", [changed(time=60), bar])
    assert store.series() == []
    assert [refused.bar for refused in store.append_provisional("1m", [("XBTUSD", bar)])] == [bar]
    assert store.get_bars("XBTUSD", "1m", provisional=True) == []


@pytest.mark.parametrize(
    "pair", ["", "X" * 101, None, 7, b"XBTUSD", "\ud800", "\N{GRINNING FACE}" * 19, "x" * 73 + "XX"]
)
def test_what_no_pair_may_be(pair: str, tmp_path: Path) -> None:
    assert why_unfit(GOOD, Series(pair, "1m")) is not None
    store = OHLCStore(tmp_path)
    with pytest.raises(StoreError, match="Not a pair's name"):
        store.append_bars(pair, "1m", [GOOD])
    with pytest.raises(StoreError, match="Not a pair's name"):
        store.get_bars(pair, "1m")
    assert len(store.append_provisional("1m", [(pair, GOOD)])) == 1


def test_the_longest_name_of_a_pair_can_be_stored(tmp_path: Path) -> None:
    store = OHLCStore(tmp_path)
    for pair in ("\N{GRINNING FACE}" * 18, "x" * 73 + "X", "X" * 100):
        store.append_bars(pair, "30m", [changed(time=0)], covered=(0, 1800))
        path = next(p for p in (tmp_path / "bars").rglob("*.parquet"))
        path.write_bytes(b"")
        store.repair()  # its name in the quarantine is the longest one
        assert store.coverage(pair, "30m") == ()


def test_weeks_may_begin_anywhere(tmp_path: Path) -> None:
    assert why_unfit(changed(time=7), Series("XBTUSD", "1w")) is None
    OHLCStore(tmp_path).append_bars("XBTUSD", "1w", [changed(time=7)])


numbers = st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0, math.nan, math.inf])


@given(
    st.integers(-2, 5),
    st.tuples(*[numbers] * 6),
    st.integers(-1, 2),
)
@example(2, (1.0, 3.0, 1.0, 2.0, 1.0, 0.0), 1)
def test_columns_are_judged_like_single_bars(
    half_minutes: int, amounts: tuple[float, ...], count: int
) -> None:
    names = ("open", "high", "low", "close", "vwap", "volume")
    fields = dict(zip(names, amounts, strict=True))
    bar = OHLCBar(time=30 * half_minutes, count=count, **fields)
    raw = {name: array("d", [value]) for name, value in fields.items()}
    raw["time"], raw["count"] = array("q", [bar.time]), array("q", [count])
    table = arrow.table_of_buffers(raw, Source.REST)
    try:
        arrow.check(table, SERIES)
    except StoreError:
        fits = False
    else:
        fits = True
    # In a column of an archive, a vwap that is no number means none; so does any without trades.
    if math.isnan(bar.vwap or 0.0) or count == 0:
        bar = OHLCBar(time=bar.time, count=count, **{**fields, "vwap": None})
    assert fits == (why_unfit(bar, SERIES) is None)


@pytest.mark.parametrize("source", [9, -1, "REST", None])
def test_an_unknown_source_is_refused(tmp_path: Path, source: Source) -> None:
    with pytest.raises(StoreError):
        OHLCStore(tmp_path).append_bars("XBTUSD", "1m", [GOOD], source=source)
