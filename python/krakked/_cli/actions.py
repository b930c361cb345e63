"""A command's sub-commands. Loads nothing else: `krakked --version` is to be quick."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction


def add_actions(
    parser: ArgumentParser, metavar: str = "ACTION"
) -> _SubParsersAction[ArgumentParser]:
    """Add sub-commands, of which one must be named.

    argparse's own `required` would complain of the missing one where an option is misspelled.
    """
    actions = parser.add_subparsers(metavar=metavar, dest=metavar.lower())

    def missing(_: Namespace) -> int:
        parser.error(f"the following arguments are required: {metavar}")

    parser.set_defaults(run=missing)
    return actions
