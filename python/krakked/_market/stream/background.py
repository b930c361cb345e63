"""Tasks that go on as long as the stream does: an error of one is logged and it begins again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

AGAIN_S: Final = (1.0, 5.0, 30.0, 60.0)
"""Waits before a task that failed begins again; the last one from then on."""
SOUND_S: Final = 300.0
"""A task that ran so long begins again without delay of earlier failures."""

log = logging.getLogger("krakked.stream")


class Background:
    """Keeps tasks running, whatever happens inside them; the user's nursery never hears of it."""

    def __init__(self) -> None:
        self._errors: dict[str, str] = {}
        self.failures: int = 0
        """How often a task failed."""

    @property
    def errors(self) -> dict[str, str]:
        """What the last failure of each task that has not been sound since was."""
        return dict(self._errors)

    async def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until it returns, again after every error.

        Args:
            name: For the log and the status: "filling gaps".
            work: The task.
        """
        failed = 0
        while True:
            began = trio.current_time()
            try:
                await self._sound_after(name, work)
            except Exception as error:
                if trio.current_time() - began >= SOUND_S:
                    failed = 0
                self.failures += 1
                self._errors[name] = f"{type(error).__name__}: {error}"
                if failed == 0:
                    log.error("%s failed and begins again: %s", name, error, exc_info=error)
                await trio.sleep(AGAIN_S[min(failed, len(AGAIN_S) - 1)])
                failed += 1
            else:
                self._errors.pop(name, None)
                return

    async def _sound_after(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run once; an error of before is forgotten when it goes well for long enough."""
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            if name in self._errors:
                nursery.start_soon(self._forget, name)
            try:
                await work()
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _forget(self, name: str) -> None:
        await trio.sleep(SOUND_S)
        self._errors.pop(name, None)
