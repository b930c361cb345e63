"""The signal bot as a plain script, without async: `python signal_bot_plain.py XBTUSD`."""

from __future__ import annotations

import argparse
import time

from averages import Averages

import krakked
import krakked.blocking

LONG = 20


def watch(pair: str, timeframe: krakked.Timeframe, until_s: float) -> None:
    averages = Averages(long=LONG)
    with krakked.blocking.open_kraken(pairs=[pair]) as kraken:
        if timeframe not in kraken.feed.timeframes:
            kraken.feed.add_timeframe(timeframe)
        kraken.wait_live(timeout_s=60)
        kinds = ["candle_closed", "ticker"]  # prices only to look at the time between candles
        changes = kraken.changes([pair], kinds=kinds, timeframes=[timeframe])
        bars = kraken.get_ohlc(pair, timeframe, LONG)
        averages.restart([bar.close for bar in bars])
        newest = bars[-1].time if bars else 0
        print(f"{pair} {timeframe}: {len(bars)} candles, listening")
        for change in changes:
            if time.monotonic() > until_s:
                return
            if isinstance(change, krakked.CandleClosed) and change.bar.time > newest:
                newest = change.bar.time
                signal = averages.closed(change.bar.close)
                print(f"{pair} {newest} closed at {change.bar.close:g} {signal or ''}".rstrip())
            elif isinstance(change, krakked.CandleCorrected):
                bars = kraken.get_ohlc(pair, timeframe, LONG)
                averages.restart([bar.close for bar in bars])
                newest = max([newest, *(bar.time for bar in bars)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pair")
    parser.add_argument("--timeframe", default="1m")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    arguments = parser.parse_args()
    watch(arguments.pair, arguments.timeframe, time.monotonic() + arguments.seconds)


if __name__ == "__main__":
    main()
