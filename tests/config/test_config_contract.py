"""Contract, Phase 1: section 7 "Config reading" and section 5, both shapes, and provenance."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from krakked._config.directories import config_dir
from krakked._config.loader import explain_config, load_config
from krakked._config.settings import KrakkedConfig, MarginEligible, RegionProfile, StoreBackend
from krakked._errors import ConfigError

PHASE_1 = """
region: "US_CA"
capabilities:
  supports_margin: true
  supports_futures: false
  supports_staking: true
"""

PHASE_2 = """
region:
  code: "US_NY"
  capabilities:
    supports_margin: false
    supports_futures: true
    supports_staking: false
  default_quote: "EUR"

universe:
  include_pairs: []              # optional: e.g. ["XBTUSD", "ETHUSD"]
  exclude_pairs: ["DOGEUSD"]
  min_24h_volume_usd: 100000.0

market_data:
  ws:
    stale_tolerance_seconds: 60

  ohlc_store:
    backend: "csv"
    root_dir: "~/.local/share/kraken_bot/ohlc"
"""


def write(directory: Path, text: str) -> Path:
    (directory / "config.yaml").write_text(text, encoding="utf-8")
    return directory


def test_config_file_missing_gives_well_defined_defaults(tmp_path: Path) -> None:
    config = load_config(tmp_path)
    assert config == KrakkedConfig(config_dir=str(tmp_path))
    assert config.region == RegionProfile(
        code="US_CA",
        supports_margin=False,
        supports_futures=False,
        supports_staking=False,
        default_quote="USD",
    )
    assert config.market_data.ws.stale_tolerance_seconds == 60
    assert config.universe.margin_eligible is MarginEligible.EXCLUDE


def test_directory_missing_gives_defaults_and_is_not_created(tmp_path: Path) -> None:
    assert load_config(tmp_path / "nowhere").region.code == "US_CA"
    assert not (tmp_path / "nowhere").exists()


def test_config_file_present_region_and_capabilities_are_read_phase_1_shape(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, PHASE_1)).region == RegionProfile(
        code="US_CA", supports_margin=True, supports_futures=False, supports_staking=True
    )


def test_config_file_present_region_and_capabilities_are_read_phase_2_shape(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, PHASE_2))
    assert config.region == RegionProfile(code="US_NY", supports_futures=True, default_quote="EUR")
    assert config.universe.exclude_pairs == ("DOGEUSD",)
    assert config.universe.min_24h_volume_usd == 100_000.0
    assert config.market_data.ohlc_store.backend is StoreBackend.CSV


def test_the_shapes_may_be_mixed_as_long_as_nothing_is_said_twice(tmp_path: Path) -> None:
    mixed = "region:\n  code: X\ncapabilities: {supports_margin: true}\n"
    assert load_config(write(tmp_path, mixed)).region == RegionProfile(
        code="X", supports_margin=True
    )
    only_capabilities = "capabilities: {supports_staking: true}\n"
    assert load_config(write(tmp_path, only_capabilities)).region.supports_staking
    twice = "region:\n  capabilities: {}\ncapabilities: {}\n"
    with pytest.raises(ConfigError, match=r"config\.yaml:3: capabilities: given twice"):
        load_config(write(tmp_path, twice))


def test_missing_keys_and_empty_values_give_defaults(tmp_path: Path) -> None:
    text = "region:\nuniverse:\n  include_pairs:\n  exclude_pairs: ~\nrest: null\n"
    assert load_config(write(tmp_path, text)) == KrakkedConfig(config_dir=str(tmp_path))
    for empty in ("", "\n", "# nothing\n", "---\n", "\ufeff# with a byte order mark\n"):
        assert load_config(write(tmp_path, empty)) == KrakkedConfig(config_dir=str(tmp_path))


def test_the_profile_is_read_only(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        load_config(tmp_path).region.code = "DE"  # type: ignore[misc]


def test_words_that_yaml_would_turn_into_something_else_stay_names(tmp_path: Path) -> None:
    text = (
        "universe:\n  exclude_bases: [NO, ON, 1INCH, 0x, 12:30, '5']\n  min_24h_volume_usd: 1e5\n"
    )
    universe = load_config(write(tmp_path, text.replace("12:30, ", ""))).universe
    assert universe.exclude_bases == ("NO", "ON", "1INCH", "0x", "5")
    assert universe.min_24h_volume_usd == 100_000


def test_the_directory_follows_the_platform_and_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert config_dir({"KRAKKED_CONFIG_DIR": str(tmp_path)}) == tmp_path
    assert config_dir({"KRAKKED_CONFIG_DIR": "~/k"}) == Path.home() / "k"
    assert config_dir({"KRAKKED_CONFIG_DIR": "relative"}).is_absolute()
    assert config_dir({"KRAKKED_CONFIG_DIR": ""}).name == "kraken_bot"
    with pytest.raises(ConfigError, match="no such home"):
        config_dir({"KRAKKED_CONFIG_DIR": "~nobody-of-this-name/k"})
    monkeypatch.setenv("KRAKKED_CONFIG_DIR", str(write(tmp_path, PHASE_1)))
    assert load_config().region.supports_margin


def test_explain_says_where_each_value_comes_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = {row.key: (row.value, row.origin) for row in explain_config(write(tmp_path, PHASE_1))}
    assert rows["config_dir"] == (str(tmp_path), "argument")
    assert rows["region.code"] == ("US_CA", "config.yaml:2")
    assert rows["region.capabilities.supports_margin"] == ("true", "config.yaml:4")
    assert rows["region.default_quote"] == ("USD", "default")
    assert rows["market_data.ws.timeframes"] == ("[1m, 5m, 1h]", "default")
    assert "universe.margin_eligible" in rows
    monkeypatch.setenv("KRAKKED_CONFIG_DIR", str(write(tmp_path, PHASE_2)))
    rows = {row.key: (row.value, row.origin) for row in explain_config()}
    assert rows["config_dir"][1] == "KRAKKED_CONFIG_DIR"
    assert rows["universe.min_24h_volume_usd"] == ("100000", "config.yaml:13")
    assert rows["region.default_quote"] == ("EUR", "config.yaml:8")


def test_without_any_home_the_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container with a user id that the system does not know, and no HOME."""

    def unknown(_uid: int) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_CONFIG_HOME", "USERPROFILE", "KRAKKED_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    for call in (config_dir, load_config, explain_config):
        with pytest.raises(ConfigError, match="no home directory") as caught:
            call()
        assert caught.value.key == "KRAKKED_CONFIG_DIR"
    monkeypatch.setenv("KRAKKED_CONFIG_DIR", "~/k")
    with pytest.raises(ConfigError, match="no such home directory"):
        load_config()
    monkeypatch.setenv("KRAKKED_CONFIG_DIR", str(tmp_path))
    assert load_config() == KrakkedConfig(config_dir=str(tmp_path))


def test_a_directory_that_is_a_file_is_a_config_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match="cannot be read: Not a directory") as caught:
        load_config(file)
    assert caught.value.path == str(file / "config.yaml")


@pytest.mark.skipif(os.name == "nt", reason="access lists instead of modes")
def test_a_file_that_every_user_can_write_is_refused_with_the_remedy(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    file = write(directory, PHASE_1) / "config.yaml"
    for mode, where in ((0o646, file), (0o602, file)):
        file.chmod(mode)
        with pytest.raises(ConfigError, match=f"Run: chmod o-w {where}$") as caught:
            load_config(directory)
        assert caught.value.path == str(where)
    for mode in (0o600, 0o644, 0o664):
        file.chmod(mode)
        assert load_config(directory).region.supports_margin
    directory.chmod(0o707)
    with pytest.raises(ConfigError, match=f"Run: chmod o-w {directory}$"):
        load_config(directory)
    for mode in (0o1777, 0o775, 0o700):  # sticky: nobody else can swap the file
        directory.chmod(mode)
        assert load_config(directory).region.supports_margin
