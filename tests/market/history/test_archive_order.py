"""Archive files whose lines do not run from the oldest to the newest."""

from __future__ import annotations

import gzip
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest

from krakked._market.bars import OHLCBar
from krakked._market.history import archive_order, archive_series, import_job
from krakked._market.history.archive_import import import_archive

DAY_S = 1_704_067_200


def line(index: int) -> bytes:
    return b"%d,100.5,101,99.25,100,%d.5,%d" % (DAY_S + index * 3600, index, index % 9 + 1)


def bar(index: int) -> OHLCBar:
    at = DAY_S + index * 3600
    return OHLCBar(at, 100.5, 101.0, 99.25, 100.0, None, index + 0.5, index % 9 + 1)


NEWEST_FIRST = [line(n) for n in range(299, -1, -1)]


@pytest.mark.parametrize("piece_bytes", [100, 777, 1 << 20])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("packed", ["csv", "gz", "zip"])
def test_the_newest_line_first(
    store: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    piece_bytes: int,
    ending: bytes,
    packed: str,
) -> None:
    monkeypatch.setattr(import_job, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(archive_series, "BATCH_ROWS", 50)
    text = b"\xef\xbb\xbf" + ending.join(NEWEST_FIRST) + (ending if piece_bytes == 777 else b"")
    path = tmp_path / "XBTUSD_60.csv"
    if packed == "zip":
        path = tmp_path / "all.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("XBTUSD_60.csv", text)
    elif packed == "gz":
        path = tmp_path / "XBTUSD_60.csv.gz"
        path.write_bytes(gzip.compress(text))
    else:
        path.write_bytes(text)
    report = import_archive(store, [path])
    assert report.bad == ()
    assert store.get_bars("XBTUSD", "1h", provisional=True) == [bar(n) for n in range(300)]
    # The newest is the one that may have been running, wherever it stands.
    assert store.get_bars("XBTUSD", "1h") == [bar(n) for n in range(299)]
    assert report.files[0].covered == ((DAY_S, DAY_S + 299 * 3600),)


def test_lines_in_no_order_are_sorted(store: Any, tmp_path: Path) -> None:
    shuffled = [line(n) for n in range(300)]
    random.Random(5).shuffle(shuffled)
    path = tmp_path / "XBTUSD_60.csv"
    path.write_bytes(b"time,open,high,low,close,volume,count\n" + b"\n".join(shuffled))
    report = import_archive(store, [path])
    assert store.get_bars("XBTUSD", "1h") == [bar(n) for n in range(299)]
    assert report.bad_lines == 0


@pytest.mark.parametrize("newest_first", [True, False])
def test_bad_lines_keep_their_numbers(store: Any, tmp_path: Path, newest_first: bool) -> None:
    rows = list(NEWEST_FIRST)
    if not newest_first:
        random.Random(5).shuffle(rows)
    bad = rows[7].rpartition(b",")[0]
    lost = (int(bad.partition(b",")[0]) - DAY_S) // 3600
    rows[7] = bad
    path = tmp_path / "XBTUSD_60.csv"
    path.write_bytes(b"\n".join(rows) + b"\n")
    (told,) = import_archive(store, [path]).bad
    assert [(one.line, one.problem) for one in told.first] == [
        (8, "there are fewer than seven fields")
    ]
    stored = store.get_bars("XBTUSD", "1h", provisional=True)
    assert stored == [bar(n) for n in range(300) if n != lost]


def test_what_cannot_be_sorted_is_counted(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled = [line(n) for n in range(300)]
    random.Random(5).shuffle(shuffled)
    path = tmp_path / "XBTUSD_60.csv"
    path.write_bytes(b"\n".join(shuffled))
    monkeypatch.setattr(archive_order, "MOST_SORTED", 1000)
    report = import_archive(store, [path])
    assert report.bad_lines + report.files[0].rows == 300
    assert report.bad_lines > 0
    assert report.files[0].covered == ()


def test_trades_with_the_newest_first(store: Any, tmp_path: Path) -> None:
    rows = [b"%d.25,%d,1" % (DAY_S + n * 60, n + 1) for n in range(300)]
    rows.insert(61, b"%d.25,7,1" % (DAY_S + 60 * 60))  # after the 61st price, in the same moment
    path = tmp_path / "XBTUSD.csv"
    path.write_bytes(b"\n".join(reversed(rows)))
    report = import_archive(store, [path], timeframes={"1m", "1h"})
    assert report.bad == ()
    hours = store.get_bars("XBTUSD", "1h", provisional=True)
    assert [(one.open, one.close, one.count) for one in hours] == [
        (1.0, 60.0, 60),
        (61.0, 120.0, 61),
        (121.0, 180.0, 60),
        (181.0, 240.0, 60),
        (241.0, 300.0, 60),
    ]
    (minute,) = store.get_bars("XBTUSD", "1m", since=DAY_S + 3600, until=DAY_S + 3660)
    assert (minute.open, minute.close, minute.count) == (61.0, 7.0, 2)
