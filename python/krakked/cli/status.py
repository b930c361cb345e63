"""`krakked status`: one look at the health of everything."""

from __future__ import annotations

import argparse

import msgspec
import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import krakked
from krakked.market.status import Verdict

COLOURS = {Verdict.OK: "green", Verdict.DEGRADED: "yellow", Verdict.DOWN: "red"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `status` to the command line."""
    parser = subparsers.add_parser("status", help="connect, look, and print the health report")
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help="pairs to stream (default: all)")
    parser.add_argument(
        "--wait", type=float, default=10.0, metavar="S", help="longest wait for first data"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the report; 0 when the verdict is ok, 1 otherwise."""
    status = trio.run(look, arguments.pairs or None, arguments.wait)
    console = Console()
    if arguments.json:
        console.print_json(msgspec.json.encode(status).decode())
    else:
        console.print(status_table(status))
    return 0 if status.verdict is Verdict.OK else 1


async def look(pairs: list[str] | None, wait_s: float) -> krakked.DataStatus:
    """Open everything, wait for first data, give the report."""
    async with krakked.open_kraken(pairs=pairs) as kraken:
        try:
            await kraken.wait_live(timeout_s=wait_s)
        except* krakked.MarketDataError:
            pass  # the report says which pairs, and why
        return kraken.get_data_status()


def status_table(status: krakked.DataStatus) -> Table:
    """Give the report as a table of two columns."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    colour = COLOURS[status.verdict]
    table.add_row("verdict", f"[{colour}]{status.verdict}[/]")
    for reason in status.reasons:
        table.add_row("", escape(reason))
    table.add_row("next step", escape(status.next_action))
    reachable = {True: "reachable", False: "not reachable", None: "not asked yet"}
    table.add_row("REST", reachable[status.rest_reachable])
    for link in status.connections:
        age = "" if link.last_frame_age_s is None else f", last frame {link.last_frame_age_s:.1f} s"
        table.add_row(
            f"stream {link.name}",
            f"{link.state}, {link.acknowledged} of {link.subscriptions} subscriptions{age}",
        )
    table.add_row(
        "live",
        f"{status.pairs_with_recent_ticker} of {status.pairs_streamed} pairs with a fresh ticker",
    )
    table.add_row(
        "traffic",
        f"{status.frames:,} frames, {status.received_bytes:,} bytes, "
        f"{status.reconnects} reconnects",
    )
    table.add_row("exchange", escape(status.system or "not heard yet"))
    copy = " (a copy: Kraken could not be asked)" if status.universe_from_copy else ""
    table.add_row("universe", f"{status.universe_pairs} pairs{copy}")
    table.add_row("limiter", f"one public call every {status.limiter.public_spacing_s:g} s")
    return table
