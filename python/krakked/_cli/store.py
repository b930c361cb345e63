"""`krakked store`: look after the candles on disk."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import msgspec
import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from krakked._cli import terminal
from krakked._cli.actions import add_actions
from krakked._cli.universe import saved_names
from krakked._client import Kraken, open_kraken
from krakked._config.directories import state_of
from krakked._config.loader import load_config
from krakked._config.settings import StoreBackend
from krakked._errors import ApiError, BackfillTooLargeError, StoreCorruptError, UnknownPairError
from krakked._market.history.report import BackfillReport
from krakked._market.store.configured import configured_store
from krakked._market.store.coverage import GapKind
from krakked._market.store.maintenance import StoreFinding
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.times import utc_minute
from krakked._timeframes import MINUTES, Timeframe, interval_s

STRETCHES_TOLD = 3
"""Missing stretches of a series that `check` spells out."""

_ACTIONS = {
    "check": "every series: from when to when, and what is missing",
    "verify": "read every file and check checksums, order and duplicates",
    "repair": "set damaged files aside and fetch what Kraken still has of what is missing",
    "compact": "fold live bars into the files and tidy up",
    "snapshot": "hard-link a copy that other programs may read while krakked writes",
    "convert": "write the same candles as a new store of the other format",
    "delete": "remove the candles of a pair, for good",
}


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    actions = add_actions(parser)
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text.capitalize() + ".")
        action.set_defaults(run=run)
        if name in {"check", "repair"}:
            action.add_argument("--pair", metavar="PAIR", help="only this pair")
            action.add_argument("--timeframe", choices=list(MINUTES), help="only this one")
        if name == "repair":
            action.add_argument("--offline", action="store_true", help="fetch nothing")
            action.add_argument(
                "--allow-long", action="store_true", help="fetch even if it takes over 2,000 calls"
            )
        if name == "check":
            action.add_argument("--json", action="store_true", help="a JSON list")
        if name in {"snapshot", "convert"}:
            action.add_argument("directory", metavar="DIR", help="new directory")
        if name == "convert":
            action.add_argument(
                "--backend",
                choices=[each.value for each in StoreBackend],
                help="format of the new store (default: the one that this store has not)",
            )
        if name == "delete":
            action.add_argument("pair", metavar="PAIR", help="the pair")
            action.add_argument("--timeframe", choices=list(MINUTES), help="only this one")
            action.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace) -> int:
    """Run one action; 0 when all is well, 1 when something is missing or damaged."""
    console = terminal.console()
    with configured_store(load_config()) as store:
        action = _ACTIONS_OF_FILES.get(arguments.action)
        if action is not None:
            return action(console, store, arguments)
        status = _repair_files(console, store)
        incomplete = _incomplete(console, store, arguments)
    if not incomplete:
        return status
    if arguments.offline:
        return _tell(console, incomplete)
    return max(status, trio.run(_fetch, console, incomplete, arguments.allow_long))


def _chosen(store: OHLCStore, arguments: argparse.Namespace) -> list[tuple[str, Timeframe]]:
    wanted = arguments.pair
    if wanted is not None:
        wanted = saved_names(state_of(load_config())).get(wanted, wanted)
    return [
        (pair, timeframe)
        for pair, timeframe in store.series()
        if wanted in {None, pair} and arguments.timeframe in {None, timeframe}
    ]


# --- check -------------------------------------------------------------------------------------


class StoredSeries(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of one series; times are open times in unix seconds."""

    pair: str
    timeframe: Timeframe
    first_s: int | None = None
    last_s: int | None = None
    confirmed: bool = True
    """False: only the live stream has reported any of it."""
    no_trade: int = 0
    """Intervals without a trade."""
    missing: int = 0
    """Intervals that nobody has answered for."""
    stretches: tuple[tuple[int, int], ...] = ()
    """Where those are: start, and end (excluded)."""
    damaged: str | None = None
    """What is wrong with its files."""


