"""Partitions as CSV files with a header, for eyes and spreadsheets.

Floats are written in their shortest form that reads back exactly. CSV has no checksums: `problems`
notices what does not parse or is out of order, not a changed digit.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from krakked._errors import StoreCorruptError
from krakked._market.store.arrow import EMPTY, SCHEMA
from krakked._market.store.durable import typed_errors
from krakked._market.store.layout import FORMAT_VERSION, Series
from krakked._market.store.merge import between, confirmed
from krakked._market.store.partition_files import row_problems


class CsvFiles:
    """The CSV format."""

    suffix: str = ".csv"

    def whole(self, path: Path) -> pa.Table:
        """Read the file whole; see `PartitionFiles`."""
        return self.read(path)

    def version(self, path: Path) -> int:  # noqa: ARG002 - rows alone, the same in every format
        """Return the format of a file; see `PartitionFiles`."""
        return FORMAT_VERSION

    def encode(
        self,
        table: pa.Table,
        series: Series,  # noqa: ARG002 - the path says it
        partition: str,  # noqa: ARG002 - the path says it
    ) -> memoryview:
        """Return the file's bytes; see `PartitionFiles`."""
        sink = pa.BufferOutputStream()
        pa_csv.write_csv(table, sink)
        return memoryview(sink.getvalue()).cast("B")

    def read(
        self,
        path: Path,
        *,
        since_s: int | None = None,
        until_s: int | None = None,
        newest: int | None = None,  # noqa: ARG002 - a CSV file is read whole
        provisional: bool = True,
    ) -> pa.Table:
        """Read the file whole; see `PartitionFiles`."""
        with typed_errors(path):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return EMPTY
        table = between(_parsed(data, path), since_s, until_s)
        return table if provisional else confirmed(table)

    def problems(self, path: Path, series: Series, partition: str) -> list[str]:
        """Check that it parses and is in order; see `PartitionFiles`."""
        try:
            return row_problems(self.read(path), series, partition)
        except StoreCorruptError as error:
            return [str(error)]

    def salvage(self, path: Path) -> pa.Table:
        """Read the lines that parse; see `PartitionFiles`."""
        with typed_errors(path):
            lines = path.read_bytes().splitlines(keepends=True)
        kept = []
        for line in lines[1:]:
            try:
                kept.append(_parsed(lines[0] + line, path))
            except StoreCorruptError:
                continue
        return pa.concat_tables([EMPTY, *kept]).combine_chunks()


def _parsed(data: bytes, path: Path) -> pa.Table:
    types = {field.name: field.type for field in SCHEMA}
    options = pa_csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    try:
        if not data.endswith(b"\n"):
            raise pa.ArrowInvalid("its last line is cut")
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            read_options=pa_csv.ReadOptions(use_threads=False),
            convert_options=options,
        )
        if table.column_names != SCHEMA.names:
            raise pa.ArrowInvalid("its header is another")
        return table.combine_chunks().cast(SCHEMA)
    except (pa.ArrowException, ValueError) as error:
        raise StoreCorruptError(
            f"{path} is damaged ({error}). Run: krakked store repair", path=str(path)
        ) from error
