"""`krakked import` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from krakked.cli.main import main
from krakked.market.store.ohlc_store import OHLCStore


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("krakked.cli.main.COMMANDS", ("import_",))
    monkeypatch.setenv("COLUMNS", "300")
    path = tmp_path / "XBTUSD_60.csv"
    path.write_text("".join(f"{n * 3600},1,2,0.5,1.5,3,4\n" for n in range(1, 101)))
    return path


def test_import_and_again(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.txt.csv").write_text("")
    root = tmp_path / "ohlc"
    assert main(["import", str(file), str(tmp_path), "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    assert "100 new bars of 100 in 1 series" in printed
    assert "other.txt.csv: its name is neither" in printed
    assert len(OHLCStore(root).get_bars("XBTUSD", "1h")) == 100
    assert main(["import", str(file), "--root", str(root)]) == 0
    assert "1 files were imported before" in capsys.readouterr().out


def test_a_malformed_line_ends_in_one_sentence(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with file.open("a") as out:
        out.write("rubbish\n")
    assert main(["import", str(file), "--root", str(tmp_path / "ohlc")]) == 1
    assert "XBTUSD_60.csv, line 101: the open time is no whole number" in capsys.readouterr().err


def test_nothing_that_fits_is_said(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(file), "--pair", "XBTUDS", "--root", str(tmp_path / "ohlc")]) == 1
    assert "Nothing in there fits" in capsys.readouterr().out
