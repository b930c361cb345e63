"""What a validation can find out, and whose fault a failure was. Pure."""

from enum import StrEnum
from typing import Final

import msgspec

from krakked._errors import ApiError, AuthError, KrakkedError, NetworkError
from krakked._public import public

_ABOUT_THE_KEY: Final = ("eapi:", "eauth:", "eaccount:", "euser:")


@public
class Outcome(StrEnum):
    """What a validation found out."""

    VALID = "valid"
    """Kraken accepts the key."""
    AUTH_PROBLEM = "auth_problem"
    """Key, signature, permission or account: these credentials do not work."""
    SERVICE_PROBLEM = "service_problem"
    """Kraken answered, but not about the key: outage, rate limit, lockout, nonce."""
    NETWORK_PROBLEM = "network_problem"
    """Kraken was not reached."""


@public
class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """What Kraken said about one candidate."""

    outcome: Outcome
    """What it found out."""
    tag: str
    """Ties this to the candidate it was made for, within this process."""
    validated_at_s: int | None = None
    """Unix seconds of the success; None unless `outcome` is valid."""
    permissions: tuple[str, ...] | None = None
    """The key's permissions in Kraken's words; None when Kraken did not tell."""
    nonce_window: int | None = None
    """The key's custom nonce window; None when Kraken did not tell."""
    expires_at_s: int | None = None
    """Unix seconds at which the key ends; None when it does not, or Kraken did not tell."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user: dangerous permissions, no IP allow-list, no expiry."""
    error: KrakkedError | None = None
    """What went wrong; None when valid."""

    @property
    def unvalidated(self) -> bool:
        """Whether these credentials may only be saved as unvalidated, on purpose."""
        return self.outcome in {Outcome.SERVICE_PROBLEM, Outcome.NETWORK_PROBLEM}


def classify_failure(error: KrakkedError) -> Outcome:
    """Tell whose fault a failed `Balance` was. Pure.

    Texts that nobody knows count by their category: `Balance` without parameters gives Kraken's API
    nothing to object to but key, signature and account.
    """
    if isinstance(error, AuthError):
        return Outcome.AUTH_PROBLEM
    if type(error) is ApiError and error.code.lower().startswith(_ABOUT_THE_KEY):
        return Outcome.AUTH_PROBLEM
    if isinstance(error, NetworkError):
        return Outcome.NETWORK_PROBLEM
    return Outcome.SERVICE_PROBLEM
