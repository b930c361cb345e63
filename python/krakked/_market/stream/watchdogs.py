"""Is the other side still there? Pure verdicts over times; seconds of one steady clock.

Three watchdogs, three questions. Transport: does anything come back at all (a ping makes it
answer)? Connection: does the exchange still speak, once it owes us heartbeats? Subscription: does
an acknowledged ticker bring data (that one lives in `subscriptions.SubscriptionTable.tick`)?
Wall clock steps never reach this module, and a program that held up its own event loop is not
taken for a dead peer.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

IDLE_S: Final = 5.0
"""Silence of the wire after which a ping is sent."""
PONG_S: Final = 7.0
"""Wait for anything at all after that ping; 5 + 7 plus a tick of 1 stays under 15."""
FRAME_S: Final = 12.0
"""Longest wait for an application frame once something is acknowledged: heartbeats come about
every second then. Source: Kraken "Spot Websockets (v2)", heartbeat."""
KEEP_ALIVE_S: Final = 30.0
"""Distance of our own requests: the exchange closes a connection idle for about a minute. Source:
Kraken "Spot Websockets (v2)", ping."""
HELD_UP_S: Final = 3.0
"""A tick later than this says that we were not running, so silence proves nothing yet."""


class WatchdogVerdict(Enum):
    """What a watchdog asks for."""

    FINE = "fine"
    PING = "ping"
    DEAD = "dead"


class TransportWatch:
    """Half-open connections: bytes must come back after a ping."""

    def __init__(self, now_s: float) -> None:
        self._pinged_s: float | None = None
        self._checked_s = now_s

    def check(self, now_s: float, last_bytes_s: float) -> WatchdogVerdict:
        """Judge by when bytes last arrived. PING is given once per silence."""
        held_up = now_s - self._checked_s > HELD_UP_S
        self._checked_s = now_s
        if self._pinged_s is not None and last_bytes_s >= self._pinged_s:
            self._pinged_s = None
        if self._pinged_s is None:
            if now_s - last_bytes_s < IDLE_S:
                return WatchdogVerdict.FINE
            self._pinged_s = now_s
            return WatchdogVerdict.PING
        if held_up:
            self._pinged_s = now_s
            return WatchdogVerdict.PING
        return WatchdogVerdict.DEAD if now_s - self._pinged_s >= PONG_S else WatchdogVerdict.FINE


class ConnectionWatch:
    """A server that keeps the socket and says nothing, though it owes us heartbeats."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._checked_s: float | None = None

    def check(self, now_s: float, last_frame_s: float, *, armed: bool) -> WatchdogVerdict:
        """Judge by when the last application frame arrived; only while `armed`."""
        held_up = self._checked_s is not None and now_s - self._checked_s > HELD_UP_S
        self._checked_s = now_s
        if not armed:
            self._since_s = None
            return WatchdogVerdict.FINE
        if self._since_s is None or held_up:
            self._since_s = now_s
        silent_s = now_s - max(self._since_s, last_frame_s)
        return WatchdogVerdict.DEAD if silent_s >= FRAME_S else WatchdogVerdict.FINE
