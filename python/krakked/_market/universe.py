"""Which pairs may be traded, and why the others may not: pure rules over one AssetPairs reply.

No I/O and no clock here. The order of the rules is fixed: quote, spot class, status, fitness of
the entry, base, margin, liquidity, then the configuration's `include_pairs`, and `exclude_pairs`
last. Every pair that is left out keeps the first rule it failed and a sentence about it.
"""

import difflib
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from krakked._config.settings import MarginEligible, RegionProfile, UniverseSettings
from krakked._market.pairs import NEAR, PairMetadata, PairTable, asset_names, fold
from krakked._market.universe_entries import (
    NO_OBJECT,
    parse_pair,
    read_entries,
    text_of,
    ticker_of,
    top_leverage,
    volume_24h,
)
from krakked._public import public

SPOT_CLASS: Final = "currency"
"""Asset class of spot pairs. Source: Kraken REST "Get Tradable Asset Pairs", `aclass_base`."""


@public
class UniverseRule(StrEnum):
    """The rule that left a pair out."""

    QUOTE = "quote"
    """Another quote currency than the region's."""
    SPOT_CLASS = "spot_class"
    """No spot pair of currencies."""
    STATUS = "status"
    """Not ``online``."""
    UNFIT = "unfit"
    """Kraken's entry lacks what trading needs."""
    BASE = "exclude_bases"
    """`exclude_bases` names its base."""
    MARGIN = "margin_eligible"
    """Eligible for margin, see `margin_eligible`."""
    NO_TICKER = "no_ticker"
    """No ticker, so its volume is not known."""
    LIQUIDITY = "liquidity"
    """Below `min_24h_volume_usd`."""
    EXCLUDED = "exclude_pairs"
    """`exclude_pairs` names it."""


@public
class Universe(msgspec.Struct, frozen=True, kw_only=True):
    """The pairs that may be traded, and the reason of every pair that may not."""

    pairs: tuple[str, ...]
    """Canonical names, in the order of Kraken's reply, each once."""
    metadata: dict[str, PairMetadata]
    """Metadata of `pairs`, by canonical name, in the same order."""
    excluded: dict[str, str]
    """Canonical name of every other known pair, and why it was left out, in plain words."""
    rules: dict[str, UniverseRule]
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


@public
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
        settings: The `universe:` settings. Default: those of `UniverseSettings`.
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
    entries = read_entries(asset_pairs, "AssetPairs")
    tickers = None if ticker is None else read_entries(ticker, "Ticker")
    warnings: list[str] = []
    known: dict[str, tuple[PairMetadata, Mapping[str, Any]]] = {}
    for key, entry in entries.items():
        volume = None if tickers is None else volume_24h(ticker_of(tickers, key, entry))
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
    rules: dict[str, UniverseRule] = {}
    for canonical, (pair, entry) in known.items():
        failed = _first_failed_rule(pair, entry, region, settings, bases)
        if canonical in includes and canonical not in excludes:
            warnings.extend(_odd_admission(pair, failed))
            failed = failed if pair.unfit == NO_OBJECT else None
        if canonical in excludes:
            failed = (UniverseRule.EXCLUDED, "exclude_pairs names it.")
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
        leverage={c: top_leverage(e) for c, (p, e) in known.items() if p.margin_eligible},
        settings=settings,
    )


# --- the rules -------------------------------------------------------------------------------


def _first_failed_rule(  # noqa: PLR0911 - one return for each rule
    pair: PairMetadata,
    entry: Mapping[str, Any],
    region: RegionProfile,
    settings: UniverseSettings,
    bases: Collection[str],
) -> tuple[UniverseRule, str] | None:
    if pair.unfit == NO_OBJECT:
        return UniverseRule.UNFIT, _unfit(pair)
    quote = text_of(entry, "quote")
    wanted = region.default_quote
    if quote not in {wanted, f"Z{wanted}"}:
        return (
            UniverseRule.QUOTE,
            f"it is quoted in {pair.quote or 'nothing known'}, not in {wanted}.",
        )
    unfit = _not_spot(pair, entry)
    if unfit is not None:
        return UniverseRule.SPOT_CLASS, unfit
    if pair.status != "online":
        return UniverseRule.STATUS, f"its status is {pair.status or 'not given'}, not online."
    if pair.unfit:
        return UniverseRule.UNFIT, _unfit(pair)
    if pair.base in bases:
        return UniverseRule.BASE, f"exclude_bases names {pair.base}."
    if pair.margin_eligible and settings.margin_eligible is MarginEligible.EXCLUDE:
        return UniverseRule.MARGIN, (
            "Kraken offers it on margin (up to "
            f"{top_leverage(entry)}x), and universe.margin_eligible is exclude."
        )
    floor = settings.min_24h_volume_usd
    if floor > 0 and pair.volume_24h_usd is None:
        return (
            UniverseRule.NO_TICKER,
            f"no ticker is known for it, and the floor is {floor:,.0f} a day.",
        )
    if floor > 0 and (pair.volume_24h_usd or 0.0) < floor:
        return UniverseRule.LIQUIDITY, (
            f"its 24 h volume of {pair.volume_24h_usd:,.0f} {wanted} is below the floor "
            f"of {floor:,.0f}."
        )
    return None


def _not_spot(pair: PairMetadata, entry: Mapping[str, Any]) -> str | None:
    for field in ("aclass_base", "aclass_quote"):
        aclass = entry.get(field, SPOT_CLASS)  # old entries have none
        if aclass != SPOT_CLASS:
            told = aclass if isinstance(aclass, str) else "nothing known"
            return f"its {field} is {told}, not a spot currency."
    # Dark pools were listed until 2021 or so and may come back.
    if pair.raw_name.endswith(".d") or pair.canonical.endswith(".d"):
        return "it is a dark pool."
    if not text_of(entry, "wsname"):
        return "Kraken gives it no wsname, so it has no live data."
    return None


def _unfit(pair: PairMetadata) -> str:
    return f"Kraken's entry of it cannot be used: {pair.unfit}."


def _odd_admission(pair: PairMetadata, failed: tuple[UniverseRule, str] | None) -> list[str]:
    """Say what the user should know of a pair that `include_pairs` names."""
    name = pair.canonical
    if pair.unfit == NO_OBJECT:
        return [f"{name} is left out although include_pairs names it: {_unfit(pair)}"]
    found = [] if failed is None else [failed]
    if pair.status != "online":
        found.append(
            (UniverseRule.STATUS, f"its status is {pair.status or 'not given'}, not online.")
        )
    if pair.unfit:
        found.append((UniverseRule.UNFIT, _unfit(pair)))
    odd = {UniverseRule.QUOTE, UniverseRule.SPOT_CLASS, UniverseRule.STATUS, UniverseRule.UNFIT}
    told = dict.fromkeys(reason for rule, reason in found if rule in odd)
    return [f"{name} is admitted by include_pairs although {reason}" for reason in told]


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
        for spelling in (text_of(entry, "base"), *asset_names(pair.base), pair.base):
            spellings[fold(spelling)] = pair.base
    resolved: set[str] = set()
    for name in names:
        if fold(name) in spellings:
            resolved.add(spellings[fold(name)])
            continue
        near = difflib.get_close_matches(fold(name), spellings, n=1, cutoff=NEAR)
        hint = f"; the nearest known asset is {spellings[near[0]]}" if near else ""
        warnings.append(f"exclude_bases names {name!r}, which is no base asset{hint}.")
    return resolved
