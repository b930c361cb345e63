"""A store directory that lasts as long as its user."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from krakked._errors import StoreError
from krakked._network.clock import Clock, run_blocking

_log = logging.getLogger("krakked.store")


@asynccontextmanager
async def temporary_root(exchange: str, clock: Clock) -> AsyncIterator[Path]:
    """Return a directory for candles of an exchange that the settings know nothing of.

    It is removed at the end of the block, with all that was stored in it.

    Raises:
        StoreError: The system's temporary directory cannot be used.
    """
    _log.warning(
        "the settings are not for %s, which the network leads to: candles are kept in a temporary "
        "directory (a sandbox's exchange.config(directory) gives settings that fit)",
        exchange,
    )
    try:
        directory = Path(await run_blocking(clock, tempfile.mkdtemp, None, "krakked-"))
    except OSError as error:
        where = error.filename or "the system's temporary directory"
        raise StoreError(
            f"No temporary directory for candles can be made ({where}): {error.strerror}.",
            path=str(where),
        ) from error
    try:
        yield directory
    finally:
        with trio.CancelScope(shield=True):
            await run_blocking(clock, shutil.rmtree, directory, True)
