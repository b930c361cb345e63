"""Keep closed candles on disk for as long as it runs: `python recorder.py XBTUSD ETHUSD`.

The stream's candles go into the store by themselves. What matters beside that is what the stream
cannot know: the newest 720 candles of before, and those of an outage, which REST confirms.
"""

from __future__ import annotations

import argparse

import trio

import krakked

EVERY_S = 3600.0


async def confirm(kraken: krakked.Kraken, pair: str, timeframe: krakked.Timeframe) -> None:
    try:
        report = await kraken.backfill_ohlc(pair, timeframe)
    except (krakked.NetworkError, krakked.ApiError) as error:
        print(f"{pair} {timeframe}: {error}")  # the next round asks for what is missing still
        return
    gaps = await kraken.gaps(pair, timeframe)
    missing = [gap for gap in gaps if gap.kind is krakked.GapKind.MISSING]
    print(f"{pair} {timeframe}: {report.bars} new or confirmed, {len(missing)} holes")


async def record(pairs: list[str], timeframes: list[krakked.Timeframe]) -> None:
    async with krakked.open_kraken(pairs=pairs) as kraken:
        for timeframe in timeframes:
            if timeframe not in kraken.feed.timeframes:
                kraken.feed.add_timeframe(timeframe)
        await kraken.wait_live(timeout_s=60)
        while True:
            for timeframe in timeframes:
                for pair in kraken.feed.pairs:
                    await confirm(kraken, pair, timeframe)
            status = kraken.get_data_status()
            print(f"{status.verdict}: {' '.join(status.reasons) or 'all well'}")
            await trio.sleep(EVERY_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="+")
    parser.add_argument("--timeframe", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    arguments = parser.parse_args()

    async def limited() -> None:
        with trio.move_on_after(arguments.seconds):
            await record(arguments.pairs, arguments.timeframe or ["1m", "1h"])

    trio.run(limited)


if __name__ == "__main__":
    main()
