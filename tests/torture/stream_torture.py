"""The stream for long: 22 hostile servers x 50 seeds, and thousands of drops over several seeds.

    python tests/torture/stream_torture.py [--seeds 50] [--drops 1000] [--markets 3]

All of it on virtual time over memory streams. Prints what was checked; exit status 1 on a failure.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from random import Random

import trio
from trio.testing import MockClock

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.market.stream.conftest import assert_true_candles, open_stage
from tests.market.stream.hostile import SERVERS
from tests.market.stream.test_endurance import visit

from krakked.sandbox import SandboxSettings

PAIRS = ("XBTUSD", "ETHUSD", "XDGUSD")


def most_in_a_window(times: list[float], window_s: float = 600.0) -> int:
    return max(sum(1 for t in times if start <= t < start + window_s) for start in times)


def hostile(seeds: int) -> None:
    for name in SERVERS:
        start, most, attempts = time.monotonic(), 0, 0
        for seed in range(seeds):
            times = trio.run(visit, name, seed, 11, clock=MockClock(autojump_threshold=0))
            attempts += len(times)
            most = max(most, most_in_a_window(times))
            assert most <= 60, (name, seed, most)
        took = time.monotonic() - start
        print(
            f"{name:<22} {seeds} seeds: {attempts:>5} connects, at most {most:>2} in any "
            f"10 minutes ({took:.1f} s)",
            flush=True,
        )


async def drops(seed: int, wanted: int) -> str:
    random = Random(seed)
    settings = SandboxSettings(
        pair_count=60,
        trade_rates={pair: random.choice([0.005, 0.05, 0.3]) for pair in PAIRS},
        quote_activity=0.02,
    )
    async with open_stage(
        pairs=PAIRS, timeframes=("1m", "5m"), settings=settings, seed=seed, stale_s=86_400.0
    ) as stage:
        faults = stage.exchange.faults
        faults.cut_randomly(random.choice([3_000, 15_000, 60_000]))
        faults.duplicate_candles(0.1)
        faults.late_candles(0.1)
        await faults.cut()
        while stage.exchange.ws_connects < wanted + 2:
            await trio.sleep(random.uniform(1, 120))
            if random.random() < 0.02:  # now and then nobody answers for a quarter of an hour
                faults.refuse_connects()
                await faults.cut()
                await trio.sleep(random.uniform(60, 900))
                faults.allow_connects()
            if random.random() < 0.02:
                faults.half_open()
            if random.random() < 0.01:
                stage.exchange.clock.step_wall(random.choice([-3600.0, 3600.0]))
        faults.clear()
        await stage.feed.wait_live(None, 120)
        await trio.sleep(660)
        checked = sum(
            assert_true_candles(stage, pair, timeframe)
            for pair in PAIRS
            for timeframe in stage.feed.timeframes
        )
        facts = stage.feed.statistics()
        assert (facts.open_holes, facts.unfilled_holes) == (0, 0), facts
        for pair in PAIRS:
            truth = stage.exchange.truth.ticker(pair)
            quote = stage.reads.get_best_bid_ask(pair, exact=True)
            assert (quote.bid, quote.ask) == (truth.bid, truth.ask), pair
        by_rest = sum(c.source.name == "REST" for c in stage.closed)
        hours = trio.current_time() / 3600
        return (
            f"{stage.exchange.ws_connects} connects in {hours:.1f} virtual hours, "
            f"{checked} closed candles true, once and in order ({by_rest} of them by REST)"
        )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--drops", type=int, default=1000)
    parser.add_argument("--markets", type=int, default=3)
    arguments = parser.parse_args()
    logging.getLogger("krakked.stream").setLevel(logging.CRITICAL + 1)
    start = time.monotonic()
    for seed in range(arguments.markets):
        clock = MockClock(autojump_threshold=0)
        print(f"market {seed}: {trio.run(drops, seed, arguments.drops, clock=clock)}", flush=True)
    hostile(arguments.seeds)
    print(f"stream torture: all held ({time.monotonic() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
