"""Importing Kraken's OHLCVT zip into fsynced monthly Parquet, beside pandas, Polars and DuckDB.

    python benches/bench_import.py [--rows 5000000] [--rounds 3] [--root DIR]

Everyone starts from the same zip as downloaded and ends in the same partitions (one file a month
and pair, same columns, LZ4, fsynced with its directory). Each contender runs in a process of its
own; rounds alternate, the best round of each counts, peak memory is the process's own. Exits 1 when
a bound is missed: 1.5x pandas, within 1.3x of the faster of Polars and DuckDB, under 500 MB.

Then two worker processes beside one, on a zip of many small files as the whole archive is; no bound
decides there, for one process keeps 1.4 cores busy already, and what is left is the machine's.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

NAMES = ["time", "open", "high", "low", "close", "volume", "count"]
COLUMNS = ["time", "open", "high", "low", "close", "vwap", "volume", "count"]
CONTENDERS = ("krakked", "pandas", "polars", "duckdb")
END_S = 1_790_000_040


def make_zip(path: Path, rows: int) -> None:
    """Two pairs of dense minutes with Kraken's spellings of numbers."""
    draw = random.Random(5)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for pair, digits, start in (("XBTUSD", 1, 840_000), ("ETHUSD", 2, 310_000)):
            price = start
            out = io.StringIO()
            scale = 10**digits
            for time_s in range(END_S - rows // 2 * 60, END_S, 60):
                moves = [draw.randrange(-60, 61) for _ in range(3)]
                opened, close = price, max(price + sum(moves), 1000)
                high, low = max(opened, close) + abs(moves[0]), min(opened, close) - abs(moves[1])
                volume = "4E+2" if draw.random() < 0.001 else f"{draw.random() * 9:.8f}"
                out.write(
                    f"{time_s},{opened / scale},{high / scale},{low / scale},{close / scale},"
                    f"{volume},{draw.randrange(1, 400)}\n"
                )
                price = close
            archive.writestr(f"master_q3/{pair}_1.csv", out.getvalue())
            archive.writestr(f"__MACOSX/master_q3/._{pair}_1.csv", b"\x00\x05\x16\x07")


def make_zip_of_many(path: Path, pairs: int, rows: int) -> None:
    """Every timeframe of many pairs."""
    draw = random.Random(6)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for pair in range(pairs):
            for minutes in (1, 5, 15, 30, 60, 240, 1440):
                first = END_S // 86_400 * 86_400 - 60 * minutes * rows
                lines = (
                    f"{first + 60 * minutes * i},{10 + draw.random():.4f},12,9,"
                    f"{10 + draw.random():.4f},{draw.random() * 9:.8f},{draw.randrange(1, 400)}\n"
                    for i in range(rows)
                )
                archive.writestr(f"master_q3/P{pair:03d}USD_{minutes}.csv", "".join(lines))


def beside_two_workers(work: Path, rounds: int) -> str:
    source = work / "many.zip"
    make_zip_of_many(source, pairs=100, rows=3_000)
    best: dict[int, float] = {}
    for _ in range(rounds):
        for workers in (1, 2):
            root = work / "many"
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            os.sync()
            began = time.perf_counter()
            with_krakked(source, root, workers=workers)
            best[workers] = min(best.get(workers, 1e9), time.perf_counter() - began)
    return (
        f"700 small files: {best[1]:.2f} s with one process, {best[2]:.2f} s with two workers: "
        f"{best[1] / best[2]:.2f}x on {os.cpu_count()} cores"
    )


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def members(source: Path) -> list[str]:
    with zipfile.ZipFile(source) as archive:
        names = archive.namelist()
    return [n for n in names if n.endswith("_1.csv") and not n.startswith("__MACOSX")]


def folder_of(member: str, root: Path) -> Path:
    pair = Path(member).name.removesuffix("_1.csv")
    folder = root / "bars" / "timeframe=1m" / f"pair={pair}"
    folder.mkdir(parents=True)
    return folder


def with_krakked(source: Path, root: Path, *, workers: int = 1) -> None:
    from krakked._market.history.archive_import import import_archive
    from krakked._market.store.ohlc_store import OHLCStore

    with OHLCStore(root) as store:
        import_archive(store, [source], workers=workers)


def with_pandas(source: Path, root: Path) -> None:
    import pandas as pd

    for member in members(source):
        folder = folder_of(member, root)
        with zipfile.ZipFile(source) as archive, archive.open(member) as stream:
            frame = pd.read_csv(stream, header=None, names=NAMES)
        frame["vwap"] = float("nan")
        months = pd.to_datetime(frame["time"], unit="s").dt.strftime("%Y-%m")
        for month, part in frame.groupby(months, sort=False):
            path = folder / f"{month}.parquet"
            part[COLUMNS].to_parquet(path, index=False, compression="lz4")
            sync(path)
        sync(folder)


def with_polars(source: Path, root: Path) -> None:
    import polars as pl

    for member in members(source):
        folder = folder_of(member, root)
        with zipfile.ZipFile(source) as archive:
            data = archive.read(member)
        dtypes = dict.fromkeys(NAMES, pl.Float64) | {"time": pl.Int64, "count": pl.Int64}
        frame = pl.read_csv(data, has_header=False, new_columns=NAMES, schema=dtypes)
        frame = frame.with_columns(
            pl.lit(None, pl.Float64).alias("vwap"),
            pl.from_epoch("time", time_unit="s").dt.strftime("%Y-%m").alias("month"),
        )
        for (month,), part in frame.partition_by("month", as_dict=True).items():
            path = folder / f"{month}.parquet"
            part.select(COLUMNS).write_parquet(path, compression="lz4")
            sync(path)
        sync(folder)


def with_duckdb(source: Path, root: Path) -> None:
    import duckdb

    spare = root / "unzipped"
    for member in members(source):
        folder = folder_of(member, root)
        with zipfile.ZipFile(source) as archive:
            path = archive.extract(member, spare)
        types = {n: "BIGINT" if n in {"time", "count"} else "DOUBLE" for n in NAMES}
        parts = spare / f"parts-{folder.name}"
        columns = ", ".join("NULL::DOUBLE AS vwap" if n == "vwap" else n for n in COLUMNS)
        duckdb.sql(
            f"COPY (SELECT {columns}, strftime(to_timestamp(time), '%Y-%m') AS month "
            f"FROM read_csv('{path}', header=false, columns={types})) TO '{parts}' "
            "(FORMAT parquet, PARTITION_BY (month), COMPRESSION lz4)"
        )
        for part in sorted(parts.iterdir()):
            (only,) = part.iterdir()
            target = folder / f"{part.name.removeprefix('month=')}.parquet"
            only.rename(target)
            sync(target)
        sync(folder)
    shutil.rmtree(spare)


def contend(name: str, source: Path, root: Path) -> None:
    """Run one contender here, and say how it went as one line of JSON."""
    work: Callable[[Path, Path], None] = globals()[f"with_{name}"]
    # Loading a library is not importing a file.
    import_module("krakked._market.history.archive_import" if name == "krakked" else name)
    began = time.perf_counter()
    work(source, root)
    spent_s = time.perf_counter() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"spent_s": spent_s, "peak_mb": peak_mb}))


