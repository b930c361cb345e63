"""`krakked doctor`: looks at everything that a client needs, and says what to do about the rest."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio
from rich.markup import escape
from rich.table import Table

import krakked
from krakked._cli import terminal
from krakked._cli.exits import Exit, judge
from krakked._config.directories import CONFIG_FILE_NAME, files_of
from krakked._config.loader import load_config
from krakked._credentials.sources import (
    KEY_VARIABLE,
    SECRET_VARIABLE,
    credentials_from_environment,
)
from krakked._market.store.configured import configured_store
from krakked._market.store.filesystem import why_unwritable
from krakked._market.stream.connection import Endpoint
from krakked._market.stream.look import look
from krakked._network.network import choose_proxy
from krakked._rest.skew import WARN_S

PATIENCE_S: Final = 20.0
"""Longest wait for one look at Kraken."""
LEAST_FREE: Final = 512 << 20
"""Bytes free on the store's disk below which it is said."""


class Standing(StrEnum):
    """How one thing stands."""

    FINE = "fine"
    WARNING = "warning"
    FAULT = "fault"


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at."""

    what: str
    verdict: Standing
    text: str
    """What is there, or what is wrong and what to do."""
    status: Exit = Exit.DONE
    """How the command ends if nothing graver is found."""


MARKS: Final = {
    Standing.FINE: "[green]✓[/]",
    Standing.WARNING: "[yellow]![/]",
    Standing.FAULT: "[red]x[/]",
}


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Looks at settings, directories, key, clock, proxy, and whether Kraken answers over REST "
        "and the stream. Changes nothing and sends no private call. The exit status is that of the "
        "gravest fault; warnings are none."
    )
    parser.add_argument("--json", action="store_true", help="a JSON list")
    parser.add_argument("--offline", action="store_true", help="look at this machine alone")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found."""
    findings = trio.run(examine, arguments.offline)
    if arguments.json:
        print(msgspec.json.encode(findings).decode())
    else:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for each in findings:
            table.add_row(MARKS[each.verdict], each.what, escape(each.text))
        terminal.console().print(table)
    return max((each.status for each in findings), default=Exit.DONE)


async def examine(offline: bool) -> list[Looked]:
    """Look at one thing after the other; a thing that fails is a finding."""
    findings = list(_caught("settings", _settings))
    if findings[0].verdict is Standing.FAULT:
        return findings  # nothing else can be judged
    config = load_config()
    for what, of_it in (
        ("state", _directories),
        ("store", _store),
        ("key", _key),
        ("proxy", _proxy),
    ):
        findings += _caught(what, partial(of_it, config))
    if offline:
        return findings
    for what, ask in (("REST", _rest), ("stream", _stream)):
        findings += await _asked(what, ask, config)
    return findings


def _caught(what: str, look: Callable[[], Iterator[Looked]]) -> Iterator[Looked]:
    try:
        yield from look()
    except (krakked.KrakkedError, OSError) as error:
        yield _fault(what, error)


async def _asked(
    what: str,
    ask: Callable[[krakked.KrakkedConfig], Awaitable[list[Looked]]],
    config: krakked.KrakkedConfig,
) -> list[Looked]:
    try:
        with trio.fail_after(PATIENCE_S):
            return await ask(config)
    except trio.TooSlowError:
        text = f"No answer within {PATIENCE_S:g} s. Check the network and the proxy."
        return [Looked(what=what, verdict=Standing.FAULT, text=text, status=Exit.UNREACHABLE)]
    except (krakked.KrakkedError, OSError) as error:
        return [_fault(what, error)]


def _fault(what: str, error: BaseException) -> Looked:
    ending = judge(error)
    return Looked(
        what=what, verdict=Standing.FAULT, text=" ".join(ending.sentences), status=ending.status
    )


def _fine(what: str, text: str) -> Looked:
    return Looked(what=what, verdict=Standing.FINE, text=text)


def _warning(what: str, text: str) -> Looked:
    return Looked(what=what, verdict=Standing.WARNING, text=text)


# --- this machine ---------------------------------------------------------------------------------


def _settings() -> Iterator[Looked]:
    config = load_config()
    path = Path(config.config_dir) / CONFIG_FILE_NAME
    there = str(path) if path.exists() else f"{path} is not there: defaults (krakked config init)"
    yield _fine("settings", there)
    if config.rest.base_url != krakked.RestSettings().base_url:
        yield _warning("settings", f"rest.base_url is not Kraken's: {config.rest.base_url}")


