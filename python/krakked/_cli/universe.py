"""`krakked universe`: which pairs may be traded, and why the others may not."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import msgspec
import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from krakked._cli import terminal
from krakked._config.directories import state_of
from krakked._config.loader import load_config
from krakked._config.settings import KrakkedConfig
from krakked._errors import MarketDataError
from krakked._market.pairs import PairMetadata
from krakked._market.universe import Universe, build_universe
from krakked._market.universe_report import count_rules, describe_universe, report_margin
from krakked._market.universe_source import COPY_NAME, UniverseSource
from krakked._network.clock import Clock, SystemClock
from krakked._network.network import Network, SystemNetwork, exchange_reached
from krakked._rest.client import RestClient
from krakked._unreadable import UNREADABLE

FRESH_S = 86_400.0
"""How old a copy may be to explain a pair from: its volumes are those of a day, too."""

ROWS_SHOWN = 20
"""Pairs in the table without `--all`."""


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.add_argument("--why", metavar="PAIR", help="explain one pair, in any spelling")
    parser.add_argument("--all", action="store_true", help="list every pair of the universe")
    parser.add_argument("--json", action="store_true", help="everything, as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask Kraken (or the last good copy) and print."""
    config = load_config()
    network = SystemNetwork(config.network.proxy)
    source = trio.run(partial(load_universe, config, network, SystemClock(), arguments.why))
    console = terminal.console()
    if arguments.why:
        if source.from_copy and not arguments.json:
            minutes = (source.age_s or 0.0) / 60
            console.print(f"As Kraken listed it {minutes:,.0f} min ago:", style="dim")
        return _why(console, source.current, arguments.why, as_json=arguments.json)
    if arguments.json:
        sys.stdout.write(as_json(source) + "\n")
        return 0
    if source.from_copy:
        hours = (source.age_s or 0.0) / 3600
        console.print(
            f"[bold yellow]Kraken could not be asked: this is a copy {hours:.1f} h old.[/]"
        )
    for line in describe_universe(source.current):
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(_table(source.current, everything=arguments.all))
    return 0


async def load_universe(
    config: KrakkedConfig, network: Network, clock: Clock, about: str | None = None
) -> UniverseSource:
    """Return a started universe source; the client it used is closed.

    Kraken is not asked when all is `about` one pair, and a fresh copy on disk knows it.
    """
    states = state_of(config, exchange_reached(network))
    async with RestClient(config.rest, network=network, clock=clock, state_dir=states) as rest:
        source = UniverseSource(rest, config.universe, config.region, clock, states)
        if about is None or not await source.use_fresh_copy(FRESH_S) or about not in source.table:
            await source.start()
        return source


def saved_pairs(states: Path | None) -> dict[str, PairMetadata]:
    """Return every pair of the last good copy by each of its spellings; empty without one.

    For commands that need no network: what is no key here is taken as canonical already.
    """
    if states is None:
        return {}
    try:
        copy = msgspec.json.decode((states / COPY_NAME).read_bytes())
        table = build_universe(copy["asset_pairs"]).table
    except (OSError, *UNREADABLE, MarketDataError, KeyError, TypeError):
        return {}
    return {
        spelling: table.metadata(spelling)
        for pair in table.by_canonical.values()
        for spelling in (pair.raw_name, pair.wsname, pair.ws_symbol, pair.canonical)
    }


def saved_names(states: Path | None) -> dict[str, str]:
    """Return the canonical name of every spelling of `saved_pairs`."""
    return {spelling: pair.canonical for spelling, pair in saved_pairs(states).items()}


def _why(console: Console, universe: Universe, name: str, *, as_json: bool) -> int:
    sentence = universe.why(name)
    if not as_json:
        console.print(escape(sentence), highlight=False, soft_wrap=True)
        return 0
    pair = universe.table.metadata(name)
    answer = {
        "pair": pair,
        "in_universe": pair.canonical in universe.metadata,
        "rule": universe.rules.get(pair.canonical),
        "why": sentence,
    }
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    return 0


def as_json(source: UniverseSource) -> str:
    """Return everything as one JSON object."""
    universe = source.current
    return msgspec.json.encode(
        {
            "pairs": list(universe.metadata.values()),
            "excluded": {
                name: {"rule": universe.rules[name], "why": why}
                for name, why in universe.excluded.items()
            },
            "counts": {rule.value: count for rule, count in count_rules(universe).items()},
            "margin": report_margin(universe),
            "warnings": universe.warnings,
            "from_copy": source.from_copy,
            "age_s": source.age_s,
        }
    ).decode()


def _table(universe: Universe, *, everything: bool) -> Table:
    table = Table("pair", "WebSocket v2", "24 h volume", "tick", "least order", box=None)
    table.columns[2].justify = "right"

    def volume(pair: PairMetadata) -> float:
        return pair.volume_24h_usd or 0.0

    pairs = sorted(universe.metadata.values(), key=volume, reverse=True)
    shown = pairs if everything else pairs[:ROWS_SHOWN]
    for pair in shown:
        table.add_row(
            pair.canonical,
            pair.ws_symbol,
            "?" if pair.volume_24h_usd is None else f"{pair.volume_24h_usd:,.0f}",
            "?" if pair.tick_size is None else f"{pair.tick_size:.10f}".rstrip("0").rstrip("."),
            "?" if pair.ordermin is None else f"{pair.ordermin:g} {pair.base}",
        )
    if len(shown) < len(pairs):
        table.caption = f"and {len(pairs) - len(shown)} more: krakked universe --all"
    return table
