"""A process that back-fills one series and tells its progress line by line; made to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from krakked._config.settings import RestSettings
from krakked._market.history.backfill import History
from krakked._market.history.progress import BackfillProgress
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.universe import build_universe
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._rest.client import RestClient


async def main(base_url: str, root: str, pair: str, timeframe: str) -> None:
    settings = RestSettings(
        base_url=base_url, public_calls_per_second=1000, public_pair_calls_per_second=1000
    )
    clock = SystemClock()

    def tell(step: BackfillProgress) -> None:
        sys.stdout.write(f"{step.calls} {step.calls_expected} {step.bars}\n")
        sys.stdout.flush()

    async with RestClient(settings, network=SystemNetwork(), clock=clock) as rest:
        table = build_universe(await rest.asset_pairs_bytes()).table
        with OHLCStore(Path(root)) as store:
            history = History(rest, store, clock, lambda: table)
            await history.backfill_ohlc(pair, timeframe, since=0, allow_long=True, progress=tell)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
