"""Reading one entry of AssetPairs, whatever is missing or odd in it. Pure.

Also the two-row table from wsname to WebSocket v2 symbol; the only place that knows it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from krakked.errors import MarketDataError
from krakked.market.pairs import PairMetadata

V2_ASSET_NAMES: Final[dict[str, str]] = {"XBT": "BTC", "XDG": "DOGE"}
"""The only two assets that WebSocket v2 names differently, on either side of the slash.

Source: Kraken guide "Spot WebSocket introduction", FAQ (XBT/USD missing); an `instrument` snapshot
wins where it disagrees.
"""


def parse_pair(
    key: str,
    entry: Mapping[str, Any],
    *,
    volume_24h: float | None = None,
    instrument: Collection[str] | None = None,
) -> PairMetadata:
    """Read one entry of AssetPairs; everything but the key may be missing or odd."""
    altname = text_of(entry, "altname") or key
    wsname = text_of(entry, "wsname")
    base, quote = _asset_names(altname, wsname, text_of(entry, "base"), text_of(entry, "quote"))
    return PairMetadata(
        canonical=altname,
        base=base,
        quote=quote,
        rest_symbol=altname,
        # Dark pools have no wsname and no live data: their own name takes no other's place.
        ws_symbol=v2_symbol(base, quote, wsname=wsname, instrument=instrument)
        if wsname
        else altname,
        wsname=wsname or altname,
        raw_name=key,
        price_decimals=_integer(entry, "pair_decimals"),
        volume_decimals=_integer(entry, "lot_decimals"),
        lot_size=_number(entry.get("lot_multiplier")) or 1.0,
        status=text_of(entry, "status"),
        ordermin=_number(entry.get("ordermin")),
        costmin=_number(entry.get("costmin")),
        tick_size=_number(entry.get("tick_size")),
        margin_eligible=top_leverage(entry) > 0,
        volume_24h_usd=volume_24h,
    )


def v2_symbol(
    base: str, quote: str, *, wsname: str = "", instrument: Collection[str] | None = None
) -> str:
    """Give the name of a pair in WebSocket v2: the two-row table on either side.

    Where an `instrument` snapshot is known and holds another spelling of the pair instead, the
    snapshot wins.
    """
    new_base, new_quote = V2_ASSET_NAMES.get(base, base), V2_ASSET_NAMES.get(quote, quote)
    symbol = f"{new_base}/{new_quote}"
    if instrument is not None and symbol not in instrument:
        for other in (wsname, f"{base}/{quote}", f"{new_base}/{quote}", f"{base}/{new_quote}"):
            if other in instrument:
                return other
    return symbol


def volume_24h(ticker: Mapping[str, Any] | None) -> float | None:
    """Give the 24 h volume in quote units: base volume times vwap; None when not known.

    Source: Kraken REST "Get Ticker Information", `v[1]` and `p[1]` (last 24 hours).
    """
    if ticker is None:
        return None
    try:
        product = float(ticker["v"][1]) * float(ticker["p"][1])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return product if math.isfinite(product) and product >= 0 else None


def read_entries(reply: bytes | str | Mapping[str, Any], what: str) -> dict[str, dict[str, Any]]:
    """Take the entries out of a reply in any of its shapes; odd entries are passed over."""
    if isinstance(reply, bytes | bytearray | memoryview | str):
        try:
            decoded: Any = msgspec.json.decode(reply)
        except msgspec.DecodeError as error:
            raise MarketDataError(f"Not a reply of {what}: not JSON.") from error
    else:
        decoded = reply
    # A pair is never called "error": both keys together are the envelope.
    if isinstance(decoded, Mapping) and isinstance(decoded.get("error"), list):
        failures = [str(e) for e in decoded["error"] if str(e).startswith("E")]
        if failures:
            raise MarketDataError(f"The reply of {what} is an error: {failures[0]}.")
        decoded = decoded.get("result")
    if not isinstance(decoded, Mapping):
        raise MarketDataError(f"Not a reply of {what}: no object of pairs in it.")
    entries: dict[str, dict[str, Any]] = {}
    for key, value in decoded.items():
        entry = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
        if isinstance(key, str) and key and isinstance(entry, Mapping):
            entries[key] = dict(entry)
    return entries


def ticker_of(
    tickers: Mapping[str, dict[str, Any]], key: str, entry: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Find a pair's ticker; None when there is none."""
    # Ticker answers under the AssetPairs key; a decoded mapping may use the altname.
    return tickers.get(key) or tickers.get(text_of(entry, "altname"))


def _asset_names(altname: str, wsname: str, base_id: str, quote_id: str) -> tuple[str, str]:
    base, slash, quote = wsname.partition("/")
    if slash and base and quote:
        return base, quote
    # No wsname (old dark pools): of the ids with and without Kraken's leading X or Z take the two
    # that spell the altname. A comparison, not a parse: nothing is cut without that proof.
    plain = altname.removesuffix(".d")
    for short_base in (base_id, base_id[1:]):
        for short_quote in (quote_id, quote_id[1:]):
            if short_base and short_quote and short_base + short_quote == plain:
                return short_base, short_quote
    return base_id or altname, quote_id


def text_of(entry: Mapping[str, Any], field: str) -> str:
    """Give a text field, empty when it is missing or no text."""
    value = entry.get(field)
    return value if isinstance(value, str) else ""


def _integer(entry: Mapping[str, Any], field: str) -> int:
    value = entry.get(field)
    return value if isinstance(value, int) else 0


def _number(value: object) -> float | None:
    if not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def top_leverage(entry: Mapping[str, Any]) -> int:
    """Highest leverage Kraken offers for the pair, 0 for none."""
    steps = [
        step
        for field in ("leverage_buy", "leverage_sell")
        if isinstance(entry.get(field), list | tuple)
        for step in entry[field]
    ]
    return max(
        (int(step) for step in steps if isinstance(step, int | float) and math.isfinite(step)),
        default=int(bool(steps)),
    )
