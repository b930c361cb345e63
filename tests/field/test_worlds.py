"""The command, as a process, where people really run it: odd locales, homes, streams and limits.

Each case ends in a status of the documented table; what goes wrong is one sentence on standard
error that names what it is about. Nothing ends in a traceback and nothing hangs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import resource
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from krakked._cli.exits import Exit
from krakked.sandbox import SandboxSettings, open_sandbox

pytestmark = pytest.mark.slow

START = [sys.executable, "-m", "krakked._cli.main"]
NOISE = ("Traceback", "Exception ignored", "Exception in", "Fatal Python", 'File "')
NOBODY = 65_534
UNKNOWN = 54_321
"""A user id that no system knows."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """What a login gives, and what a copied Python needs; none of the tests' own variables."""
    needed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return needed | {"HOME": str(home)}


def krakked(
    *words: str, env: dict[str, str], seconds: float = 60, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | options
    return subprocess.run(
        [*START, *words], env=env, stderr=subprocess.PIPE, timeout=seconds, check=False, **options
    )


def check(
    done: subprocess.CompletedProcess[bytes], status: Exit, *names: str, lines: int = 1
) -> None:
    """Hold an end against what was promised; `names` must stand in the sentence."""
    told = done.stderr.decode("utf-8", "replace")
    assert done.returncode == status, told
    for noise in NOISE:
        assert noise not in told + (done.stdout or b"").decode("utf-8", "replace")
    assert len(told.splitlines()) == (0 if status in {Exit.DONE, Exit.PIPE} else lines), told
    for name in names:
        assert name in told


# --- locales and terminals ---------------------------------------------------------------------

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "world",
    [
        {"LANG": "C"},
        ASCII,
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1:strict", "TZ": "Antarctica/Troll"},
        {"TZ": ":/nowhere", "TERM": "dumb", "PYTHONHASHSEED": "0"},
        {"COLUMNS": "1", "PYTHONOPTIMIZE": "2"},
        {"COLUMNS": "999999999999", "FORCE_COLOR": "1"},
        {"COLUMNS": "-3", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
    ],
    ids=",".join,
)
def test_settings_are_shown_in_any_locale_and_width(
    world: dict[str, str], environment: dict[str, str]
) -> None:
    done = krakked("config", "show", env=environment | world)
    check(done, Exit.DONE)
    assert b"rest" in done.stdout


def test_a_name_that_the_terminal_cannot_write(environment: dict[str, str], home: Path) -> None:
    odd = os.fsencode(home) + b"/\xc3\x9cber \xff"
    done = krakked("vault", "status", env=environment | ASCII | {"KRAKKED_CONFIG_DIR": odd})
    assert done.returncode == Exit.CREDENTIALS
    assert b"/??ber ?/secrets.enc" in done.stdout
    assert done.stderr == b""


# --- streams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["config", "show"], ["--help"], ["--version"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_said(
    words: list[str], unbuffered: str, environment: dict[str, str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("wb") as full:
        done = krakked(*words, env=environment | {"PYTHONUNBUFFERED": unbuffered}, stdout=full)
    check(done, Exit.FILES, "standard output: No space left on device")


@pytest.mark.parametrize("words", [["config", "show"], ["--help"]])
def test_a_reader_that_went_away_ends_it_quietly(
    words: list[str], environment: dict[str, str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = krakked(*words, env=environment, stdout=writing)
    finally:
        os.close(writing)
    check(done, Exit.PIPE)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_streams_hurt_nobody(
    closed: tuple[int, ...], environment: dict[str, str], home: Path
) -> None:
    script = f'exec "$0" "$@" {" ".join(f"{number}>&-" for number in closed)}'
    for words, status in (
        (["config", "show"], Exit.DONE),
        (["import", str(home / "nothing.csv")], Exit.NOT_DONE),
    ):
        done = subprocess.run(
            ["sh", "-c", script, *START, *words],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["setup"], ["vault", "passwd"], ["vault", "remove"]])
def test_the_input_ends_before_the_answer(
    words: list[str], environment: dict[str, str], home: Path
) -> None:
    done = krakked(*words, env=environment)
    assert done.returncode in {Exit.NOT_DONE, Exit.CREDENTIALS}
    assert len(done.stderr.splitlines()) == 1
    assert b"Traceback" not in done.stderr
    assert not list(home.rglob("secrets.enc*"))


@pytest.mark.parametrize(
    ("typed", "status"), [(b"\x04", Exit.CREDENTIALS), (b"\x03", Exit.INTERRUPTED)]
)
def test_a_terminal_that_gives_up_at_the_prompt(
    typed: bytes, status: Exit, environment: dict[str, str], home: Path
) -> None:
    """Ctrl-D and Ctrl-C where a key is asked for."""
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*START, "setup"],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        preexec_fn=take_terminal,  # noqa: PLW1509 - no threads here
    )
    os.close(theirs)
    assert process.stderr is not None
    try:
        shown = b""
        while b"not shown" not in shown:
            shown += os.read(ours, 1000)
        # getpass throws away what was typed before it asked, so: type until it was heard
        for _ in range(600):
            os.write(ours, typed)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                break
        assert process.poll() == status
        told = process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        os.close(ours)
    assert len(told.splitlines()) == 1
    assert b"Traceback" not in told
    assert not list(home.rglob("secrets.enc*"))


# --- homes and directories ---------------------------------------------------------------------


def test_a_working_directory_that_is_gone(environment: dict[str, str], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$1"; shift; exec "$@"'
    for variables, status in (
        ({}, Exit.DONE),
        ({"KRAKKED_CONFIG_DIR": "relative"}, Exit.FILES),
    ):
        gone.mkdir(exist_ok=True)
        done = subprocess.run(
            ["sh", "-c", script, "sh", str(gone), *START, "config", "show"],
            env=environment | variables,
            cwd=gone,
            capture_output=True,
            timeout=60,
            check=False,
        )
        names = ["KRAKKED_CONFIG_DIR", "relative"] if variables else []
        check(done, status, *names)


def test_a_home_that_does_not_exist(environment: dict[str, str], tmp_path: Path) -> None:
    environment["HOME"] = str(tmp_path / "never" / "made")
    check(krakked("config", "show", env=environment), Exit.DONE)
    done = krakked("store", "check", env=environment)
    check(done, Exit.DONE)
    assert not (tmp_path / "never").exists()  # looking makes nothing


def test_a_home_that_is_a_file(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment["HOME"] = str(tmp_path / "file")
    archive = tmp_path / "XBTUSD_60.csv"
    archive.write_text("1793491200,1.0,2.0,0.5,1.5,3.0,4\n", encoding="utf-8")
    done = krakked("import", str(archive), env=environment)
    check(done, Exit.FILES, str(tmp_path / "file"))


AS_USER = """
import os, sys
import rich.console, rich.live, rich.markup, rich.progress, rich.table
import krakked
from krakked._cli.main import COMMANDS, build_parser, main
# load everything: this user may not be able to read the clone or its Python
for name in krakked.__all__:
    getattr(krakked, name)
for name in COMMANDS:
    build_parser([name])
os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
del sys.argv[1]
sys.exit(main())
"""


def as_user(number: int, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run the command as an unprivileged user; only root can."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a process as somebody else")
    return subprocess.run(
        [sys.executable, "-c", AS_USER, str(number), *words],
        env=env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_no_home_at_all() -> None:
    environment = {"PATH": os.environ["PATH"]}
    for words in (["config", "show"], ["store", "check"], ["vault", "status"], ["universe"]):
        done = as_user(UNKNOWN, *words, env=environment)
        check(done, Exit.NOT_DONE, "KRAKKED_CONFIG_DIR")
    environment["KRAKKED_CONFIG_DIR"] = "/nowhere/at/all"
    done = as_user(UNKNOWN, "store", "check", env=environment)
    check(done, Exit.NOT_DONE, "market_data.ohlc_store.root_dir")


def test_a_home_that_is_read_only() -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        home.chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "HOME": directory}
        archive = home / "XBTUSD_60.csv"
        archive.write_text("1793491200,1.0,2.0,0.5,1.5,3.0,4\n", encoding="utf-8")
        check(as_user(NOBODY, "config", "show", env=environment), Exit.DONE)
        done = as_user(NOBODY, "import", str(archive), env=environment)
        check(done, Exit.FILES, directory)
        settings = home / ".config" / "kraken_bot" / "config.yaml"
        settings.parent.mkdir(parents=True)
        settings.touch(mode=0o600)
        done = as_user(NOBODY, "config", "show", env=environment)
        check(done, Exit.FILES, str(settings))


@pytest.mark.parametrize("content", ["directory", "binary", "huge", "list", "tab", "nul"])
def test_settings_that_are_none(content: str, environment: dict[str, str], home: Path) -> None:
    path = home / ".config" / "kraken_bot" / "config.yaml"
    path.parent.mkdir(parents=True)
    if content == "directory":
        path.mkdir()
    else:
        data = {
            "binary": b"\x00\xff\xfe" * 100,
            "huge": b"# x\n" * 100_000,
            "list": b"- a\n- b\n",
            "tab": b"rest:\n\tbase_url: x\n",
            "nul": b'rest: {base_url: "https://a\\0b"}\n',
        }
        path.write_bytes(data[content])
    for words in (["config", "show"], ["universe"]):
        done = krakked(*words, env=environment)
        check(done, Exit.FILES if content == "directory" else Exit.NOT_DONE, str(path))


def test_certificates_that_are_not_there(environment: dict[str, str], home: Path) -> None:
    environment["SSL_CERT_FILE"] = str(home / "none.pem")
    done = krakked("universe", env=environment)
    assert done.returncode in {Exit.NOT_DONE, Exit.FILES}
    check(done, Exit(done.returncode), "SSL_CERT_FILE", str(home / "none.pem"))


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_a_strange_umask(umask: int, environment: dict[str, str], home: Path) -> None:
    archive = home / "XBTUSD_60.csv"
    archive.write_text("1793491200,1.0,2.0,0.5,1.5,3.0,4\n", encoding="utf-8")
    done = krakked("import", str(archive), env=environment, umask=umask)
    check(done, Exit.DONE)
    check(krakked("store", "verify", env=environment), Exit.DONE)


# --- limits ------------------------------------------------------------------------------------


def limited(kind: int, amount: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (amount, amount))


def test_files_may_not_grow(environment: dict[str, str], home: Path) -> None:
    """A quota as `ulimit -f` knows it; like a disk that is full at the first use."""
    archive = home / "XBTUSD_60.csv"
    lines = [f"{1793491200 + 3600 * n},1.0,2.0,0.5,1.5,3.0,{n}" for n in range(3000)]
    archive.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = krakked(
        "import",
        str(archive),
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limited(resource.RLIMIT_FSIZE, 1024),
    )
    check(done, Exit.FILES, str(home))


def test_few_open_files(environment: dict[str, str]) -> None:
    done = krakked("universe", env=environment, preexec_fn=limited(resource.RLIMIT_NOFILE, 9))
    assert done.returncode in {status.value for status in Exit} - {Exit.DONE, Exit.BUG}
    check(done, Exit(done.returncode))


# --- options and interruptions -----------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["watch", "XBTUSD", "--seconds", "-1"],
        ["record", "x", "--seconds", "nan"],
        ["status", "--wait", "-0.5"],
        ["demo", "--seconds", "inf"],
        ["backfill", "--since", "-5"],
        ["backfill", "--since", "yesterday"],
        ["sandbox", "--rest-port", "70000"],
        ["sandbox", "--seed", "-1"],
        ["vault", "status", "--password-fd", "99999999999999999999"],
        ["fly"],
        [],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_refused_before_anything_is_done(
    words: list[str], environment: dict[str, str], home: Path
) -> None:
    done = krakked(*words, env=environment)
    assert done.returncode == Exit.USAGE
    assert done.stderr.splitlines()[-1].startswith(b"krakked")
    assert b"Traceback" not in done.stderr
    assert not list(home.iterdir())


async def test_a_port_that_is_taken(environment: dict[str, str]) -> None:
    async with open_sandbox(settings=SandboxSettings(pair_count=1)) as exchange:
        port = exchange.rest_url.rpartition(":")[2]
        done = await trio.to_thread.run_sync(
            lambda: krakked("sandbox", "--rest-port", port, env=environment)
        )
    check(done, Exit.FILES, f"127.0.0.1:{port}")


@pytest.mark.parametrize("words", [["universe"], ["watch", "XBTUSD"], ["record", "FILE", "XBTUSD"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_and_sigterm_are_one_word(
    words: list[str], number: signal.Signals, environment: dict[str, str], home: Path
) -> None:
    """Twice, as impatient people press it, in the middle of a call that is never answered."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    asked = threading.Event()

    async def swallow(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        asked.set()
        await trio.sleep_forever()

    port = listeners[0].socket.getsockname()[1]
    settings = home / ".config" / "kraken_bot" / "config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"rest: {{base_url: 'http://127.0.0.1:{port}'}}\n", encoding="utf-8")

    def interrupt() -> tuple[int, bytes]:
        process = subprocess.Popen(
            [*START, *(word.replace("FILE", str(home / "frames")) for word in words)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        with process:
            assert asked.wait(30)
            process.send_signal(number)
            time.sleep(0.05)
            process.send_signal(number)
            return process.wait(30), process.stderr.read()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, swallow, listeners)
        status, told = await trio.to_thread.run_sync(interrupt)
        nursery.cancel_scope.cancel()
    if number is signal.SIGTERM:
        assert (status, told) == (Exit.TERMINATED, b"Terminated.\n")
    else:
        assert (status, told) == (Exit.INTERRUPTED, b"Interrupted.\n")


@pytest.mark.slow
async def test_status_ends_in_time_at_an_exchange_that_never_answers(
    environment: dict[str, str], home: Path
) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    settings = home / ".config" / "kraken_bot" / "config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"rest: {{base_url: 'http://127.0.0.1:{port}'}}\n", encoding="utf-8")
    begin = time.monotonic()
    done = await trio.to_thread.run_sync(
        lambda: krakked("status", "XBTUSD", "--wait", "1", env=environment)
    )
    await listeners[0].aclose()
    check(done, Exit.UNREACHABLE, "--wait")
    assert time.monotonic() - begin < 25  # 6 s and the start; the client's own time-outs take 90


async def test_an_exchange_that_is_not_there(environment: dict[str, str], home: Path) -> None:
    settings = home / ".config" / "kraken_bot" / "config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("rest: {base_url: 'http://127.0.0.1:9'}\n", encoding="utf-8")
    for words in (["watch", "XBTUSD"], ["backfill", "XBTUSD"]):
        done = await trio.to_thread.run_sync(lambda words=words: krakked(*words, env=environment))
        check(done, Exit.UNREACHABLE, "127.0.0.1")
