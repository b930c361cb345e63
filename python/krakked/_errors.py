"""The one exception tree. The class tells whose fault it was; the message tells what to do next.

No exception of this tree ever carries a key, a secret, a password, a token or a reply body.
Long because it is the one place for all of them.
"""

from __future__ import annotations

from enum import StrEnum

from krakked._public import public


@public
class KrakkedError(Exception):
    """Anything krakked refuses or could not do; catch this to catch everything of ours."""

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own calls the constructor with the message alone, which most of ours refuse:
        # a worker of multiprocessing that raised one would hang its pool.
        return _made_anew, (type(self), self.args), dict(self.__dict__)


def _made_anew(kind: type[KrakkedError], args: tuple[object, ...]) -> KrakkedError:
    return kind.__new__(kind, *args)


@public
class ClosedError(KrakkedError):
    """A client was used after the block that opened it had ended. Nothing was sent.

    Nothing that it knew may still pass for fresh: open another one.
    """

    def __init__(self) -> None:
        super().__init__(
            "This client is closed: the block that opened it has ended. Keep your "
            "work inside the block, or open another client."
        )


# --- configuration ---------------------------------------------------------------------------


@public
class ConfigError(KrakkedError):
    """config.yaml, a variable or an argument is wrong. Nothing was changed.

    Attributes:
        path: The file at fault, or None.
        key: Dotted path of the key at fault (``market_data.ws.url``), or None.
        line: 1-based line in the file, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        key: str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.key = key
        self.line = line


# --- credentials -----------------------------------------------------------------------------


@public
class CredentialsError(KrakkedError):
    """Something about the key, the secret or where they are kept."""


@public
class NoCredentialsError(CredentialsError):
    """Neither environment nor vault holds usable credentials: start the first-time set-up."""


@public
class CredentialsFormatError(CredentialsError):
    """A key, secret or password has the wrong shape; it is never echoed.

    Attributes:
        field: ``key``, ``secret`` or ``password``.
    """

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


@public
class CredentialsRejectedError(CredentialsError):
    """Saving was refused because validation ended in an authentication problem."""


@public
class CredentialsUnvalidatedError(CredentialsError):
    """Saving was refused because no validation of these credentials succeeded."""


@public
class NoPasswordError(CredentialsError):
    """The master password is needed and no source of it could give one."""


@public
class VaultError(CredentialsError):
    """The vault file could not be used.

    Attributes:
        path: The vault file, or None.
    """

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


@public
class VaultUnsafeError(VaultError):
    """The vault file is a link, not ours, or readable by others: refused before it was opened."""


@public
class VaultVersionError(VaultError):
    """The vault was written by a newer krakked."""


@public
class VaultLockedError(VaultError):
    """Another process is writing the vault; nothing was changed."""


@public
class VaultOpenError(VaultError):
    """Base of the two ways an opening fails; both say the same sentence."""


@public
class WrongPasswordError(VaultOpenError):
    """The password is wrong, or the header was altered."""


@public
class VaultDamagedError(VaultOpenError):
    """The file is cut, altered or not a vault."""


# --- network ---------------------------------------------------------------------------------


@public
class Action(StrEnum):
    """The next sensible step after a :class:`NetworkError` or an :class:`ApiError`."""

    FIX_CREDENTIALS = "fix_credentials"
    """The key, its permissions or the account: `krakked setup`, or Kraken's settings of the key."""
    FIX_REQUEST = "fix_request"
    """An argument is wrong, or Kraken refuses this call as it is."""
    FIX_SETTINGS = "fix_settings"
    """A setting or a variable of the environment is wrong, such as the address of a proxy."""
    WAIT = "wait"
    """Too many calls: wait for ``retry_after_s``."""
    RETRY = "retry"
    """Send the same call again, a little later."""
    CHECK_NETWORK = "check_network"
    """Look at the connection of this machine, and at its proxy."""
    CHECK_SYSTEM_STATUS = "check_system_status"
    """The market is in a restricted mode: ask `RestClient.system_status`."""
    LOOK_UP_OUTCOME = "look_up_outcome"
    """The call changes something and may have taken effect: never send it again unseen."""


