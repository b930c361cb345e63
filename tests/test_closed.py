"""After the end of its block a client answers nothing any more: a typed error, at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

import krakked
from krakked.sandbox import SandboxSettings, open_sandbox

SMALL = SandboxSettings(pair_count=60)


def settings(directory: Path) -> krakked.KrakkedConfig:
    store = krakked.OHLCStoreSettings(root_dir=str(directory / "ohlc"))
    return krakked.KrakkedConfig(market_data=krakked.MarketDataSettings(ohlc_store=store))


Call = Callable[[krakked.Kraken], object]

CALLS: dict[str, Call] = {
    "get_latest_price": lambda k: k.get_latest_price("XBTUSD"),
    "get_best_bid_ask": lambda k: k.get_best_bid_ask("XBTUSD"),
    "get_live_ohlc": lambda k: k.get_live_ohlc("XBTUSD", "1m"),
    "an unknown pair": lambda k: k.get_latest_price("XBTUDS"),
    "get_universe": lambda k: k.get_universe(),
    "universe": lambda k: k.universe,
    "get_pair_metadata": lambda k: k.get_pair_metadata("XBTUSD"),
    "get_data_status": lambda k: k.get_data_status(),
    "changes": lambda k: k.changes(),
    "feed": lambda k: k.feed,
    "wait_live": lambda k: k.wait_live(),
    "refresh_universe": lambda k: k.refresh_universe(),
    "get_ohlc": lambda k: k.get_ohlc("XBTUSD", "1m", 5),
    "get_ohlc from the store": lambda k: k.get_ohlc("XBTUSD", "1m", 5, refresh=False),
    "get_ohlc_since": lambda k: k.get_ohlc_since("XBTUSD", "1m", 0),
    "backfill_ohlc": lambda k: k.backfill_ohlc("XBTUSD", "1m"),
    "plan_backfill": lambda k: k.plan_backfill("XBTUSD", "1m"),
    "gaps": lambda k: k.gaps("XBTUSD", "1m"),
    "repair": lambda k: k.repair("XBTUSD", "1m"),
    "rest.public": lambda k: k.rest.public("Time"),
    "rest.private": lambda k: k.rest.private("Balance"),
    "rest.time": lambda k: k.rest.time(),
}
"""Every way of asking a client something."""

FEED_CALLS: dict[str, Callable[[object], object]] = {
    "add_pairs": lambda f: f.add_pairs(["ETHUSD"]),  # type: ignore[attr-defined]
    "remove_pairs": lambda f: f.remove_pairs(["XBTUSD"]),  # type: ignore[attr-defined]
    "set_pairs": lambda f: f.set_pairs([]),  # type: ignore[attr-defined]
    "add_timeframe": lambda f: f.add_timeframe("5m"),  # type: ignore[attr-defined]
    "remove_timeframe": lambda f: f.remove_timeframe("1m"),  # type: ignore[attr-defined]
}
"""Every way of telling the stream something, by somebody who kept it."""


async def told(call: Callable[[], object]) -> BaseException | None:
    """Give what a call raises, awaited when it wants to be."""
    try:
        answer = call()
        if isinstance(answer, Awaitable):
            await answer
    except BaseException as error:
        return error
    return None


async def test_every_call_after_the_end_is_a_closed_error(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_sandbox(seed=3, memory=True, settings=SMALL) as exchange:
        signer = krakked.Signer(exchange.secret)
        async with krakked.open_kraken(
            settings(tmp_path),
            krakked.Credentials(exchange.key, signer, source="test"),
            pairs=["XBTUSD"],
            network=exchange.network,
            clock=exchange.clock,
        ) as kraken:
            await kraken.wait_live(timeout_s=60)
            await kraken.get_ohlc("XBTUSD", "1m", 5)
            feed = kraken.feed
        calls, now = dict(exchange.rest_calls), trio.current_time()
        for name, call in CALLS.items():
            error = await told(lambda call=call: call(kraken))  # type: ignore[misc]
            assert type(error).__name__ == "ClosedError", (name, error)
            assert "open another" in str(error)
        for name, tell in FEED_CALLS.items():
            error = await told(lambda tell=tell: tell(feed))  # type: ignore[misc]
            assert type(error).__name__ == "ClosedError", (name, error)
        assert [change async for change in kraken._feed.changes()] == []
        assert (exchange.rest_calls, trio.current_time()) == (calls, now)  # nothing sent or awaited
        assert "closed" in repr(kraken)


async def test_without_a_stream_too(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_sandbox(seed=3, memory=True, settings=SMALL) as exchange:
        async with krakked.open_kraken(
            settings(tmp_path), live=False, network=exchange.network, clock=exchange.clock
        ) as kraken:
            assert kraken.get_universe()
        for name, call in CALLS.items():
            error = await told(lambda call=call: call(kraken))  # type: ignore[misc]
            assert type(error).__name__ == "ClosedError", (name, error)


async def test_an_error_inside_closes_as_well(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_sandbox(seed=3, memory=True, settings=SMALL) as exchange:
        with pytest.raises(ZeroDivisionError):
            async with krakked.open_kraken(
                settings(tmp_path),
                live=False,
                network=exchange.network,
                clock=exchange.clock,
            ) as kraken:
                raise ZeroDivisionError
        with pytest.raises(krakked.ClosedError):
            kraken.get_universe()


async def test_who_waits_when_the_end_comes_is_told_at_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_sandbox(seed=3, memory=True, settings=SMALL) as exchange:
        exchange.faults.refuse_connects()  # the pair never gets live
        ended: list[BaseException | None] = []
        told_off = trio.Event()
        async with trio.open_nursery() as nursery:
            async with krakked.open_kraken(
                settings(tmp_path),
                pairs=["XBTUSD"],
                network=exchange.network,
                clock=exchange.clock,
            ) as kraken:

                async def wait() -> None:
                    ended.append(await told(lambda: kraken.wait_live(timeout_s=1000)))
                    told_off.set()

                nursery.start_soon(wait)
                await trio.sleep(5)
            with trio.fail_after(1):
                await told_off.wait()
        assert type(ended[0]) is krakked.ClosedError
