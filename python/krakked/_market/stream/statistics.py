"""What the stream reports about itself: frozen facts, for `get_data_status()` and for people."""

from enum import StrEnum

import msgspec

from krakked._market.stream.notices import Notices
from krakked._market.stream.requests import SubscriptionState
from krakked._public import public
from krakked._timeframes import Timeframe


@public
class ConnectionState(StrEnum):
    """Where a connection stands."""

    WAITING = "waiting"
    """Not connected; the next attempt waits for backoff, budget or the probe."""
    CONNECTING = "connecting"
    """TCP, TLS, handshake, or waiting for the exchange's greeting."""
    CONNECTED = "connected"
    """Greeted by the exchange."""
    CLOSED = "closed"
    """Given up: no longer needed."""


@public
class ConnectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One connection of the plan."""

    name: str
    """``1m``, ``5m/2``: the timeframe it carries, and the shard."""
    state: ConnectionState
    """Where it stands."""
    connects: int
    """How often the exchange has greeted it."""
    last_disconnect: str | None
    """Why the last one ended."""
    frames: int
    """Application frames since the start."""
    received_bytes: int
    """Bytes since the start."""
    malformed: int
    """Frames that made no sense, since the start."""
    last_frame_age_s: float | None
    """Seconds since the newest frame of the present connection."""
    subscriptions: int
    """Wanted."""
    acknowledged: int
    """Held by the exchange."""
    mute: int
    """Acknowledged without data."""
    lag_s: float | None = None
    """Worst delay of candle rows in the last ten minutes: the exchange's time of arrival minus the
    engine's time of the trade, in seconds; None while not connected."""
    grace_s: float | None = None
    """How long after its end a candle waits for late rows on this connection, in seconds."""
    budget_wait_s: float | None = None
    """Seconds until the connect budget (60 attempts in ten minutes, shared by the programs of this
    machine) lets it try again; None when it does not wait for that."""


@public
class PairStream(msgspec.Struct, frozen=True, kw_only=True):
    """One pair's ticker, as the stream sees it."""

    state: SubscriptionState
    """Where its ticker's subscription stands."""
    reason: str | None
    """The exchange's text when refused, or its state of the pair when not ``online``."""
    age_s: float | None
    """Seconds since the newest ticker was made, as far as its own time tells, else since it came;
    None before the first."""
    late_s: float = 0.0
    """How much of it the newest ticker came late."""
    refused_timeframes: tuple[Timeframe, ...] = ()
    """Timeframes whose candles were refused."""
    mute_timeframes: tuple[Timeframe, ...] = ()
    """Timeframes whose candles are known to be missing although acknowledged."""
    connected: bool = True
    """Whether the connection that carries the ticker is up."""
    retry_after_s: float | None = None
    """Seconds until a refused ticker or candle series is asked for again; None when the exchange
    named a lasting reason."""
    slept: bool = False
    """Whether the machine has slept since the newest ticker, so that its age proves nothing."""


@public
class FeedStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The whole stream."""

    connections: tuple[ConnectionStatus, ...]
    """Each connection."""
    pairs: dict[str, PairStream]
    """By canonical name."""
    system: str | None
    """Exchange system status (``online``, ``maintenance``, ...); None before the first frame."""
    notices: Notices
    """Maintenance and emergencies that the exchange has announced."""
    reconnects: int
    """Connections after the first, all lines together."""
    connect_attempts: int
    """Attempts in the last 10 minutes, of the 60 that this process allows itself."""
    frames: int
    """Application frames since the start."""
    received_bytes: int
    """Bytes since the start."""
    last_frame_age_s: float | None
    """Seconds since the newest frame of any connection; None before the first."""
    closed_candles: int
    """Closed candles given out."""
    corrected_candles: int = 0
    """Closed candles that were corrected afterwards; each was told as a CandleCorrected."""
    open_holes: int
    """Outages that REST is still filling."""
    unfilled_holes: int
    """Outages that could not be filled."""
    journal_errors: int
    """Batches of closed candles that could not be written."""
    last_journal_error: str | None
    """What the last batch that failed met; None when none did."""
    task_errors: dict[str, str] = {}
    """Background tasks that failed lately and began again, with the error of each."""
    resumes: int
    """How often the machine was found to have slept."""
