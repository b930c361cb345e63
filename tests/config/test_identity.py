"""Which exchange addresses lead to, and whose files lie where."""

from __future__ import annotations

from pathlib import Path

import pytest

from krakked._config.directories import exchange_of, files_of, state_of, store_root
from krakked._config.identity import exchange_identity
from krakked._config.settings import (
    KrakkedConfig,
    MarketDataSettings,
    OHLCStoreSettings,
    RestSettings,
    WebSocketSettings,
)


@pytest.mark.parametrize(
    ("rest", "stream", "name"),
    [
        ("https://api.kraken.com", "wss://ws.kraken.com/v2", "kraken"),
        ("https://API.Kraken.com.", "wss://beta-ws.kraken.com:443/v2", "kraken"),
        ("https://kraken.com", "wss://ws-auth.kraken.com/v2", "kraken"),
        ("http://127.0.0.1:8001", "ws://127.0.0.1:8002/v2", "127.0.0.1_8001"),
        ("http://localhost", "ws://localhost:1/v2", "localhost"),
        ("http://[::1]:80", "ws://[::1]:81/v2", "__1_80"),
        ("https://relay.example", "wss://relay.example", "relay.example"),
        # not Kraken's, however much they look like it
        ("https://api.kraken.com.example", "wss://api.kraken.com.example", None),
        ("https://notkraken.com", "wss://notkraken.com", "notkraken.com"),
        ("https://kraken.com@evil.example", "wss://evil.example", "evil.example"),
        # two exchanges at once are a third one, never Kraken
        ("https://api.kraken.com", "ws://127.0.0.1:2/v2", "kraken+127.0.0.1_2"),
        ("http://127.0.0.1:1", "wss://ws.kraken.com/v2", "127.0.0.1_1+kraken"),
        ("no address", "http://[::1", "unknown"),
    ],
)
def test_the_name_of_the_exchange_behind_addresses(rest: str, stream: str, name: str) -> None:
    assert exchange_identity(rest, stream) == (name or "api.kraken.com.example")


@pytest.mark.parametrize("told", ["Sandbox-7", "../../etc", "a/b", "..", "C:\\x"])
def test_what_an_exchange_is_told_to_be_wins_and_is_one_file_name(told: str) -> None:
    name = exchange_identity("https://api.kraken.com", "wss://ws.kraken.com/v2", told=told)
    assert name != "kraken"
    assert not {"/", "\\", ":"} & set(name)
    assert not name.startswith(".")


def config(root: str = "", rest: str = "", exchange: str = "") -> KrakkedConfig:
    return KrakkedConfig(
        rest=RestSettings(base_url=rest) if rest else RestSettings(),
        market_data=MarketDataSettings(
            ws=WebSocketSettings(url="ws://127.0.0.1:2/v2") if rest else WebSocketSettings(),
            ohlc_store=OHLCStoreSettings(root_dir=root) if root else OHLCStoreSettings(),
        ),
        config_dir="/c",
        exchange=exchange,
    )


def test_the_default_directories_are_krakens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    default = tmp_path / ".local/share/kraken_bot/ohlc"
    assert store_root(config()) == default
    assert state_of(config()) == Path("/c/state")
    assert store_root(config(rest="http://127.0.0.1:1")) == default.with_name("ohlc-127.0.0.1_1")
    assert state_of(config(rest="http://127.0.0.1:1")) == Path("/c/state/127.0.0.1_1")
    assert store_root(config(root="/r", rest="http://127.0.0.1:1")) == Path("/r")
    assert state_of(KrakkedConfig()) is None


def test_settings_for_another_exchange_lead_into_no_directory_of_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KRAKKED_CONFIG_DIR", "/c")
    for settings in (KrakkedConfig(), config(), config(rest="http://127.0.0.1:1")):
        files = files_of(settings, "sandbox-7")
        assert (files.exchange, files.state_dir, files.store_root) == ("sandbox-7", None, None)
    # directories that were named are used, under the name of the exchange that is reached
    monkeypatch.setenv("KRAKKED_CONFIG_DIR", "/elsewhere")
    files = files_of(config(root="/r"), "sandbox-7")
    assert files.store_root == Path("/r")
    assert files.state_dir == Path("/c/state/sandbox-7")


def test_settings_that_fit_the_network_are_followed() -> None:
    settings = config(root="/r", exchange="sandbox-7")
    assert exchange_of(settings) == "sandbox-7"
    for reached in ("", "sandbox-7"):
        files = files_of(settings, reached)
        assert files.exchange == "sandbox-7"
        assert files.state_dir == Path("/c/state/sandbox-7")
        assert files.store_root == Path("/r")
