"""What goes wrong: locks, full disks, refused writes, leftovers of the killed."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from krakked._errors import (
    ConfigError,
    InvalidTimeError,
    LockTimeoutError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
)
from krakked._market.bars import OHLCBar, Source
from krakked._market.store import durable, filesystem
from krakked._market.store.durable import locked
from krakked._market.store.layout import Series, StorePaths
from krakked._market.store.ohlc_store import OHLCStore

Make = Callable[..., list[OHLCBar]]


def temps(root: Path) -> list[Path]:
    return list((root / ".krakked" / "tmp").glob("*"))


def test_a_lock_held_elsewhere_times_out_and_names_its_holder(
    tmp_path: Path, make_bars: Make
) -> None:
    store = OHLCStore(tmp_path, lock_timeout_s=0.05)
    path = StorePaths(tmp_path).lock(Series("XBTUSD", "1m"))
    with locked(path, timeout_s=1, what="the test"):
        with pytest.raises(StoreLockedError, match=str(os.getpid())) as caught:
            store.append_bars("XBTUSD", "1m", make_bars(1))
        assert isinstance(caught.value, LockTimeoutError)
        assert caught.value.path == str(path)
        assert caught.value.holder_pid == os.getpid()
        store.append_bars("ETHUSD", "1m", make_bars(1))
        assert store.get_bars("XBTUSD", "1m") == []
    store.append_bars("XBTUSD", "1m", make_bars(1))


def test_a_held_series_does_not_keep_the_others_in_the_journal(
    tmp_path: Path, make_bars: Make
) -> None:
    bars = make_bars(2)
    store = OHLCStore(tmp_path, lock_timeout_s=0.02)
    store.append_provisional("1m", [(p, b) for b in bars for p in ("ETHUSD", "XBTUSD")])
    store.append_provisional("5m", [("XBTUSD", make_bars(1, 300)[0])])
    paths = StorePaths(tmp_path)
    held = locked(paths.lock(Series("ETHUSD", "1m")), timeout_s=1, what="the test")
    with held, pytest.raises(StoreLockedError, match="ETHUSD"):
        store.fold_journal()
    assert store.series() == [("XBTUSD", "1m"), ("XBTUSD", "5m")]
    assert store.fold_journal().bars == 2
    assert store.get_bars("ETHUSD", "1m", provisional=True) == bars
    store.append_provisional("1m", [("SOLUSD", bars[0])])
    store.append_provisional("5m", [("SOLUSD", make_bars(1, 300)[0])])
    held = locked(paths.fold_lock("1m"), timeout_s=1, what="the test")
    with held, pytest.raises(StoreLockedError, match="journal of 1m"):
        store.fold_journal()
    assert ("SOLUSD", "5m") in store.series()


@pytest.mark.slow
def test_a_killed_holder_frees_its_lock_at_once(tmp_path: Path, make_bars: Make) -> None:
    path = StorePaths(tmp_path).lock(Series("XBTUSD", "1m"))
    code = (
        "import time; from pathlib import Path; from krakked._market.store.durable import locked\n"
        f"with locked(Path({str(path)!r}), timeout_s=5, what='x'): print('held', flush=True); "
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        store = OHLCStore(tmp_path, lock_timeout_s=0.05)
        with pytest.raises(LockTimeoutError) as caught:
            store.append_bars("XBTUSD", "1m", make_bars(1))
        assert caught.value.holder_pid == holder.pid
        holder.kill()
        holder.wait()
    assert store.append_bars("XBTUSD", "1m", make_bars(1)) == 1  # or a LockTimeoutError


def test_threads_share_one_store(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(45)
    store = OHLCStore(tmp_path)

    def work(offset: int) -> None:
        for index in range(offset, len(bars), 3):
            store.append_bars("XBTUSD", "1m", [bars[index]])
            store.append_provisional("1m", [("ETHUSD", bars[index])])

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen = store.get_bars("XBTUSD", "1m")
        assert [bar.time for bar in seen] == sorted({bar.time for bar in seen})
    assert store.get_bars("XBTUSD", "1m") == bars
    assert store.get_bars("ETHUSD", "1m", provisional=True) == bars


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_refused_step_leaves_the_old_state_and_no_temp(
    tmp_path: Path, make_bars: Make, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    bars = make_bars(20)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars[:10], covered=(bars[0].time, bars[9].time + 60))
    store.append_provisional("1m", [("XBTUSD", bars[10])])
    calls = 0

    def refuse(*_arguments: object) -> int:
        nonlocal calls
        calls += 1
        raise OSError(code, os.strerror(code))

    full = code in {errno.ENOSPC, errno.EDQUOT}
    with monkeypatch.context() as patch:
        if step == "replace":
            patch.setattr(Path, "replace", refuse)
        else:
            patch.setattr(os, step, refuse)
        with pytest.raises(StoreFullError if full else StoreError):
            store.append_bars("XBTUSD", "1m", bars[10:])
        assert calls == 1 or step == "write"  # an fsync is never tried again
        if step != "replace":
            with pytest.raises(StoreFullError if full else StoreError):
                store.append_provisional("1m", [("XBTUSD", bars[11])])
    assert temps(tmp_path) == []
    assert store.get_bars("XBTUSD", "1m", provisional=True) == bars[:11]
    assert store.verify() == []
    store.append_bars("XBTUSD", "1m", bars[10:])
    store.append_provisional("1m", [("ETHUSD", bars[0])])
    assert store.get_bars("XBTUSD", "1m") == bars
    assert store.get_bars("ETHUSD", "1m", provisional=True) == bars[:1]


def test_short_writes_are_written_on(
    tmp_path: Path, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:1000])))
    bars = make_bars(500)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars)
    store.append_provisional("1m", [("ETHUSD", bar) for bar in bars])
    assert store.get_bars("XBTUSD", "1m") == bars
    assert store.get_bars("ETHUSD", "1m", provisional=True) == bars
    assert store.verify() == []


def test_a_write_that_lies_is_noticed(
    tmp_path: Path, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = OHLCStore(tmp_path)
    real = os.write

    def lie(fd: int, data: memoryview) -> int:
        if len(data) > 100:
            return real(fd, bytes(data[:100])) and len(data)
        return real(fd, data)

    monkeypatch.setattr(os, "write", lie)
    with pytest.raises(StoreError, match="shorter"):
        store.append_bars("XBTUSD", "1m", make_bars(50))
    assert store.get_bars("XBTUSD", "1m") == []
    assert temps(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("a full disk is made with tmpfs, which only root may mount")
    target = tmp_path / "disk"
    target.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(target)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip(f"tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_a_full_disk_is_a_clean_error(tiny_disk: Path, make_bars: Make) -> None:
    bars = make_bars(40_000)
    store = OHLCStore(tiny_disk)
    kept = 0

    def fill_up() -> None:
        nonlocal kept
        for at in range(0, len(bars), 2000):
            store.append_bars("XBTUSD", "1m", bars[at : at + 2000])
            kept = at + 2000

    def journal_on() -> None:
        for bar in bars:
            store.append_provisional("1m", [("XBTUSD", bar)] * 100)

    (tiny_disk / "ballast").write_bytes(bytes(700_000))
    with pytest.raises(StoreFullError, match="full"):
        fill_up()
    assert 0 < kept < len(bars)
    assert temps(tiny_disk) == []
    assert store.get_bars("XBTUSD", "1m") == bars[:kept]
    assert store.verify() == []
    with pytest.raises(StoreFullError):
        journal_on()
    assert store.verify() == []
    (tiny_disk / "ballast").unlink()
    assert store.get_bars("XBTUSD", "1m") == bars[:kept]
    store.fold_journal()
    assert store.verify() == []
    assert temps(tiny_disk) == []


def test_temps_of_the_killed_are_swept_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    paths.tmp.mkdir(parents=True)
    dead = paths.tmp / f"{Series('XBTUSD', '1m').file_stem}~77-0.tmp"
    alive = paths.tmp / f"{Series('ETHXBT.d', '1h').file_stem}~78-0.tmp"
    strange = paths.tmp / "mine"
    for path in (dead, alive, strange):
        path.touch()
    with locked(paths.lock(Series("ETHXBT.d", "1h")), timeout_s=1, what="a writer"):
        OHLCStore(tmp_path)
        assert sorted(temps(tmp_path)) == sorted([alive, strange])
    OHLCStore(tmp_path)
    assert temps(tmp_path) == [strange]


def test_opening_and_reading_makes_nothing(tmp_path: Path) -> None:
    store = OHLCStore(tmp_path / "none")
    assert store.get_bars("XBTUSD", "1m", provisional=True) == []
    assert store.coverage("XBTUSD", "1m") == ()
    assert store.gaps("XBTUSD", "1m") == []
    assert len(store.gaps("XBTUSD", "1m", 0, 600)) == 1
    assert store.verify() == []
    assert store.series() == []
    store.close()
    assert not (tmp_path / "none").exists()


def test_unfit_arguments(tmp_path: Path, make_bars: Make) -> None:
    with pytest.raises(StoreError, match="parquet or csv"):
        OHLCStore(tmp_path, backend="feather")
    store = OHLCStore(tmp_path)
    for lookback in (-1, 1.5, "3", True):
        with pytest.raises(ConfigError, match=r"lookback is .*; wanted: a whole number from 0 on"):
            store.get_bars("XBTUSD", "1m", lookback=lookback)
    for moment in (-1, "today", math.nan, 1_793_491_200_000, datetime(2026, 11, 1)):
        for bounds in ({"since": moment}, {"until": moment}):
            with pytest.raises(InvalidTimeError):
                store.get_bars("XBTUSD", "1m", **bounds)
            with pytest.raises(InvalidTimeError):
                store.gaps("XBTUSD", "1m", **bounds)
    good = make_bars(1)[0]
    far = 253_402_300_800
    for covered in ((60, 0), (-60, 0), (0, far + 60), (0.0, 60), ("0", "60"), (None, 60)):
        with pytest.raises(StoreError, match="unix seconds"):
            store.append_bars("XBTUSD", "1m", [good], covered=covered)
    for covered in ((30, 90), (0, 90), (30, 60)):
        with pytest.raises(StoreError, match="grid"):
            store.append_bars("XBTUSD", "1m", [good], covered=covered)
    millis = OHLCBar(good.time * 1000, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1)
    with pytest.raises(StoreError, match="unix seconds"):
        store.append_bars("XBTUSD", "1m", [millis])
    with pytest.raises(StoreError, match="multiple"):
        store.append_bars("XBTUSD", "5m", [OHLCBar(60, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1)])
    assert store.series() == []


def test_times_may_be_datetimes(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(10)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars)
    since = datetime.fromtimestamp(bars[2].time, UTC)
    until = datetime.fromtimestamp(bars[7].time, timezone(timedelta(hours=-5)))
    assert store.get_bars("XBTUSD", "1m", since=since, until=until) == bars[2:7]
    assert store.get_bars("XBTUSD", "1m", since=bars[2].time + 0.5) == bars[3:]
    (gap,) = store.gaps("XBTUSD", "1m", until, datetime.fromtimestamp(bars[-1].time + 120, UTC))[
        -1:
    ]
    assert (gap.start_s, gap.end_s) == (bars[-1].time + 60, bars[-1].time + 120)


@pytest.mark.parametrize(("first", "then"), [("parquet", "csv"), ("csv", "parquet")])
def test_two_formats_never_share_a_root(
    tmp_path: Path, make_bars: Make, first: str, then: str
) -> None:
    bars = make_bars(3)
    OHLCStore(tmp_path, backend=then)  # nothing is there yet
    OHLCStore(tmp_path, backend=first).append_bars("XBTUSD", "1m", bars)
    with pytest.raises(StoreError, match=f"holds {first} files.*ohlc_store.backend to {first}"):
        OHLCStore(tmp_path, backend=then)
    assert OHLCStore(tmp_path, backend=first).get_bars("XBTUSD", "1m") == bars


def test_a_file_in_the_way_is_a_typed_error(tmp_path: Path, make_bars: Make) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="move it away") as caught:
        OHLCStore(tmp_path / "file").append_bars("XBTUSD", "1m", make_bars(1))
    assert str(tmp_path / "file") in str(caught.value.path)


def test_a_remote_file_system_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "file_system_of", lambda *_: "nfs4")
    with pytest.warns(filesystem.RemoteFileSystemWarning, match="nfs4"):
        OHLCStore(tmp_path)
    monkeypatch.setattr(filesystem, "file_system_of", lambda *_: "ext4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OHLCStore(tmp_path)


def test_damaged_coverage_is_refused_not_guessed(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(5)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars, covered=(bars[0].time, bars[-1].time + 60))
    path = next((tmp_path / ".krakked" / "coverage").iterdir())
    path.write_bytes(path.read_bytes().replace(b"REST", b"RUST"))
    for use in (
        lambda: store.coverage("XBTUSD", "1m"),
        lambda: store.gaps("XBTUSD", "1m"),
        lambda: store.append_bars("XBTUSD", "1m", bars),
    ):
        with pytest.raises(StoreCorruptError, match="krakked store repair"):
            use()
    assert store.get_bars("XBTUSD", "1m") == bars
    assert len(store.verify()) == 1
    store.repair()
    assert store.verify() == []
    assert store.coverage("XBTUSD", "1m") == ()


def test_directories_are_made_to_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("krakked._files.durable.sync_directory", synced.append)
    durable.replace(
        tmp_path / "a" / "b" / "file", memoryview(b"x"), temp_dir=tmp_path / "tmp", label="x"
    )
    assert synced == [tmp_path, tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_source_ranks_are_what_the_files_say(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path)
    for index, source in enumerate(Source):
        store.append_bars("XBTUSD", "1m", [make_bars(5)[index]], source=source)
    table = store.get_columns("XBTUSD", "1m", provisional=True)
    assert str(table.schema.field("source").type) == "int8"
    assert table.column("source").to_pylist() == [0, 1, 2, 3, 4]
