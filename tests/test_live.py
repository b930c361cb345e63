"""The contract's optional checks against the real Kraken: KRAKKED_LIVE=1 pytest -m live."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import trio

import krakked

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        os.environ.get("KRAKKED_LIVE") != "1", reason="set KRAKKED_LIVE=1 to talk to real Kraken"
    ),
]


def settings(tmp_path: Path) -> krakked.KrakkedConfig:
    return krakked.KrakkedConfig(
        config_dir=str(tmp_path),
        universe=krakked.UniverseSettings(margin_eligible=krakked.MarginEligible.INCLUDE),
        market_data=krakked.MarketDataSettings(
            ws=krakked.WebSocketSettings(timeframes=("1m",)),
            ohlc_store=krakked.OHLCStoreSettings(root_dir=str(tmp_path / "ohlc")),
        ),
    )


async def test_universe_against_real_asset_pairs(tmp_path: Path) -> None:
    async with krakked.open_kraken(settings(tmp_path), live=False) as kraken:
        names = kraken.get_universe()
        assert {"XBTUSD", "ETHUSD", "SOLUSD"} <= set(names)
        assert len(names) > 300
        assert kraken.get_pair_metadata("XBTUSD").ws_symbol == "BTC/USD"


async def test_ohlc_against_the_real_endpoint(tmp_path: Path) -> None:
    async with krakked.open_kraken(settings(tmp_path), live=False) as kraken:
        bars = await kraken.get_ohlc("XBTUSD", "1h", 100)
        assert len(bars) == 100
        assert [b.time for b in bars] == sorted({b.time for b in bars})
        assert bars[-1].time + 3600 <= time.time() + 5


async def test_stream_against_the_real_websocket(tmp_path: Path) -> None:
    async with krakked.open_kraken(settings(tmp_path), pairs=["XBTUSD", "ETHUSD"]) as kraken:
        await kraken.wait_live(timeout_s=30)
        await trio.sleep(2)
        quote = kraken.get_best_bid_ask("XBTUSD")
        assert 0 < quote.bid < quote.ask
        assert kraken.get_data_status().ws_connected
