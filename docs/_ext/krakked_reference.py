"""What Sphinx needs to know of krakked: its names, its tables, where its docstrings are.

Every table is made from the code while the pages are built, so none can say what is no longer true.
"""

from __future__ import annotations

import argparse
import builtins
import inspect
import math
import os
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from enum import Enum

import msgspec
from docutils import nodes
from docutils.parsers.rst import roles
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

import krakked
import krakked.aio
import krakked.blocking
import krakked.sandbox
from krakked._cli.exits import _STATUSES, MEANINGS
from krakked._cli.main import COMMANDS, build_parser
from krakked._config.settings import KrakkedConfig, Settings, fields_of
from krakked._rest.error_table import ROWS
from krakked._rest.models import ENDPOINTS

log = logging.getLogger(__name__)

HOMES = {name: f"krakked.{module}" for name, module in krakked._MODULE_OF.items()}
"""Public name -> the module that it is written in."""

FACES = (krakked, krakked.sandbox)


# --- where docstrings of fields are --------------------------------------------------------------


def gather_docstrings() -> None:
    """Let autodoc find the docstrings of fields: public classes say that they are of `krakked`."""
    face = ModuleAnalyzer.for_module("krakked")
    face.analyze()
    for name, home in HOMES.items():
        if home == "krakked._core":
            continue
        there = ModuleAnalyzer.for_module(home)
        there.analyze()
        for theirs, ours in (
            (there.attr_docs, face.attr_docs),
            (there.annotations, face.annotations),
        ):
            ours.update({key: value for key, value in theirs.items() if key[0] == name})
            if ("", name) in theirs:
                ours["", name] = theirs["", name]
        for theirs, ours in (
            (there.overloads, face.overloads),
            (there.tagorder, face.tagorder),
        ):
            ours.update({k: v for k, v in theirs.items() if k.partition(".")[0] == name})


# --- names in docstrings and pages ---------------------------------------------------------------


def _members(of: object) -> Iterator[str]:
    if not inspect.isclass(of):
        return
    for each in of.__mro__:
        if each.__module__.partition(".")[0] == "krakked":
            yield from (name for name in vars(each) if not name.startswith("_"))
            yield from getattr(each, "__annotations__", ())
            _, _, attributes = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")
            yield from re.findall(r"^ {4}(\w+): ", attributes, re.MULTILINE)


def public_names() -> set[str]:
    """Return every name that a reader can look up, such as `Kraken` and `Kraken.rest`."""
    found = set()
    for module in FACES:
        for name in module.__all__:
            found |= {name, *(f"{name}.{member}" for member in _members(getattr(module, name)))}
    return found


NAMES = public_names()
WORDS = {part for name in NAMES for part in name.split(".")}


def setting_keys() -> set[str]:
    """Return every key of config.yaml, and its ends, such as `ws.url`."""
    whole = [row.key for row in settings_rows()] + ["market_data.ws", "region", "universe", "rest"]
    return {".".join(key.split(".")[at:]) for key in whole for at in range(key.count(".") + 1)}


def link(name: str, text: str, page: str) -> addnodes.pending_xref:
    """Return a link to a public name."""
    module = "krakked.sandbox" if name.partition(".")[0] in krakked.sandbox.__all__ else "krakked"
    node = addnodes.pending_xref(
        text, refdomain="py", reftype="obj", reftarget=f"{module}.{name}", refwarn=True
    )
    node["refdoc"] = page
    node += nodes.literal(text, text, classes=["xref", "py", "py-obj"])
    return node


