"""`krakked setup`: enter a key, let Kraken judge it, seal it."""

from __future__ import annotations

import argparse
import functools
import os
from pathlib import Path

import trio
from rich.markup import escape

from krakked._cli import terminal
from krakked._cli.prompts import TerminalPrompts, add_password_options, chosen_password, typed_twice
from krakked._config.loader import load_config
from krakked._config.settings import KrakkedConfig
from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Validation
from krakked._credentials.passwords import PASSWORD_FILE_VARIABLE
from krakked._credentials.saving import save_credentials
from krakked._credentials.setup import run_setup
from krakked._credentials.validation import validate_credentials
from krakked._credentials.vault import PROFILES
from krakked._credentials.vault_file import VaultFile
from krakked._errors import KrakkedError
from krakked._market.universe_report import describe_universe
from krakked._market.universe_source import UniverseSource
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._rest.client import RestClient
from krakked._rest.otp import Otp


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Asks for an API key and secret (never on the command line), lets Kraken judge "
        "them, and seals them with a master password."
    )
    parser.add_argument(
        "--profile",
        choices=list(PROFILES),
        default="default",
        help="memory that opening the vault takes: default = 256 MiB, small = 64 MiB",
    )
    parser.add_argument(
        "--otp",
        action="store_true",
        help="the key has a second factor: ask for its one-time password",
    )
    add_password_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the dialogue; 0 when something was saved."""
    config = load_config()
    given = (
        arguments.password_fd is not None
        or arguments.keyring
        or PASSWORD_FILE_VARIABLE in os.environ
    )
    console = terminal.console()
    prompts = TerminalPrompts(console, chosen_password(arguments) if given else typed_twice)

    def validate(candidate: Candidate, *, otp: Otp | None = None) -> Validation:
        return trio.run(functools.partial(validate_credentials, candidate, otp=otp, config=config))

    saved = run_setup(
        prompts,
        validate=validate,
        save=functools.partial(save_credentials, config=config, profile=arguments.profile),
        vault_exists=VaultFile(Path(config.config_dir)).exists(),
        second_factor=arguments.otp,
    )
    if saved is None:
        console.print("Nothing was saved.")
        return 1
    console.print("\nWhat this key's owner may watch, by config.yaml as it stands:")
    for line in trio.run(_universe_in_words, config):
        console.print(f"  {escape(line)}", soft_wrap=True)
    return 0


async def _universe_in_words(config: KrakkedConfig) -> list[str]:
    """Say how many pairs there are and what the margin rule leaves out; public calls only."""
    clock, network = SystemClock(), SystemNetwork(config.network.proxy)
    try:
        async with RestClient(config.rest, network=network, clock=clock) as rest:
            source = UniverseSource(rest, config.universe, config.region, clock)
            await source.refresh()
    except KrakkedError as error:
        return [f"not to be had now ({error}); `krakked universe` shows it later."]
    return describe_universe(source.current)
