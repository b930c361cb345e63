"""The listing: every asset and pair with its four names, and how any spelling finds its pair."""

from __future__ import annotations

from dataclasses import dataclass

NEW_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
"""Assets whose WebSocket v2 (and assetVersion=1) name differs.

Source: Kraken guide "Spot WebSocket introduction", FAQ.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One row of Assets."""

    id: str
    altname: str
    decimals: int
    display_decimals: int
    collateral_value: float | None = None
    margin_rate: str | None = None
    status: str = "enabled"

    @property
    def symbol(self) -> str:
        """The new (assetVersion=1, WebSocket v2) name."""
        return new_name(self.altname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One row of AssetPairs, and what the market needs to know of it."""

    index: int
    key: str
    altname: str
    wsname: str
    symbol: str
    base: str
    quote: str
    base_short: str
    quote_short: str
    aclass_base: str
    pair_decimals: int
    lot_decimals: int
    cost_decimals: int
    leverage_buy: tuple[int, ...]
    leverage_sell: tuple[int, ...]
    ordermin: str
    costmin: str
    status: str
    price: float
    """Typical price in the quote asset."""
    stable: bool
    """Whether the price hardly moves."""
    daily_cost: float
    """Typical 24 h volume in the quote asset."""
    trades_per_s: float
    """Typical rate of trades; 0 for pairs which nobody may trade."""
    quoted: bool
    """Whether anyone stands in the book; others show zero bid and ask."""
    listed_s: int
    in_ticker: bool
    """Whether the all-pairs Ticker carries it (20 of the real ones were absent)."""

    @property
    def margin_eligible(self) -> bool:
        """Whether any leverage is offered."""
        return bool(self.leverage_buy or self.leverage_sell)


@dataclass(frozen=True, slots=True)
class Listing:
    """All assets and pairs; ZUSD pairs first, busiest first within each quote."""

    assets: tuple[Asset, ...]
    pairs: tuple[Pair, ...]
    tokenized: tuple[Pair, ...]
    phantom_tickers: tuple[str, ...]
    """Keys of the all-pairs Ticker which AssetPairs does not know."""


def new_name(short: str) -> str:
    """Return the WebSocket v2 name of an asset from its short name."""
    return NEW_NAMES.get(short, short)


class Directory:
    """Finds pairs by the names REST and WebSocket v2 accept, and by no others."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._by_symbol: dict[str, Pair] = {}
        self._by_rest_name: dict[str, Pair] = {}
        self._by_any: dict[str, Pair] = {}
        for pair in (*listing.pairs, *listing.tokenized):
            self._by_symbol[pair.symbol] = pair
            joined = pair.symbol.replace("/", "")  # BTCUSDT is answered as XBTUSDT
            for name in (joined, pair.altname, pair.key):
                self._by_rest_name[name] = pair
            self._by_any |= {pair.wsname: pair}
        for pair in (*listing.pairs, *listing.tokenized):
            self._by_any |= dict.fromkeys((pair.symbol, pair.altname, pair.key), pair)
        self._assets = {a.altname for a in listing.assets} | {a.id for a in listing.assets}
        self._assets |= {a.symbol for a in listing.assets}

    def by_symbol(self, symbol: str) -> Pair | None:
        """Return the pair of a WebSocket v2 symbol."""
        return self._by_symbol.get(symbol)

    def rest(self, name: str) -> tuple[str, Pair] | None:
        """Return result key and pair for a name in a REST request.

        `BTC/USD` is echoed as the key; the wsname `XBT/USD` is unknown (as recorded).
        """
        pair = self._by_symbol.get(name)
        if pair is not None:
            return name, pair
        pair = self._by_rest_name.get(name)
        return (pair.key, pair) if pair is not None else None

    def unknown_text(self, name: str) -> str:
        """Return Kraken's error for a name nobody knows: two real assets make it merely invalid."""
        halves = ((name[:i], name[i:]) for i in range(2, len(name) - 1))
        if any(a in self._assets and b in self._assets for a, b in halves):
            return "EQuery:Invalid asset pair"
        return "EQuery:Unknown asset pair"

    def any(self, name: str) -> Pair:
        """Return the pair of any spelling (for tests and settings).

        Raises:
            KeyError: No pair is spelled so.
        """
        return self._by_any[name]
