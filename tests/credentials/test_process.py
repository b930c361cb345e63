"""What the process itself gives away: its memory after closing, its command line, its children."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from krakked._config.settings import KrakkedConfig
from krakked._credentials.saving import save_credentials
from krakked._market.history import import_workers

CHILD = """
import gc, sys
from krakked._credentials.sources import load_credentials
credentials = load_credentials(environ=None)
body, headers = credentials.sign_form("/0/private/Balance", 5, [])
del body, headers
print("open", flush=True)
sys.stdin.readline()
del credentials
gc.collect()
print("closed", flush=True)
sys.stdin.readline()
"""


def count_in_memory(pid: int, needles: list[bytes]) -> list[int]:
    """Count copies of each needle in all readable and writable memory of a process."""
    counts = [0] * len(needles)
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(number, 16) for number in span.split("-"))
            with contextlib.suppress(OSError, OverflowError):
                memory.seek(start)
                data = memory.read(end - start)
                counts = [
                    count + data.count(needle)
                    for count, needle in zip(counts, needles, strict=True)
                ]
    return counts


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_copy_of_the_secret_is_in_memory_after_loading_from_the_vault(known, tmp_path) -> None:
    config = KrakkedConfig(config_dir=str(tmp_path / "kraken_bot"))
    save_credentials(
        known.candidate(), known.password, allow_unvalidated=True, config=config, cost="small"
    )
    password = tmp_path / "password"
    password.write_text(known.password)
    password.chmod(0o600)
    decoded = base64.b64decode(known.secret)
    needles = [
        known.secret.encode(),
        known.secret.encode()[3:-3],
        decoded,
        decoded[8:56],
        known.secret[:40].encode("utf-16-le"),
        known.secret[:40].encode("utf-32-le"),
    ]
    environ = {
        **os.environ,
        "KRAKKED_CONFIG_DIR": config.config_dir,
        "KRAKKED_MASTER_PASSWORD_FILE": str(password),
    }
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for state in ("open", "closed"):
            assert child.stdout.readline().strip() == state
            assert count_in_memory(child.pid, needles) == [0] * len(needles), state
            # the search itself works: the source text of the program is there
            assert count_in_memory(child.pid, [b"/0/private/"])[0] > 0
            child.stdin.write("\n")
            child.stdin.flush()
        command_line = (
            Path(f"/proc/{child.pid}/cmdline").read_bytes() if child.poll() is None else b""
        )
        assert known.password.encode() not in command_line


def test_the_library_starts_no_other_program() -> None:
    """So the two variables are never inherited by a child of ours."""
    package = Path(sys.modules["krakked._credentials.saving"].__file__ or "").parents[1]
    for room in ("_config", "_credentials", "_rest", "_market", "_network", "_files"):
        sources = list((package / room).rglob("*.py"))
        assert len(sources) > 3, room
        for source in sources:
            text = source.read_text(encoding="utf-8")
            if source.name == "import_workers.py":
                continue  # the same interpreter, without those variables: see below
            for word in ("subprocess", "os.system", "os.exec", "os.spawn", "os.fork", "popen"):
                assert word not in text, f"{source} uses {word}"


def test_a_worker_of_an_import_inherits_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("KRAKEN_API_KEY", "KRAKEN_API_SECRET", "KRAKKED_MASTER_PASSWORD_FILE"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setattr(import_workers, "_BEGIN", "import os; print(dict(os.environ), flush=True)")
    with import_workers._worker() as (_, answers):
        told = answers.read().decode()
    assert "PATH" in told
    assert "canary" not in told
