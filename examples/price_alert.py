"""Say when a price crosses a line: `python price_alert.py XBTUSD 65000`.

Prices come from the live stream. A price that is stale, or comes late, crosses nothing; silence is
told, too.
"""

from __future__ import annotations

import argparse

import trio

import krakked

SILENCE_S = 60.0


async def alert(pair: str, line: float) -> None:
    above: bool | None = None
    async with krakked.open_kraken(pairs=[pair]) as kraken:
        await kraken.wait_live(timeout_s=60)
        changes = kraken.changes([pair], kinds=["ticker"], snapshot=True)
        while True:
            with trio.move_on_after(SILENCE_S):  # nothing comes while nobody trades or quotes
                await anext(changes)
            try:
                price = kraken.get_latest_price(pair).price
            except krakked.DataStaleError as error:
                print(f"no fresh price: {error}")
                continue
            if above is None:
                print(f"{pair} is at {price:g}, waiting for {line:g}")
            elif above != (price >= line):
                print(f"{pair} is {'above' if price >= line else 'below'} {line:g}: {price:g}")
            above = price >= line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pair")
    parser.add_argument("line", type=float)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    arguments = parser.parse_args()

    async def limited() -> None:
        with trio.move_on_after(arguments.seconds):
            await alert(arguments.pair, arguments.line)

    trio.run(limited)


if __name__ == "__main__":
    main()
