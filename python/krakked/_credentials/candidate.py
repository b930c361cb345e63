"""A key and secret on their way from input to save or drop: checked, veiled, never shown.

The only place where an unsealed secret lives in Python. Pure: no file, no network.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Final, final

from krakked._errors import CredentialsFormatError
from krakked._public import public
from krakked._rest.signing import looks_like_key, looks_like_secret
from krakked._secrecy import NeverCopied, Veil, veiled_text, wipe

MIN_KEY_CHARACTERS: Final = 16
MAX_KEY_CHARACTERS: Final = 200
"""Kraken's API keys have 56 characters; room is left for a change of theirs."""

MIN_SECRET_BYTES: Final = 32
MAX_SECRET_BYTES: Final = 256
"""Kraken's secrets decode to 64 bytes. Source: kraken.com, API sign-in guide, "Spot REST"."""

_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_QUOTES = tuple(quote.encode() for quote in "\"'`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb")
_PROCESS_SALT = os.urandom(32)  # makes a candidate's tag worthless outside this process


@public
@final
class Candidate(NeverCopied):
    """A key and secret that may still turn out to be wrong.

    Outer white space is trimmed. Wrong characters, lengths or base64, quotes, and key and secret in
    each other's place are refused at once, before any call, without echoing any of it. No repr,
    comparison, copy or pickle gives anything away.

    Raises:
        CredentialsFormatError: The key or the secret has the wrong shape; see its `field`.
    """

    __slots__ = ("__weakref__", "_key", "_secret", "_tag")

    def __init__(self, key: str | bytes | bytearray, secret: str | bytes | bytearray) -> None:
        self._key, self._secret = veiled_text(key), veiled_text(secret)
        del key, secret  # a traceback with locals now finds nothing plain in this frame
        error = _key_error(self._key) or _secret_error(self._secret)
        if error is not None:
            raise error
        self._tag = _tag(self._key, self._secret)

    def reveal_key(self) -> bytearray:
        """Return the API key's text in a buffer of its own, to be wiped after use."""
        return self._key.reveal()

    def reveal_secret(self) -> bytearray:
        """Return the API secret's base64 text in a buffer of its own, to be wiped after use."""
        return self._secret.reveal()

    @property
    def tag(self) -> str:
        """Ties a validation to the very key and secret it was made for; meaningless elsewhere."""
        return self._tag

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of SHA-256 of the key: names state files, tells keys apart."""
        key = self._key.reveal()
        digest = hashlib.sha256(key).hexdigest()[:16]
        wipe(key)
        return digest

    def clear(self) -> None:
        """Overwrite key and secret; the candidate is of no use afterwards."""
        self._key.clear()
        self._secret.clear()

    def __repr__(self) -> str:
        return "<Candidate>"


def _key_error(key: Veil) -> CredentialsFormatError | None:
    if _has(key, _is_quoted):
        return _format_error("key", "it stands in quotes", "Remove the quotes.")
    if _has(key, looks_like_secret):
        return _format_error(
            "key",
            "it has the shape of an API secret: the two look swapped",
            "The key is the shorter one.",
        )
    if not MIN_KEY_CHARACTERS <= len(key) <= MAX_KEY_CHARACTERS:
        return _format_error("key", f"it has {len(key)} characters, which cannot be right")
    problem = _alphabet_problem(key)
    return _format_error("key", problem) if problem else None


def _secret_error(secret: Veil) -> CredentialsFormatError | None:
    if _has(secret, _is_quoted):
        return _format_error("secret", "it stands in quotes", "Remove the quotes.")
    if _has(secret, looks_like_key):
        advice = "The secret ('private key') is the longer one."
        return _format_error(
            "secret", "it has the shape of an API key: the two look swapped", advice
        )
    problem = _alphabet_problem(secret)
    if problem:
        return _format_error("secret", problem)
    text = secret.reveal()
    try:
        decoded = base64.b64decode(text, validate=True)
        whole = base64.b64encode(decoded) == text  # stray bits at the end are a bad copy, too
        size = len(decoded)
        del decoded
    except binascii.Error:
        whole, size = False, 0
    finally:
        wipe(text)
    if not whole:
        return _format_error("secret", "it is not complete base64, perhaps cut while copying")
    if not MIN_SECRET_BYTES <= size <= MAX_SECRET_BYTES:
        return _format_error("secret", f"it decodes to {size} bytes, which cannot be right")
    return None


def _alphabet_problem(veil: Veil) -> str | None:
    text = veil.reveal()
    place = next((at for at, byte in enumerate(text, 1) if byte not in _ALPHABET), None)
    wipe(text)
    if place is None:
        return None
    return f"character {place} is none of A-Z a-z 0-9 + / ="


def _has(veil: Veil, shape: Callable[[bytearray], bool]) -> bool:
    """Tell whether what is veiled has a shape."""
    text = veil.reveal()
    found = shape(text)
    wipe(text)
    return found


def _is_quoted(text: bytearray) -> bool:
    return text.startswith(_QUOTES) or text.endswith(_QUOTES)


def _format_error(
    field: str, problem: str, advice: str = "Copy it again from Kraken."
) -> CredentialsFormatError:
    return CredentialsFormatError(f"The API {field} is malformed: {problem}. {advice}", field=field)


def _tag(key: Veil, secret: Veil) -> str:
    text = key.reveal() + b"\0" + secret.reveal()
    digest = hmac.new(_PROCESS_SALT, text, "sha256").hexdigest()
    wipe(text)
    return digest
