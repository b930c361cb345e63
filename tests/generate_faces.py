"""Writes the faces for plain and asyncio programs out of the trio one: `make faces`.

`Kraken`, `RestClient` and `LiveFeed` keep their names, signatures, overloads and docstrings; what
is awaited in one face is called or awaited in the others. A test holds the files against this.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent.parent / "python" / "krakked"

DIRECT: Final = {
    *("region", "universe", "get_universe", "get_pair_metadata"),
    *("get_latest_price", "get_best_bid_ask", "get_ticker", "get_live_ohlc"),
    *("sandbox", "pairs", "timeframes"),
}
"""What any thread may read: immutable snapshots, and the cache that Rust keeps."""

LEFT_OUT: Final = {"know_pairs"}
"""For krakked itself."""


@dataclass(frozen=True)
class Kind:
    """One class of the trio face."""

    name: str
    files: tuple[str, ...]
    attribute: str
    """What the wrapped object is called."""
    doc: str


KINDS: Final = (
    Kind("RestClient", ("_rest/client.py", "_rest/endpoints.py"), "_rest", "RestClient"),
    Kind("LiveFeed", ("_market/live_feed.py",), "_feed", "LiveFeed"),
    Kind("Kraken", ("_client.py",), "_kraken", "Kraken"),
)

HEAD: Final = '''"""{title}

Written by `make faces` from the trio face, of which it is a copy in everything but how one waits;
a test holds the two together. Long because every function of the contract stands in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final, overload

{imports}

if TYPE_CHECKING:
    import krakked
    from krakked import {names}
    from krakked._faces.trio_thread import TrioThread

T = TypeVar("T")

'''

IMPORTS: Final = {
    "blocking": "from krakked._faces.blocking_changes import Changes",
    "aio": "from krakked._faces.aio_changes import Changes\n"
    "from krakked._faces.asyncio_calls import awaited",
}

TITLES: Final = {
    "blocking": "krakked for plain programs: the calls of `krakked.blocking`.",
    "aio": "krakked for asyncio programs: the calls of `krakked.aio`.",
}


def functions(kind: Kind) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every public method of a class of the trio face, overloads first, in the order written."""
    found: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
    for file in kind.files:
        tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
        for node in tree.body:
            if not isinstance(node, ast.ClassDef) or node.name not in {kind.name, "TypedEndpoints"}:
                continue
            own: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
            for member in node.body:
                if (
                    isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not member.name.startswith("_")
                    and member.name not in LEFT_OUT
                ):
                    own.setdefault(member.name, []).append(member)
            for name, members in own.items():
                found.setdefault(name, members)
    return [member for members in found.values() for member in members]


def class_doc(kind: Kind) -> str:
    tree = ast.parse((PACKAGE / kind.files[0]).read_text(encoding="utf-8"))
    (node,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == kind.name)
    return ast.get_docstring(node) or ""


def is_overload(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(mark) == "overload" for mark in function.decorator_list)


def is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(mark) == "property" for mark in function.decorator_list)


def passed_on(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The arguments as they go to the wrapped method."""
    given = function.args
    words = [arg.arg for arg in (*given.posonlyargs, *given.args) if arg.arg != "self"]
    words += [f"{arg.arg}={arg.arg}" for arg in given.kwonlyargs]
    return ", ".join(words)


def signature(function: ast.FunctionDef | ast.AsyncFunctionDef, *, awaits: bool) -> str:
    word = "async def" if awaits else "def"
    returns = "" if function.returns is None else f" -> {ast.unparse(function.returns)}"
    return f"{word} {function.name}({ast.unparse(function.args)}){returns}"


def body(kind: Kind, function: ast.FunctionDef | ast.AsyncFunctionDef, face: str) -> str:
    owner = f"self.{kind.attribute}"
    target = f"{owner}.{function.name}({passed_on(function)})"
    job = f"lambda: {target}" if passed_on(function) else f"{owner}.{function.name}"
    if is_property(function):
        target = f"{owner}.{function.name}"
    if function.name == "changes":
        return f"return Changes(self._thread, self._thread.run_sync(lambda: {target}))"
    if isinstance(function, ast.AsyncFunctionDef):
        if face == "aio":
            return f"return await awaited(self._thread, {job})"
        return f"return self._thread.call({job})"
    if function.name in DIRECT:
        return f"return {target}"
    return f"return self._thread.run_sync({job})"


def written(kind: Kind, face: str) -> str:
    """The source of one class."""
    doc = class_doc(kind).partition("\n\nArgs:")[0]  # users never make one
    lines = ["@final", f"class {kind.name}:"]
    lines.append(textwrap.indent(docstring(doc), "    "))
    lines.append(
        textwrap.indent(
            f"def __init__(self, thread: TrioThread[krakked.Kraken], {kind.attribute[1:]}: "
            f"krakked.{kind.name}) -> None:\n"
            f"    self._thread = thread\n"
            f"    self.{kind.attribute} = {kind.attribute[1:]}\n"
            + (
                "    self.config: KrakkedConfig = kraken.config\n"
                "    self.rest: RestClient = RestClient(thread, kraken.rest)\n"
                "    self.store: CandleStore = kraken.store\n"
                if kind.name == "Kraken"
                else ""
            )
            + f"\ndef __repr__(self) -> str:\n    return repr(self.{kind.attribute})\n",
            "    ",
        )
    )
    for function in functions(kind):
        awaits = isinstance(function, ast.AsyncFunctionDef) and face == "aio"
        head = signature(function, awaits=awaits)
        if is_overload(function):
            lines.append(textwrap.indent(f"@overload\n{head}: ...\n", "    "))
            continue
        text = f"{head}:\n"
        if is_property(function):
            text = f"@property\n{text}"
        doc = ast.get_docstring(function) or ""
        if face == "blocking":
            doc = doc.replace("async for", "for")
        text += textwrap.indent(docstring(doc), "    ") + "\n" if doc else ""
        if function.name == "feed":
            text += "    return LiveFeed(self._thread, self._kraken.feed)\n"
        else:
            text += f"    {body(kind, function, face)}\n"
        lines.append(textwrap.indent(text, "    "))
    return "\n".join(lines)


def docstring(doc: str) -> str:
    one_line = "\n" not in doc
    return f'"""{doc}"""' if one_line else f'"""{doc}\n"""'


def source(face: str) -> str:
    """The whole file of a face, formatted."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    exported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("krakked._")
        for alias in node.names
    }
    names = sorted(exported - {kind.name for kind in KINDS} - {"Changes", "open_kraken"})
    text = HEAD.format(title=TITLES[face], imports=IMPORTS[face], names=", ".join(names))
    text += "\n\n".join(written(kind, face) for kind in KINDS)
    path = PACKAGE / "_faces" / f"{face}_calls.py"
    for words in (
        ["check", "--quiet", "--fix", "--select", "F401,I", "--stdin-filename", str(path), "-"],
        ["format", "--quiet", "--stdin-filename", str(path), "-"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            cwd=PACKAGE.parent.parent,
        )
        text = done.stdout
        assert text, done.stderr
    return text


if __name__ == "__main__":
    for each in TITLES:
        (PACKAGE / "_faces" / f"{each}_calls.py").write_text(source(each), encoding="utf-8")
