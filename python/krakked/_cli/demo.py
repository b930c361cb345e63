"""`krakked demo`: the main job, end to end, in front of the user.

Against the sandbox it starts its own exchange on free loopback ports; with ``--live`` it does the
public part against the real Kraken, without a key.
"""

from __future__ import annotations

import argparse
import base64
import logging
import secrets
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import krakked
from krakked._cli import terminal
from krakked._cli.arguments import duration, seed
from krakked._cli.status import status_table
from krakked._cli.watch import PriceTable
from krakked._market.universe_report import RULE_WORDS, count_rules, report_margin
from krakked._timeframes import Timeframe

if TYPE_CHECKING:
    from krakked._sandbox.exchange import Exchange

TIMEFRAMES: tuple[Timeframe, ...] = ("1m", "5m", "1h")
PAIR_COUNT = 5
BIG_NAMES = ("XBTUSD", "ETHUSD")
UNIVERSE = krakked.UniverseSettings(include_pairs=BIG_NAMES, min_24h_volume_usd=100_000.0)
INDENT = 5
RECOVERY_LIMIT_S = 20.0
FIRST_PRICES_LIMIT_S = 20.0


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.add_argument("--live", action="store_true", help="public part against real Kraken")
    parser.add_argument(
        "--seconds", type=duration, default=10.0, metavar="S", help="how long to show live prices"
    )
    parser.add_argument("--seed", type=seed, default=1, help="seed of the sandbox's market")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; 0 when every step did what it should."""
    console = terminal.console()
    # The demo shows feed events itself; the log would only say them again.
    logging.getLogger("krakked.stream").setLevel(logging.ERROR)
    if arguments.live:
        return trio.run(live_demo, console, arguments.seconds)
    return trio.run(sandbox_demo, console, arguments.seconds, arguments.seed)


class Steps:
    """Numbered headings, ticks, and the lines of the closing summary."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.number = 0
        self.done: list[str] = []

    def start(self, title: str) -> None:
        """Print the heading of the next step."""
        self.number += 1
        self.console.print(f"\n[bold cyan]{self.number}. {title}[/]")

    def tick(self, text: str) -> None:
        """Print one thing that went as it should, and keep it for the summary."""
        self.console.print(f"   [green]✓[/] {text}")
        self.done.append(text)

    def show(self, table: Table) -> None:
        """Print a table, indented."""
        self.console.print(Padding.indent(table, INDENT))

    def note(self, text: str) -> None:
        """Print a line that explains."""
        self.console.print(f"     [dim]{text}[/]")


class DemoFailedError(krakked.KrakkedError):
    """A step of the demo did not do what it should."""


def require(condition: bool, what: str) -> None:
    """Stop the demo when a step did not do what it should."""
    if not condition:
        raise DemoFailedError(f"This step did not do what it should: {what}")


async def sandbox_demo(console: Console, seconds: float, seed: int) -> int:
    """Walk the whole main job against a sandbox of its own."""
    from krakked.sandbox import open_sandbox  # noqa: PLC0415 - an extra, loaded when asked for

    steps = Steps(console)
    home = Path(tempfile.mkdtemp(prefix="krakked-demo-"))
    store = home / "ohlc"
    steps.start("A local Kraken")
    async with open_sandbox(seed=seed) as exchange:
        steps.tick(f"sandbox listens at {exchange.rest_url} and {exchange.ws_url}")
        config = msgspec.structs.replace(exchange.config(home), universe=UNIVERSE)
        ws = msgspec.structs.replace(config.market_data.ws, timeframes=("1m",))
        config = msgspec.structs.replace(
            config, market_data=msgspec.structs.replace(config.market_data, ws=ws)
        )
        credentials = await credentials_steps(steps, config, exchange)
        async with krakked.open_kraken(config, credentials) as kraken:
            balance = await kraken.rest.balance()
            steps.tick(f"signed call Balance answered: {len(balance)} assets held")
            chosen = universe_step(steps, kraken)
            await candles_step(steps, kraken, chosen, store)
            await live_step(steps, kraken, chosen, seconds)
            await cut_step(steps, kraken, chosen, exchange)
            health_step(steps, kraken)
    summary(
        steps,
        {
            "vault": home / "secrets.enc",
            "candles": store / "bars",
        },
    )
    return 0


