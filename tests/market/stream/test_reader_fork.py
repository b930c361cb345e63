"""A fork while readers work at full speed: the child is refused at once, the parent goes on."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.market.stream.sockets import HEAD, ticker

from krakked._core import (
    CandleBuilder,
    FrameSplitter,
    FrameTap,
    MarketCache,
    NonceSequence,
    OhlcvtParser,
    SocketReader,
    TlsTrust,
)

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork"),
    # From 3.12 on Python warns of any fork beside a thread.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

PATIENCE_S = 60.0
SYMBOLS = [f"S{number}/USD" for number in range(50)]


class Work:
    """A reader that is fed as fast as it reads."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        ours = socket.create_connection(listener.getsockname())
        self._theirs, _ = listener.accept()
        listener.close()
        self.cache = MarketCache()
        self.tap = FrameTap(self.cache)
        self.reader = SocketReader(self.tap, ours.detach())
        self.watcher = self.cache.add_watcher()
        self._feeding = True
        self._thread = threading.Thread(target=self._feed)
        self._thread.start()

    def _feed(self) -> None:
        self._theirs.sendall(HEAD)
        frames = b"".join(ticker(symbol) for symbol in SYMBOLS) * 10
        while self._feeding:
            self._theirs.sendall(frames)

    def stop(self) -> None:
        self._feeding = False
        self._thread.join(PATIENCE_S)
        self._theirs.close()
        self.reader.close()


@contextmanager
def at_work() -> Iterator[Work]:
    work = Work()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while work.cache.ticker(SYMBOLS[-1]) is None and time.monotonic() < deadline:
            time.sleep(0.001)
        yield work
    finally:
        work.stop()


def in_child(use: Callable[[], object]) -> str:
    """Do something in a forked child; give what it raised. One that hangs is killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(PATIENCE_S))
        told = "nothing"
        try:
            use()
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(writer, told.encode()[:1000])
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    told = os.read(reader, 1000).decode()
    os.close(reader)
    return told if status == 0 else f"died with status {status}"


@pytest.mark.slow
def test_children_forked_at_full_speed_are_refused_and_none_hangs() -> None:
    with at_work() as work:
        uses: list[Callable[[], object]] = [
            lambda: work.cache.ticker(SYMBOLS[0]),
            lambda: work.cache.candle_exact(SYMBOLS[0], 1),
            lambda: work.cache.take_changed(work.watcher),
            lambda: work.cache.close_due(0),
            lambda: FrameTap(work.cache),
            work.tap.take_events,
            lambda: work.tap.last_frame_ns,
            lambda: work.tap.receive(b"x", 1),
            work.reader.take_or_arm,
            lambda: work.reader.send(b"x"),
            lambda: work.reader.end,
            work.reader.close,
        ]
        for number in range(150):
            told = in_child(uses[number % len(uses)])
            assert told.startswith("ForkedProcessError: "), (number, told)
            assert f"opened by process {os.getpid()}" in told
        before = work.reader.received_bytes
        deadline = time.monotonic() + PATIENCE_S
        while work.reader.received_bytes == before and time.monotonic() < deadline:
            time.sleep(0.001)
        assert work.reader.received_bytes > before, "the parent's reader goes on"
        assert work.cache.ticker(SYMBOLS[0]) is not None


def test_a_child_may_drop_what_it_inherited() -> None:
    """As its garbage collection will: no lock is touched, no thread joined, nothing shut down."""
    with at_work() as work:
        held = [(work.cache, work.tap, work.reader)]

        def drop() -> None:
            del work.cache, work.tap, work.reader
            held.clear()

        for _ in range(20):
            assert in_child(drop) == "nothing"
        before = work.reader.received_bytes
        deadline = time.monotonic() + PATIENCE_S
        while work.reader.received_bytes == before and time.monotonic() < deadline:
            time.sleep(0.001)
        assert work.reader.received_bytes > before


def test_a_child_may_open_its_own() -> None:
    def use() -> None:
        with at_work() as work:
            assert work.cache.ticker(SYMBOLS[0]) is not None

    with at_work():
        assert in_child(use) == "nothing"


def test_trust_is_refused_as_well() -> None:
    """Tickets of TLS sessions are kept behind a lock; a child reads the certificates anew."""
    trust = TlsTrust([])

    def use(trust: TlsTrust) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            tap = FrameTap(MarketCache())
            SocketReader(tap, ours.detach(), trust=trust, host="localhost").close()

    assert in_child(lambda: use(trust)).startswith("ForkedProcessError: ")
    assert in_child(lambda: use(TlsTrust([]))) == "nothing"


def test_every_binding_with_a_lock_refuses() -> None:
    nonces, splitter = NonceSequence(), FrameSplitter()
    builder, parser = CandleBuilder([1]), OhlcvtParser(1)
    uses: list[Callable[[], object]] = [
        lambda: nonces.next(1),
        lambda: splitter.receive(b"x"),
        lambda: builder.pending(1),
        lambda: builder.take(1),
        lambda: builder.add_csv(b""),
        lambda: parser.feed(b""),
        lambda: parser.rows,
    ]
    for use in uses:
        assert in_child(use).startswith("ForkedProcessError: ")
        use()


def test_a_grandchild_is_refused_too() -> None:
    cache = MarketCache()
    assert in_child(lambda: in_child(lambda: cache.ticker("A")) and cache.ticker("A")).startswith(
        "ForkedProcessError"
    )
