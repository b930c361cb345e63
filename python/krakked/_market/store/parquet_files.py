"""Partitions as Parquet files that notice damage.

Pages carry CRC-32 sums, checked on every read. They cover neither page headers nor the footer, so
the footer holds two more: one of all bytes before it and one of itself. A read checks the footer's
and the pages it uses; `problems` checks every byte. Other readers see plain Parquet.

Encodings are chosen by measurement on a month of 1m bars (44,640 rows): delta for integers, plain
floats, LZ4_RAW; 5 ms to write, 1.6 ms to read, 1.4 MB, and readable by DuckDB, Polars and Spark.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from krakked._errors import StoreCorruptError
from krakked._market.bars import Source
from krakked._market.store.arrow import EMPTY, FLOATS, SCHEMA, times
from krakked._market.store.durable import newer_format, store_error
from krakked._market.store.layout import FORMAT_VERSION, Series
from krakked._market.store.merge import between, confirmed
from krakked._market.store.partition_files import row_problems
from krakked._unreadable import UNREADABLE

ROW_GROUP_ROWS: Final = 8192
"""Small enough that the newest 500 bars cost a fraction of a month, large enough to compress."""

_SUMS: Final = b'"crc32":"00000000:00000000"'
_SUMS_PATTERN: Final = re.compile(rb'"crc32":"([0-9a-f]{8}):([0-9a-f]{8})"')
_MAGIC: Final = b"PAR1"
_TRAILER_BYTES: Final = 8
_TAIL_BYTES: Final = 16_384
"""First guess at how much of a file's end holds its footer."""
_SOURCE: Final = SCHEMA.get_field_index("source")
_OPTIONS: Final[dict[str, Any]] = {
    "compression": "lz4",
    "use_dictionary": False,
    "column_encoding": {
        "time": "DELTA_BINARY_PACKED",
        "count": "DELTA_BINARY_PACKED",
        "source": "PLAIN",
        **dict.fromkeys(FLOATS, "PLAIN"),
    },
    "write_statistics": ["time", "source"],
    "write_page_checksum": True,
    "store_schema": False,
}


class _Info(msgspec.Struct):
    """What the footer says about the file, under the key ``krakked``."""

    format: int
    pair: str
    timeframe: str
    partition: str
    rows: int
    first: int
    last: int
    sources: list[str]
    writer: str
    crc32: str = "00000000:00000000"


class ParquetFiles:
    """The Parquet format."""

    suffix: str = ".parquet"

    def whole(self, path: Path) -> pa.Table:
        """Check every byte and read every row; see `PartitionFiles`."""
        with _damage_named(path), _opened(path) as file:
            if file is None:
                return EMPTY
            parquet = _checked(file, path)
            _info(parquet.metadata, path)
            return _plain(parquet.read(use_threads=False))

    def version(self, path: Path) -> int:
        """Return the format of a file; see `PartitionFiles`."""
        with _damage_named(path), _opened(path) as file:
            return FORMAT_VERSION if file is None else _info(_metadata(file, path), path).format

    def encode(self, table: pa.Table, series: Series, partition: str) -> memoryview:
        """Return the file's bytes; see `PartitionFiles`."""
        opens = times(table)
        info = _Info(
            format=FORMAT_VERSION,
            pair=series.pair,
            timeframe=series.timeframe,
            partition=partition,
            rows=len(opens),
            first=opens[0],
            last=opens[-1],
            sources=sorted(Source(s).name for s in table.column("source").unique().to_pylist()),
            writer="krakked",
        )
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, SCHEMA, **_OPTIONS) as writer:
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            writer.add_key_value_metadata({"krakked": msgspec.json.encode(info)})
        return _sealed(bytearray(sink.getvalue()))

    def read(
        self,
        path: Path,
        *,
        since_s: int | None = None,
        until_s: int | None = None,
        newest: int | None = None,
        provisional: bool = True,
    ) -> pa.Table:
        """Read the row groups that matter; see `PartitionFiles`."""
        with _damage_named(path), _opened(path) as file:
            if file is None:
                return EMPTY
            parquet = _parquet(file, _metadata(file, path))
            _info(parquet.metadata, path)
            groups = _wanted_groups(parquet.metadata, since_s, until_s, newest, provisional)
            if not groups:
                return EMPTY
            table = _plain(parquet.read_row_groups(groups, use_threads=False))
        if since_s is not None or until_s is not None:
            table = between(table, since_s, until_s)
        return table if provisional else confirmed(table)

    def problems(self, path: Path, series: Series, partition: str) -> list[str]:
        """Check every byte and every row; see `PartitionFiles`."""
        try:
            with _damage_named(path), _opened(path) as file:
                if file is None:
                    return ["the file is gone"]
                parquet = _checked(file, path)
                table = _plain(parquet.read(use_threads=False))
                info = _info(parquet.metadata, path)
                return _info_problems(info, table, series, partition)
        except StoreCorruptError as error:
            return [str(error)]

    def salvage(self, path: Path) -> pa.Table:
        """Read the row groups whose pages are sound, if the footer is; see `PartitionFiles`."""
        kept = []
        try:
            with _damage_named(path), _opened(path) as file:
                if file is None:
                    return EMPTY
                parquet = _parquet(file, _metadata(file, path))
                for index in range(parquet.metadata.num_row_groups):
                    try:
                        kept.append(_plain(parquet.read_row_group(index, use_threads=False)))
                    except pa.ArrowException:
                        continue
                    except OSError as error:
                        if error.errno is not None:
                            raise  # a disk that fails for now is no damage
        except StoreCorruptError:
            return EMPTY
        return pa.concat_tables([EMPTY, *kept])


