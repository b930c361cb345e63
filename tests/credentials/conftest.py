"""A cheap key derivation and fresh random credentials for every test of this room."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from krakked._config.settings import KrakkedConfig
from krakked._credentials import passwords, payload, secret_lines
from krakked._credentials.candidate import Candidate
from krakked._credentials.passwords import MasterPassword
from krakked._credentials.vault import Derivation, DerivationCost
from krakked._credentials.vault_file import VaultFile
from krakked._secrecy import wipe


@dataclass
class Known:
    """Test credentials in plain text, to compare against."""

    key: str
    secret: str
    password: str

    def candidate(self) -> Candidate:
        return Candidate(self.key, self.secret)


@pytest.fixture
def known() -> Known:
    return Known(
        key=base64.b64encode(secrets.token_bytes(42)).decode(),
        secret=base64.b64encode(secrets.token_bytes(64)).decode(),
        password=secrets.token_urlsafe(24),
    )


@pytest.fixture
def cheap() -> Derivation:
    """As Argon2id: every argument counts; unlike it: instant."""

    def derive(password: MasterPassword, salt: bytes, cost: DerivationCost) -> bytearray:
        digest = hashlib.blake2b(bytes(password.reveal()), key=salt, digest_size=32)
        digest.update(repr((cost.memory_kib, cost.passes, cost.lanes)).encode())
        return bytearray(digest.digest())

    return derive


@pytest.fixture
def config(tmp_path: Path) -> KrakkedConfig:
    """Settings over a directory of our own, empty and not yet there."""
    return KrakkedConfig(config_dir=str(tmp_path / "kraken_bot"))


@pytest.fixture
def vault(config: KrakkedConfig) -> VaultFile:
    return VaultFile(Path(config.config_dir))


@pytest.fixture
def refuse() -> Callable[..., object]:
    """A function that must not be called."""

    def never(*_: object, **__: object) -> object:
        raise AssertionError("called, although it must not be")

    return never


@pytest.fixture
def wiped(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was overwritten, as it stood before, in order."""
    seen: list[bytes] = []

    def watched(buffer: bytearray) -> None:
        seen.append(bytes(buffer))
        wipe(buffer)

    for module in (passwords, payload, secret_lines):
        monkeypatch.setattr(module, "wipe", watched)
    return seen
