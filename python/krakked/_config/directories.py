"""Where krakked's files live: one directory, chosen by the platform or by KRAKKED_CONFIG_DIR."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from krakked._config.identity import KRAKEN, exchange_identity
from krakked._config.settings import KrakkedConfig, OHLCStoreSettings, Settings
from krakked._errors import ConfigError
from krakked._files.durable import may_be_path

DIRECTORY_VARIABLE = "KRAKKED_CONFIG_DIR"
"""Environment variable that moves the whole directory."""

CONFIG_FILE_NAME = "config.yaml"
"""The one configuration file, inside the directory."""

STATE_DIR_NAME = "state"
"""Subdirectory for what processes share, where no `state_dir` is named."""

_ROOT_KEY = "market_data.ohlc_store.root_dir"


def config_dir(environ: Mapping[str, str] | None = None) -> Path:
    r"""Return the directory that holds config.yaml, secrets.enc and state/; it need not exist.

    Linux ``~/.config/kraken_bot``, macOS ``~/Library/Application Support/kraken_bot``, Windows
    ``%APPDATA%\kraken_bot``; ``KRAKKED_CONFIG_DIR`` wins over all of them.

    Args:
        environ: Variables to look at; the process's own by default.

    Raises:
        ConfigError: It lies in a home directory, and there is none.
    """
    variables = os.environ if environ is None else environ
    moved = variables.get(DIRECTORY_VARIABLE, "")
    if moved:
        return expand(moved, key=DIRECTORY_VARIABLE)
    try:
        usual = platformdirs.user_config_path("kraken_bot", appauthor=False, roaming=True)
    except RuntimeError:  # platformdirs from 4.4 on; before, its answer was relative
        usual = Path("kraken_bot")
    if not usual.is_absolute():  # no HOME, and the system does not know the user
        raise ConfigError(
            f"There is no home directory to keep {usual} in. Name a directory with "
            f"{DIRECTORY_VARIABLE}, or set HOME.",
            key=DIRECTORY_VARIABLE,
        )
    return usual


def exchange_of(config: KrakkedConfig) -> str:
    """Name the exchange that settings are for."""
    urls = config.rest.base_url, config.market_data.ws.url
    return exchange_identity(*urls, told=config.exchange)


def state_of(config: KrakkedConfig, reached: str = "") -> Path | None:
    """Return the directory for shared state; None when there is none that fits.

    Args:
        config: Settings.
        reached: As for `files_of`.

    Raises:
        ConfigError: A home directory cannot be found.
    """
    shared, meant = _shared_state(config), exchange_of(config)
    if reached in {"", meant}:
        return _state_below(shared, meant)
    named = shared is not None and shared != config_dir() / STATE_DIR_NAME
    return _state_below(shared, reached) if named else None


def _shared_state(config: KrakkedConfig) -> Path | None:
    if config.state_dir:
        return expand(config.state_dir, key="state_dir")
    return Path(config.config_dir) / STATE_DIR_NAME if config.config_dir else None


def _state_below(shared: Path | None, exchange: str) -> Path | None:
    """Keep Kraken's state in the directory itself, any other exchange's in one of its own below it.

    Neither limits nor a copy of the universe may pass for those of another exchange.
    """
    return shared if shared is None or exchange == KRAKEN else shared / exchange


def store_root(config: KrakkedConfig) -> Path:
    """Return the directory of the candle store.

    The default directory is Kraken's; settings for another exchange that name no directory get one
    beside it.

    Raises:
        ConfigError: The home directory it lies in cannot be found.
    """
    path = expand(config.market_data.ohlc_store.root_dir, key=_ROOT_KEY)
    exchange = exchange_of(config)
    if exchange == KRAKEN or _names_a_root(config):
        return path
    return path.with_name(f"{path.name}-{exchange}")


class Files(Settings, frozen=True):
    """Where one client keeps its files, and whose they are."""

    exchange: str
    """The exchange that is really talked to."""
    state_dir: Path | None
    """Records shared between processes; None keeps them in memory."""
    store_root: Path | None
    """Directory of the candle store; None when the settings lead to none that fits."""


def files_of(config: KrakkedConfig, reached: str = "") -> Files:
    """Say where a client keeps its files.

    Settings that are for another exchange than the network leads to (the default ones with a
    sandbox's network, say) must not fill that other exchange's directories: of them only those
    count that were named, and everything in there bears the name of the exchange that is reached.

    Args:
        config: Settings.
        reached: The exchange that the network leads to in any case; empty when the addresses tell.

    Raises:
        ConfigError: A home directory cannot be found.
    """
    meant = exchange_of(config)
    if reached in {"", meant}:
        return Files(exchange=meant, state_dir=state_of(config), store_root=store_root(config))
    root = config.market_data.ohlc_store.root_dir
    return Files(
        exchange=reached,
        state_dir=state_of(config, reached),
        store_root=expand(root, key=_ROOT_KEY) if _names_a_root(config) else None,
    )


def _names_a_root(config: KrakkedConfig) -> bool:
    return config.market_data.ohlc_store.root_dir != OHLCStoreSettings().root_dir


def expand(text: str, *, key: str) -> Path:
    """Expand ``~`` and make a path absolute.

    Raises:
        ConfigError: The home directory it names cannot be found, or it can be no path; `key` says
            which setting it was.
    """
    if not may_be_path(text):
        raise ConfigError(f"{key}: {text!r:.60} can be no path.", key=key)
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(
            f"{key}: {text}: there is no such home directory. Write an absolute path.", key=key
        ) from error
    except OSError as error:  # a path relative to a working directory that is gone
        raise ConfigError(
            f"{key}: {text} cannot be found from here: {error.strerror}. Write an absolute path.",
            key=key,
        ) from error
