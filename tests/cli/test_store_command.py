"""`krakked store`: check, verify, repair, compact, snapshot."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import msgspec
import pytest
import trio

from krakked._cli import store as store_command
from krakked._cli.exits import flatten
from krakked._errors import StoreError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store.ohlc_store import OHLCStore
from krakked.sandbox import SandboxSettings, open_sandbox

START = 1_793_491_200


def bar(minute: int) -> OHLCBar:
    return OHLCBar(START + 60 * minute, 1.0, 2.0, 0.5, 1.5, 1.2, 3.0, 4)


def krakked_store(*words: str) -> int:

    parser = argparse.ArgumentParser()
    store_command.fill(parser)
    arguments = parser.parse_args(words)
    return int(arguments.run(arguments))


@pytest.fixture
def store(tmp_path: Path, own_config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> OHLCStore:
    monkeypatch.setenv("COLUMNS", "200")
    root = tmp_path / "ohlc"
    (own_config_dir / "config.yaml").write_text(
        f"market_data:\n  ohlc_store:\n    root_dir: {root}\n", encoding="utf-8"
    )
    return OHLCStore(root)


def test_an_empty_store(store: OHLCStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert krakked_store("check") == 0
    assert "Nothing is stored" in capsys.readouterr().out
    assert krakked_store("verify") == 0
    assert not store.root.exists()


def test_check_says_what_is_missing(store: OHLCStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.append_bars("XBTUSD", "1m", [bar(0), bar(1)])
    assert krakked_store("check") == 0
    assert "none" in capsys.readouterr().out
    store.append_bars("XBTUSD", "1m", [bar(5)], source=Source.ARCHIVE)
    assert krakked_store("check", "--pair", "XBTUSD", "--timeframe", "1m") == 1
    out = capsys.readouterr().out
    assert "XBTUSD 1m: 3 missing: 2026-11-01 00:02 to 2026-11-01 00:05\n" in out
    assert "krakked store repair" in out
    assert krakked_store("check", "--pair", "ETHUSD") == 0
    assert "Nothing of ETHUSD is stored" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        krakked_store("check", "--timeframe", "7m")


def test_verify_and_offline_repair(store: OHLCStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.append_bars("XBTUSD", "1m", [bar(0)], covered=(START, START + 60))
    assert krakked_store("verify") == 0
    path = next(store.root.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-5])
    assert krakked_store("verify") == 1
    assert "2026-11.parquet" in capsys.readouterr().out
    assert krakked_store("check") == 1
    assert krakked_store("repair", "--offline") == 1
    out = capsys.readouterr().out
    assert "the damaged file is" in out
    assert "Bars are missing of XBTUSD 1m. To fetch what Kraken still has: krakked store" in out
    assert krakked_store("verify") == 0
    assert krakked_store("check") == 1  # what was lost stays known, for a repair with a network
    assert "1 missing: 2026-11-01 00:00 to" in capsys.readouterr().out


def test_check_lists_what_is_none_of_its_files(
    store: OHLCStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.append_bars("XBTUSD", "1m", [bar(0)])
    stray = next(store.root.rglob("*.parquet")).with_name("._2026-11.parquet")
    stray.write_bytes(b"Mac OS X")
    assert krakked_store("check") == 0
    assert f"Not a file of this store: {stray}\n" in capsys.readouterr().out
    stray.unlink()
    assert krakked_store("check") == 0
    assert "Not a file" not in capsys.readouterr().out


def test_repair_says_what_it_gave_up_with_damaged_coverage(
    store: OHLCStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.append_bars("XBTUSD", "1m", [bar(0)], covered=(START, START + 60))
    path = store.root / ".krakked" / "coverage" / "1m~XBTUSD.json"
    path.write_bytes(b"torn")
    assert krakked_store("repair", "--offline") == 0
    out = capsys.readouterr().out
    assert f"{path} was damaged" in out
    assert "Given up: which stretches of XBTUSD 1m are complete." in out
    assert "sound" not in out


def test_repair_says_that_a_file_was_removed(
    store: OHLCStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.append_bars("XBTUSD", "1m", [bar(0)], covered=(START, START + 60))
    next(store.root.rglob("*.parquet")).unlink()
    assert krakked_store("verify") == 1
    assert "the file was removed" in capsys.readouterr().out
    assert krakked_store("repair", "--offline") == 1
    assert "XBTUSD 1m 2026-11-01 00:00 to 2026-12-01 00:00: its file was" in capsys.readouterr().out
    assert krakked_store("verify") == 0


def test_the_one_file_of_a_longer_timeframe_is_mended_too(
    store: OHLCStore, capsys: pytest.CaptureFixture[str]
) -> None:
    hourly = msgspec.structs.replace(bar(0), time=START)
    store.append_bars("XBTUSD", "1h", [hourly], covered=(START, START + 3600))
    path = next(store.root.rglob("all.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    assert krakked_store("repair", "--offline") == 1
    assert "XBTUSD 1h: 0 sound bars kept, the damaged file is" in capsys.readouterr().out
    assert krakked_store("repair", "--offline") == 1
    assert "1h" in capsys.readouterr().out
    assert krakked_store("check") == 1
    assert "1 missing: 2026-11-01 00:00 to 2026-11-01 01:00" in capsys.readouterr().out


def test_candles_of_the_live_stream_alone_are_told(
    store: OHLCStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.append_provisional("1m", [("XBTUSD", bar(0))])
    store.fold_journal()
    assert krakked_store("check") == 0
    out = capsys.readouterr().out
    assert "2026-11-01 00:00" in out
    assert "not confirmed" in out


def test_compact_and_snapshot(
    store: OHLCStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.append_provisional("1m", [("XBTUSD", bar(0))])
    assert krakked_store("compact") == 0
    assert store.get_bars("XBTUSD", "1m", provisional=True) == [bar(0)]
    assert krakked_store("snapshot", str(tmp_path / "copy")) == 0
    assert "1 files" in capsys.readouterr().out
    with pytest.raises(StoreError) as caught:
        krakked_store("snapshot", str(tmp_path / "copy"))
    assert flatten(caught.value) == [caught.value]


@pytest.mark.slow
async def test_repair_fetches_what_is_missing(
    store: OHLCStore, own_config_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_sandbox(seed=3, settings=SandboxSettings(pair_count=40)) as exchange:
        path = own_config_dir / "config.yaml"
        path.write_text(f"{path.read_text()}rest:\n  base_url: {exchange.rest_url}\n")
        now_s = int(time.time()) // 60 * 60
        truth = [now_s - 60 * minute for minute in range(600, 1, -1)]
        old, new = (OHLCBar(at, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9) for at in (truth[0], truth[-1]))
        store.append_bars("XBTUSD", "1m", [old, new], source=Source.ARCHIVE)
        store.append_bars("GONEUSD", "1m", [old, new], source=Source.ARCHIVE)
        assert await trio.to_thread.run_sync(krakked_store, "repair") == 1
        out = capsys.readouterr().out
        assert "is lost: Kraken lists GONEUSD no more." in out
        assert await trio.to_thread.run_sync(krakked_store, "check", "--pair", "XBTUSD") == 0
        times = [bar.time for bar in store.get_bars("XBTUSD", "1m")]
        assert times[: len(truth)] == truth
        assert await trio.to_thread.run_sync(krakked_store, "verify") == 0


def test_check_as_json(store: OHLCStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert krakked_store("check", "--json") == 0
    assert msgspec.json.decode(capsys.readouterr().out) == []
    store.append_bars("XBTUSD", "1m", [bar(0), bar(5)], source=Source.ARCHIVE)
    assert krakked_store("check", "--json") == 1
    (told,) = msgspec.json.decode(capsys.readouterr().out)
    assert told["pair"] == "XBTUSD"
    assert told["missing"] == 4
    assert told["stretches"] == [[START + 60, START + 300]]
    assert (told["first_s"], told["last_s"]) == (START, START + 300)


def test_delete_asks_first(
    store: OHLCStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert krakked_store("delete", "XBTUSD") == 1
    assert "Nothing of XBTUSD is stored" in capsys.readouterr().out
    store.append_bars("XBTUSD", "1m", [bar(0)])
    store.append_bars("ETHUSD", "1m", [bar(0)])
    monkeypatch.setattr("rich.console.Console.input", lambda *_, **__: "no")
    assert krakked_store("delete", "XBTUSD") == 1
    assert "Nothing was deleted" in capsys.readouterr().out
    monkeypatch.setattr("rich.console.Console.input", lambda *_, **__: "delete")
    assert krakked_store("delete", "XBTUSD", "--timeframe", "1m") == 0
    assert store.series() == [("ETHUSD", "1m")]
    assert krakked_store("delete", "ETHUSD", "--yes") == 0
    assert store.series() == []


def test_convert_takes_the_other_format(
    store: OHLCStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.append_bars("XBTUSD", "1m", [bar(0)])
    assert krakked_store("convert", str(tmp_path / "as csv")) == 0
    assert "1 bars of 1 series" in capsys.readouterr().out
    with OHLCStore(tmp_path / "as csv", backend="csv") as other:
        assert other.get_bars("XBTUSD", "1m") == [bar(0)]


def test_verify_promises_no_repair_of_what_is_not_ours(
    store: OHLCStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.append_bars("XBTUSD", "1m", [bar(0)])
    (store.root / "bars" / "notes.txt").write_text("mine")
    assert krakked_store("verify") == 1
    out = capsys.readouterr().out
    assert "move it away" in out
    assert "krakked store repair" not in out
