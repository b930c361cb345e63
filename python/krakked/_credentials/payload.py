"""What lies inside the sealed file: a small JSON object. Pure.

    {"schema":1,"api_key":"...","api_secret":"...","validated_at":1790000000}

The secret is never parsed into a str: it is read as a raw view of the decrypted buffer, copied into
a bytearray for the Signer, and both are overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from krakked._credentials.candidate import Candidate
from krakked._credentials.vault import PAD_TO, SENTENCE
from krakked._errors import VaultDamagedError, VaultVersionError
from krakked._secrecy import wipe
from krakked._unreadable import UNREADABLE

SCHEMA: Final = 1
_BASE64: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")

T = TypeVar("T")


class _Payload(msgspec.Struct):
    schema: int
    api_key: msgspec.Raw
    api_secret: msgspec.Raw
    validated_at: int | None


def encode_payload(candidate: Candidate, *, validated_at_s: int | None) -> bytearray:
    """Write a candidate as the vault's JSON, padded with spaces, into one buffer to be wiped.

    Args:
        candidate: Key and secret; both are base64 text, so JSON needs no escapes.
        validated_at_s: Unix seconds of the validation that succeeded, or None when none did.
    """
    return _packed(candidate.reveal_key(), candidate.reveal_secret(), validated_at_s)


def restamped(content: bytearray, *, validated_at_s: int) -> bytearray:
    """Write a vault's JSON anew with another time of validation; `content` stays as it is.

    Args:
        content: The decrypted buffer.
        validated_at_s: Unix seconds of the validation that succeeded.

    Raises:
        VaultDamagedError: Not the JSON expected here.
    """
    payload = _parse(content)
    if payload is None:
        raise VaultDamagedError(SENTENCE)
    return _packed(_text(payload.api_key), _text(payload.api_secret), validated_at_s)


def _packed(key: bytearray, secret: bytearray, validated_at_s: int | None) -> bytearray:
    """Put the JSON together, padded; wipes key and secret."""
    stamp = b"null" if validated_at_s is None else str(int(validated_at_s)).encode()
    pieces = (
        b'{"schema":%d,"api_key":"' % SCHEMA,
        key,
        b'","api_secret":"',
        secret,
        b'","validated_at":' + stamp + b"}",
    )
    size = (sum(map(len, pieces)) // PAD_TO + 1) * PAD_TO
    content = bytearray(b" " * size)  # full size at once: growing would leave copies behind
    at = 0
    for piece in pieces:
        content[at : at + len(piece)] = piece
        at += len(piece)
    wipe(key)
    wipe(secret)
    return content


def decode_payload(content: bytearray, use: Callable[[str, bytearray], T]) -> tuple[T, int | None]:
    """Read the vault's JSON and hand key and secret to `use`; overwrites `content` in any case.

    Args:
        content: The decrypted buffer.
        use: Gets the key as text and the secret's base64 in a buffer that is wiped afterwards.

    Returns:
        What `use` gave, and the unix seconds of the validation, or None when there was none.

    Raises:
        VaultDamagedError: Not the JSON expected here.
        VaultVersionError: A newer schema.
    """
    key, secret = bytearray(), bytearray()
    try:
        payload = _parse(content)
        if payload is not None and payload.schema > SCHEMA:
            raise VaultVersionError("The secrets file was written by a newer krakked. Upgrade it.")
        if payload is not None and payload.schema == SCHEMA:
            key, secret = _text(payload.api_key), _text(payload.api_secret)
        if payload is None or not key or not secret:
            raise VaultDamagedError(SENTENCE)
        return use(key.decode("ascii"), secret), payload.validated_at
    finally:
        wipe(key)
        wipe(secret)
        wipe(content)


def read_validated_at(content: bytearray) -> int | None:
    """Read the time of validation alone; `content` stays as it is.

    Raises:
        VaultDamagedError: Not the JSON expected here.
    """
    payload = _parse(content)
    if payload is None:
        raise VaultDamagedError(SENTENCE)
    return payload.validated_at


def _parse(content: bytearray) -> _Payload | None:
    try:
        return msgspec.json.decode(content, type=_Payload)
    except UNREADABLE:
        return None


def _text(raw: msgspec.Raw) -> bytearray:
    """Copy the inside of a JSON string that needs no unescaping; empty for anything else."""
    with memoryview(raw) as view:
        if len(view) < 2 or view[0] != 0x22 or view[-1] != 0x22:
            return bytearray()
        inside = bytearray(view[1:-1])
    if any(byte not in _BASE64 for byte in inside):
        wipe(inside)
        return bytearray()
    return inside
