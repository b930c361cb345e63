"""Hours of virtual time: quiet markets, a thousand drops, servers that mean harm."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import psutil
import pytest
import trio
from tests.market.stream.hostile import SERVERS, HostileNetwork, VirtualClock
from trio.testing import MockClock

from krakked._config.settings import WebSocketSettings
from krakked._market.pairs import PairMetadata, PairTable
from krakked._market.stream.feed import Feed
from krakked.sandbox import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.market.stream.conftest import OpenStage, Stage

pytestmark = pytest.mark.slow

SEEDS = 8
"""Of each hostile server here; `tests/torture/stream_torture.py` takes 50."""
QUIET = SandboxSettings(pair_count=60, activity=0.0, quote_activity=0.0)


def pair(canonical: str, symbol: str) -> PairMetadata:
    base, quote = symbol.split("/")
    return PairMetadata(
        canonical=canonical,
        base=base,
        quote=quote,
        rest_symbol=canonical,
        ws_symbol=symbol,
        wsname=symbol,
        raw_name=canonical,
        price_decimals=1,
        volume_decimals=8,
        lot_size=1.0,
        status="online",
    )


TABLE = PairTable([pair("ETHUSD", "ETH/USD"), pair("SOLUSD", "SOL/USD")])


async def visit(server: str, seed: int, minutes: float) -> list[float]:
    """Let a feed meet a hostile server for a while; give the times of its attempts."""
    async with trio.open_nursery() as nursery:
        random = Random(f"{server} {seed}")
        network = HostileNetwork(SERVERS[server], random, nursery)
        feed = Feed(
            WebSocketSettings(timeframes=("1m", "5m")),
            network=network,
            clock=VirtualClock(),
            table=lambda: TABLE,
            pairs=["ETHUSD", "SOLUSD"],
            random=random,
        )
        await nursery.start(feed.run)
        await trio.sleep(minutes * 60)
        nursery.cancel_scope.cancel()
    return network.attempts


@pytest.mark.parametrize("server", SERVERS)
def test_hostile_servers_never_make_us_connect_more_than_60_times_in_10_minutes(
    server: str,
) -> None:
    logging.getLogger("krakked.stream").setLevel(logging.CRITICAL + 1)
    try:
        for seed in range(SEEDS):
            clock = MockClock(autojump_threshold=0)
            attempts = trio.run(visit, server, seed, 11, clock=clock)
            assert attempts
            for i in range(len(attempts) - 60):
                assert attempts[i + 60] - attempts[i] >= 600.0, (server, seed)
    finally:
        logging.getLogger("krakked.stream").setLevel(logging.NOTSET)


async def test_24_quiet_hours_raise_no_alarm(stage: OpenStage, autojump_clock: MockClock) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=QUIET, with_rest=False) as s:
        await trio.sleep(24 * 3600)
        facts = s.feed.statistics()
        assert facts.reconnects == 0
        assert facts.connect_attempts == 0
        assert facts.frames > 80_000
        assert facts.pairs["XBTUSD"].state == "live"
        assert facts.pairs["XBTUSD"].mute_timeframes == ()


async def test_a_thousand_drops_at_random_bytes_lose_nothing(
    stage: OpenStage, autojump_clock: MockClock, true_candles: Callable[..., int]
) -> None:
    pairs = ("XBTUSD", "ETHUSD", "XDGUSD")
    settings = SandboxSettings(
        pair_count=60, trade_rates=dict.fromkeys(pairs, 0.05), quote_activity=0.02
    )
    # what a pair last said may be minutes old in so slow a market: it has to be right all the same
    async with stage(pairs=pairs, timeframes=("1m", "5m"), settings=settings, stale_s=3600.0) as s:
        events = []

        async def listen() -> None:
            async for change in s.feed.changes(kinds=["feed", "candle_closed"]):
                events.append(change)

        s.nursery.start_soon(listen)
        s.exchange.faults.cut_randomly(15_000)
        await s.exchange.faults.cut()
        while s.exchange.ws_connects < 1002:  # noqa: ASYNC110 - time has to pass
            await trio.sleep(60)
        s.exchange.faults.clear()
        await s.feed.wait_live(None, 60)
        await trio.sleep(660)
        checked = sum(
            true_candles(s, p, t, corrected=True) for p in pairs for t in s.feed.timeframes
        )
        assert checked > 500
        facts = s.feed.statistics()
        assert (facts.open_holes, facts.unfilled_holes) == (0, 0)
        told = [e for e in events if type(e).__name__ == "CandleClosed"]
        assert told == s.closed
        for p in pairs:
            truth = s.exchange.truth.ticker(p)
            assert s.reads.get_latest_price(p, exact=True).price == truth.last
            quote = s.reads.get_best_bid_ask(p, exact=True)
            assert (quote.bid, quote.ask) == (truth.bid, truth.ask)
        times = [e for e in events if type(e).__name__ in {"Disconnected", "Reconnected"}]
        for name in ("1m", "5m"):
            mine = [type(e).__name__ for e in times if e.connection == name]
            assert all(a != b for a, b in pairwise(mine)), "in turns"


def _is_true(true_candles: Callable[..., int], stage: Stage, pair: str) -> bool:
    with contextlib.suppress(AssertionError):
        return true_candles(stage, pair, "1m", corrected=True) > 0
    return False


class NoChance(Random):
    """Every jittered wait is 0: fifty drops in seconds rather than in a quarter of an hour."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


