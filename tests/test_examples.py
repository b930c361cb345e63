"""Every program in examples/ runs as its README says, against the local exchange."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import yaml

import krakked
from krakked._cli.sandbox import write_config
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

if TYPE_CHECKING:
    from trio.testing import MockClock

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
async def exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Exchange]:
    async with open_sandbox(seed=5, settings=SandboxSettings(pair_count=60)) as running:
        write_config(running, tmp_path / "config")
        monkeypatch.setenv("KRAKKED_CONFIG_DIR", str(tmp_path / "config"))
        yield running


async def run(name: str, *words: str, config: Path) -> str:
    with trio.fail_after(90):
        done = await trio.run_process(
            [sys.executable, str(EXAMPLES / name), *words],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, "KRAKKED_CONFIG_DIR": str(config), "PYTHONUNBUFFERED": "1"},
        )
    text = done.stdout.decode()
    assert done.returncode == 0, text
    assert "Traceback" not in text
    return text


async def run_until(exchange: Exchange, pattern: str, name: str, *words: str) -> str:
    """Run a program that stops by itself, for longer each time until it has said what it must.

    How long that takes is the machine's affair; what is said is the program's. Each time its
    settings, store and state are new.
    """
    config, text = Path(os.environ["KRAKKED_CONFIG_DIR"]), ""
    for seconds in ("8", "20", "60"):
        own = config.with_name(f"config-{seconds}")
        write_config(exchange, own)
        text = await run(name, *words, "--seconds", seconds, config=own)
        if re.search(pattern, text):
            break
    return text


@pytest.mark.slow
async def test_price_alert(exchange: Exchange) -> None:
    pattern = r"XBTUSD is at [0-9.]+, waiting for 1"
    assert re.search(pattern, await run_until(exchange, pattern, "price_alert.py", "XBTUSD", "1"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["signal_bot", "signal_bot_asyncio", "signal_bot_plain"])
async def test_the_bot_listens_under_trio_asyncio_and_plainly(
    exchange: Exchange, name: str
) -> None:
    words = "20 candles, listening"
    assert words in await run_until(exchange, words, f"{name}.py", "XBTUSD")


@pytest.mark.slow
async def test_recorder(exchange: Exchange) -> None:
    last = "ETHUSD 1h: 720 new or confirmed, "
    text = await run_until(exchange, last, "recorder.py", "XBTUSD", "ETHUSD", "--timeframe", "1h")
    assert "XBTUSD 1h: 720 new or confirmed, 0 holes" in text
    assert "ETHUSD 1h: 720 new or confirmed, 0 holes" in text


@pytest.mark.slow
async def test_prometheus_exporter(exchange: Exchange) -> None:
    script = str(EXAMPLES / "prometheus_exporter.py")
    command = [sys.executable, script, "XBTUSD", "--port", "0"]
    with trio.fail_after(60), started(command) as process:
        try:
            assert process.stdout is not None
            url = (await trio.to_thread.run_sync(process.stdout.readline)).decode().strip()
            assert url.startswith("http://127.0.0.1:")
            metrics = ""
            while "krakked_ticker_age_seconds{" not in metrics:
                metrics = await trio.to_thread.run_sync(read, url)
        finally:
            process.kill()
    assert re.search(r'^krakked_ticker_age_seconds\{pair="XBTUSD"\} [0-9.]+$', metrics, re.M)
    assert re.search(r"^krakked_pairs_streamed 1.0$", metrics, re.M)


def started(command: list[str]) -> subprocess.Popen[bytes]:
    quick = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=quick)


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


EXECUTE = """
import json, nbclient, nbformat, sys
book = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(book, timeout=60, kernel_name="python3").execute()
cells = [cell for cell in book.cells if cell.get("outputs")]
print(json.dumps([cell.outputs[-1].data["text/plain"] for cell in cells]))
"""
"""In a process of its own: the client leaves an event loop of asyncio open."""


@pytest.mark.slow
async def test_notebook(exchange: Exchange) -> None:
    book = json.loads((EXAMPLES / "store.ipynb").read_text("utf-8"))
    assert not any(cell.get("outputs") for cell in book["cells"]), "outputs are not for commit"
    command = [sys.executable, "-W", "ignore", "-c", EXECUTE, str(EXAMPLES / "store.ipynb")]
    with trio.fail_after(90):
        done = await trio.run_process(command, capture_stdout=True)
    shown = json.loads(done.stdout.decode().splitlines()[-1])
    assert "shape: (3, 9)" in shown[0]
    assert "shape: (3, 4)" in shown[1]
    assert shown[2] == "[]"


@asynccontextmanager
async def in_memory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Exchange]:
    """Let `krakked.open_kraken()` lead to an exchange in memory, on trio's own clock."""
    settings = SandboxSettings(pair_count=60)
    async with open_sandbox(seed=5, memory=True, settings=settings) as exchange:
        config, real = exchange.config(directory), krakked.open_kraken
        given = {"network": exchange.network, "clock": exchange.clock}
        monkeypatch.setattr(krakked, "open_kraken", partial(real, config, **given))
        yield exchange


