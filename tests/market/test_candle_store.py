"""`open_kraken(store=...)` takes any `CandleStore`: here one in memory, beside the one on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from tests.market.memory_store import MemoryStore

import krakked
from krakked._market.store.arrow import bars_of_table
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

SMALL = SandboxSettings(pair_count=60, trade_rates={"XBTUSD": 0.02})


async def walk(exchange: Exchange, config: krakked.KrakkedConfig, store: object) -> list[object]:
    """What a user does with candles, and what comes back; live ones included."""
    told: list[object] = []
    async with krakked.open_kraken(
        config,
        pairs=["XBTUSD"],
        network=exchange.network,
        clock=exchange.clock,
        store=store,  # type: ignore[arg-type]
    ) as kraken:
        await kraken.wait_live(timeout_s=60)
        told.append(await kraken.get_ohlc("XBTUSD", "1m", 50))
        since = told[0][0].time - 3 * 86_400  # type: ignore[index]
        report = await kraken.backfill_ohlc("XBTUSD", "1h", since)
        told += [report.bars, report.covered, report.missing]
        told.append(await kraken.get_ohlc_since("XBTUSD", "1h", since))
        told.append(await kraken.gaps("XBTUSD", "1h", since))
        await trio.sleep(150)
        live = kraken.store.get_columns("XBTUSD", "1m", lookback=2, provisional=True)
        told.append(bars_of_table(live))
        told.append(await kraken.get_ohlc("XBTUSD", "1m", 5))
    return told


async def test_a_store_in_memory_gives_what_the_one_on_disk_gives(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    answers = []
    for store in (None, MemoryStore()):
        async with open_sandbox(seed=5, memory=True, settings=SMALL) as exchange:
            home = tmp_path / type(store).__name__
            answers.append(await walk(exchange, exchange.config(home), store))
            assert (home / "ohlc" / "bars").exists() is (store is None)
        autojump_clock.jump(86_400 - trio.current_time() % 86_400)
    disk, memory = answers
    assert disk[0]
    assert len(memory[0]) == len(disk[0]) == 50  # type: ignore[arg-type]
    assert memory[1:4]
    assert memory[4]
    assert memory[7]


async def test_a_store_that_is_given_is_left_open(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_sandbox(seed=5, memory=True, settings=SMALL) as exchange:
        with krakked.OHLCStore(tmp_path / "mine") as store:
            async with krakked.open_kraken(
                exchange.config(tmp_path / "home"),
                live=False,
                network=exchange.network,
                clock=exchange.clock,
                store=store,
            ) as kraken:
                assert kraken.store is store
                bars = await kraken.get_ohlc("XBTUSD", "1h", 3)
            assert store.get_bars("XBTUSD", "1h", lookback=3) == bars
        assert not (tmp_path / "home" / "ohlc").exists()


async def test_an_archive_wants_the_store_on_disk(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        open_sandbox(seed=5, memory=True, settings=SMALL) as exchange,
        krakked.open_kraken(
            exchange.config(tmp_path),
            live=False,
            network=exchange.network,
            clock=exchange.clock,
            store=MemoryStore(),  # type: ignore[arg-type]
        ) as kraken,
    ):
        with pytest.raises(krakked.StoreError, match="OHLCStore"):
            await kraken.backfill_ohlc("XBTUSD", "1h", archive=tmp_path)
