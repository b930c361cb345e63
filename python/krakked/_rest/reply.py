"""From the bytes of an answer to its result, or to the one right error. Pure.

Nothing here keeps or shows a body: an unreadable answer is described by its status, content type
and size. Decoding errors are never chained, because they carry the document they failed on.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypeVar

import msgspec
import orjson

from krakked._errors import Action, ApiError, RateLimitError, RequestError, ServiceError
from krakked._rest.error_table import THROTTLED, find_row
from krakked._rest.retries import advise, refuses
from krakked._unreadable import UNREADABLE

T = TypeVar("T")
JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
"""What a text of JSON stands for."""

MAX_CODE_CHARS = 200
"""Kraken's texts are short; a longer one is cut."""
MAX_WAIT_S = 900.0
"""No stated waiting time is believed beyond this."""

_AFTER_COLON = re.compile(r":\s+")
_LONG_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{40,}")  # the shape of keys, secrets and tokens
_SMALL_ERROR = re.compile(r"e[A-Za-z]+:")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # a zip file with and without a member
_JSON_TYPES = ("application/json", "text/json")


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """An answer came, whatever it says."""

    status: int
    content_type: str
    retry_after: str | None
    body: bytes
    """Empty unless the status is 200."""

    def __repr__(self) -> str:
        return f"Received({self.status}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("status", self.status)]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A readable answer of the API."""

    result: bytes
    """JSON text of ``result``; empty when it was absent."""
    read: bool
    """Whether the call that it answers only reads."""
    errors: tuple[str, ...]
    """Cleaned ``E...`` texts; empty on success."""
    warnings: tuple[str, ...]
    """Cleaned ``W...`` texts (and others that are not errors)."""

    def __repr__(self) -> str:
        return f"Envelope({len(self.result)} bytes, {self.errors!r}, {self.warnings!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("errors", self.errors), ("warnings", self.warnings)]


class _Wire(msgspec.Struct):
    error: list[str] | str | None = None
    capital: list[str] | str | None = msgspec.field(default=None, name="Error")
    result: msgspec.Raw = msgspec.Raw(b"")


