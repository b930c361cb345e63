"""What a file format has to offer to hold one partition of bars."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pyarrow as pa

from krakked._market.bars import Source
from krakked._market.store.arrow import SCHEMA, times
from krakked._market.store.layout import Series, partition_bounds
from krakked._market.store.merge import in_order


class PartitionFiles(Protocol):
    """One file format. Tables have the columns of `columns.SCHEMA`, in order of open time."""

    suffix: str
    """Ending of the file names, with its dot."""

    def whole(self, path: Path) -> pa.Table:
        """Check every byte and read every row, so that a rewrite buries no damage.

        A file that is not there is empty.

        Raises:
            StoreCorruptError: The content fails its checksums or cannot be parsed.
            StoreError: The operating system refused.
        """
        ...

    def version(self, path: Path) -> int:
        """Return the version of the store's format that a file was written in.

        Raises:
            StoreVersionError: A newer one than this krakked knows.
            StoreCorruptError: The content fails its checksums or cannot be parsed.
            StoreError: The operating system refused.
        """
        ...

    def encode(self, table: pa.Table, series: Series, partition: str) -> memoryview:
        """Return the bytes of a partition's file."""
        ...

    def read(
        self,
        path: Path,
        *,
        since_s: int | None = None,
        until_s: int | None = None,
        newest: int | None = None,
        provisional: bool = True,
    ) -> pa.Table:
        """Read a partition through one descriptor; a file that is not there is empty.

        Args:
            path: The file.
            since_s: Leave out earlier open times.
            until_s: Leave out this open time and later ones.
            newest: This many of the newest rows are enough; more may come.
            provisional: Whether rows of rank WebSocket are wanted.

        Raises:
            StoreCorruptError: The content fails its checksums or cannot be parsed.
            StoreError: The operating system refused.
        """
        ...

    def problems(self, path: Path, series: Series, partition: str) -> list[str]:
        """Read everything and say what is wrong with it, in plain words; empty when sound.

        Raises:
            StoreError: The operating system refused.
        """
        ...

    def salvage(self, path: Path) -> pa.Table:
        """Read what can still be trusted of a damaged file."""
        ...


def row_problems(table: pa.Table, series: Series, partition: str) -> list[str]:
    """Say what is wrong with the rows of a partition."""
    if not table.schema.equals(SCHEMA):
        return ["the columns are not those of a candle file"]
    if table.num_rows == 0:
        return ["the file holds no bars"]
    found: list[str] = []
    if not in_order(table):
        found.append("open times are not in order or occur twice")
    opens = times(table)
    start, end = partition_bounds(partition)
    if opens[0] < start or opens[-1] >= end:
        found.append(f"bars of another partition than {partition}")
    step = series.step_s
    if series.aligned and any(moment % step for moment in opens):
        found.append(f"open times off the grid of {step} s")
    known = {int(source) for source in Source}
    if not set(table.column("source").unique().to_pylist()) <= known:
        found.append("sources that this version does not know")
    return found
