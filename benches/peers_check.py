"""Do other people's clients work on our sandbox? Unmodified ccxt and python-kraken-sdk say so.

`make peers-check` runs it: installs both into a venv of their own, opens a sandbox on loopback and
walks markets, candles, a signed call, ticker and ohlc over WebSocket v2. Exit status 1 on failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table

from krakked.sandbox import open_sandbox

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv-peers"
PYTHON = VENV / "bin" / "python"
PEERS = {"ccxt": "ccxt", "sdk": "python-kraken-sdk"}
STEPS = 5


def install() -> None:
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    listed = subprocess.run(
        [PYTHON, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    missing = [name for name in PEERS.values() if f"{name}==" not in listed.stdout]
    if missing:
        subprocess.run([PYTHON, "-m", "pip", "install", "-q", *missing], check=True)


async def run() -> list[dict[str, object]]:
    results: list[dict[str, object]] = []
    for peer, name in PEERS.items():
        # A sandbox each: both sign with nonces in different units, as kraken-api keys forbid.
        async with open_sandbox(seed=7) as exchange:
            env = os.environ | {
                "SANDBOX_REST": exchange.rest_url,
                "SANDBOX_WS": exchange.ws_url,
                "SANDBOX_KEY": exchange.key,
                "SANDBOX_SECRET": exchange.secret,
            }
            done = await trio.run_process(
                [str(PYTHON), str(ROOT / "benches" / "peers_client.py"), peer],
                env=env,
                capture_stdout=True,
                check=False,
            )
        lines = done.stdout.decode().splitlines()
        results += [json.loads(line) for line in lines if line.startswith("{")]
        if done.returncode or len(lines) < STEPS:
            detail = f"exit status {done.returncode}"
            results.append({"peer": name, "step": "all", "ok": False, "detail": detail, "s": 0})
    return results


def main() -> int:
    install()
    results = trio.run(run)
    table = Table("client", "step", "result", "seconds", "detail", title="peers on the sandbox")
    for row in results:
        verdict = "[green]ok[/]" if row["ok"] else "[red]FAILED[/]"
        table.add_row(
            str(row["peer"]), str(row["step"]), verdict, str(row["s"]), str(row["detail"])
        )
    Console(width=130).print(table)
    return 0 if results and all(row["ok"] for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())
