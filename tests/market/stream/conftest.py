"""A feed over the in-memory exchange, on virtual time."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
import trio

from krakked._config.settings import RestSettings, UniverseSettings, WebSocketSettings
from krakked._market.changes import CandleClosed, CandleCorrected
from krakked._market.live import LiveReads
from krakked._market.pairs import PairTable
from krakked._market.stream.feed import Feed
from krakked._market.universe import build_universe
from krakked._rest.client import RestClient
from krakked._timeframes import MINUTES
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

ROOT = Path(__file__).parents[3]
if str(ROOT) not in sys.path:  # `python -m pytest` puts it there, bare `pytest` does not
    sys.path.append(str(ROOT))

PAIRS = ("XBTUSD", "ETHUSD", "SOLUSD", "XDGUSD")


@dataclass
class Stage:
    """An exchange, a running feed over it, and what came out."""

    exchange: Exchange
    feed: Feed
    reads: LiveReads
    table: PairTable
    nursery: trio.Nursery
    closed: list[CandleClosed] = field(default_factory=list)
    corrected: list[CandleCorrected] = field(default_factory=list)
    journal: list[CandleClosed | CandleCorrected] = field(default_factory=list)


_tables: dict[int | None, PairTable] = {}


async def table_of(rest: RestClient, pair_count: int | None) -> PairTable:
    """Give the sandbox's pairs; they are the same for every seed."""
    if pair_count not in _tables:
        settings = UniverseSettings(margin_eligible="include")
        universe = build_universe(await rest.asset_pairs_bytes(), settings=settings)
        _tables[pair_count] = universe.table
    return _tables[pair_count]


OpenStage = Callable[..., AbstractAsyncContextManager[Stage]]


@asynccontextmanager
async def open_stage(
    *,
    pairs: Iterable[str] = PAIRS,
    timeframes: tuple[str, ...] = ("1m", "5m"),
    stale_s: float = 60.0,
    seed: int = 1,
    memory: bool = True,
    with_rest: bool = True,
    wait: bool = True,
    settings: SandboxSettings | None = None,
    symbols_per_connection: int = 800,
    random: Random | None = None,
    before: Callable[[Exchange], Awaitable[None] | None] | None = None,
) -> AsyncIterator[Stage]:
    chosen = settings or SandboxSettings(pair_count=60, activity=0.5, quote_activity=0.2)
    async with open_sandbox(seed=seed, memory=memory, settings=chosen) as exchange:
        rest_settings = RestSettings(base_url=exchange.rest_url)
        async with RestClient(
            rest_settings, network=exchange.network, clock=exchange.clock
        ) as rest:
            table = await table_of(rest, chosen.pair_count)
            stage: Stage

            async def on_closed(batch: list[CandleClosed | CandleCorrected]) -> None:
                stage.journal.extend(batch)
                stage.closed.extend(one for one in batch if isinstance(one, CandleClosed))
                stage.corrected.extend(one for one in batch if isinstance(one, CandleCorrected))

            if before is not None:
                before(exchange)
            feed = Feed(
                WebSocketSettings(
                    url=exchange.ws_url, timeframes=timeframes, stale_tolerance_seconds=stale_s
                ),
                network=exchange.network,
                clock=exchange.clock,
                table=lambda: table,
                rest=rest if with_rest else None,
                on_closed=on_closed,
                pairs=pairs,
                random=random or Random(seed),
                symbols_per_connection=symbols_per_connection,
            )
            async with trio.open_nursery() as nursery:
                stage = Stage(exchange, feed, LiveReads(feed), table, nursery)
                await nursery.start(feed.run)
                if wait:
                    await feed.wait_live(None, 60)
                yield stage
                nursery.cancel_scope.cancel()


def assert_true_candles(stage: Stage, pair: str, timeframe: str, *, corrected: bool = False) -> int:
    """Check that every candle given out is true and none is missing in between; give how many.

    Args:
        stage: The feed and the exchange.
        pair: Canonical name.
        timeframe: Label.
        corrected: Whether some may have been corrected since, as where connections are cut, or one
            in fifty told as a correction alone; else nothing may have been.
    """
    assert corrected or stage.corrected == []
    now = {c.bar.time: c.bar for c in stage.corrected if (c.pair, c.timeframe) == (pair, timeframe)}
    given = [
        now.get(c.bar.time, c.bar)
        for c in stage.closed
        if c.pair == pair and c.timeframe == timeframe
    ]
    times = [bar.time for bar in given]
    assert times == sorted(set(times))
    # told as corrections alone: an interval that had been passed over, and whose row came late
    left_out = [now[time] for time in sorted(now.keys() - set(times)) if time > times[0]]
    assert len(left_out) <= len(given) // 50
    given = sorted([*given, *left_out], key=lambda bar: bar.time)
    times = [bar.time for bar in given]
    truth = stage.exchange.truth.candles(pair, MINUTES[timeframe], times[0], times[-1] + 1)
    assert times == [candle.time for candle in truth]
    for bar, true in zip(given, truth, strict=True):
        assert (bar.open, bar.high, bar.low, bar.close) == (
            float(true.open),
            float(true.high),
            float(true.low),
            float(true.close),
        ), (pair, timeframe, bar, true)
        assert bar.volume == pytest.approx(float(true.volume), rel=1e-12), (pair, bar, true)
        assert bar.count == true.count
    return len(given)


@pytest.fixture
def true_candles() -> Callable[[Stage, str, str], int]:
    """Compare what came out with the sandbox's ground truth."""
    return assert_true_candles


@pytest.fixture
def stage() -> OpenStage:
    """Open a stage; the test itself asks for `autojump_clock` (pytest-trio looks there only)."""
    return open_stage
