"""The exchange's own list of symbols reaches whoever keeps the pairs, when it corrects a name."""

from __future__ import annotations

from collections.abc import Collection

from krakked._config.settings import WebSocketSettings
from krakked._market.pairs import PairMetadata, PairTable
from krakked._market.stream.feed import Feed
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork

XBT = PairMetadata(
    canonical="XBTUSD",
    base="XBT",
    quote="USD",
    rest_symbol="XBTUSD",
    ws_symbol="BTC/USD",
    wsname="XBT/USD",
    raw_name="XXBTZUSD",
    price_decimals=1,
    volume_decimals=8,
    lot_size=1.0,
    status="online",
)


def told_after(list_of_symbols: str) -> list[set[str]]:
    told: list[Collection[str]] = []
    table = PairTable([XBT])
    feed = Feed(
        WebSocketSettings(),
        network=SystemNetwork(),
        clock=SystemClock(),
        table=lambda: table,
        pairs=["XBTUSD"],
        on_symbols=told.append,
    )
    feed._reference(list_of_symbols)
    return [set(symbols) for symbols in told]


def test_a_list_that_agrees_is_not_told() -> None:
    assert told_after('{"pairs":[{"symbol":"BTC/USD","status":"online"}]}') == []


def test_a_list_that_corrects_a_symbol_is_told() -> None:
    assert told_after('{"pairs":[{"symbol":"XBT/USD","status":"online"}]}') == [{"XBT/USD"}]
