"""krakked for asyncio programs.

    import asyncio
    import krakked.aio

    async def main():
        async with krakked.aio.open_kraken(pairs=["XBTUSD"]) as kraken:
            await kraken.wait_live(timeout_s=30)
            print(kraken.get_best_bid_ask("XBTUSD"))
            async for change in kraken.changes(kinds=["ticker"]):
                print(change)

    asyncio.run(main())

Names, arguments, answers and errors are those of `krakked`. Everything runs under a trio of its own
on a thread; live reads go straight to the cache. A cancelled task cancels the call that it waits
for. Callbacks (`progress`, `on_frame`) are called in that thread: hand on what they get with
`loop.call_soon_threadsafe`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from krakked._client import open_kraken as _open_kraken
from krakked._faces.aio_calls import Kraken, LiveFeed, RestClient
from krakked._faces.aio_changes import Changes
from krakked._faces.asyncio_calls import awaited, check_loop, close, outcome
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


@asynccontextmanager
async def open_kraken(
    config: KrakkedConfig | None = None,
    credentials: Credentials | None = None,
    *,
    pairs: Iterable[str] | None = None,
    live: bool = True,
    network: Network | None = None,
    clock: Clock | None = None,
    store: CandleStore | None = None,
    on_frame: Callable[[str, str], None] | None = None,
) -> AsyncIterator[Kraken]:
    """Open everything, as `krakked.open_kraken`, for an `async with` block under asyncio.

    `on_frame` is called in the thread of the stream. What opening raises is raised here.
    """
    check_loop()
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
    try:
        kraken = await outcome(thread.ready)
        yield Kraken(thread, kraken)
    finally:
        await close(thread)


async def validate_credentials(
    candidate: Candidate,
    *,
    otp: Otp | None = None,
    config: KrakkedConfig | None = None,
    network: Network | None = None,
    clock: Clock | None = None,
) -> Validation:
    """Try a key with Kraken before it is saved; see `krakked.validate_credentials`."""
    from krakked._credentials.validation import validate_credentials as validate  # noqa: PLC0415

    thread = TrioThread(nullcontext, "This call").start()  # a call needs no client
    await outcome(thread.ready)
    try:
        return await awaited(
            thread,
            partial(validate, candidate, otp=otp, config=config, network=network, clock=clock),
        )
    finally:
        await close(thread)
