"""What happens on the stream, for a plain `for` loop."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from krakked._errors import ClosedError

if TYPE_CHECKING:
    import krakked
    from krakked._faces.trio_thread import TrioThread
    from krakked._market.changes import Change


@final
class Changes:
    """An iterator over what happens; for one thread. Leaving the loop is enough; so is `close`.

    It waits for the next change, and ends when the client is closed. Ctrl-C ends the wait.

    Raises:
        ChangesInUseError: A second thread reads while the first one waits.
        ChangesLaggedError: The reader fell too far behind.
    """

    def __init__(self, thread: TrioThread[krakked.Kraken], changes: krakked.Changes) -> None:
        self._thread = thread
        self._changes = changes

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        try:
            return self._thread.call(self._changes.__anext__)
        except (StopAsyncIteration, ClosedError):
            raise StopIteration from None

    def close(self) -> None:
        """Stop listening; the iterator ends."""
        with contextlib.suppress(ClosedError):
            self._thread.run_sync(self._changes.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
