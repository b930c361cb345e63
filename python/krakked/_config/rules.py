"""What a setting may hold: one rule for each type, and one for each field beyond its type. Pure.

A rule answers None when the value is fine, else the words for "expected ...". Rules never quote the
value: a secret pasted into the wrong place must not reach a message. They stand on the fields of
`krakked._config.settings`, so that config.yaml and code pass the same ones.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeAlias

from krakked._network.addresses import check_url
from krakked._network.proxies import DIRECT, check_proxy, parse_proxy
from krakked._timeframes import MINUTES

Rule: TypeAlias = Callable[[object], str | None]

# An API key has 56 characters and a secret 88; what stands before an "@" may be a password.
_COUNTRY: Final = re.compile(r"[A-Z]{2}(:[A-Z0-9]{1,3})?")
_SHOWN_CHARACTERS: Final = 16
_LONGEST_NAME: Final = 40  # the longest pair name known has 16 characters


# --- rules of types --------------------------------------------------------------------------


def fit(kind: object, value: object) -> tuple[object, str | None]:
    """Bring a value given in code into its field's type, where that loses nothing.

    Whole numbers become floats, lists and sets of names tuples, a choice's text its member.

    Returns:
        The value to keep, and None; or the value as it was and what was expected of it.
    """
    kind, optional = _without_none(kind)
    if value is None and optional:
        return None, None
    if typing.get_origin(kind) is tuple:
        return _fit_names(value)
    if not isinstance(kind, type):
        raise TypeError(f"no rule for {kind!r}")
    if issubclass(kind, StrEnum):
        choices = {member.value: member for member in kind}
        chosen = choices.get(value) if isinstance(value, str) else None
        return (chosen or value, None if chosen else f"expected {' or '.join(choices)}")
    if kind is float:
        return _fit_number(value)
    if isinstance(value, kind):
        return value, None
    words = {bool: "true or false", str: "text"}
    return value, f"expected {words.get(kind, f'a {kind.__name__}')}"


def _fit_number(value: object) -> tuple[object, str | None]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value, "expected a number"
    try:
        return float(value), None
    except OverflowError:
        return math.inf, None  # which no rule lets pass


def _fit_names(value: object) -> tuple[object, str | None]:
    if not isinstance(value, list | tuple | set | frozenset):
        return value, "expected a list such as [A, B]"
    if not all(isinstance(item, str) for item in value):
        return value, "expected text in the list"
    return tuple(value), None


def _without_none(kind: object) -> tuple[object, bool]:
    if typing.get_origin(kind) in {types.UnionType, typing.Union}:
        parts = [part for part in typing.get_args(kind) if part is not types.NoneType]
        return parts[0], True
    return kind, False


def describe(value: object) -> str:
    """Say what was found; its text only when it is too short to be a secret."""
    if isinstance(value, str):
        if len(value) > _SHOWN_CHARACTERS or not value.isprintable() or "@" in value:
            return f"text of {len(value)} characters"
        return f"the text '{value}'"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}" if -1e15 < value < 1e15 else "no number of use here"
    if isinstance(value, list | tuple | set | frozenset):
        return f"a list of {len(value)}"
    return f"a {type(value).__name__}"


# --- rules of fields -------------------------------------------------------------------------


def rest_url(value: object) -> str | None:
    """Check the address of the REST server."""
    return check_url(str(value), secure="https", plain="http", path_allowed=False)


def stream_url(value: object) -> str | None:
    """Check the address of the WebSocket server."""
    return check_url(str(value), secure="wss", plain="ws", path_allowed=True)


def proxy(value: object) -> str | None:
    """Check the address of a proxy."""
    return check_proxy(str(value))


def shown_proxy(value: str | None) -> str | None:
    """Return a value of `network.proxy` as it may be shown: without user and password."""
    if value is None or value == DIRECT:
        return value
    return str(parse_proxy(value, key="network.proxy"))


def country_code(value: object) -> str | None:
    """Check a country of ISO 3166-1, perhaps with a region."""
    fits = isinstance(value, str) and _COUNTRY.fullmatch(value)
    return None if fits else "expected a country such as GB or US:CA"


def at_least(low: float, high: float, unit: str) -> Rule:
    """Make the rule "from `low` to `high`"; NaN never fits."""

    def check(value: object) -> str | None:
        fits = isinstance(value, int | float) and low <= value <= high
        return None if fits else f"expected {unit} from {low:g} and at most {high:g}"

    return check


def above(low: float, high: float, unit: str) -> Rule:
    """Make the rule "more than `low`, at most `high`"; NaN never fits."""

    def check(value: object) -> str | None:
        fits = isinstance(value, int | float) and low < value <= high
        return None if fits else f"expected {unit} above {low:g} and at most {high:g}"

    return check


def timeframes(value: object) -> str | None:
    """Check labels of candle intervals."""
    labels = value if isinstance(value, tuple) else ()
    if not all(label in MINUTES for label in labels):
        return f"expected labels out of {', '.join(MINUTES)}"
    if len(set(labels)) != len(labels):
        return "expected each label once"
    return None


def names(value: object) -> str | None:
    """Check names of pairs or assets."""
    given = value if isinstance(value, tuple) else ()
    return None if all(_is_name(name) for name in given) else "expected names such as XBTUSD"


def name(value: object) -> str | None:
    """Check one short name."""
    return (
        None if _is_name(value) else "expected a short name of letters, digits, '_', '.', '-', '/'"
    )


def _is_name(value: object) -> bool:
    text = str(value)
    return 0 < len(text) <= _LONGEST_NAME and all(
        character.isascii() and (character.isalnum() or character in "_.-/") for character in text
    )


def directory(value: object) -> str | None:
    """Check a directory of this machine."""
    text = str(value)
    if "://" in text:
        return "expected a directory path on this machine, not an address with ://"
    return None if text.strip() and text.isprintable() else "expected a directory path"


def optional_directory(value: object) -> str | None:
    """Check a directory of this machine that need not be named."""
    return None if value == "" else directory(value)
