"""What a sandbox invents stays in the directory given, and nothing of it gets among Kraken's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
import trio.testing

import krakked
from krakked.sandbox import SandboxSettings, open_sandbox

pytestmark = pytest.mark.slow


SMALL = SandboxSettings(pair_count=60)
README = Path(__file__).parent.parent / "README.md"


def files_below(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, as a user has it: no variable moves the directory."""
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.delenv("KRAKKED_CONFIG_DIR")
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return directory


async def use(kraken: krakked.Kraken) -> None:
    await kraken.wait_live(timeout_s=60)
    assert len(await kraken.get_ohlc("XBTUSD", "1h", lookback=24)) == 24
    await trio.sleep(130)  # a live candle closes and is written


@pytest.mark.parametrize("loaded", [False, True], ids=["KrakkedConfig()", "load_config()"])
async def test_with_the_default_settings_a_sandbox_leaves_no_byte_in_the_home(
    home: Path, loaded: bool, autojump_clock: trio.testing.MockClock
) -> None:
    config = krakked.load_config() if loaded else krakked.KrakkedConfig()
    async with (
        open_sandbox(seed=7, memory=True, settings=SMALL) as exchange,
        krakked.open_kraken(
            config, pairs=["XBTUSD"], network=exchange.network, clock=exchange.clock
        ) as kraken,
    ):
        await use(kraken)
        root = kraken.store.root  # type: ignore[attr-defined]
        assert kraken.store.get_bars("XBTUSD", "1h", lookback=1)
        verdict = await krakked.validate_credentials(
            krakked.Candidate(exchange.key, exchange.secret),
            config=config,
            network=exchange.network,
            clock=exchange.clock,
        )
        assert verdict.outcome is krakked.Outcome.VALID
    assert files_below(home) == []
    assert not root.exists()


