"""Fixtures shared by every room."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# The same examples on every machine: whoever changes something sees what it broke, not the luck of
# the draw. `pytest --hypothesis-profile=random` looks for new ones.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.register_profile("random", deadline=None, print_blob=True)
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session")
def captures() -> Path:
    """Directory of recorded Kraken replies and frames; they are not part of the project."""
    named = os.environ.get("KRAKKED_CAPTURES")
    path = Path(named) if named else Path(__file__).parent.parent.parent / "shared" / "captures"
    if not path.is_dir():
        pytest.skip(f"no recorded material at {path}; name it with KRAKKED_CAPTURES")
    return path


@pytest.fixture(autouse=True)
def own_config_dir(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """No test ever sees the user's own configuration or credentials."""
    path = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("KRAKKED_CONFIG_DIR", str(path))
    monkeypatch.delenv("KRAKEN_API_KEY", raising=False)
    monkeypatch.delenv("KRAKEN_API_SECRET", raising=False)
    return path
