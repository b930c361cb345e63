"""Reading one entry of AssetPairs, whatever is missing or odd in it. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from krakked._errors import MarketDataError
from krakked._market.pairs import V2_ASSET_NAMES, PairMetadata
from krakked._unreadable import UNREADABLE

NO_OBJECT: Final = "it is no object"
"""Why an entry is unfit that holds nothing at all."""

MAX_DECIMALS: Final = 18
"""Most digits behind the point that are believed; Kraken's most are about 10."""


def parse_pair(
    key: str,
    entry: Mapping[str, Any],
    *,
    volume_24h: float | None = None,
    instrument: Collection[str] | None = None,
) -> PairMetadata:
    """Read one entry of AssetPairs; everything but the key may be missing or odd.

    A wrong number of digits is a wrong price, so what is needed and cannot be read is told in
    `PairMetadata.unfit`.
    """
    price_decimals, volume_decimals = (
        _decimals(entry, field) for field in ("pair_decimals", "lot_decimals")
    )
    lot_size = _number(entry.get("lot_multiplier"))
    unfit = [
        f"{field} is {_odd(entry, field)}"
        for field, value in (
            ("pair_decimals", price_decimals),
            ("lot_decimals", volume_decimals),
            ("lot_multiplier", lot_size or None),
            ("base", text_of(entry, "base") or None),
        )
        if value is None
    ]
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
        price_decimals=price_decimals or 0,
        volume_decimals=volume_decimals or 0,
        lot_size=lot_size or 1.0,
        status=text_of(entry, "status"),
        ordermin=_number(entry.get("ordermin")),
        costmin=_number(entry.get("costmin")),
        tick_size=_number(entry.get("tick_size")) or None,  # 0 is no step
        margin_eligible=top_leverage(entry) > 0,
        volume_24h_usd=volume_24h,
        unfit=", ".join(unfit) if entry else NO_OBJECT,
    )


def v2_symbol(
    base: str, quote: str, *, wsname: str = "", instrument: Collection[str] | None = None
) -> str:
    """Return the name of a pair in WebSocket v2: the two-row table on either side.

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
    """Return the 24 h volume in quote units: base volume times vwap; None when not known.

    Source: Kraken REST "Get Ticker Information", `v[1]` and `p[1]` (last 24 hours).
    """
    if ticker is None:
        return None
    try:
        product = float(ticker["v"][1]) * float(ticker["p"][1])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return product if math.isfinite(product) and product >= 0 else None


def read_entries(reply: bytes | str | Mapping[str, Any], what: str) -> dict[str, Mapping[str, Any]]:
    """Take the entries out of a reply in any of its shapes; one that is no object comes empty.

    Raises:
        MarketDataError: It is no reply of `what`.
    """
    if isinstance(reply, bytes | bytearray | memoryview | str):
        try:
            decoded: Any = msgspec.json.decode(reply)
        except UNREADABLE as error:
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
    entries: dict[str, Mapping[str, Any]] = {}
    for key, value in decoded.items():
        entry = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
        if isinstance(key, str) and key:
            entries[key] = entry if isinstance(entry, Mapping) else {}
    return entries


def ticker_of(
    tickers: Mapping[str, Mapping[str, Any]], key: str, entry: Mapping[str, Any]
) -> Mapping[str, Any] | None:
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
    """Return a text field, empty when it is missing or no text."""
    value = entry.get(field)
    return value if isinstance(value, str) else ""


def _decimals(entry: Mapping[str, Any], field: str) -> int | None:
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MAX_DECIMALS else None


def _odd(entry: Mapping[str, Any], field: str) -> str:
    if field not in entry:
        return "missing"
    value = entry[field]
    short = isinstance(value, int | float | str | None) and len(repr(value)) <= 20
    return repr(value) if short else f"a {type(value).__name__}"


def _number(value: object) -> float | None:
    """Read a number from 0 on; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def top_leverage(entry: Mapping[str, Any]) -> int:
    """Highest leverage Kraken offers for the pair, buying or selling; 0 for none."""
    steps: list[object] = []
    for field in ("leverage_buy", "leverage_sell"):
        value = entry.get(field)
        steps += value if isinstance(value, list | tuple) else [value] if value else []
    # A leverage that cannot be read is one all the same: the margin rule must see it.
    return max((max(1, int(_number(step) or 1)) for step in steps), default=0)
