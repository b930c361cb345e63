"""Where things lie: partitions, their bounds, names that are safe on disk."""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krakked._errors import StoreError, UnknownTimeframeError
from krakked._market.bars import OHLCBar
from krakked._market.store import layout, listing
from krakked._market.store.filesystem import directory_of, file_system_of
from krakked._market.store.layout import Series, StorePaths
from krakked._market.store.ohlc_store import OHLCStore
from krakked._timeframes import MINUTES

Make = Callable[..., list[OHLCBar]]
timeframes = st.sampled_from(sorted(MINUTES))


@pytest.mark.parametrize(
    ("timeframe", "moment", "name", "bounds"),
    [
        ("1m", 0, "1970-01", (0, 2_678_400)),
        ("1m", 1_793_491_199, "2026-10", (1_790_812_800, 1_793_491_200)),
        ("1m", 1_793_491_200, "2026-11", (1_793_491_200, 1_796_083_200)),
        ("1m", 1_798_761_599, "2026-12", (1_796_083_200, 1_798_761_600)),
        ("1m", layout.FAR_S - 1, "9999-12", (253_399_622_400, layout.FAR_S)),
        ("5m", 1_798_761_599, "2026", (1_767_225_600, 1_798_761_600)),
        ("15m", 1_798_761_600, "2027", (1_798_761_600, 1_830_297_600)),
        ("30m", layout.FAR_S - 1, "9999", (253_370_764_800, layout.FAR_S)),
        ("1h", 0, "all", (0, layout.FAR_S)),
        ("4h", 1_793_491_200, "all", (0, layout.FAR_S)),
        ("1d", 1_793_491_200, "all", (0, layout.FAR_S)),
        ("1w", layout.FAR_S - 1, "all", (0, layout.FAR_S)),
    ],
)
def test_partitions(timeframe: str, moment: int, name: str, bounds: tuple[int, int]) -> None:
    assert layout.partition_of(timeframe, moment) == name
    assert layout.partition_bounds(name) == bounds


@pytest.mark.parametrize("moment", [-1, layout.FAR_S, 1_793_491_200_000])
def test_times_that_lie_in_no_partition(moment: int) -> None:
    for timeframe in MINUTES:
        with pytest.raises(StoreError, match="unix seconds"):
            layout.partition_of(timeframe, moment)


def test_partitions_between() -> None:
    assert layout.partitions_between("1m", 1_793_491_199, 1_793_491_200) == ["2026-10", "2026-11"]
    assert layout.partitions_between("1m", 1_793_491_200, 1_793_491_200) == ["2026-11"]
    assert layout.partitions_between("1m", 1_793_491_200, 1_793_491_199) == []


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


@given(st.text(min_size=1, max_size=18))
def test_any_name_makes_one_safe_path_component_and_reads_back(pair: str) -> None:
    try:
        quoted = layout.quote_pair(pair)
    except StoreError:
        assert any("\ud800" <= letter <= "\udfff" for letter in pair)  # half of a pair
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
    for name in ("2026-13", "2026-1", "0000", "1969", "1969-12", "x", "", "2026-11.parquet"):
        with pytest.raises(StoreError):
            layout.partition_bounds(name)
    with pytest.raises(StoreError, match="unix seconds"):
        layout.partition_of("1m", 1_793_491_200_000)
    assert layout.series_of_stem("stranger") is None
    assert layout.series_of_directories("timeframe=1m", "pair=A") == Series("A", "1m")
    for timeframe, pair in (
        ("x=1m", "pair=A"),
        ("timeframe=1m", "x=A"),
        ("timeframe=", "pair=A"),
        ("timeframe=1m", "pair="),
        ("timeframe=1m", "pair=a"),
        ("timeframe=2m", "pair=A"),
    ):
        assert layout.series_of_directories(timeframe, pair) is None


