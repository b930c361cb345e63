"""Names of pairs as people write them: understood where one pair only can be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

import krakked
from krakked._config.settings import UniverseSettings
from krakked._errors import ConfigError, UnknownPairError
from krakked._market.arguments import one_or_many
from krakked._market.pairs import PairMetadata, PairTable, asset_names, fold
from krakked._market.universe import build_universe
from krakked.sandbox import SandboxSettings, open_sandbox


def pair(canonical: str, wsname: str, ws_symbol: str, raw_name: str) -> PairMetadata:
    base, quote = wsname.split("/")
    return PairMetadata(
        canonical=canonical,
        base=base,
        quote=quote,
        rest_symbol=canonical,
        ws_symbol=ws_symbol,
        wsname=wsname,
        raw_name=raw_name,
        price_decimals=1,
        volume_decimals=8,
        lot_size=1.0,
        status="online",
    )


PAIRS = [
    pair("XBTUSD", "XBT/USD", "BTC/USD", "XXBTZUSD"),
    pair("XBTUSDT", "XBT/USDT", "BTC/USDT", "XBTUSDT"),
    pair("XDGXBT", "XDG/XBT", "DOGE/BTC", "XXDGXXBT"),
    pair("ETHUSD", "ETH/USD", "ETH/USD", "XETHZUSD"),
    pair("AAPLxUSD", "AAPLx/USD", "AAPLx/USD", "AAPLxUSD"),
    pair("ABCUSD", "ABC/USD", "ABC/USD", "ABCUSD"),
    pair("abcUSD", "abc/USD", "abc/USD", "abcUSD"),
    pair("XBTUSD.d", "XBT/USD", "XBTUSD.d", "XXBTZUSD.d"),
]
TABLE = PairTable(PAIRS[:-1])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *((name, "XBTUSD") for name in ("XBTUSD", "XBT/USD", "BTC/USD", "XXBTZUSD")),
        *((name, "XBTUSD") for name in ("BTCUSD", "xbtusd", "BTC-USD", " XBTUSD ", "btc/usd")),
        *((name, "XBTUSD") for name in ("xbt_usd", "Btc:Usd", "BTC USD", "xxbtzusd", "\tXBTUSD")),
        *((name, "XBTUSDT") for name in ("BTCUSDT", "btc-usdt", "XBT/USDT")),
        *((name, "XDGXBT") for name in ("DOGEBTC", "doge/xbt", "XDG-BTC", "XDGXBT")),
        *((name, "ETHUSD") for name in ("eth/usd", "XETHZUSD", "xethzusd")),
        ("aaplxusd", "AAPLxUSD"),
        ("ABCUSD", "ABCUSD"),
        ("abcUSD", "abcUSD"),
    ],
)
def test_a_name_that_can_mean_one_pair_only_means_it(written: str, meant: str) -> None:
    assert TABLE.resolve(written) == meant
    assert written in TABLE
    assert TABLE.metadata(written).canonical == meant


def test_a_name_that_can_mean_two_pairs_is_refused_with_both() -> None:
    with pytest.raises(UnknownPairError, match="can mean ABCUSD or abcUSD") as caught:
        TABLE.resolve("Abc-Usd")
    assert caught.value.pair == "Abc-Usd"
    assert caught.value.suggestion == "ABCUSD"
    assert "Abc-Usd" not in TABLE


def test_a_canonical_name_always_means_itself() -> None:
    table = PairTable([pair("AUSD", "B/USD", "B/USD", "CUSD"), pair("BUSD", "A/USD", "A/USD", "D")])
    assert table.resolve("AUSD") == "AUSD"
    assert table.resolve("BUSD") == "BUSD"
    clash = PairTable([pair("AUSD", "X/USD", "X/USD", "BUSD"), pair("BUSD", "Y/USD", "Y/USD", "Y")])
    assert clash.resolve("BUSD") == "BUSD"


@pytest.mark.parametrize(
    ("written", "suggested"),
    [
        ("XBTUDS", "XBTUSD"),
        ("XBTUSDX", "XBTUSD"),
        ("ETHUSDD", "ETHUSD"),
        ("ETHXUSD", "ETHUSD"),
        ("btcusdc", "XBTUSD"),
        ("FOOUSD", None),
        ("LINKUSD", None),
        ("qqqq", None),
        ("USD", None),
        ("", None),
    ],
)
def test_only_a_near_name_is_suggested(written: str, suggested: str | None) -> None:
    with pytest.raises(UnknownPairError) as caught:
        PairTable(PAIRS[:4]).resolve(written)
    assert caught.value.suggestion == suggested
    assert ("Did you mean" in str(caught.value)) is (suggested is not None)
    assert written not in PairTable(PAIRS[:4])


@pytest.mark.parametrize("written", [None, 7, b"XBTUSD", ["XBTUSD"], 1.5])
def test_what_is_no_text_is_an_unknown_pair(written: Any) -> None:
    with pytest.raises(UnknownPairError):
        TABLE.resolve(written)
    assert written not in TABLE


def test_settings_understand_the_same_names() -> None:
    entry = {
        "wsname": "XBT/USD", "altname": "XBTUSD", "base": "XXBT", "quote": "ZUSD",
        "status": "online", "pair_decimals": 1, "lot_decimals": 8, "lot_multiplier": 1,
    }  # fmt: skip
    for name in ("btc-usd", "BTCUSD", "xbtusd"):
        settings = UniverseSettings(exclude_pairs=(name,))
        universe = build_universe({"XXBTZUSD": entry}, settings=settings)
        assert (universe.pairs, universe.warnings) == ((), ())
    for base in ("btc", "BTC", "xbt", "XXBT"):
        universe = build_universe(
            {"XXBTZUSD": entry}, settings=UniverseSettings(exclude_bases=(base,))
        )
        assert (universe.pairs, universe.warnings) == ((), ())
    universe = build_universe(
        {"XXBTZUSD": entry}, settings=UniverseSettings(exclude_bases=("LTC",))
    )
    assert universe.warnings == ("exclude_bases names 'LTC', which is no base asset.",)


def test_one_name_is_one_name_and_never_its_letters() -> None:
    assert one_or_many("XBTUSD") == ["XBTUSD"]
    assert one_or_many(["XBTUSD", "ETHUSD"]) == ["XBTUSD", "ETHUSD"]
    assert one_or_many(name for name in ("a",)) == ["a"]
    assert one_or_many(()) == []


def test_folding_and_the_assets_with_two_names() -> None:
    assert fold(" b-T/c_u:sd\t") == "BTCUSD"
    assert fold("XBTUSD.d") == "XBTUSD.D"
    assert asset_names("XBT") == asset_names("BTC") == ("XBT", "BTC")
    assert asset_names("XDG") == asset_names("DOGE") == ("XDG", "DOGE")
    assert asset_names("ETH") == ("ETH",)


async def test_one_name_does_where_names_are_due(tmp_path: Path, autojump_clock: MockClock) -> None:
    settings = SandboxSettings(pair_count=40)
    async with open_sandbox(memory=True, settings=settings) as exchange:
        network, clock = exchange.network, exchange.clock
        async with krakked.open_kraken(
            exchange.config(tmp_path), pairs="btc-usd", network=network, clock=clock
        ) as kraken:
            assert kraken.feed.pairs == ("XBTUSD",)
            await kraken.wait_live("XBTUSD")
            with pytest.raises(ConfigError, match="kinds is 'tick'; wanted: one of") as caught:
                kraken.changes(kinds="tick")
            assert caught.value.key == "kinds"
            with pytest.raises(ConfigError):
                kraken.changes(kinds=["ticker", 7])  # type: ignore[list-item]
            changes = kraken.changes("btcusd", kinds="ticker")
            change = await anext(aiter(changes))
            assert isinstance(change, krakked.TickerChange)
            assert change.pair == "XBTUSD"
            kraken.feed.add_pairs("ETHUSD")
            assert kraken.feed.pairs == ("XBTUSD", "ETHUSD")
            kraken.feed.remove_pairs("eth/usd")
            assert kraken.feed.pairs == ("XBTUSD",)
            kraken.feed.set_pairs("ETHUSD")
            assert kraken.feed.pairs == ("ETHUSD",)
            with pytest.raises(UnknownPairError) as unknown:
                kraken.feed.add_pairs("ETHUSDD")
            assert unknown.value.suggestion == "ETHUSD"
            reports, failures = await kraken.backfill_pairs("XBTUSD", "1h")
            assert ([report.pair for report in reports], failures) == (["XBTUSD"], [])
