"""Temps that a killed writer left behind."""

from __future__ import annotations

import contextlib
from pathlib import Path

from krakked._errors import StoreError
from krakked._market.store.durable import try_locked
from krakked._market.store.layout import StorePaths


def sweep_temps(paths: StorePaths) -> int:
    """Remove temps whose series nobody is writing; gives their number.

    Every temp is made under its series' lock. Whoever gets that lock without waiting knows that
    each temp of the series is older than the lock, and that its writer is gone.
    """
    by_lock: dict[Path, list[Path]] = {}
    with contextlib.suppress(OSError):
        for temp in paths.tmp.iterdir():
            lock = paths.lock_of_temp(temp.name)
            if lock is not None:
                by_lock.setdefault(lock, []).append(temp)
    removed = 0
    for lock, temps in by_lock.items():
        # Sweeping is a courtesy of opening; it never stands in the way of reading.
        with contextlib.suppress(StoreError), try_locked(lock) as free:
            if not free:
                continue
            for temp in temps:
                with contextlib.suppress(OSError):
                    temp.unlink()
                    removed += 1
    return removed
