"""History against the sandbox: its own truth, the real limiter, kills of the process."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from krakked._config.settings import MarginEligible, RestSettings, UniverseSettings
from krakked._market.bars import OHLCBar
from krakked._market.history.backfill import History
from krakked._market.history.plan import BackfillOrigin
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.universe import Universe, build_universe
from krakked._rest.client import RestClient
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

DAY = 86_400
TWO_YEARS = 730 * DAY
FAST = RestSettings(public_calls_per_second=1000, public_pair_calls_per_second=1000)
WORKER = Path(__file__).parent / "backfill_worker.py"


def connect(exchange: Exchange, settings: RestSettings | None = None) -> RestClient:
    return RestClient(settings or RestSettings(), network=exchange.network, clock=exchange.clock)


async def universe_of(rest: RestClient) -> Universe:
    settings = UniverseSettings(margin_eligible=MarginEligible.INCLUDE)
    return build_universe(await rest.asset_pairs_bytes(), settings=settings)


def check_bars(bars: list[OHLCBar], exchange: Exchange, pair: str, minutes: int) -> None:
    """Every bar equals the sandbox's truth; a vwap within half of the truth's last digit."""
    end_s = bars[-1].time + minutes * 60
    truth = exchange.truth.candles(pair, minutes, bars[0].time, end_s, filled=True)
    assert [bar.time for bar in bars] == [candle.time for candle in truth]
    tick = 10.0 ** -exchange.truth.pair(pair).pair_decimals
    for bar, candle in zip(bars, truth, strict=True):
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.count) == (
            float(candle.open),
            float(candle.high),
            float(candle.low),
            float(candle.close),
            float(candle.volume),
            candle.count,
        )
        assert (bar.vwap is None) == (candle.vwap is None)
        if bar.vwap is not None and candle.vwap is not None:
            assert math.isclose(bar.vwap, float(candle.vwap), abs_tol=tick * 0.5001)


async def test_contract_8_3_get_ohlc_equals_the_truth_over_virtual_hours(
    autojump_clock: Any, store: OHLCStore
) -> None:
    async with open_sandbox(memory=True, settings=SandboxSettings(pair_count=40)) as exchange:
        async with connect(exchange) as rest:
            universe = await universe_of(rest)
            history = History(rest, store, exchange.clock, lambda: universe.table)
            for pause_s in (0, 59, 61, 3600, 20_000):
                await trio.sleep(pause_s)
                for pair, timeframe, minutes in (("BTC/USD", "1m", 1), ("XDGUSD", "1h", 60)):
                    now_s = exchange.clock.wall_ns() / 1e9
                    bars = await history.get_ohlc(pair, timeframe, 120)
                    assert len(bars) == 120
                    step_s = minutes * 60
                    assert bars[-1].time + step_s <= exchange.clock.wall_ns() / 1e9
                    assert bars[-1].time >= now_s // step_s * step_s - step_s
                    check_bars(bars, exchange, pair, minutes)
        assert exchange.rest_refusals == {}


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1.0, 4.0])
async def test_contract_8_6_a_burst_of_calls_keeps_to_the_configured_rate(
    autojump_clock: Any, store: OHLCStore, rate: float
) -> None:
    settings = SandboxSettings(pair_count=40, limits=rate == 1.0)
    async with open_sandbox(memory=True, settings=settings) as exchange:
        async with connect(exchange, RestSettings(public_calls_per_second=rate)) as rest:
            universe = await universe_of(rest)
            history = History(rest, store, exchange.clock, lambda: universe.table)
            done_at: list[float] = []

            async def read(pair: str) -> None:
                assert len(await history.get_ohlc(pair, "1h", 5)) == 5
                done_at.append(trio.current_time())

            async with trio.open_nursery() as nursery:
                for pair in universe.pairs[:30]:
                    nursery.start_soon(read, pair)
        assert exchange.rest_refusals == {}
        assert exchange.rest_calls["OHLC"] == len(done_at) == 30
        for window_s in (1.0, 5.0, 20.0):
            for begin in done_at:
                inside = sum(begin <= at < begin + window_s for at in done_at)
                assert inside <= window_s * rate + 1


async def test_typed_replies_give_the_same_universe_as_bytes(autojump_clock: Any) -> None:
    settings = SandboxSettings(pair_count=60)
    async with open_sandbox(memory=True, settings=settings) as exchange, connect(exchange) as rest:
        from_bytes = build_universe(await rest.asset_pairs_bytes())
        typed = build_universe(await rest.asset_pairs(), ticker=await rest.ticker())
    assert typed.pairs == from_bytes.pairs
    assert typed.excluded == from_bytes.excluded
    assert all(pair.volume_24h_usd for pair in typed.metadata.values())


@pytest.mark.slow
async def test_a_full_universe_backfill_of_592_calls_without_a_refusal(
    autojump_clock: Any, store: OHLCStore
) -> None:
    # The real limiter at its defaults against the sandbox's limits, on virtual time.
    async with open_sandbox(memory=True) as exchange:
        async with connect(exchange) as rest:
            universe = await universe_of(rest)
            assert len(universe.pairs) == 592
            history = History(rest, store, exchange.clock, lambda: universe.table)
            began = trio.current_time()
            reports, failures = await history.backfill_pairs(universe.pairs, "1h")
            elapsed_s = trio.current_time() - began
        assert failures == []
        assert sum(report.calls for report in reports) == 592
        assert exchange.rest_calls["OHLC"] == 592
        assert exchange.rest_refusals == {}
        assert 591 <= elapsed_s <= 592 * 1.05
        for pair in ("XBTUSD", "ADAUSD", universe.pairs[-1]):
            check_bars(store.get_bars(pair, "1h"), exchange, pair, 60)


@pytest.mark.slow
async def test_two_years_from_the_listing_equal_the_truth(
    autojump_clock: Any, store: OHLCStore
) -> None:
    start_s = 1_794_916_830
    settings = SandboxSettings(
        start_s=start_s,
        pair_count=20,
        limits=False,
        listed_s={"ADAUSD": start_s - TWO_YEARS},
        trade_rates={"ADAUSD": 200_000 / TWO_YEARS},
    )
    async with open_sandbox(memory=True, settings=settings) as exchange:
        async with connect(exchange, FAST) as rest:
            universe = await universe_of(rest)
            history = History(rest, store, exchange.clock, lambda: universe.table)
            plan = await history.plan_backfill("ADAUSD", "1h", since=0)
            assert plan.sources == (BackfillOrigin.TRADES, BackfillOrigin.OHLC)
            report = await history.backfill_ohlc("ADAUSD", "1h", since=0, allow_long=True)
        assert report.missing == ()
        assert abs(report.trades - plan.steps[0].trades) <= 50  # an hour of trades more or less
        bars = store.get_bars("ADAUSD", "1h")
        first = exchange.truth.trades("ADAUSD", 0, start_s * 10**9)[0]
        assert bars[0].time == first.time_ns // (3600 * 10**9) * 3600
        check_bars(bars, exchange, "ADAUSD", 60)


@pytest.mark.slow
async def test_two_years_from_the_listing_after_three_kills_of_the_process(
    store: OHLCStore,
) -> None:
    now_s = int(time.time())
    settings = SandboxSettings(
        pair_count=20,
        limits=False,
        listed_s={"ADAUSD": now_s - TWO_YEARS},
        trade_rates={"ADAUSD": 200_000 / TWO_YEARS},
    )
    draw = random.Random(4)
    calls = []
    async with open_sandbox(settings=settings) as exchange:
        for kill in (True, True, True, False):
            command = [sys.executable, WORKER, exchange.rest_url, store.root, "ADAUSD", "1h"]
            worker = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
            assert worker.stdout is not None
            limit = draw.randrange(30, 55) if kill else 10**9
            text = b""
            async for piece in worker.stdout:
                text += piece
                if text.count(b"\n") >= limit:
                    worker.kill()
                    break
            await worker.wait()
            await worker.stdout.aclose()
            calls.append(text.count(b"\n"))
            assert text.endswith(b"done\n") is not kill
        check_bars(store.get_bars("ADAUSD", "1h"), exchange, "ADAUSD", 60)
    bars = store.get_bars("ADAUSD", "1h")
    listed_s = (now_s - TWO_YEARS) // 3600 * 3600
    assert bars[0].time <= listed_s + 10 * 3600
    # The tape is 180 pages or so; each kill costs the pages since the last flush at most.
    assert sum(calls) < 180 + 3 * 25 + 20
    assert store.verify() == []
