"""The pages that users read, and how what they print is run: README.md and docs/."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from krakked import OHLCStoreSettings
from krakked.sandbox import Exchange, SandboxSettings

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
_BLOCK: Final = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

NOT_RUN: Final = ("pip install ", "make ")
"""Commands of other programs: what they name is looked up instead."""

ENDLESS: Final = {"krakked sandbox": "Ctrl-C ends it."}
"""Commands that run until Ctrl-C, and what they say when they are ready."""

TYPED: Final = {
    "krakked setup": ("{key}", "{secret}", "correct horse battery", "correct horse battery")
}
"""What somebody types in who is asked."""

TYPIST: Final = """
import os, pty, sys
answers = sys.argv[1].split("\\n")
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
shown = said = b""
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:  # the other end is closed
        break
    if not more:
        break
    shown, said = shown + more, said + more
    if answers and said.endswith(b": "):
        os.write(terminal, answers.pop(0).encode() + b"\\n")
        said = b""
sys.stdout.write(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Runs a command on a terminal of its own and answers each question in turn."""


INTERRUPTER: Final = """
import signal, subprocess, sys
with subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, text=True) as process:
    for line in process.stdout:
        print(line, end="")
        if sys.argv[1] in line:
            process.send_signal(signal.SIGINT)
sys.exit(process.returncode)
"""
"""Runs a command and presses Ctrl-C when it says that it is ready."""


@dataclass(frozen=True)
class Block:
    """A piece of a page between fences."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """What stands behind the dollar signs."""
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[2], textwrap.dedent(found[3]))
        for found in _BLOCK.finditer(text)
        if found[2] in languages
    ]


def pages() -> Iterator[Path]:
    """Return the pages below docs/ that are written by hand in Markdown."""
    for path in sorted(DOCS.rglob("*.md")):
        if not path.relative_to(DOCS).parts[0].startswith("_"):
            yield path


def settings_for(exchange: Exchange, store: Path) -> str:
    """Return a config.yaml that leads a client to a sandbox."""
    return (
        f"rest:\n  base_url: {exchange.rest_url}\n  public_calls_per_second: 10\n"
        f"market_data:\n  ws:\n    url: {exchange.ws_url}\n"
        f"  ohlc_store:\n    root_dir: {store}\n"
    )


SIZE: Final = SandboxSettings(pair_count=60, public_decay_per_s=10.0, pair_decay_per_s=10.0)
"""An exchange that opens at once, and lets a reader ask ten times a second."""


class Reader:
    """Somebody who types in what a page prints, in a directory of his own."""

    def __init__(self, exchange: Exchange, config_dir: Path, home: Path) -> None:
        self.home = home
        self._exchange = exchange
        (config_dir / "config.yaml").write_text(
            settings_for(exchange, home / "ohlc"), encoding="utf-8"
        )
        other_key, other_secret = exchange.add_key()
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "KRAKKED_CONFIG_DIR": str(config_dir),
            "KRAKEN_API_KEY": exchange.key,
            "KRAKEN_API_SECRET": exchange.secret,
            "ALICE_KEY": exchange.key,
            "ALICE_SECRET": exchange.secret,
            "BOB_KEY": other_key,
            "BOB_SECRET": other_secret,
            "PYTHONWARNINGS": "error",
            "COLUMNS": "100",
        }
        (home / "password.txt").write_text("correct horse battery\n", encoding="utf-8")
        (home / "password.txt").chmod(0o600)
        _write_archive(exchange, home / "Kraken_OHLCVT.zip")

    async def follow(self, page: Path) -> None:
        """Do everything a page prints, from top to bottom."""
        for number, block in enumerate(blocks(page, "python", "console", "sql")):
            if block.language == "console":
                for command in block.commands:
                    await self.type(command, block)
                continue
            text = block.text
            if block.language == "sql":  # printed with the directory that settings have by default
                text = text.replace(OHLCStoreSettings().root_dir, str(self.home / "ohlc"))
                text = f'import duckdb\nprint(duckdb.sql("""{text}""").fetchall()[-1])\n'
            script = self.home / f"block_{number}.py"
            script.write_text(text, encoding="utf-8")
            shown = await self._run([sys.executable, str(script)], block)
            assert shown.strip(), f"{block} prints nothing"

    async def type(self, command: str, block: Block) -> str:
        """Run a command as a shell would."""
        if command.startswith(NOT_RUN):
            return ""
        for begin, ready in ENDLESS.items():
            if command.startswith(begin):
                words = [sys.executable, "-c", INTERRUPTER, ready, *shlex.split(command)]
                return await self._run(words, block)
        for begin, answers in TYPED.items():
            if command.startswith(begin):
                given = [
                    a.format(key=self._exchange.key, secret=self._exchange.secret) for a in answers
                ]
                words = [sys.executable, "-c", TYPIST, "\n".join(given), *shlex.split(command)]
                return await self._run(words, block)
        return await self._run(["bash", "-ec", command], block)

    async def _run(self, words: list[str], block: Block) -> str:
        with trio.fail_after(90):
            done = await trio.run_process(
                words,
                env=self._environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
        shown = done.stdout.decode()
        assert done.returncode == 0, f"{block}: {done.returncode}\n{block.text}\n{shown}"
        return shown


def _write_archive(exchange: Exchange, path: Path) -> None:
    """Write what Kraken offers for download, with two months of one pair."""
    end_s = exchange.truth.now_ns() // 10**9 // 3600 * 3600 - 86_400
    rows = [
        f"{candle.time},{candle.open},{candle.high},{candle.low},{candle.close},"
        f"{candle.volume},{candle.count}\n"
        for candle in exchange.truth.candles("XBTUSD", 60, end_s - 60 * 86_400, end_s)
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("XBTUSD_60.csv", "".join(rows))
