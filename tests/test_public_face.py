"""What users see: everything a public signature can show is importable from `krakked`."""

from __future__ import annotations

import ast
import copy
import enum
import inspect
import os
import pickle
import pydoc
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import create_autospec

import msgspec
import pyarrow
import pytest

import krakked
from krakked._market.history.reader import Form

FACE = Path(krakked.__file__)
EXPORTED = {name: getattr(krakked, name) for name in krakked.__all__}
CLASSES = {name: thing for name, thing in EXPORTED.items() if inspect.isclass(thing)}
STRUCTS = sorted(name for name, thing in CLASSES.items() if issubclass(thing, msgspec.Struct))
GIVEN_BY_KRAKKED = {"Changes", "Kraken", "LiveFeed"}
"""Users get these and never make one: their constructors are no part of the face."""
OURS = ("krakked",)


def is_ours(thing: object) -> bool:
    return inspect.isclass(thing) and thing.__module__.partition(".")[0] in OURS


def mentioned(hint: object) -> Iterator[type]:
    """Every class of ours in an annotation, however deep."""
    if is_ours(hint):
        yield hint
    for part in (typing.get_origin(hint), *typing.get_args(hint)):
        for each in part if isinstance(part, list | tuple) else (part,):
            if each is not None and each is not hint:
                yield from mentioned(each)


def hints_of(function: object) -> dict[str, object]:
    whole = inspect.unwrap(function)
    names = dict(vars(sys.modules[whole.__module__]) if whole.__module__ in sys.modules else {})
    names |= {name: getattr(krakked, name) for name in krakked.__all__}
    names |= {"pyarrow": pyarrow}
    return typing.get_type_hints(whole, globalns={**whole.__globals__, **names})


def public_functions(kind: type) -> Iterator[types.FunctionType]:
    for each in kind.__mro__:
        if not is_ours(each):
            continue
        for name, member in vars(each).items():
            found = member.fget if isinstance(member, property) else member
            found = getattr(found, "__func__", found)
            constructor = name == "__init__" and kind.__name__ not in GIVEN_BY_KRAKKED
            if inspect.isfunction(found) and (not name.startswith("_") or constructor):
                yield found


def shown_by(thing: object) -> Iterator[type]:
    if not inspect.isclass(thing):
        for hint in hints_of(thing).values():
            yield from mentioned(hint)
        return
    if issubclass(thing, msgspec.Struct):
        for field in msgspec.structs.fields(thing):
            yield from mentioned(field.type)
    for function in public_functions(thing):
        for overload in [*typing.get_overloads(function), function]:
            for hint in hints_of(overload).values():
                yield from mentioned(hint)


def test_all_that_a_public_signature_shows_is_exported() -> None:
    looked_at = 0
    for name, thing in EXPORTED.items():
        if name in {"__version__", "Signer"} or is_alias(thing):
            continue
        looked_at += 1
        hidden = {shown for shown in shown_by(thing) if EXPORTED.get(shown.__name__) is not shown}
        assert not hidden, f"{name} shows {hidden}"
    assert looked_at > 100


def is_alias(thing: object) -> bool:
    return not (inspect.isclass(thing) or inspect.isfunction(inspect.unwrap(thing)))


def test_no_public_signature_says_any() -> None:
    for name, thing in EXPORTED.items():
        functions = list(public_functions(thing)) if inspect.isclass(thing) else [thing]
        for function in functions:
            if not inspect.isfunction(inspect.unwrap(function)):
                continue
            for overload in [*typing.get_overloads(function), function]:
                hints = hints_of(overload)
                if hints.get("as_") == Form or name in {"resample", "scan"}:
                    continue  # other libraries' tables: Form says why it cannot do better
                assert typing.Any not in hints.values(), f"{name}: {function!r}"


