"""Every call of the store meets every failure of the file system: typed, named, nothing lost."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from krakked._errors import StoreError, StoreFullError
from krakked._market.bars import OHLCBar
from krakked._market.store import durable
from krakked._market.store.ohlc_store import OHLCStore

CODES = [
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.ENOLCK,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ESTALE,
]
START = 1_793_491_200


def bar(minute: int) -> OHLCBar:
    return OHLCBar(START + 60 * minute, 1.0, 2.0, 0.5, 1.5, 1.2, 3.0 + minute, 4)


BARS = [bar(minute) for minute in range(30)]
LIVE = [bar(minute) for minute in range(30, 40)]


class Shim:
    """Stands before the file calls of this process that concern one directory; fails one of them.

    Descriptors are followed: what is read, written, forced or locked through one counts too.
    """

    def __init__(self, below: Path) -> None:
        self.calls: list[str] = []
        self.fail_at = -1
        self.code = 0
        self._below = str(below)
        self._descriptors: set[int] = set()

    def _step(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) - 1 == self.fail_at:
            raise OSError(self.code, os.strerror(self.code))

    def _concerns(self, target: object) -> bool:
        if isinstance(target, int):
            return target in self._descriptors
        return isinstance(target, str | os.PathLike) and os.fspath(target).startswith(self._below)

    def _wrapped(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(target: object, *rest: object, **named: object) -> object:
            if not self._concerns(target):
                return real(target, *rest, **named)
            if name == "close":  # the descriptor is gone, whatever close says
                self._descriptors.discard(target)  # type: ignore[arg-type]
                real(target)
                return self._step(name)
            self._step(name)
            found = real(target, *rest, **named)
            if name == "open":
                assert isinstance(found, int)
                self._descriptors.add(found)
            return found

        return call

    @contextmanager
    def installed(self) -> Iterator[None]:
        names = [
            *("open", "close", "read", "write", "fsync", "lseek", "fstat", "ftruncate", "stat"),
            *("scandir", "mkdir", "rename", "replace", "unlink", "link"),
        ]
        with pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
            for module in (builtins, io):
                patch.setattr(module, "open", self._wrapped("file", open))
            patch.setattr(pa, "OSFile", self._wrapped("arrow", pa.OSFile))
            if os.name != "nt":
                fcntl = pytest.importorskip("fcntl")
                patch.setattr(fcntl, "flock", self._wrapped("flock", fcntl.flock))
            yield


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seeded") / "ohlc"
    store = OHLCStore(root)
    store.append_bars("XBTUSD", "1m", BARS[:20], covered=(START, START + 1200))
    store.append_bars("ETHUSD", "1m", BARS[:20], covered=(START, START + 1200))
    store.append_provisional("1m", [("SOLUSD", each) for each in LIVE])
    return root


def read_all(store: OHLCStore) -> object:
    return [
        store.series(),
        store.strays(),
        store.get_bars("XBTUSD", "1m", provisional=True),
        store.last_closed("XBTUSD", "1m"),
        store.first_stored("XBTUSD", "1m"),
        store.coverage("XBTUSD", "1m"),
        store.gaps("XBTUSD", "1m"),
    ]


def damage(root: Path) -> None:
    path = root / "bars" / "timeframe=1m" / "pair=ETHUSD" / "2026-11.parquet"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    (root / ".krakked" / "coverage" / "1m~XBTUSD.json").write_bytes(b"torn")


def as_before(_: Path) -> None:
    pass


def fresh(root: Path) -> None:
    shutil.rmtree(root)


USES: dict[str, tuple[Callable[[Path], None], Callable[[OHLCStore], object]]] = {
    "append_bars": (
        as_before,
        lambda s: s.append_bars("XBTUSD", "1m", BARS, covered=(START, START + 1800)),
    ),
    "first append_bars": (
        fresh,
        lambda s: s.append_bars("XBTUSD", "1m", BARS, covered=(START, START + 1800)),
    ),
    "append_provisional": (as_before, lambda s: s.append_provisional("1m", [("XBTUSD", LIVE[0])])),
    "first append_provisional": (
        fresh,
        lambda s: s.append_provisional("1m", [("XBTUSD", LIVE[0])]),
    ),
    "fold_journal": (as_before, lambda s: s.fold_journal()),
    "reads": (as_before, read_all),
    "verify": (as_before, lambda s: s.verify()),
    "repair": (damage, lambda s: s.repair()),
    "compact": (as_before, lambda s: s.compact()),
    "snapshot": (as_before, lambda s: s.snapshot(s.root.with_name("copy"))),
}


def refusal_of(work: Callable[[], object]) -> StoreError | None:
    try:
        work()
    except StoreError as error:
        return error
    return None


def used(use: str, root: Path, shim: Shim | None = None) -> object:
    """Open a store and use it, behind the shim if there is one; give the result or the refusal."""

    def work() -> None:
        with OHLCStore(root) as store:
            results.append(USES[use][1](store))

    results: list[object] = []
    with contextlib.nullcontext() if shim is None else shim.installed():
        error = refusal_of(work)
    return results[0] if error is None else error


def check_intact(root: Path, use: str) -> None:
    """Everything that was acknowledged is there, and the same call now succeeds."""
    store = OHLCStore(root)
    before = USES[use][0]
    if before is as_before:
        assert store.get_bars("XBTUSD", "1m")[:20] == BARS[:20]
        assert store.get_bars("ETHUSD", "1m") == BARS[:20]
        assert store.get_bars("SOLUSD", "1m", provisional=True) == LIVE
        assert store.verify() == []
    if use == "snapshot":
        shutil.rmtree(root.with_name("copy"), ignore_errors=True)
    USES[use][1](store)
    store.fold_journal()
    assert store.verify() == []
    if before is not fresh:
        assert store.get_bars("XBTUSD", "1m")[:20] == BARS[:20]
    if use.endswith("append_bars"):
        assert store.get_bars("XBTUSD", "1m") == BARS
    if use.endswith("append_provisional"):
        assert store.get_bars("XBTUSD", "1m", provisional=True)[-1] == LIVE[0]
    assert list((root / ".krakked" / "tmp").glob("*")) == []


def unharmed(use: str, seeded: Path, top: Path) -> object:
    """Give what a use answers when nothing fails."""
    root = top / "ohlc"
    shutil.copytree(seeded, root)
    try:
        USES[use][0](root)
        return used(use, root)
    finally:
        shutil.rmtree(root)
        shutil.rmtree(top / "copy", ignore_errors=True)


def run_with_failure(
    use: str, seeded: Path, top: Path, expected: object, *, at: int, code: int
) -> str | None:
    """Fail one call; give its name, or None when there are not so many.

    What the call answers in spite of the failure is what it answers without.
    """
    root = top / "ohlc"
    shutil.copytree(seeded, root)
    try:
        USES[use][0](root)
        shim = Shim(top)
        shim.fail_at, shim.code = at, code
        result = used(use, root, shim)
        if len(shim.calls) <= at:
            assert not isinstance(result, StoreError)
            return None
        if isinstance(result, StoreError):
            error = result
            assert str(top) in str(error.path), shim.calls[-1]
            assert str(error.path) in str(error)
            assert len(str(error).removesuffix(str(error.path))) > 40
            assert "[Errno" not in str(error)
        elif use == "verify" and result != expected:
            (finding,) = result
            assert str(top) in finding.problem
            assert finding.pair is None  # so that a repair leaves it
        elif use != "repair":  # whose names are drawn
            assert result == expected
        check_intact(root, use)
        return shim.calls[at]
    finally:
        shutil.rmtree(root)
        shutil.rmtree(top / "copy", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_a_failure_at_any_file_call_is_typed_and_loses_nothing(
    tmp_path: Path, seeded: Path, use: str
) -> None:
    codes = itertools.cycle(CODES)
    expected = unharmed(use, seeded, tmp_path)
    failed: list[str] = []
    for at in itertools.count(0, 7 if use != "append_bars" else 1):
        name = run_with_failure(use, seeded, tmp_path, expected, at=at, code=next(codes))
        if name is None:
            break
        failed.append(name)
    assert len(failed) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_several_failures_at_every_file_call(tmp_path: Path, seeded: Path, use: str) -> None:
    expected = unharmed(use, seeded, tmp_path)
    for shift in (0, 4):
        for at in itertools.count():
            code = CODES[(at + shift) % len(CODES)]
            if run_with_failure(use, seeded, tmp_path, expected, at=at, code=code) is None:
                break
        assert at > 20


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_the_error_says_what_where_and_what_to_do(code: int) -> None:
    path = Path("somewhere") / "file"
    error = durable.store_error(OSError(code, os.strerror(code)), path)
    assert isinstance(error, StoreFullError) == (code in {errno.ENOSPC, errno.EDQUOT})
    assert error.path == str(path)
    assert str(path) in str(error)
    words = {
        errno.ENOSPC: "Free some space",
        errno.EDQUOT: "Free some space",
        errno.EIO: "check it",
        errno.ENOLCK: "local disk",
        errno.EROFS: "for writing",
        errno.EMFILE: "ulimit",
        errno.ENFILE: "ulimit",
        errno.EACCES: "right to use it",
        errno.EPERM: "right to use it",
        errno.ENAMETOOLONG: "shorter",
        errno.ESTALE: "mount it again",
    }
    assert words[code] in str(error)


def test_a_failure_without_a_remedy_of_its_own() -> None:
    assert "Try again" in str(durable.store_error(OSError(errno.EBUSY, "busy"), Path("x")))
    assert "OSError: x" in str(durable.store_error(OSError("no number"), Path("x")))


def test_a_disk_that_fails_in_the_middle_of_a_read_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", BARS)
    real = pa.OSFile
    readable = [0]

    class Failing(io.RawIOBase):
        """A file whose bytes cannot be read after the first few reads."""

        def __init__(self, path: str) -> None:
            self._real = real(path, "rb")
            self._left = readable[0]

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def seek(self, at: int, whence: int = 0) -> int:
            return int(self._real.seek(at, whence))

        def tell(self) -> int:
            return int(self._real.tell())

        def read(self, size: int = -1) -> bytes:
            self._left -= 1
            if self._left < 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return bytes(self._real.read(None if size < 0 else size))

    monkeypatch.setattr(pa, "OSFile", lambda path, _mode: pa.PythonFile(Failing(path), "r"))
    for reads in range(4):
        readable[0] = reads
        for use in (
            lambda: store.get_bars("XBTUSD", "1m"),
            lambda: store.append_bars("XBTUSD", "1m", BARS[:1]),
        ):
            error = refusal_of(use)
            if error is not None:
                assert type(error) is StoreError
                assert "check it" in str(error)
        assert store.repair().partitions == ()
    monkeypatch.undo()
    assert store.get_bars("XBTUSD", "1m") == BARS
