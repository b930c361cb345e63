"""`krakked vault status | validate | passwd | remove`: look after secrets.enc."""

from __future__ import annotations

import argparse
import datetime
import functools

import msgspec
import trio
from rich.markup import escape
from rich.table import Table

from krakked._cli import terminal
from krakked._cli.actions import add_actions
from krakked._cli.arguments import descriptor
from krakked._cli.auth import add_question_options, asked_otp, told
from krakked._cli.exits import Exit
from krakked._cli.prompts import (
    add_password_options,
    add_profile_option,
    chosen_password,
    typed_twice,
)
from krakked._credentials.passwords import MasterPassword, password_from_fd, store_in_keyring
from krakked._credentials.profiles import no_vault_text, vault_of
from krakked._credentials.saving import change_password
from krakked._credentials.stored import VaultInfo, validate_stored_credentials, vault_info
from krakked._credentials.vault import COSTS, DEFAULT_COST


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    actions = add_actions(parser)

    status = actions.add_parser("status", help="say what is there and whether it is safe")
    status.add_argument(
        "--open", action="store_true", help="open it with the master password and say what it holds"
    )
    status.add_argument("--json", action="store_true", help="a JSON object")
    add_profile_option(status)
    add_password_options(status)
    status.set_defaults(run=show_status)

    validate = actions.add_parser(
        "validate",
        help="ask Kraken about the key in it, and note a success there",
        description="Asks Kraken about the key in the vault, whatever the environment holds, and "
        "notes a success in the vault: so a key that was saved unvalidated becomes validated.",
    )
    add_question_options(validate)
    validate.set_defaults(run=validate_vault)

    passwd = actions.add_parser("passwd", help="change the master password")
    passwd.add_argument(
        "--new-password-fd",
        type=descriptor,
        metavar="N",
        help="read the new master password from this open file descriptor",
    )
    passwd.add_argument(
        "--store-in-keyring",
        action="store_true",
        help="put the new password into the operating system's keyring as well",
    )
    passwd.add_argument(
        "--cost",
        choices=list(COSTS),
        default="default",
        help="memory that opening takes: default = 256 MiB, small = 64 MiB",
    )
    add_profile_option(passwd)
    add_password_options(passwd)
    passwd.set_defaults(run=change)

    remove = actions.add_parser("remove", help="delete secrets.enc and its backup")
    add_profile_option(remove)
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.set_defaults(run=remove_vault)


def show_status(arguments: argparse.Namespace) -> int:
    """Say what is there; `Exit.CREDENTIALS` when there is no vault."""
    console = terminal.console()
    vault = vault_of(None, arguments.profile)
    if not vault.exists():
        if arguments.json:
            print(msgspec.json.encode({"path": str(vault.path), "exists": False}).decode())
        else:
            text = no_vault_text(vault, arguments.profile)
            console.print(escape(text), soft_wrap=True)
        return Exit.CREDENTIALS
    password = chosen_password(arguments) if arguments.open else None
    info = vault_info(profile=arguments.profile, password=password)
    if arguments.json:
        print(msgspec.json.encode({"exists": True, **msgspec.structs.asdict(info)}).decode())
        return Exit.DONE
    console.print(_table_of(info))
    return Exit.DONE


def _table_of(info: VaultInfo) -> Table:
    table = Table(show_header=False, box=None)
    table.add_row("file", escape(info.path))
    table.add_row("size", f"{info.size_bytes} bytes, readable by you alone")
    table.add_row("changed", _local_time(info.modified_s))
    usual = info.memory_bytes == DEFAULT_COST.memory_kib * 1024
    hint = "" if usual else "  (`krakked vault passwd` renews it to the default)"
    table.add_row("one guess costs", f"{info.memory_bytes >> 20} MiB{hint}")
    table.add_row("older vault", escape(info.backup or "none"))
    if info.fingerprint is not None:
        at = info.validated_at_s
        table.add_row("key fingerprint", info.fingerprint)
        table.add_row("validated", "never" if at is None else _local_time(at))
    return table


def validate_vault(arguments: argparse.Namespace) -> int:
    """Ask Kraken about the key in the vault; the status says what came of it."""
    ask = functools.partial(
        validate_stored_credentials,
        chosen_password(arguments),
        otp=asked_otp(arguments),
        profile=arguments.profile,
    )
    return told(trio.run(ask), as_json=arguments.json)


def change(arguments: argparse.Namespace) -> int:
    """Change the master password."""
    console = terminal.console()
    chosen: list[MasterPassword] = []

    def ask_new() -> MasterPassword:
        number: int | None = arguments.new_password_fd
        chosen.append(typed_twice() if number is None else password_from_fd(number))
        return chosen[0]

    saved = change_password(
        chosen_password(arguments), ask_new, profile=arguments.profile, cost=arguments.cost
    )
    console.print(escape(f"{saved.path} is sealed with the new password."), soft_wrap=True)
    if arguments.store_in_keyring:  # only now: the keyring must not run ahead of the vault
        store_in_keyring(chosen[0], arguments.profile)
        console.print("The operating system's keyring holds it as well.")
    vault = vault_of(None, arguments.profile)
    if vault.backup_path.exists():
        console.print(
            escape(
                f"{vault.backup_path} is an older vault and keeps its own password; delete it when "
                "it is not needed."
            ),
            soft_wrap=True,
        )
    console.print(
        "If the old password leaked, make a new API key at Kraken too: copies of the old file "
        "still open with it.",
        soft_wrap=True,
    )
    return 0


def remove_vault(arguments: argparse.Namespace) -> int:
    """Delete the vault after asking."""
    console = terminal.console()
    vault = vault_of(None, arguments.profile)
    if not arguments.yes:
        console.print(escape(f"This deletes {vault.path} and its backup."), soft_wrap=True)
        if console.input("Type 'remove' to go on: ").strip() != "remove":
            console.print("Nothing was deleted.")
            return 1
    if not vault.remove():
        console.print("There was no vault.")
        return Exit.CREDENTIALS
    console.print(
        "Deleted. The bytes may remain on the medium: revoke the API key at Kraken if that matters."
    )
    return 0


def _local_time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
