"""Which rules no test holds: small mutants of the pure modules, one at a time, with their tests.

`make mutants SINCE=main` takes the lines that a change touched, `make mutants ALL=1` all of them,
`make mutants ONLY="rest.limits market.bars"` some modules; both cores are used, niced. What lives
is printed with its place; mutants that change nothing a caller can see are listed with a reason in
`accepted_mutants.toml`. The end is 1 when fewer than 90 % of the others died.

Why not a tool from the shelf: mutmut changes neither constants nor class bodies nor decorated
functions, which is where most of these rules are; cosmic-ray starts one pytest a mutant (ten hours
for these modules) and knows no strings and no dropped statements. So: the mutants are made from the
syntax tree, each is written into a copy of the project, and a forked child, which has the libraries
imported already, runs the tests that come past the changed lines, up to the first failure. One run
of the tests without mutants, traced, tells which those are. The Rust core has cargo-mutants.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import traceback
import types
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACCEPTED = Path(__file__).with_name("accepted_mutants.toml")
CONTRACT = "Pure modules open nothing and read no clock"
SHELLS_WITH_RULES = ("rest.endpoints", "rest.request", "credentials.passwords")
"""Modules that hold rules though they are not pure."""
ENOUGH = 0.9
WALL_S = 300.0
"""No child runs longer; what a mutant costs is bounded by its CPU time, whatever the load."""

ORDERS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OPPOSITES = {ast.Eq: ast.NotEq, ast.Is: ast.IsNot, ast.In: ast.NotIn}
COMPARISONS = ORDERS | OPPOSITES | {new: old for old, new in OPPOSITES.items()}
OPERATORS = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult},
    **{ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift},
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
METHODS = {"startswith": "endswith", "endswith": "startswith", "lstrip": "rstrip"}


@dataclass(frozen=True)
class Mutant:
    """One change: where it is, how it reads before and after, and the whole text with it."""

    module: str
    line: int
    last_line: int
    """The statement's last one; of a compound statement the head's."""
    inside_function: bool
    was: str
    now: str
    text: str = field(repr=False, compare=False)


# --- making them ------------------------------------------------------------------------------


def replacements(node: ast.AST, parent: ast.AST | None, around: str) -> Iterator[ast.AST | None]:
    """Give what may stand in a node's place; None takes a statement away.

    Args:
        node: The node.
        parent: What it stands in.
        around: Text of the statement that it is a part of.
    """
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield ast.Compare(node.left, [COMPARISONS[type(op)]()], node.comparators)
        case ast.Compare(ops=ops):
            for at, op in enumerate(ops):
                changed = [*ops[:at], COMPARISONS[type(op)](), *ops[at + 1 :]]
                yield ast.Compare(node.left, changed, node.comparators)
        case ast.BoolOp(op=op):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BinOp(op=op) if type(op) in OPERATORS and not is_text(node):
            yield ast.BinOp(node.left, OPERATORS[type(op)](), node.right)
        case ast.AugAssign(op=op) if type(op) in OPERATORS:
            yield ast.AugAssign(node.target, OPERATORS[type(op)](), node.value)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)) | ast.Constant(value=float(value)):
            # among nanoseconds one more is nothing that could be told
            yield ast.Constant(value + (10**9 if value == 0 and "_ns" in around else 1))
        case ast.Constant(value=str(value)) if value and is_told_apart(parent):
            yield ast.Constant(value + "~")
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            yield ast.Call(ast.Name(CALLS[name], ast.Load()), node.args, node.keywords)
        case ast.Attribute(attr=name) if name in METHODS and isinstance(parent, ast.Call):
            yield ast.Attribute(node.value, METHODS[name], ast.Load())
        case ast.If(orelse=[], body=[*_, ast.Raise() | ast.Return() | ast.Continue()]):
            yield None
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield None
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Delete():
            yield None
        case ast.Break():
            yield ast.Continue()
    if isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(
        node.test, ast.Compare | ast.BoolOp | ast.UnaryOp
    ):
        changed = copy.copy(node)
        changed.test = ast.UnaryOp(ast.Not(), node.test)  # type: ignore[attr-defined]
        yield changed


def is_text(node: ast.BinOp) -> bool:
    """Whether an operator joins or formats text, or types (`int | None`)."""
    kinds = (ast.JoinedStr, ast.Tuple, ast.List)
    for side in (node.left, node.right):
        if isinstance(side, kinds) or (
            isinstance(side, ast.Constant) and not isinstance(side.value, int | float)
        ):
            return True
    return False


def is_told_apart(parent: ast.AST | None) -> bool:
    """Whether a text is compared or looked up, not shown to a person."""
    return isinstance(
        parent, ast.Compare | ast.Set | ast.Dict | ast.Tuple | ast.MatchValue | ast.Subscript
    )


def mutants(module: str, source: str, lines: set[int] | None) -> Iterator[Mutant]:
    """Give the mutants of a module, those on `lines` only when they are given."""
    tree = ast.parse(source)
    yield from _walk(module, tree, tree, None, lines, deep=False)


def _walk(
    module: str,
    tree: ast.Module,
    node: ast.AST,
    statement: ast.stmt | None,
    lines: set[int] | None,
    *,
    deep: bool,
) -> Iterator[Mutant]:
    for name, value in ast.iter_fields(node):
        if isinstance(node, ast.ClassDef) and name == "keywords":
            continue  # frozen=True and its kind
        if name in {"annotation", "returns", "type_params", "decorator_list", "type_comment"}:
            continue
        children = value if isinstance(value, list) else [value]
        for at, child in enumerate(children):
            if not isinstance(child, ast.AST) or is_docstring(child):
                continue
            if isinstance(child, ast.Import | ast.ImportFrom | ast.Raise | ast.Assert):
                continue  # what a message says is not asked for here
            inside = child if isinstance(child, ast.stmt) else statement
            deep_here = deep or (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and name == "body"
            )
            line = getattr(child, "lineno", None)
            if line is not None and (lines is None or line in lines):
                was = shown(inside or child)
                for new in list(replacements(child, node, was)):
                    put = ast.Pass() if new is None else new
                    if isinstance(value, list):
                        value[at] = ast.copy_location(put, child)
                    else:
                        setattr(node, name, ast.copy_location(put, child))
                    text = ast.unparse(ast.fix_missing_locations(tree))
                    now = shown(put if child is inside else inside or put)
                    if isinstance(value, list):
                        value[at] = child
                    else:
                        setattr(node, name, child)
                    first, last = span(inside or child)
                    yield Mutant(module, first, last, deep_here, was, now, text)
            yield from _walk(module, tree, child, inside, lines, deep=deep_here)


def span(node: ast.AST) -> tuple[int, int]:
    """Give a statement's first and last line, of a compound one the head's."""
    last = node.body[0].lineno - 1 if getattr(node, "body", None) else node.end_lineno  # type: ignore[attr-defined]
    return node.lineno, max(node.lineno, last)  # type: ignore[attr-defined]


def is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def shown(node: ast.AST) -> str:
    """Show a statement in one line: of a compound one the head."""
    text = ast.unparse(node)
    if isinstance(node, ast.If | ast.While) and isinstance(node.body[-1], ast.Return | ast.Raise):
        return " ".join(text.split())
    return text.splitlines()[0] if hasattr(node, "body") else " ".join(text.split())


# --- which modules, lines, tests --------------------------------------------------------------


def pure_modules() -> list[str]:
    """Give the modules that the import contract calls pure, and a few more."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (pure,) = [it for it in contracts["contracts"] if it["name"] == CONTRACT]
    found = [name.removeprefix("krakked._") for name in pure["source_modules"]]
    return sorted({*found, *SHELLS_WITH_RULES} - {"errors"})


