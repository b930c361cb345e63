"""krakked.blocking and krakked.aio: the same client for plain and for asyncio programs."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import contextvars
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from tests.generate_faces import KINDS, LEFT_OUT, PACKAGE, source

import krakked
import krakked.aio
import krakked.blocking
from krakked._faces.asyncio_calls import awaited, outcome
from krakked._faces.trio_thread import TrioThread
from krakked.sandbox import Exchange, open_sandbox

FACES = {"blocking": krakked.blocking, "aio": krakked.aio}


# --- the three faces agree ---------------------------------------------------------------------


@pytest.mark.parametrize("face", FACES)
def test_the_files_are_what_make_faces_writes(face: str) -> None:
    path = PACKAGE / "_faces" / f"{face}_calls.py"
    assert source(face) == path.read_text(encoding="utf-8"), "run: make faces"


def signature_of(function: Any) -> tuple[list[tuple[str, Any, Any, str]], str]:
    found = inspect.signature(function)
    return (
        [(p.name, p.kind, p.default, str(p.annotation)) for p in found.parameters.values()],
        str(found.return_annotation),
    )


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_every_method_is_there_with_its_signature_and_manual(face: str, kind: str) -> None:
    mine, theirs = getattr(FACES[face], kind), getattr(krakked, kind)
    names = {name for name in dir(theirs) if not name.startswith("_")} - LEFT_OUT
    assert names - {"config", "rest", "store"} <= set(dir(mine))
    for name in names - {"config", "rest", "store"}:
        ours, original = inspect.getattr_static(mine, name), inspect.getattr_static(theirs, name)
        if isinstance(original, property):
            assert isinstance(ours, property), name
            continue
        assert signature_of(ours) == signature_of(original), name
        assert (inspect.getdoc(ours) or "").replace("async for", "for") == (
            inspect.getdoc(original) or ""
        ).replace("async for", "for"), name
        waits = inspect.iscoroutinefunction(original)
        assert inspect.iscoroutinefunction(ours) is (waits and face == "aio"), name


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", ["open_kraken", "validate_credentials"])
def test_functions_have_the_same_parameters(face: str, name: str) -> None:
    mine, theirs = getattr(FACES[face], name), getattr(krakked, name)
    assert signature_of(mine)[0] == signature_of(theirs)[0]


# --- the thread below them ---------------------------------------------------------------------


class Thing:
    """Something that is opened."""

    def __init__(self) -> None:
        self.closed = False
        self.cancelled = 0

    async def answer(self, value: int) -> int:
        await trio.lowlevel.checkpoint()
        return value

    async def wait(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1


def opened_thread(thing: Thing) -> TrioThread[Thing]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Thing]:
        try:
            yield thing
        finally:
            thing.closed = True

    thread = TrioThread(opened, "This thing")
    thread.start()
    assert thread.wait_ready() is thing
    return thread


@contextlib.contextmanager
def opened() -> Iterator[tuple[Thing, TrioThread[Thing]]]:
    thing = Thing()
    thread = opened_thread(thing)
    try:
        yield thing, thread
    finally:
        thread.close()


def test_a_call_gives_its_answer_or_its_error() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with opened() as (thing, thread):
        assert thread.call(lambda: thing.answer(7)) == 7
        with pytest.raises(ZeroDivisionError):
            thread.call(fail)
        assert thread.run_sync(lambda: 3) == 3
    assert thing.closed
    with pytest.raises(krakked.ClosedError):
        thread.call(lambda: thing.answer(7))


def test_context_variables_go_along() -> None:
    mark = contextvars.ContextVar("mark", default=0)

    async def look() -> int:
        return mark.get()

    with opened() as (_, thread):
        mark.set(5)
        assert thread.call(look) == 5


def test_closing_ends_calls_that_wait() -> None:
    ended: list[BaseException] = []

    def wait(thing: Thing, thread: TrioThread[Thing]) -> None:
        try:
            thread.call(thing.wait)
        except BaseException as error:
            ended.append(error)

    with opened() as (thing, thread):
        waiters = [threading.Thread(target=wait, args=(thing, thread)) for _ in range(3)]
        for waiter in waiters:
            waiter.start()
        while thread.run_sync(lambda: len(trio.lowlevel.current_root_task().child_nurseries)) == 0:
            time.sleep(0.01)
    for waiter in waiters:
        waiter.join(10)
    assert [type(error) for error in ended] == [krakked.ClosedError] * 3


def test_a_call_from_a_callback_is_refused_and_waits_for_nothing() -> None:
    with opened() as (thing, thread):
        for call in (lambda: thread.call(lambda: thing.answer(1)), thread.close):
            with pytest.raises(krakked.KrakkedError, match="callbacks"):
                thread.run_sync(call)


def test_what_opening_raises_is_raised() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        raise krakked.ConfigError("no", key="x")
        yield

    thread = TrioThread(broken, "This thing")
    thread.start()
    with pytest.raises(krakked.ConfigError):
        thread.wait_ready()
    thread.close()


def test_an_error_in_the_background_ends_the_block_with_it() -> None:
    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        yield
        raise krakked.StoreError("the disk is gone", path="/x")

    thread = TrioThread(failing, "This thing")
    thread.start()
    thread.wait_ready()
    with pytest.raises(krakked.StoreError, match="disk"):
        thread.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_is_told() -> None:
    with opened() as (thing, thread):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            status = 1
            with contextlib.suppress(BaseException):
                try:
                    thread.call(lambda: thing.answer(1))
                except krakked.ForkedProcessError:
                    status = 0
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_cancelled_task_cancels_its_call() -> None:
    async def main(thing: Thing, thread: TrioThread[Thing]) -> None:
        task = asyncio.create_task(awaited(thread, thing.wait))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert thing.cancelled == 1
        assert await awaited(thread, lambda: thing.answer(4)) == 4
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(awaited(thread, thing.wait), 0.05)
        assert thing.cancelled == 2

    with opened() as (thing, thread):
        asyncio.run(main(thing, thread), debug=True)
        gc.collect()


def test_an_outcome_that_nobody_waits_for_any_more_is_no_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(thing: Thing, thread: TrioThread[Thing]) -> None:
        task = asyncio.create_task(awaited(thread, thing.wait))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await outcome(thread.ready)

    with opened() as (thing, thread):
        asyncio.run(main(thing, thread))
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_the_trio_face_under_asyncio_is_one_clear_sentence() -> None:
    async def main() -> None:
        async with krakked.open_kraken():
            raise AssertionError("not reached")

    with pytest.raises(krakked.KrakkedError, match=r"krakked\.aio"):
        asyncio.run(main())


# --- against the sandbox ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    """A sandbox on loopback, on a trio of its own."""
    ready: list[tuple[Exchange, Callable[[], None]]] = []
    there = threading.Event()

    async def serve() -> None:
        async with open_sandbox(seed=3) as running:
            stop = trio.Event()
            token = trio.lowlevel.current_trio_token()
            ready.append((running, lambda: token.run_sync_soon(stop.set)))
            there.set()
            await stop.wait()

    server = threading.Thread(target=trio.run, args=(serve,))
    server.start()
    assert there.wait(60)
    running, stop = ready[0]
    yield running
    stop()
    server.join()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0  # noqa: PTH208


def own_threads() -> int:
    return sum(thread.name == "krakked-trio" for thread in threading.enumerate())


@pytest.mark.slow
def test_a_plain_program(exchange: Exchange, tmp_path: Path) -> None:
    before = descriptors()
    for _ in range(2):
        with krakked.blocking.open_kraken(exchange.config(tmp_path), pairs=["BTC/USD"]) as kraken:
            kraken.wait_live(timeout_s=60)
            assert kraken.get_universe()
            assert kraken.get_latest_price("XBTUSD").pair == "XBTUSD"
            assert len(kraken.get_ohlc("XBTUSD", "1h", 24)) == 24
            assert kraken.rest.time().unixtime > 0
            assert kraken.feed.pairs == ("XBTUSD",)
            assert kraken.get_data_status().verdict == "ok"
            for change in kraken.changes(kinds=["ticker"]):
                assert isinstance(change, krakked.TickerChange)
                break
            with pytest.raises(krakked.UnknownPairError) as caught:
                kraken.get_latest_price("XBTUDS")
            assert caught.value.suggestion == "XBTUSD"
            with pytest.raises(krakked.NoCredentialsError):
                kraken.rest.balance()
        for use in (lambda: kraken.get_latest_price("XBTUSD"), kraken.rest.time):
            with pytest.raises(krakked.ClosedError):
                use()
        assert own_threads() == 0
    deadline = time.monotonic() + 30
    while descriptors() > before + 3 and time.monotonic() < deadline:
        time.sleep(0.1)  # the sandbox lives in this process, and closes its ends when it likes
    assert descriptors() <= before + 3


@pytest.mark.slow
def test_the_loop_over_changes_ends_when_another_thread_closes(
    exchange: Exchange, tmp_path: Path
) -> None:
    seen: list[object] = []
    with krakked.blocking.open_kraken(exchange.config(tmp_path), pairs=["BTC/USD"]) as kraken:
        changes = kraken.changes(kinds=["ticker"])
        reader = threading.Thread(target=lambda: seen.extend(changes))
        reader.start()
        kraken.wait_live(timeout_s=60)
    reader.join(20)
    assert not reader.is_alive()


@pytest.mark.slow
def test_an_asyncio_program(exchange: Exchange, tmp_path: Path) -> None:
    async def main() -> None:
        async with krakked.aio.open_kraken(exchange.config(tmp_path), pairs=["BTC/USD"]) as kraken:
            await kraken.wait_live(timeout_s=60)
            assert kraken.get_best_bid_ask("XBTUSD").bid > 0
            assert len(await kraken.get_ohlc("XBTUSD", "1h", 24)) == 24
            several = await asyncio.gather(*(kraken.rest.time() for _ in range(3)))
            assert len(several) == 3
            async for change in kraken.changes(kinds=["ticker"]):
                assert isinstance(change, krakked.TickerChange)
                break
            waiting = asyncio.create_task(kraken.changes(kinds=["feed"]).__anext__())
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(krakked.NoCredentialsError):
                await kraken.rest.balance()
        with pytest.raises(krakked.ClosedError):
            await kraken.rest.time()

    asyncio.run(main(), debug=True)
    assert own_threads() == 0


BLOCKED = """
import sys, threading
import krakked.blocking
from krakked._config.loader import load_config

