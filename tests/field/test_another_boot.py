"""The command line after a reboot, and in a directory that another machine writes, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from krakked.sandbox import SandboxSettings, open_sandbox

pytestmark = pytest.mark.slow

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SLOWEST_S = 10.0
"""A command after a reboot: start, three public calls at one a second, no more."""


def why_not() -> str | None:
    """Say why this machine cannot play another boot of itself."""
    if not BOOT_ID.exists() or shutil.which("unshare") is None:
        return "needs Linux and unshare"
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return None if done.returncode == 0 else "needs a mount namespace of its own (root)"


@pytest.fixture
async def exchange(own_config_dir: Path, tmp_path: Path) -> AsyncIterator[None]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    async with open_sandbox(seed=5, settings=SandboxSettings(pair_count=20)) as running:
        (own_config_dir / "config.yaml").write_text(
            f"rest:\n  base_url: {running.rest_url}\n"
            f"market_data:\n  ws:\n    url: {running.ws_url}\n"
            f"  ohlc_store:\n    root_dir: {tmp_path / 'ohlc'}\n",
            encoding="utf-8",
        )
        yield


async def krakked(tmp_path: Path, boot: str, *words: str) -> tuple[float, str]:
    """Run a command as if the machine had started as `boot`; empty = as it has."""
    command = [sys.executable, "-m", "krakked._cli.main", *words]
    if boot:
        (tmp_path / "boot_id").write_text(f"{boot}\n")
        mount = f'mount --bind "$0" {BOOT_ID} && exec "$@"'
        command = ["unshare", "-m", "sh", "-c", mount, str(tmp_path / "boot_id"), *command]
    begun = time.monotonic()
    with trio.fail_after(60):
        done = await trio.run_process(
            command, env=os.environ, capture_stdout=True, stderr=subprocess.STDOUT, check=False
        )
    assert done.returncode == 0, done.stdout.decode()
    return time.monotonic() - begun, done.stdout.decode()


async def test_universe_answers_after_a_reboot(exchange: None, tmp_path: Path) -> None:
    await krakked(tmp_path, "11111111-2222-3333-4444-555555555555", "universe")
    for boot in ("", "66666666-7777-8888-9999-000000000000"):
        taken_s, text = await krakked(tmp_path, boot, "universe")
        assert "pairs" in text
        assert taken_s < SLOWEST_S


async def test_two_machines_with_one_directory_answer_side_by_side(
    exchange: None, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    texts: list[str] = []

    async def ask(scratch: Path, boot: str) -> None:
        for _ in range(2):
            texts.append((await krakked(scratch, boot, "universe"))[1])

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, tmp_path, "11111111-2222-3333-4444-555555555555")
            nursery.start_soon(ask, tmp_path / "other", "66666666-7777-8888-9999-000000000000")
    assert len(texts) == 4