def test_unknown_timeframe(tmp_path) -> None:
    with pytest.raises(UnknownTimeframeError):
        OHLCStore(tmp_path).get_bars("XBTUSD", "2m")
    with pytest.raises(UnknownTimeframeError):
        OHLCStore(tmp_path).append_provisional("2m", [])


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("s3://bucket/candles", "object storage"),
        ("S3://bucket/candles", "object storage"),
        ("gs://bucket", "object storage"),
        ("abfss://container@account.dfs.core.windows.net/x", "object storage"),
        ("http://host/x", "object storage"),
        ("s3:/bucket/candles", "object storage"),
        ("memory://", "object storage"),
        (Path("s3://bucket/candles"), "object storage"),
        ("file:///srv/candles", "write the path alone: /srv/candles"),
        ("file:/srv/candles", "write the path alone: /srv/candles"),
        ("", "names no directory"),
        ("  ", "names no directory"),
        ("a\0b", "names no directory"),
        ("~nobody-of-that-name/x", "in full"),
    ],
)
def test_an_address_is_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | Path, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=re.escape(words)) as caught:
        OHLCStore(named)
    assert "object storage" not in words or str(named) in str(caught.value)
    with pytest.raises(StoreError, match=re.escape(words)):
        OHLCStore(tmp_path / "ohlc").snapshot(named)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", ["C:/candles", "c:x", "a:b", "./s3", "x/y:z", "s3:candles"])
def test_what_only_looks_like_an_address(named: str) -> None:
    assert directory_of(named) == Path(named).absolute()


def test_a_home_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(StoreError, match="Write it in full"):
        OHLCStore("~/candles")


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Path) -> Path:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "absolute", gone)
    with pytest.raises(StoreError, match="Write it in full"):
        OHLCStore("candles")


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


@pytest.mark.parametrize(
    ("timeframe", "name", "known"),
    [
        ("1m", "2026-11", True),
        ("1m", "1970-01", True),
        ("1m", "9999-12", True),
        ("1m", "2026", False),
        ("1m", "all", False),
        ("1m", "2026-00", False),
        ("5m", "2026", True),
        ("15m", "1970", True),
        ("30m", "9999", True),
        ("5m", "1969", False),
        ("5m", "0000", False),
        ("5m", "2026-11", False),
        ("5m", "all", False),
        ("1h", "all", True),
        ("4h", "all", True),
        ("1d", "all", True),
        ("1w", "all", True),
        ("1h", "2026", False),
        ("1h", "2026-11", False),
        ("1h", "All", False),
        ("1h", "", False),
    ],
)
def test_names_of_partitions(timeframe: str, name: str, known: bool) -> None:
    assert layout.is_partition(timeframe, name) is known


def test_series_and_journals_come_in_order(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path)
    for pair in ("ZECUSD", "ADAUSD"):
        for timeframe, step_s in (("1h", 3600), ("5m", 300), ("1m", 60)):
            store.append_bars(pair, timeframe, make_bars(1, step_s))
    assert store.series() == [
        (pair, timeframe) for timeframe in ("1m", "5m", "1h") for pair in ("ADAUSD", "ZECUSD")
    ]
    paths = StorePaths(tmp_path)
    paths.journal.mkdir()
    for name in ("1m.journal", "1m.journal.10", "1m.journal.9", "5m.journal.1"):
        (paths.journal / name).touch()
    named = [path.name for path in listing.journals(paths, "1m")]
    assert named == ["1m.journal.9", "1m.journal.10", "1m.journal"]
    assert len(listing.journals(paths)) == 4


def test_only_the_name_that_is_given_reads_back() -> None:
    assert layout.series_of_stem("1m~XBTUSD") == Series("XBTUSD", "1m")
    for stem in ("1m~xbtusd", "1m~X/B", "1m~", "~XBTUSD", "1m", "7m~XBTUSD", "1m~%58BTUSD"):
        assert layout.series_of_stem(stem) is None, stem


def test_a_name_whose_kind_cannot_be_read_is_no_stray() -> None:
    class Unreadable:
        name = "2026-11.parquet"

        def __init__(self, code: int) -> None:
            self._code = code

        def is_file(self) -> bool:
            raise OSError(self._code, os.strerror(self._code))

    assert listing._entry(Unreadable(errno.ELOOP)) == ("2026-11.parquet", False, False)
    with pytest.raises(OSError, match="Input/output"):
        listing._entry(Unreadable(errno.EIO))
