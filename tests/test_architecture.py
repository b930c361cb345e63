"""The house rules that no linter knows, as checks over the source text."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "krakked"
PYTHON = sorted(PACKAGE.rglob("*.py"))
RUST = sorted((ROOT / "rust").rglob("*.rs"))
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "service"}
MAX_LINES = 600


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(syntax(path)))


def test_there_is_something_to_check() -> None:
    assert len(PYTHON) > 40
    assert len(RUST) > 10


@pytest.mark.parametrize("path", PYTHON + RUST, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_over_600_lines_without_a_reason_in_its_first_comment(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) <= MAX_LINES:
        return
    head = "\n".join(lines[:25]).lower()
    assert "long because" in head, f"{path} has {len(lines)} lines and no 'Long because' up front"


@pytest.mark.parametrize("path", PYTHON + RUST, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_say_what_is_inside(path: Path) -> None:
    assert path.stem.strip("_") not in BANNED


def test_room_init_files_hold_one_docstring() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        room = path.parent.relative_to(PACKAGE).as_posix()
        if room == ".":  # the public names
            continue
        body = syntax(path).body
        assert len(body) == 1, path
        assert isinstance(body[0], ast.Expr), path


def test_only_sources_read_the_environment() -> None:
    # network: SSL_CERT_FILE and SSL_CERT_DIR, which every TLS program honours
    allowed = {"_config", "_credentials", "_cli", "_network"}
    for path in PYTHON:
        text = path.read_text(encoding="utf-8")
        if re.search(r"os\.environ|os\.getenv", text):
            assert path.relative_to(PACKAGE).parts[0] in allowed, path


def test_every_decoding_expects_all_that_a_decoder_raises() -> None:
    for path in PYTHON:
        if path.name == "_unreadable.py" or path.relative_to(PACKAGE).parts[0] == "_sandbox":
            continue
        for node in nodes(path):
            if isinstance(node, ast.Try):
                caught = " ".join(ast.unparse(h.type) for h in node.handlers if h.type)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                caught = ast.unparse(node)
            else:
                continue
            if "msgspec." in caught:
                assert "UNREADABLE" in caught, f"{path}:{node.lineno}"


@pytest.mark.slow
def test_the_library_never_prints() -> None:
    for path in PYTHON:
        if path.relative_to(PACKAGE).parts[0] == "_cli":
            continue
        calls = [
            node.lineno
            for node in nodes(path)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ]
        assert not calls, f"{path}: {calls}"


def test_every_error_class_ends_in_error() -> None:
    names = [n.name for n in syntax(PACKAGE / "_errors.py").body if isinstance(n, ast.ClassDef)]
    assert [n for n in names if not n.endswith("Error")] == ["Action", "StaleReason"]


def test_real_kraken_hosts_are_the_defaults_and_nowhere_else_in_tests() -> None:
    settings = (PACKAGE / "_config" / "settings.py").read_text(encoding="utf-8")
    assert '"https://api.kraken.com"' in settings
    assert '"wss://ws.kraken.com/v2"' in settings


CORE_READERS = {
    "__init__",
    "_credentials.sources",
    "_market.bars",
    "_market.changes",
    "_market.history.archive_series",
    "_market.history.trades_backfill",
    "_market.live",
    "_market.store.resample",
    "_market.stream",
    "_network.network",  # the version that it tells
    "_rest.nonces",
    "_rest.signing",
}
"""Modules (or rooms) that may touch the compiled core."""


def imported_from_package(path: Path) -> set[str]:
    """Give what a file imports as `import krakked`, `from krakked import x` or krakked._core."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found & {"krakked", "krakked._core"}


def test_no_room_below_the_client_imports_the_package_itself() -> None:
    for path in PYTHON:
        room = path.relative_to(PACKAGE).parts[0]
        if room not in {"_cli", "_faces", "aio.py", "blocking.py"}:
            assert "krakked" not in imported_from_package(path), path


def test_only_named_modules_touch_the_compiled_core() -> None:
    for path in PYTHON:
        if "krakked._core" not in imported_from_package(path):
            continue
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        assert any(name == who or name.startswith(f"{who}.") for who in CORE_READERS), name


def test_importing_krakked_loads_no_library_that_nobody_asked_for() -> None:
    code = (
        "import sys, krakked;"
        "print([m for m in ('pandas', 'polars', 'duckdb', 'starlette', 'hypercorn', 'keyring')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def imported_modules(path: Path, known: set[str]) -> set[str]:
    """Modules of ours that a module needs while it is loaded."""
    found: set[str] = set()
    for node in syntax(path).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found & known


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {
        ".".join(("krakked", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in PYTHON
        if path.name != "__init__.py"
    }
    needs = {name: imported_modules(path, set(names)) for name, path in names.items()}
    while free := [name for name, needed in needs.items() if not needed & needs.keys()]:
        for name in free:  # what needs nothing that is left stands in no circle
            del needs[name]
    assert not needs


TWINS = {"BadLine", "BadLines", "Evidence"}
"""What Rust tells, and the form in which Python keeps it: one concept, on both sides."""


def test_no_two_types_bear_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in PYTHON:
        if "_faces" in path.parts:  # the same client, for another loop
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append("python")
    for path in (ROOT / "rust").glob("*/src/**/*.rs"):
        if path.name == "no_reader.rs":  # what stands in for the reader elsewhere
            continue
        found = re.findall(
            r"^\s*(?:pub(?:\([a-z]+\))? )?(?:struct|enum|trait|union) (\w+)", path.read_text(), re.M
        )
        for name in found:
            places.setdefault(name, []).append(path.relative_to(ROOT).parts[1])
    doubled = {name: where for name, where in places.items() if len(where) > 1}
    bindings = {name for name, where in doubled.items() if sorted(where) == ["core", "py"]}
    assert set(doubled) - bindings == TWINS


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph("krakked", exclude_type_checking_imports=True, cache_dir=None)
    imports = {
        module: graph.find_modules_directly_imported_by(module) - {"krakked"}
        for module in graph.modules
    }
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the way
