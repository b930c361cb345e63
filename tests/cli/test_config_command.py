"""`krakked config`, and the settings that a sandbox writes for its clients."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import krakked
from krakked._cli.completion import SHELLS
from krakked._cli.config import defaults
from krakked._cli.doctor import Looked, Standing, examine
from krakked._cli.main import COMMANDS, main
from krakked._cli.sandbox import WRITTEN, write_config
from krakked._cli.watch import SPARKS, line_of, spark_line
from krakked.sandbox import open_sandbox


def test_init_writes_what_holds_anyway_and_touches_nothing_that_is_there(
    own_config_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_config_dir / "config.yaml"
    assert main(["config", "path"]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert main(["config", "init"]) == 0
    before = path.read_text("utf-8")
    assert krakked.load_config() == krakked.load_config(own_config_dir)
    assert main(["config", "init"]) == 5
    assert path.read_text("utf-8") == before
    assert "krakked config edit" in capsys.readouterr().err


def test_every_line_of_init_may_be_uncommented(own_config_dir: Path) -> None:
    path = own_config_dir / "config.yaml"
    assert main(["config", "init"]) == 0
    plain = krakked.load_config()
    text = path.read_text("utf-8")
    path.write_text(re.sub(r"^( *)# (\w+:)", r"\1\2", text, flags=re.MULTILINE), "utf-8")
    assert krakked.load_config() == plain
    given = set(re.findall(r"^ *(\w+):", path.read_text("utf-8"), re.MULTILINE))
    assert {setting.key.rsplit(".", 1)[-1] for setting in defaults()} - given == {"config_dir"}


def test_edit_checks_what_was_saved(
    own_config_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    assert main(["config", "edit"]) == 1
    assert "VISUAL" in capsys.readouterr().err
    editor = own_config_dir / "editor.sh"
    editor.write_text("#!/bin/sh\necho 'rest: {timeout_s: 5}' > \"$1\"\n", "utf-8")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    assert main(["config", "edit"]) == 0
    assert krakked.load_config().rest.timeout_s == 5
    editor.write_text("#!/bin/sh\necho 'rest: {timeout: 5}' > \"$1\"\n", "utf-8")
    assert main(["config", "edit"]) == 1
    assert "did you mean rest.timeout_s?" in capsys.readouterr().err
    monkeypatch.setenv("EDITOR", "/nowhere/an editor")
    assert main(["config", "edit"]) == 5
    assert "cannot be started" in capsys.readouterr().err


def test_show_as_json(own_config_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["rest.timeout_s"] == {
        "key": "rest.timeout_s",
        "value": "30",
        "origin": "default",
    }


async def test_a_sandbox_s_settings_replace_their_like_alone(tmp_path: Path) -> None:
    async with open_sandbox(memory=True) as exchange:
        path = write_config(exchange, tmp_path / "a dir")
        config = krakked.load_config(path.parent)
        assert config.rest.base_url == exchange.rest_url
        assert config.market_data.ohlc_store.root_dir.startswith(str(path.parent))
        assert config.state_dir.startswith(str(path.parent))
        assert write_config(exchange, tmp_path / "a dir") == path
        path.write_text(path.read_text("utf-8").replace(WRITTEN, "# mine"), "utf-8")
        with pytest.raises(krakked.ConfigError, match="another directory"):
            write_config(exchange, tmp_path / "a dir")


async def test_doctor_offline_finds_a_directory_that_cannot_be_written(
    own_config_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    (own_config_dir / "config.yaml").write_text(
        f"market_data: {{ohlc_store: {{root_dir: {tmp_path / 'file' / 'ohlc'}}}}}\n", "utf-8"
    )
    found = await examine(offline=True)
    assert all(isinstance(each, Looked) for each in found)
    (fault,) = [each for each in found if each.verdict is Standing.FAULT]
    assert fault.what == "store"
    assert "root_dir" in fault.text
    assert fault.status == 5


async def test_doctor_says_of_half_a_key_what_is_missing(
    own_config_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRAKEN_API_KEY", "a key")
    found = [each for each in await examine(offline=True) if each.what == "key"]
    assert [each.verdict for each in found] == [Standing.WARNING, Standing.FINE]
    assert "KRAKEN_API_KEY is set without the other" in found[0].text
    monkeypatch.setenv("KRAKEN_API_SECRET", "no secret at all")
    (fault,) = [each for each in await examine(offline=True) if each.what == "key"]
    assert (fault.verdict, fault.status) == (Standing.FAULT, 4)
    assert "no secret" not in fault.text


def test_spark_lines() -> None:
    assert spark_line([]) == ""
    assert spark_line([5.0, 5.0]) == SPARKS[3] * 2
    assert spark_line([1.0, 2.0, 3.0]) == SPARKS[0] + SPARKS[3] + SPARKS[-1]


def test_lines_of_events() -> None:
    bar = krakked.OHLCBar(1_793_491_200, 1.0, 2.0, 0.5, 1.5, 1.2, 3.0, 4)
    source, evidence = krakked.Source.WEBSOCKET, krakked.Evidence.NEXT
    closed = krakked.CandleClosed(
        pair="XBTUSD", timeframe="1m", bar=bar, source=source, evidence=evidence
    )
    assert line_of(closed).endswith(
        "XBTUSD  1m candle of 00:00 closed: open 1  high 2  low 0.5  close 1.5  volume 3"
    )
    assert line_of(krakked.MarketStatus(system="online")).endswith("  MarketStatus  system online")


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in COMMANDS:
        assert command in script
    assert "timeframe" in script
