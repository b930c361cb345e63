"""What the REST room knows about itself, for status reports."""

import logging
from collections import deque
from collections.abc import Iterable

import msgspec

from krakked._errors import ApiError, KrakkedError
from krakked._public import public
from krakked._rest.limits import SECOND_NS
from krakked._rest.waits import Waiting

log = logging.getLogger("krakked.rest")

_WARNINGS_KEPT = 20


@public
class ApiWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A ``W...`` text that came with an answer."""

    endpoint: str
    """Endpoint that answered."""
    text: str
    """Kraken's text."""


@public
class LimiterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the calls are being held back."""

    public_spacing_s: float
    """Spacing of public calls in force, in seconds; wider than configured after a refusal."""
    private_counter: float | None
    """Our estimate of Kraken's counter for the key, 0 to 15; None before the first private call."""
    lockout_left_s: float
    """Seconds until a lockout ends; 0 when there is none."""
    retry_budget: int
    """Retry tokens left, of 500."""
    waiting: tuple[Waiting, ...]
    """Calls that wait now, the longest waiting first."""


@public
class NonceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The nonces of the key in use; nothing of the key itself."""

    last: int | None
    """Highest nonce given by any process here, in nanoseconds; None before the first call."""
    ahead_s: float | None
    """How far that is ahead of our wall clock. Well above 0 says that the clock was set back, or
    that the machine lost power and went on from a mark; None before the first call."""
    window: int | None
    """Nonce window of the key as Kraken told it; None = not asked (`api_key_info` asks)."""
    overlap: bool
    """Whether the window lets calls be in flight together; else they go one after the other."""
    shared: bool
    """Whether the processes of this machine share the record; False = this object alone."""


@public
class RestStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether Kraken's REST API can be reached, from the calls made so far."""

    reachable: bool | None
    """Whether the last call reached the API; None before the first."""
    last_error: str | None
    """What the last failing call met; None when the last call succeeded."""
    last_ok_age_s: float | None
    """Seconds since the API last answered (even with a refusal); None = never."""
    clock_ahead_s: float | None
    """How far our wall clock is ahead of Kraken's; 0 = no difference seen, None = not measured."""
    warnings: tuple[ApiWarning, ...]
    """The newest warnings, oldest first, at most 20."""
    limiter: LimiterStatus
    """How the calls are being held back."""
    nonce: NonceStatus | None = None
    """The nonces of the key in use; None without credentials."""


class CallLog:
    """What the calls of one client met, as far as a status report tells it."""

    __slots__ = ("_last_ok_ns", "last_error", "reachable", "warnings")

    def __init__(self) -> None:
        self._last_ok_ns: int | None = None
        self.reachable: bool | None = None
        """Whether the last call reached the API; None before the first."""
        self.last_error: str | None = None
        """What the last failing call met; None when the last call succeeded."""
        self.warnings: deque[ApiWarning] = deque(maxlen=_WARNINGS_KEPT)
        """The newest warnings, oldest first."""

    def answered(self, now_ns: int) -> None:
        """Note a success at an elapsed time."""
        self.reachable, self.last_error, self._last_ok_ns = True, None, now_ns

    def failed(self, error: KrakkedError, now_ns: int) -> None:
        """Note a failure; a refusal in Kraken's own words shows that the API is there."""
        self.last_error = str(error)
        self.reachable = isinstance(error, ApiError) and error.code[:1] in {"E", "W"}
        if self.reachable:
            self._last_ok_ns = now_ns

    def warned(self, endpoint: str, texts: Iterable[str]) -> None:
        """Note and log the warnings that came with an answer."""
        for text in texts:
            log.warning("%s: Kraken warns: %s", endpoint, text)
            self.warnings.append(ApiWarning(endpoint=endpoint, text=text))

    def last_ok_age_s(self, now_ns: int) -> float | None:
        """Return the seconds since the API last answered; None = never."""
        return None if self._last_ok_ns is None else (now_ns - self._last_ok_ns) / SECOND_NS
