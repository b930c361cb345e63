"""Which vault is meant: the one of the configuration directory, or that of a named profile.

    <config_dir>/secrets.enc                    no profile
    <config_dir>/profiles/alice/secrets.enc     profile alice

Settings, candles and what processes share are the same for all profiles: Kraken counts public calls
by address, and private ones by key.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from krakked._config.directories import config_dir
from krakked._config.loader import load_config
from krakked._config.settings import KrakkedConfig
from krakked._credentials.vault_file import VaultFile
from krakked._errors import ConfigError, NoCredentialsError

PROFILES_DIR: Final = "profiles"

_NAME: Final = re.compile("[a-z0-9][a-z0-9_-]{0,63}")
"""Small letters: some file systems do not tell them from large ones."""


def check_profile(name: object) -> str:
    """Give a profile's name back.

    Raises:
        ConfigError: It can be none.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise ConfigError(
        f"{name!r:.60} can be no profile: use small letters, digits, - and _, 64 of them at most.",
        key="profile",
    )


def vault_of(config: KrakkedConfig | None, profile: str | None = None) -> VaultFile:
    """Return the vault of a profile, there or not; settings are read from config.yaml when None.

    Raises:
        ConfigError: The name can be none, or config.yaml is wrong.
    """
    if config is None:
        config = load_config()
    directory = Path(config.config_dir) if config.config_dir else config_dir()
    return VaultFile(
        directory if profile is None else directory / PROFILES_DIR / check_profile(profile)
    )


def existing_vault(config: KrakkedConfig | None, profile: str | None = None) -> VaultFile:
    """Return the vault of a profile.

    Raises:
        NoCredentialsError: There is none.
        ConfigError: As for `vault_of`.
    """
    vault = vault_of(config, profile)
    if not vault.exists():
        raise NoCredentialsError(no_vault_text(vault, profile))
    return vault


def no_vault_text(vault: VaultFile, profile: str | None = None) -> str:
    """Say that there is no vault, and what to do. Pure."""
    more = "" if profile is None else f" --profile {profile}"
    return f"There is no {vault.path}. Run `krakked setup{more}`."
