"""The signal bot for asyncio: `python signal_bot_asyncio.py XBTUSD`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from averages import Averages

import krakked
import krakked.aio

LONG = 20


async def watch(pair: str, timeframe: krakked.Timeframe) -> None:
    averages = Averages(long=LONG)
    async with krakked.aio.open_kraken(pairs=[pair]) as kraken:
        if timeframe not in kraken.feed.timeframes:
            kraken.feed.add_timeframe(timeframe)
        await kraken.wait_live(timeout_s=60)
        changes = kraken.changes([pair], kinds=["candle_closed"], timeframes=[timeframe])
        bars = await kraken.get_ohlc(pair, timeframe, LONG)
        averages.restart([bar.close for bar in bars])
        newest = bars[-1].time if bars else 0
        print(f"{pair} {timeframe}: {len(bars)} candles, listening")
        async for change in changes:
            if isinstance(change, krakked.CandleClosed) and change.bar.time > newest:
                newest = change.bar.time
                signal = averages.closed(change.bar.close)
                print(f"{pair} {newest} closed at {change.bar.close:g} {signal or ''}".rstrip())
            elif isinstance(change, krakked.CandleCorrected):
                bars = await kraken.get_ohlc(pair, timeframe, LONG)
                averages.restart([bar.close for bar in bars])
                newest = max([newest, *(bar.time for bar in bars)])


async def limited(pair: str, timeframe: krakked.Timeframe, seconds: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await watch(pair, timeframe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pair")
    parser.add_argument("--timeframe", default="1m")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    arguments = parser.parse_args()
    asyncio.run(limited(arguments.pair, arguments.timeframe, arguments.seconds))


if __name__ == "__main__":
    main()
