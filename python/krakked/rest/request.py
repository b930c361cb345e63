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

    def drop(self) -> None:
        """Forget body and headers, so that no frame of a traceback leads to them."""
        self._body, self._headers = b"", {}

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
        TypeError: A parameter is of a type that cannot be sent.
        ValueError: A parameter cannot be written, such as infinity or a lone surrogate.
    """

    __slots__ = ("_json", "_pairs", "endpoint", "pair", "path")

    def __init__(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: str | None = None,
        json: bool = False,
    ) -> None:
        try:
            self.endpoint: str = check_endpoint(endpoint)
            self.path: str = f"/0/private/{endpoint}"
            pair = (data or {}).get("pair")
            prepared = _prepared(endpoint, data, otp, json=json)
        finally:
            data = otp = None  # whatever is wrong with them, no traceback shows them
        if isinstance(prepared, Exception):
            raise prepared
        self.pair: str | None = pair if isinstance(pair, str) else None
        self._json: bytes | None = prepared if isinstance(prepared, bytes) else None
        self._pairs: list[tuple[str, str]] = [] if isinstance(prepared, bytes) else prepared

    @property
    def is_read(self) -> bool:
        """Whether repeating the call is harmless."""
        return self.endpoint in PRIVATE_READS

    def sign(self, credentials: Credentials, nonce: int) -> SignedRequest:
        """Encode with this nonce and sign exactly the encoded bytes."""
        if self._json is not None:
            # the nonce goes as text: both forms are in use, text survives every JSON reader
            rest = self._json[1:] if self._json == b"{}" else b"," + self._json[1:]
            body = b'{"nonce":"%d"' % nonce + rest
            headers = credentials.sign_body(self.path, nonce, body)
            headers["Content-Type"] = JSON
            return SignedRequest(self.path, body, headers)
        body, headers = credentials.sign_form(self.path, nonce, self._pairs)
        headers["Content-Type"] = FORM
        return SignedRequest(self.path, body, headers)

    def drop(self) -> None:
        """Forget the parameters, so that no frame of a traceback leads to them."""
        self._json = None
        self._pairs = []

    def __repr__(self) -> str:
        return f"PrivateCall({getattr(self, 'endpoint', '?')!r}, ***)"  # also when half built

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a private call cannot be pickled or copied")


def _prepared(
    endpoint: str, data: Mapping[str, object] | None, otp: str | None, *, json: bool
) -> list[tuple[str, str]] | bytes | Exception:
    """Write the parameters of a private call, without the nonce; give an error, do not raise it.

    The error is a new one: the frames of the one that was met hold the parameters.
    """
    fields = dict(data or {})
    if "nonce" in fields:
        return RequestError(
            "krakked gives the nonce itself; leave it out.", code="nonce given", endpoint=endpoint
        )
    if otp is not None:
        fields["otp"] = otp
    try:
        if json:
            _check_finite(fields)
            return orjson.dumps(fields, default=_plain)
        pairs = encode_params(fields)  # type: ignore[arg-type] # checked by encode_value
        for name, value in pairs:
            _ = (name + value).encode()
    except UnicodeEncodeError:
        return ValueError("a parameter has characters that cannot be sent")
    except TypeError as error:
        return TypeError(str(error))
    except ValueError as error:
        return ValueError(str(error))
    return pairs


def _check_finite(value: object) -> None:
    """Refuse what orjson would quietly write as null."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a parameter must be a finite number")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _check_finite(item)


def _plain(value: object) -> str:
    """Give orjson a Decimal as decimal text."""
    if isinstance(value, Decimal):
        return encode_value(value)
    raise TypeError(f"a parameter cannot be a {type(value).__name__}")
