"""Contract Phase 2, section 8, items 1 (universe building) and 2 (liquidity filtering)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from krakked._config.settings import MarginEligible, RegionProfile, UniverseSettings
from krakked._errors import MarketDataError, UnknownPairError
from krakked._market.universe import UniverseRule, build_universe
from krakked._market.universe_report import MARGIN_LINE, describe_universe, report_margin


def entry(altname: str, wsname: str, base: str, quote: str = "ZUSD", **more: Any) -> dict[str, Any]:
    """One AssetPairs entry in the shape of September 2026."""
    return {
        "altname": altname,
        "wsname": wsname,
        "aclass_base": "currency",
        "base": base,
        "aclass_quote": "currency",
        "quote": quote,
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": 2,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [],
        "fees_maker": [],
        "ordermin": "0.06",
        "costmin": "0.5",
        "tick_size": "0.01",
        "status": "online",
        "execution_venue": "international",
    } | more


def exchange() -> dict[str, dict[str, Any]]:
    """A small AssetPairs result with one pair for every rule."""
    big = {"leverage_buy": [2, 3, 10], "leverage_sell": [2]}
    return {
        "XXBTZUSD": entry("XBTUSD", "XBT/USD", "XXBT", **big, pair_decimals=1),
        "XDGUSD": entry("XDGUSD", "XDG/USD", "XXDG", **big),
        "AEROUSD": entry("AEROUSD", "AERO/USD", "AERO", leverage_buy=[2]),
        "2ZUSD": entry("2ZUSD", "2Z/USD", "2Z", lot_decimals=5),
        "ZETAUSD": entry("ZETAUSD", "ZETA/USD", "ZETA"),
        "USDTZUSD": entry("USDTUSD", "USDT/USD", "USDT"),
        "XETHXXBT": entry("ETHXBT", "ETH/XBT", "XETH", "XXBT"),
        "XBTUSDT": entry("XBTUSDT", "XBT/USDT", "XXBT", "USDT"),
        "ACAUSD": entry("ACAUSD", "ACA/USD", "ACA", status="cancel_only"),
        "NEWUSD": entry("NEWUSD", "NEW/USD", "NEW", status="quantum_auction"),
        "AAPLxUSD": entry("AAPLxUSD", "AAPLx/USD", "AAPLx", aclass_base="tokenized_asset"),
        "XXBTZUSD.d": {"altname": "XBTUSD.d", "base": "XXBT", "quote": "ZUSD", "status": "online"},
        "MUTEUSD": {"altname": "MUTEUSD", "base": "MUTE", "quote": "ZUSD", "status": "online"},
    }


def ticker(**volumes: tuple[str, str]) -> dict[str, dict[str, Any]]:
    """A Ticker result: key to (24 h base volume, 24 h vwap)."""
    return {
        key: {"v": ["0", volume], "p": ["0", vwap], "t": [0, 1], "o": "1"}
        for key, (volume, vwap) in volumes.items()
    }


INCLUDE = UniverseSettings(margin_eligible=MarginEligible.INCLUDE)


def test_contract_8_1_only_online_spot_pairs_in_the_default_quote_without_margin() -> None:
    universe = build_universe(exchange())
    assert universe.pairs == ("2ZUSD", "ZETAUSD", "USDTUSD")
    assert tuple(universe.metadata) == universe.pairs
    assert universe.rules == {
        "XBTUSD": UniverseRule.MARGIN,
        "XDGUSD": UniverseRule.MARGIN,
        "AEROUSD": UniverseRule.MARGIN,
        "ETHXBT": UniverseRule.QUOTE,
        "XBTUSDT": UniverseRule.QUOTE,
        "ACAUSD": UniverseRule.STATUS,
        "NEWUSD": UniverseRule.STATUS,
        "AAPLxUSD": UniverseRule.SPOT_CLASS,
        "XBTUSD.d": UniverseRule.SPOT_CLASS,
        "MUTEUSD": UniverseRule.SPOT_CLASS,
    }
    assert set(universe.excluded) == set(universe.rules)
    assert "quantum_auction" in universe.excluded["NEWUSD"]
    assert not universe.warnings


def test_contract_8_1_margin_eligible_include_keeps_them() -> None:
    assert build_universe(exchange(), settings=INCLUDE).pairs == (
        "XBTUSD",
        "XDGUSD",
        "AEROUSD",
        "2ZUSD",
        "ZETAUSD",
        "USDTUSD",
    )


@pytest.mark.parametrize("spelling", ["ZETAUSD", "ZETA/USD"])
def test_contract_8_1_exclude_pairs_removes(spelling: str) -> None:
    universe = build_universe(exchange(), settings=UniverseSettings(exclude_pairs=(spelling,)))
    assert universe.pairs == ("2ZUSD", "USDTUSD")
    assert universe.rules["ZETAUSD"] is UniverseRule.EXCLUDED


@pytest.mark.parametrize("spelling", ["XBTUSD", "XXBTZUSD", "XBT/USD", "BTC/USD"])
def test_contract_8_1_include_pairs_adds_in_any_spelling(spelling: str) -> None:
    universe = build_universe(exchange(), settings=UniverseSettings(include_pairs=(spelling,)))
    assert universe.pairs == ("XBTUSD", "2ZUSD", "ZETAUSD", "USDTUSD")
    assert not universe.warnings


def test_contract_8_1_canonical_names_and_metadata() -> None:
    universe = build_universe(exchange(), settings=INCLUDE)
    bitcoin = universe.metadata["XBTUSD"]
    assert (bitcoin.canonical, bitcoin.rest_symbol, bitcoin.raw_name) == (
        "XBTUSD",
        "XBTUSD",
        "XXBTZUSD",
    )
    assert (bitcoin.base, bitcoin.quote) == ("XBT", "USD")
    assert (bitcoin.wsname, bitcoin.ws_symbol) == ("XBT/USD", "BTC/USD")
    assert (bitcoin.price_decimals, bitcoin.volume_decimals, bitcoin.lot_size) == (1, 8, 1.0)
    assert (bitcoin.ordermin, bitcoin.costmin, bitcoin.tick_size) == (0.06, 0.5, 0.01)
    assert (bitcoin.status, bitcoin.margin_eligible) == ("online", True)
    assert universe.metadata["XDGUSD"].ws_symbol == "DOGE/USD"
    assert universe.metadata["XDGUSD"].base == "XDG"
    assert universe.table.metadata("ETHXBT").ws_symbol == "ETH/BTC"
    assert universe.table.metadata("AAPLxUSD").ws_symbol == "AAPLx/USD"
    assert universe.metadata["ZETAUSD"].base == "ZETA"
    assert universe.metadata["2ZUSD"].volume_decimals == 5


def test_contract_8_2_pairs_below_the_volume_floor_are_excluded() -> None:
    volumes = ticker(
        **{"2ZUSD": ("1000", "99.999"), "ZETAUSD": ("1000", "100"), "NOTLISTEDUSD": ("1", "1")}
    )
    universe = build_universe(
        exchange(), settings=UniverseSettings(min_24h_volume_usd=100_000.0), ticker=volumes
    )
    assert universe.pairs == ("ZETAUSD",)
    assert universe.rules["2ZUSD"] is UniverseRule.LIQUIDITY
    assert universe.rules["USDTUSD"] is UniverseRule.NO_TICKER
    assert universe.metadata["ZETAUSD"].volume_24h_usd == 100_000.0


@pytest.mark.parametrize("broken", [{}, {"v": ["1"], "p": []}, {"v": 7, "p": None}, {"v": "x"}])
def test_contract_8_2_a_broken_ticker_counts_as_none(broken: dict[str, Any]) -> None:
    universe = build_universe(
        exchange(), settings=UniverseSettings(min_24h_volume_usd=1.0), ticker={"ZETAUSD": broken}
    )
    assert universe.rules["ZETAUSD"] is UniverseRule.NO_TICKER


def test_contract_8_2_a_day_without_a_trade_is_below_every_floor() -> None:
    universe = build_universe(
        exchange(),
        settings=UniverseSettings(min_24h_volume_usd=1e-9),
        ticker=ticker(ZETAUSD=("0.0", "0.0")),
    )
    assert universe.rules["ZETAUSD"] is UniverseRule.LIQUIDITY


def test_a_floor_without_any_ticker_is_said() -> None:
    universe = build_universe(exchange(), settings=UniverseSettings(min_24h_volume_usd=1.0))
    assert universe.pairs == ()
    assert "no ticker" in universe.warnings[0]


def test_include_beats_everything_but_exclude() -> None:
    every = tuple(exchange())
    universe = build_universe(
        exchange(),
        settings=UniverseSettings(
            include_pairs=every,
            exclude_pairs=("BTC/USD",),
            exclude_bases=("USDT",),
            min_24h_volume_usd=1e12,
        ),
    )
    assert set(universe.rules) == {"XBTUSD"}
    assert len(universe.pairs) == len(every) - 1
    odd = " ".join(universe.warnings)
    for name in ("ETHXBT", "ACAUSD", "NEWUSD", "AAPLxUSD", "XBTUSD.d", "MUTEUSD"):
        assert f"{name} is admitted" in odd
    assert "ZETAUSD is admitted" not in odd


def test_unknown_names_warn_with_the_nearest_match() -> None:
    universe = build_universe(
        exchange(),
        settings=UniverseSettings(
            include_pairs=("XBTUDS",), exclude_pairs=("qqqqqqqq",), exclude_bases=("ZETTA",)
        ),
    )
    include, exclude, base = universe.warnings
    assert "'XBTUDS'" in include
    assert "XBTUSD" in include
    assert "nearest" not in exclude
    assert "ZETA" in base
    assert universe.pairs == ("2ZUSD", "ZETAUSD", "USDTUSD")


@pytest.mark.parametrize("spelling", ["XBT", "BTC", "XXBT"])
def test_exclude_bases_in_any_spelling(spelling: str) -> None:
    settings = UniverseSettings(
        margin_eligible=MarginEligible.INCLUDE, exclude_bases=(spelling, "USDT")
    )
    universe = build_universe(exchange(), settings=settings)
    assert universe.pairs == ("XDGUSD", "AEROUSD", "2ZUSD", "ZETAUSD")
    assert universe.rules["XBTUSD"] is UniverseRule.BASE


def test_another_default_quote() -> None:
    universe = build_universe(exchange(), region=RegionProfile(default_quote="USDT"))
    assert universe.pairs == ("XBTUSDT",)
    assert "not in USDT" in universe.excluded["XBTUSD"]


def test_the_new_names_of_asset_version_1() -> None:
    universe = build_universe({"BTC/USD": entry("XBTUSD", "XBT/USD", "BTC", "USD")})
    assert universe.pairs == ("XBTUSD",)
    assert universe.metadata["XBTUSD"].ws_symbol == "BTC/USD"
    assert universe.table.resolve("BTC/USD") == "XBTUSD"


def test_the_instrument_snapshot_wins() -> None:
    snapshot = {"XBT/USD", "DOGE/USD", "ETH/BTC"}
    universe = build_universe(exchange(), settings=INCLUDE, instrument=snapshot)
    assert universe.metadata["XBTUSD"].ws_symbol == "XBT/USD"
    assert universe.metadata["XDGUSD"].ws_symbol == "DOGE/USD"
    assert universe.metadata["ZETAUSD"].ws_symbol == "ZETA/USD"


def test_every_shape_of_the_reply_gives_the_same_universe() -> None:
    result = exchange()
    reply = {"error": [], "result": result}
    expected = build_universe(result)
    for shape in (reply, json.dumps(reply).encode(), json.dumps(result).encode()):
        other = build_universe(shape)
        assert other.metadata == expected.metadata
        assert other.excluded == expected.excluded
    assert build_universe({"error": ["WDatabase:No change"], "result": result}).pairs


@pytest.mark.parametrize(
    "reply",
    [b"<html>", b"[]", b"7", {"error": ["EService:Unavailable"]}, {"error": [], "result": None}],
)
def test_what_is_no_reply_is_refused(reply: Any) -> None:
    with pytest.raises(MarketDataError):
        build_universe(reply)


def test_the_same_altname_twice_is_taken_once() -> None:
    pairs = {"ZETAUSD": entry("ZETAUSD", "ZETA/USD", "ZETA")}
    universe = build_universe(pairs | {"ZETAZUSD": entry("ZETAUSD", "ZETA/USD", "ZETA")})
    assert universe.pairs == ("ZETAUSD",)
    assert "twice" in universe.warnings[0]


def test_why_says_it_in_one_sentence() -> None:
    universe = build_universe(exchange(), settings=UniverseSettings(include_pairs=("XDGUSD",)))
    assert "margin" in universe.why("BTC/USD")
    assert "include_pairs" in universe.why("DOGE/USD")
    assert "passes every rule" in universe.why("ZETAUSD")
    with pytest.raises(UnknownPairError, match="ZETAUSD"):
        universe.why("ZETAUSDX")


def test_the_margin_report_names_names_and_the_line_that_helps() -> None:
    volumes = ticker(XXBTZUSD=("80", "1"), XDGUSD=("3", "1"), ZETAUSD=("17", "1"))
    report = report_margin(build_universe(exchange(), ticker=volumes))
    assert (report.left_out, report.considered) == (3, 6)
    assert report.volume_share == pytest.approx(0.83)
    assert report.names == ("XBTUSD", "XDGUSD", "AEROUSD")
    text = report.text()
    assert "83%" in text
    assert "XBTUSD, XDGUSD" in text
    assert MARGIN_LINE in text
    assert any(MARGIN_LINE in line for line in describe_universe(build_universe(exchange())))


def test_without_a_ticker_leverage_says_which_names_are_big() -> None:
    report = report_margin(build_universe(exchange()))
    assert report.volume_share is None
    assert report.names == ("XBTUSD", "XDGUSD", "AEROUSD")
    assert report_margin(build_universe(exchange(), settings=INCLUDE)).text() == ""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
FIELDS = [*sorted(exchange()["XXBTZUSD"]), "unheard_of"]


@example({"XXBTZUSD": {"leverage_buy": [float("inf"), float("nan")]}}, {})
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.dictionaries(st.sampled_from(FIELDS), json_values) | json_values,
        max_size=5,
    ),
    st.dictionaries(st.text(max_size=8), json_values, max_size=3),
)
def test_nothing_in_an_entry_breaks_it(pairs: dict[str, Any], tickers: dict[str, Any]) -> None:
    pairs.pop("error", None)
    tickers.pop("error", None)
    universe = build_universe(
        pairs, ticker=tickers, settings=UniverseSettings(min_24h_volume_usd=1.0)
    )
    assert len(universe.pairs) + len(universe.excluded) == len(universe.table)
    describe_universe(universe)


def test_recorded_pairs_are_an_empty_universe_by_default(recorded: Callable[[str], Path]) -> None:
    reply = recorded("rest_asset_pairs").read_bytes()
    *_, last = json.loads(reply)["result"]  # not online, and in euros
    universe = build_universe(reply)
    assert universe.pairs == ()
    assert universe.rules == {
        "XBTUSD": UniverseRule.MARGIN,
        "XDGUSD": UniverseRule.MARGIN,
        "ETHXBT": UniverseRule.QUOTE,
        "SOLUSD": UniverseRule.MARGIN,
        last: UniverseRule.QUOTE,
    }


def test_recorded_pairs_give_three_through_include_pairs(recorded: Callable[[str], Path]) -> None:
    reply = recorded("rest_asset_pairs").read_bytes()
    settings = UniverseSettings(include_pairs=("BTC/USD", "XDGUSD", "SOL/USD"))
    universe = build_universe(reply, settings=settings)
    assert universe.pairs == ("XBTUSD", "XDGUSD", "SOLUSD")
    assert [universe.metadata[name].ws_symbol for name in universe.pairs] == [
        "BTC/USD",
        "DOGE/USD",
        "SOL/USD",
    ]
    assert not universe.warnings
