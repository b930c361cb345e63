"""`krakked import` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from krakked._cli.main import main
from krakked._errors import ImportFormatError
from krakked._market.history.archive_import import import_archive
from krakked._market.store.ohlc_store import OHLCStore

DAY_S = 1_700_006_400  # midnight


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "300")
    path = tmp_path / "XBTUSD_60.csv"
    path.write_text("".join(f"{DAY_S + n * 3600},1,2,0.5,1.5,3,4\n" for n in range(1, 101)))
    return path


def test_import_and_again(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.txt.csv").write_text("")
    root = tmp_path / "ohlc"
    assert main(["import", str(file), str(tmp_path), "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    assert "100 new bars of 100 in 1 series" in printed
    assert "other.txt.csv: its name is neither" in printed
    assert len(OHLCStore(root).get_bars("XBTUSD", "1h")) == 99
    assert len(OHLCStore(root).get_bars("XBTUSD", "1h", provisional=True)) == 100
    assert main(["import", str(file), "--root", str(root)]) == 0
    assert "1 files were imported before" in capsys.readouterr().out


def test_a_malformed_line_is_named_and_costs_nothing_else(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with file.open("a") as out:
        out.write("rubbish\n")
    root = tmp_path / "ohlc"
    with pytest.raises(ImportFormatError, match="line 101"):
        import_archive(OHLCStore(root), [file], strict=True)
    assert main(["import", str(file), "--strict", "--root", str(root)]) != 0
    assert "XBTUSD_60.csv, line 101: the open time is no whole number" in capsys.readouterr().err
    assert main(["import", str(file), "--root", str(root)]) == 1  # not all of it
    printed = capsys.readouterr().out
    assert "100 new bars of 100 in 1 series" in printed
    assert "Left out 1 bad lines of" in printed
    assert "line 101: the open time is no whole number" in printed


def test_spellings_are_mapped_by_the_list_on_disk_and_others_are_told(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"XBTUSD": "XBTUSD", "XXBTZUSD": "XBTUSD", "XBT/USD": "XBTUSD", "BTC/USD": "XBTUSD"}
    monkeypatch.setattr("krakked._cli.import_.saved_names", lambda _: names)
    folder, root = tmp_path / "in", tmp_path / "ohlc"
    folder.mkdir()
    for name in (
        "XXBTZUSD_60",
        "BTC-USD_240",
        "BTCUSD_1440",
        "xbt_usd_15",
        "LUNAUSD_60",
        "my-own_60",
    ):
        step_s = int(name.rpartition("_")[2]) * 60
        (folder / f"{name}.csv").write_text(
            "".join(f"{DAY_S + n * step_s},1,2,0.5,1.5,3,4\n" for n in range(1, 9))
        )
    assert main(["import", str(folder), "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    assert OHLCStore(root).series() == [
        ("XBTUSD", "15m"),
        ("LUNAUSD", "1h"),
        ("XBTUSD", "1h"),
        ("XBTUSD", "4h"),
        ("XBTUSD", "1d"),
    ]
    assert "stored under their own names: LUNAUSD." in printed
    assert "my-own_60.csv: its name is neither" in printed


def test_nothing_that_fits_is_said(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(file), "--pair", "XBTUDS", "--root", str(tmp_path / "ohlc")]) == 1
    assert "Nothing in there fits" in capsys.readouterr().out
