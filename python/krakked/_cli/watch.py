"""`krakked watch PAIR...`: a live table of prices, until Ctrl-C."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import trio
from rich.live import Live
from rich.markup import escape
from rich.table import Table

import krakked
from krakked._cli import terminal
from krakked._cli.arguments import duration
from krakked._timeframes import Timeframe

REFRESH_S = 0.25


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.add_argument("pairs", nargs="+", metavar="PAIR", help="any of Kraken's spellings")
    parser.add_argument("--timeframe", default="1m", metavar="TF", help="candle shown (1m)")
    parser.add_argument("--seconds", type=duration, metavar="S", help="stop after so long")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the table until Ctrl-C or the end of the time asked for."""
    trio.run(watch, arguments.pairs, arguments.timeframe, arguments.seconds)
    return 0


async def watch(pairs: list[str], timeframe: Timeframe, seconds: float | None) -> None:
    """Stream the pairs and redraw the table.

    Raises:
        NetworkError: The time was over and not one price had come.
    """
    console = terminal.console()
    async with krakked.open_kraken(pairs=pairs) as kraken:
        if timeframe not in kraken.feed.timeframes:
            kraken.feed.add_timeframe(timeframe)
        names = [kraken.get_pair_metadata(pair).canonical for pair in pairs]
        with (
            Live(console=console, refresh_per_second=8) as live,
            trio.move_on_after(float("inf") if seconds is None else seconds),
        ):
            while True:
                live.update(price_table(kraken, names, timeframe))
                await trio.sleep(REFRESH_S)
        status = kraken.get_data_status()
        if not status.pairs_with_recent_ticker:
            why = " ".join(status.reasons) or "The markets are quiet."
            raise krakked.NetworkError(f"No price came within {seconds:g} s. {why}")


def price_table(kraken: krakked.Kraken, pairs: Sequence[str], timeframe: Timeframe) -> Table:
    """Read the live prices of some pairs into a table; what is missing or stale says so."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("pair", "bid", "ask", "last", f"{timeframe} candle", "age"):
        table.add_column(column, justify="left" if column == "pair" else "right", no_wrap=True)
    for pair in pairs:
        age = ""
        try:
            quote = kraken.get_best_bid_ask(pair)
            age = f"{max(0.0, time.time() - quote.last_update_ts):.1f} s"
            cells = [f"{quote.bid:.10g}", f"{quote.ask:.10g}"]
        except krakked.MarketDataError as error:
            cells = ["", _problem(error)]
        try:
            cells.append(f"{kraken.get_latest_price(pair).price:.10g}")
        except krakked.MarketDataError:
            cells.append("")
        try:
            bar = kraken.get_live_ohlc(pair, timeframe)
            cells.append(f"{bar.open:.10g} to {bar.close:.10g}")
        except krakked.MarketDataError as error:
            cells.append(_problem(error))
        table.add_row(pair, *cells, age)
    return table


def _problem(error: krakked.MarketDataError) -> str:
    if isinstance(error, krakked.DataStaleError):
        return f"[yellow]stale: {error.why}[/]"
    if isinstance(error, krakked.SubscriptionRefusedError):
        return f"[red]{escape(error.reason)}[/]"
    return "[dim]no data yet[/]"
