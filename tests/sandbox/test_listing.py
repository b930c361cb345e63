"""The listing has the shape of the real one (counts of a public AssetPairs answer)."""

from __future__ import annotations

from collections import Counter

import pytest

from krakked._sandbox.listing import Directory
from krakked._sandbox.listing_rules import build_listing

LISTING = build_listing()
USD = [pair for pair in LISTING.pairs if pair.quote == "ZUSD"]
BY_ALTNAME = {pair.altname: pair for pair in LISTING.pairs}


def test_counts_of_the_usd_universe() -> None:
    assert len(LISTING.pairs) == 1434
    assert Counter(pair.status for pair in USD) == {
        "online": 592,
        "cancel_only": 20,
        "post_only": 2,
        "reduce_only": 1,
    }
    eligible = [pair for pair in USD if pair.margin_eligible]
    assert len(eligible) == 125
    assert sum(pair.status == "online" for pair in eligible) == 124
    assert sum(not pair.leverage_sell for pair in eligible) == 12
    levels = Counter(pair.leverage_buy for pair in USD)
    assert levels[()] == 490
    assert levels[2, 3] == 98
    assert levels[(2,)] == 11
    assert levels[2, 3, 4] == 6
    assert levels[tuple(range(2, 11))] == 10


def test_counts_of_all_pairs() -> None:
    quotes = Counter(pair.quote for pair in LISTING.pairs)
    assert quotes["ZEUR"] == 595
    assert (quotes["USDT"], quotes["USDC"], quotes["XXBT"]) == (43, 42, 31)
    assert (quotes["ZGBP"], quotes["XETH"], quotes["ZAUD"]) == (27, 19, 14)
    assert (quotes["ZCAD"], quotes["ZJPY"]) == (11, 10)
    statuses = Counter(pair.status for pair in LISTING.pairs)
    assert statuses == {"online": 1365, "cancel_only": 47, "post_only": 19, "reduce_only": 3}
    assert {pair.lot_decimals for pair in USD} == {5, 8}
    assert min(pair.pair_decimals for pair in USD) == 0
    assert max(pair.pair_decimals for pair in USD) == 10
    assert len({pair.key for pair in LISTING.pairs}) == len(LISTING.pairs)
    assert len({pair.symbol for pair in LISTING.pairs}) == len(LISTING.pairs)


def test_keys_that_differ_from_altnames() -> None:
    assert sum(pair.key != pair.altname for pair in LISTING.pairs) == 46
    assert {pair.key for pair in USD if pair.key != pair.altname} == {
        "USDTZUSD",
        "XETCZUSD",
        "XETHZUSD",
        "XLTCZUSD",
        "XMLNZUSD",
        "XREPZUSD",
        "XXBTZUSD",
        "XXLMZUSD",
        "XXMRZUSD",
        "XXRPZUSD",
        "XZECZUSD",
        "ZEURZUSD",
        "ZGBPZUSD",
    }
    assert (BY_ALTNAME["XDGUSD"].key, BY_ALTNAME["XDGUSD"].base) == ("XDGUSD", "XXDG")
    assert sum(asset.id != asset.altname for asset in LISTING.assets) == 21


@pytest.mark.parametrize(
    ("altname", "base", "quote"),
    [
        ("MONAUSD", "MON", "AUSD"),
        ("XBTPYUSD", "XXBT", "PYUSD"),
        ("XBTUSD1", "XXBT", "USD1"),
        ("XRPRLUSD", "XXRP", "RLUSD"),
        ("DOGEUR", "DOG", "ZEUR"),
        ("ETHWETH", "ETHW", "XETH"),
        ("USDTGBP", "USDT", "ZGBP"),
        ("GALAUSD", "GALA", "ZUSD"),
        ("ADAUSD", "ADA", "ZUSD"),
        ("0GUSD", "0G", "ZUSD"),
        ("1INCHUSD", "1INCH", "ZUSD"),
        ("2ZUSD", "2Z", "ZUSD"),
        ("REZUSD", "REZ", "ZUSD"),
        ("EURUSD", "ZEUR", "ZUSD"),
        ("ZETAUSD", "ZETA", "ZUSD"),
    ],
)
def test_names_that_trap_parsers(altname: str, base: str, quote: str) -> None:
    pair = BY_ALTNAME[altname]
    assert (pair.base, pair.quote) == (base, quote)


def test_rest_accepts_its_own_names_and_echoes_the_new_ones() -> None:
    directory = Directory(LISTING)
    for name, key in [
        ("XBTUSD", "XXBTZUSD"),
        ("XXBTZUSD", "XXBTZUSD"),
        ("BTC/USD", "BTC/USD"),
        ("DOGE/USD", "DOGE/USD"),
        ("BTCUSDT", "XBTUSDT"),
    ]:
        found = directory.rest(name)
        assert found is not None
        assert found[0] == key
    assert directory.rest("XBT/USD") is None
    assert directory.unknown_text("XBT/USD") == "EQuery:Unknown asset pair"
    assert directory.unknown_text("NONSENSE") == "EQuery:Unknown asset pair"
    assert directory.unknown_text("SOLXMR") == "EQuery:Invalid asset pair"


def test_volumes_have_the_real_shape() -> None:
    online = [pair for pair in USD if pair.status == "online"]
    above = [sum(pair.daily_cost > floor for pair in online) for floor in (1e6, 1e5, 1e4)]
    assert 45 <= above[0] <= 60
    assert 115 <= above[1] <= 145
    assert 290 <= above[2] <= 360
    share = sum(pair.daily_cost for pair in online if pair.margin_eligible)
    assert 0.75 < share / sum(pair.daily_cost for pair in online) < 0.93
