"""An import shared between processes: the same store, the same report, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest

import krakked
from krakked import ConfigError, ImportFormatError, StoreError, import_archive
from krakked._market.history import import_workers
from krakked._market.history.archive import ArchiveFile
from krakked._market.history.import_workers import shared_out
from krakked._market.store.ohlc_store import OHLCStore

FIRST_S = 1_700_000_000 // 86_400 * 86_400


def candles(minutes: int, rows: int, price: float) -> str:
    step = 60 * minutes
    return "".join(
        f"{FIRST_S + step * i},{price},{price + 9},{price - 1},{price + i % 5},{i + 0.5},3\n"
        for i in range(rows)
    )


def trades(rows: int) -> str:
    return "".join(f"{FIRST_S + 13 * i}.25,{100 + i % 9},{0.5 + i % 3}\n" for i in range(rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "Kraken OHLCVT"
    folder.mkdir()
    for number, pair in enumerate(("XBTUSD", "ETHUSD", "ADAUSD", "XRPUSD")):
        for minutes in (1, 60, 1440):
            path = folder / f"{pair}_{minutes}.csv"
            path.write_text(candles(minutes, 400, 10.0 * (number + 1)))
    (folder / "ETHUSD.csv").write_text(trades(2_000))
    (folder / "XRPUSD_5.csv").write_text(candles(5, 20, 7.0) + "nonsense\n" + candles(5, 2, 7.0))
    return folder


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "imports.jsonl" and "locks" not in path.parts
    }


def plain(report: krakked.ImportReport) -> krakked.ImportReport:
    return msgspec.structs.replace(report, elapsed_s=0.0)


@pytest.mark.parametrize("workers", [2, 5])
def test_two_processes_make_the_same_store_as_one(
    tmp_path: Path, folder: Path, workers: int
) -> None:
    steps: list[krakked.ImportProgress] = []
    with OHLCStore(tmp_path / "one") as one, OHLCStore(tmp_path / "many") as many:
        expected = import_archive(one, [folder])
        report = import_archive(many, [folder], workers=workers, progress=steps.append)
        assert plain(report) == plain(expected)
        assert report.bad_lines == 1
        assert content(one.root) == content(many.root)
        again = import_archive(many, [folder], workers=workers)
        assert again.files == ()
        assert len(again.known) == len(expected.files and {f.label for f in expected.files})
    assert all(step.read_bytes <= step.all_bytes for step in steps)
    assert threading.active_count() == 1 or not [
        each for each in threading.enumerate() if each.name.startswith("krakked-import")
    ]


def test_strict_names_the_bad_line(tmp_path: Path, folder: Path) -> None:
    with OHLCStore(tmp_path / "many") as store:
        with pytest.raises(ImportFormatError, match=r"XRPUSD_5\.csv, line 21") as caught:
            import_archive(store, [folder], workers=2, strict=True)
        assert caught.value.line == 21
        assert len(store.series()) > 12


def test_names_are_those_of_the_store(tmp_path: Path, folder: Path) -> None:
    names = {"XBTUSD": "BTCUSD"}
    with OHLCStore(tmp_path / "many", canonical=lambda name: names.get(name, name)) as store:
        import_archive(store, [folder], workers=2, timeframes=["1h"])
        assert ("BTCUSD", "1h") in store.series()


@pytest.mark.parametrize("workers", [0, -1, 65, 1.5, "2", True, None])
def test_odd_numbers_of_workers_are_refused(tmp_path: Path, folder: Path, workers: object) -> None:
    with OHLCStore(tmp_path / "s") as store, pytest.raises(ConfigError, match="workers"):
        import_archive(store, [folder], workers=workers)  # type: ignore[arg-type]


def test_a_worker_that_is_killed_is_said_and_nothing_finished_is_lost(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def noted(*args: object, **more: object) -> subprocess.Popen[bytes]:
        process = real(*args, **more)  # type: ignore[call-overload]
        begun.append(process)
        return process  # type: ignore[no-any-return]

    monkeypatch.setattr(import_workers.subprocess, "Popen", noted)
    received = import_workers._received
    answers: list[object] = []

    def killing(stream: object) -> object:
        answer = received(stream)  # type: ignore[arg-type]
        answers.append(answer)
        begun[0].kill()
        return answer

    monkeypatch.setattr(import_workers, "_received", killing)
    with OHLCStore(tmp_path / "many") as store:
        with pytest.raises(StoreError, match="worker process of the import ended"):
            import_archive(store, [folder], workers=2)
        assert all(process.returncode is not None for process in begun)
        monkeypatch.undo()
        import_archive(store, [folder], workers=2)
        with OHLCStore(tmp_path / "one") as one:
            import_archive(one, [folder])
            assert content(one.root) == content(store.root)


def test_a_store_that_cannot_be_written_is_told_as_such(tmp_path: Path, folder: Path) -> None:
    with OHLCStore(tmp_path / "many") as store:
        (tmp_path / "many").write_text("a file")
        with pytest.raises(StoreError):
            import_archive(store, [folder], workers=2)


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path, folder: Path) -> None:
    script = tmp_path / "pickle.py"  # and a name that shadows a module of the standard library
    script.write_text(
        textwrap.dedent(f"""
            import krakked
            print("once")
            with krakked.OHLCStore({str(tmp_path / "s")!r}) as store:
                report = krakked.import_archive(store, [{str(folder)!r}], workers=2)
            print(report.series)
        """)
    )
    (tmp_path / "run.py").write_text(script.read_text())
    script.write_text("raise SystemExit('not this pickle')\n")
    done = subprocess.run(
        [sys.executable, "-P", "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split()[0] == "once"
    assert done.stdout.count("once") == 1


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    for pair in ("XBTUSD", "ETHUSD"):
        (big / f"{pair}_1.csv").write_text(candles(1, 300_000, 5.0))
    code = (
        "import krakked, sys\n"
        f"store = krakked.OHLCStore({str(tmp_path / 's')!r})\n"
        "def told(step):\n    print('reading', flush=True)\n"
        f"krakked.import_archive(store, [{str(big)!r}], workers=2, progress=told)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        workers = psutil.Process(parent.pid).children()
        assert len(workers) == 2
        parent.kill()
        parent.wait()
        _, left = psutil.wait_procs(workers, timeout=30)
        for worker in left:
            worker.kill()
        assert left == [], "a worker outlived its parent by 30 s"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("after_s", [0.7, 1.3, 2.0, 3.0])
def test_ctrl_c_is_the_parents_to_answer(tmp_path: Path, after_s: float) -> None:
    for pair in ("XBTUSD", "ETHUSD"):
        (tmp_path / f"{pair}_1.csv").write_text(candles(1, 300_000, 5.0))
    words = ["import", str(tmp_path), "--root", str(tmp_path / "s"), "--workers", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "krakked", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as parent:
        time.sleep(after_s)
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
        _, said = parent.communicate(timeout=60)
    assert b"Traceback" not in said


def test_no_two_shares_concern_one_series() -> None:
    def file(pair: str, minutes: int | None) -> tuple[ArchiveFile, str]:
        path = Path(f"{pair}_{minutes}")
        found = ArchiveFile(
            path=path, member=None, pair=pair, minutes=minutes, size_bytes=1, mark=""
        )
        return found, pair

    files = [file("A", 1), file("A", 60), file("B", 1), file("A", 1), file("B", None)]
    assert shared_out(files) == [[files[0], files[3]], [files[1]], [files[2], files[4]]]
