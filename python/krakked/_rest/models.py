"""Kraken's REST endpoints: a row of facts each, and what the replies hold, as frozen structs.

Unknown fields of a reply are ignored: Kraken adds some.

Prices and volumes stay the decimal text that Kraken sent, so that no digit is lost.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from krakked._public import public

EARLIEST_S: Final = 1_293_840_000
"""2011-01-01: Kraken is no older, so no clock of its tells an earlier time."""

LATEST_S: Final = 4_102_444_800
"""2100-01-01: a later time is rubbish, or counted in another unit."""


OHLC_ROWS: Final = 720
"""Closed candles that OHLC gives at most, the newest, whatever `since` says.

Source: Kraken REST "Get OHLC Data": up to 720 of the most recent entries.
"""

KEPT_S: Final = 3.0
"""So long the servers in front may go on handing out one reply: up to 2 s, and our knowledge of
Kraken's clock is good to half a second (its Time endpoint speaks in whole ones).

Source: measured, ``cache-control: public, max-age=2``.
"""


class EndpointRow(NamedTuple):
    """What has to be known of an endpoint before it is called."""

    reads: bool = False
    """Whether it changes nothing: only such a private call is ever sent a second time."""
    cost: int = 1
    """What a private call adds to the key's counter.

    Source: "Spot REST rate limits": history calls 4, others 1. Orders count in the matching engine
    instead (Kraken names AddOrder and CancelOrder; that the others of the same kind count there
    alone is unverified, and the counter's slack covers one).
    """
    per_pair: bool = False
    """Whether Kraken limits public calls of it per pair as well."""


_READ: Final = EndpointRow(reads=True)
_HISTORY: Final = EndpointRow(reads=True, cost=4)
_ORDER: Final = EndpointRow(cost=0)
_PER_PAIR: Final = EndpointRow(reads=True, per_pair=True)
_UNHEARD_OF: Final = EndpointRow()

ENDPOINTS: Final[dict[str, EndpointRow]] = {
    "OHLC": _PER_PAIR,
    "Trades": _PER_PAIR,
    "Balance": _READ,
    "BalanceEx": _READ,
    "ClosedOrders": _HISTORY,
    "CreditLines": _READ,
    "DepositMethods": _READ,
    "DepositStatus": _READ,
    "Earn/Allocations": _READ,
    "Earn/Strategies": _READ,
    "ExportStatus": _READ,
    "GetApiKeyInfo": _READ,
    "GetWebSocketsToken": _READ,
    "Ledgers": _HISTORY,
    "OpenOrders": _READ,
    "OpenPositions": _READ,
    "OrderAmends": _READ,
    "QueryLedgers": _HISTORY,
    "QueryOrders": _READ,
    "QueryTrades": _HISTORY,
    "TradeBalance": _READ,
    "TradeVolume": _READ,
    "TradesHistory": _HISTORY,
    "WithdrawAddresses": _READ,
    "WithdrawMethods": _READ,
    "WithdrawStatus": _READ,
    "AddOrder": _ORDER,
    "AddOrderBatch": _ORDER,
    "AmendOrder": _ORDER,
    "CancelAll": _ORDER,
    "CancelAllOrdersAfter": _ORDER,
    "CancelOrder": _ORDER,
    "CancelOrderBatch": _ORDER,
    "EditOrder": _ORDER,
}
"""Every endpoint of which more is known than of one never heard of, which may change something.
Public ones need a row only where Kraken limits them per pair."""


def endpoint_row(endpoint: str) -> EndpointRow:
    """Return what is known of an endpoint by its name, such as ``Balance``."""
    return ENDPOINTS.get(endpoint, _UNHEARD_OF)


@public
class ServerTime(msgspec.Struct, frozen=True, kw_only=True):
    """Reply of ``Time``; decoded, times that can be none are refused."""

    unixtime: Annotated[int, msgspec.Meta(ge=EARLIEST_S, lt=LATEST_S)]
    """Kraken's clock, unix seconds."""
    rfc1123: str = ""
    """The same as text, with a two-digit year: use `unixtime`."""


@public
class SystemStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Reply of ``SystemStatus``."""

    status: str
    """``online``, ``maintenance``, ``cancel_only``, ``post_only`` or something new."""
    timestamp: str = ""
    """RFC 3339 time of the status."""


@public
class AssetPairInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of ``AssetPairs``; every field but the name may be missing in old or odd replies."""

    altname: str
    """Short name, such as ``XBTUSD``; krakked's canonical name."""
    wsname: str | None = None
    """Name of WebSocket v1, such as ``XBT/USD``; absent on dark pools."""
    aclass_base: str = "currency"
    """Asset class of the base; ``tokenized_asset`` for xStocks."""
    base: str = ""
    """Base asset's id, such as ``XXBT``."""
    aclass_quote: str = "currency"
    """Asset class of the quote."""
    quote: str = ""
    """Quote asset's id, such as ``ZUSD``."""
    pair_decimals: int | None = None
    """Decimals of a price."""
    lot_decimals: int | None = None
    """Decimals of a volume."""
    cost_decimals: int | None = None
    """Decimals of a cost (price times volume)."""
    lot_multiplier: int | float | None = None
    """Base units in a lot."""
    leverage_buy: tuple[float, ...] = ()
    """Leverages offered on buying; empty = not eligible for margin."""
    leverage_sell: tuple[float, ...] = ()
    """Leverages offered on selling."""
    fees: tuple[tuple[float, ...], ...] = ()
    """(volume, percent) steps for takers; empty since September 2026."""
    fees_maker: tuple[tuple[float, ...], ...] = ()
    """(volume, percent) steps for makers; may be negative."""
    ordermin: str | None = None
    """Smallest order, in base units."""
    costmin: str | None = None
    """Smallest order, in quote units."""
    tick_size: str | None = None
    """Price step."""
    status: str = ""
    """``online``, ``cancel_only``, ``post_only``, ``limit_only``, ``reduce_only`` or new."""
    execution_venue: str | None = None
    """``international`` or another venue."""
    margin_call: float | None = None
    """Margin level of a margin call, percent; present on every pair."""
    margin_stop: float | None = None
    """Margin level of a liquidation, percent."""
    long_position_limit: float | None = None
    """Largest long margin position."""
    short_position_limit: float | None = None
    """Largest short margin position."""


@public
class TickerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of ``Ticker``; Kraken's letters. Pairs in ``(today, last 24 h)`` where two."""

    a: tuple[str, ...] = ()
    """Ask: price, whole lot volume, lot volume."""
    b: tuple[str, ...] = ()
    """Bid: price, whole lot volume, lot volume."""
    c: tuple[str, ...] = ()
    """Last trade: price, volume."""
    v: tuple[str, ...] = ()
    """Volume in base units: today, last 24 h."""
    p: tuple[str, ...] = ()
    """Volume-weighted average price: today, last 24 h."""
    t: tuple[int, ...] = ()
    """Number of trades: today, last 24 h."""
    l: tuple[str, ...] = ()  # noqa: E741 -- Kraken's letter
    """Lowest price: today, last 24 h."""
    h: tuple[str, ...] = ()
    """Highest price: today, last 24 h."""
    o: str = ""
    """Opening price of today (00:00 UTC)."""


@public
class OHLCRow(msgspec.Struct, frozen=True, array_like=True):
    """One candle of ``OHLC``; the newest row may still be running."""

    time: int
    """Open time, unix seconds."""
    open: str
    """First price."""
    high: str
    """Highest price."""
    low: str
    """Lowest price."""
    close: str
    """Last price."""
    vwap: str
    """Volume-weighted average price; ``0.0`` when there was no trade."""
    volume: str
    """Volume in base units, digits as sent."""
    count: int
    """Number of trades."""


@public
class OHLCReply(msgspec.Struct, frozen=True, kw_only=True):
    """Reply of ``OHLC``."""

    rows: tuple[OHLCRow, ...]
    """Up to 721 candles, oldest first, in the order Kraken sent them."""
    last: int
    """Kraken's ``last``: unix seconds, usually the open time of the newest closed candle."""
    unfit: int = 0
    """Rows left out because they have another shape."""


@public
class TradeRow(msgspec.Struct, frozen=True, array_like=True):
    """One trade of ``Trades``."""

    price: str
    """Price."""
    volume: str
    """Volume in base units."""
    time: float
    """Unix seconds; too coarse to order by: use `trade_id`."""
    side: str
    """``b`` or ``s``."""
    order_type: str
    """``m`` or ``l``."""
    misc: str = ""
    """Anything else."""
    trade_id: int | None = None
    """Number of the trade in this pair, without holes; absent in old captures."""


@public
class TradesReply(msgspec.Struct, frozen=True, kw_only=True):
    """Reply of ``Trades``."""

    rows: tuple[TradeRow, ...]
    """Up to 1000 trades, oldest first."""
    last_ns: int
    """Where the next page begins: pass it as ``since_ns``."""


@public
class ExtendedBalance(msgspec.Struct, frozen=True, kw_only=True):
    """One asset of ``BalanceEx``; decimal text."""

    balance: str = "0"
    """What is there."""
    credit: str = "0"
    """Credit line."""
    credit_used: str = "0"
    """Credit in use."""
    hold_trade: str = "0"
    """Held by open orders."""


@public
class ApiKeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Reply of ``GetApiKeyInfo``, without the key and the IIBAN."""

    name: str = ""
    """The key's name, as the user gave it."""
    permissions: tuple[str, ...] = ()
    """Such as ``query-funds`` or ``withdraw-funds``."""
    nonce_window: int | None = None
    """Tolerance for late nonces; 0 = none, None = not told."""
    ip_allowlist: tuple[str, ...] = ()
    """Addresses that may use the key; empty = any."""
    valid_until_s: int | None = None
    """Expiry, unix seconds; None = never."""
    query_from_s: int | None = None
    """Start of the queryable time, unix seconds; None = no limit."""
    query_to_s: int | None = None
    """End of the queryable time, unix seconds; None = no limit."""
    created_s: int | None = None
    """Creation, unix seconds."""
    modified_s: int | None = None
    """Last change, unix seconds."""
    last_used: str | None = None
    """Last use, as Kraken wrote it."""


@public
class WebSocketsToken(msgspec.Struct, frozen=True, kw_only=True):
    """Reply of ``GetWebSocketsToken``. The token is a secret: it is never shown."""

    token: str
    """To be used within `expires` seconds."""
    expires: int = 900
    """Seconds in which the token has to be used."""

    def __repr__(self) -> str:
        return f"WebSocketsToken(***, expires={self.expires})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("expires", self.expires)]


def parse_api_key_info(fields: Mapping[str, Any]) -> ApiKeyInfo:
    """Read the reply in either spelling, numbers as numbers or as text.

    Kraken's page shows ``nonceWindow``; recorded replies have ``nonce_window``, as text. Source:
    "Get API Key Info", docs.kraken.com/api/docs/rest-api/get-api-key-info.
    """
    plain = {name.replace("_", "").lower(): value for name, value in fields.items()}
    last_used = plain.get("lastused")
    return ApiKeyInfo(
        name=str(plain.get("apikeyname") or ""),
        permissions=_texts(plain.get("permissions")),
        nonce_window=_number(plain.get("noncewindow")),
        ip_allowlist=_texts(plain.get("ipallowlist")),
        valid_until_s=_number(plain.get("validuntil")) or None,
        query_from_s=_number(plain.get("queryfrom")) or None,
        query_to_s=_number(plain.get("queryto")) or None,
        created_s=_number(plain.get("createdtime")) or None,
        modified_s=_number(plain.get("modifiedtime")) or None,
        last_used=None if last_used is None else str(last_used),
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _number(value: object) -> int | None:
    """Read an integer that may come as text; anything else is not told."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return int(value)
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal():
        return int(value)
    return None
