"""What users give beside pairs, timeframes and times, checked in one place each. Pure.

A wrong one is a `ConfigError` whose `key` names the argument.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from krakked._errors import ConfigError
from krakked._files.durable import may_be_path

MOST_WORKERS: Final = 64
"""Most processes that an import may be shared between."""

_SHOWN: Final = 60


def shown(value: object) -> str:
    """Write a value for a message, at most 60 characters of it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def wrong(name: str, value: object, wanted: str) -> ConfigError:
    """Return the error for an argument that is not what is wanted."""
    return ConfigError(f"{name} is {shown(value)}; wanted: {wanted}.", key=name)


def one_or_many(names: Iterable[str], name: str = "pairs") -> list[str]:
    """Take one name where a collection of names is due: a text is never read letter by letter.

    Raises:
        ConfigError: It is neither.
    """
    given: object = names  # callers without a type checker pass anything
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise wrong(name, given, "a name, or a list of names")
    return list(names)


def one_of(value: object, name: str, choices: Sequence[str]) -> None:
    """Refuse what is none of some words.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(value, str) or value not in choices:
        raise wrong(name, value, f"one of {', '.join(choices)}")


def count_of(value: object, name: str) -> int:
    """Take a whole number from 0 on; those of other libraries are fine, True is none.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(value, bool):
        try:
            count = operator.index(value)  # type: ignore[arg-type] # that is the question
        except TypeError:
            count = -1
        if count >= 0:
            return count
    raise wrong(name, value, "a whole number from 0 on")


def seconds_of(value: object, name: str) -> float:
    """Take a length of time in seconds from 0 on; infinity is one.

    Raises:
        ConfigError: It is none.
    """
    try:
        seconds = float(value)  # type: ignore[arg-type] # that is the question
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if isinstance(value, str | bytes | bool) or not seconds >= 0:  # NaN neither
        raise wrong(name, value, "a number of seconds from 0 on")
    return seconds


def path_of(value: object, name: str) -> Path:
    """Take a path.

    Raises:
        ConfigError: It is none.
    """
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        if isinstance(path, str) and path.strip() and may_be_path(path):
            return Path(path)
    raise wrong(name, value, "a path")
