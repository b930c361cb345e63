"""One-time passwords of API keys with a second factor: asked for each sending, never sent twice.

A code that was sent is spent, whatever came back. Sending it again, on a retry say, can only look
like a replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from krakked._errors import RequestError
from krakked._public import public
from krakked._secrecy import NeverCopied, Veil

OTP_CODE = "one-time password"
"""`code` of the errors about one-time passwords that are raised before anything is sent."""


@public
@final
class OneTimePassword(NeverCopied):
    """Where the codes of a key's second factor come from, and which of them were sent.

    Args:
        source: The code as text (leading zeros count), or a function that gives the code of the
            moment. It is called when the call may go, while other calls of the key wait: a person
            should be asked before the call. Another object of this class shares its memory.
    """

    __slots__ = ("_fixed", "_sent", "_source")

    def __init__(self, source: Otp) -> None:
        self._sent: set[int] = set()
        self._source: Callable[[], object]
        self._fixed = not callable(source)
        if isinstance(source, OneTimePassword):
            self._source, self._fixed, self._sent = source._source, source._fixed, source._sent
        elif callable(source):
            self._source = source
        else:
            self._source = _veiled(_tidy(source))
        del source  # a traceback with locals now finds nothing plain in this frame

    @property
    def exhausted(self) -> bool:
        """Whether no other code can come: there was one, and it was sent."""
        return self._fixed and bool(self._sent)

    def fresh(self, endpoint: str) -> str | None:
        """Return a code that was not sent before and book it as sent; None when there is none now.

        Raises:
            RequestError: What the source gave is no code. Whatever a given function raises comes
                through.
        """
        code = _tidy(self._source())
        if isinstance(code, _NoCode):
            raise RequestError(
                f"The one-time password for {endpoint} {code.problem}.",
                code=OTP_CODE,
                endpoint=endpoint,
            )
        if hash(code) in self._sent:
            return None
        self._sent.add(hash(code))
        return code

    def not_sent(self, booking: int) -> None:
        """Take back the booking of a code, its hash: it never left this machine."""
        self._sent.discard(booking)

    def __repr__(self) -> str:
        return "OneTimePassword(***)"


Otp = str | Callable[[], str] | OneTimePassword
"""What calls take: the code, or a function that gives the code of the moment."""


def one_time(given: Otp | None) -> OneTimePassword | None:
    """Veil what a caller gave, so that no frame shows it."""
    return None if given is None else OneTimePassword(given)


def spent(endpoint: str) -> RequestError:
    """Build the error for a call that needs another code than those that were sent."""
    return RequestError(
        f"{endpoint} was not sent: its one-time password was sent before. Give the next one.",
        code=OTP_CODE,
        endpoint=endpoint,
    )


class _NoCode:
    """What a source gave instead of a code."""

    __slots__ = ("problem",)

    def __init__(self, problem: str) -> None:
        self.problem = problem


def _tidy(given: object) -> str | _NoCode:
    """Return the code as it is sent, or what is wrong with it; nothing raises here."""
    if isinstance(given, _NoCode):
        return given
    if not isinstance(given, str):
        return _NoCode(f"must be text, as leading zeros count, and not {type(given).__name__}")
    code = given.strip()
    try:
        code.encode()
    except UnicodeEncodeError:
        return _NoCode("has characters that cannot be sent")
    return code or _NoCode("is empty")


def _veiled(code: str | _NoCode) -> Callable[[], object]:
    """Return a function that gives the code, which no walk over attributes finds in it."""
    if isinstance(code, _NoCode):
        return lambda: code
    veil = Veil(code.encode())
    return lambda: veil.reveal().decode()
