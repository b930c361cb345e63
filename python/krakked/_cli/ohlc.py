"""`krakked ohlc PAIR [TIMEFRAME]`: closed candles, printed and drawn."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from types import ModuleType

import msgspec
import trio
from rich.console import Console
from rich.table import Table

import krakked
from krakked._cli import terminal
from krakked._cli.arguments import count
from krakked._timeframes import MINUTES

FIELDS = msgspec.structs.fields(krakked.OHLCBar)
SHOWN = 12
"""Candles in the table below a chart."""
CHART_LINES = 18


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Closed candles of one pair, oldest first: from the store, and from Kraken what is missing "
        "there. In a terminal they are drawn as well (pip install 'krakked[plot]')."
    )
    parser.add_argument("pair", metavar="PAIR", help="any of Kraken's spellings")
    parser.add_argument(
        "timeframe", nargs="?", default="1h", choices=list(MINUTES), metavar="TIMEFRAME", help="1h"
    )
    parser.add_argument(
        "--count", type=count, default=60, metavar="N", help="how many, the newest ones (60)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a JSON object a line")
    form.add_argument("--csv", action="store_true", help="a line a candle, with a line of names")
    form.add_argument("--plot", action="store_true", help="draw them, into a pipe as well")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print candles; 0 when there is one at least."""
    pair, bars = trio.run(read, arguments.pair, arguments.timeframe, arguments.count)
    if arguments.json:
        for bar in bars:
            print(msgspec.json.encode(bar).decode())
    elif arguments.csv:
        write_csv(bars)
    else:
        show(terminal.console(), pair, arguments.timeframe, bars, plot=arguments.plot)
    return 0 if bars else 1


async def read(
    pair: str, timeframe: krakked.Timeframe, lookback: int
) -> tuple[str, list[krakked.OHLCBar]]:
    """Return the canonical name and the newest closed candles."""
    async with krakked.open_kraken(live=False) as kraken:
        name = kraken.get_pair_metadata(pair).canonical
        return name, await kraken.get_ohlc(name, timeframe, lookback)


def write_csv(bars: Sequence[krakked.OHLCBar]) -> None:
    """Write a line a candle; a price that there is none of is empty."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([field.name for field in FIELDS])
    writer.writerows(msgspec.structs.astuple(bar) for bar in bars)


def show(
    console: Console, pair: str, timeframe: str, bars: Sequence[krakked.OHLCBar], *, plot: bool
) -> None:
    """Draw the candles where that can be seen or is asked for, and list the newest."""
    if not bars:
        console.print(f"{pair} {timeframe}: Kraken has no closed candle.", highlight=False)
        return
    drawn = False
    if plot or console.is_terminal:
        library = plotter(needed=plot)
        if library is not None:
            draw(console, library, f"{pair} {timeframe}", bars)
            drawn = True
    console.print(bar_table(bars[-SHOWN:] if drawn else bars))


def plotter(*, needed: bool) -> ModuleType | None:
    """Return the library that draws.

    Raises:
        ModuleNotFoundError: It is not installed, and needed.
    """
    try:
        import plotext  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        if needed:
            raise
        return None
    library: ModuleType = plotext
    return library


def draw(console: Console, plot: ModuleType, title: str, bars: Sequence[krakked.OHLCBar]) -> None:
    """Draw candlesticks over the width of the terminal, rising ones green, falling ones red."""
    width = max(console.width, 40)
    kept = bars[-(width - 14) :]  # a column each, beside the prices
    moments = [datetime.fromtimestamp(bar.time, UTC).strftime("%d/%m/%Y %H:%M") for bar in kept]
    plot.clear_figure()
    plot.theme("clear")
    plot.date_form("d/m/Y H:M")
    plot.plotsize(width, CHART_LINES)
    plot.title(title)
    plot.candlestick(
        moments,
        {
            "Open": [bar.open for bar in kept],
            "High": [bar.high for bar in kept],
            "Low": [bar.low for bar in kept],
            "Close": [bar.close for bar in kept],
        },
    )
    text = plot.build()
    if console.color_system is None or console.no_color:
        text = plot.uncolorize(text)
    console.out(text.rstrip("\n"), highlight=False)


def bar_table(bars: Sequence[krakked.OHLCBar]) -> Table:
    """List candles, oldest first."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("opens (UTC)", "open", "high", "low", "close", "volume", "trades"):
        table.add_column(
            name, justify="left" if name.startswith("opens") else "right", no_wrap=True
        )
    for bar in bars:
        colour = "green" if bar.close > bar.open else "red" if bar.close < bar.open else "default"
        table.add_row(
            f"{datetime.fromtimestamp(bar.time, UTC):%Y-%m-%d %H:%M}",
            *(f"{price:.10g}" for price in (bar.open, bar.high, bar.low)),
            f"[{colour}]{bar.close:.10g}[/]",
            f"{bar.volume:.8g}",
            str(bar.count),
        )
    return table
