"""The commands that talk to the exchange, against the sandbox on loopback, as processes."""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from krakked._cli.arguments import moment
from krakked.sandbox import Exchange, Recording, SandboxSettings, open_sandbox

pytestmark = pytest.mark.slow


@pytest.fixture
async def exchange(own_config_dir: Path, tmp_path: Path) -> AsyncIterator[Exchange]:
    async with open_sandbox(seed=5, settings=SandboxSettings(pair_count=60)) as running:
        (own_config_dir / "config.yaml").write_text(
            f"rest:\n  base_url: {running.rest_url}\n"
            "universe:\n  margin_eligible: include\n"
            f"market_data:\n  ws:\n    url: {running.ws_url}\n    timeframes: [1m]\n"
            f"  ohlc_store:\n    root_dir: {tmp_path / 'ohlc'}\n",
            encoding="utf-8",
        )
        yield running


async def krakked(*words: str) -> tuple[int, str]:
    with trio.fail_after(60):
        done = await trio.run_process(
            [sys.executable, "-m", "krakked._cli.main", *words],
            env={**os.environ, "COLUMNS": "120"},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode, done.stdout.decode()


async def test_backfill_says_its_plan_then_fills_the_store(
    exchange: Exchange, tmp_path: Path
) -> None:
    status, text = await krakked("backfill", "BTC/USD", "--timeframe", "1h", "--plan")
    assert status == 0, text
    assert "XBTUSD 1h: 1 calls" in text
    status, text = await krakked("backfill", "BTC/USD", "ETHUSD", "--timeframe", "1h")
    assert status == 0, text
    assert "1,440 bars stored in 2 series; 0 stretches missing." in text
    for spelling in ("BTC/USD", "XXBTZUSD"):  # from the saved copy of the pairs, without a call
        status, text = await krakked("store", "check", "--pair", spelling)
        assert status == 0, text
        assert "XBTUSD" in text
        assert "ETHUSD" not in text
    assert (tmp_path / "ohlc" / "bars" / "timeframe=1h" / "pair=XBTUSD").is_dir()


async def test_status_prints_the_report_and_its_verdict(exchange: Exchange) -> None:
    status, text = await krakked("status", "XBTUSD", "ETHUSD")
    assert status == 0, text
    assert "2 of 2 pairs with a fresh ticker" in text
    status, text = await krakked("status", "XBTUSD", "--json")
    assert json.loads(text)["verdict"] == "ok"


async def test_watch_prints_a_line_a_change_where_nobody_draws(exchange: Exchange) -> None:
    status, text = await krakked("watch", "BTC/USD", "ETHUSD", "--seconds", "3")
    assert status == 0, text
    lines = text.splitlines()
    assert len(lines) > 4
    assert any(re.fullmatch(r"[0-9:]{8}  XBTUSD  bid \S+  ask \S+  last \S+", it) for it in lines)
    assert any("  ETHUSD  bid" in line for line in lines)
    status, text = await krakked("watch", "BTC/USD", "--seconds", "2", "--json")
    assert status == 0, text
    changes = [json.loads(line) for line in text.splitlines()]
    prices = [change for change in changes if change["kind"] == "TickerChange"]
    assert prices
    assert all(0 < price["bid"] < price["ask"] for price in prices)


async def test_ohlc_prints_draws_and_exports_closed_candles(exchange: Exchange) -> None:
    status, text = await krakked("ohlc", "BTC/USD", "1h", "--count", "5", "--json")
    assert status == 0, text
    bars = [json.loads(line) for line in text.splitlines()]
    assert [bar["time"] - bars[0]["time"] for bar in bars] == [0, 3600, 7200, 10800, 14400]
    status, text = await krakked("ohlc", "BTC/USD", "1h", "--count", "5", "--csv")
    assert text.splitlines()[0] == "time,open,high,low,close,vwap,volume,count"
    assert [float(line.split(",")[4]) for line in text.splitlines()[1:]] == [
        bar["close"] for bar in bars
    ]
    status, text = await krakked("ohlc", "BTC/USD", "1h", "--count", "5")
    assert status == 0, text
    assert f"{bars[-1]['close']:.10g}" in text
    assert "┤" not in text
    status, text = await krakked("ohlc", "XBTUSD", "--plot")
    assert status == 0, text
    assert "┤" in text
    assert "\x1b" not in text
    status, text = await krakked("ohlc", "NOPEUSD")
    assert status == 1
    assert text.startswith("UnknownPairError: ")


async def test_export_writes_what_is_stored(exchange: Exchange, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    status, text = await krakked("export", "BTC/USD", "1h", "--out", str(out))
    assert status == 1, text
    assert "krakked backfill" in text
    status, text = await krakked("backfill", "BTC/USD", "--timeframe", "1h")
    assert status == 0, text
    for form, name in (("csv", "XBTUSD-1h.csv"), ("freqtrade", "BTC_USD-1h.feather")):
        words = ("export", "BTC/USD", "1h", "--format", form, "--out", str(out))
        status, text = await krakked(*words)
        assert status == 0, text
        assert "720 candles of XBTUSD 1h" in text
        assert (out / name).is_file()
        status, text = await krakked(*words)
        assert status == 5, text
        status, text = await krakked(*words, "--force", "--json")
        assert json.loads(text) == {"path": str(out / name), "candles": 720}
    status, text = await krakked("export", "XBTUSD", "3h", "--out", str(out), "--json")
    assert json.loads(text)["candles"] in {239, 240}
    status, text = await krakked("export", "XBTUSD", "12h", "--out", str(out), "--json")
    assert json.loads(text)["candles"] in {59, 60}, "of 1h, which is stored; 4h is not"
    status, text = await krakked("export", "XBTUSD", "1w", "--out", str(out))
    assert status == 1
    status, text = await krakked("export", "XBTUSD", "5x")
    assert status == 1
    assert text.startswith("ConfigError: rule is '5x'")


async def test_doctor_finds_all_well_and_what_is_not(
    exchange: Exchange, own_config_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, text = await krakked("doctor")
    assert status == 0, text
    for what in ("settings", "state", "store", "key", "proxy", "REST", "clock", "limits", "stream"):
        assert re.search(rf"^. +{what} ", text, re.MULTILINE), (what, text)
    status, text = await krakked("doctor", "--json")
    found = {each["what"]: each["verdict"] for each in json.loads(text)}
    assert found["REST"] == found["stream"] == found["clock"] == "fine"
    path = own_config_dir / "config.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    text = path.read_text("utf-8")
    path.write_text(re.sub(r"ws://127.0.0.1:\d+", f"ws://127.0.0.1:{nobody}", text), "utf-8")
    status, text = await krakked("doctor")
    assert status == 3, text
    assert re.search(r"^x +stream +ConnectFailedError: ", text, re.MULTILINE), text
    path.write_text("rest:\n  time_out: 3\n", "utf-8")
    status, text = await krakked("doctor")
    assert status == 1, text
    assert "timeout_s" in text


async def test_watch_that_showed_no_price_says_so(exchange: Exchange, own_config_dir: Path) -> None:
    path = own_config_dir / "config.yaml"
    path.write_text(path.read_text().replace(exchange.ws_url, "ws://127.0.0.1:1"))
    status, text = await krakked("watch", "BTC/USD", "--seconds", "2")
    assert status == 3, text
    assert "No price came within 2 s. Not connected:" in text


async def test_a_wrong_proxy_is_a_matter_of_settings(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:p@ss:word@proxy:port")
    monkeypatch.delenv("NO_PROXY", raising=False)
    status, text = await krakked("universe")
    assert status == 1, text
    assert "HTTP_PROXY" in text
    assert "%40" in text
    assert "word" not in text.replace("password", "")


async def test_record_writes_what_the_sandbox_can_replay(
    exchange: Exchange, tmp_path: Path
) -> None:
    file = tmp_path / "frames.ndjson"
    status, text = await krakked("record", str(file), "XBTUSD", "ETHUSD", "--seconds", "6")
    assert status == 0, text
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    channels = {json.loads(line["frame"]).get("channel") for line in lines}
    assert {"status", "ticker", "ohlc"} <= channels
    assert all(line["url"] == exchange.ws_url for line in lines)
    assert Recording.load(file).connections


async def test_an_unknown_pair_is_a_sentence(exchange: Exchange) -> None:
    status, text = await krakked("backfill", "XBTUDS")
    assert status == 1
    assert "UnknownPairError" in text
    assert "XBTUSD" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("1700000000", 1.7e9), ("2024-01-31", 1706659200.0)],
)
def test_since_is_a_date_or_seconds(text: str, seconds: float) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize("text", ["nan", "inf", "-5", "1700000000000", "yesterday", "2024-02-30"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="neither a date nor unix seconds"):
        moment(text)