class NameRole(SphinxRole):
    """Single backticks: a link to a public name, or the word itself for an argument or a setting.

    A name that looks like one of krakked's and is none is a warning, and so an error of the build.
    """

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Make the node."""
        text = self.text.removesuffix("()")
        name = text.removeprefix("krakked.")
        of = self.env.ref_context.get("py:class")
        inside = f"{of}.{name}" if of else None
        found = next((each for each in (inside, name) if each in NAMES), None)
        if found is None:
            if not self._is_plain(text):
                log.warning("`%s` is no public name", self.text, location=self.get_location())
            return [nodes.literal(self.rawtext, self.text)], []
        node = link(found, self.text, self.env.docname)
        self.set_source_info(node)
        return [node], []

    def _is_plain(self, text: str) -> bool:
        if "krakked._" in text or text.startswith("_"):
            return False
        if (
            hasattr(builtins, text)
            or text in setting_keys()
            or text in OTHERS
            or text.partition(".")[0] in OTHERS
        ):
            return True
        if re.fullmatch(r"[^\W\d][\w.]*", text) is None:
            return True  # no name at all
        return re.fullmatch(r"[a-z][a-z0-9_]*", text) is not None


OTHERS = {
    *(
        "trio",
        "asyncio",
        "pyarrow",
        "polars",
        "pandas",
        "numpy",
        "os",
        "datetime",
        "loop",
        "httpx",
        "time",
    ),
    *("Decimal", "Path", "krakked", "duckdb"),
}
"""Names that are not krakked's."""


# --- tables --------------------------------------------------------------------------------------


class SettingRow(typing.NamedTuple):
    """One key of config.yaml."""

    key: str
    kind: str
    default: str
    doc: str


def settings_rows() -> list[SettingRow]:
    """Return every key that config.yaml may hold, in the order of the structs."""
    return list(_rows_of(KrakkedConfig))


def _rows_of(struct: type[Settings]) -> Iterator[SettingRow]:
    analyzer = ModuleAnalyzer.for_module("krakked._config.settings")
    analyzer.analyze()
    for name, field in fields_of(struct).items():
        kind = field.kind
        if isinstance(kind, type) and issubclass(kind, Settings):
            yield from _rows_of(kind)
            continue
        if (struct, name) in {(KrakkedConfig, "config_dir"), (KrakkedConfig, "exchange")}:
            continue  # never in the file, as their docstrings say
        key = f"{struct.BLOCK}.{name}".lstrip(".")
        # The file has these one level deeper, see `load_config`.
        key = re.sub(r"^region\.(supports_)", r"region.capabilities.\1", key)
        default = getattr(struct(), name)
        doc = " ".join(analyzer.attr_docs.get((struct.__name__, name), []))
        yield SettingRow(key, _kind_words(kind, field.rule), _default_words(default), doc.strip())


def _kind_words(kind: object, rule: Callable[[object], str | None] | None) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(f"``{member.value}``" for member in kind)
    if kind is float and rule is not None:
        bounds = (rule(math.nan) or "").removeprefix("expected ")
        return f"number: {bounds}"
    names = {float: "number", bool: "``true`` or ``false``", str: "text"}
    if kind in names:
        return names[kind]
    return "list of texts" if typing.get_origin(kind) is tuple else "text, or ``null``"


def _default_words(value: object) -> str:
    if isinstance(value, bool):
        return f"``{str(value).lower()}``"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, tuple):
        return f"``[{', '.join(value)}]``"
    if isinstance(value, float):
        return f"``{value:g}``"
    return "``null``" if value is None else f"``{value}``" if value else "empty"


class ErrorRow(typing.NamedTuple):
    """One class of the error tree."""

    depth: int
    kind: type[krakked.KrakkedError]
    fields: tuple[str, ...]


def error_rows() -> list[ErrorRow]:
    """Return the error tree, each class below its first base."""
    kinds = [
        thing
        for name in krakked.__all__
        if inspect.isclass(thing := getattr(krakked, name))
        and issubclass(thing, krakked.KrakkedError)
    ]
    order = {name: at for at, name in enumerate(_names_in_order("krakked._errors"))}
    kinds.sort(key=lambda kind: order[kind.__name__])

    def below(kind: type[krakked.KrakkedError], depth: int) -> Iterator[ErrorRow]:
        fields = tuple(
            dict.fromkeys(
                name
                for each in kind.__mro__
                if issubclass(each, krakked.KrakkedError)
                for name in re.findall(r"^ {4,}(\w+): ", inspect.getdoc(each) or "", re.MULTILINE)
            )
        )
        yield ErrorRow(depth, kind, fields)
        for child in kinds:
            if child.__bases__[0] is kind:
                yield from below(child, depth + 1)

    return list(below(krakked.KrakkedError, 0))


