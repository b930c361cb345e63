"""verify, repair, compact, gaps and coverage as a user meets them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from krakked._errors import StoreError, StoreVersionError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store import coverage, parquet_files
from krakked._market.store.coverage import CoverageRange, Gap, GapKind
from krakked._market.store.durable import locked
from krakked._market.store.layout import FORMAT_VERSION, Series, StorePaths
from krakked._market.store.ohlc_store import OHLCStore

Make = Callable[..., list[OHLCBar]]
START = 1_793_491_200
DAY = 1440 * 60


def bar(minute: int, close: float = 10.0, count: int = 1) -> OHLCBar:
    vwap, volume = (close, 1.0) if count else (None, 0.0)
    return OHLCBar(START + minute * 60, close, close, close, close, vwap, volume, count)


@pytest.mark.parametrize("backend", ["parquet", "csv"])
def test_gaps_tell_missing_from_no_trade(tmp_path: Path, backend: str) -> None:
    store = OHLCStore(tmp_path, backend=backend)
    covered = (START, START + 5 * 60)
    store.append_bars("XBTUSD", "1m", [bar(0), bar(3)], source=Source.ARCHIVE, covered=covered)
    store.append_bars("XBTUSD", "1m", [bar(8), bar(9, count=0)])
    assert store.gaps("XBTUSD", "1m") == [
        Gap(START + 60, START + 180, GapKind.NO_TRADE),
        Gap(START + 240, START + 300, GapKind.NO_TRADE),
        Gap(START + 300, START + 480, GapKind.MISSING),
        Gap(START + 540, START + 600, GapKind.NO_TRADE),
    ]
    window = store.gaps("XBTUSD", "1m", START + 120, START + 360)
    assert window == [
        Gap(START + 120, START + 180, GapKind.NO_TRADE),
        Gap(START + 240, START + 300, GapKind.NO_TRADE),
        Gap(START + 300, START + 360, GapKind.MISSING),
    ]
    assert store.coverage("XBTUSD", "1m") == (CoverageRange(*covered, Source.ARCHIVE),)
    filled = store.get_bars("XBTUSD", "1m", until=START + 300)
    assert filled == [bar(0), bar(1, count=0), bar(2, count=0), bar(3), bar(4, count=0)]


def test_what_the_stream_alone_reports_is_missing_until_confirmed(tmp_path: Path) -> None:
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", [bar(0)])
    store.append_bars("XBTUSD", "1m", [bar(1), bar(2)], source=Source.WEBSOCKET)
    end = START + 180
    missing = [Gap(START + 60, end, GapKind.MISSING)]
    assert store.gaps("XBTUSD", "1m", START, end) == missing
    assert store.gaps("XBTUSD", "1m", START, end, provisional=True) == []
    store.append_provisional("1m", [("XBTUSD", bar(3))])
    assert store.gaps("XBTUSD", "1m", START, end + 60, provisional=True) == []
    assert len(store.gaps("XBTUSD", "1m", START, end + 60)) == 1


def test_nothing_is_filled_where_the_close_before_is_unknown(tmp_path: Path) -> None:
    store = OHLCStore(tmp_path)
    covered = (START, START + 600)
    store.append_bars("XBTUSD", "1m", [bar(5)], source=Source.TRADES, covered=covered)
    assert [b.time for b in store.get_bars("XBTUSD", "1m")] == [
        START + 60 * minute for minute in range(5, 10)
    ]
    assert store.gaps("XBTUSD", "1m")[0] == Gap(START, START + 300, GapKind.NO_TRADE)
    # A close that becomes known later fills what waited for it, over a month's end too.
    store.append_bars("XBTUSD", "1m", [bar(-1, 7.0)])
    first = store.get_bars("XBTUSD", "1m")[:3]
    assert first == [bar(-1, 7.0), bar(0, 7.0, 0), bar(1, 7.0, 0)]


def test_a_provisional_close_is_not_carried_into_confirmed_bars(tmp_path: Path) -> None:
    # Twice the same calls in another order: confirmed bars do not depend on what the stream said.
    told = [bar(1, 9.0), bar(3, 9.5)]
    covered = (START, START + 300)
    for order in (0, 1):
        store = OHLCStore(tmp_path / str(order))
        if order == 0:
            store.append_bars("XBTUSD", "1m", told, source=Source.WEBSOCKET)
        store.append_bars("XBTUSD", "1m", [bar(0)], source=Source.TRADES, covered=covered)
        if order == 1:
            store.append_bars("XBTUSD", "1m", told, source=Source.WEBSOCKET)
        assert store.get_bars("XBTUSD", "1m") == [bar(0), *(bar(n, count=0) for n in range(1, 5))]
    store = OHLCStore(tmp_path / "unknown")
    store.append_bars("XBTUSD", "1m", [bar(-1, 9.0)], source=Source.WEBSOCKET)
    store.append_bars("XBTUSD", "1m", [bar(2)], source=Source.TRADES, covered=covered)
    assert [b.close for b in store.get_bars("XBTUSD", "1m")] == [bar(2).close] * 3


def test_a_covered_stretch_without_any_trade(tmp_path: Path) -> None:
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", [bar(0)], covered=(START, START + 60))
    assert store.append_bars("XBTUSD", "1m", [], covered=(START + 60, START + 40 * DAY)) == 0
    bars = store.get_bars("XBTUSD", "1m")
    assert len(bars) == 40 * 1440
    assert bars[-1] == bar(40 * 1440 - 1, count=0)
    assert store.last_closed("XBTUSD", "1m") == START + 40 * DAY - 60


def test_repair_keeps_what_is_sound_and_names_what_is_lost(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(20_000)
    store = OHLCStore(tmp_path)
    covered = (START, START + 60 * 20_000)
    store.append_bars("XBTUSD", "1m", bars, covered=covered)
    store.append_bars("ETHUSD", "1m", bars[:10], covered=(START, START + 600))
    path = tmp_path / "bars" / "timeframe=1m" / "pair=XBTUSD" / "2026-11.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # in the second of three row groups
    path.write_bytes(data)
    (tmp_path / "bars" / "notes.txt").touch()
    assert len(store.verify()) == 2
    report = store.repair()
    assert [(p.pair, p.kept) for p in report.partitions] == [("XBTUSD", 20_000 - 8192)]
    assert Path(report.partitions[0].moved_to).read_bytes() == data
    assert [Path(finding.path).name for finding in report.left] == ["notes.txt"]
    assert store.get_bars("XBTUSD", "1m") == bars[:8192] + bars[16384:]
    assert store.coverage("XBTUSD", "1m") == ()
    lost = [g for g in store.gaps("XBTUSD", "1m") if g.kind is GapKind.MISSING]
    assert lost == [Gap(bars[8192].time, bars[16384].time, GapKind.MISSING)]
    store.append_bars("XBTUSD", "1m", bars, covered=covered)
    assert store.get_bars("XBTUSD", "1m") == bars
    assert store.coverage("ETHUSD", "1m") != ()


@pytest.mark.parametrize("backend", ["parquet", "csv"])
def test_repair_of_a_file_without_an_end(tmp_path: Path, make_bars: Make, backend: str) -> None:
    bars = make_bars(100)
    store = OHLCStore(tmp_path, backend=backend)
    store.append_bars("XBTUSD", "1m", bars, covered=(START, START + 6000))
    path = next((tmp_path / "bars").rglob(f"*.{backend}"))
    path.write_bytes(path.read_bytes()[:-700])
    assert len(store.verify()) == 1
    store.repair()
    kept = store.get_bars("XBTUSD", "1m")
    assert kept == bars[: len(kept)]
    assert len(kept) == 0 or backend == "csv"
    assert store.verify() == []
    assert store.coverage("XBTUSD", "1m") == ()
    store.append_bars("XBTUSD", "1m", bars)
    assert store.get_bars("XBTUSD", "1m") == bars


def test_compact_folds_and_changes_nothing_that_is_right(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(100)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars[:50], covered=(START, START + 3000))
    store.append_provisional("1m", [("XBTUSD", b) for b in bars[50:]])
    report = store.compact()
    assert (report.series, report.rewritten) == (1, 0)
    assert store.get_bars("XBTUSD", "1m", provisional=True) == bars
    assert store.series() == [("XBTUSD", "1m")]


@pytest.mark.parametrize("backend", ["parquet", "csv"])
@pytest.mark.parametrize("next_step", ["append", "compact", "repair", "nothing"])
def test_a_file_that_somebody_removed_is_missing_and_nothing_is_made_up_for_it(
    tmp_path: Path, make_bars: Make, backend: str, next_step: str
) -> None:
    bars = make_bars(1500, start=START - 700 * 60)
    end = bars[-1].time + 60
    store = OHLCStore(tmp_path, backend=backend)
    store.append_bars("XBTUSD", "1m", bars, covered=(bars[0].time, end))
    path = tmp_path / "bars" / "timeframe=1m" / "pair=XBTUSD" / f"2026-11.{backend}"
    path.unlink()
    assert [(f.partition, f.path) for f in store.verify()] == [("2026-11", str(path))]
    if next_step == "append":
        store.append_bars("XBTUSD", "1m", bars[-1:], covered=(end - 60, end))
        end -= 60
    elif next_step == "compact":
        store.compact()
    elif next_step == "repair":
        report = store.repair()
        assert [(p.kept, p.moved_to, p.start_s) for p in report.partitions] == [(0, None, START)]
        assert store.verify() == []
    assert store.coverage("XBTUSD", "1m")[0] == CoverageRange(bars[0].time, START, Source.REST)
    assert Gap(START, end, GapKind.MISSING) in store.gaps("XBTUSD", "1m")
    assert store.get_bars("XBTUSD", "1m", until=end) == bars[:700]
    store.append_bars("XBTUSD", "1m", bars, covered=(bars[0].time, bars[-1].time + 60))
    assert store.get_bars("XBTUSD", "1m") == bars
    assert store.verify() == []


# --- what repair says ----------------------------------------------------------------------------


def partition(root: Path, pair: str = "XBTUSD") -> Path:
    return root / "bars" / "timeframe=1m" / f"pair={pair}" / "2026-11.parquet"


def coverage_file(root: Path) -> Path:
    return root / ".krakked" / "coverage" / "1m~XBTUSD.json"


@pytest.mark.parametrize("partition_too", [False, True])
def test_repair_says_that_it_gave_coverage_up(
    tmp_path: Path, make_bars: Make, partition_too: bool
) -> None:
    bars = make_bars(30)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars, covered=(START, START + 1800))
    store.append_bars("ETHUSD", "1m", bars, covered=(START, START + 1800))
    coverage_file(tmp_path).write_bytes(b"torn")
    if partition_too:
        partition(tmp_path).write_bytes(b"torn as well")
    report = store.repair()
    (gone,) = report.given_up
    assert gone.path == str(coverage_file(tmp_path))
    assert Path(gone.moved_to).read_bytes() == b"torn"
    assert gone.what == "which stretches of XBTUSD 1m are complete"
    assert [(p.pair, p.kept) for p in report.partitions] == [("XBTUSD", 0)] * partition_too
    assert report.left == ()
    assert store.verify() == []
    assert store.coverage("XBTUSD", "1m") == ()
    assert store.get_bars("XBTUSD", "1m") == ([] if partition_too else bars)
    assert store.coverage("ETHUSD", "1m") != ()
    assert store.repair() == type(report)(partitions=(), given_up=(), left=())


def test_repair_says_what_it_could_not_mend_and_mends_the_rest(
    tmp_path: Path, make_bars: Make
) -> None:
    bars = make_bars(10)
    store = OHLCStore(tmp_path, lock_timeout_s=0.02)
    for pair in ("ADAUSD", "XBTUSD"):
        store.append_bars(pair, "1m", bars)
        partition(tmp_path, pair).write_bytes(b"torn")
    with locked(StorePaths(tmp_path).lock(Series("ADAUSD", "1m")), timeout_s=1, what="the test"):
        report = store.repair()
    (left,) = report.left
    assert left.path == str(partition(tmp_path, "ADAUSD"))
    assert "is being written by process" in left.problem
    assert [p.pair for p in report.partitions] == ["XBTUSD"]
    assert partition(tmp_path, "ADAUSD").read_bytes() == b"torn"
    assert [p.pair for p in store.repair().partitions] == ["ADAUSD"]
    assert store.verify() == []


def test_what_is_sound_stays_in_place_until_its_replacement_is_there(
    tmp_path: Path, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_files, "ROW_GROUP_ROWS", 10)
    bars = make_bars(30)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars)
    data = bytearray(partition(tmp_path).read_bytes())
    prices = pq.read_metadata(partition(tmp_path)).row_group(0).column(1)
    data[prices.data_page_offset + prices.total_compressed_size - 1] ^= 1
    partition(tmp_path).write_bytes(data)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = Path.replace
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "replace", lambda a, b: full() if b.suffix == ".parquet" else real(a, b)
        )
        (left,) = store.repair().left
    assert "full" in left.problem
    assert partition(tmp_path).read_bytes() == data
    assert [p.kept for p in store.repair().partitions] == [20]
    assert store.get_bars("XBTUSD", "1m") == bars[10:]


def test_a_removed_file_beside_damaged_coverage(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", make_bars(10), covered=(START, START + 600))
    partition(tmp_path).unlink()
    coverage_file(tmp_path).write_bytes(b"torn")
    assert len(store.repair().given_up) == 1
    assert store.verify() == []
    assert store.gaps("XBTUSD", "1m") == []


# --- formats -------------------------------------------------------------------------------------


def of_format(version: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a store's partition as a krakked of another format would."""
    with monkeypatch.context() as patch:
        patch.setattr(parquet_files, "FORMAT_VERSION", version)
        OHLCStore(path).append_bars("XBTUSD", "1m", [bar(0)], covered=(START, START + 60))