def path_of(module: str) -> Path:
    room, *rest = module.split(".")
    return Path("python", "krakked", f"_{room}", *rest).with_suffix(".py")


def touched_lines(since: str) -> dict[str, set[int]]:
    """Give the lines that differ from a commit, by file."""
    command = ["git", "diff", "-U0", since, "--", "python/krakked"]
    found: dict[str, set[int]] = {}
    name = ""
    for line in subprocess.check_output(command, cwd=ROOT, text=True).splitlines():
        if line.startswith("+++ "):
            name = line[4:].removeprefix("b/")
        elif hunk := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line):
            first, count = int(hunk[1]), int(hunk[2] or 1)
            found.setdefault(name, set()).update(range(first, first + count))
    return found


def tests_of(module: str, *, nearest: bool) -> list[str]:
    """Give the test files of a module: its own, those that import it, the rest of its room.

    Args:
        module: The module.
        nearest: Leave out the rest of its room.
    """
    *room, stem = module.split(".")
    folder = ROOT.joinpath("tests", *room)
    folders = [folder, folder / stem.split("_")[0]]
    package = re.escape(".".join(("krakked", *(f"_{room[0]}", *room[1:]))))
    dotted = re.compile(rf"{package}\.{stem}\b|from {package} import .*\b{stem}\b")
    ranked: list[tuple[int, int, str]] = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text("utf-8")
        own = path.stem.removeprefix("test_")
        if own == stem and path.parent in folders:
            rank = 0
        elif dotted.search(text):
            rank = 1 if path.parent in folders else 2
        elif path.parent in folders and not nearest:
            rank = 3
        else:
            continue
        ranked.append((rank, len(text), str(path.relative_to(ROOT))))
    return [name for _, _, name in sorted(ranked)]