def test_the_table_and_what_type_checkers_see_agree() -> None:
    tree = ast.parse(FACE.read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: (node.module or "").removeprefix("krakked.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    table = {name: module for module, names in krakked._HOME.items() for name in names.split()}
    assert seen == table


def test_public_things_say_that_they_are_of_krakked() -> None:
    for name, thing in EXPORTED.items():
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__module__ == "krakked", name


def test_an_unknown_name_is_refused_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute 'get_ticker'"):
        _ = krakked.get_ticker
    assert dir(krakked) == sorted(krakked.__all__)


FRESH = """
import os, pickle, sys
import msgspec
import krakked

for name in sys.argv[1:]:
    child = os.fork()  # what one Struct has loaded must not help the next
    if child == 0:
        kind = getattr(krakked, name)
        try:
            msgspec.convert({}, kind)
        except msgspec.ValidationError:
            pass
        assert pickle.loads(pickle.dumps(kind)) is kind
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(name)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks for each Struct")
@pytest.mark.slow
def test_every_struct_decodes_and_pickles_in_a_fresh_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *STRUCTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_contracts_functions_are_methods_that_tools_find() -> None:
    spec = create_autospec(krakked.Kraken)
    for name in (
        "get_universe", "get_pair_metadata", "backfill_ohlc", "get_ohlc", "get_ohlc_since",
        "get_latest_price", "get_best_bid_ask", "get_live_ohlc", "get_data_status",
    ):  # fmt: skip
        assert callable(getattr(spec, name))
        method = getattr(krakked.Kraken, name)
        assert inspect.getdoc(method)
        assert "self" in inspect.signature(method).parameters
    with pytest.raises(TypeError, match="lookback"):
        spec.return_value.get_ohlc("XBTUSD", "1h")


def test_help_begins_with_a_quick_start() -> None:
    text = pydoc.plain(pydoc.render_doc(krakked))
    assert text.index("Quick start") < 300
    assert text.index("open_kraken(pairs=") < 600


def test_every_public_thing_has_a_docstring() -> None:
    for name, thing in EXPORTED.items():
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), name
        if inspect.isclass(thing) and not issubclass(thing, enum.Enum):
            for function in public_functions(thing):
                if not function.__name__.startswith("_"):
                    assert inspect.getdoc(function), f"{name}.{function.__name__}"


BARE = """
import sys
before = set(sys.modules)
import krakked
assert krakked.__doc__
print(*sorted(name.partition(".")[0] for name in set(sys.modules) - before))
"""


def test_importing_krakked_alone_loads_nothing_else() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"krakked"}


HEAVY = {
    *("cryptography", "httpcore", "httpx", "msgspec", "numpy", "orjson", "platformdirs"),
    *("pyarrow", "rich", "trio_websocket", "wsproto", "yaml"),
}


@pytest.mark.parametrize(
    "code",
    [
        "from krakked import open_kraken, Kraken",
        "import sys; sys.argv = ['krakked', '--version']; import krakked.__main__",
        "import sys; sys.argv = ['krakked', '--help']; import krakked.__main__",
    ],
)
def test_a_start_loads_only_what_it_needs(code: str) -> None:
    told = "import atexit, sys; atexit.register(lambda: print('loaded', *sys.modules))\n"
    done = subprocess.run(
        [sys.executable, "-c", told + code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.rpartition("loaded ")[2].split())
    assert "krakked" in loaded
    assert not loaded & HEAVY


def test_the_package_is_silent_until_a_program_asks_for_its_log() -> None:
    code = "import krakked, logging; krakked.Kraken; logging.getLogger('krakked.rest').error('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


ERRORS = sorted(name for name, thing in CLASSES.items() if issubclass(thing, krakked.KrakkedError))


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_survives_the_way_out_of_another_process(name: str) -> None:
    error = CLASSES[name].__new__(CLASSES[name], "what happened")
    error.__dict__.update(pair="XBTUSD", retry_after_s=1.5, path=None)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == "what happened"
    assert again.__dict__ == error.__dict__
    assert str(copy.deepcopy(error)) == str(error)


def test_an_error_with_fields_comes_out_of_a_pool() -> None:
    error = krakked.DataStaleError("old", pair="X", age_s=3.0, why=krakked.StaleReason.FEED_DOWN)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.pair, again.age_s, again.why) == ("old", "X", 3.0, error.why)