async def credentials_steps(
    steps: Steps, config: krakked.KrakkedConfig, exchange: Exchange
) -> krakked.Credentials:
    """Refuse a wrong key, seal a good one, open it again; give the opened credentials."""
    vault = Path(config.config_dir) / "secrets.enc"
    # The master password of a throw-away vault; it lives in this process only.
    password = secrets.token_urlsafe(18)

    steps.start("A wrong key is refused and nothing is written")
    wrong = krakked.Candidate(
        base64.b64encode(secrets.token_bytes(42)).decode(),
        base64.b64encode(secrets.token_bytes(64)).decode(),
    )
    verdict = await krakked.validate_credentials(wrong, config=config)
    require(verdict.outcome == krakked.Outcome.AUTH_PROBLEM, "a wrong key must be refused")
    steps.note(escape(str(verdict.error)))
    try:
        krakked.save_credentials(wrong, password, validation=verdict, config=config)
    except krakked.CredentialsRejectedError:
        require(not vault.exists(), "a rejected key must not be saved")
        steps.tick("wrong key refused; no secrets.enc was written")
    else:
        require(False, "saving a rejected key must raise")

    steps.start("A good key is validated and sealed")
    candidate = krakked.Candidate(exchange.key, exchange.secret)
    verdict = await krakked.validate_credentials(candidate, config=config)
    require(verdict.outcome == krakked.Outcome.VALID, "the sandbox's own key must be valid")
    for warning in verdict.warnings:
        steps.note(escape(warning))
    saved = krakked.save_credentials(candidate, password, validation=verdict, config=config)
    candidate.clear()
    mode = vault.stat().st_mode & 0o777
    steps.tick(f"validated by Balance, sealed into {saved.path} (mode {mode:04o})")

    steps.start("A second start opens it with the master password")
    try:
        krakked.load_credentials(config, password="not the password", environ={})  # noqa: S106
    except krakked.WrongPasswordError as error:
        steps.note(f"a wrong password: {escape(str(error))}")
    else:
        require(False, "a wrong password must raise")
    credentials = krakked.load_credentials(config, password=password, environ={})
    steps.tick(f"opened: {credentials!r}")
    return credentials


def universe_step(steps: Steps, kraken: krakked.Kraken) -> list[str]:
    """Show what is in the universe and why the rest is not; give the pairs of the next steps."""
    steps.start("The USD spot universe")
    universe = kraken.universe
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("pairs", justify="right")
    table.add_column("")
    table.add_row(str(len(universe.table)), "known to Kraken")
    for rule, count in count_rules(universe).items():
        table.add_row(f"-{count}", RULE_WORDS[rule])
    table.add_row(f"[bold]{len(universe.pairs)}[/]", "[bold]in the universe[/]")
    steps.show(table)
    for warning in universe.warnings:
        steps.note(escape(warning))
    margin = report_margin(universe).text()
    if margin:
        steps.console.print(f"     [yellow]{escape(margin)}[/]")
        steps.note(
            f"{' and '.join(BIG_NAMES)} are margin-eligible too; this demo's configuration names "
            f"them in include_pairs."
        )
    rest = sorted(
        (p for p in universe.pairs if p not in BIG_NAMES),
        key=lambda p: -(universe.metadata[p].volume_24h_usd or 0.0),
    )
    chosen = [p for p in BIG_NAMES if p in universe.pairs]
    chosen += rest[: PAIR_COUNT - len(chosen)]
    require(len(chosen) == PAIR_COUNT, f"{PAIR_COUNT} pairs are needed")
    steps.tick(f"{len(universe.pairs)} pairs; the next steps use {', '.join(chosen)}")
    return chosen


