"""`krakked import`: Kraken's downloadable history into the candle store."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from krakked.cli import terminal
from krakked.cli.universe import saved_names
from krakked.config.directories import state_of, store_root
from krakked.config.loader import load_config
from krakked.market.history.archive_import import ImportProgress, ImportReport, import_archive
from krakked.market.store.ohlc_store import OHLCStore
from krakked.market.timeframes import MINUTES


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "import",
        help="read Kraken's downloadable OHLCVT and trades files into the store",
        description="Reads the zip as downloaded, a folder, or single CSV files "
        "(XBTUSD_1.csv = candles, XBTUSD.csv = trades). Run it again after an interruption: it "
        "goes on where it stopped.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="zip, folder or CSV file")
    parser.add_argument(
        "--pair", action="append", metavar="PAIR", help="only this pair (repeatable)"
    )
    parser.add_argument(
        "--timeframe",
        action="append",
        choices=[label for label in MINUTES if label != "1w"],
        help="only this timeframe (repeatable)",
    )
    parser.add_argument("--root", metavar="DIR", help="another store than config.yaml's")
    parser.add_argument("--again", action="store_true", help="read finished files anew")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import with a progress bar and print what came of it."""
    config = load_config()
    root = Path(arguments.root) if arguments.root else store_root(config)
    console = terminal.console()
    pairs = None
    if arguments.pair is not None:
        known = saved_names(state_of(config))
        pairs = {known.get(pair, pair) for pair in arguments.pair}
    with (
        OHLCStore(root, backend=config.market_data.ohlc_store.backend) as store,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        ) as bar,
    ):
        task = bar.add_task("looking", total=None)

        def show(step: ImportProgress) -> None:
            bar.update(
                task,
                description=f"{Path(step.label.rpartition('!')[2]).name} ({step.files + 1} of "
                f"{step.files_in_all}), {step.bars:,} bars",
                completed=step.read_bytes,
                total=step.all_bytes,
            )

        report = import_archive(
            store,
            arguments.paths,
            pairs=pairs,
            timeframes=arguments.timeframe,
            again=arguments.again,
            progress=show,
        )
    _print_report(console, report, root)
    if not report.files and not report.known:
        console.print(
            "Nothing in there fits: neither ALTNAME_minutes.csv nor ALTNAME.csv"
            + (" of the pairs and timeframes asked for." if pairs or arguments.timeframe else ".")
        )
        return 1
    return 0


def _print_report(console: Console, report: ImportReport, root: Path) -> None:
    rows = sum(file.rows for file in report.files)
    speed = rows / report.elapsed_s if report.elapsed_s else 0.0
    console.print(
        f"{report.bars:,} new bars of {rows:,} in {len(report.files)} series, "
        f"{report.elapsed_s:.1f} s ({speed:,.0f} a second), in {escape(str(root))}.",
        highlight=False,
        soft_wrap=True,
    )
    if report.known:
        console.print(f"{len(report.known)} files were imported before (--again reads them anew).")
    for skipped in report.skipped:
        console.print(
            f"Passed over: {escape(skipped.label)}: {escape(skipped.why)}", soft_wrap=True
        )
