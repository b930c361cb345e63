"""The environment of a process that krakked starts."""

from __future__ import annotations

import os
from typing import Final

_SECRET: Final = ("KRAKEN_API_", "KRAKKED_MASTER_")
"""How variables begin that lead to a secret: the key, its secret, the master password's file."""


def child_environment() -> dict[str, str]:
    """Return this process's variables but those that lead to a secret."""
    return {name: text for name, text in os.environ.items() if not name.startswith(_SECRET)}
