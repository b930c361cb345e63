"""A feed over the in-memory exchange, on virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest
import trio

from krakked.config.settings import RestSettings, UniverseSettings, WebSocketSettings
from krakked.market.changes import CandleClosed
from krakked.market.live import LiveReads
from krakked.market.pairs import PairTable
from krakked.market.stream.feed import Feed
from krakked.market.universe import build_universe
from krakked.rest.client import RestClient
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

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
    before: Callable[[Exchange], Awaitable[None] | None] | None = None,
) -> AsyncIterator[Stage]:
    async with open_sandbox(seed=seed, memory=memory, settings=settings) as exchange:
        rest_settings = RestSettings(base_url=exchange.rest_url)
        async with RestClient(
            rest_settings, network=exchange.network, clock=exchange.clock
        ) as rest:
            universe = build_universe(
                await rest.asset_pairs_bytes(),
                settings=UniverseSettings(margin_eligible="include"),
            )
            stage: Stage

            async def on_closed(batch: list[CandleClosed]) -> None:
                stage.closed.extend(batch)

            if before is not None:
                before(exchange)
            feed = Feed(
                WebSocketSettings(
                    url=exchange.ws_url, timeframes=timeframes, stale_tolerance_seconds=stale_s
                ),
                network=exchange.network,
                clock=exchange.clock,
                table=lambda: universe.table,
                rest=rest if with_rest else None,
                on_closed=on_closed,
                pairs=pairs,
                random=Random(seed),
                symbols_per_connection=symbols_per_connection,
            )
            async with trio.open_nursery() as nursery:
                stage = Stage(exchange, feed, LiveReads(feed), universe.table, nursery)
                await nursery.start(feed.run)
                if wait:
                    await feed.wait_live(None, 60)
                yield stage
                nursery.cancel_scope.cancel()


@pytest.fixture
def stage() -> OpenStage:
    """Open a stage; the test itself asks for `autojump_clock` (pytest-trio looks there only)."""
    return open_stage
