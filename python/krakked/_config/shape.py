"""A YAML tree to settings structs, directed by the structs themselves. Pure.

The struct's annotations are the schema: which keys exist, what type each has, what the default is.
Each value read is recorded with its line, for `krakked config show`.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator
from enum import StrEnum

from krakked._config.rules import describe
from krakked._config.settings import Field, Settings, fields_of
from krakked._config.yaml_tree import Items, Scalar, Table, Tree, YamlEntry, is_missing, shown_key
from krakked._errors import ConfigError

_NUMBER = re.compile(r"[-+]?(\d[\d_]*)?(\.\d+|\d\.?)([eE][-+]?\d+)?", re.ASCII)
_BOOLEANS = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_SECRET_NAMES = ("api_key", "api_secret", "secret", "password", "private_key", "api-key", "apikey")

T = typing.TypeVar("T", bound=Settings)


class Shape:
    """Reads one file's tree; remembers the line of everything it took from it."""

    def __init__(self, path: str, root: type[Settings]) -> None:
        self._path = path
        self._all_keys = tuple(dotted_keys(root))
        self.lines: dict[str, int] = {}
        """Line of each value that came from the file, by dotted key of the *file*."""

    def read(self, struct: type[T], table: Table, keys: tuple[str, ...] = ()) -> T:
        """Build `struct` from a mapping; missing keys keep their defaults.

        Raises:
            ConfigError: Unknown key, wrong type or a value outside its rule; the first in the file.
        """
        fields = file_fields(struct)
        given: dict[str, object] = {}
        for entry in table.entries:
            here = (*keys, entry.name)
            if entry.name not in fields:
                raise self.unknown(entry, keys, tuple(fields))
            if is_missing(entry.value):
                continue
            given[entry.name] = self._value(fields[entry.name], entry.value, here, entry.line)
        return struct(**given)

    def _value(self, field: Field, tree: Tree, keys: tuple[str, ...], line: int) -> object:
        kind = field.kind
        if isinstance(kind, type) and issubclass(kind, Settings):
            if not isinstance(tree, Table):
                raise self._wrong("expected a block of `key: value` lines", tree, keys, line)
            return self.read(kind, tree, keys)
        value = self._plain(kind, tree, keys, line)
        # The struct asks the same rule again when it is made; here the line is still known.
        expectation = field.rule(value) if field.rule else None
        if expectation is not None:
            raise self.error(f"{expectation}, found {_found(tree)}", keys, tree.line)
        self.lines[".".join(keys)] = line
        return value

    def _plain(self, kind: object, tree: Tree, keys: tuple[str, ...], line: int) -> object:
        if typing.get_origin(kind) is tuple:
            if not isinstance(tree, Items):
                raise self._wrong("expected a list such as [A, B]", tree, keys, line)
            return tuple(self._text(item, keys) for item in tree.items)
        if kind is bool:
            if isinstance(tree, Scalar) and not tree.quoted and tree.text in _BOOLEANS:
                return _BOOLEANS[tree.text]
            raise self._wrong("expected true or false", tree, keys, line)
        if kind is float:
            if isinstance(tree, Scalar) and not tree.quoted and _NUMBER.fullmatch(tree.text):
                return float(tree.text.replace("_", ""))
            raise self._wrong("expected a number", tree, keys, line)
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return self._choice(kind, tree, keys, line)
        return self._text(tree, keys)

    def _text(self, tree: Tree, keys: tuple[str, ...]) -> str:
        if isinstance(tree, Scalar):
            if tree.quoted:
                return tree.text
            if tree.text not in _BOOLEANS and not _NUMBER.fullmatch(tree.text):
                return tree.text
        raise self._wrong("expected text", tree, keys, tree.line)

    def _choice(self, kind: type[StrEnum], tree: Tree, keys: tuple[str, ...], line: int) -> StrEnum:
        names = [member.value for member in kind]
        if isinstance(tree, Scalar) and tree.text in names:
            return kind(tree.text)
        near = difflib.get_close_matches(tree.text, names, 1) if isinstance(tree, Scalar) else []
        hint = f"; did you mean {near[0]}?" if near else ""
        raise self.error(f"expected {' or '.join(names)}, found {_found(tree)}{hint}", keys, line)

    def unknown(
        self, entry: YamlEntry, keys: tuple[str, ...], names: tuple[str, ...]
    ) -> ConfigError:
        """Say that a key does not exist, with the nearest one that does."""
        here = (*keys, shown_key(entry.name))
        if any(name in entry.name.lower() for name in _SECRET_NAMES):
            hint = "keys and secrets never stand in config.yaml: `krakked setup` seals them"
        else:
            nearest = self._nearest(entry.name, keys, names)
            hint = f"did you mean {nearest}?" if nearest else f"known here: {', '.join(names)}"
        return self.error(f"unknown key; {hint}", here, entry.line)

    def _nearest(self, name: str, keys: tuple[str, ...], names: tuple[str, ...]) -> str | None:
        beside = difflib.get_close_matches(name, names, 1, cutoff=0.6)
        if beside:
            return ".".join((*keys, beside[0]))
        last_parts = {key.rsplit(".", 1)[-1]: key for key in reversed(self._all_keys)}
        elsewhere = difflib.get_close_matches(name, last_parts, 1, cutoff=0.75)
        return last_parts[elsewhere[0]] if elsewhere else None

    def _wrong(self, expected: str, tree: Tree, keys: tuple[str, ...], line: int) -> ConfigError:
        hint = ""
        if expected == "expected text" and isinstance(tree, Scalar):
            hint = "; put it in quotes"
        return self.error(f"{expected}, found {_found(tree)}{hint}", keys, line)

    def error(self, problem: str, keys: tuple[str, ...], line: int) -> ConfigError:
        """Make the one error for a key of this file."""
        key = ".".join(keys)
        stop = "" if problem.endswith("?") else "."
        return ConfigError(
            f"{self._path}:{line}: {key}: {problem}{stop}", path=self._path, key=key, line=line
        )


def file_fields(struct: type[Settings]) -> dict[str, Field]:
    """Return the settings of a struct that a file may hold."""
    # Filled in by the loader and by a sandbox, never read from the file.
    elsewhere = {"config_dir", "exchange"}
    return {name: field for name, field in fields_of(struct).items() if name not in elsewhere}


def dotted_keys(struct: type[Settings], keys: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every key below a struct, blocks included, in the structs' order."""
    for name, field in file_fields(struct).items():
        yield ".".join((*keys, name))
        if isinstance(field.kind, type) and issubclass(field.kind, Settings):
            yield from dotted_keys(field.kind, (*keys, name))


def _found(tree: Tree) -> str:
    """Describe a value; its text only when it is too short to be a secret."""
    if isinstance(tree, Table):
        return "a block of keys"
    if isinstance(tree, Items):
        return f"a list of {len(tree.items)}"
    shown = describe(tree.text)
    if tree.quoted or tree.text not in shown:
        return shown
    if tree.text in _BOOLEANS:
        return tree.text
    return f"the number {tree.text}" if _NUMBER.fullmatch(tree.text) else shown