def _check(console: Console, store: OHLCStore, arguments: argparse.Namespace) -> int:
    states = [_state(store, *series) for series in _chosen(store, arguments)]
    status = 1 if any(each.missing or each.damaged for each in states) else 0
    if arguments.json:
        print(msgspec.json.encode(states).decode())
        return status
    for path in store.strays():
        console.print(f"Not a file of this store: {escape(path)}", highlight=False, soft_wrap=True)
    if not states:
        console.print(_nothing(store, arguments), highlight=False, soft_wrap=True)
        return 0
    table = Table("pair", "timeframe", "first", "last", "no trade", "missing", box=None)
    for column in table.columns:
        column.no_wrap = True
    for each in states:
        table.add_row(escape(each.pair), each.timeframe, *_cells(each))
    console.print(table)
    if status == 0:
        return 0
    console.print()
    for each in states:
        if each.missing or each.damaged:
            text = f"{each.pair} {each.timeframe}: {each.damaged or _told(each)}"
            console.print(escape(text), highlight=False, soft_wrap=True)
    console.print("To fetch what Kraken still has: krakked store repair")
    return 1


def _nothing(store: OHLCStore, arguments: argparse.Namespace) -> str:
    asked = [word for word in (arguments.pair, arguments.timeframe) if word is not None]
    of_it = f" of {' '.join(asked)}" if asked else ""
    return escape(f"Nothing{of_it} is stored in {store.root}.")


def _state(store: OHLCStore, pair: str, timeframe: Timeframe) -> StoredSeries:
    step_s = interval_s(timeframe)
    try:
        gaps = store.gaps(pair, timeframe)
        first = store.first_stored(pair, timeframe)
        confirmed = first is not None
        if first is None:
            first = store.first_stored(pair, timeframe, provisional=True)
        last = store.last_closed(pair, timeframe, provisional=not confirmed)
    except StoreCorruptError as error:
        return StoredSeries(pair=pair, timeframe=timeframe, damaged=str(error))
    missing = [(gap.start_s, gap.end_s) for gap in gaps if gap.kind is GapKind.MISSING]
    empty = [(gap.start_s, gap.end_s) for gap in gaps if gap.kind is GapKind.NO_TRADE]
    live = first is not None and not confirmed
    return StoredSeries(
        pair=pair,
        timeframe=timeframe,
        first_s=first,
        last_s=last,
        confirmed=not live,
        no_trade=0 if live else _intervals(empty, step_s),
        missing=0 if live else _intervals(missing, step_s),
        stretches=() if live else tuple(missing),
    )


def _intervals(stretches: list[tuple[int, int]], step_s: int) -> int:
    return sum(end_s - start_s for start_s, end_s in stretches) // step_s


def _cells(state: StoredSeries) -> tuple[str, str, str, str]:
    if state.damaged:
        return "", "", "", "[red]damaged[/]"
    first, last = _shown(state.first_s), _shown(state.last_s)
    if not state.confirmed:
        return first, last, "", "[yellow]not confirmed[/]"
    count = f"[yellow]{state.missing:,}[/]" if state.missing else "none"
    return first, last, f"{state.no_trade:,}", count


def _told(state: StoredSeries) -> str:
    where = ", ".join(
        f"{utc_minute(start_s)} to {utc_minute(end_s)}"
        for start_s, end_s in state.stretches[:STRETCHES_TOLD]
    )
    more = len(state.stretches) - STRETCHES_TOLD
    return f"{state.missing:,} missing: {where}{f' and {more:,} more' if more > 0 else ''}"


def _shown(moment_s: int | None) -> str:
    return "" if moment_s is None else utc_minute(moment_s)


# --- verify and repair -------------------------------------------------------------------------


def _verify(console: Console, store: OHLCStore, _: argparse.Namespace) -> int:
    findings = store.verify()
    for finding in findings:
        _print_finding(console, finding)
    if findings:
        noun = "problem" if len(findings) == 1 else "problems"
        strays = set(store.strays())
        mends = " To mend that: krakked store repair"
        mendable = any(finding.path not in strays for finding in findings)
        console.print(f"{len(findings)} {noun}.{mends if mendable else ''}")
        return 1
    console.print(f"{len(store.series())} series verified, every file is sound.")
    return 0


def _print_finding(console: Console, finding: StoreFinding) -> None:
    # Some problems begin with the path themselves.
    problem = finding.problem.removeprefix(f"{finding.path} ")
    console.print(f"[red]{escape(finding.path)}[/]: {escape(problem)}", soft_wrap=True)