async def test_the_bot_sees_each_candle_once_over_an_outage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    autojump_clock: MockClock,
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    signal_bot = import_module("signal_bot")

    async with in_memory(tmp_path, monkeypatch) as it:
        with trio.move_on_after(600):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(signal_bot.watch, "XBTUSD", "1m")
                await trio.sleep(200)
                await it.faults.cut()
    opened = [int(at) for at in re.findall(r"XBTUSD (\d+) closed at", capsys.readouterr().out)]
    assert len(opened) >= 8
    assert opened == list(range(opened[0], opened[-1] + 60, 60))


async def test_the_alert_tells_each_crossing_and_silence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    autojump_clock: MockClock,
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    price_alert = import_module("price_alert")
    async with in_memory(tmp_path, monkeypatch) as it:
        now_ns = it.clock.wall_ns()
        trades = it.truth.trades("BTC/USD", now_ns, now_ns + 900 * 10**9)
        prices = sorted(trade.price for trade in trades)
        line = float(prices[len(prices) // 2])
        with trio.move_on_after(1_200):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(price_alert.alert, "XBTUSD", line)
                await trio.sleep(900)
                it.faults.mute()
    told = capsys.readouterr().out.splitlines()
    sides = [line.split()[2] for line in told if re.search(r" is (above|below) ", line)]
    assert len(sides) >= 2
    assert all(one != other for one, other in itertools.pairwise(sides))
    assert any(line.startswith("no fresh price: ") for line in told)


def test_averages_cross_and_begin_anew_without_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    averages = import_module("averages").Averages(short=1, long=3)
    signals = [averages.closed(close) for close in (1, 1, 1, 4, 4, 0, 9)]
    assert signals == [None, None, None, "up", None, "down", "up"]
    averages.restart([5.0, 5.0, 1.0])
    assert averages.closed(9.0) == "up"


def test_the_readme_names_every_example() -> None:
    told = set(re.findall(r"`([\w.]+)`", (EXAMPLES / "README.md").read_text("utf-8")))
    kept = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md"}
    assert kept <= told


def test_the_container_is_read_only_and_holds_no_secret() -> None:
    compose = yaml.safe_load((EXAMPLES / "compose.yaml").read_text("utf-8"))
    service = compose["services"]["signals"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "environment" not in service
    mounts = {each.split(":")[0].removeprefix("./") for each in service["volumes"]}
    assert set(compose["volumes"]) == mounts - {"config"}
    recipe = (EXAMPLES / "Dockerfile").read_text("utf-8")
    assert re.search(r"^USER (?!root)", recipe, re.M)
    copied = re.search(r"^COPY (.*) /bot/$", recipe, re.M)
    assert copied
    assert all((EXAMPLES / name).is_file() for name in copied[1].split())
    config = krakked.load_config(EXAMPLES / "config")
    assert config.market_data.ohlc_store.root_dir == "/candles"
    targets = [each.split(":")[1] for each in service["volumes"]]
    owned = re.search(r"install -d -o bot -g bot (.*)$", recipe, re.M)
    assert owned
    assert {*owned[1].split(), "/config"} == set(targets)


@pytest.mark.slow
async def test_the_bot_ends_tidily_when_a_container_is_stopped(exchange: Exchange) -> None:
    command = [sys.executable, str(EXAMPLES / "signal_bot.py"), "XBTUSD"]
    with trio.fail_after(60), started(command) as process:
        assert process.stdout is not None
        line = await trio.to_thread.run_sync(process.stdout.readline)
        assert b"listening" in line
        process.terminate()
        assert await trio.to_thread.run_sync(process.wait) == 0
