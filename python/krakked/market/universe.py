"""Which pairs may be traded, and why the others may not: pure rules over one AssetPairs reply.

No I/O and no clock here. The order of the rules is fixed: quote, spot class, status, base, margin,
liquidity, then the configuration's `include_pairs`, and `exclude_pairs` last. Every pair that is
left out keeps the first rule it failed and a sentence about it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from krakked.config.settings import MarginEligible, RegionProfile, UniverseSettings
from krakked.errors import MarketDataError
from krakked.market.pairs import PairMetadata, PairTable

V2_ASSET_NAMES: Final[dict[str, str]] = {"XBT": "BTC", "XDG": "DOGE"}
"""The only two assets that WebSocket v2 names differently, on either side of the slash.

Source: Kraken guide "Spot WebSocket introduction", FAQ (XBT/USD missing); an `instrument` snapshot
wins where it disagrees.
"""

SPOT_CLASS: Final = "currency"
"""Asset class of spot pairs. Source: Kraken REST "Get Tradable Asset Pairs", `aclass_base`."""


class Rule(StrEnum):
    """The rule that left a pair out."""

    QUOTE = "quote"
    SPOT_CLASS = "spot_class"
    STATUS = "status"
    BASE = "exclude_bases"
    MARGIN = "margin_eligible"
    NO_TICKER = "no_ticker"
    LIQUIDITY = "liquidity"
    EXCLUDED = "exclude_pairs"


class Universe(msgspec.Struct, frozen=True, kw_only=True):
    """The pairs that may be traded, and the reason of every pair that may not."""

    pairs: tuple[str, ...]
    """Canonical names, in the order of Kraken's reply, each once."""
    metadata: dict[str, PairMetadata]
    """Metadata of `pairs`, by canonical name, in the same order."""
    excluded: dict[str, str]
    """Canonical name of every other known pair, and why it was left out, in plain words."""
    rules: dict[str, Rule]
    """Canonical name of every other known pair, and the rule that left it out."""
    warnings: tuple[str, ...]
    """What the user should know: unknown names with the nearest match, odd admissions."""
    table: PairTable
    """Every spelling of every known pair, inside the universe or not."""
    leverage: dict[str, int]
    """Highest leverage of every margin-eligible pair, by canonical name."""
    settings: UniverseSettings
    """The settings it was built with."""

    def why(self, name: str) -> str:
        """Say in one sentence why a pair (any spelling) is in the universe, or is not.

        Raises:
            UnknownPairError: No pair is spelled so; the nearest name is suggested.
        """
        canonical = self.table.resolve(name)
        reason = self.excluded.get(canonical)
        if reason is not None:
            return f"{canonical} is left out: {reason}"
        if canonical in {self.table.resolve(n) for n in self._known(self.settings.include_pairs)}:
            return f"{canonical} is in the universe: include_pairs names it."
        return f"{canonical} is in the universe: it passes every rule."

    def _known(self, names: Collection[str]) -> list[str]:
        return [name for name in names if name in self.table]


