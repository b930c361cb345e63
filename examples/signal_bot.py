"""Signals from closed candles, for trio: `python signal_bot.py XBTUSD --timeframe 1m`.

It prints a signal and places no order. Each closed candle comes once and in order, also over an
outage; a candle that turns out wrong afterwards comes as a correction, and the averages begin anew.
"""

from __future__ import annotations

import argparse
import contextlib
import signal

import trio
from averages import Averages

import krakked

LONG = 20


async def watch(pair: str, timeframe: krakked.Timeframe) -> None:
    averages = Averages(long=LONG)
    async with krakked.open_kraken(pairs=[pair]) as kraken:
        if timeframe not in kraken.feed.timeframes:
            kraken.feed.add_timeframe(timeframe)
        await kraken.wait_live(timeout_s=60)
        # Listen first, read the history then: what closes in between is in both, and told apart.
        changes = kraken.changes([pair], kinds=["candle_closed", "feed"], timeframes=[timeframe])
        bars = await kraken.get_ohlc(pair, timeframe, LONG)
        averages.restart([bar.close for bar in bars])
        newest = bars[-1].time if bars else 0
        print(f"{pair} {timeframe}: {len(bars)} candles, listening")
        async for change in changes:
            match change:
                case krakked.CandleClosed(bar=bar) if bar.time > newest:
                    newest = bar.time
                    signal = averages.closed(bar.close)
                    print(f"{pair} {bar.time} closed at {bar.close:g} {signal or ''}".rstrip())
                case krakked.CandleCorrected():
                    bars = await kraken.get_ohlc(pair, timeframe, LONG)
                    averages.restart([bar.close for bar in bars])
                    newest = max([newest, *(bar.time for bar in bars)])
                case krakked.Disconnected() | krakked.SubscriptionMute():
                    print(f"trouble: {change}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pair")
    parser.add_argument("--timeframe", default="1m")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    arguments = parser.parse_args()

    async def limited() -> None:
        with trio.move_on_after(arguments.seconds):
            await watch(arguments.pair, arguments.timeframe)

    # A container is asked to stop by SIGTERM: end as with Ctrl-C, and everything is closed tidily.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with contextlib.suppress(KeyboardInterrupt):
        trio.run(limited)


if __name__ == "__main__":
    main()
