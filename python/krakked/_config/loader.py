"""config.yaml to a frozen KrakkedConfig, and where each value of it comes from.

Reads one file once; writes nothing. Missing file and missing keys give the defaults that stand in
`krakked._config.settings`.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec

from krakked._config import rules
from krakked._config.directories import CONFIG_FILE_NAME, DIRECTORY_VARIABLE, expand
from krakked._config.directories import config_dir as default_config_dir
from krakked._config.settings import (
    KrakkedConfig,
    MarketDataSettings,
    NetworkSettings,
    RegionProfile,
    RestSettings,
    Settings,
    UniverseSettings,
)
from krakked._config.shape import Shape
from krakked._config.yaml_tree import Scalar, Table, YamlEntry, is_missing, parse_yaml
from krakked._errors import ConfigError
from krakked._public import public

MAX_FILE_BYTES = 262_144
"""Largest config.yaml read; a real one has a few kilobytes."""

STATE_DIR_VARIABLE: Final = "KRAKKED_STATE_DIR"
"""Environment variable that says where shared state lives; wins over `state_dir`."""

_REGION = RegionProfile()


class _Capabilities(Settings, frozen=True):
    BLOCK: ClassVar[str] = "region.capabilities"

    supports_margin: bool = _REGION.supports_margin
    supports_futures: bool = _REGION.supports_futures
    supports_staking: bool = _REGION.supports_staking


class _Region(Settings, frozen=True):
    BLOCK: ClassVar[str] = "region"

    code: Annotated[str, rules.name] = _REGION.code
    capabilities: _Capabilities = _Capabilities()
    default_quote: Annotated[str, rules.name] = _REGION.default_quote


class _ConfigFile(Settings, frozen=True):
    """config.yaml as the contract lays it out; both of its shapes of `region` come down to this."""

    region: _Region = _Region()
    universe: UniverseSettings = UniverseSettings()
    rest: RestSettings = RestSettings()
    market_data: MarketDataSettings = MarketDataSettings()
    network: NetworkSettings = NetworkSettings()
    state_dir: Annotated[str, rules.optional_directory] = ""


class Setting(Settings, frozen=True):
    """One setting in force and where it comes from."""

    key: str
    """Dotted path, as in config.yaml."""
    value: str
    """The value, as YAML would show it."""
    origin: str
    """``default``, ``config.yaml:12``, or the name of a variable."""


@public
def load_config(config_dir: Path | None = None) -> KrakkedConfig:
    """Read config.yaml; a missing file gives the defaults.

    Args:
        config_dir: Directory to read from; by default ``KRAKKED_CONFIG_DIR``, else the platform's
            own (``~/.config/kraken_bot`` on Linux).

    Raises:
        ConfigError: Unreadable file, bad YAML, unknown key, wrong type or a value outside its
            bounds. The message names file, line, dotted key, what was expected and the nearest
            valid name; it never shows a value long enough to be a secret.
    """
    return _checked(config_dir)[0]


def explain_config(config_dir: Path | None = None) -> tuple[Setting, ...]:
    """Return every setting in force with its origin, in the order of the structs.

    Args:
        config_dir: As for `load_config`.

    Raises:
        ConfigError: As for `load_config`.
    """
    config, lines = _checked(config_dir)
    if config_dir is not None:
        origin = "argument"
    else:
        origin = DIRECTORY_VARIABLE if os.environ.get(DIRECTORY_VARIABLE) else "default"
    rows = [Setting(key="config_dir", value=config.config_dir, origin=origin)]
    for key, value in _leaves(_to_file(config), ()):
        line = lines.get(key)
        where = f"{CONFIG_FILE_NAME}:{line}" if line else "default"
        if key == "state_dir" and os.environ.get(STATE_DIR_VARIABLE):
            where = STATE_DIR_VARIABLE
        rows.append(Setting(key=key, value=_shown(key, value), origin=where))
    return tuple(rows)


def _checked(directory: Path | None) -> tuple[KrakkedConfig, dict[str, int]]:
    """Read; raise errors from here, so that no traceback shows the file in some frame's locals."""
    try:
        return _read(directory)
    except ConfigError as error:
        problem = error.with_traceback(None)
    raise problem


