"""Settings given in code pass the same rules as those of config.yaml."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from krakked._config import rules
from krakked._config.loader import explain_config, load_config
from krakked._config.settings import (
    KrakkedConfig,
    MarginEligible,
    MarketDataSettings,
    NetworkSettings,
    OHLCStoreSettings,
    RegionProfile,
    RestSettings,
    Settings,
    StoreBackend,
    UniverseSettings,
    WebSocketSettings,
    fields_of,
)
from krakked._errors import ConfigError
from krakked._timeframes import MINUTES

NAN, INF = math.nan, math.inf
BLOCKS: list[type[Settings]] = [
    RegionProfile,
    UniverseSettings,
    RestSettings,
    WebSocketSettings,
    OHLCStoreSettings,
    NetworkSettings,
    MarketDataSettings,
    KrakkedConfig,
]

WRONG: list[tuple[type[Settings], str, list[Any], str]] = [
    (RegionProfile, "code", ["", "A B", "x" * 41, 5, None], "region.code"),
    (RegionProfile, "default_quote", ["", "US D", b"USD"], "region.default_quote"),
    (RegionProfile, "supports_margin", ["yes", 1, None], "region.supports_margin"),
    (UniverseSettings, "include_pairs", ["XBTUSD", ["A B"], [7], None], "universe.include_pairs"),
    (UniverseSettings, "exclude_pairs", ["XBTUSD", {"a": 1}], "universe.exclude_pairs"),
    (UniverseSettings, "exclude_bases", ["USDT", [""]], "universe.exclude_bases"),
    (UniverseSettings, "min_24h_volume_usd", [-1, NAN, INF, "5", True, 1.1e15],
     "universe.min_24h_volume_usd"),
    (UniverseSettings, "country_code", ["", "us", "USA", "US:", "US:CALI", "US-CA", " US", 1],
     "universe.country_code"),
    (UniverseSettings, "margin_eligible", ["includ", True, None], "universe.margin_eligible"),
    (RestSettings, "base_url", ["http://example.com", "ws://localhost", "https://h/0", 1],
     "rest.base_url"),
    (RestSettings, "public_calls_per_second", [0, -1, NAN, INF, "1", 1001, 10**400],
     "rest.public_calls_per_second"),
    (RestSettings, "public_pair_calls_per_second", [0, -0.1, NAN, INF, 1001],
     "rest.public_pair_calls_per_second"),
    (RestSettings, "private_counter_max", [0, 0.99, NAN, INF, 1001], "rest.private_counter_max"),
    (RestSettings, "private_counter_decay_per_s", [0, NAN, INF, 101],
     "rest.private_counter_decay_per_s"),
    (RestSettings, "timeout_s", [0, -5, NAN, INF, 3601, None], "rest.timeout_s"),
    (WebSocketSettings, "url", ["ws://example.com", "https://h", ""], "market_data.ws.url"),
    (WebSocketSettings, "stale_tolerance_seconds", [0, -1, NAN, INF, 86401],
     "market_data.ws.stale_tolerance_seconds"),
    (WebSocketSettings, "conflate_ms", [-1, NAN, INF, 1001], "market_data.ws.conflate_ms"),
    (WebSocketSettings, "reader", ["rust", 1, None], "market_data.ws.reader"),
    (WebSocketSettings, "timeframes", [["7m"], "1m", ["1m", "1m"], [1]],
     "market_data.ws.timeframes"),
    (OHLCStoreSettings, "backend", ["xlsx", 1, None, ["csv"]], "market_data.ohlc_store.backend"),
    (OHLCStoreSettings, "root_dir", ["", " ", "a\n", "s3://bucket/x", "file:///x", 3],
     "market_data.ohlc_store.root_dir"),
    (NetworkSettings, "proxy", ["ftp://h", "", 8080], "network.proxy"),
    (MarketDataSettings, "ws", [{"url": "wss://h"}, None], "market_data.ws"),
    (KrakkedConfig, "rest", [{}, None, UniverseSettings()], "rest"),
    (KrakkedConfig, "state_dir", [" ", "s3://b", None], "state_dir"),
    (KrakkedConfig, "config_dir", [None], "config_dir"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("struct", "field", "value", "key"),
    [
        pytest.param(s, f, value, k, id=f"{k}-{number}")
        for s, f, values, k in WRONG
        for number, value in enumerate(values)
    ],
)
def test_a_wrong_value_in_code_is_a_config_error_that_names_its_key(
    struct: type[Settings], field: str, value: Any, key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        struct(**{field: value})
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}: expected ")
    with pytest.raises(ConfigError):
        msgspec.structs.replace(struct(), **{field: value})


def test_the_edges_of_every_bound_are_fine() -> None:
    UniverseSettings(min_24h_volume_usd=0)
    UniverseSettings(min_24h_volume_usd=1e15)
    tiny = 5e-324
    RestSettings(
        public_calls_per_second=0.01,
        public_pair_calls_per_second=1000,
        private_counter_max=1,
        private_counter_decay_per_s=100,
        timeout_s=3600,
    )
    RestSettings(
        public_calls_per_second=1000,
        public_pair_calls_per_second=0.01,
        private_counter_max=1000,
        private_counter_decay_per_s=tiny,
        timeout_s=tiny,
    )
    for seconds in (tiny, 86_400):
        WebSocketSettings(stale_tolerance_seconds=seconds)
    for name in ("X", "x" * 40):
        assert RegionProfile(code=name).code == name
    assert WebSocketSettings(timeframes=tuple(MINUTES)).timeframes == tuple(MINUTES)
    assert WebSocketSettings(timeframes=()).timeframes == ()


def test_values_that_lose_nothing_are_brought_into_their_type() -> None:
    universe = UniverseSettings(
        include_pairs=["XBTUSD", "ETHUSD"],  # type: ignore[arg-type]
        exclude_bases={"USDT"},  # type: ignore[arg-type]
        min_24h_volume_usd=5,
        margin_eligible="include",  # type: ignore[arg-type]
    )
    assert universe.include_pairs == ("XBTUSD", "ETHUSD")
    assert universe.exclude_bases == ("USDT",)
    assert isinstance(universe.min_24h_volume_usd, float)
    assert universe.margin_eligible is MarginEligible.INCLUDE
    store = OHLCStoreSettings(backend="csv")  # type: ignore[arg-type]
    assert store.backend is StoreBackend.CSV
    hash(universe)


def test_what_is_fine_stays_what_it_is() -> None:
    config = KrakkedConfig(
        region=RegionProfile(code="US_NY", supports_margin=True),
        network=NetworkSettings(proxy="socks5://u:p@h"),
        state_dir="/x",
    )
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config
    assert msgspec.structs.replace(config, config_dir="/y").region == config.region


def test_no_message_shows_a_value_that_may_be_a_secret() -> None:
    canary = "Zx9" * 20
    for struct, field, value in (
        (RestSettings, "base_url", f"https://u:{canary}@h"),
        (NetworkSettings, "proxy", f"ftp://u:{canary}@h"),
        (NetworkSettings, "proxy", "ftp://u:pw@h"),
        (OHLCStoreSettings, "backend", canary),
        (RestSettings, "timeout_s", canary),
    ):
        with pytest.raises(ConfigError) as caught:
            struct(**{field: value})  # type: ignore[arg-type]
        assert canary[:8] not in str(caught.value)
        assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("short", "the text 'short'"),
        ("x" * 16, f"the text '{'x' * 16}'"),
        ("x" * 17, "text of 17 characters"),
        ("a@b", "text of 3 characters"),
        ("a\n", "text of 2 characters"),
        (True, "true"),
        (None, "none"),
        (7, "the number 7"),
        (2.5, "the number 2.5"),
        (-1e15 + 1, f"the number {-1e15 + 1}"),
        (1e15, "no number of use here"),
        (-1e15, "no number of use here"),
        (10**400, "no number of use here"),
        (math.nan, "no number of use here"),
        ([1, 2], "a list of 2"),
        (b"abc", "a bytes"),
    ],
)
def test_what_was_found_is_described(value: object, words: str) -> None:
    assert rules.describe(value) == words


def test_every_number_address_and_name_has_a_rule() -> None:
    without = [
        f"{struct.BLOCK}.{name}".lstrip(".")
        for struct in BLOCKS
        for name, field in fields_of(struct).items()
        if field.kind in {float, str, str | None, tuple[str, ...]} and field.rule is None
    ]
    assert without == ["config_dir", "exchange"]  # set by the loader and the sandbox


def test_every_block_names_its_place_in_the_file(tmp_path: Path) -> None:
    keys = {row.key for row in explain_config(tmp_path)}
    for struct in BLOCKS:
        for name, field in fields_of(struct).items():
            if isinstance(field.kind, type) and issubclass(field.kind, Settings):
                continue
            key = f"{struct.BLOCK}.{name}".lstrip(".")
            if key != "exchange":  # set by a sandbox only
                assert key.replace("region.supports", "region.capabilities.supports") in keys


# --- the way to the exchange, and where state lives ----------------------------------------------


def test_a_proxy_is_read_from_the_file_and_shown_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("network:\n  proxy: http://me:hush@proxy:3128\n")
    config = load_config(tmp_path)
    assert config.network.proxy == "http://me:hush@proxy:3128"
    rows = {row.key: (row.value, row.origin) for row in explain_config(tmp_path)}
    assert rows["network.proxy"] == ("http://proxy:3128", "config.yaml:2")
    assert "hush" not in repr(config)
    assert "http://proxy:3128" in repr(config)
    (tmp_path / "config.yaml").write_text("network: {proxy: direct}\n")
    rows = {row.key: (row.value, row.origin) for row in explain_config(tmp_path)}
    assert rows["network.proxy"] == ("direct", "config.yaml:1")


def test_the_state_directory_comes_from_the_variable_then_the_file_then_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_config(tmp_path).state_dir == ""
    file = tmp_path / "config.yaml"
    for written, meant in (
        (str(tmp_path / "s"), tmp_path / "s"),
        ("below/here", tmp_path / "below" / "here"),
        ("~/s", Path.home() / "s"),
    ):
        file.write_text(f"state_dir: {written!r}\n")
        assert load_config(tmp_path).state_dir == str(meant)
    rows = {row.key: (row.value, row.origin) for row in explain_config(tmp_path)}
    assert rows["state_dir"] == (str(Path.home() / "s"), "config.yaml:1")
    monkeypatch.setenv("KRAKKED_STATE_DIR", str(tmp_path / "v"))
    assert load_config(tmp_path).state_dir == str(tmp_path / "v")
    rows = {row.key: (row.value, row.origin) for row in explain_config(tmp_path)}
    assert rows["state_dir"] == (str(tmp_path / "v"), "KRAKKED_STATE_DIR")
    monkeypatch.setenv("KRAKKED_STATE_DIR", "~nobody-of-this-name/s")
    with pytest.raises(ConfigError, match="no such home") as caught:
        load_config(tmp_path)
    assert caught.value.key == "KRAKKED_STATE_DIR"
    monkeypatch.setenv("KRAKKED_STATE_DIR", "s3://bucket/s")
    with pytest.raises(ConfigError, match="KRAKKED_STATE_DIR: expected a directory path on this"):
        load_config(tmp_path)


@pytest.mark.parametrize("code", ["GB", "US:CA", "US:TX", "DE:1", None])
def test_countries_and_regions(code) -> None:
    assert UniverseSettings(country_code=code).country_code == code
    assert UniverseSettings().country_code is None, "off by default: unverified"


def test_every_default() -> None:
    """As README and the contract give them; a changed one changes what every user gets."""
    assert msgspec.to_builtins(KrakkedConfig()) == {
        "region": {
            "code": "US_CA",
            "supports_margin": False,
            "supports_futures": False,
            "supports_staking": False,
            "default_quote": "USD",
        },
        "universe": {
            "include_pairs": (),
            "exclude_pairs": (),
            "exclude_bases": (),
            "min_24h_volume_usd": 0.0,
            "margin_eligible": "exclude",
            "country_code": None,
        },
        "rest": {
            "base_url": "https://api.kraken.com",
            "public_calls_per_second": 1.0,
            "public_pair_calls_per_second": 1.0,
            "private_counter_max": 15.0,
            "private_counter_decay_per_s": 0.33,
            "timeout_s": 30.0,
        },
        "market_data": {
            "ws": {
                "url": "wss://ws.kraken.com/v2",
                "stale_tolerance_seconds": 60.0,
                "timeframes": ("1m", "5m", "1h"),
                "conflate_ms": 2.0,
                "reader": "auto",
            },
            "ohlc_store": {"backend": "parquet", "root_dir": "~/.local/share/kraken_bot/ohlc"},
        },
        "network": {"proxy": None},
        "state_dir": "",
        "config_dir": "",
        "exchange": "",
    }


@pytest.mark.parametrize(
    ("kind", "value", "kept", "expected"),
    [
        (float, "5", "5", "expected a number"),
        (float, True, True, "expected a number"),
        (float, None, None, "expected a number"),
        (float, 5, 5.0, None),
        (float, 10**400, INF, None),
        (tuple[str, ...], "A", "A", "expected a list such as [A, B]"),
        (tuple[str, ...], [1], [1], "expected text in the list"),
        (tuple[str, ...], ["A"], ("A",), None),
        (tuple[str, ...], frozenset({"A"}), ("A",), None),
        (bool, 1, 1, "expected true or false"),
        (bool, False, False, None),
        (str, 1, 1, "expected text"),
        (str | None, None, None, None),
        (str | None, 1, 1, "expected text"),
        (MarginEligible, "include", MarginEligible.INCLUDE, None),
        (MarginEligible, "x", "x", "expected exclude or include"),
        (RestSettings, 5, 5, "expected a RestSettings"),
    ],
)
def test_a_value_is_brought_into_its_type_or_told_what_it_should_be(
    kind: object, value: object, kept: object, expected: str | None
) -> None:
    found = rules.fit(kind, value)
    assert found == (kept, expected)
    assert type(found[0]) is type(kept)


def test_every_label_of_a_timeframe_may_be_asked_for() -> None:
    labels = ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w")
    assert labels == tuple(MINUTES)
    assert WebSocketSettings(timeframes=labels).timeframes == labels
