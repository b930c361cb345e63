"""`krakked setup`: enter a key, let Kraken judge it, seal it.

Without a person too: key and secret from files or descriptors, and no question asked.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable
from pathlib import Path

import trio
from rich.markup import escape

from krakked._cli import terminal
from krakked._cli.arguments import descriptor
from krakked._cli.exits import Exit
from krakked._cli.prompts import (
    TerminalPrompts,
    add_otp_option,
    add_password_options,
    add_profile_option,
    chosen_password,
    typed_twice,
)
from krakked._config.loader import load_config
from krakked._config.settings import KrakkedConfig
from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Validation
from krakked._credentials.passwords import PASSWORD_FILE_VARIABLE
from krakked._credentials.profiles import vault_of
from krakked._credentials.saving import SavedVault, save_credentials
from krakked._credentials.secret_lines import line_of_descriptor, line_of_file
from krakked._credentials.setup import describe, run_setup, saved_text
from krakked._credentials.validation import validate_credentials
from krakked._credentials.vault import COSTS
from krakked._credentials.vault_file import VaultFile, there_already
from krakked._errors import KrakkedError, NoCredentialsError
from krakked._market.universe_report import describe_universe
from krakked._market.universe_source import UniverseSource
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._rest.client import RestClient
from krakked._rest.otp import Otp
from krakked._secrecy import wipe


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Asks for an API key and secret (never on the command line), lets Kraken judge "
        "them, and seals them with a master password. With --key-file or --key-fd it asks nothing: "
        "name the secret and the master password likewise."
    )
    parser.add_argument(
        "--cost",
        choices=list(COSTS),
        default="default",
        help="memory that opening the vault takes: default = 256 MiB, small = 64 MiB",
    )
    add_otp_option(parser)
    for word, what in (("key", "API key"), ("secret", "API secret")):
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            f"--{word}-file", type=Path, metavar="PATH", help=f"read the {what} from a file"
        )
        group.add_argument(
            f"--{word}-fd",
            type=descriptor,
            metavar="N",
            help=f"read the {what} from this open file descriptor",
        )
    parser.add_argument(
        "--replace", action="store_true", help="without questions: replace what the vault holds"
    )
    parser.add_argument(
        "--unvalidated",
        action="store_true",
        help="without questions: save although Kraken cannot be asked now",
    )
    add_profile_option(parser)
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

    vault = vault_of(config, arguments.profile)
    save = functools.partial(
        save_credentials,
        config=config,
        profile=arguments.profile,
        cost=arguments.cost,
        only_new=not (vault.exists() or arguments.replace),  # one may come while Kraken is asked
    )
    if _names_a_key(arguments):
        saved = _save_unasked(arguments, prompts, vault, validate, save)
        if saved is None:
            console.print("Nothing was saved; --unvalidated saves all the same.")
            return Exit.UNREACHABLE
    else:
        saved = run_setup(
            prompts,
            validate=validate,
            save=save,
            vault_exists=vault.exists(),
            second_factor=arguments.otp,
        )
        if saved is None:
            console.print("Nothing was saved.")
            return Exit.NOT_DONE
    console.print("\nWhat this key's owner may watch, by config.yaml as it stands:")
    for line in trio.run(_universe_in_words, config):
        console.print(f"  {escape(line)}", soft_wrap=True)
    return 0


def _names_a_key(arguments: argparse.Namespace) -> bool:
    """Whether key or secret are to come from elsewhere than the terminal."""
    named = (arguments.key_file, arguments.key_fd, arguments.secret_file, arguments.secret_fd)
    return any(each is not None for each in named)


def _save_unasked(
    arguments: argparse.Namespace,
    prompts: TerminalPrompts,
    vault: VaultFile,
    validate: Callable[..., Validation],
    save: Callable[..., SavedVault],
) -> SavedVault | None:
    """Validate and save without a question; None when Kraken could not be asked about the key."""
    if vault.exists() and not arguments.replace:
        raise there_already(vault.path)
    key = _given("key", arguments.key_file, arguments.key_fd)
    secret = _given("secret", arguments.secret_file, arguments.secret_fd)
    try:
        candidate = Candidate(key, secret)
    finally:
        wipe(key)
        wipe(secret)
    validation = validate(candidate, otp=prompts.ask_otp if arguments.otp else None)
    prompts.say(describe(validation))
    if validation.unvalidated and not arguments.unvalidated:
        return None
    saved = save(
        candidate,
        prompts.ask_new_password,
        validation=validation,
        allow_unvalidated=arguments.unvalidated,
    )
    candidate.clear()
    prompts.say(saved_text(saved))
    return saved


def _given(word: str, path: Path | None, number: int | None) -> bytearray:
    what = f"API {word}"
    if path is not None:
        return line_of_file(path, what=what, field=word, failed=NoCredentialsError)
    if number is not None:
        return line_of_descriptor(number, what=what, field=word, failed=NoCredentialsError)
    raise NoCredentialsError(f"The {what} is missing: name it with --{word}-file or --{word}-fd.")


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