def clean_text(text: str) -> str:
    """Return one of Kraken's texts trimmed, printable, short and free of key-like tokens."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    tidy = _AFTER_COLON.sub(":", printable.strip())
    return _LONG_TOKEN.sub("[cut]", tidy)[:MAX_CODE_CHARS]


def unreadable(endpoint: str, what: str) -> ServiceError:
    """Build the error for an answer that is not an API answer."""
    return ServiceError(
        f"Kraken's answer to {endpoint} is not readable: {what}.",
        code="unreadable answer",
        endpoint=endpoint,
        retryable=True,
        action=Action.RETRY,
    )


def judge(
    reply: Received, endpoint: str, *, read: bool, file: bool = False, server_s: float | None = None
) -> Envelope | ApiError:
    """Turn an answer into its content or the one right error.

    Args:
        reply: What came.
        endpoint: Endpoint name, such as ``Balance``.
        read: Whether the call only reads.
        file: Whether a zip file is as good as an answer in JSON.
        server_s: Kraken's time now (unix seconds), to understand times of day.
    """
    if reply.status == 200 and reply.body.startswith(_ZIP):
        if file:
            return Envelope(result=b"", read=read, errors=(), warnings=())
        return unreadable(endpoint, "a zip file, which private_bytes would give")
    refusal = classify_http(
        endpoint, reply.status, reply.content_type, reply.retry_after, server_s=server_s
    )
    if refusal is not None:
        return refusal
    try:
        envelope = read_envelope(reply.body, endpoint, read=read)
    except ApiError as error:
        return error.with_traceback(None)  # its frames hold the body
    if envelope.errors:
        refused = classify([*envelope.errors, *envelope.warnings], endpoint, server_s=server_s)
        # One text that leaves it open, or a result beside the refusal, and nothing is certain.
        told_more = _holds_something(envelope.result) or not all(map(refuses, envelope.errors))
        return advise(refused, read=read, told_more=told_more)
    return without_result(envelope, endpoint) or envelope


def classify_http(
    endpoint: str,
    status: int,
    content_type: str,
    retry_after: str | None = None,
    *,
    server_s: float | None = None,
) -> ApiError | None:
    """Judge status and content type; None when the body may be parsed.

    Kraken answers API errors with status 200, so any other status comes from the servers in front
    (Cloudflare): whether the request reached the API is not known.

    Args:
        endpoint: Endpoint name for the error.
        status: HTTP status.
        content_type: Value of Content-Type, or "".
        retry_after: Value of Retry-After, or None.
        server_s: Kraken's time now (unix seconds), to understand a date in Retry-After.
    """
    code = f"HTTP {status}"
    kind = content_type.split(";", 1)[0].strip().lower()
    if status == 200:
        if kind in _JSON_TYPES:
            return None
        return unreadable(endpoint, f"content type {clean_text(kind)[:60] or 'absent'}")
    if status == 429:
        return RateLimitError(
            f"Too many requests: the servers in front of the API refused {endpoint} ({code}).",
            code=code,
            endpoint=endpoint,
            retryable=True,
            retry_after_s=_seconds(retry_after, server_s),
            action=Action.WAIT,
        )
    if status in (400, 404, 405, 411, 413, 414, 415, 431):
        return RequestError(
            f"{endpoint} was refused by the web server ({code}). Check rest.base_url and the "
            "endpoint's name.",
            code=code,
            endpoint=endpoint,
        )
    retryable = status >= 500 or status in (408, 425)
    return ServiceError(
        f"{endpoint} got no answer of the API: the servers in front answered {code}"
        f"{_front_advice(status)}.",
        code=code,
        endpoint=endpoint,
        retryable=retryable,
        retry_after_s=_seconds(retry_after, server_s),
        action=Action.RETRY if retryable else Action.CHECK_SYSTEM_STATUS,
    )


def _front_advice(status: int) -> str:
    if 300 <= status < 400:
        return " (a redirect, which is never followed)"
    if status in (401, 403):
        return " (this address is blocked there, or needs a check by a person)"
    return ""


def _seconds(text: str | None, server_s: float | None) -> float | None:
    """Read Retry-After: seconds, or a date (RFC 9110, section 10.2.3); None when it is neither."""
    text = (text or "").strip()
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return min(float(text), MAX_WAIT_S)
    if server_s is None:
        return None
    with contextlib.suppress(ValueError, OverflowError):
        return min(max(parsedate_to_datetime(text).timestamp() - server_s, 0.0), MAX_WAIT_S)
    return None


def read_envelope(body: bytes, endpoint: str, *, read: bool = True) -> Envelope:
    """Take the body of an answer apart; `read` tells whether the call only reads.

    Raises:
        ServiceError: It is not a JSON object with ``error`` and ``result``.
    """
    wire: _Wire | None = None
    # raised below, outside the handler: these exceptions hold the body
    with contextlib.suppress(*UNREADABLE):
        wire = msgspec.json.decode(body, type=_Wire)
    size, body = len(body), b""  # not in the frame of an error
    if wire is None:
        raise unreadable(endpoint, f"{size} bytes that are not Kraken's JSON")
    texts = [clean_text(text) for text in (*_texts(wire.error), *_texts(wire.capital))]
    return Envelope(
        result=bytes(wire.result),
        read=read,
        errors=tuple(text for text in texts if _is_error(text)),
        warnings=tuple(text for text in texts if text and not _is_error(text)),
    )


def _texts(error: list[str] | str | None) -> list[str]:
    return [error] if isinstance(error, str) else error or []


def _is_error(text: str) -> bool:
    """Whether a (cleaned) text is an error: ``E`` in front, or a category in another spelling."""
    return text.startswith("E") or _SMALL_ERROR.match(text) is not None


_NOTHING = frozenset({b"", b"null", b"{}", b"[]"})
"""What stands for a result where there is none (seen in refusals)."""


def _holds_something(result: bytes) -> bool:
    return b"".join(result.split()) not in _NOTHING


def _is_an_outcome(result: bytes) -> bool:
    """Whether the result of a call that changes something says what became of it.

    Kraken answers such calls with an object, a list or ``true``, never with null or a text.
    """
    return result.strip() != b"null" and not result.lstrip().startswith(b'"')


def without_result(envelope: Envelope, endpoint: str) -> ServiceError | None:
    """Judge an answer without errors; None when it holds a result.

    Kraken's warnings (``W...``) come beside a result. Texts alone, whatever they begin with, say
    that something was not done.
    """
    if envelope.result or not envelope.warnings:
        return None  # neither is left to the decoding, which knows what was asked for
    told = "; ".join(envelope.warnings)[: 2 * MAX_CODE_CHARS]
    return ServiceError(
        f"Kraken's answer to {endpoint} has no result, only the text: {told}.",
        code=envelope.warnings[0],
        endpoint=endpoint,
        retryable=True,
        action=Action.RETRY,
    )


def classify(errors: Sequence[str], endpoint: str, *, server_s: float | None = None) -> ApiError:
    """Turn Kraken's error texts into the one exception to raise.

    Args:
        errors: Texts as Kraken sent them, at least one; the first ``E...`` decides.
        endpoint: Endpoint name, such as ``Balance``.
        server_s: Kraken's time now (unix seconds), to understand ``Throttled:<unix time>``.
    """
    texts = [clean_text(text) for text in errors]
    code = next((text for text in texts if _is_error(text)), texts[0])
    row = find_row(code)
    told = "; ".join(texts)[: 2 * MAX_CODE_CHARS]
    if row is None:
        return ApiError(
            f"Kraken refused {endpoint}: {told}. This error is not in krakked's table.",
            code=code,
            endpoint=endpoint,
        )
    # what decides by the code later is spared other spellings
    code, retry_after_s = row.prefix + code[len(row.prefix) :], row.retry_after_s
    if row.prefix == THROTTLED:
        retry_after_s = _throttled_s(code, server_s) or retry_after_s
    return row.kind(
        f"Kraken refused {endpoint}: {told}. {row.advice}",
        code=code,
        endpoint=endpoint,
        retryable=row.retryable,
        retry_after_s=retry_after_s,
        action=row.action,
    )


def _throttled_s(code: str, server_s: float | None) -> float | None:
    until = re.search(r"(\d{9,11})\]?$", code)
    if until is None or server_s is None:
        return None
    return min(max(float(until.group(1)) - server_s, 1.0), MAX_WAIT_S)


def decode_result(envelope: Envelope, kind: type[T] | Any, endpoint: str) -> T:  # noqa: ANN401 -- unions are not types to mypy
    """Decode the result of a successful answer straight into typed structs.

    Raises:
        ServiceError: The result is absent or does not have the documented shape.
    """
    where = "no result"
    result, read = envelope.result, envelope.read
    del envelope  # it is not to be in the frame of an error, nor is its content
    if result:
        try:
            decoded: T = msgspec.json.decode(result, type=kind)
        except msgspec.ValidationError as error:
            # the text names types and a path such as `$[...].a[0]`, never a value
            where = clean_text(str(error))
        except UNREADABLE:
            where = "its result is not valid JSON"
        else:
            return decoded
        finally:
            del result
    raise advise(unreadable(endpoint, where), read=read)


def decode_wanted(envelope: Envelope, endpoint: str, kind: type[T] | None) -> T | JsonValue:
    """Decode the result of a successful answer of any endpoint.

    Args:
        envelope: The answer.
        endpoint: For the error.
        kind: The type wanted; None = plain values of JSON.

    Raises:
        ServiceError: The result is absent, not valid JSON, or none of `kind`.
    """
    result, read = envelope.result, envelope.read
    if not result or not (read or _is_an_outcome(result)):
        del envelope, result  # neither is to be in the frame of an error
        raise advise(unreadable(endpoint, "neither an error nor a result"), read=read)
    try:
        if kind is not None:
            typed: T = decode_result(envelope, kind, endpoint)
            return typed
        with contextlib.suppress(orjson.JSONDecodeError):  # it holds the document
            plain: JsonValue = orjson.loads(result)
            return plain
    finally:
        del envelope, result
    raise advise(unreadable(endpoint, "its result is not valid JSON"), read=read)
