"""Who signs: the opaque holder of one API key and its signer."""

from __future__ import annotations

import hashlib
import re
from typing import final

from krakked._core import Signer
from krakked._errors import CredentialsFormatError
from krakked._public import public
from krakked._secrecy import NeverCopied, Veil

_TAG_PATH = "which-secret"
_KEY_SHAPE = re.compile(r"[A-Za-z0-9+/=_-]{16,200}")

KEY_CHARACTERS = 56
"""Length of Kraken's API keys: 42 bytes in base64."""
SECRET_CHARACTERS = 88
"""Length of Kraken's API secrets: 64 bytes in base64, the last two characters are padding.

Source of both: what Kraken shows; its pages name no length.
"""


def looks_like_secret(text: bytes | bytearray) -> bool:
    """Whether a text has the shape of an API secret, with or without its padding."""
    return len(text.rstrip(b"=")) == SECRET_CHARACTERS - 2


def looks_like_key(text: bytes | bytearray) -> bool:
    """Whether a text has the shape of an API key."""
    return len(text) == KEY_CHARACTERS


@public
@final
class Credentials(NeverCopied):
    """An API key and the signer of its secret; signs requests and tells nothing else.

    The key is kept masked, so that debuggers, pickles and object dumps that walk attributes show
    noise. That is no protection against a reader of the process memory. The secret itself lives in
    Rust only. There is no equality, copy or pickle; `fingerprint` names the key in files and logs.

    Args:
        key: The public half, as Kraken shows it.
        signer: Holds the private half.
        source: Where they came from, in words for the user (``environment``, ``vault``).

    Raises:
        CredentialsFormatError: The key has characters or a length that no Kraken key has, or the
            shape of a secret: it would be sent with every call.
    """

    __slots__ = ("_key", "_signer", "fingerprint", "source", "tag")

    def __init__(self, key: str, signer: Signer, *, source: str) -> None:
        if not _KEY_SHAPE.fullmatch(key):
            # such a key would break the HTTP header, and the HTTP library would quote it
            raise CredentialsFormatError(
                "The API key has characters or a length that no Kraken key has; copy it again.",
                field="key",
            )
        raw = key.encode("ascii")
        del key  # a traceback with locals now finds nothing plain in this frame
        if looks_like_secret(raw):
            del raw
            raise CredentialsFormatError(
                "What is given as API key has the shape of an API secret: the two look swapped. "
                "Nothing was sent. Enter them anew with `krakked setup`.",
                field="key",
            )
        self._key = Veil(raw)
        self._signer = signer
        self.fingerprint: str = hashlib.sha256(raw).hexdigest()[:16]
        """First 16 hex digits of the key's SHA-256; names the state file."""
        self.tag: str = signer.sign(_TAG_PATH, 0, b"")[:16]
        """Names key and secret together, in 96 bits of a signature over nothing that Kraken takes;
        tells a corrected secret from the one before."""
        self.source: str = source
        """Where the credentials came from."""

    def sign_form(
        self, path: str, nonce: int, params: list[tuple[str, str]]
    ) -> tuple[bytes, dict[str, str]]:
        """Encode a form with the nonce in front and sign it; give (body, secret headers)."""
        body, sign = self._signer.sign_form(path, nonce, params)
        return body, self._headers(sign)

    def sign_body(self, path: str, nonce: int, body: bytes) -> dict[str, str]:
        """Sign a body that already holds the nonce; give the secret headers."""
        return self._headers(self._signer.sign(path, nonce, body))

    def _headers(self, sign: str) -> dict[str, str]:
        return {"API-Key": self._key.reveal_text(), "API-Sign": sign}

    def __repr__(self) -> str:
        return "Credentials(***)"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)
