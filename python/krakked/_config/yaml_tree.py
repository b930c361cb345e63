"""YAML text to a tree of plain nodes, each knowing its line. Pure: text in, nodes or one error out.

A safe subset only: mappings, lists and scalars. No tags, anchors, aliases or merge keys, so nothing
is constructed and nothing can expand; a key may stand once. Scalars stay text: what `no`, `1e5` or
`XBTUSD` mean is decided by the setting they belong to, not by YAML's guessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import yaml

from krakked._errors import ConfigError

MAX_DEPTH = 12
"""Deepest nesting read; the deepest setting stands at 3."""

_SANE_DEPTH = 100
"""Up to here the error about too deep a nesting can name the key."""

_PROBLEMS = {
    "\\t": "a tab where spaces are needed",
    "mapping values are not allowed": (
        "a second ':' on the line; put the value in quotes or mend the indentation"
    ),
    "expected a single document": "more than one document ('---') in the file",
    "undefined alias": "aliases ('*name') are not used here",
    "expected <block end>": "the indentation does not fit, or a ':' is missing",
    "could not find expected ':'": "the indentation does not fit, or a ':' is missing",
    "found unexpected end of stream": "a quote is not closed",
}
"""What PyYAML says, in part, and what it means."""

_SHOWN_KEY_CHARACTERS = 40  # longer "keys" are pasted values, secrets perhaps: never echoed


@dataclass(frozen=True, kw_only=True)
class Scalar:
    """One value as it was written."""

    text: str
    quoted: bool
    line: int


@dataclass(frozen=True, kw_only=True)
class Items:
    """A list."""

    items: tuple[Tree, ...]
    line: int


@dataclass(frozen=True, kw_only=True)
class YamlEntry:
    """One key of a mapping, with the line of the key."""

    name: str
    value: Tree
    line: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """A mapping, in the order of the file."""

    entries: tuple[YamlEntry, ...]
    line: int


Tree: TypeAlias = Scalar | Items | Table


def shown_key(name: str) -> str:
    """Return a key as it may stand in a message; long ones may be secrets and are only measured."""
    if len(name) > _SHOWN_KEY_CHARACTERS or not name.isprintable():
        return f"<a key of {len(name)} characters>"
    return name


def parse_yaml(text: str, *, path: str) -> Table:
    """Read one YAML document whose top is a mapping; an empty document is an empty mapping.

    Args:
        text: The file's text.
        path: The file's name, for messages only.

    Raises:
        ConfigError: Not YAML, not a mapping, a key twice, or something outside the subset. The
            message names file and line and shows no value.
    """
    problem: str
    line: int | None
    try:
        _check_depth(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:  # its text and mark hold pieces of the file: not chained
        mark = error.problem_mark or error.context_mark
        problem, line = _plain_problem(error), (mark.line + 1 if mark else None)
    except yaml.reader.ReaderError as error:
        problem = "it contains a character that YAML does not allow"
        line = text.count("\n", 0, error.position) + 1
    except RecursionError as error:
        problem, line = "it is nested too deeply", error.args[0]
    else:
        if node is None:
            return Table(entries=(), line=1)
        tree = _YamlReader(path).convert(node, (), 0)
        if isinstance(tree, Table):
            return tree
        if isinstance(tree, Scalar) and _is_null(tree):
            return Table(entries=(), line=1)
        problem, line = "expected `key: value` lines at the top", tree.line
    where = f"{path}:{line}" if line else path
    raise ConfigError(f"{where}: not readable as YAML: {problem}.", path=path, line=line)


def _check_depth(text: str) -> None:
    """Raise RecursionError(line) long before PyYAML, which gets slow and then raises it as well."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _SANE_DEPTH:
                raise RecursionError(event.start_mark.line + 1 if event.start_mark else None)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _is_null(scalar: Scalar) -> bool:
    return not scalar.quoted and scalar.text in {"", "~", "null", "Null", "NULL"}


def is_missing(tree: Tree) -> bool:
    """Tell whether a value counts as not given: empty, `~` or `null`."""
    return isinstance(tree, Scalar) and _is_null(tree)


def _plain_problem(error: yaml.MarkedYAMLError) -> str:
    """Say what is wrong without PyYAML's texts, which may quote the file."""
    said = f"{error.context or ''} {error.problem or ''}"
    for piece, meaning in _PROBLEMS.items():
        if piece in said:
            return meaning
    return "check quotes, brackets and indentation around this line"


class _YamlReader:
    """Turns PyYAML's nodes into ours and refuses what lies outside the subset."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: set[int] = set()

    def convert(self, node: yaml.Node, keys: tuple[str, ...], depth: int) -> Tree:
        line = node.start_mark.line + 1
        if id(node) in self._seen:
            raise self._error(
                "aliases ('*name') are not used here; write the value out", line, keys
            )
        self._seen.add(id(node))
        if depth > MAX_DEPTH:
            raise self._error("nested too deeply", line, keys)
        if not node.tag.startswith("tag:yaml.org,2002:") or "python/" in node.tag:
            raise self._error("tags ('!name') are not used here", line, keys)
        if isinstance(node, yaml.MappingNode):
            return self._table(node, keys, depth, line)
        if isinstance(node, yaml.SequenceNode):
            items = tuple(
                self.convert(item, (*keys, str(number)), depth + 1)
                for number, item in enumerate(node.value)
            )
            return Items(items=items, line=line)
        quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
        return Scalar(text=node.value, quoted=quoted, line=line)

    def _table(self, node: yaml.MappingNode, keys: tuple[str, ...], depth: int, line: int) -> Table:
        entries: list[YamlEntry] = []
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.value:
                raise self._error("a key must be a plain name", key_line, keys)
            name: str = key_node.value
            here = (*keys, shown_key(name))
            if name in lines:
                raise self._error(f"stands twice (first on line {lines[name]})", key_line, here)
            lines[name] = key_line
            if id(value_node) in self._seen:  # its own mark is where the anchor stands
                raise self._error("aliases ('*name') are not used here", key_line, here)
            value = self.convert(value_node, here, depth + 1)
            entries.append(YamlEntry(name=name, value=value, line=key_line))
        return Table(entries=tuple(entries), line=line)

    def _error(self, problem: str, line: int, keys: tuple[str, ...]) -> ConfigError:
        key = ".".join(keys) or None
        subject = f" {key}:" if key else ""
        return ConfigError(
            f"{self._path}:{line}:{subject} {problem}.", path=self._path, key=key, line=line
        )
