"""The process that made an object, and nobody else, may use it.

After a fork the child has copies of locks that nobody will ever give back, of sockets that the
parent reads from, and of nonces that the parent gives out as well. So what holds any of these
refuses to work there.
"""

from __future__ import annotations

import os
from typing import final

from krakked._errors import ForkedProcessError


@final
class OwnerProcess:
    """Remembers the process in which it was made.

    Args:
        what: What belongs to that process, for the error: ``the REST client``.
    """

    __slots__ = ("_pid", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._pid = os.getpid()

    def check(self) -> None:
        """Refuse any other process than the one that made this.

        Raises:
            ForkedProcessError: This is a forked child; says to open anew there.
        """
        if os.getpid() != self._pid:
            raise ForkedProcessError(
                f"{self._what} was opened by process {self._pid} and cannot be used in its forked "
                f"child {os.getpid()}. Open it anew in the child, or start the child with the "
                "multiprocessing method 'spawn'.",
                owner_pid=self._pid,
            )