@pytest.mark.skipif(
    not os.environ.get("KRAKKED_SOAK"),
    reason="thirty times real speed on real sockets needs an idle machine: make soak runs it",
)
async def test_fifty_drops_on_real_sockets_lose_nothing_and_leak_nothing(
    stage: OpenStage, true_candles: Callable[..., int]
) -> None:
    process = psutil.Process()

    def counts() -> tuple[int, int, int]:
        gc.collect()
        tasks = trio.lowlevel.current_statistics().tasks_living
        return tasks, process.num_fds(), threading.active_count()

    pairs = ("XBTUSD", "ETHUSD")
    settings = SandboxSettings(
        pair_count=60, trade_rates=dict.fromkeys(pairs, 0.2), real_time_factor=30.0
    )
    how = {"pairs": pairs, "timeframes": ("1m",), "settings": settings, "memory": False}
    async with stage(**how, random=NoChance()):
        await trio.sleep(1)  # whatever is made once is made now
    before = counts()
    async with stage(**how, random=NoChance()) as s:
        random = Random(5)
        inside = None
        for _ in range(50):
            await s.exchange.faults.cut()
            await trio.sleep(random.uniform(0.05, 0.4))
            s.exchange.faults.cut_after(random.randrange(1, 3000))
            inside = inside or counts()
        while s.feed.statistics().reconnects < 50:
            await s.exchange.faults.cut()
            await trio.sleep(0.2)
        s.exchange.faults.clear()
        await s.feed.wait_live(None, 10)
        await trio.sleep(5)
        assert counts()[1:] <= (inside[1] + 2, inside[2])
        with trio.move_on_after(60):  # what was wrong is corrected within a minute
            while not all(_is_true(true_candles, s, p) for p in pairs):  # noqa: ASYNC110
                await trio.sleep(1)
        assert sum(true_candles(s, pair, "1m", corrected=True) for pair in pairs) > 10
        for pair in pairs:
            s.reads.get_best_bid_ask(pair)
        assert s.feed.statistics().unfilled_holes == 0
    after = counts()
    assert after[:2] == before[:2]
    assert after[2] <= before[2] + 2  # trio keeps a worker thread or two for later


async def test_the_whole_universe_streams_and_answers(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    settings = SandboxSettings()
    async with stage(pairs=[], timeframes=("1m",), settings=settings, wait=False) as s:
        online = [s.exchange.truth.pair(symbol).altname for symbol in s.exchange.truth.symbols()]
        assert len(online) == 592
        s.feed.set_pairs(online)
        await s.feed.wait_live(None, 60)
        await trio.sleep(90)
        for name in online:
            truth, quote = s.exchange.truth.ticker(name), s.reads.get_best_bid_ask(name, exact=True)
            assert (quote.bid, quote.ask) == (truth.bid, truth.ask)
        begun_s = 1_794_916_800  # the minute in which we came; older ones are history
        traded = [
            name for name in online if s.exchange.truth.candles(name, 1, begun_s, begun_s + 1)
        ]
        assert {c.pair for c in s.closed if c.bar.time == begun_s} == set(traded)
        assert len(traded) > 50
