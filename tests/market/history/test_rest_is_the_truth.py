"""Whatever was imported before, what REST reaches is what REST says: against the sandbox."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from krakked._config.settings import MarginEligible, RestSettings, UniverseSettings
from krakked._market.bars import OHLCBar, Source
from krakked._market.history.archive_import import import_archive
from krakked._market.history.backfill import History
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.universe import build_universe
from krakked._rest.client import RestClient
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

NS = 10**9
FAST = RestSettings(public_calls_per_second=1000, public_pair_calls_per_second=1000)
PAIR = "XBTUSD"


async def with_history(
    settings: SandboxSettings,
    use: Callable[[Exchange, RestClient, History, OHLCStore], Awaitable[None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = OHLCStore(Path(folder) / "ohlc")
        async with (
            open_sandbox(memory=True, settings=settings) as exchange,
            RestClient(FAST, network=exchange.network, clock=exchange.clock) as rest,
        ):
            universe = UniverseSettings(margin_eligible=MarginEligible.INCLUDE)
            table = build_universe(await rest.asset_pairs_bytes(), settings=universe).table
            await use(exchange, rest, History(rest, store, exchange.clock, lambda: table), store)


async def rest_truth(rest: RestClient, minutes: int, now_s: float) -> list[OHLCBar]:
    """What OHLC itself says is closed, read without any of the rules."""
    return [
        OHLCBar(
            row.time,
            *(float(text) for text in (row.open, row.high, row.low, row.close)),
            float(row.vwap) if row.count else None,
            float(row.volume),
            row.count,
        )
        for row in (await rest.ohlc(PAIR, minutes)).rows
        if row.time + minutes * 60 <= now_s
    ]


imports = st.lists(
    st.tuples(
        st.sampled_from(["archive", "trades file", "stream", "trades", "covered archive"]),
        st.integers(-1000, 0),  # first candle, counted from the running one
        st.integers(1, 900),
        st.booleans(),  # right, or wrong in every number
        st.sampled_from([1, 3]),  # every candle, or every third
    ),
    max_size=4,
)


def put(store: OHLCStore, folder: Path, made: Any, now_s: float, minutes: int) -> None:
    kind, first, count, right, every = made
    step_s = minutes * 60
    start_s = int(now_s) // step_s * step_s + first * step_s
    price = 60_000.0 if right else 1.0
    timeframe = {1: "1m", 60: "1h"}[minutes]
    times = [start_s + n * step_s for n in range(0, count, every) if start_s + n * step_s <= now_s]
    bars = [OHLCBar(at, price, price, price, price, price, 1.0, 1) for at in times]
    if not times:
        return
    covered = (times[0], times[-1] + step_s)
    if kind == "archive":
        path = folder / f"{PAIR}_{minutes}.csv"
        path.write_text("".join(f"{at},{price},{price},{price},{price},1,1\n" for at in times))
        import_archive(store, [path], now_s=now_s)
    elif kind == "trades file":
        path = folder / f"{PAIR}.csv"
        path.write_text("".join(f"{at + 7},{price},1\n" for at in times if at + 7 <= now_s))
        import_archive(store, [path], timeframes={timeframe}, now_s=now_s)
    elif kind == "stream":
        store.append_provisional(timeframe, [(PAIR, bar) for bar in bars])
        store.fold_journal()
    elif kind == "trades":
        store.append_bars(PAIR, timeframe, bars, source=Source.TRADES, covered=covered)
    else:
        store.append_bars(PAIR, timeframe, bars, source=Source.ARCHIVE, covered=covered)


def check(made: list[Any], minutes: int, into_s: int) -> None:
    async def use(exchange: Exchange, rest: RestClient, history: History, store: OHLCStore) -> None:
        now_s = exchange.clock.wall_ns() / NS
        for each in made:
            put(store, store.root.parent, each, now_s, minutes)
        timeframe = {1: "1m", 60: "1h"}[minutes]
        before = exchange.rest_calls.get("OHLC", 0)
        bars = await history.get_ohlc(PAIR, timeframe, 720)
        assert exchange.rest_calls["OHLC"] == before + 1
        assert bars == await rest_truth(rest, minutes, now_s)
        assert len(bars) == 720
        await history.get_ohlc(PAIR, timeframe, 720)
        assert exchange.rest_calls["OHLC"] == before + 2  # the second one is this test's own

    start_s = 1_794_916_800 + into_s
    settings = SandboxSettings(
        start_s=start_s, pair_count=2, limits=False, trade_rates={PAIR: 0.01}
    )
    trio.run(with_history, settings, use, clock=MockClock(autojump_threshold=0))


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(imports, st.sampled_from([1, 60]), st.sampled_from([0, 1, 30, 59]))
def test_after_one_read_720_bars_are_rests(made: list[Any], minutes: int, into_s: int) -> None:
    check(made, minutes, into_s)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(imports, st.sampled_from([1, 60]), st.sampled_from([0, 1, 30, 59]))
def test_very_often_after_one_read_720_bars_are_rests(
    made: list[Any], minutes: int, into_s: int
) -> None:
    check(made, minutes, into_s)


@pytest.mark.parametrize("since_inclusive", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_revised_candle_is_right_at_the_first_read_15_minutes_after_its_end(
    since_inclusive: bool,
) -> None:
    async def use(exchange: Exchange, rest: RestClient, history: History, store: OHLCStore) -> None:
        def calls() -> int:
            return exchange.rest_calls.get("OHLC", 0)

        await trio.sleep(3605 - 30)  # five seconds after an hour's end
        end_s = 1_794_916_800 + 3600
        early = await history.get_ohlc(PAIR, "1h", 3)
        (true,) = exchange.truth.candles(PAIR, 60, end_s - 3600, end_s)
        assert early[-1].count < true.count
        await trio.sleep(890)
        assert await history.get_ohlc(PAIR, "1h", 3) == early
        assert calls() == 1
        await trio.sleep(6)
        late = await history.get_ohlc(PAIR, "1h", 3)
        assert calls() == 2
        assert (late[-1].count, late[-1].close) == (true.count, float(true.close))
        for _ in range(20):
            await trio.sleep(100)
            assert await history.get_ohlc(PAIR, "1h", 3) == late
        assert calls() == 2
        # Minutes, read every minute for an hour: each is right once it is 15 minutes old, and none
        # of them costs a call of its own.
        before = calls()
        for _ in range(25):
            await history.get_ohlc(PAIR, "1m", 30)
            await trio.sleep(60)
        assert calls() - before == 25
        minutes = store.get_bars(PAIR, "1m")
        old = [one for one in minutes if one.time + 60 + 900 + 60 <= exchange.clock.wall_ns() / NS]
        truth = exchange.truth.candles(PAIR, 1, old[0].time, old[-1].time + 60, filled=True)
        assert [(one.time, one.count) for one in old] == [(one.time, one.count) for one in truth]

    settings = SandboxSettings(
        start_s=1_794_916_830,
        pair_count=2,
        limits=False,
        trade_rates={PAIR: 0.2},
        ohlc_revised_after_s=300,
        ohlc_since_inclusive=since_inclusive,
    )
    trio.run(with_history, settings, use, clock=MockClock(autojump_threshold=0))
