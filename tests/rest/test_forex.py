"""Pairs of two national currencies, which may need `asset_class=forex`."""

from __future__ import annotations

import httpx
import pytest

from krakked._errors import RequestError
from krakked._rest.forex import forex_pairs

ROW = [1790000000, "1.1", "1.2", "1.0", "1.1", "1.1", "5", 3]


def wants_class(request: httpx.Request) -> object:
    """Answer as users saw it: a forex pair without `asset_class` is refused."""
    params = request.url.params
    forex = params.get("pair", "") in {"EURUSD", "ZEURZUSD", "ZGBPZUSD"}
    if forex != (params.get("asset_class") == "forex") or params.get("interval") == "7":
        return "EGeneral:Invalid arguments"
    if request.url.path.endswith("OHLC"):
        return {"error": [], "result": {"ZEURZUSD": [ROW], "last": 1790000000}}
    return {"error": [], "result": {"ZEURZUSD": [], "last": "0"}}


def classes(server) -> list[str | None]:
    return [request.url.params.get("asset_class") for request in server.requests]


async def test_a_refused_forex_pair_is_asked_for_once_more_and_remembered(
    autojump_clock, server, open_client
) -> None:
    server.answer = wants_class
    async with open_client() as client:
        assert (await client.ohlc("ZEURZUSD", 60)).rows[0].open == "1.1"
        assert classes(server) == [None, "forex"]
        await client.ohlc("ZEURZUSD", 1)
        await client.trades("ZEURZUSD", 0)
        assert classes(server) == [None, "forex", "forex", "forex"]
        await client.trades_bytes("ZGBPZUSD", 0)  # another pair is asked anew
        assert classes(server)[4:] == [None, "forex"]
        await client.ohlc("XBTUSD", 60)
        assert classes(server)[6:] == [None]
        await client.public("Depth", {"pair": "EURUSD"})
        await client.public_bytes("Spread", {"pair": "EURUSD"})
        assert classes(server)[7:] == [None, "forex", "forex"]
    async with open_client() as another:
        await another.ohlc("ZEURZUSD", 60)
    assert classes(server)[10:] == [None, "forex"]


async def test_what_does_not_help_is_not_remembered(autojump_clock, server, open_client) -> None:
    server.answer = wants_class
    async with open_client() as client:
        for _ in range(2):
            with pytest.raises(RequestError, match="Invalid arguments"):
                await client.ohlc("EURUSD", 7)
    assert classes(server) == [None, "forex"] * 2


@pytest.mark.parametrize(
    ("pair", "code"),
    [("XBTUSD", "EGeneral:Invalid arguments"), ("EURUSD", "EQuery:Unknown asset pair")],
)
async def test_other_refusals_are_final(autojump_clock, server, open_client, pair, code) -> None:
    server.answer = lambda _: code
    async with open_client() as client:
        with pytest.raises(RequestError):
            await client.ohlc(pair, 60)
    assert classes(server) == [None]


async def test_a_class_that_was_given_is_left_alone(autojump_clock, server, open_client) -> None:
    server.answer = lambda _: "EGeneral:Invalid arguments"
    async with open_client() as client:
        with pytest.raises(RequestError):
            await client.public("OHLC", {"pair": "EURUSD", "asset_class": "tokenized_asset"})
    assert classes(server) == ["tokenized_asset"]


@pytest.mark.parametrize(
    "pair",
    ["EURUSD", "ZEURZUSD", "EUR/USD", "ZGBPZUSD", "AUDUSD", "USDCHF", "ZUSDZJPY", "ZUSDZCAD"],
)
def test_forex_pairs(pair) -> None:
    for endpoint in ("OHLC", "Trades", "Ticker", "Depth", "Spread"):
        assert forex_pairs(endpoint, {"pair": pair}) == {pair}
    assert forex_pairs("AssetPairs", {"pair": pair}) == set()
    assert forex_pairs("Ticker", {"pair": f"{pair}, EURGBP"}) == {pair, "EURGBP"}
    assert forex_pairs("Ticker", {"pair": [pair, "XBTUSD"]}) == set()


@pytest.mark.parametrize(
    "pair", ["XBTUSD", "EURTUSD", "EURCUSD", "EURQUSD", "USDTUSD", "USDCUSD", "AUSDUSD", "XBTEUR",
             "XXBTZUSD", "EURUSDX", "XEURUSD", "eurusd", "", "USD", "EUR//USD", "AEURUSD"]
)  # fmt: skip
def test_pairs_that_are_none(pair) -> None:
    assert forex_pairs("OHLC", {"pair": pair}) == set()
    assert forex_pairs("OHLC", None) == set()
    assert forex_pairs("OHLC", {}) == set()
    assert forex_pairs("OHLC", {"pair": None}) == set()
