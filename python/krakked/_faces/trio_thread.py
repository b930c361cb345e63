"""A trio of its own on a thread, for programs that run none.

One thread for each open client: it opens the client, makes the calls that the program asks for,
each in a task of its own, and closes it again. Nothing is shared with the program but queues: a
call goes in by trio's token and its outcome comes back in a future.

    program's thread                      this thread
    call(lambda: kraken.get_ohlc(...))  ->  a task; its result or error
    future.result()                     <-
    Ctrl-C while it waits               ->  that task is cancelled
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Generic, Self, TypeVar, final

import trio

from krakked._errors import ClosedError, KrakkedError
from krakked._files.owner import OwnerProcess

T = TypeVar("T")
Opened = TypeVar("Opened")

CANCEL_S: Final = 5.0
"""So long a call that was interrupted may take to end; then the program goes on without it."""
FORGOTTEN_S: Final = 10.0
"""So long the end of a program waits for a client that it never closed."""


@final
class Job(Generic[T]):
    """One call on its way."""

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self.future: Future[T] = Future()

    def cancel(self) -> None:
        """Cancel it, from any thread; harmless when it is over."""
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._scope.cancel)

    def start(self, token: trio.lowlevel.TrioToken, nursery: trio.Nursery) -> None:
        """Begin it; in the trio thread."""
        self._token = token
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        try:
            with self._scope:
                self.future.set_result(await self._function())
                return
        except trio.Cancelled:  # the client is being closed
            self.future.set_exception(ClosedError())
            raise
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.cancel()  # nobody waits for its outcome any more


@final
class TrioThread(Generic[Opened]):
    """Opens something under a trio of its own and keeps it open.

    Args:
        opened: Gives what is to be opened.
        what: What it is, for errors: ``The Kraken object``.
    """

    def __init__(
        self, opened: Callable[[], AbstractAsyncContextManager[Opened]], what: str
    ) -> None:
        self._opened = opened
        self._what = what
        self._owner = OwnerProcess(what)
        self._lock = threading.Lock()
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._closing: trio.Event | None = None
        self._asked_to_close = False
        self.ready: Future[Opened] = Future()
        """What was opened, or why it could not be."""
        self.ended: Future[None] = Future()
        """The end; holds the error that brought it about, if one did."""
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="krakked-trio", daemon=True
        )
        self._forgotten = weakref.finalize(self, _end, weakref.ref(self))

    # --- the program's side ----------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to open."""
        self._thread.start()
        return self

    def begin(self, function: Callable[[], Awaitable[T]]) -> Job[T]:
        """Begin a call, from any thread but the one here.

        Raises:
            ClosedError: The client is closed.
            ForkedProcessError: It was opened in another process.
            KrakkedError: Called from the thread of the client itself, a callback say.
        """
        token, nursery = self._opened_here()
        job = Job(function)
        context = contextvars.copy_context()
        try:
            token.run_sync_soon(self._begin, job, token, nursery, context)
        except trio.RunFinishedError:
            raise ClosedError from None
        return job

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Make a call and wait for it; Ctrl-C cancels it. Errors as for `begin`, and its own."""
        job = self.begin(function)
        try:
            wait_for([job.future])
        except BaseException:
            job.cancel()
            wait_for([job.future], timeout=CANCEL_S)
            raise
        return job.future.result()

    def run_sync(self, function: Callable[[], T]) -> T:
        """Run what never waits, in the trio thread. Errors as for `call`."""

        async def run() -> T:
            return function()

        return self.call(run)

    def wait_ready(self) -> Opened:
        """Wait until it is open; Ctrl-C gives up. Raises what opening raises."""
        try:
            wait_for([self.ready])
        except BaseException:
            self.close()
            raise
        return self.ready.result()

    def ask_to_close(self) -> None:
        """Begin to close, or give up opening; from any thread."""
        with self._lock:
            self._asked_to_close = True
            token = self._token
        if token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._close_now)

    def close(self) -> None:
        """Close and wait for the end; raises what ended it before its time."""
        self._owner.check()
        if threading.current_thread() is self._thread:
            raise KrakkedError(f"{self._what} cannot be closed from one of its own callbacks.")
        self.ask_to_close()
        wait_for([self.ended])
        self.finish()

    def finish(self) -> None:
        """Let the thread go that has ended; raises what ended it before its time."""
        self._thread.join()  # it has nothing left to do but to return
        self.ended.result()

    def _opened_here(self) -> tuple[trio.lowlevel.TrioToken, trio.Nursery]:
        self._owner.check()
        if threading.current_thread() is self._thread:
            raise KrakkedError(
                f"{self._what} was called from one of its own callbacks, which would wait for "
                "itself. Note what is to be done, and do it in the program's own thread."
            )
        if self._token is None or self._nursery is None or self._asked_to_close:
            raise ClosedError
        return self._token, self._nursery

    # --- the trio side ---------------------------------------------------------------------------

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            trio.run(self._main)
        except BaseException as met:
            error = met
        self._nursery = None
        if not self.ready.done():
            self.ready.set_exception(error or ClosedError())
            error = None
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)

    async def _main(self) -> None:
        with self._lock:
            self._token = trio.lowlevel.current_trio_token()
            self._closing = trio.Event()
            given_up = self._asked_to_close
        if given_up:
            return
        with self._scope:
            async with self._opened() as thing, trio.open_nursery() as nursery:
                self._nursery = nursery
                self.ready.set_result(thing)
                await self._closing.wait()
                self._nursery = None
                nursery.cancel_scope.cancel()

    def _close_now(self) -> None:
        if self._nursery is None:
            self._scope.cancel()  # still opening
        elif self._closing is not None:
            self._closing.set()

    def _begin(
        self,
        job: Job[T],
        token: trio.lowlevel.TrioToken,
        nursery: trio.Nursery,
        context: contextvars.Context,
    ) -> None:
        if self._nursery is None:
            job.future.set_exception(ClosedError())
        else:
            context.run(partial(job.start, token, nursery))


def _end(forgotten: weakref.ref[TrioThread[Opened]]) -> None:
    """Close what a program, or a notebook, has left open at its end."""
    thread = forgotten()
    if thread is not None and thread._thread.is_alive():
        thread.ask_to_close()
        thread._thread.join(FORGOTTEN_S)
