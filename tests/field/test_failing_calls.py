"""Every file call that can fail fails once: a typed error that names the file, nothing is lost.

One call of the system at a time fails below the directory in use: disk full, read-only, input or
output error, no locks, too many open files. Public calls then raise errors of the one tree,
commands end in a sentence and a status, and the same work done again succeeds.
"""

from __future__ import annotations

import base64
import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio.testing

import krakked
from krakked._cli.exits import Exit, flatten
from krakked._cli.main import main
from krakked._market.history.archive_import import import_archive
from krakked.sandbox import SandboxSettings, open_sandbox

pytestmark = pytest.mark.slow

START = 1_793_491_200
SMALL = SandboxSettings(pair_count=20, limits=False)
PASSWORD = "correct horse battery staple"


def bars(count: int) -> list[krakked.OHLCBar]:
    return [krakked.OHLCBar(START + 60 * n, 1.0, 2.0, 0.5, 1.5, 1.2, 3.0, 4) for n in range(count)]


def run_memory(work: Callable[[], Any]) -> None:
    trio.run(work, clock=trio.testing.MockClock(autojump_threshold=0))


# --- public calls ------------------------------------------------------------------------------


def use_client(home: Path) -> None:
    """The README's client: the universe, closed candles, a signed call."""

    async def work() -> None:
        async with open_sandbox(seed=7, memory=True, settings=SMALL) as exchange:
            settings = exchange.config(home)
            credentials = krakked.Credentials(
                exchange.key, krakked.Signer(exchange.secret), source="test"
            )
            async with krakked.open_kraken(
                settings,
                credentials,
                live=False,
                network=exchange.network,
                clock=exchange.clock,
            ) as kraken:
                assert len(await kraken.get_ohlc("XBTUSD", "1h", 24)) == 24
                assert await kraken.rest.private("Balance")

    run_memory(work)


def use_stream(home: Path) -> None:
    """A live client whose candles close and are journaled."""

    async def work() -> None:
        async with open_sandbox(seed=7, memory=True, settings=SMALL) as exchange:
            settings = exchange.config(home)
            async with krakked.open_kraken(
                settings, pairs=["XBTUSD"], network=exchange.network, clock=exchange.clock
            ) as kraken:
                await kraken.wait_live(timeout_s=60)
                await trio.sleep(70)

    run_memory(work)


def use_store(home: Path) -> None:
    """The store by itself."""
    with krakked.OHLCStore(home / "ohlc", exchange="kraken") as store:
        store.append_bars("XBTUSD", "1m", bars(50), covered=(START, START + 3000))
        store.append_provisional("1m", [("ETHUSD", bars(1)[0])])
        store.fold_journal()
        assert len(store.get_bars("XBTUSD", "1m")) == 50
        store.gaps("XBTUSD", "1m")
        store.verify()
        store.compact()
        shutil.rmtree(home / "copy", ignore_errors=True)
        store.snapshot(home / "copy")


def use_archive(home: Path) -> None:
    """An import of Kraken's downloadable archive."""
    with krakked.OHLCStore(home / "ohlc") as store:
        import_archive(store, [home / "XBTUSD_60.csv"], again=True)


def use_vault(home: Path) -> None:
    """Credentials sealed and opened again."""
    settings = krakked.KrakkedConfig(config_dir=str(home / "config"))
    candidate = krakked.Candidate("A" * 56, base64.b64encode(bytes(64)).decode())
    good = krakked.Validation(
        outcome=krakked.Outcome.VALID, tag=candidate.tag, validated_at_s=START
    )
    krakked.save_credentials(candidate, PASSWORD, validation=good, config=settings, cost="small")
    krakked.load_credentials(settings, password=PASSWORD)


def use_settings(home: Path) -> None:
    """config.yaml."""
    assert krakked.load_config(home).rest.timeout_s == 5.0


CALLS = {
    "client": (use_client, 2),
    "stream": (use_stream, 1),
    "store": (use_store, 4),
    "archive": (use_archive, 3),
    "vault": (use_vault, 1),
    "settings": (use_settings, 3),
}
"""What is done, and how many places of each kind of call fail."""


