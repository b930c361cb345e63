"""`krakked watch PAIR...`: prices until Ctrl-C: a live table, or a line a change in a pipe."""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
import trio
from rich.live import Live
from rich.markup import escape
from rich.table import Table

import krakked
from krakked._cli import terminal
from krakked._cli.arguments import duration
from krakked._timeframes import MINUTES, Timeframe

REFRESH_S: Final = 0.25
SPARKS: Final = "▁▂▃▄▅▆▇█"
SPARKS_SHOWN: Final = 16
"""Prices in a spark line: one a second."""
NARROW: Final = 100
"""Below so many columns the table leaves out what can be done without."""


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "On a terminal a table that is drawn again and again. Anywhere else a line for each "
        "change, written at once: prices, closed candles, and what happens to the stream."
    )
    parser.add_argument("pairs", nargs="+", metavar="PAIR", help="any of Kraken's spellings")
    parser.add_argument(
        "--timeframe", default="1m", choices=list(MINUTES), metavar="TF", help="candle shown (1m)"
    )
    parser.add_argument("--seconds", type=duration, metavar="S", help="stop after so long")
    parser.add_argument("--lines", action="store_true", help="lines on a terminal, too")
    parser.add_argument("--json", action="store_true", help="a JSON object for each change")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show prices until Ctrl-C or the end of the time asked for."""
    trio.run(watch, arguments)
    return 0


async def watch(arguments: argparse.Namespace) -> None:
    """Stream the pairs and show them.

    Raises:
        NetworkError: The time was over and not one price had come.
    """
    console = terminal.console()
    pairs, timeframe, seconds = arguments.pairs, arguments.timeframe, arguments.seconds
    async with krakked.open_kraken(pairs=pairs) as kraken:
        if timeframe not in kraken.feed.timeframes:
            kraken.feed.add_timeframe(timeframe)
        names = [kraken.get_pair_metadata(pair).canonical for pair in pairs]
        with trio.move_on_after(float("inf") if seconds is None else seconds):
            if arguments.lines or arguments.json or not console.is_terminal:
                await print_lines(kraken, names, timeframe, as_json=arguments.json)
            else:
                board = PriceTable(names, timeframe, wide=console.width >= NARROW)
                with Live(console=console, refresh_per_second=8) as live:
                    while True:
                        live.update(board.look(kraken))
                        await trio.sleep(REFRESH_S)
        status = kraken.get_data_status()
        if not status.pairs_with_recent_ticker:
            why = " ".join(status.reasons) or "The markets are quiet."
            raise krakked.NetworkError(f"No price came within {seconds:g} s. {why}")


# --- lines ----------------------------------------------------------------------------------------


async def print_lines(
    kraken: krakked.Kraken, pairs: Sequence[str], timeframe: Timeframe, *, as_json: bool
) -> None:
    """Print each change as it comes, and what there is to begin with."""
    kinds = ["ticker", "candle_closed", "feed"]
    async for change in kraken.changes(pairs, kinds, [timeframe], snapshot=True):
        if as_json:
            facts = {"kind": type(change).__name__, **msgspec.to_builtins(change)}
            print(msgspec.json.encode(facts).decode(), flush=True)
        else:
            print(line_of(change), flush=True)


def line_of(change: object) -> str:
    """Return a change as one line: its time here (UTC), the pair, and what there is to say."""
    moment = f"{datetime.now(UTC):%H:%M:%S}"
    match change:
        case krakked.TickerChange():
            values = (("bid", change.bid), ("ask", change.ask), ("last", change.last))
            shown = "  ".join(f"{name} {_text(value)}" for name, value in values)
            return f"{moment}  {change.pair}  {shown}"
        case krakked.CandleClosed() | krakked.CandleCorrected():
            bar, opened = change.bar, datetime.fromtimestamp(change.bar.time, UTC)
            word = "closed" if isinstance(change, krakked.CandleClosed) else "corrected"
            return (
                f"{moment}  {change.pair}  {change.timeframe} candle of {opened:%H:%M} {word}: "
                f"open {bar.open:.10g}  high {bar.high:.10g}  low {bar.low:.10g}  "
                f"close {bar.close:.10g}  volume {bar.volume:.8g}"
            )
    facts = msgspec.to_builtins(change)
    told = "  ".join(f"{name} {value}" for name, value in facts.items() if value not in (None, ""))
    return f"{moment}  {type(change).__name__}  {told}"


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.10g}"


# --- the table ------------------------------------------------------------------------------------


class PriceTable:
    """The table, and what it remembers to draw: last prices, one a second."""

    def __init__(self, pairs: Sequence[str], timeframe: Timeframe, *, wide: bool) -> None:
        self._pairs, self._timeframe, self._wide = pairs, timeframe, wide
        self._prices: dict[str, deque[float]] = {pair: deque(maxlen=SPARKS_SHOWN) for pair in pairs}
        self._kept_s = 0.0

    def look(self, kraken: krakked.Kraken) -> Table:
        """Read the live prices into a table; what is missing or stale says so."""
        keeps = time.monotonic() - self._kept_s >= 1.0
        if keeps:
            self._kept_s = time.monotonic()
        table = Table(box=None, padding=(0, 2, 0, 0))
        names = ["pair", "bid", "ask", "last", "24 h", f"{self._timeframe} candle"]
        names += ["trend", "age"] if self._wide else ["age"]
        for name in names:
            left = name in {"pair", "trend"}
            table.add_column(name, justify="left" if left else "right", no_wrap=True)
        for pair in self._pairs:
            table.add_row(*self._row(kraken, pair, keeps=keeps))
        return table

    def _row(self, kraken: krakked.Kraken, pair: str, *, keeps: bool) -> list[str]:
        age = day = last = ""
        quotes = ["", ""]
        try:
            ticker = kraken.get_ticker(pair)
        except krakked.MarketDataError as error:
            quotes[1] = _problem(error)
        else:
            age = f"{max(0.0, time.time() - ticker.last_update_ts):.1f} s"
            quotes = [_text(ticker.bid or None), _text(ticker.ask or None)]
            last = _text(ticker.last or None)
            if ticker.change_pct is not None:
                day = _coloured(f"{ticker.change_pct:+.2f} %", ticker.change_pct)
            if ticker.last and keeps:
                self._prices[pair].append(ticker.last)
        try:
            bar = kraken.get_live_ohlc(pair, self._timeframe)
            candle = _coloured(f"{bar.open:.10g} to {bar.close:.10g}", bar.close - bar.open)
        except krakked.MarketDataError as error:
            candle = _problem(error)
        cells = [pair, *quotes, last, day, candle]
        return [*cells, spark_line(self._prices[pair]), age] if self._wide else [*cells, age]


def spark_line(values: Sequence[float]) -> str:
    """Draw numbers as a line of blocks, the least one lowest.

    >>> spark_line([1, 2, 3])
    '▁▄█'
    """
    if not values:
        return ""
    low, span = min(values), max(values) - min(values)
    if span == 0:
        return SPARKS[3] * len(values)
    return "".join(SPARKS[int((value - low) / span * (len(SPARKS) - 1))] for value in values)


def _coloured(text: str, sign: float) -> str:
    colour = "green" if sign > 0 else "red" if sign < 0 else ""
    return f"[{colour}]{text}[/]" if colour else text


def _problem(error: krakked.MarketDataError) -> str:
    if isinstance(error, krakked.DataStaleError):
        return f"[yellow]stale: {error.why}[/]"
    if isinstance(error, krakked.SubscriptionRefusedError):
        return f"[red]{escape(error.reason)}[/]"
    return "[dim]no data yet[/]"