def _names_in_order(module: str) -> list[str]:
    analyzer = ModuleAnalyzer.for_module(module)
    analyzer.analyze()
    return sorted(analyzer.tagorder, key=analyzer.tagorder.__getitem__)


def _first_sentences(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


class Table(SphinxDirective):
    """A table made from the code; its subclasses say which."""

    header: typing.ClassVar[tuple[str, ...]]
    widths: typing.ClassVar[tuple[int, ...]]

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Return the cells, as reStructuredText."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        text = [
            ".. list-table::",
            "   :header-rows: 1",
            f"   :widths: {' '.join(map(str, self.widths))}",
            "",
        ]
        for row in [self.header, *self.rows()]:
            for at, cell in enumerate(row):
                first, *more = cell.split("\n")
                text.append(f"   {'* -' if at == 0 else '  -'} {first}")
                text += [f"       {line}" if line else "" for line in more]
        return parsed(self, text)


def parsed(directive: SphinxDirective, text: list[str]) -> list[nodes.Node]:
    """Parse lines of reStructuredText at the place of a directive."""
    box = nodes.Element()
    lines = StringList(text, source=directive.get_source_info()[0])
    directive.state.nested_parse(lines, directive.content_offset, box)
    return box.children


class SettingsTable(Table):
    """Every key of config.yaml."""

    header = ("Key, type and default", "Meaning")
    widths = (48, 52)

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Return the cells."""
        return [
            (f"``{row.key}``\n\n{row.kind}\n\nDefault: {row.default}", row.doc)
            for row in settings_rows()
        ]


WHOSE: dict[type[krakked.KrakkedError], str] = {
    krakked.ClosedError: "the program",
    krakked.ConfigError: "settings, or an argument",
    krakked.CredentialsError: "key or vault",
    krakked.NetworkError: "the way to Kraken",
    krakked.AuthError: "the key or the account",
    krakked.NonceError: "another user of the key, or a clock",
    krakked.RateLimitError: "the pace",
    krakked.ServiceError: "Kraken",
    krakked.RequestError: "the call",
    krakked.ApiError: "\u2013",
    krakked.DataStaleError: "see ``why``",
    krakked.NoDataYetError: "nobody",
    krakked.SubscriptionRefusedError: "Kraken, or the pair",
    krakked.ChangesLaggedError: "the program: too slow",
    krakked.ChangesInUseError: "the program",
    krakked.MissingBarsError: "the history",
    krakked.ImportFormatError: "the file",
    krakked.NotLiveError: "see ``errors``",
    krakked.MarketDataError: "an argument",
    krakked.StoreExchangeError: "settings",
    krakked.StoreError: "this machine",
    krakked.LockTimeoutError: "another process",
    krakked.ForkedProcessError: "the program",
    krakked.KrakkedError: "\u2013",
}
"""Whose fault the errors of a family are; the first that fits, so subclasses stand first."""


def actions_of(kind: type[krakked.KrakkedError]) -> str:
    """Return the next steps that errors of a class name."""
    found = sorted({row.action.value for row in ROWS if row.kind is kind})
    if found:
        return ", ".join(f"``{value}``" for value in found)
    return (
        "one of `Action`" if issubclass(kind, krakked.ApiError | krakked.NetworkError) else "\u2013"
    )


class ErrorsTable(Table):
    """The error tree."""

    header = ("Class", "What it means", "Whose fault", "``action``", "Fields", "Exit")
    widths = (28, 32, 14, 10, 10, 6)

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Return the cells."""
        for row in error_rows():
            indent = "\u00a0\u00a0" * row.depth  # at which no line breaks
            fields = ", ".join(f"``{name}``" for name in row.fields) or "\u2013"
            status = next(status for kind, status in _STATUSES if issubclass(row.kind, kind))
            whose = next(words for kind, words in WHOSE.items() if issubclass(row.kind, kind))
            name = f"{indent}`{row.kind.__name__}`"
            meaning, action = _first_sentences(row.kind), actions_of(row.kind)
            yield name, meaning, whose, action, fields, str(int(status))


