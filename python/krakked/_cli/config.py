"""`krakked config show | path | init | edit`: the settings in force, and their file."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from rich.markup import escape
from rich.table import Table

import krakked
from krakked._cli import terminal
from krakked._cli.actions import add_actions
from krakked._cli.exits import Exit
from krakked._config.directories import CONFIG_FILE_NAME, config_dir
from krakked._config.loader import Setting, explain_config, load_config

SET_BY_LOADER: Final = {"config_dir"}
"""Settings that no file holds."""

_EDITORS: Final = ("VISUAL", "EDITOR")


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    actions = add_actions(parser)
    show = actions.add_parser("show", help="every setting, its value and where it comes from")
    show.add_argument("--json", action="store_true", help="a JSON list")
    show.set_defaults(run=run)
    path = actions.add_parser("path", help="print the path of config.yaml")
    path.set_defaults(run=show_path)
    init = actions.add_parser("init", help="write a config.yaml with every default, to be changed")
    init.set_defaults(run=write_file)
    edit = actions.add_parser("edit", help="open config.yaml in $VISUAL or $EDITOR, then check it")
    edit.set_defaults(run=edit_file)


def run(arguments: argparse.Namespace) -> int:
    """Print the table; no setting is a secret."""
    settings = explain_config()
    if arguments.json:
        print(msgspec.json.encode(settings).decode())
        return Exit.DONE
    table = Table(box=None)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for setting in settings:
        table.add_row(setting.key, escape(setting.value), escape(setting.origin))
    terminal.console().print(table)
    return Exit.DONE


def file_path() -> Path:
    """Return where config.yaml is, or would be."""
    return config_dir() / CONFIG_FILE_NAME


def show_path(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - the command takes no options
    """Print the path, whether there is a file or not."""
    print(file_path())
    return Exit.DONE


def write_file(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - the command takes no options
    """Write the defaults as comments; a file that is there is never touched.

    Raises:
        ConfigError: There is one already.
    """
    path = file_path()
    text = "# Settings of krakked: every default, to be uncommented and changed.\n"
    text += "# `krakked config show` says what is in force; keys and secrets never stand here.\n\n"
    write_new(path, text + template(defaults()))
    terminal.console().print(f"Wrote {escape(str(path))}.", soft_wrap=True, highlight=False)
    return Exit.DONE


def write_new(path: Path, text: str) -> None:
    """Write a file that was not there.

    Raises:
        ConfigError: It was.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise krakked.ConfigError(
            f"{path} is there already. Change it with: krakked config edit", path=str(path)
        ) from error


def defaults() -> tuple[Setting, ...]:
    """Return every setting as it is without a file."""
    with tempfile.TemporaryDirectory() as empty:
        return explain_config(Path(empty))


def template(settings: tuple[Setting, ...]) -> str:
    r"""Return settings as commented YAML, in blocks.

    >>> template((Setting(key="rest.timeout_s", value="30", origin="default"),))
    'rest:\n  # timeout_s: 30\n'
    """
    lines: list[str] = []
    above: tuple[str, ...] = ()
    for setting in settings:
        if setting.key in SET_BY_LOADER:
            continue
        *blocks, name = setting.key.split(".")
        for depth, block in enumerate(blocks):
            if above[: depth + 1] != tuple(blocks[: depth + 1]):
                lines.append(f"{'  ' * depth}{block}:")
        above = tuple(blocks)
        value = "" if setting.key == "network.proxy" else setting.value
        value = {"None": "", "": '""'}.get(value, value) if setting.key != "network.proxy" else ""
        lines.append(f"{'  ' * len(blocks)}# {name}: {value}".rstrip())
    return "\n".join(lines) + "\n"


def edit_file(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - the command takes no options
    """Open the file in an editor, wait for it, and check what it saved.

    Raises:
        ConfigError: There is no editor, or the file is wrong now.
    """
    editor = next((named for name in _EDITORS if (named := os.environ.get(name, "").strip())), "")
    path = file_path()
    if not editor:
        raise krakked.ConfigError(
            f"Neither VISUAL nor EDITOR names an editor. Edit {path} yourself.", path=str(path)
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        status = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode  # noqa: S603
    except (OSError, ValueError) as error:
        raise krakked.ConfigError(f"The editor {editor!r} cannot be started.") from error
    load_config()
    return Exit.DONE if status == 0 else Exit.NOT_DONE
