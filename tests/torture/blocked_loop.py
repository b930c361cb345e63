"""Do prices stay fresh while the user's own code blocks the loop?

    python tests/torture/blocked_loop.py [--seconds 20]

A blaster (benches/stream_blaster.py, a process of its own) sends tickers of 400 symbols as fast as
they are read, pings every second, and cuts whoever has not answered for 10 s. The program then
blocks trio's thread, once asleep and once computing (which keeps the interpreter's lock), while
another thread reads prices. Prints the ages that it saw, and the disconnects; exit status 1 when a
figure is bad. Run by `make blocked`.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import trio
from soak import BENCHES, Report, invented_table, table_names

from krakked._config.settings import WebSocketSettings
from krakked._market.live import LiveReads
from krakked._market.stream.feed import Feed
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork

AGE_S = 0.2
AFTER_S = 3.0
"""How long the stream must hold once the loop turns again."""


class Onlooker(threading.Thread):
    """A thread that reads one price after the other, and notes how old each is."""

    def __init__(self, reads: LiveReads, pairs: list[str], clock: SystemClock) -> None:
        super().__init__()
        self._reads, self._pairs, self._clock = reads, pairs, clock
        self._over = threading.Event()
        self.ages_s: list[float] = []
        self.refused: list[str] = []

    def run(self) -> None:
        number = 0
        while not self._over.wait(0.002):
            number = (number + 1) % len(self._pairs)
            try:
                price = self._reads.get_latest_price(self._pairs[number])
            except Exception as error:
                self.refused.append(str(error))
            else:
                self.ages_s.append(self._clock.wall_ns() / 1e9 - price.last_update_ts)

    def end(self) -> None:
        self._over.set()
        self.join()


def asleep(seconds: float) -> None:
    time.sleep(seconds)


def computing(seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        sum(range(1000))


async def beside_a_blocked_loop(
    report: Report, port: int, control_port: int, seconds: float
) -> None:
    table, clock = invented_table(), SystemClock()
    names = table_names(table)
    feed = Feed(
        WebSocketSettings(url=f"ws://127.0.0.1:{port}/v2", timeframes=()),
        network=SystemNetwork(),
        clock=clock,
        table=lambda: table,
        pairs=names,
        symbols_per_connection=1_000_000,
    )
    with socket.socket() as control:
        async with trio.open_nursery() as nursery:
            await nursery.start(feed.run)
            await feed.wait_live(None, 60)
            control.connect(("127.0.0.1", control_port))
            control.sendall(b"go")
            await trio.sleep(1)
            for block in (asleep, computing):
                onlooker = Onlooker(LiveReads(feed), names, clock)
                before = feed.statistics()
                onlooker.start()
                block(seconds)
                onlooker.end()
                await trio.sleep(AFTER_S)
                tell(report, block.__name__, onlooker)
                after = feed.statistics()
                count = after.frames - before.frames
                report.line(f"{block.__name__}: frames meanwhile", f"{count:,}", good=count > 0)
                lost = after.reconnects - before.reconnects
                report.line(f"{block.__name__}: disconnects", f"{lost}", good=lost == 0)
            nursery.cancel_scope.cancel()


def tell(report: Report, name: str, onlooker: Onlooker) -> None:
    ages = sorted(onlooker.ages_s)
    p99, worst = ages[len(ages) * 99 // 100], ages[-1]
    report.line(
        f"{name}: age of {len(ages):,} prices",
        f"99 % under {p99 * 1000:.1f} ms, {worst * 1000:.1f} ms at most",
        good=worst < AGE_S,
        bound=f"under {AGE_S * 1000:g} ms",
    )
    refused = onlooker.refused
    report.line(f"{name}: refused reads", f"{len(refused)} {refused[:1]}", good=not refused)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    report = Report()
    symbols = [f"{name.removesuffix('USD')}/USD" for name in table_names(invented_table())]
    with tempfile.TemporaryDirectory() as folder:
        orders = Path(folder) / "orders.json"
        orders.write_text(json.dumps({"symbols": symbols, "frames": 10**12, "ping_s": 1.0}))
        blaster = subprocess.Popen(
            [sys.executable, str(BENCHES / "stream_blaster.py"), str(orders)],
            stdout=subprocess.PIPE,
        )
        assert blaster.stdout is not None
        try:
            ports = json.loads(blaster.stdout.readline())
            trio.run(beside_a_blocked_loop, report, ports["port"], ports["control"], seconds)
        finally:
            blaster.kill()
            blaster.wait()
            blaster.stdout.close()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
