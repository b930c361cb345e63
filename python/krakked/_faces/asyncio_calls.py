"""Waiting under asyncio for what another thread does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

from krakked._faces.trio_thread import TrioThread

T = TypeVar("T")
Opened = TypeVar("Opened")


async def awaited(thread: TrioThread[Opened], function: Callable[[], Awaitable[T]]) -> T:
    """Make a call in a trio thread; when this task is cancelled, so is the call.

    The cancellation goes on once the call has ended; a second one does not wait for that.
    """
    job = thread.begin(function)
    try:
        return await outcome(job.future)
    except asyncio.CancelledError:
        job.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await outcome(job.future)
        raise


async def close(thread: TrioThread[Opened]) -> None:
    """Close what a trio thread keeps open, and raise what ended it before its time.

    To the end, whatever is cancelled meanwhile: what was acknowledged is being written.
    """
    thread.ask_to_close()
    ended = asyncio.wrap_future(thread.ended)
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        ended.exception()  # looked at: the cancellation goes first
        raise cancelled
    thread.finish()


async def outcome(future: Future[T]) -> T:
    """Wait for a future of another thread, without cancelling it."""
    return await asyncio.shield(asyncio.wrap_future(future))


def check_loop() -> None:
    """Raise where no asyncio runs, with what to use instead."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "krakked.aio is for asyncio, and none runs here. Under trio use krakked.open_kraken, "
            "in a plain program krakked.blocking.open_kraken."
        ) from None