def _sealed(data: bytearray) -> memoryview:
    """Put both sums into the footer, over the zeros that `encode` left for them."""
    length = int.from_bytes(data[-8:-4], "little")
    start = len(data) - _TRAILER_BYTES - length
    at = data.index(_SUMS, start) + len(b'"crc32":"')
    with memoryview(data) as view:
        body_sum = zlib.crc32(view[:start])
    data[at : at + 8] = b"%08x" % body_sum
    with memoryview(data) as view:
        footer_sum = zlib.crc32(view[start:])
    data[at + 9 : at + 17] = b"%08x" % footer_sum
    return memoryview(data)


@contextmanager
def _opened(path: Path) -> Iterator[pa.NativeFile | None]:
    """Open once; a replaced file is read to its end as it was."""
    try:
        # Bytes, where a name may hold what is no UTF-8: Arrow encodes texts by a rule of its own.
        file = pa.OSFile(str(path) if os.name == "nt" else os.fsencode(path), "rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn Arrow's complaints into ours; only those of the operating system carry an errno."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise store_error(error, path) from error
        raise _corrupt(path, str(error)) from error
    except pa.ArrowException as error:
        raise _corrupt(path, str(error)) from error


def _corrupt(path: Path, why: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"{path} is damaged ({why.splitlines()[0][:200]}). Run: krakked store repair",
        path=str(path),
    )


def _footer(file: pa.NativeFile, path: Path) -> bytes:
    """Read the footer with its length and magic, and check its sum."""
    size = file.size()
    tail: bytes = file.read_at(min(size, _TAIL_BYTES), max(size - _TAIL_BYTES, 0))
    if len(tail) < _TRAILER_BYTES or not tail.endswith(_MAGIC):
        raise _corrupt(path, "its end is missing")
    length = int.from_bytes(tail[-8:-4], "little") + _TRAILER_BYTES
    if length > size:
        raise _corrupt(path, "its footer is longer than the file")
    if length > len(tail):
        tail = file.read_at(length, size - length)
    footer = tail[-length:]
    match = _SUMS_PATTERN.search(footer)
    if match is None:
        raise _corrupt(path, "its footer has no checksum of ours")
    zeroed = footer[: match.start(2)] + b"00000000" + footer[match.end(2) :]
    if int(match[2], 16) != zlib.crc32(zeroed):
        raise _corrupt(path, "its footer has changed")
    return footer


def _checked(file: pa.NativeFile, path: Path) -> pq.ParquetFile:
    """Check every byte of a file; gives it to be read from memory."""
    data = file.read_buffer()
    footer = _footer(pa.BufferReader(data), path)
    match = _SUMS_PATTERN.search(footer)
    body = memoryview(data).cast("B")[: data.size - len(footer)]
    if match is None or int(match[1], 16) != zlib.crc32(body):
        raise _corrupt(path, "a byte has changed")
    return _parquet(pa.BufferReader(data))


def _metadata(file: pa.NativeFile, path: Path) -> pq.FileMetaData:
    return pq.read_metadata(pa.BufferReader(_MAGIC + _footer(file, path)))


def _parquet(file: pa.NativeFile, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    return pq.ParquetFile(
        file, metadata=metadata, page_checksum_verification=True, pre_buffer=False
    )


def _plain(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata(None)


def _wanted_groups(
    metadata: pq.FileMetaData,
    since_s: int | None,
    until_s: int | None,
    newest: int | None,
    provisional: bool,
) -> list[int]:
    """Choose row groups by the bounds in the footer, from the newest back."""
    wanted: list[int] = []
    sure = 0
    for index in reversed(range(metadata.num_row_groups)):
        group = metadata.row_group(index)
        opens = group.column(0).statistics
        sources = group.column(_SOURCE).statistics
        if until_s is not None and opens.min >= until_s:
            continue
        if since_s is not None and opens.max < since_s:
            break
        if not provisional and sources.max <= Source.WEBSOCKET:
            continue
        wanted.append(index)
        whole = until_s is None or opens.max < until_s
        if whole and (provisional or sources.min > Source.WEBSOCKET):
            sure += group.num_rows
        if newest is not None and sure >= newest:
            break
    return wanted[::-1]


def _info(metadata: pq.FileMetaData, path: Path) -> _Info:
    """Read what the footer says.

    Raises:
        StoreVersionError: A newer krakked wrote the file.
        StoreCorruptError: It says nothing of ours.
    """
    try:
        info = msgspec.json.decode(metadata.metadata[b"krakked"], type=_Info)
    except (KeyError, TypeError, *UNREADABLE) as error:
        raise _corrupt(path, "its footer says nothing of ours") from error
    if info.format > FORMAT_VERSION:
        raise newer_format(path, info.format)
    return info


def _info_problems(info: _Info, table: pa.Table, series: Series, partition: str) -> list[str]:
    found = row_problems(table, series, partition)
    if found:
        return found
    opens = times(table)
    if (info.pair, info.timeframe, info.partition) != (*series, partition):
        found.append(f"it says it holds {info.pair} {info.timeframe} {info.partition}")
    if (info.rows, info.first, info.last) != (len(opens), opens[0], opens[-1]):
        found.append("its footer does not describe its rows")
    return found
