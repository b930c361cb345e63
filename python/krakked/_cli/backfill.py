"""`krakked backfill`: closed candles into the store, with a plan, a progress bar and an ETA."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path

import trio
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

import krakked
from krakked._cli import terminal
from krakked._cli.arguments import moment
from krakked._errors import ApiError, BackfillTooLargeError
from krakked._market.history.progress import BackfillProgress
from krakked._market.history.report import BackfillReport
from krakked._market.times import utc_minute
from krakked._timeframes import MINUTES


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Begins at the oldest hole after the first stored bar that was not asked for "
        "in vain, or takes the newest 720; --since goes further back with the trades themselves. "
        "What Kraken has confirmed is not fetched again: after Ctrl-C or a kill, run it again and "
        "it goes on where it stopped."
    )
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help="default: the universe")
    parser.add_argument(
        "--timeframe",
        action="append",
        choices=list(MINUTES),
        help="repeatable (default: 1h)",
    )
    parser.add_argument(
        "--since", type=moment, metavar="WHEN", help="2024-01-31, unix seconds, or 0 = listing"
    )
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="PATH",
        help="Kraken's OHLCVT download (zip or folder): use it for what it holds",
    )
    parser.add_argument("--plan", action="store_true", help="say what it would take, fetch nothing")
    parser.add_argument(
        "--allow-long", action="store_true", help="permit plans of more than 2,000 calls"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="ask again for what is confirmed already (without --since: the newest 720)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Back-fill; 0 when everything that Kraken has is stored."""
    return trio.run(backfill, arguments, terminal.console())


async def backfill(arguments: argparse.Namespace, console: Console) -> int:
    """Do one pair and timeframe after the other and print what came of each."""
    timeframes = arguments.timeframe or ["1h"]
    async with krakked.open_kraken(live=False) as kraken:
        pairs = arguments.pairs or kraken.get_universe()
        jobs = [(kraken.get_pair_metadata(p).canonical, t) for p in pairs for t in timeframes]
        if arguments.plan:
            for pair, timeframe in jobs:
                plan = await kraken.plan_backfill(
                    pair, timeframe, arguments.since, force=arguments.force
                )
                console.print(escape(plan.text()), highlight=False, soft_wrap=True)
            return 0
        bars = holes = 0
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %  {task.fields[eta]}"),
            console=console,
            transient=True,
        ) as display:
            meter = _Meter(display, len(jobs))
            for pair, timeframe in jobs:
                try:
                    report = await kraken.backfill_ohlc(
                        pair,
                        timeframe,
                        arguments.since,
                        allow_long=arguments.allow_long,
                        force=arguments.force,
                        progress=meter,
                        archive=arguments.archive,
                    )
                except (ApiError, BackfillTooLargeError) as error:
                    # One pair's trouble; a lost network is everybody's and stops the command.
                    holes += 1
                    console.print(f"{pair} {timeframe}: {escape(str(error))}", soft_wrap=True)
                else:
                    bars += report.bars
                    holes += len(report.missing)
                    _print_missing(console, report)
                meter.next_job()
        console.print(f"{bars:,} bars stored in {len(jobs)} series; {holes} stretches missing.")
    return 0 if not holes else 1


def _print_missing(console: Console, report: BackfillReport) -> None:
    for gap in report.missing:
        first, end = utc_minute(gap.start_s), utc_minute(gap.end_s)
        console.print(
            f"{report.pair} {report.timeframe}: missing {first} to {end}: {escape(gap.why)}",
            soft_wrap=True,
        )


class _Meter:
    """Turns the progress of one job into the bar over all of them."""

    def __init__(self, display: Progress, jobs: int) -> None:
        self._display = display
        self._task = display.add_task("", total=jobs, eta="")
        self._jobs = jobs
        self._done = 0
        self._began = trio.current_time()

    def next_job(self) -> None:
        """Count a finished job."""
        self._done += 1

    def __call__(self, step: BackfillProgress) -> None:
        completed = self._done + step.fraction
        self._display.update(
            self._task,
            completed=completed,
            description=f"{step.pair} {step.timeframe} ({self._done + 1} of {self._jobs}), "
            f"{step.bars:,} bars",
            eta=self._eta(completed),
        )

    def _eta(self, completed: float) -> str:
        """Say how long all the jobs left take at the pace of those before."""
        if not completed:
            return ""
        elapsed_s = trio.current_time() - self._began
        left_s = elapsed_s / completed * (self._jobs - completed)
        return f"{timedelta(seconds=round(left_s))} left"