@public
class NetworkError(KrakkedError):
    """The request did not reach Kraken, or its answer did not reach us.

    Attributes:
        endpoint: Endpoint name or host concerned, or None.
        retryable: Whether sending the same call again can help and cannot do anything twice.
        action: The next sensible step.
    """

    def __init__(
        self,
        message: str,
        *,
        endpoint: str | None = None,
        retryable: bool = True,
        action: Action | None = None,
    ) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.retryable = retryable
        self.action: Action = action or (Action.RETRY if retryable else Action.CHECK_NETWORK)


@public
class ConnectFailedError(NetworkError):
    """No connection: name resolution, refused, unreachable or TLS."""


@public
class NetworkTimeoutError(NetworkError):
    """A phase of the call took too long; for a write the outcome is unknown."""


@public
class DisconnectedError(NetworkError):
    """An open connection was lost."""


# --- Kraken's own answers --------------------------------------------------------------------


@public
class ApiError(KrakkedError):
    """Kraken, or the servers in front of it, answered with an error.

    Attributes:
        code: Kraken's text, such as ``EAPI:Invalid key``, or ``HTTP 503``.
        endpoint: Endpoint name, such as ``Balance``.
        retryable: Whether the same call may succeed later and cannot do anything twice.
        retry_after_s: Seconds to wait before the next try, or None when not known.
        action: The next sensible step.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        endpoint: str,
        retryable: bool = False,
        retry_after_s: float | None = None,
        action: Action = Action.FIX_REQUEST,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.endpoint = endpoint
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.action = action


@public
class AuthError(ApiError):
    """The key, the signature, a permission or the account: only the user can mend it."""


@public
class NonceError(ApiError):
    """``EAPI:Invalid nonce``: another program uses the key, or a clock is off; no auth failure."""


@public
class RateLimitError(ApiError):
    """Too many calls; see ``retry_after_s``."""


@public
class LockoutError(RateLimitError):
    """``EGeneral:Temporary lockout``: all private calls pause for about 15 minutes."""


@public
class ServiceError(ApiError):
    """Kraken is unavailable, busy, in maintenance, or answered something unreadable."""


@public
class RequestError(ApiError):
    """Kraken understood the call and refuses its content, or it could not even be sent."""


# --- market data -----------------------------------------------------------------------------


@public
class MarketDataError(KrakkedError):
    """Base of everything about pairs, candles and live prices."""


@public
class UnknownPairError(MarketDataError):
    """No such pair in the universe or on the exchange.

    Attributes:
        pair: The name as given.
        suggestion: Nearest canonical name, or None.
    """

    def __init__(self, message: str, *, pair: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.pair = pair
        self.suggestion = suggestion


@public
class UnknownTimeframeError(MarketDataError):
    """No such timeframe.

    Attributes:
        timeframe: The label as given.
    """

    def __init__(self, message: str, *, timeframe: str) -> None:
        super().__init__(message)
        self.timeframe = timeframe


@public
class InvalidTimeError(MarketDataError):
    """What was given is no point in time, or in another unit than seconds.

    Attributes:
        time: What was given, as text.
    """

    def __init__(self, message: str, *, time: str) -> None:
        super().__init__(message)
        self.time = time


@public
class StaleReason(StrEnum):
    """Why data is stale."""

    FEED_DOWN = "feed_down"
    """The connection is down and being restored."""
    SUBSCRIPTION_MUTE = "subscription_mute"
    """Acknowledged, but nothing comes although the pair trades."""
    MARKET_QUIET = "market_quiet"
    """The feed is live; nobody trades or quotes."""
    DATA_LATE = "data_late"
    """What comes was made too long ago, by its own time."""
    RESUMED = "resumed_from_suspend"
    """The machine has slept since."""


@public
class DataStaleError(MarketDataError):
    """The newest data is older than ``stale_tolerance_seconds``; it is not handed out as fresh.

    Attributes:
        pair: Canonical name.
        age_s: Seconds since the last update; what it came late is counted in.
        why: Whether the feed is down, the subscription mute, the market quiet on a live feed, or
            what comes was made too long ago.
    """

    def __init__(self, message: str, *, pair: str, age_s: float, why: StaleReason) -> None:
        super().__init__(message)
        self.pair = pair
        self.age_s = age_s
        self.why = why


@public
class NoDataYetError(MarketDataError):
    """Nothing has arrived for this pair yet (or no such subscription exists).

    Attributes:
        pair: Canonical name.
    """

    def __init__(self, message: str, *, pair: str) -> None:
        super().__init__(message)
        self.pair = pair


@public
class SubscriptionRefusedError(MarketDataError):
    """Kraken refused the subscription.

    Attributes:
        pair: Canonical name.
        reason: Kraken's text.
        retry_after_s: Seconds until krakked asks again; None when the reason lasts.
    """

    def __init__(
        self, message: str, *, pair: str, reason: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.pair = pair
        self.reason = reason
        self.retry_after_s = retry_after_s


@public
class NotLiveError(MarketDataError):
    """More than one pair is not live; for one alone its own error is raised.

    Attributes:
        errors: One for each pair: `UnknownPairError`, `SubscriptionRefusedError` or
            `NoDataYetError`.
    """

    errors: tuple[MarketDataError, ...] = ()

    def __init__(self, message: str, *, errors: tuple[MarketDataError, ...]) -> None:
        super().__init__(message)
        self.errors = errors


@public
class ChangesLaggedError(MarketDataError):
    """A consumer of `changes()` fell so far behind that closed candles could no longer be kept."""


@public
class ChangesInUseError(MarketDataError):
    """Two tasks read one iterator of `changes()`: each would miss what the other one got."""


@public
class BackfillTooLargeError(MarketDataError):
    """The back-fill needs more calls than allowed without ``allow_long=True``.

    Attributes:
        plan: The plan that was refused (a ``BackfillPlan``).
    """

    def __init__(self, message: str, *, plan: object) -> None:
        super().__init__(message)
        self.plan = plan


@public
class MissingBarsError(MarketDataError):
    """Candles are missing inside what was asked for with ``on_gap="raise"``.

    Attributes:
        pair: Canonical name.
        timeframe: Label such as ``1h``.
        start_s: Open time of the first candle of the newest hole, unix seconds.
        end_s: First second after that hole.
    """

    def __init__(
        self, message: str, *, pair: str, timeframe: str, start_s: int, end_s: int
    ) -> None:
        super().__init__(message)
        self.pair = pair
        self.timeframe = timeframe
        self.start_s = start_s
        self.end_s = end_s


@public
class ImportFormatError(MarketDataError):
    """A file offered for import is not what it should be.

    The line named and what follows it were not stored; of a long file, whole partitions before it
    may be. Importing the mended file again completes it.

    Attributes:
        path: The file, with the member inside an archive.
        line: 1-based line, or None.
    """

    def __init__(self, message: str, *, path: str, line: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.line = line


# --- files and locks -------------------------------------------------------------------------


@public
class StoreError(KrakkedError):
    """The candle store could not read or write; old data is untouched.

    Attributes:
        path: File or directory concerned, or None.
    """

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


@public
class StoreCorruptError(StoreError):
    """A stored file fails its checksums or cannot be parsed: ``krakked store repair``."""


@public
class StoreExchangeError(StoreError):
    """The store holds candles of another exchange than the one that is talked to.

    Attributes:
        stored: Identity of the exchange whose candles are stored (``kraken``).
        asked: Identity of the exchange that is talked to.
    """

    def __init__(self, message: str, *, path: str, stored: str, asked: str) -> None:
        super().__init__(message, path=path)
        self.stored = stored
        self.asked = asked


@public
class StoreVersionError(StoreError):
    """The store was written by a newer krakked: upgrade to read or write it.

    Attributes:
        version: Version of its format.
    """

    def __init__(self, message: str, *, path: str, version: int) -> None:
        super().__init__(message, path=path)
        self.version = version


@public
class StoreFullError(StoreError):
    """The disk is full; nothing was lost that was acknowledged before."""


@public
class ForkedProcessError(KrakkedError):
    """An object was used in a forked child of the process that had opened it: open it anew there.

    Attributes:
        owner_pid: Process that opened it.
    """

    def __init__(self, message: str, *, owner_pid: int) -> None:
        super().__init__(message)
        self.owner_pid = owner_pid


@public
class LockTimeoutError(KrakkedError):
    """A lock shared between processes was not free in time.

    Attributes:
        path: Lock file.
        holder_pid: Process that holds it, where known.
    """

    def __init__(self, message: str, *, path: str, holder_pid: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.holder_pid = holder_pid


@public
class StoreLockedError(StoreError, LockTimeoutError):
    """Another thread or process kept a part of the store for too long; nothing was changed."""

    path: str

    def __init__(self, message: str, *, path: str, holder_pid: int | None = None) -> None:
        LockTimeoutError.__init__(self, message, path=path, holder_pid=holder_pid)
