"""The venue: what is listed, in which state, and whether the exchange as a whole is open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from krakked._sandbox.accounts import Accounts
from krakked._sandbox.clock import MarketClock
from krakked._sandbox.listing import Directory, Listing, Pair
from krakked._sandbox.market import Market
from krakked._sandbox.settings import SandboxSettings


@dataclass(slots=True)
class Venue:
    """Everything REST and WebSocket share."""

    settings: SandboxSettings
    listing: Listing
    directory: Directory
    market: Market
    clock: MarketClock
    accounts: Accounts
    system: str = "online"
    """online, maintenance, cancel_only or post_only."""
    upcoming_maintenance: list[object] = field(default_factory=list)
    emergency: list[object] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    """Pair states that differ from the listing, by altname; `delisted` removes a pair."""
    revision: int = 0
    """Grows with every change of the listing."""

    def status(self, pair: Pair) -> str:
        """Return a pair's state now."""
        return self.statuses.get(pair.altname, pair.status)

    def is_listed(self, pair: Pair, now_ns: int) -> bool:
        """Whether the exchange knows the pair at a time."""
        known = pair.index < len(self.market.pairs) or pair.aclass_base == "tokenized_asset"
        alive = self.status(pair) != "delisted"
        return known and alive and self.market.listed_ns(pair) <= now_ns

    def pairs(self, now_ns: int, *, tokenized: bool = False) -> Iterator[Pair]:
        """Yield the pairs listed at a time."""
        for pair in self.market.tokenized if tokenized else self.market.pairs:
            if self.is_listed(pair, now_ns):
                yield pair

    def by_symbol(self, symbol: str, now_ns: int) -> Pair | None:
        """Return a listed pair by its WebSocket v2 symbol."""
        pair = self.directory.by_symbol(symbol)
        return pair if pair is not None and self.is_listed(pair, now_ns) else None

    def by_rest_name(self, name: str, now_ns: int) -> tuple[str, Pair] | None:
        """Return result key and listed pair for a name in a REST request."""
        found = self.directory.rest(name)
        return found if found is not None and self.is_listed(found[1], now_ns) else None

    def refusal_text(self, name: str) -> str:
        """Return Kraken's error for a name that is not listed (any more, or yet)."""
        if self.directory.rest(name) is not None:
            return "EQuery:Unknown asset pair"
        return self.directory.unknown_text(name)

    def set_status(self, pair: Pair, status: str) -> None:
        """Change a pair's state."""
        self.statuses[pair.altname] = status
        self.revision += 1