def test_a_partition_of_a_newer_format_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_format(FORMAT_VERSION + 1, tmp_path, monkeypatch)
    store = OHLCStore(tmp_path)
    before = partition(tmp_path).read_bytes()
    for use in (
        lambda: store.get_bars("XBTUSD", "1m"),
        lambda: store.gaps("XBTUSD", "1m"),
        lambda: store.append_bars("XBTUSD", "1m", [bar(1)]),
        store.compact,
    ):
        with pytest.raises(StoreVersionError, match="Upgrade krakked") as caught:
            use()
        assert caught.value.version == FORMAT_VERSION + 1
        assert caught.value.path == str(partition(tmp_path))
    (finding,) = store.verify()
    assert "Upgrade krakked" in finding.problem
    report = store.repair()
    assert report.left == (finding,)
    assert report.partitions == report.given_up == ()
    assert partition(tmp_path).read_bytes() == before


def test_coverage_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", [bar(0)], covered=(START, START + 60))
    body = json.dumps({"version": FORMAT_VERSION + 1, "what": "nobody knows yet"}).encode()
    newer = body + b"\n%08x\n" % zlib.crc32(body)
    coverage_file(tmp_path).write_bytes(newer)
    for use in (
        lambda: store.coverage("XBTUSD", "1m"),
        lambda: store.gaps("XBTUSD", "1m"),
        lambda: store.append_bars("XBTUSD", "1m", [bar(1)]),
        store.compact,
    ):
        with pytest.raises(StoreVersionError, match="Upgrade krakked"):
            use()
    assert len(store.verify()) == 1
    report = store.repair()
    assert len(report.left) == 1
    assert report.given_up == ()
    assert coverage_file(tmp_path).read_bytes() == newer


