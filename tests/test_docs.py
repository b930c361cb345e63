"""docs/ cannot rot: pages build without a warning, links lead somewhere, what is printed runs."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import urllib.parse
from enum import Enum
from pathlib import Path

import msgspec
import pytest
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.inventory import InventoryFile
from tests.pages import DOCS, ROOT, SIZE, Block, Reader, blocks, pages

import krakked
import krakked.sandbox
from krakked._cli.main import build_parser
from krakked._config.settings import KrakkedConfig, Settings, fields_of
from krakked._sandbox.rest_private import PRIVATE
from krakked._sandbox.rest_public import PUBLIC
from krakked._sandbox.ws_connection import PRIVATE_CHANNELS, PUBLIC_CHANNELS
from krakked.sandbox import open_sandbox

PAGES = list(pages())
READ_ON_THE_HUB = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
FOLLOWED = [page for page in PAGES if blocks(page, "python", "console", "sql")]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- what is printed -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="types into a shell and a terminal of POSIX")
@pytest.mark.parametrize("page", FOLLOWED, ids=name_of)
async def test_what_a_page_prints_works_as_printed(
    page: Path, own_config_dir: Path, tmp_path: Path
) -> None:
    """Each block runs in a process of its own, untouched; config.yaml points it at the sandbox."""
    async with open_sandbox(seed=7, settings=SIZE) as exchange:
        await Reader(exchange, own_config_dir, tmp_path).follow(page)


def test_the_guide_to_testing_names_all_that_the_sandbox_has() -> None:
    lacks = (DOCS / "guides" / "testing.md").read_text("utf-8").partition("## What it lacks")[2]
    for name in [*PUBLIC, *PRIVATE, *PUBLIC_CHANNELS, *PRIVATE_CHANNELS]:
        assert f"`{name}`" in lacks, name
    named = set(re.findall(r"`([A-Z]\w+)`", lacks)) - {"AddOrder", "SandboxSettings"}
    assert named == {*PUBLIC, *PRIVATE}


def test_the_guide_to_staleness_names_every_reason() -> None:
    text = (DOCS / "guides" / "quiet-and-stale.md").read_text("utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert rows == {reason.value for reason in krakked.StaleReason}


def test_every_guide_is_followed() -> None:
    assert {page.name for page in (DOCS / "guides").glob("*.md")} <= {p.name for p in FOLLOWED}
    assert len(FOLLOWED) >= 12


@pytest.mark.parametrize("block", [b for p in PAGES for b in blocks(p, "yaml")], ids=str)
def test_configuration_blocks_load(block: Block, own_config_dir: Path) -> None:
    (own_config_dir / "config.yaml").write_text(block.text, encoding="utf-8")
    assert krakked.load_config() != krakked.KrakkedConfig(config_dir=str(own_config_dir))


COMMANDS = [
    (name_of(page), command)
    for page in [*READ_ON_THE_HUB, *PAGES]
    for block in blocks(page, "console")
    for command in block.commands
]


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda text: text)
def test_every_command_line_is_understood(page: str, command: str) -> None:
    words = [word for word in command.split() if "=" not in word.partition("/")[0]]
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    elif words[:2] == ["pip", "install"]:
        assert missing_extras(command) == set()
    else:
        assert words[0] == "krakked"
        if words[1:] != ["--help"]:
            build_parser(words[1:]).parse_args(words[1:])


def missing_extras(text: str) -> set[str]:
    known = set(importlib.metadata.metadata("krakked").get_all("Provides-Extra") or ())
    return set(re.findall(r"krakked\[(\w+)\]", text)) - known


@pytest.mark.parametrize("page", [*READ_ON_THE_HUB, *PAGES], ids=name_of)
def test_commands_and_extras_named_in_the_text_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    assert missing_extras(text) == set()
    for name, action in re.findall(r"`(?:\w+=\S+ )?krakked ([a-z]+)(?: ([a-z]+)\b)?", text):
        help_of(name, action)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def help_of(name: str, action: str) -> None:
    """Fail when there is no such command, or it has actions and not this one."""
    with pytest.raises(SystemExit) as ended:
        build_parser([name]).parse_args([name, *([action] if action in ACTIONS else []), "--help"])
    assert ended.value.code == 0, f"krakked {name} {action}"


ACTIONS = {
    *("status", "passwd", "remove", "show"),
    *("check", "verify", "repair", "compact", "snapshot"),
}


# --- links ---------------------------------------------------------------------------------------


def anchors_of(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*READ_ON_THE_HUB, *PAGES], ids=name_of)
def test_relative_links_lead_to_a_file_and_its_heading(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        link = urllib.parse.urlsplit(target)
        if link.scheme:
            assert link.scheme == "https", target
            continue
        file = page if not link.path else (page.parent / urllib.parse.unquote(link.path)).resolve()
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        if link.fragment:
            assert link.fragment in anchors_of(file), target


# --- the pages themselves ------------------------------------------------------------------------


@pytest.mark.slow
def test_pages_build_without_a_warning_and_hold_what_they_should(tmp_path: Path) -> None:
    """One build, as `make docs` does it: it takes longer than all that is looked up in it."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (line,) = re.findall(r"-m sphinx (.+) docs docs/_build$", makefile, re.MULTILINE)
    assert "-W" in line.split()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *line.split(), str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip()
    every_public_name_and_field_has_its_place(tmp_path)
    tables_hold_every_setting_and_every_error(tmp_path)
    every_link_leads_somewhere(tmp_path)
    nothing_is_fetched_from_elsewhere(tmp_path)


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text("utf-8"))


