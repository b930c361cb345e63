"""Why a connection ended."""

from enum import StrEnum

import msgspec

from krakked._public import public


@public
class DisconnectReason(StrEnum):
    """What ended a connection, or kept it from opening."""

    CONNECT_FAILED = "connect_failed"
    """No TCP connection, no name, no TLS."""
    REJECTED = "rejected"
    """The server in front answered the upgrade with an HTTP status (403, 429, 503 ...)."""
    HANDSHAKE_FAILED = "handshake_failed"
    """The upgrade was cut short or never answered."""
    CLOSED = "closed"
    """The other side closed, with or without a close frame."""
    BROKEN = "broken"
    """The connection broke, or the other side broke the protocol."""
    HALF_OPEN = "half_open"
    """Nothing came back after a ping."""
    SILENT = "silent"
    """No application frame although heartbeats were due."""
    MUTE = "mute"
    """Subscriptions acknowledged and not one brought data."""
    UNANSWERED = "unanswered"
    """Requests were not answered."""
    SEND_BLOCKED = "send_blocked"
    """The other side no longer reads."""
    MALFORMED = "malformed"
    """Too many frames in a row made no sense."""
    RESUMED = "resumed"
    """The machine slept; what the connection is worth is unknown."""
    INTERNAL = "internal"
    """Something unexpected; the log has the traceback."""


class Disconnect(msgspec.Struct, frozen=True):
    """Why a connection ended."""

    reason: DisconnectReason
    detail: str = ""
    """A few words for the log."""
    rejected: bool = False
    """Whether a server in front of the exchange turned us away: wait longer."""

    def __str__(self) -> str:
        return f"{self.reason.value} ({self.detail})" if self.detail else self.reason.value
