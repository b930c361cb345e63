"""krakked for plain programs and notebooks: no trio, no asyncio, calls that wait.

    import krakked.blocking

    with krakked.blocking.open_kraken(pairs=["XBTUSD"]) as kraken:
        kraken.wait_live(timeout_s=30)
        print(kraken.get_best_bid_ask("XBTUSD"))
        for change in kraken.changes(kinds=["ticker"]):
            print(change)

Names, arguments, answers and errors are those of `krakked`. Everything runs under a trio of its own
on a thread; live reads go straight to the cache, from any thread. Ctrl-C cancels the call that
waits. Callbacks (`progress`, `on_frame`) are called in that thread and must not call back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from krakked._client import open_kraken as _open_kraken
from krakked._faces.blocking_calls import Kraken, LiveFeed, RestClient
from krakked._faces.blocking_changes import Changes
from krakked._faces.trio_thread import TrioThread

if TYPE_CHECKING:
    from krakked import (
        Candidate,
        CandleStore,
        Clock,
        Credentials,
        KrakkedConfig,
        Network,
        Otp,
        Validation,
    )

__all__ = [
    "Changes",
    "Kraken",
    "LiveFeed",
    "RestClient",
    "open_kraken",
    "validate_credentials",
]

T = TypeVar("T")


@contextmanager
def open_kraken(
    config: KrakkedConfig | None = None,
    credentials: Credentials | None = None,
    *,
    pairs: Iterable[str] | None = None,
    live: bool = True,
    network: Network | None = None,
    clock: Clock | None = None,
    store: CandleStore | None = None,
    on_frame: Callable[[str, str], None] | None = None,
) -> Iterator[Kraken]:
    """Open everything, as `krakked.open_kraken`, for a `with` block.

    `on_frame` is called in the thread of the stream. What opening raises is raised here, and Ctrl-C
    gives up.
    """
    thread = TrioThread(
        partial(
            _open_kraken,
            config,
            credentials,
            pairs=pairs,
            live=live,
            network=network,
            clock=clock,
            store=store,
            on_frame=on_frame,
        ),
        "This Kraken object",
    ).start()
    kraken = thread.wait_ready()
    try:
        yield Kraken(thread, kraken)
    finally:
        thread.close()


def validate_credentials(
    candidate: Candidate,
    *,
    otp: Otp | None = None,
    config: KrakkedConfig | None = None,
    network: Network | None = None,
    clock: Clock | None = None,
) -> Validation:
    """Try a key with Kraken before it is saved; see `krakked.validate_credentials`."""
    from krakked._credentials.validation import validate_credentials as validate  # noqa: PLC0415

    return _once(partial(validate, candidate, otp=otp, config=config, network=network, clock=clock))


def _once(function: Callable[[], Awaitable[T]]) -> T:
    thread = TrioThread(nullcontext, "This call").start()  # a call needs no client
    thread.wait_ready()
    try:
        return thread.call(function)
    finally:
        thread.close()
