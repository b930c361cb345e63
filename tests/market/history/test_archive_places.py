"""Everything that lies in a folder or a zip is read or named, and nothing hangs."""

from __future__ import annotations

import os
import socket
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

from krakked._cli.main import main
from krakked._market.history.archive import Zips, find_files
from krakked._market.history.archive_import import import_archive
from krakked._market.store.ohlc_store import OHLCStore

DAY_S = 1_704_067_200


def rows(first: int, last: int) -> str:
    return "".join(f"{DAY_S + n * 3600},10,11,9,10,1,1\n" for n in range(first, last))


def csv(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rows(0, 10))
    return path


def found(path: Path) -> tuple[list[str], dict[str, str]]:
    with Zips() as zips:
        files, skipped = find_files([path], zips)
    return (
        [str(file.path.relative_to(path)) for file in files],
        {str(Path(each.label).relative_to(path)): each.why for each in skipped},
    )


def test_links_are_followed_once(tmp_path: Path) -> None:
    top = tmp_path / "top"
    csv(tmp_path / "elsewhere" / "XBTUSD_60.csv")
    csv(top / "here" / "ETHUSD_60.csv")
    (top / "2024").symlink_to(tmp_path / "elsewhere")
    (top / "a_again").symlink_to(top / "here")
    (top / "here" / "loop").symlink_to(top)
    (tmp_path / "elsewhere" / "other").symlink_to(tmp_path / "elsewhere")
    (top / "SOLUSD_60.csv").symlink_to(tmp_path / "elsewhere" / "XBTUSD_60.csv")
    files, skipped = found(top)
    assert files == ["here/ETHUSD_60.csv", "SOLUSD_60.csv", "2024/XBTUSD_60.csv"]
    again = "it leads to a folder that is read already."
    assert skipped == dict.fromkeys(("a_again", "here/loop", "2024/other"), again)


def test_what_is_no_file_is_named_and_never_opened(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "t"
    csv(top / "XBTUSD_60.csv")
    (top / "SOLUSD_60.csv").symlink_to(tmp_path / "nowhere")
    (top / "self.csv").symlink_to(top / "self.csv")
    os.mkfifo(top / "ADAUSD_60.csv")
    os.mkfifo(tmp_path / "pipe")
    (top / "DOTUSD_60.csv").symlink_to(tmp_path / "pipe")
    (top / "null.zip").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(top)  # a socket's path may be no longer than a hundred bytes
        listener.bind("XRPUSD_60.csv")
    files, skipped = found(top)
    assert files == ["XBTUSD_60.csv"]
    assert {name: why.partition(" (")[0] for name, why in skipped.items()} == {
        "ADAUSD_60.csv": "it is no file",
        "DOTUSD_60.csv": "it is no file",
        "SOLUSD_60.csv": "it is a link that leads nowhere.",
        "XRPUSD_60.csv": "it is no file",
        "null.zip": "it is no file",
        "self.csv": "it is a link that leads nowhere.",
    }
    # Given by its own path it is named as well.
    report = import_archive(store, [tmp_path / "pipe", top])
    assert [file.pair for file in report.files] == ["XBTUSD"]
    assert str(tmp_path / "pipe") in {each.label for each in report.skipped}


def test_what_is_hidden_is_named(store: Any, tmp_path: Path) -> None:
    for name in ("XBTUSD_60.csv", ".old/XRPUSD_60.csv", ".old/more/all.zip", ".ETHUSD_60.csv"):
        csv(tmp_path / name)
    for name in (".DS_Store", "._XBTUSD_60.csv", "__MACOSX/ADAUSD_60.csv", ".old/notes", ".config"):
        csv(tmp_path / name)
    files, skipped = found(tmp_path)
    assert files == ["XBTUSD_60.csv"]
    hidden = "it is hidden; give its own path to have it read."
    names = (".old/XRPUSD_60.csv", ".old/more/all.zip", ".ETHUSD_60.csv")
    assert skipped == dict.fromkeys(names, hidden)
    assert import_archive(store, [tmp_path / ".ETHUSD_60.csv"]).skipped != ()  # no pair begins so
    assert import_archive(store, [tmp_path / ".old"]).files[0].pair == "XRPUSD"


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv(tmp_path / "XBTUSD_60.csv")
    locked = csv(tmp_path / "locked" / "ETHUSD_60.csv").parent
    real = Path.iterdir

    def refuse(self: Path) -> Any:
        if self == locked:
            raise PermissionError(13, "Permission denied")
        return real(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    files, skipped = found(tmp_path)
    assert files == ["XBTUSD_60.csv"]
    assert skipped == {"locked": "it cannot be read (Permission denied)."}


def test_members_of_one_name_are_both_read_and_hidden_ones_named(
    store: Any, tmp_path: Path
) -> None:
    path = tmp_path / "K.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("XBTUSD_60.csv", rows(0, 10))
        archive.writestr("XBTUSD_60.csv", rows(10, 20))
        archive.writestr(".hidden/ETHUSD_60.csv", rows(0, 10))
        archive.writestr(".hidden/notes", "x")
        archive.writestr("__MACOSX/._XBTUSD_60.csv", "x")
    report = import_archive(store, [path])
    assert [(file.label.rpartition("!")[2], file.rows) for file in report.files] == [
        ("XBTUSD_60.csv (number 1 of that name)", 10),
        ("XBTUSD_60.csv (number 2 of that name)", 10),
    ]
    bars = store.get_bars("XBTUSD", "1h", provisional=True)
    assert [bar.time for bar in bars] == [DAY_S + n * 3600 for n in range(20)]
    assert len(store.get_bars("XBTUSD", "1h")) == 19
    assert [each.label.rpartition("!")[2] for each in report.skipped] == [".hidden/ETHUSD_60.csv"]
    assert len(import_archive(store, [path]).known) == 2


def test_files_that_tell_the_same_candles_are_counted_once_and_contradictions_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    root = str(tmp_path / "ohlc")
    for name in ("a", "b"):
        csv(tmp_path / "same" / name / "XBTUSD_60.csv")
    assert main(["import", str(tmp_path / "same"), "--root", root]) == 0
    printed = capsys.readouterr().out
    assert "10 new bars of 20 in 1 series, " in printed
    assert "replaced" not in printed
    other = csv(tmp_path / "c" / "XBTUSD_60.csv")
    other.write_text(rows(0, 15).replace(f"{DAY_S + 7200},10,", f"{DAY_S + 7200},9.5,"))
    assert main(["import", str(other), "--root", root]) == 0
    printed = capsys.readouterr().out
    # The tenth was provisional until now.
    assert "5 new bars of 15 in 1 series, 2 replaced, " in printed
    assert "XBTUSD 1h: 1 candles differ from those of a file read before" in printed
    assert OHLCStore(root).get_bars("XBTUSD", "1h")[2].open == 9.5


def test_a_broken_zip_beside_good_files_is_not_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv(tmp_path / "in" / "XBTUSD_60.csv")
    (tmp_path / "in" / "readme.csv.txt").write_text("x")
    root = str(tmp_path / "ohlc")
    assert main(["import", str(tmp_path / "in"), "--root", root]) == 0
    csv(tmp_path / "in" / "K.zip")  # what is in it is no zip
    assert main(["import", str(tmp_path / "in"), "--root", root]) == 1
