"""Kraken's error strings as data: prefix -> class, whether to repeat a read, the next step.

Matching is by prefix, because texts get suffixes (``EGeneral:Invalid arguments:volume``), and
without regard to case; the longest prefix wins. The list is not closed: a new text of a known
family (``EService:``) is taken as its kind, what no row covers becomes a plain `ApiError`.

Source: "API error messages", docs.kraken.com/api/docs/guides/spot-errors, and support article
360001491786. The advice on repeating is ours unless Kraken gives one.
"""

from __future__ import annotations

import msgspec

from krakked._errors import (
    Action,
    ApiError,
    AuthError,
    LockoutError,
    NonceError,
    RateLimitError,
    RequestError,
    ServiceError,
)

LOCKOUT_S = 900.0
"""Kraken lifts a temporary lockout after about 15 minutes."""


class ErrorRow(msgspec.Struct, frozen=True):
    """What one family of error strings means."""

    prefix: str
    """Start of Kraken's text, after spaces behind the colons were taken out."""
    kind: type[ApiError]
    """Class to raise."""
    advice: str
    """One sentence for the user: what happened and what to do next."""
    retryable: bool = False
    """Whether the same read may succeed later without a change."""
    action: Action = Action.FIX_REQUEST
    """The next sensible step."""
    retry_after_s: float | None = None
    """Seconds to wait first, where known."""
    refusal: bool = True
    """Whether the text says that nothing was done; else a call may have taken effect."""


def _auth(prefix: str, advice: str) -> ErrorRow:
    return ErrorRow(prefix, AuthError, advice, action=Action.FIX_CREDENTIALS)


def _rate(prefix: str, advice: str, retry_after_s: float) -> ErrorRow:
    return ErrorRow(prefix, RateLimitError, advice, True, Action.WAIT, retry_after_s)


def _service(prefix: str, advice: str) -> ErrorRow:
    return ErrorRow(prefix, ServiceError, advice, True, Action.RETRY, refusal=False)


def _request(prefix: str, advice: str) -> ErrorRow:
    return ErrorRow(prefix, RequestError, advice)


THROTTLED = "EService:Throttled"
"""Comes with the unix time until which to wait."""

_MODE = "The market is in a restricted mode. Watch SystemStatus and the pair's status."

ROWS: tuple[ErrorRow, ...] = (
    # --- the key, the signature, the account
    _auth(
        "EAPI:Invalid key",
        "The API key is wrong, expired or deleted, or this address is not on its list.",
    ),
    # what a missing or wrong one-time password brings was seen by users only: Kraken's pages do not
    # say it (nothingisdead/npm-kraken-api#61)
    _auth(
        "EAPI:Invalid signature",
        "The signature does not match: check the API secret, and the one-time password (otp) where "
        "one was given.",
    ),
    _auth(
        "EGeneral:Permission denied",
        "The API key lacks the permission for this call, or it has a second factor (2FA): then "
        "give its one-time password (otp).",
    ),
    _auth("EAccount:Invalid permissions", "The account is not allowed to do this."),
    _auth("EAuth:Account temporary disabled", "The account is disabled for now: ask Kraken."),
    _auth("EAuth:Account unconfirmed", "The account is not confirmed yet."),
    _auth("EAuth:Failed", "Kraken refused the authentication."),
    _auth("EAuth:", "Kraken refused the authentication."),
    _auth("EAccount:", "Kraken refuses this account the call."),
    _auth("EUser:", "Kraken refuses this user the call."),
    _auth("EAPI:Feature disabled", "This endpoint is switched off for the account."),
    _auth("ESession:Invalid session", "The session token is missing or spent: get a new one."),
    ErrorRow(
        "EAPI:Invalid nonce",
        NonceError,
        "Another program uses this API key, or used it with a larger nonce. Give every program "
        "a key of its own.",
        True,
        Action.RETRY,
    ),
    # --- too many calls
    ErrorRow(
        "EGeneral:Temporary lockout",
        LockoutError,
        "Too many calls with a rejected key. Private calls pause for 15 minutes.",
        True,
        Action.WAIT,
        LOCKOUT_S,
    ),
    # 5 to 15 s is what Kraken's own command line tool waits for the counter to decay
    _rate("EAPI:Rate limit exceeded", "The private call counter of this key is full.", 10.0),
    _rate("EAuth:Rate limit exceeded", "Too many authentications.", 60.0),
    _rate("EAuth:Too many requests", "Too many authentications.", 60.0),
    _rate("EGeneral:Too many requests", "Too many public calls from this address.", 3.0),
    _rate(THROTTLED, "Too many calls at once.", 5.0),
    # quoted from Kraken's support by two clients, as {"Error": "Exceeded msg rate"}
    _rate("Exceeded msg rate", "Too many messages: slow down.", 5.0),
    _rate("EOrder:Rate limit exceeded", "The order counter of this pair is full.", 5.0),
    _rate("EOrder:Domain rate limit exceeded", "The order counter of this pair is full.", 5.0),
    # --- Kraken's side
    _service("EService:Unavailable", "The matching engine or the API is offline."),
    _service("EService:Busy", "The matching engine or the API is busy."),
    _service("EService:Timeout", "The matching engine did not answer in time."),
    _service("EGeneral:Internal error", "Something failed inside Kraken."),
    _service("EService:", "Something is wrong on Kraken's side."),
    _service("EDatabase:", "Something is wrong on Kraken's side."),
    ErrorRow(
        "EService:Market in cancel_only mode",
        ServiceError,
        _MODE,
        action=Action.CHECK_SYSTEM_STATUS,
    ),
    ErrorRow(
        "EService:Market in post_only mode", ServiceError, _MODE, action=Action.CHECK_SYSTEM_STATUS
    ),
    ErrorRow(
        "EService:Deadline elapsed", ServiceError, "The order's deadline passed; send a new one."
    ),
    # --- the request
    _request("EAPI:Bad request", "The request is malformed."),
    _request("EAPI:Invalid arguments", "A parameter is wrong."),
    _request("EGeneral:Invalid arguments", "A parameter is wrong."),
    _request("EGeneral:Unknown method", "There is no such endpoint."),
    _request("EQuery:Unknown asset pair", "No such pair; REST wants XBTUSD or XXBTZUSD."),
    _request("EQuery:Invalid asset pair", "Both assets exist, but not this pair."),
    _request("EQuery:Unknown asset", "No such asset."),
    _request("ETrade:Invalid request", "The request is not valid now."),
    _request("ETrade:Locked", "The request is locked by another one."),
    _request("EOrder:", "Kraken refuses the order."),
    _request("EBM:limit exceeded:CAL", "The Canadian purchase limit is reached."),
    _request("EFunding:", "Kraken refuses the transfer."),
    _request("EEarnings:", "Kraken refuses the earn request."),
)

_BY_LENGTH = tuple(sorted(ROWS, key=lambda row: len(row.prefix), reverse=True))


def find_row(code: str) -> ErrorRow | None:
    """Find the row of a (cleaned) error string, or None when no row covers it."""
    folded = code.lower()  # not casefold, which may change the length
    return next((row for row in _BY_LENGTH if folded.startswith(row.prefix.lower())), None)