def objects_of(built: Path) -> set[str]:
    inventory = InventoryFile.loads((built / "objects.inv").read_bytes(), uri="")
    return {name for kind in inventory.data.values() for name in kind}


def every_public_name_and_field_has_its_place(built: Path) -> None:
    objects = objects_of(built)
    for name in krakked.__all__:
        if name == "__version__":
            continue
        assert f"krakked.{name}" in objects
        thing = getattr(krakked, name)
        if isinstance(thing, type) and issubclass(thing, msgspec.Struct):
            for field in msgspec.structs.fields(thing):
                assert f"krakked.{name}.{field.name}" in objects
    assert {f"krakked.sandbox.{name}" for name in krakked.sandbox.__all__} <= objects


def tables_hold_every_setting_and_every_error(built: Path) -> None:
    settings = text_of(built / "reference" / "settings.html")
    found = 0
    for key in keys_of(KrakkedConfig):
        found += 1
        assert key in settings
    assert found >= 25
    errors = text_of(built / "reference" / "errors.html")
    for name in krakked.__all__:
        thing = getattr(krakked, name)
        if isinstance(thing, type) and issubclass(thing, krakked.KrakkedError):
            assert errors.count(name) >= 2, name  # in the tree, and among the classes


def keys_of(struct: type[Settings]) -> list[str]:
    """Every key as config.yaml has it, read from the structs alone."""
    found = []
    for name, field in fields_of(struct).items():
        if isinstance(field.kind, type) and issubclass(field.kind, Settings):
            found += keys_of(field.kind)
        elif name not in {"config_dir", "exchange"}:
            deeper = "capabilities." if name.startswith("supports_") else ""
            found.append(f"{struct.BLOCK}.{deeper}{name}".lstrip("."))
    return found


def every_link_leads_somewhere(built: Path) -> None:
    texts = {path: path.read_text("utf-8") for path in built.rglob("*.html")}
    ids = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    checked = 0
    for path, text in texts.items():
        for target in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text):
            link = urllib.parse.urlsplit(target.replace("&amp;", "&"))
            if link.scheme or link.netloc:
                continue
            file = (path.parent / urllib.parse.unquote(link.path)).resolve() if link.path else path
            assert file.exists(), f"{path.name}: {target}"
            if link.fragment and file.suffix == ".html":
                assert urllib.parse.unquote(link.fragment) in ids[file], f"{path.name}: {target}"
            checked += 1
    assert checked > 1000


def nothing_is_fetched_from_elsewhere(built: Path) -> None:
    for path in built.rglob("*.html"):
        tags = re.findall(r'<(?:script|img|iframe)\b[^>]*\bsrc="([^"]+)"', path.read_text("utf-8"))
        assert not [target for target in tags if urllib.parse.urlsplit(target).netloc], path


def test_every_field_that_users_meet_has_a_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    importlib.import_module("krakked_reference").gather_docstrings()
    documented = ModuleAnalyzer.for_module("krakked").attr_docs
    looked_at = 0
    for name in krakked.__all__:
        thing = getattr(krakked, name)
        if not isinstance(thing, type):
            continue
        fields: list[str] = []
        if issubclass(thing, msgspec.Struct):
            fields = [field.name for field in msgspec.structs.fields(thing)]
        elif issubclass(thing, Enum):
            fields = list(thing.__members__)
        for field in fields:
            looked_at += 1
            assert (name, field) in documented, f"{name}.{field} has no docstring"
    assert looked_at > 300


def test_the_docs_group_is_what_the_pages_need() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    assert {re.split(r"\W", need)[0] for need in groups["docs"]} == {"furo", "myst", "sphinx"}
