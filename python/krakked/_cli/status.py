"""`krakked status`: one look at the health of everything."""

from __future__ import annotations

import argparse
import contextlib
import math

import msgspec
import trio
from rich.markup import escape
from rich.table import Table

import krakked
from krakked._cli import terminal
from krakked._cli.arguments import duration
from krakked._market.status import Freshness, Verdict
from krakked._rest.health import NonceStatus

COLOURS = {Verdict.OK: "green", Verdict.DEGRADED: "yellow", Verdict.DOWN: "red"}

NAMED = 5
"""How many pairs of one freshness are named."""


OPENING_S = 5.0
"""How much longer than --wait it may take to hear from Kraken at all."""


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help="pairs to stream (default: all)")
    parser.add_argument(
        "--wait", type=duration, default=10.0, metavar="S", help="longest wait for first data"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the report; 0 when the verdict is ok, 1 otherwise."""
    status = trio.run(look, arguments.pairs or None, arguments.wait)
    console = terminal.console()
    if arguments.json:
        console.print_json(msgspec.json.encode(status).decode(), ensure_ascii=True)
    else:
        console.print(status_table(status))
    return 0 if status.verdict is Verdict.OK else 1


async def look(pairs: list[str] | None, wait_s: float) -> krakked.DataStatus:
    """Open everything, wait for first data, give the report."""
    with trio.move_on_after(wait_s + OPENING_S) as opening:
        async with krakked.open_kraken(pairs=pairs) as kraken:
            opening.deadline = math.inf
            with contextlib.suppress(krakked.MarketDataError):  # the report says which, and why
                await kraken.wait_live(timeout_s=wait_s)
            return kraken.get_data_status()
    raise krakked.NetworkTimeoutError(
        f"Kraken did not answer within {wait_s + OPENING_S:g} s. Check the network, or wait longer "
        "(--wait)."
    )


def status_table(status: krakked.DataStatus) -> Table:
    """Return the report as a table of two columns."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    colour = COLOURS[status.verdict]
    table.add_row("verdict", f"[{colour}]{status.verdict}[/]")
    for reason in status.reasons:
        table.add_row("", escape(reason))
    table.add_row("next step", escape(status.next_action))
    reachable = {True: "reachable", False: "not reachable", None: "not asked yet"}
    error = f", last error: {status.rest_last_error}" if status.rest_last_error else ""
    table.add_row("REST", reachable[status.rest_reachable] + escape(error))
    for link in status.connections:
        age = "" if link.last_frame_age_s is None else f", last frame {link.last_frame_age_s:.1f} s"
        table.add_row(
            f"stream {link.name}",
            f"{link.state}, {link.acknowledged} of {link.subscriptions} subscriptions{age}",
        )
    table.add_row(
        "live",
        f"{status.pairs_with_recent_ticker} of {status.pairs_streamed} pairs with a fresh ticker",
    )
    if status.pairs:
        table.add_row("pairs", escape(freshness_words(status)))
    table.add_row(
        "traffic",
        f"{status.frames:,} frames, {status.received_bytes:,} bytes, "
        f"{status.reconnects} reconnects",
    )
    table.add_row("exchange", escape(status.system or "not heard yet"))
    for emergency in status.emergencies:
        table.add_row("emergency", escape(emergency.sentence()))
    announced = [each.sentence() for each in status.maintenance] or ["none announced"]
    for sentence in announced:
        table.add_row("maintenance", escape(sentence))
    copy = " (a copy: Kraken could not be asked)" if status.universe_from_copy else ""
    table.add_row("universe", f"{status.universe_pairs} pairs{copy}")
    table.add_row("limiter", limiter_words(status))
    if status.nonce is not None:
        table.add_row("nonce", nonce_words(status.nonce))
    return table


def freshness_words(status: krakked.DataStatus) -> str:
    """Return how many pairs are live, quiet, mute, ..., and name a few that are not live."""
    by_freshness: dict[Freshness, list[str]] = {}
    for name, pair in status.pairs.items():
        by_freshness.setdefault(pair.freshness, []).append(name)
    words = []
    for freshness in Freshness:
        names = by_freshness.get(freshness)
        if names is None:
            continue
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        shown = f" ({', '.join(names[:NAMED])}{more})" if freshness is not Freshness.LIVE else ""
        words.append(f"{len(names)} {freshness}{shown}")
    return ", ".join(words)


def limiter_words(status: krakked.DataStatus) -> str:
    """Give how REST calls are held back."""
    limiter = status.limiter
    words = [f"one public call every {limiter.public_spacing_s:g} s"]
    if limiter.private_counter is not None:
        words.append(f"private counter at {limiter.private_counter:.1f}")
    if limiter.lockout_left_s > 0:
        words.append(f"locked out for {limiter.lockout_left_s:.0f} s")
    if limiter.waiting:
        words.append(f"{len(limiter.waiting)} calls wait")
    return ", ".join(words)


def nonce_words(nonce: NonceStatus) -> str:
    """Return how the key's nonces stand."""
    words = [
        "none given yet" if nonce.ahead_s is None else f"{nonce.ahead_s:+.1f} s from the clock"
    ]
    words.append("calls may overlap" if nonce.overlap else "one call at a time")
    words.append("shared between processes" if nonce.shared else "this process alone")
    return ", ".join(words)
