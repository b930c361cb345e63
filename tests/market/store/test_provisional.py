"""Candles that may lack trades: stored, but given only when asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from krakked._errors import StoreError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store.ohlc_store import OHLCStore

Make = Callable[..., list[OHLCBar]]


def test_a_candle_at_the_edge_of_a_file_is_given_only_when_asked_for(
    tmp_path: Path, make_bars: Make
) -> None:
    store = OHLCStore(tmp_path)
    bars = make_bars(3)
    store.append_bars("XBTUSD", "1m", bars[:2], source=Source.ARCHIVE)
    store.append_bars("XBTUSD", "1m", bars[2:], source=Source.PARTIAL)
    assert store.get_bars("XBTUSD", "1m") == bars[:2]
    assert store.get_bars("XBTUSD", "1m", lookback=1) == bars[1:2]
    assert store.get_bars("XBTUSD", "1m", provisional=True) == bars
    # Whatever anybody else says of it is better, and it never comes back.
    stream = msgspec.structs.replace(bars[2], close=bars[2].high)
    store.append_bars("XBTUSD", "1m", [stream], source=Source.WEBSOCKET)
    store.append_bars("XBTUSD", "1m", bars[2:], source=Source.PARTIAL)
    assert store.get_bars("XBTUSD", "1m", provisional=True) == [*bars[:2], stream]
    with pytest.raises(StoreError, match="whole"):
        store.append_bars("XBTUSD", "1m", bars, source=Source.PARTIAL, covered=(bars[0].time,) * 2)
