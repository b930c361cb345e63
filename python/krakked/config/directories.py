"""Where krakked's files live: one directory, chosen by the platform or by KRAKKED_CONFIG_DIR."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from krakked.errors import ConfigError

DIRECTORY_VARIABLE = "KRAKKED_CONFIG_DIR"
"""Environment variable that moves the whole directory."""

CONFIG_FILE_NAME = "config.yaml"
"""The one configuration file, inside the directory."""

STATE_DIR_NAME = "state"
"""Subdirectory for what processes share: nonces and limit counters."""


def config_dir(environ: Mapping[str, str] | None = None) -> Path:
    r"""Give the directory that holds config.yaml, secrets.enc and state/; it need not exist.

    Linux ``~/.config/kraken_bot``, macOS ``~/Library/Application Support/kraken_bot``, Windows
    ``%APPDATA%\kraken_bot``; ``KRAKKED_CONFIG_DIR`` wins over all of them.

    Args:
        environ: Variables to look at; the process's own by default.

    Raises:
        ConfigError: ``KRAKKED_CONFIG_DIR`` names an unknown user's home.
    """
    variables = os.environ if environ is None else environ
    moved = variables.get(DIRECTORY_VARIABLE, "")
    if moved:
        return expand(moved, key=DIRECTORY_VARIABLE)
    return platformdirs.user_config_path("kraken_bot", appauthor=False, roaming=True)


def state_dir(directory: Path) -> Path:
    """Give the directory for shared state inside a configuration directory."""
    return directory / STATE_DIR_NAME


def expand(text: str, *, key: str) -> Path:
    """Expand ``~`` and make a path absolute.

    Raises:
        ConfigError: The home directory it names cannot be found; `key` says which setting it was.
    """
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(
            f"{key}: cannot expand '~': no such home directory. Write an absolute path.", key=key
        ) from error
