"""What happens on the stream, for `async for` under asyncio."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from krakked._errors import ClosedError
from krakked._faces.asyncio_calls import awaited

if TYPE_CHECKING:
    import krakked
    from krakked._faces.trio_thread import TrioThread
    from krakked._market.changes import Change


@final
class Changes:
    """An asynchronous iterator over what happens; for one task. Leaving the loop is enough.

    It ends when the client is closed.

    Raises:
        ChangesInUseError: A second task reads while the first one waits.
        ChangesLaggedError: The reader fell too far behind.
    """

    def __init__(self, thread: TrioThread[krakked.Kraken], changes: krakked.Changes) -> None:
        self._thread = thread
        self._changes = changes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        try:
            return await awaited(self._thread, self._changes.__anext__)
        except (StopAsyncIteration, ClosedError):
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop listening; the iterator ends."""
        with contextlib.suppress(ClosedError):
            self._thread.run_sync(self._changes.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
