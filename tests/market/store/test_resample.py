"""Candles of a rule against those made of the trades themselves, and what is no rule."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import krakked
from krakked import OHLCBar, resample
from krakked._market.bars import Source
from krakked._market.resample_rule import fitting, parse_rule
from krakked._market.store.arrow import table_of_bars
from krakked.sandbox import SandboxSettings, open_sandbox

DAY_S = 86_400
RULES = {
    "2m": "1m",
    "3m": "1m",
    "7m": "1m",
    "10m": "5m",
    "45m": "15m",
    "2h": "1h",
    "3h": "1h",
    "12h": "4h",
    "2d": "1d",
    "1w-mon": "1d",
    "1w-sun": "1h",
    "1M": "1d",
    "3M": "4h",
}


def period_start(rule: str, time_s: int) -> int:
    """Say in another way than the code under test where the period of a time begins."""
    moment = datetime.datetime.fromtimestamp(time_s, datetime.UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if rule.endswith("M"):
        months = int(rule[:-1])
        first = midnight.replace(month=(moment.month - 1) // months * months + 1, day=1)
        return int(first.timestamp())
    if "w-" in rule:
        day = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].index(rule.partition("-")[2])
        back = (moment.weekday() - day) % 7
        return int((midnight - datetime.timedelta(days=back)).timestamp())
    length = int(rule[:-1]) * {"m": 60, "h": 3600, "d": DAY_S}[rule[-1]]
    return time_s // length * length


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
async def test_candles_of_a_rule_equal_those_made_of_the_trades(rule: str) -> None:
    timeframe = RULES[rule]
    minutes = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}[timeframe]
    days = {1: 1, 5: 2, 15: 4, 60: 30, 240: 200, 1440: 200}[minutes]
    async with open_sandbox(seed=3, memory=True, settings=SandboxSettings(pair_count=60)) as it:
        truth = it.truth
        pair = min(truth.symbols(), key=truth.trade_count)
        if minutes < 60:  # a busier one, over a shorter time
            pair = sorted(truth.symbols(), key=truth.trade_count)[-5]
        end_s = it.clock.wall_ns() // 10**9 // DAY_S * DAY_S
        start_s = end_s - days * DAY_S
        base = truth.candles(pair, minutes, start_s, end_s, filled=True)
        trades = truth.trades(pair, start_s * 10**9, end_s * 10**9)
    bars = [
        OHLCBar(
            c.time,
            *(float(price) for price in (c.open, c.high, c.low, c.close)),
            None if c.vwap is None else float(c.vwap),
            float(c.volume),
            c.count,
        )
        for c in base
    ]
    most = max(bar.volume for bar in bars)
    wanted: dict[int, list[tuple[Decimal, Decimal]]] = {}
    for trade in trades:
        wanted.setdefault(period_start(rule, trade.time_ns // 10**9), []).append(
            (trade.price, trade.volume)
        )
    made = resample(bars, timeframe, rule, on_gap="join")  # type: ignore[call-overload]
    assert len(made) > 1
    seen = set()
    for bar in made:
        assert bar.time == period_start(rule, bar.time)
        told = wanted.get(bar.time, [])
        assert bar.count == len(told)
        if not told:
            assert (bar.volume, bar.vwap) == (0.0, None)
            assert bar.open == bar.high == bar.low == bar.close
            continue
        seen.add(bar.time)
        prices = [price for price, _ in told]
        assert (bar.open, bar.close) == (float(prices[0]), float(prices[-1]))
        assert (bar.high, bar.low) == (float(max(prices)), float(min(prices)))
        volume = sum(amount for _, amount in told)
        if most < 2**53 / 1e8:  # beyond, a double has not got eight decimals
            assert bar.volume == float(volume)
        assert math.isclose(bar.volume, volume, rel_tol=1e-15)
        vwap = sum(price * amount for price, amount in told) / volume
        assert bar.vwap == pytest.approx(float(vwap), rel=1e-4)  # of prices cut to their digits
        assert bar.low <= bar.vwap <= bar.high
    assert seen == set(wanted)


def minute(number: int, count: int = 1) -> OHLCBar:
    price = 100.0 + number
    return OHLCBar(number * 60, price, price + 1, price - 1, price, price, count / 8, count)


def test_a_candle_that_lacks_some_of_its_own_is_left_out_raised_or_made_of_the_others() -> None:
    bars = [minute(number) for number in range(1, 11) if number != 5]
    assert [bar.time for bar in resample(bars, "1m", "3m")] == [360]
    every = resample(bars, "1m", "3m", on_gap="join")
    assert [bar.time for bar in every] == [0, 180, 360, 540]
    assert [bar.count for bar in every] == [2, 2, 3, 2]
    with pytest.raises(krakked.MissingBarsError, match="00:03") as caught:
        resample(bars, "1m", "3m", on_gap="raise")
    assert (caught.value.start_s, caught.value.end_s) == (180, 360)
    whole = [minute(number) for number in range(1, 13)]  # the edges are no holes
    assert [bar.time for bar in resample(whole, "1m", "3m", on_gap="raise")] == [180, 360, 540]
    apart = [*(minute(number) for number in range(3)), *(minute(number) for number in range(9, 12))]
    with pytest.raises(krakked.MissingBarsError) as caught:
        resample(apart, "1m", "3m", on_gap="raise")
    assert (caught.value.start_s, caught.value.end_s) == (180, 540)
    with pytest.raises(krakked.ConfigError, match="oldest first"):
        resample(whole[::-1], "1m", "3m")


def test_a_table_gives_a_table_with_the_weakest_of_its_sources() -> None:
    tables = [
        table_of_bars([minute(number)], source)
        for number, source in enumerate((Source.REST, Source.WEBSOCKET, Source.REST))
    ]
    made = resample(pa.concat_tables(tables), "1m", "3m")
    assert isinstance(made, pa.Table)
    assert made.column("source").to_pylist() == [int(Source.WEBSOCKET)]
    assert resample(made.slice(0, 0), "1m", "3m").num_rows == 0
    assert resample([], "1m", "3m") == []


def test_a_vwap_that_one_lacks_is_none() -> None:
    bars = [minute(0), OHLCBar(60, 1.0, 2.0, 1.0, 2.0, None, 3.0, 4), minute(2)]
    assert resample(bars, "1m", "3m")[0].vwap is None


@given(st.lists(st.integers(0, 10**13), min_size=3, max_size=30))
def test_volumes_are_added_without_an_error_of_their_own(lots: list[int]) -> None:
    lots = lots[: len(lots) // 3 * 3]
    bars = [
        OHLCBar(i * 60, 1.0, 1.0, 1.0, 1.0, 1.0, float(Decimal(lot).scaleb(-8)), 1)
        for i, lot in enumerate(lots)
    ]
    for i, bar in enumerate(resample(bars, "1m", "3m")):
        exact = float(Decimal(sum(lots[i * 3 : i * 3 + 3])).scaleb(-8))
        assert bar.volume == exact or math.isclose(bar.volume, exact, rel_tol=1e-15)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("1w", "1w-mon"),
        ("2w-mon", "one week"),
        ("5M", "months that a year"),
        ("0m", "expected such as"),
        ("01h", "expected such as"),
        ("1H", "expected such as"),
        ("", "expected such as"),
        ("\uff11m", "expected such as"),
        ("1m\n", "expected such as"),
        ("1w-MON", "expected such as"),
        (5, "expected such as"),
        (None, "expected such as"),
        ("90000000m", "expected such as"),
    ],
)
def test_what_is_no_rule(rule: object, why: str) -> None:
    with pytest.raises(krakked.ConfigError, match=why) as caught:
        resample([minute(0)], "1m", rule)  # type: ignore[call-overload]
    assert caught.value.key == "rule"


def test_candles_that_do_not_fit_together() -> None:
    for timeframe, rule in (("5m", "7m"), ("1h", "90m"), ("1w", "1M"), ("4h", "6h")):
        with pytest.raises(krakked.ConfigError, match="not made of whole ones") as caught:
            resample([minute(0)], timeframe, rule)  # type: ignore[call-overload]
        assert caught.value.key == "timeframe"
    with pytest.raises(krakked.UnknownTimeframeError):
        resample([minute(0)], "2m", "4m")  # type: ignore[call-overload]
    for bars in (5, "bars", [1], {"time": [1]}, pa.table({"time": [1]})):
        with pytest.raises(krakked.ConfigError) as caught:
            resample(bars, "1m", "3m")
        assert caught.value.key == "bars"


def test_the_fewest_candles_that_a_rule_is_made_of() -> None:
    rules = ("2m", "10m", "45m", "2h", "12h", "36h", "2d", "1w-mon", "1M", "12M", "1m")
    found = [fitting(parse_rule(rule))[0] for rule in rules]
    assert found == ["1m", "5m", "15m", "1h", "4h", "4h", "1d", "1d", "1d", "1d", "1m"]


async def test_the_newest_candles_of_a_pair(tmp_path, autojump_clock) -> None:
    async with (
        open_sandbox(seed=3, memory=True, settings=SandboxSettings(pair_count=60)) as exchange,
        krakked.open_kraken(
            exchange.config(tmp_path), network=exchange.network, clock=exchange.clock, live=False
        ) as kraken,
    ):
        hours = await kraken.get_ohlc("XBTUSD", "1h", 700)
        got = await kraken.resample("BTC/USD", "2h", 10)
        assert got == resample(hours, "1h", "2h")[-10:]
        assert len(got) == 10
        now_s = exchange.clock.wall_ns() // 10**9
        assert got[-1].time + 7200 <= now_s
        assert got[-1].time + 2 * 7200 > now_s - 3600
        joined = await kraken.resample("XBTUSD", "2h", 10, on_gap="join")
        assert joined == got, "the running one is never among them"
        table = await kraken.resample("XBTUSD", "12h", 3, as_="arrow")
        assert table.num_rows == 3
        with pytest.raises(krakked.ConfigError):
            await kraken.resample("XBTUSD", "2x", 3)
        with pytest.raises(krakked.ConfigError):
            await kraken.resample("XBTUSD", "90m", 3, timeframe="1h")
