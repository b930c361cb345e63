"""A live read through `krakked.blocking` and `krakked.aio` beside the trio face, in one process.

All three read the same local exchange. A live read goes to the cache in Rust, whatever the face.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

import krakked
import krakked.aio
import krakked.blocking
from krakked.sandbox import SandboxSettings, open_sandbox

READS = 20_000
ROUNDS = 9
MOST = 2.0


def taken(read: Callable[[str], Any]) -> float:
    """Median seconds of one read."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(READS):
            read("XBTUSD")
        rounds.append((time.perf_counter() - start) / READS)
    return statistics.median(rounds)


async def by_trio(config: krakked.KrakkedConfig) -> float:
    async with krakked.open_kraken(config, pairs=["XBTUSD"]) as kraken:
        await kraken.wait_live(timeout_s=30)
        return taken(kraken.get_best_bid_ask)


async def by_asyncio(config: krakked.KrakkedConfig) -> float:
    async with krakked.aio.open_kraken(config, pairs=["XBTUSD"]) as kraken:
        await kraken.wait_live(timeout_s=30)
        return taken(kraken.get_best_bid_ask)


def by_blocking(config: krakked.KrakkedConfig) -> float:
    with krakked.blocking.open_kraken(config, pairs=["XBTUSD"]) as kraken:
        kraken.wait_live(timeout_s=30)
        return taken(kraken.get_best_bid_ask)


async def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        async with open_sandbox(seed=1, settings=SandboxSettings(pair_count=60)) as exchange:
            config = exchange.config(Path(directory))
            seconds = {
                "trio": await trio.to_thread.run_sync(lambda: trio.run(by_trio, config)),
                "blocking": await trio.to_thread.run_sync(by_blocking, config),
                "asyncio": await trio.to_thread.run_sync(lambda: asyncio.run(by_asyncio(config))),
            }
    print(f"get_best_bid_ask, median of {ROUNDS} rounds of {READS:,}")
    failed = False
    for name, each in seconds.items():
        ratio = each / seconds["trio"]
        verdict = "" if name == "trio" else "pass" if ratio < MOST else "FAIL"
        failed |= verdict == "FAIL"
        print(f"  {name:10}{each * 1e6:6.2f} us  {ratio:5.2f} x  {verdict}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(trio.run(main))
