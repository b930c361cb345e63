"""`krakked auth test`: does Kraken take the key that programs would get here?"""

from __future__ import annotations

import argparse
import functools

import msgspec
import trio
from rich.markup import escape

from krakked._cli import terminal
from krakked._cli.actions import add_actions
from krakked._cli.exits import Exit
from krakked._cli.prompts import (
    add_otp_option,
    add_password_options,
    add_profile_option,
    chosen_password,
)
from krakked._config.loader import load_config
from krakked._credentials.outcomes import Outcome, Validation
from krakked._credentials.passwords import hidden_line
from krakked._credentials.setup import describe
from krakked._credentials.sources import load_credentials
from krakked._credentials.validation import ask_kraken
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._rest.otp import OneTimePassword

_STATUSES = {
    Outcome.VALID: Exit.DONE,
    Outcome.AUTH_PROBLEM: Exit.CREDENTIALS,
    Outcome.SERVICE_PROBLEM: Exit.UNREACHABLE,
    Outcome.NETWORK_PROBLEM: Exit.UNREACHABLE,
}


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    actions = add_actions(parser)
    test = actions.add_parser(
        "test",
        help="ask Kraken about the key in force",
        description="Takes the key that `open_kraken` would get here (the environment's, else the "
        "vault's), asks Kraken for its balance and what it may do, and changes nothing.",
    )
    add_question_options(test)
    test.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Test the key in force; the status says what came of it."""
    config = load_config()
    credentials = load_credentials(
        config, profile=arguments.profile, password=chosen_password(arguments)
    )
    ask = functools.partial(
        ask_kraken,
        credentials,
        credentials.fingerprint,
        otp=asked_otp(arguments),
        config=config,
        network=SystemNetwork(config.network.proxy),
        clock=SystemClock(),
    )
    where = f"Key {credentials.fingerprint}, from the {credentials.source}."
    return told(trio.run(ask), as_json=arguments.json, where=where)


def add_question_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of what asks Kraken about a key."""
    parser.add_argument("--json", action="store_true", help="a JSON object")
    add_otp_option(parser)
    add_profile_option(parser)
    add_password_options(parser)


def asked_otp(arguments: argparse.Namespace) -> OneTimePassword | None:
    """Ask for the one-time password where --otp says that there is one."""
    if not arguments.otp:
        return None
    return OneTimePassword(hidden_line("One-time password of the key's second factor: "))


def told(validation: Validation, *, as_json: bool, where: str = "") -> Exit:
    """Print what Kraken said, and give the status of it."""
    status = _STATUSES[validation.outcome]
    if not as_json:
        text = "\n".join(filter(None, (where, describe(validation))))
        terminal.console().print(escape(text), soft_wrap=True)
        return status
    answer = {
        name: value
        for name, value in msgspec.structs.asdict(validation).items()
        if name not in {"tag", "error"}
    }
    error = None if validation.error is None else str(validation.error)
    print(msgspec.json.encode({**answer, "error": error}).decode())
    return status
