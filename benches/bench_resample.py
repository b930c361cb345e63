"""Five million 1m candles to 1h, beside Polars and DuckDB, over the same Arrow table in one run.

The peers are asked for the same: first, highest, lowest, last, sums of volume and count, and the
volume-weighted price. They neither check for missing candles nor tell empty ones apart.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from krakked import resample
from krakked._market.store.arrow import SCHEMA

ROWS = 5_000_000
ROUNDS = 7
MOST = 1.3


def candles() -> pa.Table:
    rng = np.random.default_rng(1)
    steps = rng.integers(-50, 51, ROWS)
    close = (np.maximum(np.cumsum(steps), -5_000_000) + 6_000_000) / 100
    opened = np.concatenate(([60_000.0], close[:-1]))
    high, low = np.maximum(opened, close) + 1, np.minimum(opened, close) - 1
    count = rng.integers(0, 60, ROWS)
    volume = np.where(count > 0, rng.integers(1, 10**9, ROWS) / 1e8, 0.0)
    columns = [
        pa.array(np.arange(ROWS, dtype=np.int64) * 60 + 1_400_000_400),
        *(pa.array(values) for values in (opened, high, low, close)),
        pa.array((opened + close) / 2, mask=count == 0),
        pa.array(volume),
        pa.array(count.astype(np.int64)),
        pa.array(np.full(ROWS, 4, np.int8)),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def by_polars(table: pa.Table) -> int:
    frame = pl.from_arrow(table).with_columns(hour=pl.col("time") // 3600 * 3600)
    made = frame.group_by("hour", maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        ((pl.col("vwap") * pl.col("volume")).sum() / pl.col("volume").sum()).alias("vwap"),
        pl.col("volume").sum(),
        pl.col("count").sum(),
    )
    return int(made.height)


def by_duckdb(table: pa.Table) -> int:
    made = duckdb.from_arrow(table).query(
        "candles",
        "SELECT time // 3600 * 3600 AS hour, arg_min(open, time) AS open, max(high) AS high, "
        "min(low) AS low, arg_max(close, time) AS close, "
        "sum(vwap * volume) / sum(volume) AS vwap, sum(volume) AS volume, sum(count) AS count "
        "FROM candles GROUP BY hour ORDER BY hour",
    )
    return int(made.to_arrow_table().num_rows)


def by_krakked(table: pa.Table) -> int:
    return int(resample(table, "1m", "1h", on_gap="join").num_rows)


def main() -> int:
    table = candles()
    contenders: dict[str, Callable[[Any], int]] = {
        "krakked": by_krakked,
        "polars": by_polars,
        "duckdb": by_duckdb,
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    rows = {name: run(table) for name, run in contenders.items()}  # warm
    assert len(set(rows.values())) == 1, rows
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            start = time.perf_counter()
            run(table)
            taken[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{ROWS:,} candles of 1m to {rows['krakked']:,} of 1h, median of {ROUNDS} rounds")
    for name, seconds in medians.items():
        print(f"  {name:10} {seconds * 1e3:8.1f} ms")
    ratio = medians["krakked"] / min(medians["polars"], medians["duckdb"])
    verdict = "pass" if ratio <= MOST else "FAIL"
    print(f"  {verdict}: {ratio:.2f} x the faster of Polars and DuckDB (at most {MOST})")
    return verdict != "pass"


if __name__ == "__main__":
    sys.exit(main())
