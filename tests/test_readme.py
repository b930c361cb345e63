"""README.md cannot rot: its Python blocks run, its configuration loads, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.pages import ROOT, SIZE, Block, Reader, blocks

import krakked
from krakked._cli.main import COMMANDS, build_parser
from krakked.sandbox import open_sandbox

README = ROOT / "README.md"


def test_the_two_commands_stand_first() -> None:
    assert blocks(README, "console")[0].commands == ["make demo", "make test"]
    makefile = (README.parent / "Makefile").read_text("utf-8")
    assert re.search(r"^demo:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)


@pytest.mark.parametrize("block", blocks(README, "yaml"), ids=str)
def test_configuration_blocks_load(block: Block, own_config_dir: Path) -> None:
    (own_config_dir / "config.yaml").write_text(block.text, encoding="utf-8")
    assert krakked.load_config().region.code == "US_CA"


def test_named_commands_exist() -> None:
    text = README.read_text("utf-8")
    for name in COMMANDS:
        assert re.search(rf"`(krakked )?{name}\b", text), name
    assert "usage: krakked" in build_parser([]).format_help()


@pytest.mark.slow
async def test_what_the_readme_prints_works_as_printed(
    own_config_dir: Path, tmp_path: Path
) -> None:
    """Each block runs in a process of its own, untouched; config.yaml points it at the sandbox."""
    assert len(blocks(README, "python")) >= 8
    async with open_sandbox(seed=7, settings=SIZE) as exchange:
        await Reader(exchange, own_config_dir, tmp_path).follow(README)
