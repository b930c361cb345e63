"""`krakked import`: Kraken's downloadable history into the candle store."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

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

from krakked._cli import terminal
from krakked._cli.arguments import workers
from krakked._cli.universe import saved_names
from krakked._config.directories import state_of, store_root
from krakked._config.loader import load_config
from krakked._market.history.archive_import import import_archive
from krakked._market.history.import_report import (
    BadLines,
    ImportedFile,
    ImportProgress,
    ImportReport,
)
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.times import utc_minute
from krakked._timeframes import TRADE_TIMEFRAMES

SHOWN: Final = 20
"""Files of one kind that are named."""


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Reads the zip as downloaded, a folder, or single CSV files "
        "(XBTUSD_1.csv = candles, XBTUSD.csv = trades; .csv.gz likewise). Bad lines are left out "
        "and told. Run it again after an interruption: it goes on where it stopped."
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="zip, folder or CSV file")
    parser.add_argument(
        "--pair", action="append", metavar="PAIR", help="only this pair (repeatable)"
    )
    parser.add_argument(
        "--timeframe",
        action="append",
        choices=TRADE_TIMEFRAMES,
        help="only this timeframe (repeatable)",
    )
    parser.add_argument("--root", metavar="DIR", help="another store than config.yaml's")
    parser.add_argument("--again", action="store_true", help="read finished files anew")
    parser.add_argument(
        "--strict", action="store_true", help="a bad line ends its file, and the run, in an error"
    )
    parser.add_argument(
        "--workers",
        type=workers,
        default=1,
        metavar="N",
        help="processes that share the work (default: 1)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import with a progress bar and print what came of it."""
    config = load_config()
    root = Path(arguments.root) if arguments.root else store_root(config)
    console = terminal.console()
    names = saved_names(state_of(config))
    canonical = _lookup(names)
    pairs = None
    if arguments.pair is not None:
        pairs = {canonical(pair) or pair for pair in arguments.pair}
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
            canonical=canonical if names else None,
            again=arguments.again,
            strict=arguments.strict,
            workers=arguments.workers,
            progress=show,
        )
    _print_report(console, report, root)
    if report.files and not names:
        console.print(
            "No list of pairs is known yet, so pairs are stored under the names that the files "
            "have. `krakked universe` fetches the list.",
            soft_wrap=True,
        )
    if not report.files and not report.known:
        console.print(
            "Nothing in there fits: neither ALTNAME_minutes.csv nor ALTNAME.csv"
            + (" of the pairs and timeframes asked for." if pairs or arguments.timeframe else ".")
        )
        return 1
    # What was left out for what it is, such as a readme, takes nothing from the whole.
    unread = report.failed or report.bad or any(each.unreadable for each in report.skipped)
    return 1 if unread else 0


def _lookup(names: Mapping[str, str]) -> Callable[[str], str | None]:
    """Make a lookup of the spellings in the saved list, those without their slash included."""
    plain: dict[str, set[str]] = {}
    for spelling, canonical in names.items():
        plain.setdefault(spelling.replace("/", ""), set()).add(canonical)

    def canonical_of(name: str) -> str | None:
        found = plain.get(name, set())
        return names.get(name) or (next(iter(found)) if len(found) == 1 else None)

    return canonical_of


def _print_report(console: Console, report: ImportReport, root: Path) -> None:
    rows = sum(file.rows for file in report.files)
    replaced = report.bars - report.new_bars
    speed = rows / report.elapsed_s if report.elapsed_s else 0.0
    console.print(
        f"{report.new_bars:,} new bars of {rows:,} in {report.series} series, "
        + (f"{replaced:,} replaced, " if replaced else "")
        + f"{report.elapsed_s:.1f} s ({speed:,.0f} a second), in {escape(str(root))}.",
        highlight=False,
        soft_wrap=True,
    )
    if report.known:
        console.print(f"{len(report.known)} files were imported before (--again reads them anew).")
    _print_some(console, [f"Passed over: {each.label}: {each.why}" for each in report.skipped])
    _print_some(console, [f"Failed: {each.label}: {each.why}" for each in report.failed])
    _print_some(console, [_bad_lines(file) for file in report.bad])
    _print_some(
        console,
        [
            f"{file.label}, {file.pair} {file.timeframe}: {file.differing:,} candles differ from "
            "those of a file read before: the later ones are stored."
            for file in report.files
            if file.differing
        ],
    )
    _print_some(console, [_silences(file) for file in report.files if file.silent])
    _print_some(
        console,
        [
            f"Left out {file.running:,} candles of {file.timeframe} of {file.label}: not ended yet."
            for file in report.files
            if file.running
        ],
    )
    if report.unlisted:
        named = ", ".join(report.unlisted[:SHOWN])
        more = f" and {len(report.unlisted) - SHOWN} more" if len(report.unlisted) > SHOWN else ""
        _print_some(
            console,
            [
                f"Not among the pairs that Kraken listed last, stored under their own names: "
                f"{named}{more}. (krakked universe asks for the list again.)"
            ],
        )


def _bad_lines(file: BadLines) -> str:
    told = "; ".join(f"line {bad.line}: {bad.problem}" for bad in file.first)
    more = "; ..." if file.count > len(file.first) else ""
    return f"Left out {file.count:,} bad lines of {file.label}: {told}{more}"


def _silences(file: ImportedFile) -> str:
    told = "; ".join(
        f"the stretch from {utc_minute(start_s)} to {utc_minute(end_s)} has no line: left open"
        for start_s, end_s in file.silent[:3]
    )
    more = f"; and {len(file.silent) - 3:,} more such stretches" if len(file.silent) > 3 else ""
    return f"{file.label}, {file.pair} {file.timeframe}: {told}{more}."


def _print_some(console: Console, lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        console.print(escape(line), highlight=False, soft_wrap=True)
    if len(lines) > SHOWN:
        console.print(f"... and {len(lines) - SHOWN:,} files more like these.", highlight=False)
