"""What a start costs: seconds and memory of an import and of a command, beside peers.

    python benches/bench_start.py [--rounds 7]

Each line is a fresh interpreter; the median of the rounds counts, and rounds alternate. Bare Python
and `import trio` are in the same run. Exit status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.util import find_spec

ENVIRONMENT = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
"""With bytecode on disk, as every installed package has it."""
PEAK = "import resource as r; print(r.getrusage(r.RUSAGE_SELF).ru_maxrss)"
"""Prints the most memory that the process has had, in KiB (Linux)."""


@dataclass
class Start:
    """One way of starting."""

    name: str
    command: list[str]
    needs: str = ""
    seconds: list[float] = field(default_factory=list)
    peak_mb: float | None = None

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    def run(self) -> None:
        begin = time.perf_counter()
        subprocess.run(self.command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
        self.seconds.append(time.perf_counter() - begin)

    def weigh(self) -> None:
        if self.command[1] != "-c":
            return
        code = f"{self.command[2]}\n{PEAK}"
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
        )
        self.peak_mb = int(done.stdout.split()[-1]) / 1024


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


STARTS = {
    start.name: start
    for start in (
        Start("bare Python", python("pass")),
        Start("import krakked", python("import krakked")),
        Start("import trio", python("import trio")),
        Start("open_kraken", python("from krakked import open_kraken")),
        Start("krakked --version", [sys.executable, "-m", "krakked", "--version"]),
        Start("krakked --help", [sys.executable, "-m", "krakked", "--help"]),
        Start("python-kraken-sdk", python("from kraken.spot import SpotWSClient"), "kraken"),
        Start("ccxt.pro", python("import ccxt.pro"), "ccxt"),
        Start("cryptofeed", python("from cryptofeed.exchanges import Kraken"), "cryptofeed"),
    )
}


def judge(found: dict[str, Start]) -> list[tuple[bool, str]]:
    bare, trio = found["bare Python"], found["import trio"]
    krakked, face = found["import krakked"], found["open_kraken"]
    version_s = found["krakked --version"].median_s
    limit_s = 3 * bare.median_s + 0.03
    times = krakked.median_s / bare.median_s
    beside_trio = face.median_s / trio.median_s
    return [
        (times <= 1.5, f"import krakked: {times:.2f} x bare Python (at most 1.5)"),
        (beside_trio <= 1.35, f"open_kraken: {beside_trio:.2f} x import trio (at most 1.35)"),
        ((face.peak_mb or 0) <= 34, f"open_kraken: {face.peak_mb:.1f} MB (at most 34)"),
        (version_s <= limit_s, f"krakked --version: {version_s:.3f} s (at most {limit_s:.3f})"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    found = {n: s for n, s in STARTS.items() if not s.needs or find_spec(s.needs) is not None}
    for _ in range(arguments.rounds + 1):
        for start in found.values():
            start.run()
    for start in found.values():
        del start.seconds[0]  # the first round fills the caches of files and bytecode
        start.weigh()
    print(f"Median of {arguments.rounds} starts (load {os.getloadavg()[0]:.1f})")
    for name, start in found.items():
        memory = "" if start.peak_mb is None else f"{start.peak_mb:8.1f} MB"
        print(f"  {name:20} {start.median_s * 1000:8.0f} ms {memory}")
    verdicts = judge(found)
    for met, words in verdicts:
        print(f"  {'pass' if met else 'FAIL'}: {words}")
    return 0 if all(met for met, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