with krakked.blocking.open_kraken(load_config(sys.argv[1]), pairs=["XBTUSD"]) as kraken:
    kraken.wait_live(timeout_s=60)
    print("ready", flush=True)
    for change in kraken.changes(kinds=["feed"]):
        pass
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_a_wait_and_everything_with_it(exchange: Exchange, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        f"rest:\n  base_url: {exchange.rest_url}\nmarket_data:\n  ws:\n    url: {exchange.ws_url}\n"
        f"    timeframes: [1m]\n  ohlc_store:\n    root_dir: {tmp_path / 'ohlc'}\n"
    )
    program = tmp_path / "program.py"
    program.write_text(BLOCKED)
    with subprocess.Popen(
        [sys.executable, str(program), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
        assert process.wait(30) in {130, -signal.SIGINT, 1}
    assert told.rstrip().endswith("KeyboardInterrupt"), told


@pytest.mark.slow
def test_a_client_that_is_never_closed_holds_no_program_up(
    exchange: Exchange, tmp_path: Path
) -> None:
    program = (
        "import krakked.blocking, sys\n"
        "from krakked._config.settings import KrakkedConfig, RestSettings\n"
        f"config = KrakkedConfig(rest=RestSettings(base_url={exchange.rest_url!r}),"
        f" config_dir={str(tmp_path)!r})\n"
        "opened = krakked.blocking.open_kraken(config, live=False)\n"
        "kraken = opened.__enter__()\n"
        "print(len(kraken.get_universe()) > 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_no_face_is_loaded_before_it_is_asked_for() -> None:
    code = "import krakked, sys; print([m for m in sys.modules if 'asyncio' in m or '_faces' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_readme_of_each_face_is_a_program() -> None:
    for face in FACES.values():
        text = (face.__doc__ or "").split("\n\n", 1)[1].split("\n\nNames", 1)[0]
        ast.parse("\n".join(line[4:] for line in text.splitlines()))


async def test_the_face_of_asyncio_under_trio_is_refused_in_a_sentence() -> None:
    with pytest.raises(RuntimeError, match=r"Under trio use krakked\.open_kraken"):
        async with krakked.aio.open_kraken():
            pass
