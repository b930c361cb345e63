"""The public REST endpoints: parameters and the venue in, Kraken's `result` out.

Shapes: https://docs.kraken.com/api/docs/rest-api/ (one page per endpoint) and recorded replies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from krakked._sandbox.accounts import ApiRefusedError
from krakked._sandbox.candles import Candles
from krakked._sandbox.digits import LOT_TEXT_DECIMALS, NS, fixed, padded, stamp
from krakked._sandbox.listing import Asset, Pair
from krakked._sandbox.market import DayFigures, PairMarket, TickerFigures
from krakked._sandbox.venue import Venue

Params = Mapping[str, str]
Endpoint = Callable[[Venue, Params, int], object]

OHLC_INTERVALS = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
MOST_COMMITTED = 720
_MOST_SECONDS = 10**11
_LEAST_NS = 10**18
_LEAST_DECIMALS = 5  # Ticker and Trades pad prices to five digits


def server_time(venue: Venue, params: Params, now_ns: int) -> object:
    """Time: seconds, and RFC 1123 with a two-digit year."""
    del params, now_ns
    seconds = venue.clock.shown_ns() // NS
    text = time.strftime("%a, %d %b %y %H:%M:%S +0000", time.gmtime(seconds))
    return {"unixtime": seconds, "rfc1123": text}


def system_status(venue: Venue, params: Params, now_ns: int) -> object:
    """SystemStatus: with both arrays of notices since autumn 2026."""
    del params, now_ns
    status: dict[str, object] = {
        "status": venue.system,
        "timestamp": stamp(venue.clock.shown_ns(), 0),
    }
    if not venue.settings.lean_frames:
        status["upcoming_maintenance"] = list(venue.upcoming_maintenance)
        status["emergency"] = list(venue.emergency)
    return status


def maintenance_schedule(venue: Venue, params: Params, now_ns: int) -> object:
    """MaintenanceSchedule: seven days of notices. The name of the array is not verified."""
    del params, now_ns
    return {"upcoming_maintenance": list(venue.upcoming_maintenance)}


def assets(venue: Venue, params: Params, now_ns: int) -> object:
    """Assets: all, or those asked for."""
    del now_ns
    new_names = params.get("assetVersion") == "1"
    if params.get("aclass", "currency") != "currency":
        raise ApiRefusedError("EGeneral:Invalid arguments:aclass")
    chosen: Iterator[Asset] | list[Asset] = iter(venue.listing.assets)
    if "asset" in params:
        by_name = {n: a for a in venue.listing.assets for n in (a.symbol, a.altname, a.id)}
        chosen = []
        for name in params["asset"].split(","):
            if name not in by_name:
                raise ApiRefusedError("EQuery:Unknown asset")
            chosen.append(by_name[name])
    return {(a.symbol if new_names else a.id): _asset_row(a) for a in chosen}


def _asset_row(asset: Asset) -> dict[str, object]:
    row: dict[str, object] = {
        "aclass": "currency",
        "altname": asset.altname,
        "decimals": asset.decimals,
        "display_decimals": asset.display_decimals,
    }
    if asset.collateral_value is not None:
        row["collateral_value"] = asset.collateral_value
    row["status"] = asset.status
    if asset.margin_rate is not None:
        row["margin_rate"] = asset.margin_rate
    return row


def asset_pairs(venue: Venue, params: Params, now_ns: int) -> object:
    """AssetPairs: all of one class, or those asked for; keys by name version."""
    info = params.get("info", "info")
    if info not in ("info", "leverage", "fees", "margin"):
        raise ApiRefusedError("EGeneral:Invalid arguments:info")
    tokenized = params.get("aclass_base", "currency") == "tokenized_asset"
    if params.get("aclass_base", "currency") not in ("currency", "tokenized_asset"):
        raise ApiRefusedError("EGeneral:Invalid arguments:aclass_base")
    if len(params.get("country_code", "US")) != 2:
        raise ApiRefusedError("EGeneral:Invalid arguments:country_code")
    new_names = params.get("assetVersion") == "1"
    if "pair" in params:
        chosen = _named(venue, params, now_ns)
    else:
        chosen = [(p.key, p) for p in venue.pairs(now_ns, tokenized=tokenized)]
    return {
        (pair.symbol if new_names else key): _pair_row(venue, pair, info, new_names)
        for key, pair in chosen
    }


def _named(venue: Venue, params: Params, now_ns: int) -> list[tuple[str, Pair]]:
    """Return key and pair for each name in `pair`."""
    chosen = []
    for name in params["pair"].split(","):
        found = venue.by_rest_name(name, now_ns)
        if found is None:
            raise ApiRefusedError(venue.refusal_text(name))
        chosen.append(found)
    return chosen


def _pair_row(venue: Venue, pair: Pair, info: str, new_names: bool) -> dict[str, object]:
    if info == "leverage":
        return {"leverage_buy": pair.leverage_buy, "leverage_sell": pair.leverage_sell}
    if info == "fees":
        return {"fees": [], "fees_maker": [], "fee_volume_currency": "ZUSD"}
    if info == "margin":
        return {"margin_call": 80, "margin_level": 40}
    base, quote = pair.symbol.split("/") if new_names else (pair.base, pair.quote)
    row: dict[str, object] = {
        "altname": pair.altname,
        "wsname": pair.wsname,
        "aclass_base": pair.aclass_base,
        "base": base,
        "aclass_quote": "currency",
        "quote": quote,
        "lot": "unit",
        "cost_decimals": pair.cost_decimals,
        "pair_decimals": pair.pair_decimals,
        "lot_decimals": pair.lot_decimals,
        "lot_multiplier": 1,
        "leverage_buy": pair.leverage_buy,
        "leverage_sell": pair.leverage_sell,
        "fees": [],
        "fees_maker": [],
        "fee_volume_currency": "USD" if new_names else "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": pair.ordermin,
        "costmin": pair.costmin,
        "tick_size": fixed(1, pair.pair_decimals),
        "status": venue.status(pair),
        "execution_venue": "international",
    }
    if pair.margin_eligible:
        limit = max(10, round(pair.daily_cost / pair.price / 10))
        row["long_position_limit"] = limit
        row["short_position_limit"] = limit if pair.leverage_sell else 0
    return row


def ticker(venue: Venue, params: Params, now_ns: int) -> object:
    """Ticker: the pairs asked for, or all (a few keys too many, a few missing)."""
    tokenized = params.get("asset_class") == "tokenized_asset"
    if "pair" in params:
        chosen = _named(venue, params, now_ns)
        if any((p.aclass_base == "tokenized_asset") != tokenized for _, p in chosen):
            raise ApiRefusedError("EQuery:Unknown asset pair")
        return {k: _ticker_row(p, venue.market.of(p).ticker(now_ns)) for k, p in chosen}
    pairs = venue.pairs(now_ns, tokenized=tokenized)
    rows = {p.key: p for p in pairs if p.in_ticker or tokenized}
    if params.get("assetVersion") == "1":
        rows = {p.symbol: p for p in rows.values()}
    result: dict[str, object] = {
        key: _ticker_row(p, venue.market.of(p).ticker(now_ns)) for key, p in rows.items()
    }
    if not tokenized and venue.settings.pair_count is None:
        result |= dict.fromkeys(venue.listing.phantom_tickers, _DEAD_TICKER)
    return result


_DEAD_TICKER = {
    "a": ["0.00000", "0", "0.000"],
    "b": ["0.00000", "0", "0.000"],
    "c": ["0.00000", "0.00000000"],
    "v": ["0.00000000", "0.00000000"],
    "p": ["0.00000", "0.00000"],
    "t": [0, 0],
    "l": ["0.00000", "0.00000"],
    "h": ["0.00000", "0.00000"],
    "o": "0.00000",
}


def _ticker_row(pair: Pair, at: TickerFigures) -> dict[str, object]:
    def price(ticks: int) -> str:
        return padded(ticks, pair.pair_decimals, _LEAST_DECIMALS)

    def side(ticks: int, lots: int) -> list[str]:
        whole = lots // 10**pair.lot_decimals
        return [price(ticks), str(whole), f"{whole}.000"]

    def both(value: Callable[[DayFigures], str]) -> list[str]:
        return [value(at.today), value(at.day)]

    return {
        "a": side(at.ask, at.ask_lots),
        "b": side(at.bid, at.bid_lots),
        "c": [price(at.last), volume(at.last_lots, pair)],
        "v": both(lambda d: volume(d.lots, pair)),
        "p": both(lambda d: price(d.vwap)),
        "t": [at.today.count, at.day.count],
        "l": both(lambda d: price(d.low)),
        "h": both(lambda d: price(d.high)),
        "o": price(at.today.open or at.last),
    }


def volume(lots: int, pair: Pair) -> str:
    """Write a volume with eight digits."""
    return padded(lots, pair.lot_decimals, LOT_TEXT_DECIMALS)


def _one_pair(venue: Venue, params: Params, now_ns: int) -> tuple[str, Pair]:
    name = params.get("pair")
    if name is None:
        raise ApiRefusedError("EGeneral:Invalid arguments")
    found = venue.by_rest_name(name, now_ns)
    if found is None:
        raise ApiRefusedError(venue.refusal_text(name))
    tokenized = params.get("asset_class") == "tokenized_asset"
    if (found[1].aclass_base == "tokenized_asset") != tokenized:
        raise ApiRefusedError("EQuery:Unknown asset pair")
    key = found[1].symbol if params.get("assetVersion") == "1" else found[0]
    return key, found[1]


def _integer(params: Params, name: str, default: int) -> int:
    text = params.get(name, "")
    if not text:
        return default
    try:
        return int(text) if "." not in text else int(float(text))
    except ValueError:
        raise ApiRefusedError(f"EGeneral:Invalid arguments:{name}") from None


def ohlc(venue: Venue, params: Params, now_ns: int) -> object:
    """OHLC: at most 720 committed rows and always the running one; gaps filled."""
    key, pair = _one_pair(venue, params, now_ns)
    interval = _integer(params, "interval", 1)
    if interval not in OHLC_INTERVALS:
        raise ApiRefusedError("EGeneral:Invalid arguments")
    settings = venue.settings
    rows = ohlc_rows(venue.market.of(pair), interval * 60, now_ns)
    if settings.ohlc_revised_after_s:
        rows = _not_revised_yet(
            rows, venue.market.of(pair), interval * 60, now_ns / NS - settings.ohlc_revised_after_s
        )
    last = rows[-2][0] if len(rows) > 1 else rows[-1][0]
    since = _integer(params, "since", 0) + (not settings.ohlc_since_inclusive)
    rows = rows[-settings.ohlc_rows :]
    kept = [row for row in rows[:-1] if row[0] >= since]  # the running one always stays
    return {key: [*kept, rows[-1]], "last": last}


def ohlc_rows(market: PairMarket, step_s: int, now_ns: int) -> list[list[Any]]:
    """Return every row REST has: committed ones since the first trade, then the running one."""
    begin = now_ns // (step_s * NS) * step_s
    first_trade = market.tape.trades(1, 1)
    first = begin
    if len(first_trade) and int(first_trade.times[0]) <= now_ns:
        oldest = int(first_trade.times[0]) // (step_s * NS) * step_s
        first = max(begin - MOST_COMMITTED * step_s, min(oldest, begin))
    price = market.price_at(first * NS - 1)
    committed = market.closed(step_s, first, begin)
    rows = filled_rows(market.pair, committed, (first, begin), step_s, price)
    if rows:
        price = int(market.price_at(begin * NS - 1))
    running = market.running(step_s, now_ns)
    return rows + filled_rows(market.pair, running, (begin, begin + step_s), step_s, price)


def _not_revised_yet(
    rows: list[list[Any]], market: PairMarket, step_s: int, revised_s: float
) -> list[list[Any]]:
    """Return the rows of candles that ended after `revised_s` without the last tenth of them."""
    shown = [row for row in rows[:-1] if row[0] + step_s <= revised_s]
    for row in rows[len(shown) : -1]:
        opened_s = row[0]
        early = market.running(step_s, opened_s * NS + step_s * NS * 9 // 10)
        before = market.price_at(opened_s * NS - 1)
        shown += filled_rows(market.pair, early, (opened_s, opened_s + step_s), step_s, before)
    return [*shown, rows[-1]]


def filled_rows(
    pair: Pair, candles: Candles, span: tuple[int, int], step_s: int, before: int
) -> list[list[Any]]:
    """Write candles as REST rows, one for every interval; empty ones repeat the close before."""
    times = np.arange(span[0], span[1], step_s, dtype=np.int64)
    places = np.searchsorted(candles.times, times, side="right") - 1
    vwaps = candles.vwap_ticks().tolist()
    stored, opens, highs, lows, closes, lots, _, counts = (c.tolist() for c in candles.columns())
    digits = pair.pair_decimals
    rows: list[list[Any]] = []
    for at, place in zip(times.tolist(), places.tolist(), strict=True):
        if place >= 0 and stored[place] == at:
            prices = (opens[place], highs[place], lows[place], closes[place], vwaps[place])
            texts = [fixed(ticks, digits) for ticks in prices]
            rows.append([at, *texts, volume(lots[place], pair), counts[place]])
        else:
            close = fixed(closes[place] if place >= 0 else before, digits)
            rows.append([at, close, close, close, close, "0.0", "0.00000000", 0])
    return rows


def trades(venue: Venue, params: Params, now_ns: int) -> object:
    """Trades: after `since` (ns, or seconds), oldest first; without it the newest ones.

    `since` is exclusive and a page ends after `count` rows even inside equal times, so a client
    that pages by `last` alone loses trades.
    """
    key, pair = _one_pair(venue, params, now_ns)
    count = _integer(params, "count", 1000)
    if not 1 <= count <= 1000:
        raise ApiRefusedError("EGeneral:Invalid arguments:count")
    tape = venue.market.of(pair).tape
    newest = tape.count_at(now_ns)
    if "since" in params:
        since_ns = _since_ns(params, now_ns)
        first = tape.count_at(min(since_ns, now_ns)) + 1
    else:
        since_ns = 0
        first = max(1, newest - count + 1)
    found = tape.trades(first, min(newest, first + count - 1))
    rows = [
        [
            padded(price, pair.pair_decimals, _LEAST_DECIMALS),
            volume(lots, pair),
            at / NS,
            "b" if buy else "s",
            "m" if market else "l",
            "",
            trade_id,
        ]
        for trade_id, at, price, lots, buy, market in zip(
            found.ids.tolist(),
            found.times.tolist(),
            found.prices.tolist(),
            found.lots.tolist(),
            found.buys.tolist(),
            found.markets.tolist(),
            strict=True,
        )
    ]
    last = int(found.times[-1]) if rows else since_ns
    return {key: rows, "last": str(last)}


def _since_ns(params: Params, now_ns: int) -> int:
    """Read `since`: ns, or seconds (whole or with a point) when it has few digits.

    Anything between, up to 18 digits, is misread. How is not known; here as the present.
    """
    text = params["since"]
    try:
        if "." in text:
            return int(float(text) * NS)
        value = int(text)
    except ValueError:
        raise ApiRefusedError("EGeneral:Invalid arguments:since") from None
    if _MOST_SECONDS <= value < _LEAST_NS:
        return now_ns
    return value * NS if value < _MOST_SECONDS else value


PUBLIC: dict[str, Endpoint] = {
    "Time": server_time,
    "SystemStatus": system_status,
    "MaintenanceSchedule": maintenance_schedule,
    "Assets": assets,
    "AssetPairs": asset_pairs,
    "Ticker": ticker,
    "OHLC": ohlc,
    "Trades": trades,
}
PER_PAIR = frozenset({"OHLC", "Trades"})
"""Endpoints limited per IP and pair as well."""
