"""`krakked config show`: every setting in force, and where it comes from."""

from __future__ import annotations

import argparse

from rich.markup import escape
from rich.table import Table

from krakked._cli import terminal
from krakked._config.loader import explain_config


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="every setting, its value and where it comes from")
    show.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - the command takes no options
    """Print the table."""
    table = Table(box=None)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for setting in explain_config():
        table.add_row(setting.key, escape(setting.value), escape(setting.origin))
    terminal.console().print(table)
    return 0
