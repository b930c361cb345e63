"""A new store's directory: there whole, or not at all."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from krakked._errors import StoreError
from krakked._files.durable import make_directories, sync_directory
from krakked._market.store.durable import typed_errors
from krakked._market.store.listing import listed


@contextlib.contextmanager
def new_root(destination: Path) -> Iterator[Path]:
    """Give a directory to build in; it gets its name when the block ends well, else it goes.

    Raises:
        StoreError: The name is taken, or the disk refused.
    """
    with typed_errors(destination):
        if any(entry.name == destination.name for entry in listed(destination.parent)):
            raise StoreError(
                f"{destination} exists already. Name a new directory.", path=str(destination)
            )
        building = destination.with_name(f"{destination.name}.{secrets.token_hex(4)}.partial")
        try:
            make_directories(building)
            yield building
            building.rename(destination)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        sync_directory(destination.parent)