def furnished(home: Path) -> Path:
    """Make a directory with what a user has: settings, and an archive."""
    home.mkdir()
    (home / "config.yaml").write_text("rest: {timeout_s: 5}\n", encoding="utf-8")
    lines = [f"{START + 3600 * n},1.0,2.0,0.5,1.5,3.0,4" for n in range(200)]
    (home / "XBTUSD_60.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return home


def problem_of(error: BaseException | None, home: Path) -> str:
    """Say what is wrong with the way a call ended; empty when nothing is."""
    for leaf in [] if error is None else flatten(error):
        if not isinstance(leaf, krakked.KrakkedError):
            return f"{type(leaf).__name__} is no KrakkedError: {leaf}"
        if str(home) not in str(leaf):
            return f"{type(leaf).__name__} names no file: {leaf}"
    return ""


@pytest.mark.parametrize("name", CALLS)
def test_public_calls_raise_typed_errors_that_name_the_file(
    name: str, tmp_path: Path, failing_calls: Callable[[Path], Any]
) -> None:
    work, per_kind = CALLS[name]
    shim = failing_calls(tmp_path)
    first = furnished(tmp_path / "first")
    with shim.watching():
        work(first)
    plans = shim.plans(per_kind)
    print(f"{len(plans)} failures injected")
    assert plans
    problems: list[str] = []
    ended: Counter[str] = Counter()
    for number, plan in enumerate(plans):
        home = furnished(tmp_path / f"{number}")
        caught: BaseException | None = None
        with shim.watching(plan):
            try:
                work(home)
            except Exception as error:
                caught = error
        ended["failed" if caught is not None else "survived"] += 1
        what = problem_of(caught, home)
        if what:
            problems.append(f"{plan[0]} {plan[1]} {errno.errorcode[plan[2]]}: {what}")
        if caught is None:
            continue
        try:
            work(home)  # nothing that was there before is lost or in the way
        except Exception as error:
            problems.append(f"{plan}: afterwards {type(error).__name__}: {error}")
    assert not problems, "\n".join(problems)
    assert ended["failed"] > 0


# --- commands ----------------------------------------------------------------------------------

COMMANDS = {
    "config show": ["config", "show"],
    "vault status": ["vault", "status", "--open"],
    "vault passwd": ["vault", "passwd", "--cost", "small"],
    "vault remove": ["vault", "remove", "--yes"],
    "store check": ["store", "check"],
    "store verify": ["store", "verify"],
    "store repair": ["store", "repair", "--offline"],
    "store compact": ["store", "compact"],
    "store snapshot": ["store", "snapshot", "HOME/copy"],
    "import": ["import", "HOME/XBTUSD_60.csv", "--again"],
}
"""Commands that need no exchange; HOME stands for the directory."""


@pytest.fixture(scope="module")
def inhabited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with settings, a vault and a store."""
    home = furnished(tmp_path_factory.mktemp("field") / "inhabited")
    (home / "config.yaml").write_text(
        f"market_data: {{ohlc_store: {{root_dir: '{home}/ohlc'}}}}\n", encoding="utf-8"
    )
    use_vault(home)
    (home / "config" / "secrets.enc").rename(home / "secrets.enc")
    (home / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    (home / "password").chmod(0o600)
    with krakked.OHLCStore(home / "ohlc", exchange="kraken") as store:
        store.append_bars("XBTUSD", "1m", bars(50), covered=(START, START + 3000))
        store.append_provisional("1m", [("ETHUSD", bars(1)[0])])
    return home


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_end_in_a_sentence_that_names_the_file(
    name: str,
    inhabited: Path,
    tmp_path: Path,
    failing_calls: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shim = failing_calls(tmp_path)
    home = tmp_path / "home"

    def run(fails: tuple[str, int, int] | None) -> int:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(inhabited, home)
        text = (home / "config.yaml").read_text("utf-8")
        (home / "config.yaml").write_text(text.replace(str(inhabited), str(home)), "utf-8")
        monkeypatch.setenv("KRAKKED_CONFIG_DIR", str(home))
        monkeypatch.setenv("KRAKKED_MASTER_PASSWORD_FILE", str(home / "password"))
        words = [word.replace("HOME", str(home)) for word in COMMANDS[name]]
        if words[:2] == ["vault", "passwd"]:
            new = os.open(home / "password", os.O_RDONLY)
            words += ["--new-password-fd", str(new)]
        capfd.readouterr()
        with shim.watching(fails):
            return main(words)

    assert run(None) == Exit.DONE
    plans = shim.plans(1 if name == "vault passwd" else 2)  # deriving a key takes a while
    assert plans
    problems = []
    for plan in plans:
        status = run(plan)
        said = capfd.readouterr()
        where = f"{plan[0]} {plan[1]} {errno.errorcode[plan[2]]}: status {status}: {said.err}"
        assert shim.failed, where
        told = said.err + said.out
        sound = status != Exit.BUG and "Traceback" not in told
        if status != Exit.DONE:
            sound = sound and str(home) in told
        if status in {Exit.FILES, Exit.CREDENTIALS}:
            sound = sound and len(said.err.splitlines()) == 1
        if not sound:
            problems.append(where)
    assert not problems, "\n".join(problems)
