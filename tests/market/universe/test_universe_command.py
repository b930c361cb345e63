"""`krakked universe` as a user meets it, against the sandbox on loopback sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from krakked._cli.main import main
from krakked._config.loader import load_config
from krakked._market.universe_source import COPY_NAME
from krakked.sandbox import SandboxSettings, open_sandbox


@pytest.fixture
def served(own_config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command while a sandbox serves; None asks for the copy."""
    monkeypatch.setattr("krakked._cli.universe.ROWS_SHOWN", 1)
    monkeypatch.setenv("COLUMNS", "300")

    async def serve(arguments: list[str]) -> int:
        settings = SandboxSettings(pair_count=60, public_burst=100)
        async with open_sandbox(settings=settings) as exchange:
            (own_config_dir / "config.yaml").write_text(
                f"rest: {{base_url: {exchange.rest_url}, public_calls_per_second: 100}}\n"
            )
            return await trio.to_thread.run_sync(main, ["universe", *arguments])

    def run(*arguments: str, up: bool = True) -> int:
        return trio.run(serve, list(arguments)) if up else main(["universe", *arguments])

    return run


@pytest.mark.slow
def test_the_report_and_the_copy(served: Any, own_config_dir: Path, capsys: Any) -> None:
    assert served() == 0
    printed = capsys.readouterr().out
    assert "are left out because Kraken also offers them on margin" in printed
    assert "universe: {margin_eligible: include}" in printed
    assert "krakked universe --all" in printed
    (copy,) = own_config_dir.rglob(COPY_NAME)
    assert copy.parent.name.startswith("127.0.0.1_")  # the state directory itself is Kraken's
    # Kraken is down: the copy serves, and says so; a question about one pair asks nobody else.
    assert served("--why", "BTC/USD", up=False) == 0
    answer = capsys.readouterr()
    assert "XBTUSD is left out: Kraken offers it on margin" in answer.out
    assert "As Kraken listed it 0 min ago" in answer.out
    assert "could not be asked" not in answer.err
    assert served(up=False) == 0
    assert "this is a copy" in capsys.readouterr().out


@pytest.mark.slow
def test_json_and_why(served: Any, capsys: Any) -> None:
    assert served("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"][0]["canonical"]
    assert told["excluded"]["XBTUSD"]["rule"] == "margin_eligible"
    assert told["counts"]["margin_eligible"] == told["margin"]["left_out"]
    assert told["from_copy"] is False
    assert served("--json", "--why", "DOGE/USD") == 0
    why = json.loads(capsys.readouterr().out)
    assert why["pair"]["canonical"] == "XDGUSD"
    assert why["in_universe"] is False
    assert served("--why", "DOGEUSDX") == 1
    assert "UnknownPairError" in capsys.readouterr().err
    assert load_config().rest.base_url.startswith("http://127.0.0.1")
