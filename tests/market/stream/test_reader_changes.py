"""Who listens to what a reader feeds: nothing is missed, and nobody is woken for nothing."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
import trio
import trio.lowlevel
import trio.testing
from tests.market.stream.hostile import VirtualClock
from tests.market.stream.sockets import HEAD, ticker, until

from krakked._core import FrameTap, MarketCache, SocketReader
from krakked._market.changes import ChangeHub, ChangeKind, MarketStatus, TickerChange

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets are read in Python there")

PATIENCE_S = 60.0
TICKER = [ChangeKind.TICKER]


class Desk:
    """A hub over a cache that a reader feeds, and the other end of the socket."""

    def __init__(self, conflate_ms: float) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        ours = socket.create_connection(listener.getsockname())
        self.server, _ = listener.accept()
        self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.close()
        self.cache = MarketCache()
        self.hub = ChangeHub(self.cache, VirtualClock(), lambda symbol: symbol[0])
        self.hub.listen(conflate_ms)
        self.tap = FrameTap(self.cache)
        self.reader = SocketReader(self.tap, ours.detach())
        self.server.sendall(HEAD)

    def tell(self, symbol: str, last: int) -> None:
        self.server.sendall(ticker(symbol, str(last)))

    def arrived(self, symbol: str, last: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (row := self.cache.ticker(symbol)) is None or row.last != last:
            assert time.monotonic() < deadline
            time.sleep(0.0005)


@contextmanager
def desk(conflate_ms: float) -> Iterator[Desk]:
    made = Desk(conflate_ms)
    try:
        yield made
    finally:
        made.reader.close()
        made.server.close()


@pytest.mark.parametrize("conflate_ms", [0.0, 2.0, 20.0])
async def test_every_last_state_comes_whatever_the_timing(conflate_ms: float) -> None:
    with desk(conflate_ms) as made, trio.fail_after(PATIENCE_S):
        changes = made.hub.consumer(None, TICKER)
        for number in range(300):
            made.tell("A/USD", number)
            if number % 7 == 0:
                made.tell("B/USD", number)
            if number % 3:
                continue  # the next one comes while nobody, or somebody, waits
            while True:
                change = await anext(changes)
                assert isinstance(change, TickerChange)
                if change.pair == "A" and change.last == number:
                    break


async def test_several_listeners_all_hear_and_events_wake_them_too() -> None:
    with desk(0.0) as made:
        heard: dict[int, list[object]] = {number: [] for number in range(4)}

        async def listen(number: int) -> None:
            kinds = [ChangeKind.FEED] if number == 3 else [ChangeKind.TICKER, ChangeKind.FEED]
            async for change in made.hub.consumer(None, kinds):
                heard[number].append(change)

        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                for number in heard:
                    nursery.start_soon(listen, number)
                await trio.testing.wait_all_tasks_blocked()
                made.tell("A/USD", 1)
                await until(lambda: all(heard[number] for number in range(3)))
                assert heard[3] == [], "prices are not what it listens to"
                made.hub.publish(MarketStatus(system="online"))
                await until(lambda: [len(each) for each in heard.values()] == [2, 2, 2, 1])
                made.hub.close()  # ends every one of them


async def test_a_listener_that_leaves_hands_the_bell_on() -> None:
    with desk(0.0) as made, trio.fail_after(PATIENCE_S):
        first, second = (made.hub.consumer(None, TICKER) for _ in range(2))
        got: list[object] = []

        async def hear() -> None:
            got.append(await anext(second))

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(hear)
                await trio.testing.wait_all_tasks_blocked()
                async with trio.open_nursery() as inner:
                    inner.start_soon(anext, first)
                    await trio.testing.wait_all_tasks_blocked()
                    inner.cancel_scope.cancel()
            assert not scope.cancelled_caught
            await trio.testing.wait_all_tasks_blocked()
            made.tell("A/USD", 1)
        assert len(got) == 1


async def test_who_listens_to_a_quiet_pair_does_not_spin_for_a_loud_one() -> None:
    with desk(20.0) as made, trio.fail_after(PATIENCE_S):
        changes = made.hub.consumer(["Q"], TICKER)
        looks = 0
        take = made.cache.take_changed

        class Counting:
            def __getattr__(self, name: str) -> object:
                return getattr(made.cache, name)

            def take_changed(self, watcher: int, *, arm: bool = False) -> object:
                nonlocal looks
                looks += 1
                return take(watcher, arm=arm)

        made.hub.cache = Counting()  # type: ignore[assignment]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, changes)
            begun = trio.current_time()
            sent = 0
            while trio.current_time() - begun < 0.5:
                made.tell("L/USD", sent)
                sent += 1
                await trio.lowlevel.checkpoint()
            elapsed_s = trio.current_time() - begun
            made.tell("Q/USD", 1)
        # Two looks for each wake or pause of 20 ms, however many changes the loud pair had.
        assert looks <= 2 * (elapsed_s / 0.020 + 5)


def test_nobody_listening_nobody_is_woken() -> None:
    with desk(0.0) as made:
        bell, watcher = made.cache.listen(0), made.cache.add_watcher()

        def rung() -> bool:
            return bool(select.select([bell], [], [], 0)[0])

        for number in range(100):
            made.tell("A/USD", number)
        made.arrived("A/USD", 99)
        assert not rung()
        made.cache.take_changed(watcher)
        made.tell("A/USD", 100)
        made.arrived("A/USD", 100)
        assert not rung(), "a look without arming wakes nobody"
        assert made.cache.take_changed(watcher, arm=True) == (["A/USD"], [])
        made.tell("A/USD", 101)
        made.arrived("A/USD", 101)
        assert not rung(), "nor does one that found something"
        assert made.cache.take_changed(watcher, arm=True) == (["A/USD"], [])
        assert made.cache.take_changed(watcher, arm=True) == ([], [])
        made.tell("A/USD", 102)
        assert select.select([bell], [], [], PATIENCE_S)[0]
        made.cache.heard()
        assert not rung()
        made.cache.wake()
        assert rung()


def test_two_wakings_are_as_far_apart_as_was_asked() -> None:
    with desk(50.0) as made:
        bell, watcher = made.cache.listen(50_000_000), made.cache.add_watcher()
        times: list[float] = []
        for number in range(6):
            assert made.cache.take_changed(watcher, arm=True) == ([], [])
            made.tell("A/USD", number)
            assert select.select([bell], [], [], PATIENCE_S)[0]
            times.append(time.monotonic())
            made.cache.heard()
            assert made.cache.take_changed(watcher) == (["A/USD"], [])
        gaps = [after - before for before, after in pairwise(times)]
        # The waking itself is stamped by the thread, a little before it is seen here.
        assert sum(gaps) >= 5 * 0.050 - 0.025


async def test_the_end_closes_the_bell_at_once_and_wakes_who_waits_for_it() -> None:
    """Not when the garbage collector comes by: a program may open clients again and again."""
    with desk(2.0) as made, trio.fail_after(PATIENCE_S):
        bell = made.cache.listen(0)
        changes = made.hub.consumer(None, TICKER)
        left: list[object] = []

        async def listen() -> None:
            left.extend([change async for change in changes])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            made.hub.close()
        assert left == []
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(bell)
