"""`get_ohlc` and `get_ohlc_since`: closed only, topped up when needed, honest otherwise."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from krakked._errors import (
    ConfigError,
    ConnectFailedError,
    RateLimitError,
    UnknownPairError,
    UnknownTimeframeError,
)
from krakked._market.bars import OHLCBar, Source
from krakked._market.store.coverage import GapKind

NS = 10**9
START_S = 1_790_000_040  # a full minute
NOW_S = START_S + 3600 + 30.0


def tape(start_s: int, end_s: int, every_s: int, seed: int = 1) -> list[tuple[int, float, float]]:
    draw = random.Random(seed)
    return [
        (time * NS + draw.randrange(NS), 100 + draw.randrange(100) / 10, draw.randrange(1, 90) / 8)
        for time in range(start_s, end_s, every_s)
    ]


def expected(exchange: Any, step_s: int, start_s: int, end_s: int) -> list[OHLCBar]:
    return [
        OHLCBar(
            row.time,
            *map(float, (row.open, row.high, row.low, row.close)),
            float(row.vwap) if row.count else None,
            float(row.volume),
            row.count,
        )
        for row in exchange.candles(step_s, start_s, end_s)
    ]


async def test_contract_8_3_only_closed_candles_without_the_running_one(
    exchange: Any, history: Any
) -> None:
    rest = exchange(tape(START_S, START_S + 3700, 7), NOW_S)
    bars = await history(rest).get_ohlc("XBTUSD", "1m", 10)
    assert bars == expected(rest, 60, START_S + 3000, START_S + 3600)
    assert bars[-1].time + 60 <= NOW_S < bars[-1].time + 120


@pytest.mark.parametrize("inclusive", [False, True])
async def test_contract_8_3_bars_are_deduplicated_and_ordered_over_many_calls(
    exchange: Any, history: Any, inclusive: bool
) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 50), NOW_S)
    rest.inclusive_since = inclusive
    reader = history(rest)
    for seconds in (0, 59, 1, 61, 600, 13, 3600):
        rest.now_s += seconds
        bars = await reader.get_ohlc("XBTUSD", "1m", 720)
        assert bars == expected(rest, 60, START_S, int(rest.now_s) // 60 * 60)


async def test_the_store_answers_alone_while_nothing_is_missing(
    exchange: Any, history: Any
) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    reader = history(rest)
    for lookback in (5, 30, 60, 200, 720):
        await reader.get_ohlc("BTC/USD", "1m", lookback)
    assert len(rest.calls) == 1
    rest.now_s += 29
    await reader.get_ohlc("BTC/USD", "1m", 720)
    assert len(rest.calls) == 1
    rest.now_s += 2  # a minute has closed
    bars = await reader.get_ohlc("BTC/USD", "1m", 1)
    assert [bar.time for bar in bars] == [START_S + 3600]
    # One candle early, because some servers exclude `since` and some do not; and what Kraken may
    # have revised comes along: the oldest that had not ended 15 minutes before the first call.
    assert rest.calls[-1] == ("OHLC", "XBTUSD", 1, START_S + 3600 - 15 * 60 - 60)


async def test_fewer_bars_than_asked_are_returned_as_they_are(exchange: Any, history: Any) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    reader = history(rest)
    assert len(await reader.get_ohlc("XBTUSD", "1m", 500)) == 60
    assert len(await reader.get_ohlc("XBTUSD", "1m", 5000)) == 60
    assert len(rest.calls) == 1  # the pair is young, and that is remembered
    assert await reader.get_ohlc("XBTUSD", "1m", 0) == []


async def test_since_includes_the_candle_that_opens_then(exchange: Any, history: Any) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    reader = history(rest)
    bars = await reader.get_ohlc_since("XBTUSD", "5m", START_S + 600)
    first = -(-(START_S + 600) // 300) * 300
    assert bars == expected(rest, 300, first, int(NOW_S) // 300 * 300)
    again = await reader.get_ohlc_since("XBTUSD", "5m", first + 0.5)
    assert again == bars[1:]
    assert len(rest.calls) == 1


async def test_refresh_false_never_calls(exchange: Any, history: Any) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    reader = history(rest)
    assert await reader.get_ohlc("XBTUSD", "1h", 5, refresh=False) == []
    assert await reader.get_ohlc_since("XBTUSD", "1h", 0, refresh=False) == []
    assert rest.calls == []


async def test_a_candle_that_is_not_over_is_not_handed_out_whoever_stored_it(
    exchange: Any, history: Any, store: Any
) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    reader = history(rest)
    running_s = int(NOW_S) // 60 * 60
    one = (1.0, 1.0, 1.0, 1.0, None, 1.0, 1)
    early = [OHLCBar(running_s + n * 60, *one) for n in (0, 1, 100_000)]
    store.append_bars("XBTUSD", "1m", early, source=Source.ARCHIVE)
    for refresh in (False, True):
        assert not {*await reader.get_ohlc("XBTUSD", "1m", 5, refresh=refresh)} & {*early}
        since = await reader.get_ohlc_since("XBTUSD", "1m", START_S, refresh=refresh)
        assert not {*since} & {*early}
    rest.now_s = running_s + 60
    assert (await reader.get_ohlc("XBTUSD", "1m", 1, refresh=False))[0] == early[0]


async def test_a_fast_clock_closes_no_running_candle_while_krakens_is_unknown(
    exchange: Any, history: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)

    async def refuse() -> None:
        raise ConnectFailedError("no way", endpoint="Time")

    running_s = int(NOW_S) // 60 * 60
    with monkeypatch.context() as patched:
        patched.setattr(rest, "time", refuse)
        patched.setattr(rest, "server_wall_ns", lambda: int((NOW_S + 3600) * 1e9))
        assert (await history(rest).get_ohlc("XBTUSD", "1m", 5))[-1].time == running_s - 60
    rest.now_s += 60
    bars = await history(rest).get_ohlc("XBTUSD", "1m", 5)
    assert bars == expected(rest, 60, running_s - 240, running_s + 60)


@pytest.mark.parametrize("way", ["get_ohlc", "repair"])
async def test_what_the_store_lost_is_fetched_again(
    exchange: Any, history: Any, store: Any, way: str
) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    reader = history(rest)
    bars = await reader.get_ohlc("XBTUSD", "1m", 50)
    for path in store.root.rglob("*.parquet"):
        if way == "get_ohlc":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-9])
            store.repair()
    if way == "repair":
        report = await reader.repair("XBTUSD", "1m")
        assert report.bars >= 50
        assert report.missing == ()
    assert await reader.get_ohlc("XBTUSD", "1m", 50) == bars
    assert len(rest.calls) == 2
    assert store.verify() == []


async def test_what_cannot_be_answered_is_refused_before_any_call(
    exchange: Any, history: Any
) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    with pytest.raises(ConfigError, match="arrow, polars, pandas, numpy"):
        await history(rest).get_ohlc("XBTUSD", "1m", 5, as_="excel")
    with pytest.raises(ConfigError, match="arrow"):
        await history(rest).get_ohlc_since("XBTUSD", "1m", 0, as_="excel")
    assert rest.calls == []


async def test_every_trouble_has_its_own_error(exchange: Any, history: Any) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    reader = history(rest)
    with pytest.raises(UnknownPairError, match="XBTUSD"):
        await reader.get_ohlc("XBTUDS", "1m", 5)
    with pytest.raises(UnknownTimeframeError):
        await reader.get_ohlc("XBTUSD", "2m", 5)
    with pytest.raises(ConfigError, match="from 0 on"):
        await reader.get_ohlc("XBTUSD", "1m", -1)
    rest.failures[1] = RateLimitError(
        "slow down", code="EGeneral:Too many requests", endpoint="OHLC"
    )
    with pytest.raises(RateLimitError):
        await reader.get_ohlc("XBTUSD", "1m", 5)
    rest.failures[2] = ConnectFailedError("no way", endpoint="OHLC")
    with pytest.raises(ConnectFailedError):
        await reader.get_ohlc_since("XBTUSD", "1m", START_S)
    assert len(await reader.get_ohlc("XBTUSD", "1m", 5)) == 5


async def test_live_bars_count_only_provisionally(exchange: Any, history: Any, store: Any) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    reader = history(rest)
    await reader.get_ohlc("XBTUSD", "1m", 5)
    live = OHLCBar(START_S + 3600, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1)
    store.append_bars("XBTUSD", "1m", [live], source=Source.WEBSOCKET)
    rest.now_s += 60
    confirmed = await reader.get_ohlc("XBTUSD", "1m", 1, refresh=False)
    assert confirmed[0].time == START_S + 3540
    assert await reader.get_ohlc("XBTUSD", "1m", 1, refresh=False, provisional=True) == [live]
    (bar,) = await reader.get_ohlc("XBTUSD", "1m", 1)  # REST confirms, and replaces it
    assert bar != live
    assert await reader.get_ohlc("XBTUSD", "1m", 1, provisional=True) == [bar]


async def test_an_outage_within_reach_is_closed_by_one_call(exchange: Any, history: Any) -> None:
    rest = exchange(tape(START_S, START_S + 40_000, 45), NOW_S)
    reader = history(rest)
    await reader.get_ohlc("XBTUSD", "1m", 60)
    rest.now_s += 500 * 60
    bars = await reader.get_ohlc("XBTUSD", "1m", 560)
    assert bars == expected(rest, 60, START_S, int(rest.now_s) // 60 * 60)
    assert len(rest.calls) == 2


async def test_a_longer_outage_leaves_a_hole_that_gaps_tells(exchange: Any, history: Any) -> None:
    rest = exchange(tape(START_S, START_S + 70_000, 45), NOW_S)
    reader = history(rest)
    await reader.get_ohlc("XBTUSD", "1m", 60)
    rest.now_s += 1000 * 60
    await reader.get_ohlc("XBTUSD", "1m", 60)
    missing = [g for g in await reader.gaps("XBTUSD", "1m") if g.kind is GapKind.MISSING]
    running_s = int(rest.now_s) // 60 * 60
    assert [(g.start_s, g.end_s) for g in missing] == [(START_S + 3600, running_s - 720 * 60)]


async def test_weeks_are_taken_as_kraken_aligns_them(exchange: Any, history: Any) -> None:
    week = 604_800
    rest = exchange(tape(START_S, START_S + 6 * week, 50_000), START_S + 6 * week)
    reader = history(rest)
    bars = await reader.get_ohlc("XBTUSD", "1w", 10)
    assert bars
    assert all(bar.time + week <= rest.now_s for bar in bars)
    await reader.get_ohlc("XBTUSD", "1w", 10)
    assert len(rest.calls) == 1


@pytest.mark.parametrize("form", ["arrow", "polars", "pandas", "numpy"])
async def test_columns_without_a_loop(exchange: Any, history: Any, form: str) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    reader = history(rest)
    bars = await reader.get_ohlc("XBTUSD", "1m", 7)
    columns = await reader.get_ohlc("XBTUSD", "1m", 7, as_=form)
    assert (
        [float(v) for v in columns["close"].to_pylist()] == [b.close for b in bars]
        if (form == "arrow")
        else list(columns["close"]) == [b.close for b in bars]
    )
    since = await reader.get_ohlc_since("XBTUSD", "1m", bars[0].time, as_=form)
    assert len(since["time"]) == 7


async def test_readers_at_the_same_time_share_one_call(exchange: Any, history: Any) -> None:
    rest = exchange(tape(START_S, START_S + 9000, 20), NOW_S)
    reader = history(rest)
    counts: list[int] = []

    async def read() -> None:
        counts.append(len(await reader.get_ohlc("XBTUSD", "1m", 30)))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(read)
    assert counts == [30] * 5
    assert len(rest.calls) == 1
