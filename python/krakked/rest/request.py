"""From an endpoint name and its parameters to the exact bytes that go on the wire. Pure.

A private call never has a query string: its parameters travel in the body, and the body that is
signed is the body that is sent. Objects that hold a nonce, a one-time password or a signature show
nothing of it, so that a traceback with local variables stays clean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Never, final
from urllib.parse import urlencode

import orjson

from krakked.errors import RequestError
from krakked.rest.signing import Credentials

Value = str | int | float | bool | Decimal | Sequence[str] | None
"""What a parameter may be: None leaves it out, a sequence becomes a comma list."""

_ENDPOINT = re.compile(r"[A-Za-z0-9]+(/[A-Za-z0-9]+)*")

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

PRIVATE_READS = frozenset(
    {
        "Balance",
        "BalanceEx",
        "ClosedOrders",
        "CreditLines",
        "DepositMethods",
        "DepositStatus",
        "Earn/Allocations",
        "Earn/Strategies",
        "ExportStatus",
        "GetApiKeyInfo",
        "GetWebSocketsToken",
        "Ledgers",
        "OpenOrders",
        "OpenPositions",
        "OrderAmends",
        "QueryLedgers",
        "QueryOrders",
        "QueryTrades",
        "TradeBalance",
        "TradeVolume",
        "TradesHistory",
        "WithdrawAddresses",
        "WithdrawMethods",
        "WithdrawStatus",
    }
)
"""Private endpoints that change nothing; only these are ever sent a second time."""


def check_endpoint(endpoint: str) -> str:
    """Give the endpoint's name back when it is one.

    Raises:
        RequestError: It could not be part of a path (a slash in front, a query, a space).
    """
    if not _ENDPOINT.fullmatch(endpoint):
        raise RequestError(
            "An endpoint is named as in Kraken's documentation, such as Time or Balance, "
            "without path or query.",
            code="endpoint name",
            endpoint=endpoint[:40] if endpoint.isprintable() else "?",
        )
    return endpoint


def encode_value(value: Value) -> str:
    """Write one parameter as Kraken reads it: ``true``, plain decimals, comma lists.

    Raises:
        TypeError: Not a type Kraken has.
        ValueError: Not a finite number.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a parameter must be a finite number")
        return format(Decimal(repr(value)), "f")  # never an exponent
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("a parameter must be a finite number")
        return format(value, "f")
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise TypeError(f"a parameter cannot be a {type(value).__name__}")


def encode_params(params: Mapping[str, Value] | None) -> list[tuple[str, str]]:
    """Write parameters as text pairs in the given order; None values are left out."""
    if not params:
        return []
    return [(name, encode_value(value)) for name, value in params.items() if value is not None]


def public_target(endpoint: str, params: Mapping[str, Value] | None) -> str:
    """Give path and query of a public call, such as ``/0/public/OHLC?pair=XBTUSD``."""
    query = urlencode(encode_params(params))
    path = f"/0/public/{check_endpoint(endpoint)}"
    return f"{path}?{query}" if query else path


@final
class SignedRequest:
    """One signed request, good for one sending: body and headers that show nothing."""

    __slots__ = ("_body", "_headers", "path")

    def __init__(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        self.path = path
        self._body = body
        self._headers = headers

    def body(self) -> bytes:
        """Give the exact bytes that were signed."""
        return self._body

    def headers(self) -> dict[str, str]:
        """Give API-Key, API-Sign and Content-Type."""
        return self._headers

    def __repr__(self) -> str:
        return f"SignedRequest({self.path!r}, ***)"

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a signed request cannot be pickled or copied")


@final
class PrivateCall:
    """A private call before it has a nonce; `sign` makes a fresh request of it every time.

    Args:
        endpoint: Endpoint name, such as ``Balance``.
        data: Parameters; must not hold ``nonce``, which is ours to give.
        otp: One-time password of the key's second factor, or None.
        json: Send JSON instead of a form. Values then keep their JSON types.

    Raises:
        RequestError: Not an endpoint name, or `data` holds a nonce.
    """

    __slots__ = ("_fields", "_json", "_pairs", "endpoint", "path")

    def __init__(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: str | None = None,
        json: bool = False,
    ) -> None:
        self.endpoint = check_endpoint(endpoint)
        self.path = f"/0/private/{endpoint}"
        fields = dict(data or {})
        if "nonce" in fields:
            raise RequestError(
                "krakked gives the nonce itself; leave it out.",
                code="nonce given",
                endpoint=endpoint,
            )
        if otp is not None:
            fields["otp"] = otp
        self._json = json
        self._fields = fields
        self._pairs = [] if json else encode_params(fields)  # type: ignore[arg-type] # checked by encode_value

    @property
    def is_read(self) -> bool:
        """Whether repeating the call is harmless."""
        return self.endpoint in PRIVATE_READS

    def sign(self, credentials: Credentials, nonce: int) -> SignedRequest:
        """Encode with this nonce and sign exactly the encoded bytes."""
        if self._json:
            # the nonce goes as text: both forms are in use, text survives every JSON reader
            body = orjson.dumps({"nonce": str(nonce), **self._fields}, default=_plain)
            headers = credentials.sign_body(self.path, nonce, body)
            headers["Content-Type"] = JSON
            return SignedRequest(self.path, body, headers)
        body, headers = credentials.sign_form(self.path, nonce, self._pairs)
        headers["Content-Type"] = FORM
        return SignedRequest(self.path, body, headers)

    def __repr__(self) -> str:
        return f"PrivateCall({self.endpoint!r}, ***)"

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a private call cannot be pickled or copied")


def _plain(value: object) -> str:
    """Give orjson a Decimal as decimal text."""
    if isinstance(value, Decimal):
        return encode_value(value)
    raise TypeError(f"a parameter cannot be a {type(value).__name__}")
