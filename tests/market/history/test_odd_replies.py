"""Replies that are odd in ways the real exchange has been seen, or is said, to be."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from krakked._config.settings import MarginEligible, RestSettings, UniverseSettings
from krakked._market.history.backfill import History
from krakked._market.history.trades_backfill import believed_last, since_of
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.universe import build_universe
from krakked._rest.client import RestClient
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

NS = 10**9
HOUR = 3600
LISTED_S = 1_780_002_000  # a full hour
NOW_S = LISTED_S + 1000 * HOUR + 1800
FAST = RestSettings(public_calls_per_second=1000, public_pair_calls_per_second=1000)


@pytest.fixture
def old(exchange: Any) -> Any:
    """A pair of 1,000 hours with about 2,400 trades, some at one time."""
    draw = random.Random(3)
    trades, time_ns = [], LISTED_S * NS + 5
    while time_ns < NOW_S * NS:
        trades.append((time_ns, round(100 + draw.gauss(0, 5), 1), 1.5))
        time_ns += 0 if draw.random() < 0.3 else int(draw.expovariate(1 / 2100) * 10**6) * 1000
    return exchange(trades, NOW_S)


def connect(exchange: Exchange) -> RestClient:
    return RestClient(FAST, network=exchange.network, clock=exchange.clock)


async def history_of(rest: RestClient, exchange: Exchange, store: OHLCStore) -> History:
    settings = UniverseSettings(margin_eligible=MarginEligible.INCLUDE)
    table = build_universe(await rest.asset_pairs_bytes(), settings=settings).table
    return History(rest, store, exchange.clock, lambda: table)


@pytest.mark.parametrize("page_rows", [100, 1000])
async def test_a_last_that_is_no_time_ends_no_walk(
    old: Any, history: Any, store: Any, page_rows: int
) -> None:
    # Believed, it leads to the page before again: the walk ended there and called the rest quiet.
    old.short_last, old.page_rows = True, page_rows
    with trio.fail_after(20):
        report = await history(old).backfill_ohlc("XBTUSD", "1h", since=LISTED_S)
    assert report.missing == ()
    bars = store.get_bars("XBTUSD", "1h")
    truth = old.candles(HOUR, LISTED_S, LISTED_S + 1000 * HOUR)
    assert [(bar.time, bar.count) for bar in bars] == [(row.time, row.count) for row in truth]


def test_last_is_believed_when_it_is_the_time_of_the_last_trade() -> None:
    assert believed_last(1_790_359_841_138_228_746, 1_790_359_841_138_228_700)
    assert believed_last(1_381_095_255_837_651_000, 1_381_095_255_837_700_000)  # four decimals
    for last in (None, 0, 179_035_984_113, 1_790_359_841, 1_790_359_842_138_228_746):
        assert believed_last(last, 1_790_359_841_138_228_700) is None
    assert believed_last(1_790_359_841_138_228_746, None) is None


async def test_since_is_never_shorter_than_19_digits(old: Any, history: Any) -> None:
    await history(old).backfill_ohlc("XBTUSD", "1h", since=946_684_800)  # 2000-01-01
    asked = {call[2] for call in old.calls if call[0] == "Trades"}
    assert 0 in asked
    assert all(since == 0 or len(str(since)) == 19 for since in asked)
    assert since_of(999_999_999_999_999_999) == 0
    assert since_of(10**18) == 10**18


async def test_short_lasts_now_and_then_against_the_sandbox(
    autojump_clock: Any, store: OHLCStore
) -> None:
    start_s = 1_794_916_830
    settings = SandboxSettings(
        start_s=start_s,
        pair_count=20,
        limits=False,
        listed_s={"ADAUSD": start_s - 900 * HOUR},
        trade_rates={"ADAUSD": 10_000 / (900 * HOUR)},
    )
    async with open_sandbox(memory=True, settings=settings) as exchange:
        exchange.faults.rest.short_last(times=100, chance=0.5)
        async with connect(exchange) as rest:
            job = await history_of(rest, exchange, store)
            await job.backfill_ohlc("ADAUSD", "1h", since=946_684_800)
        bars = store.get_bars("ADAUSD", "1h")
        truth = exchange.truth.candles("ADAUSD", 60, 0, bars[-1].time + HOUR, filled=True)
    assert [(b.time, b.count) for b in bars] == [(t.time, t.count) for t in truth if t.time]
    assert len(bars) >= 895


async def test_a_kept_reply_closes_no_running_candle(autojump_clock: Any, store: OHLCStore) -> None:
    # The servers in front hand out what they told somebody else up to two seconds ago.
    settings = SandboxSettings(
        start_s=1_794_916_800, pair_count=4, limits=False, public_cache_s=2.0, activity=30
    )
    async with open_sandbox(memory=True, settings=settings) as exchange, connect(exchange) as rest:
        job = await history_of(rest, exchange, store)
        table = job._table
        for minute in range(1, 6):
            await trio.sleep(60 * minute - 0.9 - trio.current_time())
            await rest.ohlc("ETHUSD", 1)  # somebody else, just before the boundary
            await trio.sleep(60 * minute + 0.8 - trio.current_time())
            store_of_now = OHLCStore(store.root.parent / f"at-{minute}")
            job = History(rest, store_of_now, exchange.clock, table)
            bars = await job.get_ohlc("ETHUSD", "1m", 10)
            truth = exchange.truth.candles(
                "ETHUSD", 1, bars[0].time, bars[-1].time + 60, filled=True
            )
            assert [(b.time, b.count, b.close) for b in bars] == [
                (t.time, t.count, float(t.close)) for t in truth
            ]


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("rows", [720, 721])
async def test_both_readings_of_since_and_both_lengths_seen(
    autojump_clock: Any, store: OHLCStore, inclusive: bool, rows: int
) -> None:
    settings = SandboxSettings(
        pair_count=4, limits=False, ohlc_rows=rows, ohlc_since_inclusive=inclusive
    )
    async with open_sandbox(memory=True, settings=settings) as exchange, connect(exchange) as rest:
        job = await history_of(rest, exchange, store)
        assert len(await job.get_ohlc("XBTUSD", "1m", 1000)) == rows - 1
        calls = exchange.rest_calls["OHLC"]
        assert len(await job.get_ohlc("XBTUSD", "1m", 720)) == rows - 1
        assert exchange.rest_calls["OHLC"] == calls  # what Kraken has not is not asked for
        for pause_s in (60, 600, 3600):
            await trio.sleep(pause_s)
            bars = await job.get_ohlc("XBTUSD", "1m", 720)
            assert [bar.time for bar in bars] == list(range(bars[0].time, bars[-1].time + 1, 60))
            now_s = exchange.clock.wall_ns() / 1e9
            assert bars[-1].time == now_s // 60 * 60 - 60
            assert len(bars) == 720 or rows == 720
