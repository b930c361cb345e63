"""Entry point of the `krakked` command: collects sub-commands; the one edge of all of them.

Whatever a command raises ends here in a sentence and a status of `krakked._cli.exits`.
"""

from __future__ import annotations

import argparse
import keyword
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Final

import krakked
from krakked._cli import terminal
from krakked._cli.actions import add_actions
from krakked._cli.exits import Ending, Exit, judge, status_table

COMMANDS: Final = {
    "demo": "walk the main job against a local exchange (or --live, without a key)",
    "setup": "enter an API key, validate it, seal it into secrets.enc",
    "vault": "look after secrets.enc: status, validate, passwd, remove",
    "auth": "ask Kraken about the key in force: test",
    "config": "the settings in force, and their file: show, path, init, edit",
    "universe": "which pairs may be traded, and why the others may not",
    "backfill": "fill the store with closed candles over REST",
    "import": "read Kraken's downloadable OHLCVT and trades files into the store",
    "export": "stored candles into a file: CSV, Parquet, feather, freqtrade's",
    "store": "look after the candles on disk",
    "doctor": "look at settings, directories, key, clock, proxy and network",
    "status": "connect, look, and print the health report",
    "ohlc": "print closed candles of a pair, and draw them",
    "watch": "live prices and candles: a table, or a line a change in a pipe",
    "record": "write the stream's frames to a file (NDJSON)",
    "sandbox": "run a local exchange to try things on",
    "completion": "what a shell needs to complete krakked's commands",
}
"""Every command and what it does. Its module (`import_` for import) is loaded only to be run."""

DEBUG_VARIABLE = "KRAKKED_DEBUG"
"""Environment variable that does what --debug does."""


def build_parser(words: Sequence[str], *, every: bool = False) -> argparse.ArgumentParser:
    """Return the parser for a command line; only the command that stands in it is built.

    Args:
        words: The command line.
        every: Build all commands.
    """
    parser = argparse.ArgumentParser(
        prog="krakked",
        description="Kraken for trio programs: sealed credentials, the USD spot universe, "
        "closed candles on disk, live prices. Places no order.",
        epilog=f"exit status:\n{status_table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"krakked {krakked.__version__}")
    parser.set_defaults(verbose=False, debug=False)
    subparsers = add_actions(parser, "COMMAND")
    asked_for = next((word for word in words if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        parser_of_it = subparsers.add_parser(name, help=text)
        if every or name == asked_for:
            module = f"{name}_" if keyword.iskeyword(name) else name
            import_module(f"krakked._cli.{module}").fill(parser_of_it)
    _add_common(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that may stand anywhere, here and in every sub-command."""
    quiet = argparse.SUPPRESS  # the sub-command must not reset what stood before it
    parser.add_argument(
        "-v", "--verbose", action="store_true", default=quiet, help="log what krakked does"
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        default=quiet,
        help=f"log everything, show tracebacks (or {DEBUG_VARIABLE}=1)",
    )
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _add_common(each)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit status, one of `krakked._cli.exits.Exit`.

    A command line that argparse refuses, and --help, end in its SystemExit.
    """
    is_program = argv is None
    words = sys.argv[1:] if argv is None else list(argv)
    terminated: list[int] = []
    debug = os.environ.get(DEBUG_VARIABLE, "0") not in {"", "0"} or "--debug" in words
    try:
        terminal.prepare(is_program=is_program)
        if is_program:
            signal.signal(signal.SIGTERM, partial(_interrupt, terminated))
            if not debug:
                _keep_quiet()
        try:
            arguments = build_parser(words).parse_args(words)
            _set_up_logging(verbose=arguments.verbose, debug=debug)
            status: int = arguments.run(arguments)
        finally:
            terminal.flush()
    except SystemExit:
        raise
    except BaseException as error:  # an exception group from a nursery holds the real one
        ending = judge(error)
        if is_program and ending.status is Exit.INTERRUPTED:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # once is enough
        if debug:
            traceback.print_exception(error)
        if terminated and ending.status is Exit.INTERRUPTED:
            ending = Ending(status=Exit.TERMINATED, sentences=("Terminated.",))
        terminal.say(ending.sentences)
        status = ending.status
    finally:
        terminal.abandon()
    return int(status)


def _interrupt(terminated: list[int], number: int, _: object) -> None:
    """End as Ctrl-C does, when a service manager or a container asks: everything is closed."""
    terminated.append(number)
    signal.raise_signal(signal.SIGINT)


def _set_up_logging(*, verbose: bool, debug: bool) -> None:
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    level = logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING
    logging.getLogger("krakked").setLevel(level)
    logging.getLogger("krakked.rest.waits").setLevel(min(level, logging.INFO))  # never silent


def _keep_quiet() -> None:
    """Print no traceback from beside the command, to the end of the process.

    A log that cannot be written, a display's thread whose terminal is gone, a generator that nobody
    finished: the command itself meets the same trouble and says it.
    """
    logging.raiseExceptions = False
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None


if __name__ == "__main__":
    sys.exit(main())
