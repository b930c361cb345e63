"""Archives as people have them: damaged, packed again, spelled otherwise, cut in two, half old."""

from __future__ import annotations

import gzip
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from krakked._errors import ImportFormatError
from krakked._market.bars import OHLCBar, Source
from krakked._market.history import archive_series, import_job
from krakked._market.history.archive import Zips, find_files
from krakked._market.history.archive_import import import_archive
from krakked._market.store.coverage import GapKind

FIRST_S = 1_700_000_040  # a full minute
COUNT = 40

Lines = list[bytes]


def line(index: int, step_s: int = 60, first_s: int = FIRST_S) -> bytes:
    return b"%d,100.5,101,99.25,100,%d.5,%d" % (first_s + index * step_s, index, index % 9 + 1)


def lines(count: int = COUNT) -> Lines:
    return [line(index) for index in range(count)]


def bar(index: int) -> OHLCBar:
    at = FIRST_S + index * 60
    return OHLCBar(at, 100.5, 101.0, 99.25, 100.0, None, index + 0.5, index % 9 + 1)


def replaced(text: Callable[[bytes], bytes]) -> Callable[[Lines], tuple[Lines, list[int]]]:
    """Spoil line 10 of a file; gives the file and the numbers of its bad lines."""

    def damage(good: Lines) -> tuple[Lines, list[int]]:
        return [*good[:9], text(good[9]), *good[10:]], [10]

    return damage


def between(*texts: bytes) -> Callable[[Lines], tuple[Lines, list[int]]]:
    """Put lines behind line 10."""

    def damage(good: Lines) -> tuple[Lines, list[int]]:
        return [*good[:10], *texts, *good[10:]], [11 + n for n in range(len(texts))]

    return damage


DAMAGES: dict[str, Callable[[Lines], tuple[Lines, list[int]]]] = {
    "a header": lambda good: ([b"time,open,high,low,close,volume,trades", *good], [1]),
    "a field is missing": replaced(lambda text: text.rpartition(b",")[0]),
    "a field too many": replaced(lambda text: text + b",7"),
    "a word": replaced(lambda text: text.replace(b"101", b"nan")),
    "a close above the high": replaced(lambda text: text.replace(b",100,", b",101.5,")),
    "a negative volume": replaced(lambda text: text.replace(b",9.5,", b",-9.5,")),
    "milliseconds": replaced(lambda text: text.replace(b",100.5", b"000,100.5", 1)),
    "a wrong time, far ahead": replaced(lambda text: b"1750000020" + text[10:]),
    "a wrong time, far behind": replaced(lambda text: b"1400000040" + text[10:]),
    "a line twice": between(line(9)),
    "rubbish without a line feed": between(b"\xff\x00" * 5000, b"<html>"),
    "cut in the middle": lambda good: ([*good[:-1], good[-1][:-12]], [COUNT]),
    "a time of the future": between(b"4000000020" + line(9)[10:]),
    "none": lambda good: (good, []),
}


