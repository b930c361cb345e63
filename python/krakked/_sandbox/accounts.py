"""API keys, their permissions, nonces and counters, and the check of a signed call.

The signature is checked with the standard library alone, so that a bug of a client's signer cannot
hide in a shared routine.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import random
import string
import urllib.parse
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from krakked._sandbox.limits import TIERS, Counter
from krakked._sandbox.settings import SandboxSettings

READ_PERMISSIONS = (
    "query-funds",
    "query-open-trades",
    "query-closed-trades",
    "query-ledger",
    "create-ws-token",
)
_MOST_NONCES = 4096
TOKEN_LIFE_S = 900


class ApiRefusedError(Exception):
    """A call is refused with one of Kraken's error texts."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(slots=True)
class Key:
    """One API key."""

    key: str
    secret: bytes = field(repr=False)
    name: str
    permissions: tuple[str, ...]
    nonce_window: int
    otp: str | None
    counter: Counter
    created_s: int
    valid_until_s: int = 0
    ip_allowlist: tuple[str, ...] = ()
    highest_nonce: int = 0
    seen_nonces: deque[int] = field(default_factory=lambda: deque(maxlen=_MOST_NONCES), repr=False)
    last_used_s: int | None = None
    tokens: dict[str, int] = field(default_factory=dict, repr=False)
    """WebSocket tokens and the market times (ns) at which they were given."""
    enabled: bool = True


class Accounts:
    """All keys of the sandbox; one account's balance behind them."""

    def __init__(self, seed: int, settings: SandboxSettings) -> None:
        self._random = random.Random(f"accounts {seed}")  # noqa: S311 - a pretended exchange
        self._settings = settings
        self._keys: dict[str, Key] = {}
        self._invalid_in_a_row: dict[str, int] = {}
        self._locked_until: dict[str, float] = {}
        self.balances: dict[str, str] = {
            "ZUSD": "10250.5000",
            "XXBT": "1.2345000000",
            "XETH": "12.5000000000",
            "SOL": "40.0000000000",
            "DOT.F": "15.2500000000",
            "XXDG": "0.00000000",
        }

    def add_key(
        self,
        *,
        permissions: tuple[str, ...] | None = None,
        nonce_window: int = 0,
        otp: str | None = None,
        ip_allowlist: tuple[str, ...] = (),
        created_s: int = 0,
        name: str = "sandbox",
    ) -> tuple[str, str]:
        """Make a key; gives key and secret as Kraken shows them."""
        alphabet = string.ascii_letters + string.digits + "+/"
        key = "".join(self._random.choice(alphabet) for _ in range(56))
        secret = self._random.randbytes(64)
        maximum, decay = TIERS[self._settings.tier]
        self._keys[key] = Key(
            key=key,
            secret=secret,
            name=name,
            permissions=READ_PERMISSIONS if permissions is None else permissions,
            nonce_window=nonce_window,
            otp=otp,
            counter=Counter(maximum, decay),
            created_s=created_s,
            ip_allowlist=ip_allowlist,
        )
        return key, base64.b64encode(secret).decode()

    def key(self, key: str) -> Key:
        """Return a key's state, for tests and faults."""
        return self._keys[key]

    def key_of_token(self, token: object, now_ns: int) -> Key | None:
        """Return the key a WebSocket token belongs to, within its 15 minutes."""
        for key in self._keys.values():
            given_ns = key.tokens.get(str(token))
            if given_ns is not None and now_ns - given_ns <= TOKEN_LIFE_S * 10**9:
                return key
        return None

    def unlock(self) -> None:
        """Forget lockouts and rejected keys."""
        self._locked_until.clear()
        self._invalid_in_a_row.clear()

    def check_key(self, key: str, client: str, now: float) -> Key:
        """Check the API-Key header: before anything else, whatever else is wrong."""
        if now < self._locked_until.get(client, 0.0):
            raise ApiRefusedError("EGeneral:Temporary lockout")
        found = self._keys.get(key)
        allowed = found is not None and (not found.ip_allowlist or client in found.ip_allowlist)
        if found is None or not allowed or not found.enabled:
            count = self._invalid_in_a_row.get(client, 0) + 1
            self._invalid_in_a_row[client] = count
            if self._settings.limits and count >= self._settings.invalid_keys_before_lockout:
                self._locked_until[client] = now + self._settings.lockout_s
                self._invalid_in_a_row[client] = 0
            raise ApiRefusedError("EAPI:Invalid key")
        self._invalid_in_a_row[client] = 0
        return found

    def check_call(self, key: Key, path: str, body: bytes, json_body: bool, sign: str) -> Call:
        """Check signature, nonce and otp of a call, in this order."""
        call = read_body(body, json_body)
        nonce_text = call.text("nonce")
        if nonce_text is None or not nonce_text.isdigit():
            raise ApiRefusedError("EAPI:Invalid nonce")
        if not hmac.compare_digest(signature(key.secret, path, nonce_text, body), _decoded(sign)):
            raise ApiRefusedError("EAPI:Invalid signature")
        self._check_nonce(key, int(nonce_text))
        if key.otp is not None and call.text("otp") != key.otp:
            # The text for a missing otp is in no public source: unverified.
            raise ApiRefusedError("EAuth:Failed")
        return call

    def _check_nonce(self, key: Key, nonce: int) -> None:
        if nonce >= 2**64:
            raise ApiRefusedError("EAPI:Invalid nonce")
        if nonce <= key.highest_nonce:
            # A window forgives lateness, never a repeat. Its unit is the nonce's own: unverified.
            late = key.highest_nonce - nonce
            if late > key.nonce_window or nonce in key.seen_nonces:
                raise ApiRefusedError("EAPI:Invalid nonce")
        key.highest_nonce = max(key.highest_nonce, nonce)
        key.seen_nonces.append(nonce)


@dataclass(frozen=True, slots=True)
class Call:
    """The parameters of a private call, however they were sent."""

    values: Mapping[str, object] = field(repr=False)

    def text(self, name: str) -> str | None:
        """Return a parameter as text; numbers of a JSON body are written out."""
        value = self.values.get(name)
        return None if value is None or isinstance(value, bool | dict | list) else str(value)


def read_body(body: bytes, json_body: bool) -> Call:
    """Read a form or JSON body."""
    try:
        text = body.decode()
        if json_body:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ApiRefusedError("EAPI:Bad request")
            return Call(values)
        return Call(dict(urllib.parse.parse_qsl(text, keep_blank_values=True)))
    except ValueError:
        raise ApiRefusedError("EAPI:Bad request") from None


def signature(secret: bytes, path: str, nonce: str, body: bytes) -> bytes:
    """Return the raw API-Sign of a call (Kraken: Spot REST authentication)."""
    inner = hashlib.sha256(nonce.encode() + body).digest()
    return hmac.digest(secret, path.encode() + inner, "sha512")


def _decoded(sign: str) -> bytes:
    try:
        return base64.b64decode(sign, validate=True)
    except (binascii.Error, ValueError):
        return b""