async def candles_step(
    steps: Steps, kraken: krakked.Kraken, chosen: list[str], store: Path
) -> None:
    """Fill the store: closed candles of three timeframes for the chosen pairs."""
    steps.start("Closed candles on disk")
    steps.note("one public call a second, as Kraken advises")
    with Progress(
        TextColumn("     {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=steps.console,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=len(TIMEFRAMES) * len(chosen))
        for pair in chosen:
            for timeframe in TIMEFRAMES:
                progress.update(task, description=f"{pair} {timeframe}")
                await kraken.backfill_ohlc(pair, timeframe)
                progress.advance(task)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("pair", "", "bars", "first (UTC)", "last (UTC)", "close"):
        right = column in {"bars", "close"}
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    total = 0
    for pair in chosen:
        for timeframe in TIMEFRAMES:
            bars = await kraken.get_ohlc(pair, timeframe, 720, refresh=False)
            require(len(bars) > 0, f"{pair} {timeframe} must have bars")
            total += len(bars)
            first, last = (
                datetime.fromtimestamp(bar.time, UTC).strftime("%m-%d %H:%M")
                for bar in (bars[0], bars[-1])
            )
            table.add_row(pair, timeframe, str(len(bars)), first, last, f"{bars[-1].close:.8g}")
    steps.show(table)
    steps.tick(f"{total} closed candles of {len(chosen)} pairs in {store / 'bars'}")


async def live_step(
    steps: Steps, kraken: krakked.Kraken, chosen: list[str], seconds: float
) -> None:
    """Show live prices for a while."""
    steps.start(f"Live prices for {seconds:g} seconds")
    await kraken.wait_live(chosen, timeout_s=FIRST_PRICES_LIMIT_S)
    end = trio.current_time() + seconds
    board = PriceTable(chosen, "1m", wide=False)
    with Live(console=steps.console, refresh_per_second=8) as live:
        while trio.current_time() < end:
            live.update(Padding.indent(board.look(kraken), INDENT))
            await trio.sleep(0.25)
    if not steps.console.is_terminal:
        steps.console.print()  # a plain file gets the last table only, without a line end
    status = kraken.get_data_status()
    steps.tick(
        f"{status.pairs_with_recent_ticker} of {len(kraken.get_universe())} pairs with a "
        f"fresh ticker"
    )
    require(status.pairs_with_recent_ticker > 0, "live prices must arrive")


async def cut_step(
    steps: Steps, kraken: krakked.Kraken, chosen: list[str], exchange: Exchange
) -> None:
    """Cut every connection and watch the stream come back by itself."""
    steps.start("The connection is cut once")
    changes = kraken.changes(kinds=("feed",))
    start = trio.current_time()
    await exchange.faults.cut()
    with trio.move_on_after(RECOVERY_LIMIT_S) as scope:
        async for change in changes:
            steps.note(escape(str(change)))
            if isinstance(change, krakked.Resubscribed):
                break
    require(not scope.cancelled_caught, f"the stream must recover in {RECOVERY_LIMIT_S:g} s")
    await kraken.wait_live(chosen, timeout_s=RECOVERY_LIMIT_S)
    steps.tick(f"recovered and subscribed again in {trio.current_time() - start:.1f} s")


def health_step(steps: Steps, kraken: krakked.Kraken) -> None:
    """Print the health report."""
    steps.start("The health report")
    status = kraken.get_data_status()
    steps.show(status_table(status))
    require(bool(status.rest_reachable) and status.ws_connected, "all must be well at the end")
    steps.tick(f"verdict: {status.verdict}")


def summary(steps: Steps, files: dict[str, Path]) -> None:
    """Print what was done and where the files lie."""
    steps.console.print("\n[bold]Done[/]")
    for line in steps.done:
        steps.console.print(f"   [green]✓[/] {line}")
    steps.console.print("\n[bold]Files[/]")
    for name, path in files.items():
        steps.console.print(f"   {name:<15}{path}")


async def live_demo(console: Console, seconds: float) -> int:
    """Do the public part against the real Kraken, without a key."""
    steps = Steps(console)
    home = Path(tempfile.mkdtemp(prefix="krakked-demo-"))
    config = msgspec.structs.replace(
        krakked.KrakkedConfig(),
        config_dir=str(home),
        universe=UNIVERSE,
        market_data=krakked.MarketDataSettings(
            ws=krakked.WebSocketSettings(timeframes=("1m",)),
            ohlc_store=krakked.OHLCStoreSettings(root_dir=str(home / "ohlc")),
        ),
    )
    console.print(f"Public data from {config.rest.base_url} and {config.market_data.ws.url}")
    try:
        async with krakked.open_kraken(config) as kraken:
            chosen = universe_step(steps, kraken)
            await candles_step(steps, kraken, chosen, home / "ohlc")
            await live_step(steps, kraken, chosen, seconds)
            health_step(steps, kraken)
    except krakked.NetworkError:
        console.print("Without internet, `krakked demo` shows the same against a local exchange.")
        raise
    summary(steps, {"candles": home / "ohlc" / "bars"})
    return 0
