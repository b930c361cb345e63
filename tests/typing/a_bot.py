"""Not run, only type-checked: what an editor and a type checker know of a user's program."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_type

import krakked
from krakked import aio, blocking, sandbox


async def live_reads(kraken: krakked.Kraken, exact: bool) -> None:
    quote = kraken.get_best_bid_ask("XBTUSD")
    assert_type(quote, krakked.BestBidAsk[float])
    assert_type((quote.bid + quote.ask) / 2, float)
    exact_quote = kraken.get_best_bid_ask("XBTUSD", exact=True)
    assert_type(exact_quote, krakked.BestBidAsk[Decimal])
    assert_type((exact_quote.bid + exact_quote.ask) / 2, Decimal)
    either = kraken.get_best_bid_ask("XBTUSD", exact=exact)
    assert_type(either, krakked.BestBidAsk[float] | krakked.BestBidAsk[Decimal])
    assert_type(kraken.get_latest_price("XBTUSD").price, float)
    assert_type(kraken.get_latest_price("XBTUSD", exact=True).price, Decimal)
    candle = kraken.get_live_ohlc("XBTUSD", "1m")
    assert_type(candle.vwap, float | None)
    assert_type(candle.closed, bool)
    assert_type(kraken.get_live_ohlc("XBTUSD", "1m", exact=True).high, Decimal)


async def closed_candles(kraken: krakked.Kraken) -> None:
    bars = await kraken.get_ohlc("XBTUSD", "1h", 24)
    assert_type(bars, list[krakked.OHLCBar])
    assert_type(bars[0].close, float)
    assert_type(await kraken.get_ohlc_since("XBTUSD", "1h", 0), list[krakked.OHLCBar])
    arrays = await kraken.get_ohlc("XBTUSD", "1h", 24, as_="numpy")
    assert_type(float(arrays["close"][-1]), float)
    report = await kraken.backfill_ohlc("XBTUSD", "1h")
    assert_type(report, krakked.BackfillReport)
    assert_type(await kraken.gaps("XBTUSD", "1h"), list[krakked.Gap])


async def events(kraken: krakked.Kraken) -> None:
    async for change in kraken.changes(["XBTUSD"], ["ticker", "candle_closed"]):
        match change:
            case krakked.TickerChange(bid=bid):
                assert_type(bid, float | None)
            case krakked.CandleClosed(bar=bar):
                assert_type(bar, krakked.OHLCBar)
            case _:
                pass


async def wiring() -> None:
    async with (
        sandbox.open_sandbox(seed=1, memory=True) as exchange,
        krakked.open_kraken(
            exchange.config("/nowhere"), network=exchange.network, clock=exchange.clock
        ) as kraken,
    ):
        assert_type(kraken, krakked.Kraken)
        assert_type(kraken.feed, krakked.LiveFeed)
        assert_type(kraken.get_data_status(), krakked.DataStatus)
        assert_type(kraken.get_universe(), list[str])
    assert_type(krakked.__version__, str)


def timeframes(kraken: krakked.Kraken, name: str) -> None:
    kraken.feed.add_timeframe("15m")
    kraken.feed.add_timeframe("7m")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraken.get_live_ohlc("XBTUSD", name)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


async def calls(kraken: krakked.Kraken) -> None:
    assert_type(await kraken.rest.public("Depth", {"pair": "XBTUSD"}), krakked.JsonValue)
    assert_type(await kraken.rest.private("Balance", reply=dict[str, str]), dict[str, str])
    assert_type(await kraken.rest.balance(), dict[str, str])
    assert_type((await kraken.rest.time()).unixtime, int)


def plainly() -> None:
    with blocking.open_kraken(pairs=["XBTUSD"]) as kraken:
        assert_type(kraken, blocking.Kraken)
        quote = kraken.get_best_bid_ask("XBTUSD")
        assert_type((quote.bid + quote.ask) / 2, float)
        assert_type(kraken.get_ohlc("XBTUSD", "1h", 24), list[krakked.OHLCBar])
        assert_type(kraken.rest.private("Balance", reply=dict[str, str]), dict[str, str])
        assert_type(kraken.rest.time().unixtime, int)
        for change in kraken.changes():
            if isinstance(change, krakked.CandleClosed):
                assert_type(change.bar.close, float)


async def under_asyncio() -> None:
    async with aio.open_kraken(pairs=["XBTUSD"]) as kraken:
        assert_type(kraken, aio.Kraken)
        assert_type(kraken.get_latest_price("XBTUSD", exact=True).price, Decimal)
        assert_type(await kraken.get_ohlc("XBTUSD", "1h", 24), list[krakked.OHLCBar])
        assert_type(await kraken.rest.balance(), dict[str, str])
        async for change in kraken.changes(kinds=["ticker"]):
            if isinstance(change, krakked.TickerChange):
                assert_type(change.bid, float | None)
