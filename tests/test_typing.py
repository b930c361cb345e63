"""What type checkers know of users' programs: `tests/typing` holds such programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PROGRAMS = ROOT / "tests" / "typing"


def checked(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_mypy_strict_understands_them() -> None:
    done = checked("mypy", "--strict", "--warn-unused-ignores", str(PROGRAMS / "a_bot.py"))
    assert done.returncode == 0, done.stdout


def test_pyright_understands_them() -> None:
    done = checked(
        "basedpyright", "--pythonpath", sys.executable, "-p", str(PROGRAMS / "pyrightconfig.json")
    )
    assert done.returncode == 0, done.stdout


def test_a_wrong_program_is_noticed(tmp_path: Path) -> None:
    program = tmp_path / "wrong.py"
    program.write_text(
        "import krakked\n"
        "def half(quote: krakked.BestBidAsk[float]) -> str:\n    return quote.bid / 2\n",
        encoding="utf-8",
    )
    assert checked("mypy", "--strict", str(program)).returncode == 1
