"""The private REST endpoints: a checked call in, Kraken's `result` out."""

from __future__ import annotations

from collections.abc import Callable

from krakked._sandbox.accounts import TOKEN_LIFE_S, Call, Key
from krakked._sandbox.digits import NS
from krakked._sandbox.hashing import seed_of
from krakked._sandbox.venue import Venue

Endpoint = Callable[[Venue, Key, Call], object]


def balance(venue: Venue, key: Key, call: Call) -> object:
    """Balance: asset id to decimal string; a list for nothing, as with OpenPositions (a guess)."""
    del key, call
    return dict(venue.accounts.balances) or []


def extended_balance(venue: Venue, key: Key, call: Call) -> object:
    """BalanceEx."""
    del key, call
    none = "0.0000"
    return {
        asset: {"balance": amount, "credit": none, "credit_used": none, "hold_trade": none}
        for asset, amount in venue.accounts.balances.items()
    } or []


def trade_balance(venue: Venue, key: Key, call: Call) -> object:
    """TradeBalance; `ml` is absent without positions."""
    del venue, key, call
    return dict.fromkeys(("eb", "tb", "m", "n", "c", "v", "e", "mf", "uv"), "0.0000")


def open_orders(venue: Venue, key: Key, call: Call) -> object:
    """OpenOrders: this account never trades."""
    del venue, key, call
    return {"open": {}}


def open_positions(venue: Venue, key: Key, call: Call) -> object:
    """OpenPositions: an empty list where an object is documented, as the real one answers."""
    del venue, key, call
    return []


def trades_history(venue: Venue, key: Key, call: Call) -> object:
    """TradesHistory."""
    del venue, key, call
    return {"trades": {}, "count": 0}


def closed_orders(venue: Venue, key: Key, call: Call) -> object:
    """ClosedOrders."""
    del venue, key, call
    return {"closed": {}, "count": 0}


def ledgers(venue: Venue, key: Key, call: Call) -> object:
    """Ledgers."""
    del venue, key, call
    return {"ledger": {}, "count": 0}


def trade_volume(venue: Venue, key: Key, call: Call) -> object:
    """TradeVolume."""
    del venue, key, call
    return {"currency": "ZUSD", "volume": "0.0000", "fees": {}, "fees_maker": {}}


def api_key_info(venue: Venue, key: Key, call: Call) -> object:
    """GetApiKeyInfo: both spellings of its fields were seen."""
    del call
    created = str(key.created_s)
    snake = venue.settings.snake_case_key_info
    fields: dict[str, object] = {
        "api_key_name": key.name,
        "api_key": key.key,
        "nonce": str(key.highest_nonce),
        "nonce_window": str(key.nonce_window) if snake else key.nonce_window,
        "permissions": list(key.permissions),
        "iban": "AA00 N00N SAND BOXX",
        "valid_until": str(key.valid_until_s),
        "query_from": "0",
        "query_to": "0",
        "created_time": created,
        "modified_time": created,
        "ip_allowlist": list(key.ip_allowlist),
        "last_used": None if key.last_used_s is None else str(key.last_used_s),
    }
    return fields if snake else {_camel(name): value for name, value in fields.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def websockets_token(venue: Venue, key: Key, call: Call) -> object:
    """GetWebSocketsToken: to be used within 15 minutes."""
    del call
    now_ns = venue.clock.now_ns()
    number = seed_of(key.key, len(key.tokens), now_ns // NS)
    token = f"SANDBOX{number:020d}{seed_of(number):020d}"
    key.tokens[token] = now_ns
    return {"token": token, "expires": TOKEN_LIFE_S}


# Endpoint, the permission it needs, and whether it costs as much as history.
PRIVATE: dict[str, tuple[Endpoint, str | None, bool]] = {
    "Balance": (balance, "query-funds", False),
    "BalanceEx": (extended_balance, "query-funds", False),
    "TradeBalance": (trade_balance, "query-open-trades", False),
    "OpenOrders": (open_orders, "query-open-trades", False),
    "OpenPositions": (open_positions, "query-open-trades", False),
    "TradesHistory": (trades_history, "query-closed-trades", True),
    "ClosedOrders": (closed_orders, "query-closed-trades", False),
    "Ledgers": (ledgers, "query-ledger", True),
    "TradeVolume": (trade_volume, "query-funds", False),
    "GetApiKeyInfo": (api_key_info, None, False),
    "GetWebSocketsToken": (websockets_token, "create-ws-token", False),
}
