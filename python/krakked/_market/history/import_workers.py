"""An import shared between processes: who reads what, and how they talk.

A worker is a fresh interpreter that is told on its standard input what to do and answers on its
standard output, both in pickles (nobody else can write to these pipes). `multiprocessing` is not
used: it runs the caller's script again in each child, which a notebook or a script without a
``__main__`` guard does not survive.

One series is read by one worker, in the order of its files. A worker that dies loses nothing that
it had finished; all of them end when the parent does, for their input ends then.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from itertools import chain
from typing import IO, Final, TypedDict, TypeVar, cast

from krakked._config.child_environment import child_environment
from krakked._errors import StoreError
from krakked._market.history.archive import Zips
from krakked._market.history.import_job import (
    FilesDone,
    ImportTask,
    PairFile,
    Teller,
    read_files,
)
from krakked._market.history.import_record import ImportRecord
from krakked._market.history.import_report import (
    BadLines,
    ImportCallback,
    ImportedFile,
    ImportProgress,
    SkippedFile,
)
from krakked._market.store.ohlc_store import OHLCStore

PATIENCE_S: Final = 5.0
"""Longest wait for a worker to end before it is killed; the store outlives that."""

_BEGIN: Final = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from krakked._market.history.import_workers import serve; serve()"
)

Opener = Callable[[], OHLCStore]
Told = TypeVar("Told", ImportedFile, SkippedFile, BadLines)


def read_in_workers(
    opener: Opener,
    files: Sequence[PairFile],
    task: ImportTask,
    workers: int,
    progress: ImportCallback | None,
) -> FilesDone:
    """Read files with several processes; the same as `read_files`, in the order of the files.

    Raises:
        StoreError: The disk refused, or a worker ended; the others are stopped.
    """
    shares = shared_out(files)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in sorted(range(len(shares)), key=lambda n: -_bytes_of(shares[n])):
        waiting.put(number)  # the longest first: the last one to end begins early
    done: dict[int, FilesDone] = {}
    together = _Together(Teller(files, progress), shares)
    stop = threading.Event()
    workers = min(workers, len(shares))
    with ThreadPoolExecutor(workers, thread_name_prefix="krakked-import") as pool:
        try:
            running = [
                pool.submit(_employ, opener, task, shares, waiting, done, together, stop)
                for _ in range(workers)
            ]
            # Woken now and then, or Ctrl-C would wait for the end on some systems.
            left = set(running)
            while left:
                ended, left = wait(left, timeout=0.5, return_when=FIRST_EXCEPTION)
                for each in ended:
                    each.result()
        finally:
            stop.set()
    parts = [done[number] for number in range(len(shares))]
    places = {file.label: at for at, (file, _) in enumerate(files)}

    def joined(lists: Iterable[list[Told]]) -> list[Told]:
        return sorted(chain.from_iterable(lists), key=lambda each: places[each.label])

    return FilesDone(
        imported=joined(part.imported for part in parts),
        skipped=joined(part.skipped for part in parts),
        failed=joined(part.failed for part in parts),
        bad=joined(part.bad for part in parts),
        errors=[error for part in parts for error in part.errors],
    )


def shared_out(files: Sequence[PairFile]) -> list[list[PairFile]]:
    """Divide files so that no two shares concern one series; the order within a share stays. Pure.

    Trades make candles of every timeframe: a pair that has any is one share.
    """
    with_trades = {pair for file, pair in files if file.minutes is None}
    shares: dict[tuple[str, int | None], list[PairFile]] = {}
    for file, pair in files:
        minutes = None if pair in with_trades else file.minutes
        shares.setdefault((pair, minutes), []).append((file, pair))
    return list(shares.values())


def _bytes_of(share: Sequence[PairFile]) -> int:
    return sum(file.size_bytes for file, _ in share)


class _Together:
    """How far all workers are, together."""

    def __init__(self, teller: Teller, shares: Sequence[Sequence[PairFile]]) -> None:
        self._teller = teller
        self._shares = shares
        self._parts: dict[int, tuple[int, int, int]] = {}
        """By share: files and bytes read, bars stored."""
        self._lock = threading.Lock()

    def take(self, number: int, step: ImportProgress) -> None:
        """Count what a worker tells of its share, and tell it on."""
        with self._lock:
            self._parts[number] = step.files, step.read_bytes, step.bars
            files, read_bytes, bars = (
                sum(each) for each in zip(*self._parts.values(), strict=True)
            )
            self._teller.tell(step.label, files, read_bytes, bars)

    def finish(self, number: int) -> None:
        """Count a share as read."""
        share = self._shares[number]
        with self._lock:
            bars = self._parts.get(number, (0, 0, 0))[2]
            self._parts[number] = len(share), _bytes_of(share), bars


def _employ(  # noqa: PLR0917 - one place calls it
    opener: Opener,
    task: ImportTask,
    shares: Sequence[Sequence[PairFile]],
    waiting: queue.SimpleQueue[int],
    done: dict[int, FilesDone],
    together: _Together,
    stop: threading.Event,
) -> None:
    """Give one worker share after share; in a thread of the parent."""
    with _worker() as (to, answers):
        _send(to, sys.path)
        _send(to, (opener, task))
        while not stop.is_set():
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            _send(to, list(shares[number]))
            while True:
                answer = _received(answers)
                if isinstance(answer, BaseException):
                    stop.set()
                    raise answer
                if isinstance(answer, FilesDone):
                    done[number] = answer
                    together.finish(number)
                    break
                together.take(number, cast("ImportProgress", answer))
                if stop.is_set():
                    return


class _Apart(TypedDict, total=False):
    """How a child is started in a group of its own: Ctrl-C is the parent's to answer."""

    process_group: int
    creationflags: int


if sys.platform == "win32":
    _APART: Final[_Apart] = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
else:
    _APART: Final[_Apart] = {"process_group": 0}


@contextlib.contextmanager
def _worker() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    with subprocess.Popen(  # noqa: S603 - this very interpreter
        [sys.executable, "-P", "-c", _BEGIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
        **_APART,
    ) as process:
        to, answers = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        ended_well = False
        try:
            yield to, answers
            ended_well = True
        except (BrokenPipeError, EOFError, pickle.UnpicklingError) as error:
            raise StoreError(
                f"A worker process of the import ended (status {_status(process)}). What it had "
                "finished is stored: run the import again, with fewer workers if memory was short."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                to.close()
            if not ended_well:
                process.terminate()
            _status(process)


def _status(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _send(to: IO[bytes], what: object) -> None:
    pickle.dump(what, to)
    to.flush()


def _received(answers: IO[bytes]) -> object:
    return pickle.load(answers)  # noqa: S301 - our own child wrote it


# --- in the worker -----------------------------------------------------------------------------


def serve() -> None:
    """Read shares until there are no more: what a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all: the parent says
    orders, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what prints, prints elsewhere
    answer = partial(_send, answers)
    try:
        opener, task = cast("tuple[Opener, ImportTask]", _received(orders))
        with opener() as store, Zips() as zips:
            record = ImportRecord(store)
            while True:
                share = cast("list[PairFile]", _received(orders))
                answer(read_files(store, share, task, record, zips, answer))
    except (EOFError, BrokenPipeError):
        return  # no more, or nobody left to work for
    except Exception as error:  # the parent raises it
        with contextlib.suppress(OSError):
            answer(_portable(error))


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        return StoreError(f"A worker of the import failed: {type(error).__name__}: {error}")
    return error
