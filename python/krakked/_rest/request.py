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
from typing import Any, Final, final
from urllib.parse import urlencode

import orjson

from krakked._errors import RequestError
from krakked._rest.models import endpoint_row
from krakked._rest.otp import OTP_CODE, OneTimePassword, Otp, one_time
from krakked._rest.signing import Credentials
from krakked._secrecy import NeverCopied

Value = str | int | float | bool | Decimal | Sequence[str] | None
"""What a parameter may be: None leaves it out, a sequence becomes a comma list."""

_LONGEST: Final = 80
_NO_MAPPING: Final = "parameters are a mapping of names to values"
_ODD_TEXT: Final = "a parameter has characters that cannot be sent"
_ENDPOINT = re.compile(r"[A-Za-z0-9]+(/[A-Za-z0-9]+)*")

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def refused(endpoint: str, why: str) -> RequestError:
    """Return the error for parameters that can't be sent."""
    return RequestError(f"{endpoint}: {why}.", code="parameters", endpoint=endpoint)


def check_endpoint(endpoint: str) -> str:
    """Give the endpoint's name back when it is one.

    Raises:
        RequestError: It could not be part of a path (a slash in front, a query, a space).
    """
    given: object = endpoint  # callers without a type checker pass anything
    if not isinstance(given, str) or not _ENDPOINT.fullmatch(given) or len(given) > _LONGEST:
        raise RequestError(
            "An endpoint is named as in Kraken's documentation, such as Time or Balance, "
            "without path or query.",
            code="endpoint name",
            endpoint=given[:40] if isinstance(given, str) and given.isprintable() else "?",
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
        return format(Decimal(float.__repr__(value)), "f")  # never an exponent
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
    """Return path and query of a public call, such as ``/0/public/OHLC?pair=XBTUSD``.

    Raises:
        RequestError: The endpoint is none, or a parameter can't be sent.
    """
    path = f"/0/public/{check_endpoint(endpoint)}"
    given: object = params
    if not isinstance(given, Mapping | None):
        raise refused(endpoint, _NO_MAPPING)
    try:
        query = urlencode(encode_params(params))
    except UnicodeEncodeError:
        raise refused(endpoint, _ODD_TEXT) from None
    except (TypeError, ValueError) as error:
        raise refused(endpoint, str(error)) from None
    return f"{path}?{query}" if query else path


@final
class SignedRequest(NeverCopied):
    """One signed request, good for one sending: body and headers that show nothing."""

    __slots__ = ("_body", "_headers", "path")

    def __init__(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        self.path = path
        self._body = body
        self._headers = headers

    def body(self) -> bytes:
        """Return the exact bytes that were signed."""
        return self._body

    def headers(self) -> dict[str, str]:
        """Return API-Key, API-Sign and Content-Type."""
        return self._headers

    def drop(self) -> None:
        """Forget body and headers, so that no frame of a traceback leads to them."""
        self._body, self._headers = b"", {}

    def __repr__(self) -> str:
        return f"SignedRequest({self.path!r}, ***)"


@final
class PrivateCall(NeverCopied):
    """A private call before it has a nonce; `sign` makes a fresh request of it every time.

    Args:
        endpoint: Endpoint name, such as ``Balance``.
        data: Parameters; must not hold ``nonce``, which is ours to give. An ``otp`` among them is
            taken as the argument of this name.
        otp: One-time password of the key's second factor, or None.
        json: Send JSON instead of a form. Values then keep their JSON types.

    Raises:
        RequestError: Not an endpoint name, or `data` holds a nonce or a second one-time password.
        TypeError: A parameter is of a type that cannot be sent.
        ValueError: A parameter cannot be written, such as infinity or a lone surrogate.
    """

    __slots__ = ("_booking", "_json", "_otp", "_pairs", "endpoint", "pair", "path")

    def __init__(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: Otp | None = None,
        json: bool = False,
    ) -> None:
        self._booking: int | None = None
        try:
            self.endpoint: str = check_endpoint(endpoint)
            self.path: str = f"/0/private/{endpoint}"
            prepared = _prepared(endpoint, data, json=json)
            pair = data.get("pair") if isinstance(data, Mapping) else None
            if isinstance(prepared, _Prepared) and prepared.otp is not None and otp is not None:
                prepared = RequestError(
                    "The one-time password stands in the parameters, too; give it once.",
                    code=OTP_CODE,
                    endpoint=endpoint,
                )
            self._otp = one_time(otp)
        finally:
            data = otp = None  # whatever is wrong with them, no traceback shows them
        if isinstance(prepared, Exception):
            raise prepared
        self.pair: str | None = pair if isinstance(pair, str) else None
        self._otp = self._otp or prepared.otp
        self._json: bytes | None = prepared.json
        self._pairs: list[tuple[str, str]] = prepared.pairs

    @property
    def is_read(self) -> bool:
        """Whether repeating the call is harmless."""
        return endpoint_row(self.endpoint).reads

    @property
    def may_repeat(self) -> bool:
        """Whether the call may be sent once more: it reads, and its one-time password lasts."""
        return self.is_read and (self._otp is None or not self._otp.exhausted)

    def sign(self, credentials: Credentials, nonce: int) -> SignedRequest | None:
        """Encode with this nonce and sign exactly the encoded bytes.

        Returns:
            The request, or None when the one-time password of the moment was sent before.

        Raises:
            RequestError: What was given for a one-time password is none. Whatever a given function
                raises comes through.
        """
        code: str | None = None
        if self._otp is not None:
            code = self._otp.fresh(self.endpoint)
            if code is None:
                return None
            self._booking = hash(code)
        try:
            return self._signed(credentials, nonce, code)
        finally:
            del code

    def _signed(self, credentials: Credentials, nonce: int, code: str | None) -> SignedRequest:
        if self._json is not None:
            # the nonce goes as text: both forms are in use, text survives every JSON reader
            front = b'{"nonce":"%d"' % nonce
            if code is not None:
                front += b',"otp":' + orjson.dumps(code)
            body = front + (self._json[1:] if self._json == b"{}" else b"," + self._json[1:])
            headers = credentials.sign_body(self.path, nonce, body)
            headers["Content-Type"] = JSON
            return SignedRequest(self.path, body, headers)
        otp = [] if code is None else [("otp", code)]
        body, headers = credentials.sign_form(self.path, nonce, self._pairs + otp)
        headers["Content-Type"] = FORM
        return SignedRequest(self.path, body, headers)

    def not_sent(self) -> None:
        """Say that what was last signed never left this machine: its one-time password is fresh."""
        if self._otp is not None and self._booking is not None:
            self._otp.not_sent(self._booking)

    def drop(self) -> None:
        """Forget the parameters, so that no frame of a traceback leads to them."""
        self._json = self._otp = None
        self._pairs = []

    def __repr__(self) -> str:
        return f"PrivateCall({getattr(self, 'endpoint', '?')!r}, ***)"  # also when half built


class _Prepared:
    """The parameters of a private call, written as far as they can be before it has a nonce."""

    __slots__ = ("json", "otp", "pairs")

    def __init__(
        self, otp: OneTimePassword | None, pairs: list[tuple[str, str]], json: bytes | None = None
    ) -> None:
        self.otp = otp
        self.pairs = pairs
        self.json = json


def _prepared(
    endpoint: str, data: Mapping[str, object] | None, *, json: bool
) -> _Prepared | RequestError:
    """Write the parameters of a private call, without the nonce; give an error, do not raise it.

    The error is a new one: the frames of the one that was met hold the parameters.
    """
    given: object = data
    if not isinstance(given, Mapping | None):
        return refused(endpoint, _NO_MAPPING)
    fields = dict(data or {})
    if "nonce" in fields:
        return RequestError(
            "krakked gives the nonce itself; leave it out.", code="nonce given", endpoint=endpoint
        )
    # what is no code is told when it is to be sent, as with the argument of this name
    otp = one_time(fields.pop("otp", None))  # type: ignore[arg-type]
    try:
        if json:
            return _Prepared(otp, [], orjson.dumps(_json_ready(fields), default=_refuse_kind))
        pairs = encode_params(fields)  # type: ignore[arg-type] # checked by encode_value
        for name, value in pairs:
            _ = (name + value).encode()
    except UnicodeEncodeError:
        return refused(endpoint, _ODD_TEXT)
    except (TypeError, ValueError, RecursionError) as error:
        nested = not json and any(_is_nested(value) for value in fields.values())
        return refused(endpoint, f"{error}{'; nested data goes with json=True' if nested else ''}")
    return _Prepared(otp, pairs)


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping | Sequence | set | frozenset) and not isinstance(value, str)


def _json_ready(value: object) -> Any:  # noqa: ANN401 -- any JSON value
    """Return what orjson would write as null or with an exponent the way Kraken reads it.

    Raises:
        ValueError: A number that is not finite.
    """
    if isinstance(value, float):
        return orjson.Fragment(encode_value(value))
    if isinstance(value, Decimal):
        return encode_value(value)  # a text: as exact as it was
    if isinstance(value, Mapping):
        return {name: _json_ready(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(item) for item in value]
    return value


def _refuse_kind(value: object) -> str:
    raise TypeError(f"a parameter cannot be a {type(value).__name__}")
