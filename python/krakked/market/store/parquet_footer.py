"""Carrying row groups over from one Parquet footer into another, without decoding them. Pure.

An append leaves the bytes of earlier row groups where they are and puts new ones behind them: old
descriptions stay right, new ones move by a constant. The footer is a Thrift struct in the compact
protocol; of it, this module knows how to step over a value, and the few fields it changes.
Source: parquet-format `parquet.thrift` (FileMetaData, RowGroup, ColumnChunk, ColumnMetaData), the
specification of Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, Union

_NUM_ROWS: Final = 3  # FileMetaData.num_rows, i64
_ROW_GROUPS: Final = 4  # FileMetaData.row_groups, list<RowGroup>

_TRUE, _FALSE, _BYTE, _I16, _I64, _DOUBLE = 1, 2, 3, 4, 6, 7
_BINARY, _LIST, _SET, _STRUCT, _UUID = 8, 9, 10, 12, 13
_FIXED_BYTES: Final = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8, _UUID: 16}
_LONG_LIST: Final = 15


_Rules = Mapping[int, Union[Callable[[int], int], "_Rules"]]
"""What becomes of a struct's fields, by number: a new integer, or rules for the structs inside."""


class _Field(NamedTuple):
    number: int
    kind: int
    start: int
    end: int


def spliced(old: bytes, kept: int, new: bytes, *, moved: int, rows: int) -> bytes:
    """Give the `new` footer with the first `kept` row groups of the `old` one before its own.

    Args:
        old: Footer struct of the file that the row groups were copied from.
        kept: How many of its row groups.
        new: Footer struct to take everything else from.
        moved: How many bytes further the row groups of `new` lie than it says.
        rows: Rows of all row groups together.

    Raises:
        ValueError: Not the footer structs that Parquet describes.
    """
    try:
        carried, _ = _elements(old, _start_of(old, _ROW_GROUPS), kept)
        count, listed = _start_of(new, _NUM_ROWS), _start_of(new, _ROW_GROUPS)
        groups, listed_end = _elements(new, listed)
        added = [_rewritten(g, _moved(kept + index, moved)) for index, g in enumerate(groups)]
        count_end = _varint(new, count)[1]
    except IndexError as error:
        raise ValueError("not a Parquet footer") from error
    if len(carried) != kept:
        raise ValueError(f"{len(carried)} row groups, wanted {kept}")
    return b"".join(
        (
            new[:count],
            _zigzag(rows),
            new[count_end:listed],
            _list_head(kept + len(added)),
            *carried,
            *added,
            new[listed_end:],
        )
    )


def _moved(ordinal: int, by: int) -> _Rules:
    def shift(offset: int) -> int:
        return offset + by if offset else 0  # 0 is how writers leave an offset out

    pages = {9: shift, 10: shift, 11: shift}  # ColumnMetaData: data, index, dictionary page
    chunk: _Rules = {2: shift, 3: pages, 4: shift, 6: shift}  # ColumnChunk: itself, indexes
    return {1: chunk, 5: shift, 7: lambda _: ordinal}  # RowGroup: columns, itself, ordinal


def _rewritten(struct: bytes, rules: _Rules) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for field in _fields(struct, 0):
        rule = rules.get(field.number)
        if rule is None:
            continue
        pieces.append(struct[at : field.start])
        if callable(rule):
            pieces.append(_zigzag(rule(_signed(_varint(struct, field.start)[0]))))
        elif field.kind == _LIST:
            inner, _ = _elements(struct, field.start)
            elements = [_rewritten(element, rule) for element in inner]
            pieces += [_list_head(len(elements)), *elements]
        else:
            pieces.append(_rewritten(struct[field.start : field.end], rule))
        at = field.end
    return b"".join((*pieces, struct[at:]))


def _elements(data: bytes, at: int, limit: int | None = None) -> tuple[list[bytes], int]:
    """Cut out the structs of the list at an offset; gives their bytes and where the last ends."""
    found: list[bytes] = []
    size, kind, at = _list_start(data, at)
    if kind != _STRUCT:
        raise ValueError("not a list of structs")
    for _ in range(size if limit is None else min(size, limit)):
        end = _struct_end(data, at)
        found.append(data[at:end])
        at = end
    return found, at


def _start_of(data: bytes, number: int) -> int:
    """Find a field of the struct at the start without looking behind it."""
    for field in _fields(data, 0, until=number):
        if field.number == number:
            return field.start
    raise ValueError(f"a footer without field {number}")


def _fields(data: bytes, at: int, until: int | None = None) -> Iterator[_Field]:
    """Give the fields of the struct at an offset; the field `until` ends it, with an end of 0."""
    number = 0
    while head := data[at]:
        kind, delta = head & 15, head >> 4
        at += 1
        if delta:
            number += delta
        else:
            value, at = _varint(data, at)
            number = _signed(value)
        if number == until:
            yield _Field(number, kind, at, 0)
            return
        end = _value_end(data, at, kind)
        yield _Field(number, kind, at, end)
        at = end


def _struct_end(data: bytes, at: int) -> int:
    """Give the offset behind a struct; an append spends most of its Python time here."""
    while head := data[at]:
        at += 1
        if head < 16:  # the field's number follows in full
            at = _varint(data, at)[1]
        kind = head & 15
        if _I16 <= kind <= _I64:
            while data[at] > 127:
                at += 1
            at += 1
        else:
            at = _value_end(data, at, kind)
    return at + 1


def _value_end(data: bytes, at: int, kind: int) -> int:
    """Give the offset behind a value."""
    if kind == _STRUCT:
        return _struct_end(data, at)
    if kind == _BINARY:
        size, at = _varint(data, at)
        return at + size
    if _I16 <= kind <= _I64:
        return _varint(data, at)[1]
    if kind in {_LIST, _SET}:
        size, element, at = _list_start(data, at)
        for _ in range(size):
            at = at + 1 if element in {_TRUE, _FALSE} else _value_end(data, at, element)
        return at
    if kind not in _FIXED_BYTES:
        raise ValueError(f"a value of kind {kind}, which no Parquet footer has")
    return at + _FIXED_BYTES[kind]


def _list_start(data: bytes, at: int) -> tuple[int, int, int]:
    head = data[at]
    at += 1
    size = head >> 4
    if size == _LONG_LIST:
        size, at = _varint(data, at)
    return size, head & 15, at


def _list_head(size: int) -> bytes:
    if size < _LONG_LIST:
        return bytes([size << 4 | _STRUCT])
    return bytes([_LONG_LIST << 4 | _STRUCT]) + _unsigned(size)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _unsigned(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _zigzag(value: int) -> bytes:
    return _unsigned(value << 1 if value >= 0 else (-value << 1) - 1)
