"""Kraken's downloads: what is in them, and every way they can be wrong."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from krakked._errors import ImportFormatError, UnknownTimeframeError
from krakked._market.bars import OHLCBar, Source
from krakked._market.history import archive_series, import_job
from krakked._market.history.archive import Zips, find_files
from krakked._market.history.archive_import import import_archive
from krakked._market.history.import_report import ImportProgress
from krakked._market.store.coverage import GapKind

DAY = 86_400


def candles(first_s: int, count: int, step_s: int = 60, *, every: int = 1) -> bytes:
    return b"".join(
        b"%d,100.5,101,99.25,100,%d.5,%d\n" % (first_s + n * step_s, n % 7, n % 9 + 1)
        for n in range(0, count, every)
    )


def make_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """The zip as downloaded: a nested folder, junk, and things krakked has no use for."""
    return make_zip(
        tmp_path / "Kraken_OHLCVT.zip",
        [
            ("master_q4/", b""),
            ("master_q4/XBTUSD_1.csv", candles(1_700_000_040, 3000, every=3)),
            ("master_q4/XBTUSD_60.csv", candles(1_700_002_800, 50, 3600)),
            ("master_q4/XBTUSD_720.csv", candles(1_700_006_400, 50, 43_200)),
            ("master_q4/2ZUSD_1440.csv", candles(1_700_006_400, 20, DAY)),
            ("master_q4/EMPTYUSD_1440.csv", b""),
            ("master_q4/readme.txt", b"hello"),
            ("master_q4/.DS_Store", b"\x00"),
            ("__MACOSX/master_q4/._XBTUSD_1.csv", b"\x00\x05\x16\x07"),
        ],
    )


def test_the_zip_as_downloaded(download: Path, store: Any) -> None:
    report = import_archive(store, [download])
    assert [(f.pair, f.timeframe, f.rows) for f in report.files] == [
        ("2ZUSD", "1d", 20),
        ("EMPTYUSD", "1d", 0),
        ("XBTUSD", "1m", 1000),
        ("XBTUSD", "1h", 50),
    ]
    assert sorted(skipped.label.rpartition("/")[2] for skipped in report.skipped) == [
        "XBTUSD_720.csv",
        "readme.txt",
    ]
    bars = store.get_bars("XBTUSD", "1m", lookback=3, provisional=True)
    # The archive leaves out minutes without trades; inside its range they are known to be empty.
    assert [(bar.time, bar.count, bar.vwap) for bar in bars[:2]] == [
        (1_700_000_040 + 2995 * 60, 0, None),
        (1_700_000_040 + 2996 * 60, 0, None),
    ]
    last = OHLCBar(1_700_000_040 + 2997 * 60, 100.5, 101.0, 99.25, 100.0, None, 1.5, 1)
    assert bars[-1] == last
    # The last candle may have been running when the archive was made.
    assert store.get_bars("XBTUSD", "1m")[-1] == bars[-2]
    assert {known.source for known in store.coverage("XBTUSD", "1m")} == {Source.ARCHIVE}


def test_what_was_finished_is_not_read_again(download: Path, store: Any) -> None:
    import_archive(store, [download])
    again = import_archive(store, [download])
    assert again.files == ()
    assert len(again.known) == 4
    forced = import_archive(store, [download], again=True)
    assert len(forced.files) == 4
    assert forced.bars == 0


def test_an_interrupted_import_goes_on(download: Path, store: Any, monkeypatch: Any) -> None:
    def interrupt(step: ImportProgress) -> None:
        if "XBTUSD_1.csv" in step.label:
            raise KeyboardInterrupt

    monkeypatch.setattr(import_job, "TELL_EVERY_S", -1.0)
    with pytest.raises(KeyboardInterrupt):
        import_archive(store, [download], progress=interrupt)
    report = import_archive(store, [download])
    assert [Path(label).name for label in report.known] == ["2ZUSD_1440.csv", "EMPTYUSD_1440.csv"]
    assert [file.timeframe for file in report.files] == ["1m", "1h"]


def test_what_the_store_lost_is_read_again(download: Path, store: Any) -> None:
    import_archive(store, [download])
    for path in (store.root / ".krakked" / "coverage").iterdir():
        path.unlink()
    assert len(import_archive(store, [download]).files) == 3  # an empty file has nothing to lose
    (store.root / ".krakked" / "imports.jsonl").write_bytes(b'{"name": "XB\n\xff\n')
    assert len(import_archive(store, [download]).files) == 4


def test_a_folder_a_single_file_and_a_choice(download: Path, store: Any, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(download) as archive:
        archive.extractall(folder)
    with Zips() as zips:
        files, _skipped = find_files([folder], zips)
    assert [file.label.rpartition("/")[2] for file in files] == [
        "2ZUSD_1440.csv",
        "EMPTYUSD_1440.csv",
        "XBTUSD_1.csv",
        "XBTUSD_60.csv",
    ]
    report = import_archive(store, [folder], pairs={"XBTUSD"}, timeframes={"1h"})
    assert [(f.pair, f.timeframe) for f in report.files] == [("XBTUSD", "1h")]
    single = folder / "master_q4" / "2ZUSD_1440.csv"
    assert import_archive(store, [single]).bars == 20
    renamed = import_archive(store, [single], canonical=lambda name: f"{name}X")
    assert renamed.files[0].pair == "2ZUSDX"


def test_large_files_arrive_whole_in_many_pieces(
    store: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(import_job, "PIECE_BYTES", 1000)
    monkeypatch.setattr(archive_series, "BATCH_ROWS", 500)
    first = 1_700_000_040
    path = tmp_path / "ETHUSD_1.csv"
    path.write_bytes(candles(first, 3 * 43_200, every=40))
    monkeypatch.setattr(import_job, "TELL_EVERY_S", -1.0)
    told: list[ImportProgress] = []
    report = import_archive(store, [path], progress=told.append)
    assert report.files[0].rows == 3 * 43_200 // 40
    assert report.files[0].covered == ((first, first + (3 * 43_200 - 40) * 60),)
    assert sum(bar.count > 0 for bar in store.get_bars("ETHUSD", "1m")) == report.files[0].rows - 1
    assert len(store.get_bars("ETHUSD", "1m")) == 3 * 43_200 - 40
    assert store.last_closed("ETHUSD", "1m", provisional=True) == first + (3 * 43_200 - 40) * 60
    assert told
    assert told[-1].all_bytes == path.stat().st_size
    assert store.verify() == []


MALFORMED = {
    "header": b"time,open,high,low,close,volume,trades",
    "fewer fields": b"1700000160,1,1,1,1,1",
    "more fields": b"1700000160,1,1,1,1,1,1,1",
    "no number": b"1700000160,1,one,1,1,1,1",
    "empty field": b"1700000160,1,,1,1,1,1",
    "negative": b"1700000160,-1,1,-1,1,1,1",
    "not finite": b"1700000160,nan,1,1,1,1,1",
    "out of range": b"1700000160,1,1,1,1,1e999,1",
    "contradiction": b"1700000160,5,1,1,1,1,1",
    "half a trade": b"1700000160,1,1,1,1,1,1.5",
    "off the grid": b"1700000161,1,1,1,1,1,1",
    "milliseconds": b"1700000160000,1,1,1,1,1,1",
    "the same time": b"1700000100,1,1,1,1,1,1",
    "back in time": b"1700000040,1,1,1,1,1,1",
    "binary": b"\x00\xff\x00",
}


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_every_malformed_line_is_told_with_file_and_line(
    store: Any, tmp_path: Path, line: bytes, ending: bytes
) -> None:
    good = [b"1700000040,1,1,1,1,2,1", b"1700000100,1,1,1,1,4E+2,1"]
    path = tmp_path / "XBTUSD_1.csv"
    path.write_bytes(ending.join([*good, line, b"1700000220,1,1,1,1,1,1"]))
    with pytest.raises(ImportFormatError, match=r"XBTUSD_1\.csv, line 3: ") as caught:
        import_archive(store, [path], strict=True)
    assert caught.value.line == 3
    assert caught.value.path == str(path)
    assert store.get_bars("XBTUSD", "1m", provisional=True) == []
    # Not strict: the others are stored, and what the line may have said stays unknown.
    report = import_archive(store, [path])
    (bad,) = report.bad
    assert (bad.label, bad.count, bad.first[0].line) == (str(path), 1, 3)
    assert bad.first[0].problem
    bars = store.get_bars("XBTUSD", "1m", provisional=True)
    traded = [bar.time for bar in bars if bar.count]
    assert traded == [1_700_000_040, 1_700_000_100, 1_700_000_220]
    gaps = [g for g in store.gaps("XBTUSD", "1m", provisional=True) if g.kind is GapKind.MISSING]
    lost = [] if line.startswith(b"1700000100,") else [(1_700_000_160, 1_700_000_220)]
    assert [(g.start_s, g.end_s) for g in gaps] == lost
    assert import_archive(store, [path]).known == (str(path),)


def test_one_bad_file_does_not_stop_the_others(store: Any, tmp_path: Path) -> None:
    path = make_zip(
        tmp_path / "many.zip",
        [
            ("a/ADAUSD_1.csv", candles(1_700_000_040, 5)),
            ("a/BADUSD_1.csv", b"rubbish\n"),
            ("a/BADUSD.csv", b"rubbish\n"),
            ("a/XBTUSD_1.csv", candles(1_700_000_040, 5)),
        ],
    )
    for _ in range(2):
        with pytest.raises(ImportFormatError, match=r"BADUSD_1\.csv, line 1.*1 more") as caught:
            import_archive(store, [path], strict=True)
        assert caught.value.line == 1
        assert store.series() == [("ADAUSD", "1m"), ("XBTUSD", "1m")]
    assert "The other" not in str(caught.value)  # they were finished the first time
    report = import_archive(store, [path], again=True)
    assert [file.pair for file in report.files] == ["ADAUSD", "XBTUSD"]
    assert {skipped.label.rpartition("/")[2]: skipped.why for skipped in report.skipped} == {
        "BADUSD_1.csv": "none of its 1 lines is a candle (line 1: the open time is no whole "
        "number).",
        "BADUSD.csv": "none of its 1 lines is a trade (line 1: expected a time in unix seconds).",
    }
    mended = make_zip(path, [("a/BADUSD_1.csv", candles(1_700_000_040, 5))])
    assert import_archive(store, [mended]).bars == 5


@pytest.mark.parametrize("name", ["XBTUSD_1.csv", "XBTUSD.csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_number(
    store: Any, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    lines = candles(1_700_000_040, 3) if "_" in name else b"1700000040,5,1\n1700000100,6,1\n"
    path.write_bytes(b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n"))
    report = import_archive(store, [path], timeframes={"1m"})
    assert report.bad == ()
    assert store.first_stored("XBTUSD", "1m", provisional=True) == 1_700_000_040


def test_a_file_that_may_not_be_read_is_told(store: Any, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "XBTUSD_1.csv"
    path.write_bytes(candles(1_700_000_040, 3))

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImportFormatError, match="Permission denied"):
        import_archive(store, [path], strict=True)
    (failed,) = import_archive(store, [path]).failed
    assert (failed.label, "Permission denied" in failed.why) == (str(path), True)


def test_volumes_in_any_spelling(store: Any, tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD_1.csv"
    volumes = ["2", "4E+2", "3.811e-05", "27217.0672312102", "0.000000000001234", "1e3"]
    path.write_text(
        "".join(f"{1_700_000_040 + n * 60},1,1,1,1,{v},1\n" for n, v in enumerate(volumes))
    )
    import_archive(store, [path])
    bars = store.get_bars("XBTUSD", "1m", provisional=True)
    assert [bar.volume for bar in bars] == [float(v) for v in volumes]


@pytest.mark.parametrize("broken", ["truncated", "no zip", "missing", "corrupt"])
def test_a_broken_download_is_told(store: Any, download: Path, broken: str, tmp_path: Path) -> None:
    data = bytearray(download.read_bytes())
    if broken == "truncated":
        download.write_bytes(data[: len(data) // 2])
    elif broken == "no zip":
        download.write_bytes(b"<html>Google Drive: too many users</html>")
    elif broken == "missing":
        download.unlink()
    else:
        data[500:520] = bytes(20)
        download.write_bytes(data)
    with pytest.raises(ImportFormatError, match=r"Kraken_OHLCVT\.zip"):
        import_archive(store, [download], strict=True)
    if broken == "missing":
        with pytest.raises(ImportFormatError, match="no such file"):
            import_archive(store, [download])
        return
    # The report comes back all the same, and the other paths are read.
    single = tmp_path / "SOLUSD_60.csv"
    single.write_bytes(candles(1_700_002_800, 5, 3600))
    report = import_archive(store, [download, single])
    told = [*report.failed, *report.skipped]
    assert any("Is the download complete?" in each.why for each in told)
    assert "SOLUSD" in {file.pair for file in report.files}


def test_an_unknown_timeframe_is_refused(store: Any, download: Path) -> None:
    with pytest.raises(UnknownTimeframeError):
        import_archive(store, [download], timeframes={"2m"})


def test_trades_become_candles_of_every_timeframe(store: Any, tmp_path: Path) -> None:
    draw = random.Random(7)
    time_s, lines = 1_700_000_000, []
    prices: dict[int, list[float]] = {}
    while time_s < 1_700_000_000 + 3 * DAY:
        price = draw.randrange(900, 1100) / 10
        lines.append(f"{time_s},{price},{draw.randrange(1, 100)}E-3\n")
        prices.setdefault(time_s // 3600 * 3600, []).append(price)
        time_s += draw.randrange(0, 200)
    path = make_zip(
        tmp_path / "Kraken_Trading_History.zip", [("x/XBTUSD.csv", "".join(lines).encode())]
    )
    report = import_archive(store, [path])
    assert [file.timeframe for file in report.files] == ["1m", "5m", "15m", "30m", "1h", "4h", "1d"]
    hours = store.get_bars("XBTUSD", "1h")
    # The file begins and ends inside a candle: those two are provisional.
    made = [(time, p[0], max(p), min(p), p[-1], len(p)) for time, p in prices.items()]
    assert [(bar.time, bar.open, bar.high, bar.low, bar.close, bar.count) for bar in hours] == made[
        1:-1
    ]
    every = store.get_bars("XBTUSD", "1h", provisional=True)
    assert [(b.time, b.open, b.high, b.low, b.close, b.count) for b in every] == made
    assert all(bar.vwap is not None and bar.low <= bar.vwap <= bar.high for bar in hours)
    assert len(store.get_bars("XBTUSD", "1d")) == 2
    assert len(store.get_bars("XBTUSD", "1d", provisional=True)) == 4
    only = import_archive(store, [path], timeframes={"4h"}, again=True)
    assert [file.timeframe for file in only.files] == ["4h"]


def test_a_malformed_trade_is_told_with_its_line(store: Any, tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD.csv"
    path.write_text("1700000000,1,1\n1700000001,1\n")
    with pytest.raises(ImportFormatError) as caught:
        import_archive(store, [path], strict=True)
    assert caught.value.line == 2
    assert store.get_bars("XBTUSD", "1m", provisional=True) == []


def test_the_recorded_daily_file(store: Any, recorded: Callable[[str], Path]) -> None:
    source = recorded("XMRUSD_1440")
    report = import_archive(store, [source])
    with source.open(newline="") as text:
        rows = list(csv.reader(text))
    assert report.files[0].rows == len(rows) > 400
    traded = [bar for bar in store.get_bars("XMRUSD", "1d", provisional=True) if bar.count]
    assert [
        (b.time, b.open, b.high, b.low, b.close, b.volume, b.count, b.vwap) for b in traded
    ] == [(int(r[0]), *map(float, r[1:6]), int(r[6]), None) for r in rows]


@pytest.mark.slow
def test_an_import_that_is_killed_goes_on_and_loses_nothing(tmp_path: Path, store: Any) -> None:
    names = ("XBTUSD", "ETHUSD", "SOLUSD", "ADAUSD")
    members = [(f"m/{name}_1.csv", candles(1_600_000_020, 250_000)) for name in names]
    path = make_zip(tmp_path / "Kraken_OHLCVT.zip", members)
    command = [sys.executable, "-m", "krakked._cli.main", "import", str(path), "--root", store.root]
    draw = random.Random(2)
    for _ in range(4):
        worker = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(1.0 + draw.random())
        worker.kill()
        worker.wait()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "of " in done.stdout
    assert store.verify() == []
    for name in names:
        bars = store.get_columns(name, "1m", provisional=True)
        assert bars.num_rows == 250_000
        assert {(k.start_s, k.end_s) for k in store.coverage(name, "1m")} == {
            (1_600_000_020, 1_600_000_020 + 249_999 * 60)
        }
