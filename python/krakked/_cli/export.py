"""`krakked export PAIR TIMEFRAME`: stored candles into a file for another program."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
from rich.markup import escape

from krakked._cli import terminal
from krakked._cli.arguments import moment
from krakked._cli.exits import Exit
from krakked._cli.universe import saved_pairs
from krakked._config.directories import state_of
from krakked._config.loader import load_config
from krakked._errors import ConfigError
from krakked._market.resample_rule import fitting, parse_rule
from krakked._market.store.configured import configured_store
from krakked._market.store.export import FORMS, file_name, write_file
from krakked._market.store.resample import resample
from krakked._timeframes import MINUTES


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Writes what the store holds of a pair, oldest first; fetches nothing (krakked backfill "
        "does). Candles that only the live stream has reported are left out."
    )
    parser.add_argument("pair", metavar="PAIR", help="any of Kraken's spellings")
    parser.add_argument(
        "timeframe",
        metavar="TIMEFRAME",
        help=f"one of {', '.join(MINUTES)}, or a rule: 3m, 2h, 12h, 1w-mon, 1M, ...",
    )
    parser.add_argument(
        "--format", choices=list(FORMS), default="csv", help="csv, or as the program reads it"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="PATH", help="file or directory (default: here)"
    )
    parser.add_argument("--since", type=moment, metavar="WHEN", help="2024-01-31 or unix seconds")
    parser.add_argument("--until", type=moment, metavar="WHEN", help="the same; not included")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--json", action="store_true", help="say as JSON what was written")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the file; 0 when there was something to write."""
    console = terminal.console()
    since, until = arguments.since, arguments.until
    if since is not None and until is not None and since >= until:
        raise ConfigError("--until is not after --since, so there is nothing between them.")
    if str(arguments.out) == "-":
        raise ConfigError("--out wants the path of a file or directory; - is none.")
    config = load_config()
    known = saved_pairs(state_of(config))
    found = known.get(arguments.pair)
    pair = arguments.pair if found is None else found.canonical
    wanted: str = arguments.timeframe
    base = wanted
    if wanted not in MINUTES:
        fits = fitting(parse_rule(wanted))
    with configured_store(config) as store:
        if wanted not in MINUTES:
            stored = {label for name, label in store.series() if name == pair}
            base = next((label for label in fits if label in stored), fits[0])
        table = store.get_columns(pair, base, since=since, until=until)
        stored_rows = table.num_rows
        if base != wanted:
            table = resample(table, base, wanted)  # type: ignore[call-overload]
        if table.num_rows == 0 and stored_rows:
            console.print(
                f"{stored_rows:,} candles of {escape(pair)} {base} are stored there, and not one "
                f"whole {wanted} among them.",
                highlight=False,
                soft_wrap=True,
            )
            return Exit.NOT_DONE
        if table.num_rows == 0:
            console.print(
                f"Nothing of {escape(pair)} {base} is stored in {escape(str(store.root))}. "
                f"Fetch it: krakked backfill {escape(pair)} --timeframe {base}",
                highlight=False,
                soft_wrap=True,
            )
            return Exit.NOT_DONE
        path: Path = arguments.out
        if path.is_dir():
            symbol = None if found is None else found.ws_symbol
            path /= file_name(pair, wanted, arguments.format, symbol)
        write_file(table, path, arguments.format, replace=arguments.force)
    if arguments.json:
        print(msgspec.json.encode({"path": str(path), "candles": table.num_rows}).decode())
    else:
        text = f"{table.num_rows:,} candles of {escape(pair)} {wanted} in {escape(str(path))}."
        console.print(text, highlight=False, soft_wrap=True)
    return Exit.DONE
