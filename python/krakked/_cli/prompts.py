"""The person at the terminal: hidden entries, choices, and where a password comes from."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.markup import escape

from krakked._cli.arguments import descriptor
from krakked._credentials.passwords import (
    MasterPassword,
    default_password,
    hidden_line,
    password_from_fd,
    password_from_keyring,
    prompt_password,
)
from krakked._credentials.profiles import check_profile
from krakked._errors import ConfigError, CredentialsFormatError


def add_profile_option(parser: argparse.ArgumentParser) -> None:
    """Add --profile: which vault is meant."""
    parser.add_argument(
        "--profile",
        type=_profile,
        metavar="NAME",
        help="the key of a profile, in profiles/NAME/secrets.enc (the environment's is ignored)",
    )


def _profile(text: str) -> str:
    try:
        return check_profile(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_otp_option(parser: argparse.ArgumentParser) -> None:
    """Add --otp."""
    parser.add_argument(
        "--otp",
        action="store_true",
        help="the key has a second factor: ask for its one-time password",
    )


def add_password_options(parser: argparse.ArgumentParser) -> None:
    """Add the ways to give the master password; the command line itself is never one of them."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--password-fd",
        type=descriptor,
        metavar="N",
        help="read the master password from the first line of this open file descriptor",
    )
    group.add_argument(
        "--keyring",
        action="store_true",
        help="take the master password from the operating system's keyring (extra: keyring)",
    )


def chosen_password(arguments: argparse.Namespace) -> Callable[[], MasterPassword]:
    """Return the function that gets the password from where the user said."""
    number: int | None = arguments.password_fd
    if number is not None:
        return lambda: password_from_fd(number)
    if arguments.keyring:
        return functools.partial(password_from_keyring, arguments.profile)
    return default_password


def typed_twice() -> MasterPassword:
    """Ask for a new master password and once more, without echo.

    Raises:
        CredentialsFormatError: The two entries differ.
    """
    first = prompt_password("New master password: ")
    if not first.matches(prompt_password("The same again: ")):
        raise CredentialsFormatError("The two entries differ.", field="password")
    return first


class TerminalPrompts:
    """The set-up's `Prompts` on a terminal.

    Args:
        console: Where texts go.
        new_password: Gives the new master password.
    """

    def __init__(self, console: Console, new_password: Callable[[], MasterPassword]) -> None:
        self._console = console
        self.ask_new_password = new_password

    def say(self, text: str) -> None:
        """Show one paragraph."""
        self._console.print(escape(text), soft_wrap=True)

    def ask_key(self) -> str:
        """Ask for the API key; hidden, as it is pasted anyway."""
        return self._hidden("API key (not shown): ")

    def ask_secret(self) -> str:
        """Ask for the API secret."""
        return self._hidden("API secret, Kraken says 'private key' (not shown): ")

    def ask_otp(self) -> str:
        """Ask for the one-time password of the key's second factor."""
        return self._hidden("One-time password of the key's second factor (not shown): ")

    def choose(self, question: str, choices: Mapping[str, str]) -> str:
        """Ask for one of the choices by number or name; an empty answer takes the first."""
        names = list(choices)
        self._console.print(escape(question))
        for number, (name, meaning) in enumerate(choices.items(), 1):
            self._console.print(f"  {number}  {name}: {escape(meaning)}")
        while True:
            answer = self._console.input(f"[1-{len(names)}, Enter = 1] ").strip() or "1"
            if answer in names:
                return answer
            if answer.isdecimal() and 1 <= int(answer) <= len(names):
                return names[int(answer) - 1]

    def _hidden(self, prompt: str) -> str:
        line = hidden_line(prompt)
        self._console.print(f"  {len(line.strip())} characters")
        return line