def _read(directory: Path | None) -> tuple[KrakkedConfig, dict[str, int]]:
    if directory is None:
        directory = default_config_dir()
    else:
        given: object = directory  # callers without a type checker pass anything
        if not isinstance(given, str | os.PathLike):
            raise ConfigError(
                f"config_dir is a {type(given).__name__}; give the path of a directory.",
                key="config_dir",
            )
        directory = expand(str(directory), key="config_dir")
    path = directory / CONFIG_FILE_NAME
    text = _read_text(path)
    table = Table(entries=(), line=1) if text is None else parse_yaml(text, path=str(path))
    shape = Shape(str(path), _ConfigFile)
    file = shape.read(_ConfigFile, _unified_region(table, shape))
    capabilities = file.region.capabilities
    config = KrakkedConfig(
        region=RegionProfile(
            code=file.region.code,
            supports_margin=capabilities.supports_margin,
            supports_futures=capabilities.supports_futures,
            supports_staking=capabilities.supports_staking,
            default_quote=file.region.default_quote,
        ),
        universe=file.universe,
        rest=file.rest,
        market_data=file.market_data,
        network=file.network,
        state_dir=_state_dir(file.state_dir, directory),
        config_dir=str(directory),
    )
    return config, shape.lines


def _state_dir(setting: str, directory: Path) -> str:
    """Return the directory of shared state where one is named, absolute, else an empty text."""
    named = os.environ.get(STATE_DIR_VARIABLE, "")
    if named:
        expectation = rules.directory(named)
        if expectation is not None:
            raise ConfigError(f"{STATE_DIR_VARIABLE}: {expectation}.", key=STATE_DIR_VARIABLE)
        return str(expand(named, key=STATE_DIR_VARIABLE))
    if not setting:
        return ""
    if setting.startswith("~"):
        return str(expand(setting, key="state_dir"))
    return str(directory / setting)


_READ: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def _read_text(path: Path) -> str | None:
    """Read the file, or give None when there is none."""
    try:
        # Without waiting: a pipe in its place would hold the program up for ever.
        descriptor = os.open(path, _READ)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
                raise ConfigError(f"{path}: not a regular file. Remove it.", path=str(path))
            _refuse_what_others_write(path, found, path.parent.stat())
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror or type(error).__name__}.", path=str(path)
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(
            f"{path}: larger than {MAX_FILE_BYTES} bytes; this is not a config.yaml.",
            path=str(path),
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1  # the error holds the file: not chained
    raise ConfigError(f"{path}:{line}: not UTF-8 text.", path=str(path), line=line)


def _refuse_what_others_write(path: Path, file: os.stat_result, directory: os.stat_result) -> None:
    """Refuse a file that anybody can write: he would choose the server that gets signed calls."""
    if sys.platform == "win32":  # access lists, which these modes do not show
        return
    swappable = directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX
    for found, where in ((file.st_mode & stat.S_IWOTH, path), (swappable, path.parent)):
        if found:
            raise ConfigError(
                f"{where} can be written by every user. Run: chmod o-w {where}", path=str(where)
            )


def _unified_region(table: Table, shape: Shape) -> Table:
    """Bring Phase 1's `region: "US_CA"` and top-level `capabilities:` into the nested shape.

    Source: the design contract, Phase 1 section 5 and Phase 2 section 2.2.
    """
    entries = {entry.name: entry for entry in table.entries}
    region, outer = entries.get("region"), entries.get("capabilities")
    if region is not None and is_missing(region.value):
        region = None
    if region is not None and isinstance(region.value, Scalar):
        code = YamlEntry(name="code", value=region.value, line=region.line)
        nested = Table(entries=(code,), line=region.line)
        region = dataclasses.replace(region, value=nested)
    if outer is not None:
        inside = region.value.entries if region and isinstance(region.value, Table) else ()
        twin = next((entry for entry in inside if entry.name == "capabilities"), None)
        if twin is not None:
            raise shape.error(
                f"given twice, here and under region (line {twin.line}); keep one",
                ("capabilities",),
                outer.line,
            )
        if region is None or isinstance(region.value, Table):
            line = region.line if region else outer.line
            block = Table(entries=(*inside, outer), line=line)
            region = YamlEntry(name="region", value=block, line=line)
    rest = tuple(e for e in table.entries if e.name not in {"region", "capabilities"})
    return Table(entries=(region, *rest) if region else rest, line=table.line)


def _to_file(config: KrakkedConfig) -> _ConfigFile:
    region = config.region
    return _ConfigFile(
        region=_Region(
            code=region.code,
            capabilities=_Capabilities(
                supports_margin=region.supports_margin,
                supports_futures=region.supports_futures,
                supports_staking=region.supports_staking,
            ),
            default_quote=region.default_quote,
        ),
        universe=config.universe,
        rest=config.rest,
        market_data=config.market_data,
        network=config.network,
        state_dir=config.state_dir,
    )


def _leaves(struct: Settings, keys: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if isinstance(value, Settings):
            yield from _leaves(value, (*keys, field.name))
        else:
            yield ".".join((*keys, field.name)), value


def _shown(key: str, value: object) -> str:
    if key == "network.proxy":
        return rules.shown_proxy(value if isinstance(value, str) else None) or "as the system says"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return f"{value:.15g}" if isinstance(value, float) else str(value)
