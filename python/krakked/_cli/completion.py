"""`krakked completion SHELL`: what a shell needs to complete commands, options and choices."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Final

SHELLS: Final = ("bash", "zsh", "fish", "tcsh", "powershell")


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Prints the completion of a shell; needs pip install 'krakked[completion]'. For example: "
        "krakked completion bash > ~/.local/share/bash-completion/completions/krakked"
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    import shtab  # noqa: PLC0415 - an extra

    build_parser = import_module("krakked._cli.main").build_parser  # which imports this module
    print(shtab.complete(build_parser([], every=True), shell=arguments.shell))
    return 0