def digest(root: Path, *, edges: bool) -> dict[str, tuple[int, float, float]]:
    """What lies in the partitions, for comparison: rows, sum of closes, sum of volumes.

    krakked keeps the last candle of a file apart, since trades of it may be missing; where `edges`
    says that they are there, they are not counted.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found = {}
    paths = sorted((root / "bars").rglob("*.parquet"))
    last = {path.parent: path for path in paths}
    for path in paths:
        with path.open("rb") as stream:
            table = pq.ParquetFile(stream).read(columns=["time", "close", "volume"])
        if edges and last[path.parent] == path:
            newest = pc.max(table.column("time"))
            table = table.filter(pc.less(table.column("time"), newest))  # DuckDB's are in no order
        sums = (round(pc.sum(table.column(c)).as_py(), 3) for c in ("close", "volume"))
        found[str(path.relative_to(root))] = (table.num_rows, *sums)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", type=Path, help="where to work; default: a temporary directory")
    parser.add_argument("--contend", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contend:
        name, source, root = arguments.contend
        contend(name, Path(source), Path(root))
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.root) as work:
        source = Path(work) / "Kraken_OHLCVT.zip"
        make_zip(source, arguments.rows)
        print(f"{arguments.rows:,} rows, zip of {source.stat().st_size / 1e6:.0f} MB")
        best: dict[str, dict[str, float]] = {}
        digests = {}
        for _ in range(arguments.rounds):
            for name in CONTENDERS:
                root = Path(work) / name
                shutil.rmtree(root, ignore_errors=True)
                root.mkdir()
                os.sync()
                command = [sys.executable, __file__, "--contend", name, str(source), str(root)]
                told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                kept = best.setdefault(name, told)
                kept["spent_s"] = min(kept["spent_s"], told["spent_s"])
                kept["peak_mb"] = max(kept["peak_mb"], told["peak_mb"])
                digests[name] = digest(root, edges=name != "krakked")
        workers = beside_two_workers(Path(work), arguments.rounds)
    for name, told in best.items():
        print(f"{name:9} {told['spent_s']:6.2f} s  peak {told['peak_mb']:6.0f} MB")
    ours = best["krakked"]
    pandas = best["pandas"]["spent_s"] / ours["spent_s"]
    faster = min(best["polars"]["spent_s"], best["duckdb"]["spent_s"])
    ratio = ours["spent_s"] / faster
    same = all(found == digests["krakked"] for found in digests.values())
    print(f"{pandas:.2f}x pandas (bound 1.5)")
    print(f"{ratio:.2f} of the faster of Polars and DuckDB (bound 1.3)")
    print(f"{ours['peak_mb']:.0f} MB at most (bound 500); partitions equal: {same}")
    print(workers)
    return 0 if pandas >= 1.5 and ratio <= 1.3 and ours["peak_mb"] < 500 and same else 1


if __name__ == "__main__":
    sys.exit(main())