# --- running them -----------------------------------------------------------------------------


def warm_up() -> None:
    """Import what the tests need, so that a forked child need not; but nothing of krakked."""
    for name in ("httpx", "hypothesis", "msgspec", "numpy", "orjson", "pytest", "pytest_trio"):
        __import__(name)
    for name in ("rich.console", "trio.testing", "trio_websocket", "pyarrow.parquet", "yaml"):
        __import__(name)
    assert not [name for name in sys.modules if name.partition(".")[0] == "krakked"]


def copy_tree(to: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in ("python", "tests", "benches", "rust"):
        shutil.copytree(ROOT / name, to / name, ignore=ignored, symlinks=True)
    for name in ("pyproject.toml", "README.md", "Cargo.toml"):
        shutil.copy(ROOT / name, to)


class Watch:
    """A pytest plugin: which tests run which lines of some files, and how long each one takes."""

    def __init__(self, tree: Path, modules: list[str]) -> None:
        self._files = {str(tree / path_of(module)): module for module in modules}
        self._lines: dict[tuple[str, int], set[str]] = {}
        self._seconds: dict[str, float] = {}
        self._test = "import"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._test, began = item.nodeid, time.process_time()
        try:
            return (yield)
        finally:
            self._test = "import"
            self._seconds[item.nodeid] = time.process_time() - began

    def trace(self, frame: types.FrameType, event: str, arg: object) -> object:
        module = self._files.get(frame.f_code.co_filename)
        if module is None or frame.f_code.co_name == "<module>":
            return None

        def line(frame: types.FrameType, event: str, arg: object) -> object:
            self._lines.setdefault((module, frame.f_lineno), set()).add(self._test)
            return line

        return line(frame, event, arg)

    def save(self, path: Path) -> None:
        rows = [[module, line, sorted(tests)] for (module, line), tests in self._lines.items()]
        path.write_text(json.dumps({"rows": rows, "seconds": self._seconds}), "utf-8")


@dataclass
class Map:
    """What a run without mutants told: tests by line and by module, and what they cost."""

    lines: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    modules: dict[str, set[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Map:
        told, made = json.loads(path.read_text("utf-8")), cls()
        made.seconds = told["seconds"]
        for module, line, tests in told["rows"]:
            named = {test for test in tests if test != "import"}
            made.lines[module, line] = named
            made.modules.setdefault(module, set()).update(named)
        return made

    def tests(self, mutant: Mutant) -> list[str]:
        """Give the tests that run a mutant's lines, the cheapest first; for what only an import
        runs (a constant, a field), those that run anything of the module or may name it.
        """
        found: set[str] = set()
        for line in range(mutant.line, mutant.last_line + 1):
            found |= self.lines.get((mutant.module, line), set())
        if not found and not mutant.inside_function:
            near = set(tests_of(mutant.module, nearest=True))
            named = {test for test in self.seconds if test.partition("::")[0] in near}
            found = self.modules.get(mutant.module, set()) | named
        return sorted(found, key=lambda test: self.seconds.get(test, 0.0))


def child(tree: Path, tests: list[str], cpu_s: int, watch: Watch | None = None) -> int:
    """Fork a child that runs these tests in a tree; give its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        null = os.open(os.devnull, os.O_RDWR)
        out = null if "KRAKKED_MUTANTS_SHOW" not in os.environ else 1
        for fd in (0, 1, 2):
            os.dup2(null if fd == 0 else out, fd)
        os.chdir(tree)
        temp = tree / "tmp"
        shutil.rmtree(temp, ignore_errors=True)
        temp.mkdir()
        os.environ |= {"TMPDIR": str(temp), "PYTHONPATH": f"{tree / 'python'}"}
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "1" if watch is None else ""}
        tempfile.tempdir = None
        sys.dont_write_bytecode = watch is None
        sys.path.insert(0, str(tree / "python"))
        options = ["-x", "-q", "-n0", "-p", "no:cacheprovider"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # warmed up before
        if watch is not None:
            sys.settrace(watch.trace)
            threading.settrace(watch.trace)
        code = int(pytest.main([*options, *tests], plugins=[watch] if watch else []))
        if watch is not None:
            sys.settrace(None)
            watch.save(tree / "map.json")
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait_for(running: dict[int, tuple[Mutant | None, Path, float]]) -> tuple[int, int, float]:
    """Wait for any child; give pid, exit code (-1 when a limit ended it) and its CPU seconds."""
    while True:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid in running:
            kill_group(pid)  # what its tests may have left running
            cpu_s = usage.ru_utime + usage.ru_stime
            return pid, os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1, cpu_s
        for late, (_, _, since) in running.items():
            if time.monotonic() - since > WALL_S:
                kill_group(late)
        time.sleep(0.005)


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


@dataclass
class Result:
    """What became of a module's mutants."""

    killed: int = 0
    accepted: int = 0
    lived: list[Mutant] = field(default_factory=list)

    def note(self, mutant: Mutant, code: int, accepted: set[tuple[str, str, str]]) -> None:
        """Count a mutant by the exit code of its tests; 0 means that none of them noticed."""
        if code != 0:
            self.killed += 1
        elif (mutant.module, mutant.was, mutant.now) in accepted:
            self.accepted += 1
        else:
            self.lived.append(mutant)

    def line(self, module: str) -> str:
        told = self.killed + len(self.lived)
        share = f"{self.killed / told:7.1%}" if told else "      -"
        return f"{module:34}{told:6}{self.killed:8}{len(self.lived):7}{self.accepted:10}{share:>9}"


def watched(modules: list[str], tree: Path) -> Map:
    """Run the modules' tests once without any mutant."""
    tests = sorted({test for module in modules for test in tests_of(module, nearest=False)})
    pid = child(tree, tests, 3600, Watch(tree, modules))
    _, code, _ = wait_for({pid: (None, tree, time.monotonic() + 3600 - WALL_S)})
    if code != 0:
        raise SystemExit(f"the tests fail without any mutant (exit {code}): {' '.join(tests)}")
    return Map.load(tree / "map.json")


def try_module(
    module: str,
    todo: list[Mutant],
    trees: list[Path],
    map_: Map,
    accepted: set[tuple[str, str, str]],
    running: dict[int, tuple[Mutant | None, Path, float]],
) -> Result:
    """Run a module's mutants, one in each tree at a time."""
    result = Result()
    source = (ROOT / path_of(module)).read_text("utf-8")
    free, queue = list(trees), list(todo)
    while queue or running:
        while queue and free:
            mutant = queue.pop(0)
            tests = map_.tests(mutant)
            if not tests:
                result.note(mutant, 0, accepted)
                continue
            tree = free.pop()
            target = tree / path_of(module)
            for old in target.parent.glob(f"__pycache__/{target.stem}.*.pyc"):
                old.unlink()
            target.write_text(mutant.text, "utf-8")
            limit_s = int(15 + 6 * sum(map_.seconds.get(test, 0.0) for test in tests))
            running[child(tree, tests, limit_s)] = (mutant, tree, time.monotonic())
        if not running:
            break
        pid, code, _ = wait_for(running)
        mutant, tree, _ = running.pop(pid)
        free.append(tree)
        (tree / path_of(module)).write_text(source, "utf-8")
        result.note(mutant, code, accepted)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--since", help="only lines that differ from this commit")
    parser.add_argument("--only", default="", help="modules, as in rest.limits")
    parser.add_argument("--sample", type=int, default=1, help="every n-th mutant")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    os.nice(10)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    touched = touched_lines(options.since) if options.since else None
    known = tomllib.loads(ACCEPTED.read_text("utf-8")).get("accepted", [])
    accepted = {(it["module"], it["was"], it["now"]) for it in known}
    work: dict[str, list[Mutant]] = {}
    for module in options.only.split() or pure_modules():
        path = path_of(module)
        lines = None if touched is None else touched.get(path.as_posix(), set())
        made = list(mutants(module, (ROOT / path).read_text("utf-8"), lines))[:: options.sample]
        if made:
            work[module] = made
    warm_up()
    results: dict[str, Result] = {}
    print(f"{'module':34}{'tried':>6}{'killed':>8}{'lived':>7}{'accepted':>10}{'share':>9}")
    with tempfile.TemporaryDirectory(prefix="krakked-mutants-") as top:
        trees = [Path(top) / str(number) for number in range(options.jobs)]
        for tree in trees:
            tree.mkdir()
            copy_tree(tree)
        map_ = watched(list(work), trees[0])
        running: dict[int, tuple[Mutant | None, Path, float]] = {}
        try:
            for module, todo in work.items():
                results[module] = try_module(module, todo, trees, map_, accepted, running)
                print(results[module].line(module), flush=True)
        finally:
            for pid in running:  # sessions of their own: no signal to us reaches them
                kill_group(pid)
    total = Result(
        sum(it.killed for it in results.values()),
        sum(it.accepted for it in results.values()),
        [one for it in results.values() for one in it.lived],
    )
    print(total.line("all"))
    for mutant in total.lived:
        print(
            f"lived: {path_of(mutant.module)}:{mutant.line}\n    - {mutant.was}\n    + {mutant.now}"
        )
    told = total.killed + len(total.lived)
    return 0 if not told or total.killed / told >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
