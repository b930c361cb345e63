"""README.md cannot rot: its Python blocks run, its configuration loads, its commands exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import krakked
from krakked._cli.main import COMMANDS, build_parser
from krakked.sandbox import open_sandbox

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    found = [text for name, text in BLOCK.findall(README.read_text("utf-8")) if name == language]
    assert found
    return found


def test_the_two_commands_stand_first() -> None:
    first = blocks("console")[0]
    assert [line.removeprefix("$ ") for line in first.splitlines()] == ["make demo", "make test"]
    makefile = (README.parent / "Makefile").read_text("utf-8")
    assert re.search(r"^demo:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_configuration_blocks_load(text: str, own_config_dir: Path) -> None:
    (own_config_dir / "config.yaml").write_text(text, encoding="utf-8")
    assert krakked.load_config().region.code == "US_CA"


def test_named_commands_exist() -> None:
    text = README.read_text("utf-8")
    for name in COMMANDS:
        assert re.search(rf"`(krakked )?{name}\b", text), name
    assert "usage: krakked" in build_parser([]).format_help()


@pytest.mark.slow
async def test_python_blocks_run_as_printed(own_config_dir: Path, tmp_path: Path) -> None:
    """Each block runs in a process of its own, untouched; config.yaml points it at the sandbox."""
    async with open_sandbox(seed=7) as exchange:
        (own_config_dir / "config.yaml").write_text(
            f"rest:\n  base_url: {exchange.rest_url}\n"
            f"market_data:\n  ws:\n    url: {exchange.ws_url}\n"
            f"  ohlc_store:\n    root_dir: {tmp_path}\n",
            encoding="utf-8",
        )
        environment = {
            **os.environ,
            "KRAKKED_CONFIG_DIR": str(own_config_dir),
            "KRAKEN_API_KEY": exchange.key,
            "KRAKEN_API_SECRET": exchange.secret,
            "PYTHONWARNINGS": "error",
        }
        for number, block in enumerate(blocks("python")):
            script = tmp_path / f"block_{number}.py"
            script.write_text(block, encoding="utf-8")
            with trio.fail_after(60):
                done = await trio.run_process(
                    [sys.executable, str(script)],
                    env=environment,
                    capture_stdout=True,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
            assert done.returncode == 0, f"{block}\n{done.stdout.decode()}"
            assert done.stdout.strip(), block
