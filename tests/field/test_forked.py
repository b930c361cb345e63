"""A worker forked at the worst moment: while one of our locks is held."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import krakked
from krakked._credentials.vault_file import VaultFile
from krakked._market.bars import OHLCBar
from krakked._market.store.ohlc_store import OHLCStore
from krakked._rest.limits import CounterRule
from krakked._rest.private_limiter import PrivateLimiter
from krakked._rest.public_limiter import PublicLimiter, PublicRule
from krakked._rest.waits import WaitBoard
from krakked.sandbox import SandboxSettings, open_sandbox

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

NEXT_S = 1.0
"""Longest wait of the parent's next use."""


class Inline:
    """Real time; file work inline, so that the fork happens under the lock."""

    virtual = True

    def wall_ns(self) -> int:
        return time.time_ns()

    def elapsed_ns(self) -> int:
        return time.monotonic_ns()


def bar(minute: int) -> OHLCBar:
    return OHLCBar(
        time=1_790_000_040 + 60 * minute,
        open=1.0,
        high=1.0,
        low=1.0,
        close=1.0,
        vwap=1.0,
        volume=1.0,
        count=1,
    )


def vault(directory: Path) -> Callable[[int], object]:
    file = VaultFile(directory / "vault")
    return lambda number: file.write(b"%d" % number)


def series(directory: Path) -> Callable[[int], object]:
    store = OHLCStore(directory)
    return lambda number: store.append_bars("XBTUSD", "1m", [bar(number)])


def journal(directory: Path) -> Callable[[int], object]:
    store = OHLCStore(directory)
    return lambda number: store.append_provisional("1m", [("XBTUSD", bar(number))])


def key(directory: Path) -> Callable[[int], object]:
    async def call() -> None:
        gate = PrivateLimiter(directory / "key", "tag", Inline(), CounterRule(), WaitBoard())
        async with gate.passage("AddOrder") as passage:
            passage.answered(None, accepted=True)

    return lambda number: trio.run(call)


def host(directory: Path) -> Callable[[int], object]:
    async def call() -> None:
        rule = PublicRule(spacing_ns=1, pair_spacing_ns=1)
        await PublicLimiter(directory / "host", Inline(), rule, WaitBoard()).admit("Time", None)

    return lambda number: trio.run(call)


@pytest.mark.parametrize("lock", [vault, series, journal, key, host])
def test_a_worker_forked_under_a_lock_does_not_keep_it(tmp_path, monkeypatch, lock) -> None:
    use = lock(tmp_path)
    use(0)
    call = "write" if lock in {key, host} else "fsync"
    real = getattr(os, call)
    children: list[int] = []

    def fork_first(*arguments: object) -> object:
        if not children:
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
        return real(*arguments)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fork_first)
            use(1)
        assert children, "the worker was forked under the lock"
        begun = time.monotonic()
        use(2)
        assert time.monotonic() - begun < NEXT_S
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def in_child(work: Callable[[], object]) -> str:
    """Do something in a forked child; give what it said, or the error."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, f"got {work()!r}"[:1000].encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}"[:1000].encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    answer = os.read(reader, 1000).decode()
    os.close(reader)
    return answer


def first_step(call: object) -> object:
    return call.send(None)  # type: ignore[attr-defined]


async def test_what_was_opened_before_a_fork_is_refused_in_the_child(
    tmp_path: Path, autojump_clock: trio.abc.Clock
) -> None:
    """Live reads, REST, history, the store: each names the process that opened it."""
    async with open_sandbox(
        seed=3, memory=True, settings=SandboxSettings(pair_count=5)
    ) as exchange:
        config = exchange.config(tmp_path)
        async with krakked.open_kraken(
            config, pairs=["XBTUSD"], network=exchange.network, clock=exchange.clock
        ) as kraken:
            await kraken.wait_live(timeout_s=60)
            uses: list[Callable[[], object]] = [
                lambda: kraken.get_latest_price("XBTUSD"),
                lambda: kraken.get_best_bid_ask("XBTUSD"),
                lambda: kraken.get_live_ohlc("XBTUSD", "1m"),
                kraken.get_universe,
                kraken.get_data_status,
                lambda: kraken.feed.add_pairs(["ETHUSD"]),
                lambda: kraken.store.get_bars("XBTUSD", "1m"),
                lambda: kraken.store.append_bars("XBTUSD", "1m", [bar(0)]),
                lambda: first_step(kraken.rest.public("Time")),
                lambda: first_step(kraken.get_ohlc("XBTUSD", "1m", 5)),
                lambda: first_step(kraken.backfill_ohlc("XBTUSD", "1m")),
                lambda: first_step(kraken.refresh_universe()),
            ]
            for use in uses:
                answer = in_child(use)
                assert answer.startswith("ForkedProcessError: "), answer
                assert f"opened by process {os.getpid()}" in answer
            assert kraken.get_latest_price("XBTUSD").price > 0
