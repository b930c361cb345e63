"""What a sandbox can be told before it opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from krakked.sandbox import SandboxSettings, open_sandbox


async def test_start_and_speed_of_time(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    settings = SandboxSettings(start_s=1_700_000_000, real_time_factor=60)
    async with (
        open_sandbox(memory=True, settings=settings) as exchange,
        open_rest(exchange) as rest,
    ):
        await trio.sleep(10)
        assert (await rest.result("Time"))["unixtime"] == 1_700_000_600


async def test_fewer_pairs(
    autojump_clock: MockClock, open_rest: Callable[..., Any], open_ws: Callable[..., Any]
) -> None:
    settings = SandboxSettings(pair_count=5)
    async with (
        open_sandbox(memory=True, settings=settings) as exchange,
        open_rest(exchange) as rest,
        open_ws(exchange) as ws,
    ):
        pairs = await rest.result("AssetPairs")
        assert len(pairs) == 5
        assert list(await rest.result("Ticker")) == list(pairs)
        assert await rest.errors("OHLC", pair="ADAEUR") == ["EQuery:Unknown asset pair"]
        await ws.subscribe("ticker", ["ADA/EUR"])
        answer = await ws.until(lambda frame: frame.get("method") == "subscribe")
        assert answer["error"] == "Currency pair not supported ADA/EUR"


async def test_activity_changes_the_number_of_trades_but_not_the_volume(
    autojump_clock: MockClock,
) -> None:
    figures = []
    for activity in (1.0, 0.2):
        settings = SandboxSettings(activity=activity)
        async with open_sandbox(memory=True, settings=settings) as exchange:
            figures.append(exchange.truth.ticker("XBTUSD"))
    assert figures[1].count_24h == pytest.approx(figures[0].count_24h / 5, rel=0.1)
    assert float(figures[1].volume_24h) == pytest.approx(float(figures[0].volume_24h), rel=0.1)


async def test_frozen_quotes(autojump_clock: MockClock, open_ws: Callable[..., Any]) -> None:
    settings = SandboxSettings(quote_activity=0)
    async with open_sandbox(memory=True, settings=settings) as exchange, open_ws(exchange) as ws:
        await ws.subscribe("ticker", ["BTC/USD"], event_trigger="bbo")
        frames = await ws.collect(60)
        updates = [f["data"][0] for f in frames if f.get("type") == "update" and "data" in f]
        assert len({row["bid"] for row in updates if "bid" in row}) == 1
