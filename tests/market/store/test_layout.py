"""Where things lie: partitions, their bounds, names that are safe on disk."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krakked.errors import StoreError, UnknownTimeframeError
from krakked.market.bars import OHLCBar
from krakked.market.store import layout
from krakked.market.store.filesystem import file_system_of
from krakked.market.store.layout import Series
from krakked.market.store.ohlc_store import OHLCStore
from krakked.market.timeframes import MINUTES

timeframes = st.sampled_from(sorted(MINUTES))


@given(timeframes, st.integers(0, layout.FAR_S - 1))
def test_a_time_lies_in_its_partition(timeframe: str, moment: int) -> None:
    start, end = layout.partition_bounds(layout.partition_of(timeframe, moment))
    assert start <= moment < end


@given(timeframes, st.integers(0, 4_000_000_000), st.integers(0, 200_000_000))
def test_partitions_between_tile_the_range(timeframe: str, first: int, length: int) -> None:
    names = layout.partitions_between(timeframe, first, first + length)
    bounds = [layout.partition_bounds(name) for name in names]
    assert bounds[0][0] <= first < bounds[0][1]
    assert bounds[-1][0] <= first + length < bounds[-1][1]
    assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
    assert names == sorted(names)


@given(st.text(min_size=1, max_size=20))
def test_any_name_makes_one_safe_path_component_and_reads_back(pair: str) -> None:
    try:
        quoted = layout.quote_pair(pair)
    except UnicodeEncodeError:  # lone surrogates
        return
    assert "/" not in quoted
    assert "~" not in quoted
    series = Series(pair, "1m")
    assert layout.series_of_stem(series.file_stem + "~2026-11.tmp") == series
    assert layout.series_of_directories("timeframe=1m", f"pair={quoted}") == series


def test_names_that_differ_in_case_alone_are_two_on_every_file_system(tmp_path) -> None:
    names = ["AAPLxUSD", "AAPLXUSD", "aaplxusd", "AAPL%78USD"]
    assert len({layout.quote_pair(name).lower() for name in names}) == len(names)
    store = OHLCStore(tmp_path)
    for close, name in enumerate(names, start=1):
        store.append_bars(name, "1m", [OHLCBar(0, *[float(close)] * 4, None, 0.0, 0)])
    assert sorted(store.series()) == sorted((name, "1m") for name in names)
    for close, name in enumerate(names, start=1):
        assert store.get_bars(name, "1m")[0].close == close
    assert store.verify() == []


def test_names_that_are_none_are_refused() -> None:
    for name in ("", "x" * 101):
        with pytest.raises(StoreError):
            layout.quote_pair(name)
    for name in ("2026-13", "2026-1", "0000", "x", "2026-11.parquet"):
        with pytest.raises(StoreError):
            layout.partition_bounds(name)
    with pytest.raises(StoreError, match="unix seconds"):
        layout.partition_of("1m", 1_793_491_200_000)
    assert layout.series_of_stem("stranger") is None
    assert layout.series_of_directories("x=1", "pair=A") is None


def test_unknown_timeframe(tmp_path) -> None:
    with pytest.raises(UnknownTimeframeError):
        OHLCStore(tmp_path).get_bars("XBTUSD", "2m")
    with pytest.raises(UnknownTimeframeError):
        OHLCStore(tmp_path).append_provisional("2m", [])


def test_the_file_system_of_a_path() -> None:
    mounts = (
        "22 1 0:21 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:30 / /data rw,relatime shared:1 - nfs4 server:/x rw\n"
        "31 30 0:31 / /data/my\\040disk rw - ext4 /dev/vdb rw\n"
        "nonsense\n"
    )
    assert file_system_of("/home/me", mounts) == "ext4"
    assert file_system_of("/data/ohlc", mounts) == "nfs4"
    assert file_system_of("/database", mounts) == "ext4"
    assert file_system_of("/data/my disk/ohlc", mounts) == "ext4"