async def test_a_sandboxs_own_settings_keep_everything_in_the_directory_given(
    home: Path, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    directory = tmp_path / "given"
    async with open_sandbox(seed=7, memory=True, settings=SMALL) as exchange:
        config = exchange.config(directory)
        assert config.exchange == exchange.name == "sandbox-7-2026-11-17"
        async with krakked.open_kraken(
            config, pairs=["XBTUSD"], network=exchange.network, clock=exchange.clock
        ) as kraken:
            await use(kraken)
            assert kraken.store.root == directory / "ohlc"  # type: ignore[attr-defined]
        # a second start goes on with the first one's files
        async with krakked.open_kraken(
            config, live=False, network=exchange.network, clock=exchange.clock
        ) as kraken:
            bars = await kraken.get_ohlc("XBTUSD", "1h", 24, refresh=False)
            assert len(bars) == 24
    assert files_below(home) == []
    assert "ohlc/bars/timeframe=1h/pair=XBTUSD/all.parquet" in files_below(directory)
    assert f"state/{exchange.name}/universe.json" in files_below(directory)
    assert not [name for name in files_below(directory) if "kraken.com" in name]


@pytest.mark.parametrize("first_kraken", [False, True])
async def test_a_store_of_one_exchange_refuses_every_other(
    tmp_path: Path, first_kraken: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """Whatever the settings name: the exchange that is really talked to decides."""
    root = tmp_path / "ohlc"
    named = krakked.KrakkedConfig(
        market_data=krakked.MarketDataSettings(
            ohlc_store=krakked.OHLCStoreSettings(root_dir=str(root))
        )
    )
    if first_kraken:
        bar = krakked.OHLCBar(1_794_906_000, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1)
        krakked.OHLCStore(root, exchange="kraken").append_bars("XBTUSD", "1h", [bar])
    else:
        async with (
            open_sandbox(seed=7, memory=True, settings=SMALL) as exchange,
            krakked.open_kraken(
                named, live=False, network=exchange.network, clock=exchange.clock
            ) as kraken,
        ):
            await kraken.get_ohlc("XBTUSD", "1h", lookback=24)
    stored = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    async with open_sandbox(seed=8, memory=True, settings=SMALL) as exchange:
        with pytest.raises(krakked.StoreExchangeError) as caught:
            async with krakked.open_kraken(
                named, live=False, network=exchange.network, clock=exchange.clock
            ):
                pass
    assert caught.value.stored == ("kraken" if first_kraken else "sandbox-7-2026-11-17")
    assert caught.value.asked == "sandbox-8-2026-11-17"
    assert caught.value.path is not None
    assert str(root) in str(caught.value)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == stored


async def test_settings_of_a_sandbox_in_memory_never_lead_to_kraken(
    home: Path, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Who forgets `network=` gets an error instead of another exchange's prices."""
    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        config = exchange.config(tmp_path)
        for url in (config.rest.base_url, config.market_data.ws.url):
            assert httpx.URL(url).host.endswith(".invalid")


@pytest.mark.slow
async def test_settings_of_a_sandbox_on_sockets_are_all_a_client_needs(
    home: Path, tmp_path: Path
) -> None:
    async with open_sandbox(seed=7, settings=SMALL) as exchange:
        assert re.fullmatch(r"sandbox-7-20\d\d-\d\d-\d\d", exchange.name)
        config = exchange.config(str(tmp_path / "given"))
        async with krakked.open_kraken(config, pairs=["XBTUSD"]) as kraken:
            await kraken.wait_live(timeout_s=30)
            assert len(await kraken.get_ohlc("XBTUSD", "1h", lookback=24)) == 24
        candidate = krakked.Candidate(exchange.key, exchange.secret)
        verdict = await krakked.validate_credentials(candidate, config=config)
        assert verdict.outcome is krakked.Outcome.VALID
    assert files_below(home) == []
    assert f"state/{exchange.name}/universe.json" in files_below(tmp_path / "given")


@pytest.mark.slow
async def test_another_host_without_a_directory_of_its_own_gets_one(home: Path) -> None:
    async with open_sandbox(seed=7, settings=SMALL) as exchange:
        own = home / ".config" / "kraken_bot"
        own.mkdir(parents=True)
        (own / "config.yaml").write_text(
            f"rest: {{base_url: '{exchange.rest_url}'}}\n"
            f"market_data: {{ws: {{url: '{exchange.ws_url}'}}}}\n",
            encoding="utf-8",
        )
        async with krakked.open_kraken(live=False) as kraken:
            await kraken.get_ohlc("XBTUSD", "1h", lookback=24)
            name = kraken.store.root.name  # type: ignore[attr-defined]
    assert name == "ohlc-127.0.0.1_" + exchange.rest_url.rpartition(":")[2]
    assert not (home / ".local/share/kraken_bot/ohlc").exists()
    assert not (own / "state" / "universe.json").exists()


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"seed": 8}, False),
        ({"settings": SandboxSettings(start_s=1_794_916_830 + 86_400)}, False),
        ({"settings": SandboxSettings(start_s=1_794_916_830 + 3_600)}, True),
        ({"settings": SandboxSettings(activity=2.0)}, False),
        ({"settings": SandboxSettings(trade_rates={"XBTUSD": 1.0})}, False),
        ({"settings": SandboxSettings(ohlc_rows=720, pair_count=10)}, True),
    ],
)
async def test_one_name_is_one_market(
    changed: dict[str, object], same: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        open_sandbox(seed=7, memory=True, settings=SandboxSettings()) as one,
        open_sandbox(**{"seed": 7, "memory": True, **changed}) as other,  # type: ignore[arg-type]
    ):
        assert (one.name == other.name) is same
        start_s = 1_794_916_830 - 86_400
        candles = [e.truth.candles("XBTUSD", 60, start_s, start_s + 7200) for e in (one, other)]
        assert (candles[0] == candles[1]) is same


@pytest.mark.slow
def test_readmes_sandbox_blocks_leave_no_byte_in_the_home(home: Path, tmp_path: Path) -> None:
    text = README.read_text("utf-8")
    blocks = [b for b in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) if "sandbox" in b]
    assert blocks
    elsewhere = tmp_path / "cwd"
    elsewhere.mkdir()
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", block],
            env=dict(os.environ),
            cwd=elsewhere,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
    assert files_below(home) == []
    assert files_below(elsewhere) == []


@pytest.mark.slow
async def test_another_sandbox_on_the_same_address_does_not_get_among_its_candles(
    tmp_path: Path,
) -> None:
    """As with ``krakked sandbox`` on fixed ports: the address stays, the market does not."""
    config, ports = None, (0, 0)
    for seed in (5, 6):
        async with open_sandbox(
            seed=seed, settings=SandboxSettings(pair_count=3), rest_port=ports[0], ws_port=ports[1]
        ) as exchange:
            if config is None:
                config = msgspec.structs.replace(exchange.config(tmp_path), exchange="")
                ports = tuple(
                    int(url.split(":")[2].split("/")[0])
                    for url in (exchange.rest_url, exchange.ws_url)
                )
            opened = krakked.open_kraken(config, live=False)
            if seed == 5:
                async with opened as kraken:
                    assert (await kraken.backfill_ohlc("XBTUSD", "1h")).bars > 700
                continue
            with pytest.raises(krakked.StoreExchangeError) as caught:
                async with opened:
                    pass
            assert caught.value.stored.startswith("sandbox-5-")
            assert caught.value.asked.startswith("sandbox-6-")
