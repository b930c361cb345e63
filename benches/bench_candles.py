"""A tape of trades to 1m candles, beside Polars' group_by_dynamic.

    python benches/bench_candles.py [--trades 5000000] [--rounds 3]

Both start from the same time-and-sales CSV (unix seconds, price, volume) and end with the same
open, high, low, close, vwap, volume and count. Ours reads it piece by piece; a second run over a
tape four times as long shows that its memory does not grow. A third figure feeds REST pages.
Contenders run in processes of their own, rounds alternate, the best of each counts. Exits 1 when
Polars is faster, the candles differ, or memory grows.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PIECE = 1 << 20
GROWTH_MB = 8.0
"""What the longer tape may take more: noise of the allocator."""


def make_tape(path: Path, trades: int) -> None:
    draw = random.Random(3)
    time_s, price = 1_600_000_000.0, 500_000
    with path.open("w") as out:
        for at in range(trades):
            time_s += draw.expovariate(1 / 2.5) if draw.random() > 0.4 else 0.0
            price = max(price + draw.randrange(-20, 21), 1000)
            out.write(f"{time_s:.4f},{price / 10},{draw.random():.8f}\n")
            if at % 50_000 == 0:
                time_s += 600  # a quiet stretch


def sums(columns: dict[str, list[float]]) -> list[float]:
    return [math.fsum(columns[n]) for n in ("open", "high", "low", "close", "volume", "count")]


def with_krakked(path: Path) -> tuple[int, list[float], list[float]]:
    from krakked._core import CandleBuilder

    builder = CandleBuilder([1])
    candles, totals, vwaps = 0, [0.0] * 6, []
    with path.open("rb") as stream:
        piece = stream.read(PIECE)
        while piece:
            after = stream.read(PIECE)
            builder.add_csv(piece, is_last=not after)
            # Taken on the way, as the importer does: the tape is never in memory.
            taken = builder.take(1, None if not after else builder.newest_s(1))
            count = len(taken["time"]) // 8
            rows = {
                n: struct.unpack(f"<{count}{'q' if n == 'count' else 'd'}", taken[n])
                for n in ("open", "high", "low", "close", "volume", "count")
            }
            totals = [a + b for a, b in zip(totals, sums(rows), strict=True)]
            vwaps.append(math.fsum(struct.unpack(f"<{count}d", taken["vwap"])))
            candles += count
            piece = after
    return candles, totals, vwaps


def with_polars(path: Path) -> tuple[int, list[float], list[float]]:
    import polars as pl

    frame = pl.read_csv(
        path,
        has_header=False,
        new_columns=["time", "price", "volume"],
        schema=dict.fromkeys(["time", "price", "volume"], pl.Float64),
    )
    frame = frame.with_columns((pl.col("time") * 1e6).cast(pl.Int64).cast(pl.Datetime("us")))
    candles = frame.group_by_dynamic("time", every="1m").agg(
        pl.col("price").first().alias("open"),
        pl.col("price").max().alias("high"),
        pl.col("price").min().alias("low"),
        pl.col("price").last().alias("close"),
        (pl.col("price").dot("volume") / pl.col("volume").sum()).alias("vwap"),
        pl.col("volume").sum(),
        pl.len().alias("count"),
    )
    rows = {n: candles[n].to_list() for n in ("open", "high", "low", "close", "volume", "count")}
    return len(candles), sums(rows), [math.fsum(candles["vwap"])]


def contend(name: str, path: Path) -> None:
    __import__("polars" if name == "polars" else "krakked._core")
    began = time.perf_counter()
    candles, totals, vwaps = globals()[f"with_{name}"](path)
    spent_s = time.perf_counter() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {"spent_s": spent_s, "peak_mb": peak_mb, "candles": candles}
    print(json.dumps({**told, "sums": [*totals, math.fsum(vwaps)]}))


def pages_per_second(trades: int) -> float:
    """Trades a second out of REST pages of 1,000, from bytes to candles."""
    from krakked._core import CandleBuilder

    draw = random.Random(9)
    pages = []
    for first in range(1, trades, 1000):
        rows = ",".join(
            f'["{50_000 + draw.randrange(1000) / 10:.5f}","{draw.random():.8f}",'
            f'{1_700_000_000 + (first + n) * 2}.1234567,"b","l","",{first + n}]'
            for n in range(1000)
        )
        pages.append(f'{{"error":[],"result":{{"XXBTZUSD":[{rows}],"last":"1"}}}}'.encode())
    began = time.perf_counter()
    builder = CandleBuilder([1])
    for page in pages:
        builder.add_page(page)
    builder.take(1)
    return len(pages) * 1000 / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trades", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contend", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contend:
        contend(arguments.contend[0], Path(arguments.contend[1]))
        return 0

    def run(name: str, path: Path) -> dict[str, float]:
        command = [sys.executable, __file__, "--contend", name, str(path)]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    with tempfile.TemporaryDirectory() as work:
        tape, longer = Path(work) / "tape.csv", Path(work) / "longer.csv"
        make_tape(tape, arguments.trades)
        make_tape(longer, arguments.trades * 4)
        rounds = [
            {name: run(name, tape) for name in ("krakked", "polars")}
            for _ in range(arguments.rounds)
        ]
        best = {
            name: min((r[name] for r in rounds), key=lambda told: told["spent_s"])
            for name in rounds[0]
        }
        long_run = run("krakked", longer)
    for name, told in best.items():
        print(
            f"{name:8} {told['spent_s']:6.2f} s  peak {told['peak_mb']:5.0f} MB  "
            f"{told['candles']:,} candles of {arguments.trades:,} trades"
        )
    ratio = best["polars"]["spent_s"] / best["krakked"]["spent_s"]
    growth_mb = long_run["peak_mb"] - best["krakked"]["peak_mb"]
    same = best["krakked"]["candles"] == best["polars"]["candles"] and all(
        math.isclose(a, b, rel_tol=1e-9)
        for a, b in zip(best["krakked"]["sums"], best["polars"]["sums"], strict=True)
    )
    print(f"{ratio:.2f}x Polars (bound 1.0); the candles agree: {same}")
    print(f"{growth_mb:+.1f} MB for a tape four times as long (bound {GROWTH_MB})")
    print(f"{pages_per_second(200_000):,.0f} trades a second out of REST pages")
    return 0 if ratio >= 1.0 and growth_mb <= GROWTH_MB and same else 1


if __name__ == "__main__":
    sys.exit(main())