@pytest.mark.parametrize("files", [28, pytest.param(200, marks=pytest.mark.slow)])
def test_of_damaged_files_every_good_line_is_stored_and_every_bad_one_told(
    store: Any, tmp_path: Path, files: int
) -> None:
    kinds = list(DAMAGES.values())
    expected: dict[str, tuple[list[int], list[int]]] = {}
    for number in range(files):
        pair = f"A{number}USD"
        damaged, bad = kinds[number % len(kinds)](lines())
        ending = b"\r\n" if number % 3 else b"\n"
        (tmp_path / f"{pair}_1.csv").write_bytes(ending.join(damaged) + ending)
        good = {text: index for index, text in enumerate(lines())}
        kept = [text for n, text in enumerate(damaged, start=1) if n not in bad]
        expected[pair] = ([good[text] for text in kept], bad)
    report = import_archive(store, [tmp_path])
    assert (report.failed, report.skipped, report.unlisted) == ((), (), ())
    assert report.bad_lines == sum(len(bad) for _, bad in expected.values())
    told = {bad.label: [one.line for one in bad.first] for bad in report.bad}
    for pair, (kept, bad) in expected.items():
        assert told.get(str(tmp_path / f"{pair}_1.csv"), []) == bad, pair
        stored = store.get_bars(pair, "1m", provisional=True)
        assert [one for one in stored if one.count] == [bar(index) for index in kept], pair
        # What a bad line may have held is missing, not called quiet; the last one is provisional.
        missing = {
            index
            for gap in store.gaps(pair, "1m", provisional=True)
            if gap.kind is GapKind.MISSING
            for index in range((gap.start_s - FIRST_S) // 60, (gap.end_s - FIRST_S) // 60)
        }
        assert missing == set(range(kept[-1])) - set(kept), pair
        assert store.last_closed(pair, "1m") == FIRST_S + kept[-2] * 60, pair
    assert store.verify() == []
    assert len(import_archive(store, [tmp_path]).known) == files


def test_the_first_ten_bad_lines_are_named_and_all_are_counted(store: Any, tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD_1.csv"
    path.write_bytes(b"\n".join([b"x"] * 15 + lines() + [b"y"]))
    (bad,) = import_archive(store, [path]).bad
    assert bad.count == 16
    assert [one.line for one in bad.first] == list(range(1, 11))


def test_a_file_that_is_no_candles_is_passed_over_with_a_reason(store: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("to do\nbuy\n")
    (tmp_path / "XBTUSD_5.csv").write_bytes(b"<html>too many users</html>")
    # Minutes under the name of hours: every 60th line would look like one.
    (tmp_path / "ETHUSD_60.csv").write_bytes(b"\n".join(lines(300)))
    (tmp_path / "ADAUSD_1.csv").write_bytes(b"\n".join(lines()))
    report = import_archive(store, [tmp_path])
    why = {Path(each.label).name: each.why for each in report.skipped}
    assert why["notes.csv"].startswith("none of its 2 lines is a trade (line 1: ")
    assert why["XBTUSD_5.csv"].startswith("none of its 1 lines is a candle (line 1: ")
    assert why["ETHUSD_60.csv"] == "most of its candles are not of 60 minutes."
    assert store.series() == [("ADAUSD", "1m")]


def test_mixed_damage_is_not_taken_for_another_interval(store: Any, tmp_path: Path) -> None:
    good = lines(10)
    odd = good[0].replace(b"%d" % FIRST_S, b"%d" % (FIRST_S + 7))
    (tmp_path / "XBTUSD_1.csv").write_bytes(b"\n".join([b"x"] * 20 + [odd, odd] + good))
    report = import_archive(store, [tmp_path])
    assert report.skipped == ()
    assert report.bad[0].count == 22
    assert len(store.get_bars("XBTUSD", "1m", provisional=True)) == 10


def test_a_file_that_goes_back_in_time_is_read_and_nothing_claimed(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_series, "BATCH_ROWS", 8)
    monkeypatch.setattr(import_job, "PIECE_BYTES", 300)
    path = tmp_path / "XBTUSD_1.csv"
    path.write_bytes(b"\n".join([*lines()[20:40:2], *lines()[:20:2]]))
    report = import_archive(store, [path])
    assert report.bad == ()
    stored = store.get_bars("XBTUSD", "1m", provisional=True)
    traded = [one for one in stored if one.count]
    assert traded == [bar(index) for index in range(0, 40, 2)]
    # Between the second part's bars nothing is claimed.
    gaps = [g.start_s for g in store.gaps("XBTUSD", "1m", provisional=True) if g.kind == "missing"]
    assert FIRST_S + 60 in gaps


def test_a_doubt_over_a_border_of_partitions_stays_one(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    december_s = 1_701_388_800
    monkeypatch.setattr(archive_series, "BATCH_ROWS", 4)
    monkeypatch.setattr(import_job, "PIECE_BYTES", 200)
    at = [december_s + n * 60 for n in range(-30, 30)]
    # Around midnight a line is rubbish: it may have been any minute from 5 before to 5 after.
    rows = [line(0, first_s=one) for one in at if abs(one - december_s) > 300]
    half = sum(one < december_s - 300 for one in at)
    rows.insert(half, b"rubbish")
    path = tmp_path / "XBTUSD_1.csv"
    path.write_bytes(b"\n".join(rows))
    report = import_archive(store, [path])
    assert report.files[0].covered == (
        (at[0], december_s - 300),
        (december_s + 360, at[-1]),
    )
    assert all(one.count for one in store.get_bars("XBTUSD", "1m"))


# --- packed and placed otherwise ------------------------------------------------------------------


def test_a_folder_below_a_hidden_one_is_looked_into(store: Any, tmp_path: Path) -> None:
    folder = tmp_path / ".local" / "share" / "kraken"
    (folder / ".Trash").mkdir(parents=True)
    (folder / "XBTUSD_1.csv").write_bytes(b"\n".join(lines()))
    (folder / ".Trash" / "ETHUSD_1.csv").write_bytes(b"\n".join(lines()))
    (folder / "._XBTUSD_1.csv").write_bytes(b"\x00\x05\x16\x07")
    report = import_archive(store, [folder])
    assert [(file.pair, file.rows) for file in report.files] == [("XBTUSD", COUNT)]
    # What is hidden below it is not read, but named.
    hidden = [
        (folder / ".Trash" / "ETHUSD_1.csv", "it is hidden; give its own path to have it read.")
    ]
    assert [(Path(each.label), each.why) for each in report.skipped] == hidden


def test_gzipped_files_are_read_alone_in_folders_and_in_zips(store: Any, tmp_path: Path) -> None:
    packed = gzip.compress(b"\n".join(lines()))
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "XBTUSD_1.CSV.GZ").write_bytes(packed)
    (folder / "ETHUSD_1.csv.gz").write_bytes(packed)
    trades = b"1700000000,5,1\n1700000100,6,1\n1700000200,7,1\n"
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("x/ADAUSD_1.csv.gz", packed)
        archive.writestr("x/SOLUSD.csv.gz", gzip.compress(trades))
    report = import_archive(store, [tmp_path / "XBTUSD_1.CSV.GZ", folder], timeframes={"1m"})
    assert [(file.pair, file.rows) for file in report.files] == [
        ("ADAUSD", COUNT),
        ("ETHUSD", COUNT),
        ("XBTUSD", COUNT),
        ("SOLUSD", 3),
    ]
    assert store.get_bars("ETHUSD", "1m") == [bar(index) for index in range(COUNT - 1)]


def test_a_torn_gzip_gives_what_is_there_and_is_told(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_job, "PIECE_BYTES", 4096)
    path = tmp_path / "XBTUSD_1.csv.gz"
    packed = gzip.compress(b"\n".join(lines(5000)))
    path.write_bytes(packed[: len(packed) // 2])
    report = import_archive(store, [path])
    (failed,) = report.failed
    assert "Is the download complete?" in failed.why
    stored = store.get_bars("XBTUSD", "1m")
    assert 1000 < len(stored) < 5000
    assert stored == [bar(index) for index in range(len(stored))]
    # It is no finished file: the whole one is read.
    path.write_bytes(packed)
    assert import_archive(store, [path]).files[0].rows == 5000


def test_what_is_packed_otherwise_is_told(tmp_path: Path) -> None:
    for name in ("a.7z", "b.csv.xz", "c.tar.gz", "d.rar"):
        (tmp_path / name).write_bytes(b"x")
    with Zips() as zips:
        files, skipped = find_files([tmp_path], zips)
    assert files == []
    assert [Path(each.label).name for each in skipped] == ["a.7z", "b.csv.xz", "c.tar.gz", "d.rar"]
    assert all("unpack it" in each.why for each in skipped)


def test_names_in_other_spellings_are_mapped_or_told(store: Any, tmp_path: Path) -> None:
    known = {"XBTUSD": "XBTUSD", "XXBTZUSD": "XBTUSD", "XBT/USD": "XBTUSD", "AAPLxUSD": "AAPLxUSD"}
    names = ("XXBTZUSD_1", "XBT-USD_1h", "xbt_usd-240", "AAPLxUSD_1", "OLDUSD_1", "my.own_1")
    for name in names:
        label = name.replace("-", "_").rpartition("_")[2]
        step_s = {"1": 60, "1h": 3600, "240": 14_400}[label]
        first_s = FIRST_S // step_s * step_s
        rows = [line(index, step_s, first_s) for index in range(5)]
        (tmp_path / f"{name}.csv").write_bytes(b"\n".join(rows))
    report = import_archive(store, [tmp_path], canonical=known.get)
    assert sorted((file.pair, file.timeframe) for file in report.files) == [
        ("AAPLxUSD", "1m"),
        ("OLDUSD", "1m"),
        ("XBTUSD", "1h"),
        ("XBTUSD", "1m"),
        ("XBTUSD", "4h"),
    ]
    assert report.unlisted == ("OLDUSD",)
    (skipped,) = report.skipped
    assert skipped.label.endswith("my.own_1.csv")
    assert import_archive(store, [tmp_path], canonical=known.get, pairs={"XBTUSD"}).unlisted == ()


def test_a_bar_of_the_future_is_refused(store: Any, tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD_1.csv"
    path.write_bytes(b"\n".join(lines()))
    report = import_archive(store, [path], now_s=FIRST_S + 10 * 60)
    assert report.bad_lines == COUNT - 10
    assert [one.problem for one in report.bad[0].first[:2]] == [
        "the candle has not ended yet",
        "the candle opens in the future",
    ]
    assert store.last_closed("XBTUSD", "1m", provisional=True) == FIRST_S + 540
    far = tmp_path / "ETHUSD_1440.csv"
    year_2300 = b"10413792000,1,1,1,1,1,1"
    far.write_bytes(b"1700006400,1,1,1,1,1,1\n1700092800,1,1,1,1,1,1\n" + year_2300)
    assert time.time() < 10_413_792_000
    assert import_archive(store, [far]).bad_lines == 1


def test_a_path_that_does_not_exist_is_an_error(store: Any, tmp_path: Path) -> None:
    with pytest.raises(ImportFormatError, match="no such file"):
        import_archive(store, [tmp_path / "nowhere.zip"])


# --- the edges of files ---------------------------------------------------------------------------


def write(path: Path, first: int, last: int) -> Path:
    path.write_bytes(b"\n".join(lines(last)[first:last]))
    return path


def test_the_last_candle_of_a_file_is_provisional_until_something_proves_it(
    store: Any, tmp_path: Path
) -> None:
    half = b"%d,100.5,100.5,100.5,100.5,0.1,1" % (FIRST_S + 9 * 60)
    path = tmp_path / "XBTUSD_1.csv"
    path.write_bytes(b"\n".join([*lines(9), half]))
    import_archive(store, [path])
    assert store.get_bars("XBTUSD", "1m") == [bar(index) for index in range(9)]
    assert store.get_bars("XBTUSD", "1m", provisional=True)[-1].count == 1
    (known,) = store.coverage("XBTUSD", "1m")
    assert known.end_s == FIRST_S + 9 * 60
    # A later archive holds it whole, with others behind it.
    import_archive(store, [write(path, 0, 20)])
    assert store.get_bars("XBTUSD", "1m") == [bar(index) for index in range(19)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_file_that_goes_on_exactly_behind_proves_it(
    store: Any, tmp_path: Path, order: tuple[int, int]
) -> None:
    for name in ("Q1", "Q2"):
        (tmp_path / name).mkdir()
    parts = [
        write(tmp_path / "Q1" / "XBTUSD_1.csv", 0, 10),
        write(tmp_path / "Q2" / "XBTUSD_1.csv", 10, 20),
    ]
    for number in order:
        import_archive(store, [parts[number]])
    assert store.get_bars("XBTUSD", "1m") == [bar(index) for index in range(19)]
    missing = [g for g in store.gaps("XBTUSD", "1m") if g.kind is GapKind.MISSING]
    assert missing == []


@pytest.mark.parametrize("behind", [11, 30])
def test_a_file_that_begins_later_proves_nothing(store: Any, tmp_path: Path, behind: int) -> None:
    (tmp_path / "b").mkdir()
    import_archive(store, [write(tmp_path / "XBTUSD_1.csv", 0, 10)])
    import_archive(store, [write(tmp_path / "b" / "XBTUSD_1.csv", behind, 40)])
    assert FIRST_S + 9 * 60 not in {one.time for one in store.get_bars("XBTUSD", "1m")}


def test_bars_of_others_behind_it_prove_nothing(store: Any, tmp_path: Path) -> None:
    later = [bar(index) for index in range(10, 20)]
    covered = (later[0].time, later[-1].time + 60)
    store.append_bars("XBTUSD", "1m", later, source=Source.REST, covered=covered)
    import_archive(store, [write(tmp_path / "XBTUSD_1.csv", 0, 10)])
    stored = store.get_bars("XBTUSD", "1m")
    assert stored == [*(bar(index) for index in range(9)), *later]


def test_a_file_of_trades_begins_and_ends_inside_a_candle(store: Any, tmp_path: Path) -> None:
    day_s = 1_700_006_400
    path = tmp_path / "XBTUSD.csv"
    rows = [b"%d,%d,1" % (at, at % 97 + 1) for at in range(day_s + 79_200, day_s + 190_000, 600)]
    path.write_bytes(b"\n".join(rows))
    report = import_archive(store, [path])
    days = store.get_bars("XBTUSD", "1d", provisional=True)
    assert [(one.time, one.count) for one in days] == [
        (day_s, 12),  # two hours of it
        (day_s + 86_400, 144),
        (day_s + 172_800, 29),
    ]
    assert store.get_bars("XBTUSD", "1d") == days[1:2]
    by_timeframe = {file.timeframe: file for file in report.files}
    assert by_timeframe["1d"].covered == ((day_s + 86_400, day_s + 172_800),)
    # An archive of candles made of the first day knows it better; what is claimed stays true.
    whole = OHLCBar(day_s, 1.0, 97.0, 1.0, 5.0, None, 500.0, 500)
    store.append_bars("XBTUSD", "1d", [whole], source=Source.ARCHIVE)
    import_archive(store, [path], again=True)
    assert store.get_bars("XBTUSD", "1d")[0] == whole


def test_a_bad_trade_makes_the_candles_around_it_provisional(store: Any, tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD.csv"
    rows = [b"%d,5,1" % (FIRST_S + 30 * n) for n in range(40)]
    rows[20] = b"rubbish"  # between the 9th minute's second trade and the 10th minute's second
    path.write_bytes(b"\n".join(rows))
    report = import_archive(store, [path], timeframes={"1m"})
    assert [one.line for one in report.bad[0].first] == [21]
    firm = {(one.time - FIRST_S) // 60 for one in store.get_bars("XBTUSD", "1m")}
    assert firm == set(range(1, 19)) - {9, 10}
    minute = store.get_bars("XBTUSD", "1m", provisional=True)[10]
    assert (minute.time, minute.count) == (FIRST_S + 600, 1)
    assert report.files[0].covered == (
        (FIRST_S + 60, FIRST_S + 9 * 60),
        (FIRST_S + 11 * 60, FIRST_S + 19 * 60),
    )


def test_many_batches_of_trades_claim_no_edge_and_no_doubt(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_series, "BATCH_ROWS", 1000)
    monkeypatch.setattr(import_job, "PIECE_BYTES", 5000)
    path = tmp_path / "XBTUSD.csv"
    rows = [b"%d,5,1" % (FIRST_S + 7 + 60 * n) for n in range(50_000)]
    rows[25_000] = b"rubbish"
    path.write_bytes(b"\n".join(rows))
    report = import_archive(store, [path], timeframes={"1m"})
    (file,) = report.files
    assert file.covered == (
        (FIRST_S + 60, FIRST_S + 24_999 * 60),
        (FIRST_S + 25_002 * 60, FIRST_S + 49_999 * 60),
    )
    # Its two neighbours may lack a trade: of the minute itself nothing is known at all.
    assert store.get_columns("XBTUSD", "1m").num_rows == 50_000 - 2 - 3


# --- many members ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("members", [1000, 9600])
def test_a_zip_costs_no_more_than_the_same_files_in_a_folder(tmp_path: Path, members: int) -> None:
    """Half a millisecond of CPU a member at most, however many there are."""
    folder, path = tmp_path / "folder", tmp_path / "Kraken_OHLCVT.zip"
    folder.mkdir()
    data = b"\n".join(lines(3))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(members):
            archive.writestr(f"master_q4/A{number}USD_1.csv", data)
            (folder / f"A{number}USD_1.csv").write_bytes(data)
    spent = []
    for where in (folder, path):
        began = time.process_time()
        with Zips() as zips:
            files, _ = find_files([where], zips)
            for file in files:
                with zips.open(file) as stream:
                    assert stream.read() == data
        spent.append(time.process_time() - began)
        assert len(files) == members
    assert (spent[1] - spent[0]) / members < 0.0005


def test_a_zip_is_opened_once_for_all_its_members(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20):
            archive.writestr(f"A{number}USD_1.csv", b"\n".join(lines(3)))
    opened: list[str] = []
    real = zipfile.ZipFile.__init__

    def count(self: zipfile.ZipFile, file: Any, *rest: Any, **named: Any) -> None:
        opened.append(str(file))
        real(self, file, *rest, **named)

    monkeypatch.setattr(zipfile.ZipFile, "__init__", count)
    assert len(import_archive(store, [path]).files) == 20
    assert opened == [str(path)]