def test_compact_brings_every_file_to_the_format_of_today(tmp_path: Path, make_bars: Make) -> None:
    root = Path(shutil.copytree(Path(__file__).parent / "vectors" / "version_1", tmp_path / "ohlc"))

    def formats() -> tuple[set[int], int]:
        footers = {
            json.loads(pq.read_metadata(path).metadata[b"krakked"])["format"]
            for path in (root / "bars").rglob("*.parquet")
        }
        return footers, coverage.version(coverage_file(root).read_bytes())

    assert formats() == ({1}, 1)
    store = OHLCStore(root, exchange="kraken")
    known = store.coverage("XBTUSD", "1m")
    report = store.compact()
    assert (report.series, report.rewritten) == (2, 1)  # folding has rewritten the other one
    assert formats() == ({FORMAT_VERSION}, FORMAT_VERSION)
    assert store.coverage("XBTUSD", "1m") == known
    assert store.get_bars("XBTUSD", "1m") == make_bars(40)
    assert store.get_bars("XBTUSD", "1m", provisional=True) == make_bars(43)
    assert store.get_bars("XBTUSD", "1h") == make_bars(3, 3600)
    assert store.verify() == []
    assert store.compact().rewritten == 0


@pytest.mark.parametrize("backend", ["parquet", "csv"])
def test_a_refused_call_stores_nothing_of_it(tmp_path: Path, make_bars: Make, backend: str) -> None:
    store = OHLCStore(tmp_path, backend=backend)
    bars = make_bars(3)
    twisted = OHLCBar(bars[1].time, 1.0, 0.5, 2.0, 1.0, 1.0, 1.0, 1)
    with pytest.raises(StoreError, match="contradict"):
        store.append_bars("XBTUSD", "1m", [bars[0], twisted, bars[2]])
    assert store.series() == []
    assert not (tmp_path / ".krakked").exists()
