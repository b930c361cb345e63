"""No live candle is ever wrong: thousands of seeds against the sandbox's ground truth.

    python tests/torture/stream_truth.py [--seeds 1000] [--from 0] [--sockets 20] [--blocks 20]
                                         [--workers 2] [--delays]

Each seed lets an exchange, its link and this side of it misbehave for eight virtual minutes (the
candle maker lags, rows come late, links stall and trickle, connections overtake each other, pongs
overtake data, channels fall mute, subscriptions are refused or ended, connections drop, the program
blocks), then watches seven quiet ones. Every candle given out has to be true at once or corrected
within a minute, none may be missing or come twice, and the journal has to agree. The same for two
real minutes on sockets, and the two lags of the field twenty times each. `--delays` shows how long
after its end a candle closes. Exit status 1 when anything failed.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

import trio
from trio.testing import MockClock

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.market.stream import truth
from tests.market.stream.conftest import Stage, open_stage
from tests.market.stream.test_no_candle_is_wrong import (
    START_S,
    TWENTY,
    blocked_on_sockets,
    busy,
    wrong_candles,
)

from krakked.sandbox import SandboxSettings

AT_ONCE = 10
"""Seeds on sockets that run side by side."""
ON_SOCKETS: tuple[truth.Fault, ...] = tuple(
    fault for fault in truth.FAULTS if fault not in {truth.block, truth.trickle, truth.skew}
)


def one(seed: int) -> truth.Report:
    return truth.run_virtual(seed)


def virtual(seeds: range, workers: int) -> bool:
    began, failed = time.monotonic(), 0
    candles = wrong = corrections = by_rest = 0
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for n, report in enumerate(pool.imap_unordered(one, seeds), 1):
            candles += report.candles
            wrong += report.wrong_when_given
            corrections += report.corrections
            by_rest += report.by_rest
            if report.faults:
                failed += 1
                print(f"seed {report.seed}:", *report.faults[:8], sep="\n    ", flush=True)
                print("  what happened:", *sorted(report.story), sep="\n    ", flush=True)
            if n % 100 == 0:
                print(f"  {n} seeds, {failed} failed", flush=True)
    print(
        f"{len(seeds)} seeds on virtual time: {candles} candles, {wrong} wrong when given out and "
        f"{corrections} corrections in all, {by_rest} given by REST; {failed} seeds failed "
        f"({time.monotonic() - began:.0f} s)",
        flush=True,
    )
    return failed == 0


async def together(seeds: list[int]) -> list[truth.Report]:
    reports: list[truth.Report] = []

    async def run(seed: int) -> None:
        reports.append(await truth.run(seed, memory=False, faults=ON_SOCKETS))

    async with trio.open_nursery() as nursery:
        for seed in seeds:
            nursery.start_soon(run, seed)
    return reports


def sockets(count: int) -> bool:
    failed = candles = 0
    for first in range(0, count, AT_ONCE):
        for report in trio.run(together, list(range(first, min(count, first + AT_ONCE)))):
            candles += report.candles
            if report.faults:
                failed += 1
                print(
                    f"seed {report.seed} on sockets:", *report.faults[:8], sep="\n    ", flush=True
                )
                print("  what happened:", *sorted(report.story), sep="\n    ", flush=True)
    print(f"{count} seeds on sockets: {candles} candles; {failed} seeds failed", flush=True)
    return failed == 0


def blocks(times: int) -> bool:
    given = wrong = 0
    for seed in range(times):
        count, found = trio.run(blocked_on_sockets, seed)
        given, wrong = given + count, wrong + len(found)
    print(f"blocked from second 54 to 5 on sockets, {times} runs: {wrong} of {given} wrong")
    return wrong == 0


def stalls(times: int) -> bool:
    given = wrong = 0

    async def run(seed: int) -> tuple[int, int]:
        settings = busy(TWENTY, start_s=START_S)
        async with open_stage(
            pairs=TWENTY[:14], timeframes=("1m",), settings=settings, seed=seed
        ) as s:
            for _ in range(10):
                await trio.sleep((56 - s.exchange.truth.now_ns() / 1e9) % 60)
                s.exchange.faults.stall()
                await trio.sleep(9)
                s.exchange.faults.resume()
            await trio.sleep(20)
            count, found = wrong_candles(s)
            return count, len(found) + s.feed.statistics().reconnects

    for seed in range(times):
        count, found = trio.run(run, seed, clock=MockClock(autojump_threshold=0))
        given, wrong = given + count, wrong + found
    print(f"a link that stalls 9 s from second 56, {times} runs: {wrong} of {given} wrong")
    return wrong == 0


async def delays(rate: float, lag_s: float, others: float) -> list[float]:
    """How long after its end each candle of a pair came, in seconds."""
    settings = SandboxSettings(
        pair_count=200,
        trade_rates=dict.fromkeys(TWENTY, others) | {"XBTUSD": rate},
        quote_activity=0.05,
    )
    found: list[float] = []
    pairs = TWENTY if others else ("XBTUSD",)
    async with open_stage(pairs=pairs, timeframes=("1m",), settings=settings) as s:

        async def listen(stage: Stage) -> None:
            async for change in stage.feed.changes(["XBTUSD"], ["candle_closed"]):
                bar = change.bar  # type: ignore[union-attr]
                found.append(stage.exchange.truth.now_ns() / 1e9 - bar.time - 60)

        s.nursery.start_soon(listen, s)
        if lag_s:
            s.exchange.faults.lag_candles(lag_s)
        await trio.sleep(7200)
    return found


def show_delays() -> None:
    print("seconds after its end until a 1m candle closes (median, worst):")
    for name, rate, lag_s, others in (
        ("busy pair among twenty", 1.0, 0.0, 0.3),
        ("quiet pair among twenty", 0.01, 0.0, 0.3),
        ("quiet pair alone", 0.01, 0.0, 0.0),
        ("busy pair, candle maker 12 s late", 1.0, 12.0, 0.3),
        ("quiet pair, candle maker 12 s late", 0.01, 12.0, 0.3),
    ):
        found = trio.run(delays, rate, lag_s, others, clock=MockClock(autojump_threshold=0))
        print(f"  {name:<36} {statistics.median(found):5.1f} {max(found):5.1f}  of {len(found)}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--sockets", type=int, default=20)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--delays", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("krakked.stream").setLevel(logging.CRITICAL + 1)
    held = virtual(range(arguments.first, arguments.first + arguments.seeds), arguments.workers)
    held = stalls(arguments.blocks) and held
    held = sockets(arguments.sockets) and held
    held = blocks(arguments.blocks) and held
    if arguments.delays:
        show_delays()
    print("every candle was true" if held else "SOME CANDLES WERE NOT TRUE")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