class KrakenErrorsTable(Table):
    """What Kraken's error texts become."""

    header = ("Kraken's text begins", "Class", "Again?", "``action``", "What to do")
    widths = (28, 16, 14, 16, 36)

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Return the cells."""
        for row in ROWS:
            again = "no"
            if row.retryable:
                again = "yes" if row.retry_after_s is None else f"after {row.retry_after_s:g} s"
            yield f"``{row.prefix}``", f"`{row.kind.__name__}`", again, row.action.value, row.advice


class EndpointsTable(Table):
    """The private endpoints that krakked knows, by what they cost the key's counter."""

    header = ("Cost", "Endpoints")
    widths = (20, 80)

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Return the cells."""
        for cost in sorted({row.cost for row in ENDPOINTS.values()}):
            names = [
                name for name, row in ENDPOINTS.items() if row.cost == cost and not row.per_pair
            ]  # per pair are public calls alone
            yield str(cost), ", ".join(f"``{name}``" for name in names)


class ExitTable(Table):
    """Exit statuses of the command."""

    header = ("Status", "Meaning")
    widths = (10, 90)

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Return the cells."""
        return [(str(status.value), meaning) for status, meaning in MEANINGS.items()]


class FacesTable(Table):
    """How each method of the client is called in the three faces."""

    header = ("Name", "trio: ``krakked``", "``krakked.aio``", "``krakked.blocking``")
    widths = (40, 20, 20, 20)

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Return the cells."""
        for kind in ("Kraken", "LiveFeed", "RestClient"):
            faces = [getattr(each, kind) for each in (krakked, krakked.aio, krakked.blocking)]
            for name in sorted(set(_members(faces[0])) - {"config"}):
                found = [inspect.getattr_static(face, name, None) for face in faces]
                if any(each is None for each in found[1:]):
                    continue
                yield f"`{kind}.{name}`", *map(_way, found)


def _way(member: object) -> str:
    if isinstance(member, property) or not callable(member):
        return "attribute"
    return "awaited" if inspect.iscoroutinefunction(inspect.unwrap(member)) else "plain call"


class Exports(SphinxDirective):
    """Document public names: those named, or all that are written in the modules named."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        text = [".. py:currentmodule:: krakked", ""]
        for word in self.arguments[0].split():
            names = krakked._HOME[word].split() if word in krakked._HOME else [word]
            for name in names:
                text += [*self._one(name), ""]
        return parsed(self, text)

    def _one(self, name: str) -> list[str]:
        thing = getattr(krakked, name)
        if not inspect.isclass(thing):
            kind = "autofunction" if callable(inspect.unwrap(thing)) else "autodata"
            return [f".. {kind}:: {name}"]
        if issubclass(thing, krakked.KrakkedError):
            return [f".. autoexception:: {name}", "   :no-members:"]
        # Those are given by krakked and never made by users; RestClient inherits its typed calls.
        signature = "()" if name in {"Kraken", "LiveFeed", "Changes"} else ""
        text = [f".. autoclass:: {name}{signature}"]
        if name == "Changes":
            text.append("   :exclude-members: position")  # for the stream's own use
        if issubclass(thing, msgspec.Struct | Enum):
            text.append("   :undoc-members:")
        if thing is krakked.RestClient:
            text.append("   :inherited-members: ABC")
        return text