def _repair_files(console: Console, store: OHLCStore) -> int:
    report = store.repair()
    for part in report.partitions:
        found = "its file was removed by somebody"
        if part.moved_to is not None:
            found = f"{part.kept} sound bars kept, the damaged file is {part.moved_to}"
        where = f"{part.pair} {part.timeframe}"
        if part.start_s:  # the one file of a longer timeframe begins with time itself
            where += f" {utc_minute(part.start_s)} to {utc_minute(part.end_s)}"
        console.print(escape(f"{where}: {found}"), soft_wrap=True)
    for gone in report.given_up:
        text = f"{gone.path} was damaged and is now {gone.moved_to}. Given up: {gone.what}."
        console.print(escape(text), highlight=False, soft_wrap=True)
    for finding in report.left:
        _print_finding(console, finding)
    if not (report.partitions or report.given_up or report.left):
        console.print("Every file is sound.")
    return 1 if report.left else 0


def _incomplete(
    console: Console, store: OHLCStore, arguments: argparse.Namespace
) -> list[tuple[str, Timeframe]]:
    found = [
        series
        for series in _chosen(store, arguments)
        if any(gap.kind is GapKind.MISSING for gap in store.gaps(*series))
    ]
    if not found:
        console.print("No bars are missing.")
    return found


def _tell(console: Console, series: list[tuple[str, Timeframe]]) -> int:
    names = ", ".join(f"{pair} {timeframe}" for pair, timeframe in series)
    text = f"Bars are missing of {names}. To fetch what Kraken still has: krakked store repair"
    console.print(escape(text), highlight=False, soft_wrap=True)
    return 1


async def _fetch(console: Console, series: list[tuple[str, Timeframe]], allow_long: bool) -> int:
    """Fetch what is missing, series by series; 0 when nothing is missing any more."""
    left = 0
    async with open_kraken(live=False) as kraken:
        for pair, timeframe in series:
            left += not await _fetch_one(console, kraken, (pair, timeframe), allow_long)
    return 1 if left else 0


async def _fetch_one(
    console: Console, kraken: Kraken, series: tuple[str, Timeframe], allow_long: bool
) -> bool:
    pair, timeframe = series
    try:
        report: BackfillReport = await kraken.repair(pair, timeframe, allow_long=allow_long)
    except (BackfillTooLargeError, UnknownPairError, ApiError) as error:
        console.print(f"{escape(pair)} {timeframe}: [yellow]{escape(str(error))}[/]")
        return False
    console.print(f"{escape(pair)} {timeframe}: {report.bars} bars in {report.calls} calls")
    for lost in report.missing:
        console.print(
            f"  {utc_minute(lost.start_s)} to {utc_minute(lost.end_s)} is lost: {escape(lost.why)}"
        )
    return not report.missing


def _compact(console: Console, store: OHLCStore, _: argparse.Namespace) -> int:
    report = store.compact()
    console.print(f"{report.series} series looked at, {report.rewritten} files rewritten.")
    return 0


def _snapshot(console: Console, store: OHLCStore, arguments: argparse.Namespace) -> int:
    count = store.snapshot(arguments.directory)
    console.print(f"{count} files linked into {escape(arguments.directory)}.")
    return 0


def _convert(console: Console, store: OHLCStore, arguments: argparse.Namespace) -> int:
    others = [each.value for each in StoreBackend if each is not store.backend]
    backend = arguments.backend or others[0]
    bars = store.convert(arguments.directory, backend)
    text = f"{bars:,} bars of {len(store.series())} series written to {arguments.directory}."
    console.print(escape(text), highlight=False, soft_wrap=True)
    console.print(
        f"To use it: market_data.ohlc_store.root_dir, and backend: {backend} (krakked config edit)"
    )
    return 0


def _delete(console: Console, store: OHLCStore, arguments: argparse.Namespace) -> int:
    chosen = _chosen(store, arguments)
    if not chosen:
        console.print(_nothing(store, arguments), highlight=False, soft_wrap=True)
        return 1
    names = ", ".join(f"{pair} {timeframe}" for pair, timeframe in chosen)
    if not arguments.yes:
        text = f"This deletes all candles of {names} in {store.root}."
        console.print(escape(text), highlight=False, soft_wrap=True)
        if console.input("Type 'delete' to go on: ").strip() != "delete":
            console.print("Nothing was deleted.")
            return 1
    for pair, timeframe in chosen:
        store.delete(pair, timeframe)
    console.print(f"Deleted: {escape(names)}.", highlight=False, soft_wrap=True)
    return 0


_ACTIONS_OF_FILES: dict[str, Callable[[Console, OHLCStore, argparse.Namespace], int]] = {
    "check": _check,
    "verify": _verify,
    "compact": _compact,
    "snapshot": _snapshot,
    "convert": _convert,
    "delete": _delete,
}
