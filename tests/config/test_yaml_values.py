"""What single values of config.yaml mean, to the last character; nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from krakked._config.loader import MAX_FILE_BYTES, load_config
from krakked._config.settings import KrakkedConfig
from krakked._config.yaml_tree import MAX_DEPTH, Items, Scalar, Table, parse_yaml, shown_key
from krakked._errors import ConfigError


def load(directory: Path, text: str) -> KrakkedConfig:
    (directory / "config.yaml").write_text(text, encoding="utf-8")
    return load_config(directory)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5.0),
        ("+5", 5.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("1.25", 1.25),
        ("1_000", 1000.0),
        ("1e3", 1000.0),
        ("1E+3", 1000.0),
        ("25e-1", 2.5),
        ("0", 0.0),
    ],
)
def test_what_is_a_number(tmp_path: Path, text: str, value: float) -> None:
    found = load(tmp_path, f"universe: {{min_24h_volume_usd: {text}}}\n")
    assert found.universe.min_24h_volume_usd == value


@pytest.mark.parametrize(
    "text", ["'5'", "five", "0x5", "1e", "e3", ".", "1.2.3", "nan", ".inf", "5 5"]
)
def test_what_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="expected a number"):
        load(tmp_path, f"universe: {{min_24h_volume_usd: {text}}}\n")


def test_what_is_true_and_false_and_nothing_else(tmp_path: Path) -> None:
    for text, value in (("true", True), ("True", True), ("TRUE", True), ("false", False),
                        ("False", False), ("FALSE", False)):  # fmt: skip
        config = load(tmp_path, f"capabilities: {{supports_margin: {text}}}\n")
        assert config.region.supports_margin is value
    for text in ("yes", "on", "'true'", "1", "tRUE"):
        with pytest.raises(ConfigError, match="expected true or false"):
            load(tmp_path, f"capabilities: {{supports_margin: {text}}}\n")


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_what_counts_as_not_given(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, f"region: {{code: {text}}}\n").region.code == "US_CA"


@pytest.mark.parametrize("text", ["'null'", "nULL", "none"])
def test_what_is_a_name_all_the_same(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, f"region: {{code: {text}}}\n").region.code == text.strip("'")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ("true", "expected text, found true; put it in quotes"),
        ("5", "expected text, found the number 5; put it in quotes"),
        ("{a: b}", "expected text, found a block of keys"),
        ("[a, b]", "expected text, found a list of 2"),
    ],
)
def test_what_was_found_is_said(tmp_path: Path, found: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"rest: {{base_url: {found}}}\n")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ("'true'", "the text 'true'"),
        ("'5'", "the text '5'"),
        ("x" * 16, f"the text '{'x' * 16}'"),
        ("x" * 17, "text of 17 characters"),
        ("a@b", "text of 3 characters"),
        ('"a\\tb"', "text of 3 characters"),
    ],
)
def test_short_texts_are_shown_and_no_others(tmp_path: Path, found: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"rest: {{timeout_s: {found}}}\n")
    assert f"expected a number, found {words}." in str(caught.value)


def test_a_key_is_shown_up_to_forty_characters() -> None:
    assert shown_key("k" * 40) == "k" * 40
    assert shown_key("k" * 41) == "<a key of 41 characters>"
    assert shown_key("a\tb") == "<a key of 3 characters>"


def test_a_file_may_have_exactly_the_largest_size(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"#" * MAX_FILE_BYTES)
    assert load_config(tmp_path).region.code == "US_CA"


def test_a_tree_keeps_the_line_and_the_quotes_of_everything() -> None:
    tree = parse_yaml("a: x\nb:\n  - 'y'\n  - z\n", path="p")
    assert [(e.name, e.line) for e in tree.entries] == [("a", 1), ("b", 2)]
    first, second = (entry.value for entry in tree.entries)
    assert first == Scalar(text="x", quoted=False, line=1)
    assert isinstance(second, Items)
    assert second.items == (
        Scalar(text="y", quoted=True, line=3),
        Scalar(text="z", quoted=False, line=4),
    )
    assert parse_yaml("", path="p") == parse_yaml("~\n", path="p") == Table(entries=(), line=1)


def test_nesting_is_read_to_its_bound_and_no_further() -> None:
    def nested(depth: int) -> str:
        return "{a: " * depth + "1" + "}" * depth

    assert parse_yaml(nested(MAX_DEPTH), path="p").entries
    with pytest.raises(ConfigError, match="nested too deeply") as caught:
        parse_yaml(nested(MAX_DEPTH + 1), path="p")
    assert caught.value.key == ".".join("a" * (MAX_DEPTH + 1))
    assert MAX_DEPTH == 12
    for depth, key in ((100, True), (101, False)):  # too deep for names as well
        with pytest.raises(ConfigError, match="nested too deeply") as caught:
            parse_yaml("\n" + nested(depth), path="p")
        assert (caught.value.key is not None) is key
        assert caught.value.line == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: b: c\n", "1: not readable as YAML: a second ':' on the line; put the value in quotes "
         "or mend the indentation."),
        ("\ta: 1\n", "1: not readable as YAML: a tab where spaces are needed."),
        ("a: 'b\n", "2: not readable as YAML: a quote is not closed."),
        ("a: 1\n---\nb: 2\n", "2: not readable as YAML: more than one document ('---') in the "
         "file."),
        ("a: *b\n", "1: not readable as YAML: aliases ('*name') are not used here."),
        ("a: 'x' y\n", "1: not readable as YAML: the indentation does not fit, or a ':' is "
         "missing."),
        ("a: 1\nb\nc: 2\n", "3: not readable as YAML: the indentation does not fit, or a ':' is "
         "missing."),
        ("a: [1\n", "2: not readable as YAML: check quotes, brackets and indentation around this "
         "line."),
        ("words\n", "1: not readable as YAML: expected `key: value` lines at the top."),
        ("\n- a\n", "2: not readable as YAML: expected `key: value` lines at the top."),
        ("{[a]: 1}\n", "1: a key must be a plain name."),
        ("b: {[a]: 1}\n", "1: b: a key must be a plain name."),
        ("a: [1, !x 2]\n", "1: a.1: tags ('!name') are not used here."),
    ],
)  # fmt: skip
def test_what_is_not_readable_is_told_in_full(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, path="p")
    assert str(caught.value) == f"p:{told}"


def test_lists_nest_as_deep_as_blocks() -> None:
    assert parse_yaml("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH, path="p").entries
    with pytest.raises(ConfigError, match="nested too deeply") as caught:
        parse_yaml("a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), path="p")
    assert caught.value.key == "a" + ".0" * MAX_DEPTH