def _directories(config: krakked.KrakkedConfig) -> Iterator[Looked]:
    state = files_of(config).state_dir
    if state is None:
        yield _warning("state", "Kept in memory: processes share no limits. Set KRAKKED_STATE_DIR.")
        return
    trouble = why_unwritable(state)
    if trouble is None:
        yield _fine("state", str(state))
    else:
        yield _warning(
            "state",
            f"{trouble}. Limits are kept in memory, and processes do not share them: give this "
            "user the right to write there, or name another directory: KRAKKED_STATE_DIR.",
        )


def _store(config: krakked.KrakkedConfig) -> Iterator[Looked]:
    root = files_of(config).store_root
    if root is None:
        return
    trouble = why_unwritable(root)
    if trouble is not None:
        yield Looked(
            what="store",
            verdict=Standing.FAULT,
            text=f"{trouble}. Give this user the right to write there, or name another directory: "
            "market_data.ohlc_store.root_dir.",
            status=Exit.FILES,
        )
        return
    there = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(there).free
    with configured_store(config) as store:  # raises what makes it unfit
        count = len(store.series())
    backend = config.market_data.ohlc_store.backend
    text = f"{root} ({count} series of {backend}, {free / 1e9:.1f} GB free)"
    if free < LEAST_FREE:
        yield _warning("store", f"{text}: make room.")
    else:
        yield _fine("store", text)


def _key(config: krakked.KrakkedConfig) -> Iterator[Looked]:
    there = [name for name in (KEY_VARIABLE, SECRET_VARIABLE) if os.environ.get(name, "").strip()]
    if len(there) == 1:
        text = f"{there[0]} is set without the other variable: it is ignored. Set both or none."
        yield _warning("key", text)
    elif credentials_from_environment(os.environ) is not None:
        yield _fine("key", "in the environment (which wins over secrets.enc)")
        return
    try:
        info = krakked.vault_info(config)
    except krakked.NoCredentialsError:
        yield _fine("key", "none: public data only (krakked setup seals one)")
        return
    yield _fine("key", f"sealed in {info.path}")


def _proxy(config: krakked.KrakkedConfig) -> Iterator[Looked]:
    for what, url in (("REST", config.rest.base_url), ("stream", config.market_data.ws.url)):
        end = Endpoint.parse(url.replace("http", "ws", 1))
        chosen = choose_proxy(config.network.proxy, end.host, end.port, tls=end.tls)
        if chosen is None:
            yield _fine("proxy", f"{what}: none, {end.host}:{end.port} is called directly")
        else:
            yield _fine("proxy", f"{what}: {chosen}, named by {chosen.source}")


# --- Kraken ---------------------------------------------------------------------------------------


async def _rest(config: krakked.KrakkedConfig) -> list[Looked]:
    network, files = krakked.SystemNetwork(config.network.proxy), files_of(config)
    async with krakked.RestClient(
        config.rest, network=network, clock=krakked.SystemClock(), state_dir=files.state_dir
    ) as rest:
        status = await rest.system_status()
        await rest.time()
        facts = rest.reachability()
    found = [_fine("REST", f"{config.rest.base_url} answers; Kraken says {status.status}")]
    if status.status != "online":
        found = [_warning("REST", f"Kraken says {status.status}. See status.kraken.com.")]
    ahead_s = facts.clock_ahead_s or 0.0
    if abs(ahead_s) >= WARN_S:
        side = "ahead of" if ahead_s > 0 else "behind"
        found.append(
            _warning("clock", f"{abs(ahead_s):.1f} s {side} Kraken's. Set the clock (NTP).")
        )
    else:
        found.append(_fine("clock", "agrees with Kraken's"))
    if facts.limiter.lockout_left_s > 0:
        left_s = facts.limiter.lockout_left_s
        text = f"Kraken has locked private calls out for {left_s:.0f} s. Wait, then check the key."
        found.append(_warning("limits", text))
    else:
        found.append(_fine("limits", f"a public call every {facts.limiter.public_spacing_s:g} s"))
    return found


async def _stream(config: krakked.KrakkedConfig) -> list[Looked]:
    end = Endpoint.parse(config.market_data.ws.url)
    network = krakked.SystemNetwork(config.network.proxy)
    system = await look(end, network)
    text = f"{end.host}:{end.port} takes the upgrade"
    if system in {"", "online"}:
        return [_fine("stream", text)]
    return [_warning("stream", f"{text}; Kraken says {system}. See status.kraken.com.")]
