"""An answer about another pair, through the whole client: nothing of it is stored or handed out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import krakked
from krakked._errors import ServiceError
from krakked._rest.client import RestClient
from krakked._rest.endpoints import Answer
from krakked.sandbox import SandboxSettings, open_sandbox


async def test_an_answer_about_another_listed_pair_is_refused(
    autojump_clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RestClient._fetch_public

    async def mistaken(
        self: RestClient, endpoint: str, params: Mapping[str, Any] | None = None
    ) -> Answer:
        if params and params.get("pair") == "XBTUSD":
            params = {**params, "pair": "ETHUSD"}
        return await real(self, endpoint, params)

    config = krakked.KrakkedConfig(
        config_dir=str(tmp_path / "config"),
        state_dir=str(tmp_path / "state"),
        market_data=krakked.MarketDataSettings(
            ohlc_store=krakked.OHLCStoreSettings(root_dir=str(tmp_path / "ohlc"))
        ),
    )
    async with (
        open_sandbox(memory=True, settings=SandboxSettings(pair_count=4)) as exchange,
        krakked.open_kraken(
            config, live=False, network=exchange.network, clock=exchange.clock
        ) as kraken,
    ):
        monkeypatch.setattr(RestClient, "_fetch_public", mistaken)
        with pytest.raises(ServiceError, match="asked for XBTUSD, it is about ETHUSD"):
            await kraken.get_ohlc("XBTUSD", "1h", 5)
        with pytest.raises(ServiceError, match="asked for XBTUSD, it is about ETHUSD"):
            await kraken.backfill_ohlc("XBTUSD", "1h", since=0, allow_long=True)
        assert kraken.store.series() == []
        assert len(await kraken.get_ohlc("ETHUSD", "1h", 5)) == 5
