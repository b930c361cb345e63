"""Draws the pictures of the manual: `python docs/pictures.py`, against the local exchange.

`krakked watch` and `krakked ohlc` as they look on a terminal, light and dark, at two widths, and
without colour. Look at them after a change of either command.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import trio
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme
from rich.text import Text

import krakked
from krakked._cli import ohlc
from krakked._cli.watch import PriceTable
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

OUT = Path(__file__).parent / "pictures"
PAIRS = ["XBTUSD", "ETHUSD", "SOLUSD", "XDGUSD"]
THEMES: dict[str, TerminalTheme] = {"light": DEFAULT_TERMINAL_THEME, "dark": MONOKAI}
WIDTHS = (80, 120)


def recording(width: int, *, colour: bool = True) -> Console:
    """Make a console that remembers what it shows."""
    return Console(
        record=True,
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor" if colour else None,
        no_color=not colour,
    )


def save(console: Console, name: str, title: str, theme: TerminalTheme) -> None:
    """Write what a console has shown."""
    console.save_svg(str(OUT / f"{name}.svg"), title=title, theme=theme, unique_id=name)


async def draw() -> None:
    """Open the local exchange, look for a while, draw."""
    OUT.mkdir(exist_ok=True)
    settings = SandboxSettings(pair_count=60)
    with tempfile.TemporaryDirectory() as directory:
        async with open_sandbox(seed=7, settings=settings) as exchange:
            bars = await look(exchange, exchange.config(directory))
    for width in WIDTHS:
        for name, theme in THEMES.items():
            console = recording(width)
            show(console, bars)
            save(console, f"ohlc-{width}-{name}", "krakked ohlc XBTUSD 1h", theme)
    console = recording(80, colour=False)
    show(console, bars)
    save(console, "ohlc-80-plain", "krakked ohlc XBTUSD 1h (NO_COLOR)", DEFAULT_TERMINAL_THEME)


async def look(exchange: Exchange, config: krakked.KrakkedConfig) -> list[krakked.OHLCBar]:
    """Draw prices, and return the candles to draw."""
    async with krakked.open_kraken(config, pairs=PAIRS, network=exchange.network) as kraken:
        await kraken.wait_live(timeout_s=30)
        tables = {width: PriceTable(PAIRS, "1m", wide=width >= 100) for width in WIDTHS}
        for _ in range(14):
            for table in tables.values():
                table.look(kraken)
            await trio.sleep(1.05)
        for width, table in tables.items():
            for name, theme in THEMES.items():
                console = recording(width)
                console.print(table.look(kraken))
                save(console, f"watch-{width}-{name}", "krakked watch", theme)
        return await kraken.get_ohlc("XBTUSD", "1h", 60)


def show(console: Console, bars: list[krakked.OHLCBar]) -> None:
    """Print what `krakked ohlc` prints, in a form that the console remembers with its colours."""
    shown = io.StringIO()
    caught = Console(
        width=console.width,
        file=shown,
        force_terminal=True,
        color_system=None if console.no_color else "truecolor",
        no_color=console.no_color,
    )
    ohlc.show(caught, "XBTUSD", "1h", bars, plot=True)
    console.print(Text.from_ansi(shown.getvalue()), soft_wrap=True)


if __name__ == "__main__":
    trio.run(draw)
