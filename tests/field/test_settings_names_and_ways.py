"""Wrong settings, names and times as people write them, odd lists of pairs, ways to the exchange.

Through the public face alone, so that it can be run against any version.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

import krakked
from krakked._credentials.passwords import password_from_file
from krakked._errors import ConfigError, DataStaleError, KrakkedError
from krakked._market.universe import build_universe
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._rest.client import RestClient
from krakked._sandbox.exchange import Exchange
from krakked.sandbox import SandboxSettings, open_sandbox

ENTRY: dict[str, Any] = {
    "altname": "XBTUSD",
    "wsname": "XBT/USD",
    "base": "XXBT",
    "quote": "ZUSD",
    "status": "online",
    "pair_decimals": 1,
    "lot_decimals": 8,
    "lot_multiplier": 1,
}


@asynccontextmanager
async def opened(directory: Path, **more: Any) -> AsyncIterator[tuple[Exchange, krakked.Kraken]]:
    async with open_sandbox(memory=True, settings=SandboxSettings(pair_count=60)) as exchange:
        config = krakked.KrakkedConfig(
            universe=krakked.UniverseSettings(include_pairs=("XBTUSD", "ETHUSD")),
            market_data=krakked.MarketDataSettings(
                ws=krakked.WebSocketSettings(timeframes=("1m",)),
                ohlc_store=krakked.OHLCStoreSettings(root_dir=str(directory / "ohlc")),
            ),
            config_dir=str(directory),
        )
        async with krakked.open_kraken(
            config, network=exchange.network, clock=exchange.clock, **more
        ) as kraken:
            yield exchange, kraken


async def test_a_sleep_that_only_the_wall_clock_saw(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with opened(tmp_path, pairs=["XBTUSD"]) as (exchange, kraken):
        await kraken.wait_live()
        exchange.clock.step_wall(8 * 3600.0)
        with pytest.raises(DataStaleError):
            kraken.get_latest_price("XBTUSD")
        await trio.sleep(15)
        assert kraken.get_latest_price("XBTUSD").price > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: krakked.RestSettings(public_calls_per_second=0),
        lambda: krakked.RestSettings(timeout_s=math.nan),
        lambda: krakked.RestSettings(base_url="http://api.kraken.com"),
        lambda: krakked.WebSocketSettings(url="ws://example.com"),
        lambda: krakked.WebSocketSettings(stale_tolerance_seconds=math.inf),
        lambda: krakked.WebSocketSettings(stale_tolerance_seconds=math.nan),
        lambda: krakked.WebSocketSettings(stale_tolerance_seconds=-1),
        lambda: krakked.WebSocketSettings(timeframes=("7m",)),
        lambda: krakked.OHLCStoreSettings(backend="xlsx"),  # type: ignore[arg-type]
        lambda: krakked.UniverseSettings(include_pairs="XBTUSD"),  # type: ignore[arg-type]
        lambda: krakked.UniverseSettings(margin_eligible="some"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_setting_in_code_is_refused_when_it_is_made(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()


def test_a_setting_given_as_text_means_what_it_says() -> None:
    settings = krakked.UniverseSettings(margin_eligible="include")  # type: ignore[arg-type]
    pairs = {"XXBTZUSD": ENTRY | {"leverage_buy": [2]}}
    assert build_universe(pairs, settings=settings).pairs == ("XBTUSD",)


@pytest.mark.parametrize("host", ["localhost", "x.localhost", "127.0.0.2", "[::1]"])
def test_one_rule_says_what_this_machine_is(host: str) -> None:
    settings = krakked.RestSettings(base_url=f"http://{host}:1")
    RestClient(settings, network=SystemNetwork(), clock=SystemClock())


@pytest.mark.parametrize("name", ["BTCUSD", "xbtusd", "BTC-USD", " XBTUSD ", "btc/usd"])
def test_a_name_that_can_mean_one_pair_only_is_understood(name: str) -> None:
    assert build_universe({"XXBTZUSD": ENTRY}).table.resolve(name) == "XBTUSD"


async def test_one_name_where_a_collection_is_due(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with opened(tmp_path, pairs="XBTUSD") as (_, kraken):
        await kraken.wait_live("XBTUSD")
        change = await anext(aiter(kraken.changes("XBTUSD", kinds="ticker")))
        assert isinstance(change, krakked.TickerChange)
        assert change.pair == "XBTUSD"


async def test_times_in_other_units_and_forms(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with opened(tmp_path, live=False) as (exchange, kraken):
        now_s = exchange.clock.wall_ns() // 10**9
        for wrong in (now_s * 1000, now_s * 10**9, now_s + 10**8, -5, True, math.nan, math.inf):
            with pytest.raises(KrakkedError):
                await kraken.get_ohlc_since("XBTUSD", "1m", wrong)
            with pytest.raises(KrakkedError):
                await kraken.plan_backfill("XBTUSD", "1m", since=wrong)
        since = datetime.fromtimestamp(now_s - 600, UTC)
        assert len(await kraken.get_ohlc_since("XBTUSD", "1m", since)) >= 9


@pytest.mark.parametrize("field", ["pair_decimals", "lot_decimals"])
@pytest.mark.parametrize("value", ["missing", None, "5", -1, 10**6, True, 2.5])
def test_digits_that_cannot_be_read_are_never_taken_for_none(field: str, value: Any) -> None:
    entry = {name: given for name, given in ENTRY.items() if name != field}
    if value != "missing":
        entry[field] = value
    universe = build_universe({"XXBTZUSD": entry})
    assert universe.pairs == ()
    assert field in universe.excluded["XBTUSD"]


def test_an_entry_that_is_no_object_keeps_its_reason() -> None:
    universe = build_universe({"XXBTZUSD": ENTRY, "ETHUSD": None})
    assert universe.pairs == ("XBTUSD",)
    assert "ETHUSD" in universe.excluded


async def test_rest_and_stream_ask_the_proxy_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []

    async def refuse(stream: trio.SocketStream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = await stream.receive_some(1)
            if not more:
                return
            head += more
        asked.append(head.split(b" ")[1])
        await stream.send_all(b"HTTP/1.1 403 No\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, refuse, listeners)
        proxy = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        monkeypatch.setenv("ALL_PROXY", f"http://user:hush@{proxy}")
        told: list[str] = []
        with pytest.raises(KrakkedError) as caught:
            await SystemNetwork().open_stream("localhost", 1, tls=False)
        told.append(str(caught.value))
        settings = krakked.RestSettings(base_url="http://localhost:1")
        async with RestClient(settings, network=SystemNetwork(), clock=SystemClock()) as rest:
            with pytest.raises(KrakkedError) as caught:
                await rest.public("Time")
        told.append(str(caught.value))
        nursery.cancel_scope.cancel()
    assert asked == [b"localhost:1"] * 2
    for text in told:
        assert proxy in text
        assert "hush" not in text
        assert "user:" not in text


def test_a_variable_for_certificates_that_names_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE names .*gone"):
        SystemNetwork().http_transport()


def test_a_rate_of_next_to_nothing_is_refused() -> None:
    """A call in three hours is a wait that looks like a hang."""
    for rate in (0.0001, 1e-300):
        with pytest.raises(krakked.ConfigError, match=r"from 0\.01 and at most 1000"):
            krakked.RestSettings(public_calls_per_second=rate)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_in_place_of_a_file_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRAKKED_CONFIG_DIR", str(tmp_path))
    os.mkfifo(tmp_path / "config.yaml", 0o600)
    with pytest.raises(krakked.ConfigError, match="not a regular file"):
        krakked.load_config()
    os.mkfifo(tmp_path / "password", 0o600)
    monkeypatch.setattr("krakked._credentials.secret_lines.PIPE_WAIT_S", 0.05)
    with pytest.raises(krakked.NoPasswordError, match="nobody has written into it"):
        password_from_file(tmp_path / "password")


def test_a_store_in_a_folder_whose_name_is_no_text_works(tmp_path: Path) -> None:
    """A home whose name holds a byte that no encoding of ours knows."""
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xffd"))
    try:
        root.mkdir()
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    bar = krakked.OHLCBar(
        time=1_790_000_040, open=1, high=2, low=1, close=2, vwap=1.5, volume=1, count=1
    )
    store = krakked.OHLCStore(root)
    store.append_bars("XBTUSD", "1m", [bar])
    store.append_bars("XBTUSD", "1m", [msgspec.structs.replace(bar, time=bar.time + 60)])
    assert [each.time for each in store.get_bars("XBTUSD", "1m")] == [bar.time, bar.time + 60]
    assert store.verify() == []
