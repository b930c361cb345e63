"""Entry point of the `krakked` command: collects sub-commands, turns errors into sentences."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from rich.console import Console
from rich.markup import escape

from krakked.errors import KrakkedError

COMMANDS = (
    "demo",
    "setup",
    "vault",
    "config",
    "universe",
    "backfill",
    "import_",
    "store",
    "status",
    "watch",
    "record",
    "sandbox",
)
"""Modules of this room, in the order in which `krakked --help` lists them."""


def build_parser() -> argparse.ArgumentParser:
    """Give the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="krakked",
        description="Kraken for trio programs: sealed credentials, the USD spot universe, "
        "closed candles on disk, live prices. Places no order.",
    )
    parser.add_argument("--version", action="version", version=f"krakked {version('krakked')}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what krakked does")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"krakked.cli.{name}").add_parser(subparsers)
    return parser


def flatten(error: BaseException) -> list[BaseException]:
    """Give the leaves of an exception group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in flatten(part)]
    return [error]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit status.

    0 is success, 1 an error that krakked names, 2 a wrong command line, 130 Ctrl-C.
    """
    arguments = build_parser().parse_args(argv)
    console = Console(stderr=True)
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("krakked").setLevel(logging.INFO if arguments.verbose else logging.WARNING)
    try:
        status: int = arguments.run(arguments)
    except KeyboardInterrupt:
        console.print("Interrupted.")
        return 130
    except BaseException as error:  # an exception group from a nursery holds the real one
        leaves = flatten(error)
        if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
            console.print("Interrupted.")
            return 130
        if not all(isinstance(leaf, KrakkedError) for leaf in leaves):
            raise
        for leaf in leaves:
            console.print(f"[bold red]{type(leaf).__name__}[/]: {escape(str(leaf))}")
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
