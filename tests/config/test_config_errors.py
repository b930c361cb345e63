"""One error that names file, line, key path, what was expected and the nearest valid name."""

from __future__ import annotations

import secrets
import traceback
from pathlib import Path

import pytest

from krakked._config.loader import MAX_FILE_BYTES, load_config
from krakked._errors import ConfigError

CASES = [
    ("rest:\n  base_ulr: x\n", 2, "rest.base_ulr", "did you mean rest.base_url?"),
    ("regoin: US\n", 1, "regoin", "did you mean region?"),
    ("ws:\n  url: x\n", 1, "ws", "did you mean market_data.ws?"),
    ("rest:\n  url: x\n", 2, "rest.url", "did you mean market_data.ws.url?"),
    ("stale_tolerance_second: 3\n", 1, "stale_tolerance_second",
     "did you mean market_data.ws.stale_tolerance_seconds?"),
    ("region: {supports_margin: true}\n", 1, "region.supports_margin",
     "did you mean region.capabilities.supports_margin?"),
    ("zzz: 1\n", 1, "zzz", "known here: region, universe, rest, market_data, network, state_dir"),
    ("config_dir: /x\n", 1, "config_dir", "unknown key"),
    ("api_secret: x\n", 1, "api_secret", "`krakked setup` seals them"),
    ("capabilities:\n  supports_margin: yes\n", 2, "region.capabilities.supports_margin",
     "expected true or false, found the text 'yes'"),
    ("capabilities: {supports_margin: 1}\n", 1, "region.capabilities.supports_margin",
     "expected true or false, found the number 1"),
    ("capabilities: true\n", 1, "region.capabilities", "expected a block of `key: value` lines"),
    ("region: 5\n", 1, "region.code", "expected text, found the number 5; put it in quotes"),
    ("region: [US]\n", 1, "region", "found a list of 1"),
    ("region: ''\n", 1, "region.code", "expected a short name"),
    ("universe:\n  include_pairs: XBTUSD\n", 2, "universe.include_pairs",
     "expected a list such as [A, B], found the text 'XBTUSD'"),
    ("universe: {include_pairs: [A, {b: c}]}\n", 1, "universe.include_pairs", "a block of keys"),
    ("universe: {include_pairs: [12]}\n", 1, "universe.include_pairs", "put it in quotes"),
    ("universe: {include_pairs: ['A B']}\n", 1, "universe.include_pairs", "names such as XBTUSD"),
    ("universe: {min_24h_volume_usd: many}\n", 1, "universe.min_24h_volume_usd",
     "expected a number, found the text 'many'"),
    ("universe: {min_24h_volume_usd: -1}\n", 1, "universe.min_24h_volume_usd", "from 0"),
    ("universe: {margin_eligible: includ}\n", 1, "universe.margin_eligible",
     "expected exclude or include, found the text 'includ'; did you mean include?"),
    ("rest: {timeout_s: 0}\n", 1, "rest.timeout_s", "expected seconds above 0"),
    ("rest: {timeout_s: .inf}\n", 1, "rest.timeout_s", "expected a number"),
    ("rest: {timeout_s: 1e999}\n", 1, "rest.timeout_s", "at most 3600"),
    ("rest: {timeout_s: '30'}\n", 1, "rest.timeout_s", "expected a number, found the text '30'"),
    ("rest: {base_url: 'http://example.com'}\n", 1, "rest.base_url", "expected https://"),
    ("market_data: {ws: {url: 'ws://example.com'}}\n", 1, "market_data.ws.url", "expected wss://"),
    ("market_data: {ws: {timeframes: [1m, 2m]}}\n", 1, "market_data.ws.timeframes", "out of 1m"),
    ("market_data: {ws: {timeframes: [1m, 1m]}}\n", 1, "market_data.ws.timeframes", "once"),
    ("market_data: {ohlc_store: {backend: sqlite}}\n", 1, "market_data.ohlc_store.backend",
     "expected parquet or csv"),
    ("market_data: {ohlc_store: {root_dir: ' '}}\n", 1, "market_data.ohlc_store.root_dir",
     "expected a directory path"),
    ("rest: {}\nregion: A\nrest: {}\n", 3, "rest", "stands twice (first on line 1)"),
    ("rest:\n  timeout_s: &t 3\nuniverse: *t\n", 3, "universe", "aliases"),
    ("rest: !!python/object:os.system {}\n", 1, "rest", "tags"),
    ("<<: {a: b}\n", 1, "<<", "unknown key"),
    ("network: {proxy: 'ftp://h'}\n", 1, "network.proxy", "expected a proxy such as"),
    ("network: {proxy: 'http://u:pw@'}\n", 1, "network.proxy", "found text of 12 characters"),
    ("network:\n  prox: x\n", 2, "network.prox", "did you mean network.proxy?"),
    ("proxy: x\n", 1, "proxy", "did you mean network.proxy?"),
    ("state_dir: 's3://bucket/x'\n", 1, "state_dir", "a directory path on this machine"),
    ("market_data:\n  ohlc_store: {root_dir: 's3://bucket/x'}\n", 2,
     "market_data.ohlc_store.root_dir", "a directory path on this machine"),
    ("a: b: c\n", 1, None, "a second ':'"),
    ("\ta: 1\n", 1, None, "a tab"),
    ("a: 'b\n", 2, None, "a quote is not closed"),
    ("a: 1\n---\nb: 2\n", 2, None, "more than one document"),
    ("just words\n", 1, None, "expected `key: value` lines"),
    ("- a\n", 1, None, "expected `key: value` lines"),
    ("a: 1\nb: \x01\n", 2, None, "a character that YAML does not allow"),
    ("{[a]: 1}\n", 1, None, "a key must be a plain name"),
    ("a: *b\n", 1, None, "aliases"),
    ("rest: " + "{a: " * 20 + "1" + "}" * 20 + "\n", 1, "rest" + ".a" * 12, "nested too deeply"),
    ("\n" + "[" * 20_000, 2, None, "nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "said"), CASES)
def test_one_error_names_file_line_key_expectation_and_nearest_name(
    tmp_path: Path, text: str, line: int | None, key: str | None, said: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    error = caught.value
    assert (error.path, error.key, error.line) == (str(path), key, line)
    assert said in str(error)
    assert str(error).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert "\n" not in str(error)


def test_unreadable_files_are_config_errors(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"region: A\nrest: \xff\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:2: not UTF-8"):
        load_config(tmp_path)
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load_config(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{}: x\n",
        "'{}': x\n",
        "rest: {}\n",
        "region: {}\n",
        "rest: {{base_url: 'https://u:{}@h'}}\n",
        "rest: {{timeout_s: {}}}\n",
        "universe: {{margin_eligible: '{}'}}\n",
        "universe: {{include_pairs: '{}'}}\n",
        "universe: {{include_pairs: ['{}']}}\n",
        "a: '{}\n",
        "{}\n",
        "a: b: {}\n",
        "a: 1\n? [{}]\n",
        "{}: \xff",
        "'{}\x01'",
        "!{} a: b",
        "a: *{}",
        "market_data: {{ws: {{timeframes: [{}]}}}}\n",
    ],
)
def test_a_secret_pasted_into_the_file_reaches_no_message(tmp_path: Path, text: str) -> None:
    canary = secrets.token_hex(44)  # as long as a real secret
    encoding = "latin-1" if "\xff" in text else "utf-8"
    (tmp_path / "config.yaml").write_text(text.format(canary), encoding=encoding)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    for start in range(len(canary) - 7):
        assert canary[start : start + 8] not in shown
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "name",
    ["api_key", "API_KEY", "api-key", "apiKey", "my_secret", "password", "private_key"],
)
def test_a_key_that_names_a_secret_is_sent_to_the_setup(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.yaml").write_text(f"{name}: x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{name}: unknown key; keys and secrets never stand in"):
        load_config(tmp_path)


def test_a_directory_that_is_no_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="config_dir is a int") as caught:
        load_config(5)  # type: ignore[arg-type]
    assert caught.value.key == "config_dir"
