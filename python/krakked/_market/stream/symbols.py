"""From canonical names to WebSocket v2 symbols and back, with the exchange's own list on top. Pure.

`PairTable` derives the symbol by two rules (XBT to BTC, XDG to DOGE); where the ``instrument``
snapshot disagrees, the snapshot wins. Source: Kraken "Spot Websockets (v2)", instrument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from krakked._market.pairs import PairMetadata, PairTable
from krakked._unreadable import UNREADABLE

DELISTED = frozenset({"delisted"})
"""Pair states after which a subscription brings nothing more."""


class _InstrumentPair(msgspec.Struct):
    symbol: str
    status: str = "online"


class _Data(msgspec.Struct):
    pairs: list[msgspec.Raw] = []


_decoder = msgspec.json.Decoder(_Data)
_pair_decoder = msgspec.json.Decoder(_InstrumentPair)


def decode_instrument(raw_json: str | bytes) -> dict[str, str]:
    """Return symbol to status of every pair in the ``data`` of an ``instrument`` frame.

    Pairs that make no sense are left out; what makes none at all gives {}.
    """
    try:
        rows = _decoder.decode(raw_json).pairs
    except UNREADABLE:
        return {}
    statuses: dict[str, str] = {}
    for row in rows:
        try:
            pair = _pair_decoder.decode(row)
        except UNREADABLE:
            continue
        statuses[pair.symbol] = pair.status
    return statuses


def find_symbol(pair: PairMetadata, listed: Iterable[str]) -> str | None:
    """Return the symbol under which the exchange lists a pair, or None when it lists it not."""
    known = listed if isinstance(listed, Mapping | set | frozenset) else set(listed)
    return next((s for s in (pair.ws_symbol, pair.wsname) if s in known), None)


class SymbolNames:
    """The present mapping between canonical names and symbols, both ways."""

    def __init__(self) -> None:
        self._symbol_of: dict[str, str] = {}
        self._canonical_of: dict[str, str] = {}
        self._listed: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self.statuses: dict[str, str] = {}
        """Canonical name to the exchange's state of the pair, where it is not ``online``."""

    def unlisted(self, statuses: Mapping[str, str]) -> set[str]:
        """Return the symbols that an earlier list lacked; none when this is the first list."""
        return {s for s in statuses if s not in self._listed} if self._listed else set()

    def status_changed(self, canonical: str, status: str) -> bool:
        """Note the exchange's state of a pair; True when it is another one than before."""
        before = self._told.get(canonical, "online")
        self._told[canonical] = status
        return status != before

    def add(self, canonical: str, table: PairTable) -> str:
        """Note a pair; give its symbol. Raises `UnknownPairError`."""
        pair = table.metadata(canonical)
        symbol = (self._listed and find_symbol(pair, self._listed)) or pair.ws_symbol
        self._symbol_of[canonical] = symbol
        self._canonical_of[symbol] = canonical
        return symbol

    def remove(self, canonical: str) -> str | None:
        """Forget a pair; give the symbol it had."""
        symbol = self._symbol_of.pop(canonical, None)
        if symbol is not None:
            self._canonical_of.pop(symbol, None)
        self.statuses.pop(canonical, None)
        return symbol

    def symbol(self, canonical: str) -> str | None:
        """Return the symbol of a pair that is streamed, or None."""
        return self._symbol_of.get(canonical)

    def canonical(self, symbol: str) -> str | None:
        """Return the pair behind a symbol that is streamed, or None."""
        return self._canonical_of.get(symbol)

    @property
    def pairs(self) -> tuple[str, ...]:
        """Canonical names of all streamed pairs, in the order of asking."""
        return tuple(self._symbol_of)

    def listed(self, statuses: Mapping[str, str], table: PairTable) -> list[tuple[str, str, str]]:
        """Take in the exchange's list; give (canonical, old, new symbol) where it corrects us."""
        self._listed.update(statuses)
        corrected: list[tuple[str, str, str]] = []
        for canonical, symbol in list(self._symbol_of.items()):
            if canonical not in table:
                continue
            found = find_symbol(table.metadata(canonical), self._listed)
            if found is not None and found != symbol:
                self.add(canonical, table)
                self._canonical_of.pop(symbol, None)
                corrected.append((canonical, symbol, found))
            status = self._listed.get(found or symbol, "online")
            if status == "online":
                self.statuses.pop(canonical, None)
            else:
                self.statuses[canonical] = status
        return corrected
