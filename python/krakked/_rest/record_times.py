"""When a shared record was written, and how its times translate to here and now. Pure.

Times in a record are of a clock that begins anew with every boot. A record may come from another
boot, from another machine that shares the directory, or from a clock that was set back: its times
then mean nothing here, and only the wall clock tells how much time has passed since.
"""

from __future__ import annotations

import msgspec

from krakked._rest.limits import SECOND_NS

_STARTED = "started "
_SAME_START_S = 60


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """A moment by the clocks of one machine; the head of every shared record."""

    boot: str
    """Name of the run of the machine; see `boot_name`."""
    at_ns: int
    """Elapsed time (`Clock.elapsed_ns`)."""
    at_wall_ns: int = 0
    """Unix time in nanoseconds; 0 in records of the first edition."""


def boot_name(boot_id: str, wall_ns: int, elapsed_ns: int) -> str:
    """Name this run of the machine: by the system's own id, else by when it must have started."""
    return boot_id or f"{_STARTED}{(wall_ns - elapsed_ns) // SECOND_NS}"


def same_boot(left: str, right: str) -> bool:
    """Whether two names mean the same run of the machine.

    Start times are compared loosely; a clock step or a suspend may make one run look like two,
    which costs a little waiting and nothing else.
    """
    if left.startswith(_STARTED) and right.startswith(_STARTED):
        starts = left.removeprefix(_STARTED), right.removeprefix(_STARTED)
        return abs(int(starts[0]) - int(starts[1])) <= _SAME_START_S
    return left == right


def same_clock(then: Stamp, now: Stamp) -> bool:
    """Whether the elapsed times of a record may be compared with ours."""
    return same_boot(then.boot, now.boot) and then.at_ns <= now.at_ns


def passed_ns(then: Stamp, now: Stamp, waited_ns: int) -> int:
    """Return the time that has passed since a record of another clock was written.

    Args:
        then: Stamp of the record.
        now: This moment.
        waited_ns: How long the asking call has waited already. It counts as passed: two machines
            whose wall clocks differ could else put each other off for ever.
    """
    by_wall_ns = now.at_wall_ns - then.at_wall_ns if then.at_wall_ns else 0
    return max(0, by_wall_ns, waited_ns)
