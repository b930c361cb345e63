"""Entries of AssetPairs as nobody promised them: left out with a reason, told when named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from krakked._config.settings import MarginEligible, RegionProfile, UniverseSettings
from krakked._errors import MarketDataError
from krakked._market.universe import Universe, UniverseRule, build_universe
from krakked._market.universe_entries import (
    MAX_DECIMALS,
    NO_OBJECT,
    parse_pair,
    read_entries,
    ticker_of,
    top_leverage,
    v2_symbol,
    volume_24h,
)
from krakked._market.universe_report import (
    MARGIN_LINE,
    NAMES_SHOWN,
    RULE_WORDS,
    count_rules,
    describe_universe,
    report_margin,
)

ABSENT = object()


def entry(name: str = "ETH", **more: Any) -> dict[str, Any]:
    fields = {
        "altname": f"{name}USD",
        "wsname": f"{name}/USD",
        "aclass_base": "currency",
        "base": name,
        "aclass_quote": "currency",
        "quote": "ZUSD",
        "pair_decimals": 2,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "ordermin": "0.06",
        "costmin": "0.5",
        "tick_size": "0.01",
        "status": "online",
    } | more
    return {key: value for key, value in fields.items() if value is not ABSENT}


def build(*, settings: UniverseSettings | None = None, **more: Any) -> Universe:
    """A universe of one odd pair, ETHUSD, beside one that is fine."""
    return build_universe({"ETHUSD": entry(**more), "AUSD": entry("A")}, settings=settings)


# --- what is needed and cannot be read -----------------------------------------------------------


@pytest.mark.parametrize("field", ["pair_decimals", "lot_decimals", "lot_multiplier"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (ABSENT, "missing"),
        (None, "None"),
        ("five", "'five'"),
        (-1, "-1"),
        (True, "True"),
        ([5], "a list"),
        ({}, "a dict"),
        ("x" * 40, "a str"),
    ],
)
def test_a_needed_number_that_is_none_leaves_the_pair_out_with_the_reason(
    field: str, value: Any, told: str
) -> None:
    universe = build(**{field: value})
    assert universe.pairs == ("AUSD",)
    assert universe.rules == {"ETHUSD": UniverseRule.UNFIT}
    said = f"Kraken's entry of it cannot be used: {field} is {told}."
    assert universe.excluded == {"ETHUSD": said}
    assert said in universe.why("ETHUSD")
    assert universe.table.metadata("ETHUSD").unfit == f"{field} is {told}"
    assert not universe.warnings


@pytest.mark.parametrize("field", ["pair_decimals", "lot_decimals"])
@pytest.mark.parametrize("value", ["5", 5.0, MAX_DECIMALS + 1, 10**30])
def test_digits_are_a_small_whole_number(field: str, value: Any) -> None:
    assert build(**{field: value}).rules == {"ETHUSD": UniverseRule.UNFIT}


@pytest.mark.parametrize("value", [0, 1, MAX_DECIMALS])
def test_the_edges_of_digits_are_fine(value: int) -> None:
    pair = build(pair_decimals=value, lot_decimals=value).metadata["ETHUSD"]
    assert (pair.price_decimals, pair.volume_decimals, pair.unfit) == (value, value, "")


@pytest.mark.parametrize(
    ("value", "size"), [(1, 1.0), (0.5, 0.5), ("10", 10.0), (0, None), (float("inf"), None)]
)
def test_a_lot_is_a_number_above_nothing(value: Any, size: float | None) -> None:
    universe = build(lot_multiplier=value)
    assert (universe.metadata["ETHUSD"].lot_size if "ETHUSD" in universe.pairs else None) == size


def test_everything_that_is_wrong_is_told_at_once() -> None:
    universe = build(pair_decimals=None, lot_decimals=ABSENT)
    assert "pair_decimals is None, lot_decimals is missing." in universe.excluded["ETHUSD"]


def test_named_by_include_pairs_it_comes_in_with_a_warning() -> None:
    settings = UniverseSettings(include_pairs=("ETHUSD",))
    universe = build(pair_decimals=None, settings=settings)
    assert universe.pairs == ("ETHUSD", "AUSD")
    assert universe.warnings == (
        "ETHUSD is admitted by include_pairs although Kraken's entry of it cannot be used: "
        "pair_decimals is None.",
    )
    assert universe.metadata["ETHUSD"].unfit == "pair_decimals is None"


@pytest.mark.parametrize("value", [None, 5, "x", [], ["a"], True])
def test_an_entry_that_is_no_object_is_left_out_even_when_named(value: Any) -> None:
    reply = {"ETHUSD": value, "AUSD": entry("A")}
    universe = build_universe(reply)
    assert (universe.pairs, universe.rules) == (("AUSD",), {"ETHUSD": UniverseRule.UNFIT})
    assert universe.excluded["ETHUSD"] == f"Kraken's entry of it cannot be used: {NO_OBJECT}."
    assert not universe.warnings
    named = build_universe(reply, settings=UniverseSettings(include_pairs=("ETHUSD",)))
    assert named.pairs == ("AUSD",)
    assert named.warnings == (
        "ETHUSD is left out although include_pairs names it: Kraken's entry of it cannot be used: "
        "it is no object.",
    )


def test_other_reasons_come_first_and_the_report_has_a_word_for_each() -> None:
    assert build(pair_decimals=None, quote="ZEUR").rules == {"ETHUSD": UniverseRule.QUOTE}
    assert build(pair_decimals=None, status="offline").rules == {"ETHUSD": UniverseRule.STATUS}
    settings = UniverseSettings(exclude_bases=("ETH",))
    assert build(pair_decimals=None, settings=settings).rules == {"ETHUSD": UniverseRule.UNFIT}
    assert set(RULE_WORDS) == set(UniverseRule)
    lines = describe_universe(build(pair_decimals=None))
    assert "1 left out: an entry that cannot be read." in lines


def test_numbers_that_nobody_needs_are_left_open() -> None:
    odd = {"ordermin": "-1", "costmin": "much", "tick_size": True}
    pair = build(**odd).metadata["ETHUSD"]
    assert (pair.ordermin, pair.costmin, pair.tick_size) == (None, None, None)
    pair = build(ordermin=0, costmin=1.5, tick_size=10**400).metadata["ETHUSD"]
    assert (pair.ordermin, pair.costmin, pair.tick_size) == (0.0, 1.5, None)
    assert build(tick_size="0").metadata["ETHUSD"].tick_size is None  # no step at all


@pytest.mark.parametrize("base", [None, "", 5])
def test_a_pair_of_nothing_is_left_out(base: object) -> None:
    found = build(base=base)
    assert found.rules == {"ETHUSD": UniverseRule.UNFIT}
    assert "base is" in found.excluded["ETHUSD"]


# --- each rule dies with its opposite ------------------------------------------------------------


def test_only_the_status_online_is_online() -> None:
    for status in ("online", "post_only", "cancel_only", "limit_only", "reduce_only", "Online", ""):
        found = build(status=status).rules.get("ETHUSD")
        assert found is (None if status == "online" else UniverseRule.STATUS)
    for status in (None, 5, ABSENT):
        assert "not given, not online" in build(status=status).excluded["ETHUSD"]


@pytest.mark.parametrize(
    ("quote", "fits"),
    [("USD", True), ("ZUSD", True), ("XUSD", False), ("usd", False), ("USDT", False), ("", False)],
)
def test_the_quote_is_the_default_one_plain_or_with_a_z(quote: str, fits: bool) -> None:
    universe = build(quote=quote)
    assert universe.rules.get("ETHUSD") is (None if fits else UniverseRule.QUOTE)


def test_a_quote_that_nobody_knows_is_said_so() -> None:
    universe = build_universe({"X": entry(wsname=ABSENT, quote=ABSENT, altname="X")})
    assert universe.excluded["X"] == "it is quoted in nothing known, not in USD."


@pytest.mark.parametrize("field", ["aclass_base", "aclass_quote"])
def test_both_sides_are_of_class_currency(field: str) -> None:
    for value, told in (("forex", "forex"), ("Currency", "Currency"), (None, "nothing known")):
        universe = build(**{field: value})
        assert universe.rules == {"ETHUSD": UniverseRule.SPOT_CLASS}
        assert universe.excluded["ETHUSD"] == f"its {field} is {told}, not a spot currency."
    assert build(**{field: ABSENT}).pairs == ("ETHUSD", "AUSD")


def test_dark_pools_by_either_name_and_pairs_without_live_data_are_not_spot() -> None:
    for key, more in (("ETHUSD.d", {}), ("ETHUSD", {"altname": "ETHUSD.d"})):
        universe = build_universe({key: entry(**more)})
        assert list(universe.excluded.values()) == ["it is a dark pool."]
    universe = build(wsname=ABSENT)
    assert universe.excluded["ETHUSD"] == "Kraken gives it no wsname, so it has no live data."


@pytest.mark.parametrize(
    ("buy", "sell", "top"),
    [
        ([], [], 0),
        ([2, 3, 10], [], 10),
        ([], [2, 3], 3),
        ([5], [2], 5),
        ([2], [7], 7),
        (None, None, 0),
        ("5", [], 5),
        (3, ABSENT, 3),
        (["2", "four"], [], 2),
        (["four"], [], 1),
        ([0], [], 1),
        ([None], [], 1),
        ([float("inf"), float("nan")], [], 1),
    ],
)
def test_leverage_on_either_side_counts_whatever_it_looks_like(
    buy: Any, sell: Any, top: int
) -> None:
    more = {"leverage_buy": buy, "leverage_sell": sell}
    assert top_leverage(entry(**more)) == top
    universe = build(**more)
    assert universe.rules == ({"ETHUSD": UniverseRule.MARGIN} if top else {})
    assert universe.leverage == ({"ETHUSD": top} if top else {})
    assert universe.table.metadata("ETHUSD").margin_eligible is (top > 0)
    include = UniverseSettings(margin_eligible=MarginEligible.INCLUDE)
    assert build(**more, settings=include).pairs == ("ETHUSD", "AUSD")


def test_the_order_of_the_rules() -> None:
    every = {
        "quote": "ZEUR",
        "aclass_base": "forex",
        "status": "offline",
        "pair_decimals": None,
        "leverage_buy": [2],
    }
    settings = UniverseSettings(exclude_bases=("ETH",), min_24h_volume_usd=1)
    expected = [
        UniverseRule.QUOTE,
        UniverseRule.SPOT_CLASS,
        UniverseRule.STATUS,
        UniverseRule.UNFIT,
        UniverseRule.BASE,
    ]
    for rule in expected:
        assert build(**every, settings=settings).rules["ETHUSD"] is rule
        every.pop(next(iter(every)), None)
    settings = UniverseSettings(min_24h_volume_usd=1)
    assert build(leverage_buy=[2], settings=settings).rules["ETHUSD"] is UniverseRule.MARGIN
    assert build(settings=settings).rules["ETHUSD"] is UniverseRule.NO_TICKER


def test_exclude_beats_include_and_include_beats_the_rest() -> None:
    both = UniverseSettings(include_pairs=("ETHUSD", "AUSD"), exclude_pairs=("ETHUSD",))
    universe = build(settings=both)
    assert (universe.pairs, universe.rules) == (("AUSD",), {"ETHUSD": UniverseRule.EXCLUDED})
    assert universe.why("AUSD") == "AUSD is in the universe: include_pairs names it."
    assert universe.why("ETHUSD") == "ETHUSD is left out: exclude_pairs names it."
    assert not universe.warnings
    odd = UniverseSettings(include_pairs=("ETHUSD",), exclude_pairs=("ETHUSD",))
    assert build(status="offline", settings=odd).warnings == ()


def test_an_odd_admission_names_every_oddity_once() -> None:
    settings = UniverseSettings(include_pairs=("ETHUSD",))
    assert build(quote="ZEUR", status="offline", settings=settings).warnings == (
        "ETHUSD is admitted by include_pairs although it is quoted in USD, not in USD.",
        "ETHUSD is admitted by include_pairs although its status is offline, not online.",
    )
    assert build(status="offline", settings=settings).warnings == (
        "ETHUSD is admitted by include_pairs although its status is offline, not online.",
    )
    assert build(leverage_buy=[2], settings=settings).warnings == ()


def test_the_floor_is_met_by_exactly_the_floor() -> None:
    ticker = {"ETHUSD": {"v": ["9", "10"], "p": ["9", "10"]}, "AUSD": {"v": [1, 1], "p": [1, 99]}}
    pairs = {"ETHUSD": entry(), "AUSD": entry("A")}
    settings = UniverseSettings(min_24h_volume_usd=100)
    universe = build_universe(pairs, ticker=ticker, settings=settings)
    assert universe.pairs == ("ETHUSD",)
    assert universe.excluded["AUSD"] == "its 24 h volume of 99 USD is below the floor of 100."
    assert universe.warnings == ()
    assert build_universe(pairs, ticker=ticker).pairs == ("ETHUSD", "AUSD")
    euro = RegionProfile(default_quote="EUR")
    universe = build_universe(
        {"ETHUSD": entry(quote="ZEUR")}, ticker=ticker, settings=settings, region=euro
    )
    assert universe.pairs == ("ETHUSD",)


# --- reading -------------------------------------------------------------------------------------


def test_volume_is_the_day_at_the_days_mean_price() -> None:
    assert volume_24h({"v": ["1", "20"], "p": ["3", "4"]}) == 80.0
    assert volume_24h({"v": ["1", "0"], "p": ["3", "4"]}) == 0.0
    for odd in (None, {}, {"v": ["1", "-1"], "p": ["1", "1"]}, {"v": ["1", "nan"], "p": [1, 1]}):
        assert volume_24h(odd) is None


def test_a_ticker_is_found_by_key_then_by_altname() -> None:
    pair = {"altname": "XBTUSD"}
    by_key, by_name = {"v": 1}, {"v": 2}
    assert ticker_of({"XXBTZUSD": by_key, "XBTUSD": by_name}, "XXBTZUSD", pair) is by_key
    assert ticker_of({"XBTUSD": by_name}, "XXBTZUSD", pair) is by_name
    assert ticker_of({}, "XXBTZUSD", pair) is None


@pytest.mark.parametrize(
    ("base", "quote", "wsname", "instrument", "symbol"),
    [
        ("XBT", "USD", "XBT/USD", None, "BTC/USD"),
        ("ETH", "XBT", "ETH/XBT", None, "ETH/BTC"),
        ("XDG", "XBT", "XDG/XBT", None, "DOGE/BTC"),
        ("XBT", "USD", "XBT/USD", {"BTC/USD", "XBT/USD"}, "BTC/USD"),
        ("XBT", "USD", "XBT/USD", {"XBT/USD"}, "XBT/USD"),
        ("XBT", "USD", "odd", {"XBT/USD"}, "XBT/USD"),
        ("XDG", "XBT", "odd", {"DOGE/XBT"}, "DOGE/XBT"),
        ("XDG", "XBT", "odd", {"XDG/BTC"}, "XDG/BTC"),
        ("XDG", "XBT", "XDG/XBT", {"other"}, "DOGE/BTC"),
        ("XDG", "XBT", "XDG/XBT", set(), "DOGE/BTC"),
    ],
)
def test_the_symbol_of_websocket_v2(
    base: str, quote: str, wsname: str, instrument: set[str] | None, symbol: str
) -> None:
    assert v2_symbol(base, quote, wsname=wsname, instrument=instrument) == symbol


@pytest.mark.parametrize(
    ("fields", "base", "quote"),
    [
        ({"wsname": "XBT/USD", "base": "XXBT", "quote": "ZUSD"}, "XBT", "USD"),
        ({"altname": "XBTUSD.d", "base": "XXBT", "quote": "ZUSD"}, "XBT", "USD"),
        ({"altname": "ETHXBT.d", "base": "ETH", "quote": "XXBT"}, "ETH", "XBT"),
        ({"altname": "ODD", "base": "XXBT", "quote": "ZUSD"}, "XXBT", "ZUSD"),
        ({"altname": "ODD"}, "ODD", ""),
        ({"altname": "ODD", "wsname": "/USD", "base": "B", "quote": "Q"}, "B", "Q"),
        ({"altname": "ODD", "wsname": "XBT/", "base": "B", "quote": "Q"}, "B", "Q"),
        ({"altname": "XUSD", "base": "X", "quote": "USD"}, "X", "USD"),
        ({"altname": "USD", "base": "X", "quote": "USD"}, "X", "USD"),
        ({}, "KEY", ""),
    ],
)
def test_the_short_names_of_the_assets(fields: dict[str, str], base: str, quote: str) -> None:
    pair = parse_pair("KEY", fields)
    assert (pair.base, pair.quote) == (base, quote)
    assert pair.canonical == pair.rest_symbol == fields.get("altname", "KEY")
    assert pair.raw_name == "KEY"
    assert pair.wsname == (fields.get("wsname") or pair.canonical)
    if "wsname" not in fields:
        assert pair.ws_symbol == pair.canonical


class Row(msgspec.Struct):
    altname: str


def test_entries_come_out_of_every_shape_and_odd_ones_come_empty() -> None:
    reply: dict[Any, Any] = {"A": {"x": 1}, "B": None, "C": Row("C"), "": {}, 5: {}}
    assert read_entries(reply, "AssetPairs") == {"A": {"x": 1}, "B": {}, "C": {"altname": "C"}}
    assert read_entries({"error": [], "result": {"A": {}}}, "AssetPairs") == {"A": {}}
    assert read_entries({"error": ["WDatabase:x"], "result": {"A": {}}}, "Ticker") == {"A": {}}
    assert read_entries({"error": "no list"}, "Ticker") == {"error": {}}
    for wrong, told in (
        (b"<", "Not a reply of Ticker: not JSON."),
        ([], "Not a reply of Ticker: no object of pairs in it."),
        ({"error": ["EQuery:x"], "result": {}}, "The reply of Ticker is an error: EQuery:x."),
    ):
        with pytest.raises(MarketDataError) as caught:
            read_entries(wrong, "Ticker")  # type: ignore[arg-type]
        assert str(caught.value) == told


def test_a_pair_listed_twice_is_told_and_the_first_one_counts() -> None:
    pairs = {"K1": entry(pair_decimals=3), "K2": entry(pair_decimals=4)}
    universe = build_universe(pairs)
    assert universe.metadata["ETHUSD"].price_decimals == 3
    assert universe.warnings == ("ETHUSD is listed twice (K1 and K2); the first is used.",)


def test_bases_are_left_out_in_any_spelling_and_unknown_ones_told() -> None:
    settings = UniverseSettings(exclude_bases=("XETH", "nothing"))
    universe = build(base="XETH", settings=settings)
    assert universe.rules == {"ETHUSD": UniverseRule.BASE}
    assert universe.excluded["ETHUSD"] == "exclude_bases names ETH."
    assert universe.warnings == ("exclude_bases names 'nothing', which is no base asset.",)
    near = build(settings=UniverseSettings(exclude_bases=("ETHH",)))
    assert near.warnings == (
        "exclude_bases names 'ETHH', which is no base asset; the nearest known asset is ETH.",
    )


# --- the report ----------------------------------------------------------------------------------


def margin_universe(count: int, *, ticker: dict[str, Any] | None = None) -> Universe:
    pairs = {f"M{n}USD": entry(f"M{n}", leverage_buy=[n + 2]) for n in range(count)}
    more = {
        "AUSD": entry("A"),
        "EURUSD": entry("EUR", quote="ZEUR"),
        "OFFUSD": entry("OFF", status="x"),
    }
    return build_universe(pairs | more, ticker=ticker)


def test_the_margin_report_counts_what_reached_the_margin_rule() -> None:
    report = report_margin(margin_universe(2))
    assert (report.left_out, report.considered, report.volume_share) == (2, 3, None)
    assert report.names == ("M1USD", "M0USD")  # the greater leverage first
    assert report.config_line == MARGIN_LINE
    assert report.text() == (
        "2 of 3 online spot pairs are left out because Kraken also offers them on margin: "
        "M1USD, M0USD. They trade on spot like any other. To bring them in, write into "
        f"config.yaml:  {MARGIN_LINE}"
    )


def test_the_margin_report_puts_volume_before_leverage() -> None:
    def row(volume: str) -> dict[str, Any]:
        return {"v": ["0", volume], "p": ["0", "2"]}

    ticker = {"M0USD": row("30"), "M1USD": row("10"), "AUSD": row("10")}
    universe = margin_universe(2, ticker=ticker)
    report = report_margin(universe)
    assert report.names == ("M0USD", "M1USD")
    assert report.volume_share == pytest.approx(0.8)
    assert ", 80% of the 24 h volume: M0USD" in report.text()
    silent = {key: row("0") for key in ticker}
    assert report_margin(margin_universe(2, ticker=silent)).volume_share is None
    floor = UniverseSettings(min_24h_volume_usd=50)
    pairs = {"AUSD": entry("A"), "BUSD": entry("B"), "MUSD": entry("M", leverage_sell=[2])}
    universe = build_universe(pairs, ticker={"AUSD": row("10")}, settings=floor)
    assert report_margin(universe).considered == 3  # too little volume, none known, margin


def test_the_margin_report_names_ten_and_says_that_there_are_more() -> None:
    report = report_margin(margin_universe(NAMES_SHOWN + 1))
    assert len(report.names) == NAMES_SHOWN == 10
    assert " and others. They trade" in report.text()
    assert " and others" not in report_margin(margin_universe(NAMES_SHOWN)).text()
    assert report_margin(margin_universe(0)).text() == ""


def test_the_description_counts_and_warns() -> None:
    universe = margin_universe(1)
    assert count_rules(universe) == {
        UniverseRule.QUOTE: 1,
        UniverseRule.STATUS: 1,
        UniverseRule.MARGIN: 1,
    }
    assert list(count_rules(universe)) == [
        UniverseRule.QUOTE,
        UniverseRule.STATUS,
        UniverseRule.MARGIN,
    ]
    lines = describe_universe(universe)
    assert lines[:4] == [
        "1 pairs of 4 known ones are in the universe.",
        "1 left out: another quote currency.",
        "1 left out: not online.",
        "1 left out: eligible for margin.",
    ]
    assert lines[4] == report_margin(universe).text()
    warned = build(settings=UniverseSettings(exclude_bases=("qqq",)))
    assert describe_universe(warned)[-1].startswith("Warning: exclude_bases names 'qqq'")