def build_universe(
    asset_pairs: bytes | str | Mapping[str, Any],
    *,
    region: RegionProfile | None = None,
    settings: UniverseSettings | None = None,
    ticker: bytes | str | Mapping[str, Any] | None = None,
    instrument: Collection[str] | None = None,
) -> Universe:
    """Build the universe from one AssetPairs reply.

    Args:
        asset_pairs: The whole reply (``{"error": [], "result": {...}}``) or its result, as bytes
            or decoded. Unknown fields, statuses and classes are fine.
        region: Region profile; its `default_quote` decides the first rule. Default: US_CA, USD.
        settings: The `universe:` settings. Default: the contract's rules.
        ticker: An all-pairs Ticker reply (same shapes) for the liquidity floor and the volumes.
        instrument: WebSocket v2 symbols of an `instrument` snapshot; wins over the naming rules.

    Returns:
        The universe; `pairs` in the order of the reply.

    Raises:
        MarketDataError: `asset_pairs` or `ticker` is no such reply.

    Source: Kraken REST "Get Tradable Asset Pairs" and "Get Ticker Information".
    """
    region = region or RegionProfile()
    settings = settings or UniverseSettings()
    entries = _entries(asset_pairs, "AssetPairs")
    tickers = None if ticker is None else _entries(ticker, "Ticker")
    warnings: list[str] = []
    known: dict[str, tuple[PairMetadata, dict[str, Any]]] = {}
    for key, entry in entries.items():
        volume = None if tickers is None else volume_24h(_ticker_of(tickers, key, entry))
        pair = parse_pair(key, entry, volume_24h=volume, instrument=instrument)
        if pair.canonical in known:
            warnings.append(
                f"{pair.canonical} is listed twice ({known[pair.canonical][0].raw_name} and "
                f"{key}); the first is used."
            )
            continue
        known[pair.canonical] = (pair, entry)
    table = PairTable(pair for pair, _ in known.values())
    if settings.min_24h_volume_usd > 0 and tickers is None:
        warnings.append(
            "min_24h_volume_usd is set but no ticker is known: every pair counts as untraded."
        )
    includes = _resolve_names(table, settings.include_pairs, "include_pairs", warnings)
    excludes = _resolve_names(table, settings.exclude_pairs, "exclude_pairs", warnings)
    bases = _resolve_bases(known, settings.exclude_bases, warnings)

    metadata: dict[str, PairMetadata] = {}
    excluded: dict[str, str] = {}
    rules: dict[str, Rule] = {}
    for canonical, (pair, entry) in known.items():
        failed = _first_failed_rule(pair, entry, region, settings, bases)
        if canonical in includes and canonical not in excludes:
            warnings.extend(_odd_admission(pair, failed))
            failed = None
        if canonical in excludes:
            failed = (Rule.EXCLUDED, "exclude_pairs names it.")
        if failed is None:
            metadata[canonical] = pair
        else:
            rules[canonical], excluded[canonical] = failed
    return Universe(
        pairs=tuple(metadata),
        metadata=metadata,
        excluded=excluded,
        rules=rules,
        warnings=tuple(warnings),
        table=table,
        leverage={c: _leverage(e) for c, (p, e) in known.items() if p.margin_eligible},
        settings=settings,
    )


# --- reading one entry -----------------------------------------------------------------------


def parse_pair(
    key: str,
    entry: Mapping[str, Any],
    *,
    volume_24h: float | None = None,
    instrument: Collection[str] | None = None,
) -> PairMetadata:
    """Read one entry of AssetPairs; everything but the key may be missing or odd."""
    altname = _text(entry, "altname") or key
    wsname = _text(entry, "wsname")
    base, quote = _asset_names(altname, wsname, _text(entry, "base"), _text(entry, "quote"))
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
        status=_text(entry, "status"),
        ordermin=_number(entry.get("ordermin")),
        costmin=_number(entry.get("costmin")),
        tick_size=_number(entry.get("tick_size")),
        margin_eligible=_leverage(entry) > 0,
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


def _entries(reply: bytes | str | Mapping[str, Any], what: str) -> dict[str, dict[str, Any]]:
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


def _ticker_of(
    tickers: Mapping[str, dict[str, Any]], key: str, entry: Mapping[str, Any]
) -> dict[str, Any] | None:
    # Ticker answers under the AssetPairs key; a decoded mapping may use the altname.
    return tickers.get(key) or tickers.get(_text(entry, "altname"))


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


def _text(entry: Mapping[str, Any], field: str) -> str:
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


def _leverage(entry: Mapping[str, Any]) -> int:
    """Highest leverage Kraken offers for the pair, 0 for none."""
    steps = [
        step
        for field in ("leverage_buy", "leverage_sell")
        if isinstance(entry.get(field), list | tuple)
        for step in entry[field]
    ]
    return max(
        (int(step) for step in steps if isinstance(step, int | float)), default=int(bool(steps))
    )


# --- the rules -------------------------------------------------------------------------------


