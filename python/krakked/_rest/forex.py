"""Pairs of two national currencies, and the calls that may need `asset_class` for them. Pure.

Kraken's pages want `asset_class` for pairs that are no crypto; users met "EGeneral:Invalid
arguments" without it. No recording shows either, so a call is first sent without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

FIAT = ("USD", "EUR", "GBP", "CAD", "JPY", "AUD", "CHF")
"""National currencies that stand as a base on Kraken; as an id with a Z in front, but for CHF."""

ENDPOINTS = frozenset({"OHLC", "Trades", "Ticker", "Depth", "Spread"})
"""Public calls about pairs that know `asset_class`."""

REFUSAL = "EGeneral:Invalid arguments"
"""What a call without it was answered."""

_FOREX = re.compile(rf"Z?({'|'.join(FIAT)})/?Z?({'|'.join(FIAT)})")


def forex_pairs(endpoint: str, params: Mapping[str, object] | None) -> frozenset[str]:
    """Return the pairs of a call that may need `asset_class=forex`; empty when it cannot help.

    Examples: ``EURUSD``, ``ZEURZUSD``, ``EUR/USD``, but neither ``EURTUSD`` (a token) nor a list in
    which a crypto pair stands, too.
    """
    if endpoint not in ENDPOINTS or not params or "asset_class" in params:
        return frozenset()
    given = params.get("pair")
    if isinstance(given, str):
        names: Sequence[object] = given.split(",")
    else:
        names = given if isinstance(given, Sequence) else ()
    pairs = frozenset(name.strip() for name in names if isinstance(name, str))
    return pairs if all(map(_FOREX.fullmatch, pairs)) else frozenset()
