"""Does the live stream leak? Ten million messages, and more than ten thousand reconnects.

    python tests/torture/soak.py [--quick] [--part sockets virtual]

`sockets`: a blaster (benches/stream_blaster.py, a process of its own) sends 200,000 messages over
each of 51 connections and breaks 50 of them in the middle of a frame; a consumer of `changes()`
takes its time over each change. `virtual`: 10,000 reconnects to the in-memory sandbox on virtual
time, candles missed meanwhile filled over REST. Memory may grow by 5 MiB after a warm-up of a fifth
of the rounds; descriptors, tasks and threads not at all. Prints one line per figure; exit status 1
when one of them is bad. Run by `make soak`.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import trio
from trio.testing import MockClock

from krakked._config.settings import RestSettings, UniverseSettings, WebSocketSettings
from krakked._market.changes import Disconnected, Reconnected, Resubscribed, TickerChange
from krakked._market.live import LiveReads
from krakked._market.pairs import PairMetadata, PairTable
from krakked._market.stream.feed import Feed
from krakked._market.universe import build_universe
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._rest.client import RestClient
from krakked.sandbox import SandboxSettings, open_sandbox

BENCHES = Path(__file__).parents[2] / "benches"
sys.path.insert(0, str(BENCHES))
from stream_blaster import final_quote  # noqa: E402 - lives beside the benchmark

SYMBOLS = 400
GROWTH_MIB = 5.0
SLOW_S = 0.02
"""What the consumer needs for each change."""
LAG_S = 1.0
PROCESS = psutil.Process()


class QuickRandom(random.Random):
    """Chance for the backoff that always draws a short wait, so that 50 reconnects fit."""

    def uniform(self, a: float, b: float) -> float:
        return a + min(0.05, b - a)


@dataclass
class Figures:
    """What must not grow."""

    rss_mib: float
    descriptors: int
    tasks: int
    threads: int

    @classmethod
    def now(cls) -> Figures:
        gc.collect()
        return cls(
            PROCESS.memory_info().rss / 2**20,
            PROCESS.num_fds(),
            trio.lowlevel.current_statistics().tasks_living,
            max(PROCESS.num_threads(), threading.active_count()),
        )


class Report:
    """One line per figure."""

    def __init__(self) -> None:
        self.failed = False

    def line(self, what: str, value: str, *, good: bool = True, bound: str = "") -> None:
        verdict = "ok  " if good else "FAIL"
        self.failed = self.failed or not good
        print(f"{verdict} {what}: {value}{f' ({bound})' if bound else ''}", flush=True)

    def growth(self, name: str, rounds: list[Figures], before: Figures, after: Figures) -> None:
        """Judge figures taken at the same point of every round, and around the whole."""
        warm = max(1, len(rounds) // 5)
        kept = rounds[warm:]
        grown = kept[-1].rss_mib - rounds[warm - 1].rss_mib
        peak = max(one.rss_mib for one in kept) - rounds[warm - 1].rss_mib
        self.line(
            f"{name}: memory after the warm-up",
            f"{grown:+.2f} MiB at the end, {peak:+.2f} at most, of {kept[-1].rss_mib:.0f} MiB",
            good=grown < GROWTH_MIB,
            bound=f"under {GROWTH_MIB:g} MiB",
        )
        for field in ("descriptors", "tasks", "threads"):
            during = getattr(kept[-1], field) - getattr(rounds[warm - 1], field)
            left = getattr(after, field) - getattr(before, field)
            self.line(
                f"{name}: {field}",
                f"{during:+d} over the rounds, {left:+d} once closed",
                good=during <= 0 and left <= 0,
                bound="+0",
            )


async def until(seen: Callable[[], bool], what: str, pause_s: float, limit_s: float) -> None:
    """Wait for something that nobody announces."""
    with trio.move_on_after(limit_s):
        while not seen():  # noqa: ASYNC110 - plain reads
            await trio.sleep(pause_s)
        return
    raise TimeoutError(what)


# --- real sockets ---------------------------------------------------------------------------------


def invented_table() -> PairTable:
    letters = "ABCDEFGHIJKLMNOPQRST"
    names = [f"{a}{b}" for a in letters for b in letters][:SYMBOLS]
    return PairTable(
        [
            PairMetadata(
                canonical=f"{name}USD",
                base=name,
                quote="USD",
                rest_symbol=f"{name}USD",
                ws_symbol=f"{name}/USD",
                wsname=f"{name}/USD",
                raw_name=f"{name}USD",
                price_decimals=4,
                volume_decimals=8,
                lot_size=1.0,
                status="online",
            )
            for name in names
        ]
    )


class Listener:
    """A consumer of `changes()` that needs a while for each, and remembers next to nothing."""

    def __init__(self, clock_s: Callable[[], float], pause_s: float) -> None:
        self._clock_s, self._pause_s = clock_s, pause_s
        self.changes = 0
        self.events = {Disconnected: 0, Reconnected: 0, Resubscribed: 0}
        self.flowing = False
        self._ages = [0] * 200
        """Ages of tickers while data flowed, in steps of 50 ms."""

    async def run(self, feed: Feed) -> None:
        async for change in feed.changes():
            self.changes += 1
            if isinstance(change, TickerChange):
                if self.flowing:
                    age_s = max(0.0, self._clock_s() - change.last_update_ts)
                    self._ages[min(int(age_s / 0.05), len(self._ages) - 1)] += 1
            elif type(change) in self.events:
                self.events[type(change)] += 1
            await trio.sleep(self._pause_s)

    def age_p99_s(self) -> float:
        total, seen = sum(self._ages), 0
        for step, count in enumerate(self._ages):
            seen += count
            if seen >= 0.99 * total:
                return (step + 1) * 0.05
        return 0.0


async def soak_sockets(report: Report, cuts: int, frames: int) -> None:
    begin = time.monotonic()
    table = invented_table()
    symbols = [f"{name.removesuffix('USD')}/USD" for name in table_names(table)]
    with tempfile.TemporaryDirectory() as folder:
        orders = Path(folder) / "orders.json"
        orders.write_text(json.dumps({"symbols": symbols, "frames": frames, "cuts": cuts}))
        blaster = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, str(BENCHES / "stream_blaster.py"), str(orders)],
            stdout=subprocess.PIPE,
        )
        assert blaster.stdout is not None
        try:
            ports = json.loads(blaster.stdout.readline())
            await read_all(report, table, ports, cuts, frames)
        finally:
            blaster.kill()
            blaster.wait()
            blaster.stdout.close()
    report.line("sockets: time", f"{time.monotonic() - begin:.0f} s")


def table_names(table: PairTable) -> list[str]:
    return list(table.by_canonical)


async def read_all(
    report: Report,
    table: PairTable,
    ports: dict[str, int],
    cuts: int,
    frames: int,
) -> None:
    clock = SystemClock()
    feed = Feed(
        WebSocketSettings(url=f"ws://127.0.0.1:{ports['port']}/v2", timeframes=("1m",)),
        network=SystemNetwork(),
        clock=clock,
        table=lambda: table,
        pairs=table_names(table),
        random=QuickRandom(),
    )
    reads = LiveReads(feed)
    last = table_names(table)[-1]
    finals = [tuple(float(text) for text in final_quote(i)) for i in range(SYMBOLS)]
    listener = Listener(lambda: clock.wall_ns() / 1e9, SLOW_S)
    rounds: list[Figures] = []
    wrong = 0
    before = Figures.now()
    with socket.socket() as control:
        async with trio.open_nursery() as nursery:
            await nursery.start(feed.run)
            nursery.start_soon(listener.run, feed)
            for number in range(cuts + 1):
                await until(
                    lambda n=number: feed.statistics().reconnects >= n, "a reconnect", 0.01, 60
                )
                await feed.wait_live(None, 60)
                if number == 0:
                    control.connect(("127.0.0.1", ports["control"]))
                listener.flowing = True
                control.sendall(b"go")
                await until(
                    lambda: reads.get_best_bid_ask(last).bid == finals[-1][0], "the end", 0.002, 60
                )
                listener.flowing = False
                for name, final in zip(table_names(table), finals, strict=True):
                    quote = reads.get_best_bid_ask(name)
                    wrong += (quote.bid, quote.ask) != final
                rounds.append(Figures.now())
                if number < cuts:
                    control.sendall(b"seen")
            facts = feed.statistics()
            nursery.cancel_scope.cancel()
    after = Figures.now()
    report.line("sockets: messages", f"{facts.frames:,}", good=facts.frames >= (cuts + 1) * frames)
    report.line("sockets: reconnects", f"{facts.reconnects}", good=facts.reconnects == cuts)
    report.line("sockets: wrong quotes at the end of a round", f"{wrong}", good=not wrong)
    told = [listener.events[kind] for kind in (Disconnected, Reconnected, Resubscribed)]
    report.line(
        "sockets: disconnects, reconnects, resubscriptions told to the slow consumer",
        f"{told[0]}, {told[1]}, {told[2]}; {listener.changes:,} changes",
        good=told == [cuts] * 3,
        bound=f"{cuts} each",
    )
    report.line(
        "sockets: age of what it was given while data flowed",
        f"99 % under {listener.age_p99_s():.2f} s",
        good=listener.age_p99_s() <= LAG_S,
        bound=f"at most {LAG_S:g} s",
    )
    report.growth("sockets", rounds, before, after)


# --- virtual time ---------------------------------------------------------------------------------

PAIRS = ("XBTUSD", "ETHUSD")


async def soak_virtual(report: Report, reconnects: int) -> None:
    begin = time.monotonic()
    settings = SandboxSettings(
        pair_count=40, trade_rates=dict.fromkeys(PAIRS, 0.02), quote_activity=0.02
    )
    rounds: list[Figures] = []
    async with open_sandbox(seed=5, memory=True, settings=settings) as exchange:
        rest_settings = RestSettings(base_url=exchange.rest_url)
        async with RestClient(
            rest_settings, network=exchange.network, clock=exchange.clock
        ) as rest:
            universe = UniverseSettings(margin_eligible="include")
            table = build_universe(await rest.asset_pairs_bytes(), settings=universe).table
            before = Figures.now()
            feed = Feed(
                WebSocketSettings(url=exchange.ws_url, timeframes=("1m",)),
                network=exchange.network,
                clock=exchange.clock,
                table=lambda: table,
                rest=rest,
                pairs=PAIRS,
                random=QuickRandom(),
            )
            listener = Listener(lambda: 0.0, 0.5)
            begin_s = trio.current_time()
            async with trio.open_nursery() as nursery:
                await nursery.start(feed.run)
                nursery.start_soon(listener.run, feed)
                every = max(1, reconnects // 50)
                for number in range(reconnects + 1):
                    await until(
                        lambda n=number: feed.statistics().reconnects >= n, "a reconnect", 0.2, 900
                    )
                    await feed.wait_live(None, 60)
                    if number % every == 0:
                        rounds.append(Figures.now())
                    if number < reconnects:
                        await exchange.faults.cut()
                facts = feed.statistics()
                nursery.cancel_scope.cancel()
            virtual_s = trio.current_time() - begin_s
            await trio.sleep(60)
            after = Figures.now()
    report.line(
        "virtual: reconnects",
        f"{facts.reconnects:,} in {virtual_s / 3600:.1f} virtual hours",
        good=facts.reconnects >= reconnects,
    )
    report.line(
        "virtual: candles closed, holes left",
        f"{facts.closed_candles:,}, {facts.unfilled_holes}",
        good=facts.closed_candles > 0 and not facts.unfilled_holes,
    )
    report.line("virtual: changes given", f"{listener.changes:,}", good=listener.changes > 0)
    report.growth("virtual", rounds, before, after)
    report.line("virtual: time", f"{time.monotonic() - begin:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument(
        "--part", nargs="*", default=["sockets", "virtual"], choices=["sockets", "virtual"]
    )
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    report = Report()
    if "sockets" in arguments.part:
        trio.run(soak_sockets, report, 10 if arguments.quick else 50, 200_000)
    if "virtual" in arguments.part:
        clock = MockClock(autojump_threshold=0)
        trio.run(soak_virtual, report, 1_000 if arguments.quick else 10_000, clock=clock)
    print("soak failed" if report.failed else "soak passed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
