"""Why a candle counts as closed."""

from __future__ import annotations

from enum import StrEnum

from krakked._public import public


@public
class Evidence(StrEnum):
    """Why a candle counts as closed. The first four are seen on the stream."""

    NEXT = "next"
    """The next candle of the pair began."""
    WATERMARK = "watermark"
    """The exchange's candle maker told of a trade well after the end, of whatever pair."""
    QUIET = "quiet"
    """The connection was quiet, and a ping sent after the end was answered: the weakest one."""
    SNAPSHOT = "snapshot"
    """A snapshot after an outage has it, and a newer one."""
    REST = "rest"
    """REST says so."""
    LATE = "late"
    """A row came for a candle given out, or passed over, before."""
    DOUBTFUL = "doubtful"
    """It ended, but its ticker shows a trade that it lacks: REST is asked first."""
