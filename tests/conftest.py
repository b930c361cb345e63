"""Fixtures shared by every room."""

from __future__ import annotations

import datetime
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).parent.parent

# The same examples on every machine: whoever changes something sees what it broke, not the luck of
# the draw. `pytest --hypothesis-profile=random` looks for new ones.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.register_profile("random", deadline=None, print_blob=True)
hypothesis.settings.load_profile("steady")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Let a run of the whole suite use up to four cores; `-n0` for one process.

    A run of named files stays in one process, which starts at once and can be debugged.
    """
    if hasattr(config, "workerinput") or "PYTEST_XDIST_WORKER" in os.environ:
        return  # a worker, which comes here as well, starts no workers of its own
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    if whole and config.pluginmanager.hasplugin("xdist") and config.option.numprocesses is None:
        can_tell = hasattr(os, "sched_getaffinity")  # the cores of a container, not of its machine
        cores = len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1
        config.option.numprocesses = 0 if cores == 1 or config.option.usepdb else min(cores, 4)
        config.option.dist = "worksteal"


def pytest_configure() -> None:
    """Hear Ctrl-C, and let the children do: `make test &` in a script starts with it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Spare the tests' own garbage collections the hundred modules that were loaded before."""
    gc.collect()
    gc.freeze()


RECORDINGS = Path(os.environ.get("KRAKKED_CAPTURES") or ROOT.parent / "shared" / "captures")
"""What the exchange really sent; no part of the project, and not everybody has it."""
MATERIAL = [ROOT / "tests" / "vectors" / "exchange", *([RECORDINGS] if RECORDINGS.is_dir() else [])]


@pytest.fixture(params=MATERIAL, ids=["vectors", "recordings"][: len(MATERIAL)])
def recorded(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Find a reply or some frames of the exchange by how the name begins: ours, then real ones."""

    def find(name: str) -> Path:
        (path,) = request.param.glob(f"{name}*")
        return path

    return find


@pytest.fixture(scope="session", autouse=True)
def disk_that_answers_at_once() -> Iterator[None]:
    """Forcing bytes to the disk waits for the machine's disk, and proves nothing without a crash.

    What must be forced, and in which order, is the affair of `make torture`, and of tests that put
    a watch in the place of `os.fsync`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: os.fstat(fd) and None)
        yield


@pytest.fixture(autouse=True)
def own_config_dir(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """No test ever sees the user's own configuration or credentials."""
    path = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("KRAKKED_CONFIG_DIR", str(path))
    monkeypatch.delenv("KRAKEN_API_KEY", raising=False)
    monkeypatch.delenv("KRAKEN_API_SECRET", raising=False)
    monkeypatch.delenv("KRAKKED_STATE_DIR", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SOCKS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of `localhost` that nobody but itself vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "localhost.pem"
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path
