"""One tradable pair, and the one table that converts between its four spellings.

Kraken names a pair in four ways (AssetPairs key ``XXBTZUSD``, altname ``XBTUSD``, wsname
``XBT/USD``, WebSocket v2 symbol ``BTC/USD``). Everywhere in krakked a pair is its *canonical* name,
the altname; only this module converts, and it never parses or upper-cases a name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import msgspec

from krakked.errors import UnknownPairError


class PairMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What Kraken says about one pair."""

    canonical: str
    """Kraken's altname, such as ``XBTUSD``: krakked's only name for the pair."""
    base: str
    """Short name of the base asset, such as ``XBT`` (left of the wsname's slash)."""
    quote: str
    """Short name of the quote asset, such as ``USD``."""
    rest_symbol: str
    """Name for REST calls: the altname."""
    ws_symbol: str
    """Name that WebSocket v2 accepts, such as ``BTC/USD`` (v2 refuses ``XBT/USD``)."""
    wsname: str
    """Kraken's wsname, such as ``XBT/USD`` (WebSocket v1)."""
    raw_name: str
    """Key in the AssetPairs reply, such as ``XXBTZUSD``."""
    price_decimals: int
    """Digits of a price (``pair_decimals``)."""
    volume_decimals: int
    """Digits of a volume (``lot_decimals``)."""
    lot_size: float
    """Kraken's ``lot_multiplier``."""
    status: str
    """``online``, ``cancel_only``, ... ; an open set."""
    ordermin: float | None = None
    """Least order volume, base units."""
    costmin: float | None = None
    """Least order cost, quote units."""
    tick_size: float | None = None
    """Price step, quote units."""
    margin_eligible: bool = False
    """Whether ``leverage_buy`` or ``leverage_sell`` is non-empty; spot orders need no leverage."""
    volume_24h_usd: float | None = None
    """24 h volume in quote units (``v[1] * p[1]`` of Ticker), where known."""


class PairTable:
    """Every spelling of every known pair, looked up in one step. Immutable once built."""

    def __init__(self, pairs: Iterable[PairMetadata]) -> None:
        self._by_canonical: dict[str, PairMetadata] = {p.canonical: p for p in pairs}
        spellings: dict[str, str] = {}
        # Weaker spellings first, so that a canonical name always means itself.
        for attribute in ("wsname", "ws_symbol", "raw_name", "canonical"):
            for pair in self._by_canonical.values():
                spellings[getattr(pair, attribute)] = pair.canonical
        self._canonical_by_spelling = spellings
        self._canonical_by_symbol = {p.ws_symbol: p.canonical for p in self._by_canonical.values()}

    @property
    def by_canonical(self) -> Mapping[str, PairMetadata]:
        """Metadata by canonical name, in order."""
        return self._by_canonical

    def __contains__(self, name: object) -> bool:
        return name in self._canonical_by_spelling

    def __len__(self) -> int:
        return len(self._by_canonical)

    def resolve(self, name: str) -> str:
        """Give the canonical name of any spelling.

        Raises:
            UnknownPairError: No pair is spelled so; the nearest name is suggested.
        """
        canonical = self._canonical_by_spelling.get(name)
        if canonical is None:
            suggestion = self.nearest(name)
            hint = f" Did you mean {suggestion}?" if suggestion else ""
            raise UnknownPairError(
                f"Unknown pair {name!r}.{hint} Names are case-sensitive.",
                pair=str(name),
                suggestion=suggestion,
            )
        return canonical

    def metadata(self, name: str) -> PairMetadata:
        """Give the metadata of a pair by any spelling; raises `UnknownPairError`."""
        return self._by_canonical[self.resolve(name)]

    def canonical_of_symbol(self, symbol: str) -> str | None:
        """Give the canonical name behind a WebSocket v2 symbol, or None."""
        return self._canonical_by_symbol.get(symbol)

    def nearest(self, name: str) -> str | None:
        """Give the canonical name most like `name`, or None when nothing is close."""
        folded = {spelling.upper(): c for spelling, c in self._canonical_by_spelling.items()}
        near = difflib.get_close_matches(str(name).upper(), folded, n=1, cutoff=0.6)
        return folded[near[0]] if near else None
