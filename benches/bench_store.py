"""The store's costs: appends against the length of history, live bars, the newest 500 of 5 million.

Run: python benches/bench_store.py [--root DIR] [--rows 5000000]
Prints one line per figure and exits 1 when a ratio misses its bound. Rounds are interleaved, so
that a busy machine or disk hits every length of history alike.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from krakked._market.bars import OHLCBar, Source
from krakked._market.store.ohlc_store import OHLCStore

END = 1_794_100_000 // 60 * 60  # 2026-11-08: every history ends at the same minute
MONTH = 1_793_491_200  # 2026-11-01 00:00 UTC
PAIR = "XBTUSD"


def columns(rows: int, start: int) -> dict[str, array]:
    """A walk of prices; cheap to make, not cheap to compress."""
    state, price = 12345, 840_019
    closes = array("d")
    volumes = array("d")
    counts = array("q")
    for _ in range(rows):
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        price = max(price + (state >> 33) % 101 - 50, 1)
        closes.append(price / 10)
        volumes.append(((state >> 20) & 0xFFFFFFFF) / 1e8)
        counts.append(1 + (state >> 40) % 50)
    times = array("q", range(start, start + 60 * rows, 60))
    return {
        "time": times,
        "open": closes,
        "high": closes,
        "low": closes,
        "close": closes,
        "vwap": closes,
        "volume": volumes,
        "count": counts,
    }


def bars(count: int, start: int) -> list[OHLCBar]:
    return [
        OHLCBar(start + 60 * i, 84001.9, 85010.0, 83990.1, 84000.0 + i, 84000.5, 1.5, 12)
        for i in range(count)
    ]


def build(root: Path, rows: int) -> OHLCStore:
    store = OHLCStore(root)
    start = END - 60 * rows
    raw = columns(rows, start)
    spent = timed(lambda: store.import_columns(PAIR, "1m", raw, Source.REST, [(start, END)]))
    print(f"{rows:>9,} bars imported durably in {spent:.2f} s")
    return store


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bench_month(root: Path) -> None:
    """The same, where it matters most: a month that has just begun, and one that is nearly full."""
    told = []
    for rows in (600, 10_000, 43_000):
        store = OHLCStore(root / f"month-{rows}")
        end = MONTH + 60 * rows
        store.import_columns(PAIR, "1m", columns(rows, MONTH), Source.REST, [(MONTH, end)])
        spent = []
        for _ in range(40):
            new = bars(1, end)
            spent.append(timed(lambda s=store, b=new: s.append_bars(PAIR, "1m", b)))
            end += 60
        told.append(f"{rows:,}: {statistics.median(spent) * 1e3:.2f} ms")
    print(f"append   1 bars to a month that holds {', '.join(told)} (no bound)")


def bench_append(stores: dict[int, OHLCStore], count: int, rounds: int) -> float:
    """Append `count` bars to each history in turn; the ratio of the slowest to the fastest."""
    spent: dict[int, list[float]] = {rows: [] for rows in stores}
    ends = {rows: int(store.last_closed(PAIR, "1m") or 0) + 60 for rows, store in stores.items()}
    for _ in range(rounds):
        for rows, store in stores.items():
            end = ends[rows]
            new = bars(count, end)
            ends[rows] = covered = end + 60 * count
            spent[rows].append(
                timed(
                    lambda s=store, b=new, r=(end, covered): s.append_bars(PAIR, "1m", b, covered=r)
                )
            )
    middle = {rows: statistics.median(values) * 1e3 for rows, values in spent.items()}
    ratio = max(middle.values()) / min(middle.values())
    shown = ", ".join(f"{rows:,}: {value:.2f} ms" for rows, value in middle.items())
    print(
        f"append {count:>3} bars to histories of {shown}; slowest/fastest {ratio:.2f} (bound 1.5)"
    )
    return ratio


def bench_live(root: Path, pairs: int = 592, minutes: int = 10) -> float:
    """CPU of accepting one minute of live 1m bars durably."""
    store = OHLCStore(root)
    names = [f"PAIR{i:03d}USD" for i in range(pairs)]
    cpu, wall = [], []
    for minute in range(minutes):
        batch = [(name, bars(1, END + 60 * minute)[0]) for name in names]
        began_cpu, began = time.process_time(), time.perf_counter()
        store.append_provisional("1m", batch)
        cpu.append(time.process_time() - began_cpu)
        wall.append(time.perf_counter() - began)
    print(
        f"{pairs} live 1m bars accepted durably: {max(cpu) * 1e3:.1f} ms of CPU at most, "
        f"{statistics.median(wall) * 1e3:.1f} ms by the clock (bound 500 ms of CPU)"
    )
    began_cpu, began = time.process_time(), time.perf_counter()
    report = store.fold_journal()
    print(
        f"folding {report.bars} of them into {report.series} series: "
        f"{time.process_time() - began_cpu:.2f} s of CPU, {time.perf_counter() - began:.2f} s"
    )
    return max(cpu)


def bench_newest(store: OHLCStore, rounds: int = 60) -> float:
    """The newest 500 of a long history as Arrow, against a bare read of the newest partition."""
    folder = store.root / "bars" / "timeframe=1m" / f"pair={PAIR}"
    newest = max(folder.iterdir())
    fullest = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    ours, bare, full = [], [], []
    for _ in range(rounds):
        ours.append(timed(lambda: store.get_columns(PAIR, "1m", lookback=500)))
        bare.append(timed(lambda: pq.read_table(newest, partitioning=None)))
        full.append(timed(lambda: pq.read_table(fullest, partitioning=None)))
    mine, theirs, whole = (statistics.median(values) * 1e3 for values in (ours, bare, full))
    assert store.get_columns(PAIR, "1m", lookback=500).num_rows == 500
    print(
        f"newest 500 bars as Arrow: {mine:.2f} ms; bare pyarrow read of that partition "
        f"({pq.read_metadata(newest).num_rows:,} rows): {theirs:.2f} ms; ratio {mine / theirs:.2f} "
        f"(bound 2); a full month takes {whole:.2f} ms"
    )
    listed = statistics.median(
        timed(lambda: store.get_bars(PAIR, "1m", lookback=720)) for _ in range(rounds)
    )
    print(f"newest 720 bars as a list of OHLCBar: {listed * 1e3:.2f} ms")
    return mine / theirs


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="krakked-bench-store-", dir=arguments.root))
    try:
        sizes = (10_000, arguments.rows // 5, arguments.rows)
        stores = {rows: build(root / str(rows), rows) for rows in sizes}
        kept = [
            bench_newest(stores[arguments.rows]) < 2,
            bench_append(stores, 1, 60) <= 1.5,
            bench_append(stores, 720, 12) <= 1.5,
            bench_live(root / "live") < 0.5,
        ]
        bench_month(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
