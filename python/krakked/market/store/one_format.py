"""A store keeps to the format it was begun with: its coverage speaks for those files alone."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from krakked.errors import StoreError
from krakked.market.store.durable import typed_errors
from krakked.market.store.layout import StorePaths


def refuse_other_format(paths: StorePaths, backend: str, others: Collection[str]) -> None:
    """Look at the first file there is, and refuse to mix two formats below one root.

    Args:
        paths: The store.
        backend: Name of the format to be used.
        others: Names of the other formats; their files end so.

    Raises:
        StoreError: The store holds files of another format; says what to do.
    """
    with typed_errors(paths.bars):
        found = _first_ending(paths.bars, {*others, backend})
    if found is not None and found != backend:
        raise StoreError(
            f"{paths.root} holds {found} files, and the backend is {backend}. Set "
            f"market_data.ohlc_store.backend to {found}, or choose another root_dir.",
            path=str(paths.root),
        )


def _first_ending(bars: Path, endings: Collection[str]) -> str | None:
    try:
        return next((p.suffix[1:] for p in bars.glob("*/*/*") if p.suffix[1:] in endings), None)
    except (FileNotFoundError, NotADirectoryError):
        return None