def _first_failed_rule(  # noqa: PLR0911 - one return for each rule
    pair: PairMetadata,
    entry: Mapping[str, Any],
    region: RegionProfile,
    settings: UniverseSettings,
    bases: Collection[str],
) -> tuple[Rule, str] | None:
    quote = _text(entry, "quote")
    wanted = region.default_quote
    if quote not in {wanted, f"Z{wanted}"}:
        return Rule.QUOTE, f"it is quoted in {pair.quote or 'nothing known'}, not in {wanted}."
    unfit = _not_spot(pair, entry)
    if unfit is not None:
        return Rule.SPOT_CLASS, unfit
    if pair.status != "online":
        return Rule.STATUS, f"its status is {pair.status or 'not given'}, not online."
    if pair.base in bases:
        return Rule.BASE, f"exclude_bases names {pair.base}."
    if pair.margin_eligible and settings.margin_eligible is MarginEligible.EXCLUDE:
        return Rule.MARGIN, (
            "Kraken offers it on margin (up to "
            f"{_leverage(entry)}x), and universe.margin_eligible is exclude."
        )
    floor = settings.min_24h_volume_usd
    if floor > 0 and pair.volume_24h_usd is None:
        return Rule.NO_TICKER, f"no ticker is known for it, and the floor is {floor:,.0f} a day."
    if floor > 0 and (pair.volume_24h_usd or 0.0) < floor:
        return Rule.LIQUIDITY, (
            f"its 24 h volume of {pair.volume_24h_usd:,.0f} {wanted} is below the floor "
            f"of {floor:,.0f}."
        )
    return None


def _not_spot(pair: PairMetadata, entry: Mapping[str, Any]) -> str | None:
    for field in ("aclass_base", "aclass_quote"):
        aclass = _text(entry, field) or SPOT_CLASS
        if aclass != SPOT_CLASS:
            return f"its {field} is {aclass}, not a spot currency."
    # Dark pools were listed until 2021 or so and may come back.
    if pair.raw_name.endswith(".d") or pair.canonical.endswith(".d"):
        return "it is a dark pool."
    if not _text(entry, "wsname"):
        return "Kraken gives it no wsname, so it has no live data."
    return None


def _odd_admission(pair: PairMetadata, failed: tuple[Rule, str] | None) -> list[str]:
    if failed is None or failed[0] not in {Rule.QUOTE, Rule.SPOT_CLASS, Rule.STATUS}:
        return []
    sentences = [f"{pair.canonical} is admitted by include_pairs although {failed[1]}"]
    if failed[0] is Rule.QUOTE and pair.status != "online":
        sentences.append(
            f"{pair.canonical} is admitted by include_pairs although its status is "
            f"{pair.status or 'not given'}, not online."
        )
    return sentences


def _resolve_names(
    table: PairTable, names: Collection[str], setting: str, warnings: list[str]
) -> set[str]:
    resolved: set[str] = set()
    for name in names:
        if name in table:
            resolved.add(table.resolve(name))
            continue
        nearest = table.nearest(name)
        hint = f"; the nearest known name is {nearest}" if nearest else ""
        warnings.append(f"{setting} names {name!r}, which Kraken does not list{hint}.")
    return resolved


def _resolve_bases(
    known: Mapping[str, tuple[PairMetadata, Mapping[str, Any]]],
    names: Collection[str],
    warnings: list[str],
) -> set[str]:
    spellings: dict[str, str] = {}
    for pair, entry in known.values():
        for spelling in (_text(entry, "base"), V2_ASSET_NAMES.get(pair.base, pair.base), pair.base):
            spellings[spelling] = pair.base
    resolved: set[str] = set()
    for name in names:
        if name in spellings:
            resolved.add(spellings[name])
            continue
        near = difflib.get_close_matches(name, spellings, n=1)
        hint = f"; the nearest known asset is {spellings[near[0]]}" if near else ""
        warnings.append(f"exclude_bases names {name!r}, which is no base asset{hint}.")
    return resolved