class CommandHelp(SphinxDirective):
    """What `krakked COMMAND --help` prints, for each command and each of its actions."""

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        found: list[nodes.Node] = []
        for name, text in COMMANDS.items():
            section = nodes.section(ids=[f"krakked-{name}"])
            section += nodes.title("", f"krakked {name}")
            section += nodes.paragraph("", f"{text[0].upper()}{text[1:]}.")
            for usage in _usages(name):
                section += nodes.literal_block(usage, usage, language="text")
            found.append(section)
        return found


def _usages(name: str) -> Iterator[str]:
    os.environ["COLUMNS"] = "88"
    whole = build_parser([name])
    (choices,) = [a.choices for a in whole._actions if isinstance(a, argparse._SubParsersAction)]
    parser = choices[name]
    yield parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield each.format_help()


def tidy_signature(
    _app: Sphinx, what: str, _name: str, thing: object, *_: object
) -> tuple[str, None] | None:
    """Show enumerations without a signature, settings without the defaults of their defaults."""
    if what != "class" or not inspect.isclass(thing):
        return None
    if issubclass(thing, Enum):
        return "", None
    return ("(**settings)", None) if issubclass(thing, Settings) else None


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """Make links of the names in Markdown pages, where single backticks are plain code."""
    if app.env.doc2path(app.env.docname).suffix != ".md":
        return
    for node in list(doctree.findall(nodes.literal)):
        text = node.astext()
        name = text.removesuffix("()").removeprefix("krakked.")
        if re.fullmatch(r"[A-Z]\w*(\.\w+)?|open_kraken|load_\w+", name) is None:
            continue
        if name in NAMES:
            if not isinstance(node.parent, addnodes.pending_xref | nodes.reference):
                node.replace_self(link(name, text, app.env.docname))
        elif name.partition(".")[0] in NAMES:
            log.warning("`%s` is no public name", text, location=node)


class WholeSentences:
    """Keeps the docstrings of fields from napoleon, which takes "Trades: today" for a type."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def keep(self, _app: Sphinx, _what: str, *rest: typing.Any) -> None:
        """Keep a docstring before napoleon has it."""
        self.kept = list(rest[-1])

    def give_back(self, app: Sphinx, what: str, *rest: typing.Any) -> None:
        """Put it back behind napoleon."""
        if what in {"attribute", "data"}:
            rest[-1][:] = self.kept
        elif what == "property":
            name, thing, options, lines = rest
            method = GoogleDocstring(self.kept, app.config, app, "method", name, thing, options)
            lines[:] = method.lines()


def drop_links_to_nothing(_app: Sphinx, doctree: nodes.document) -> None:
    """Show built-in types and what is private in a signature as words, without a link.

    A built-in's name may be the field of a Struct, too, and Sphinx would not know which is meant.
    """
    for node in list(doctree.findall(addnodes.pending_xref)):
        target = node.get("reftarget", "")
        if node.get("reftype") != "obj" and (hasattr(builtins, target) or "krakked._" in target):
            node.replace_self(nodes.Text(target.rpartition(".")[2]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all of it."""
    gather_docstrings()
    roles.register_local_role("krakked", NameRole())  # what single backticks mean
    app.add_directive("krakked-exports", Exports)
    app.add_directive("krakked-settings", SettingsTable)
    app.add_directive("krakked-errors", ErrorsTable)
    app.add_directive("krakked-kraken-errors", KrakenErrorsTable)
    app.add_directive("krakked-endpoints", EndpointsTable)
    app.add_directive("krakked-exit-statuses", ExitTable)
    app.add_directive("krakked-faces", FacesTable)
    app.add_directive("krakked-commands", CommandHelp)
    app.connect("doctree-read", drop_links_to_nothing)
    app.connect("doctree-read", link_names)
    app.connect("autodoc-process-signature", tidy_signature)
    sentences = WholeSentences()  # napoleon has the priority 500
    app.connect("autodoc-process-docstring", sentences.keep, priority=400)
    app.connect("autodoc-process-docstring", sentences.give_back, priority=600)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
