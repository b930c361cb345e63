"""Which archive files were imported to the end, so that an interrupted import goes on where it was.

One line of JSON a file below the store's private directory. A line counts only as long as the store
still answers for the range it names; losing the record costs a second import, never a bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from krakked._files.durable import make_directories, sync_file
from krakked._market.history.archive import ArchiveFile
from krakked._market.history.import_report import ImportedFile
from krakked._market.history.plan import confirmed_ranges
from krakked._market.store.coverage import subtract
from krakked._market.store.durable import typed_errors
from krakked._market.store.ohlc_store import OHLCStore
from krakked._unreadable import UNREADABLE

_NAME: Final = "imports.jsonl"


class _Part(msgspec.Struct, frozen=True):
    timeframe: str
    start_s: int
    end_s: int


class _FinishedFile(msgspec.Struct, frozen=True):
    name: str
    size_bytes: int
    mark: str
    pair: str
    parts: list[_Part]


class ImportRecord:
    """The finished files of one store."""

    def __init__(self, store: OHLCStore) -> None:
        self._store = store
        self._path = store.root / ".krakked" / _NAME
        self._lines: dict[tuple[str, int, str, str], _FinishedFile] = {}
        decoder = msgspec.json.Decoder(_FinishedFile)
        try:
            raw = self._path.read_bytes().splitlines()
        except OSError:
            return
        for text in raw:
            try:
                line = decoder.decode(text)
            except UNREADABLE:
                continue  # a line cut off by a kill: that file is simply read again
            self._lines[line.name, line.size_bytes, line.mark, line.pair] = line

    def finished(self, file: ArchiveFile, pair: str) -> bool:
        """Whether this very content was imported, and the store still answers for it."""
        line = self._lines.get((_name(file), file.size_bytes, file.mark, pair))
        if line is None:
            return False
        return all(
            not subtract(
                [(part.start_s, part.end_s)],
                confirmed_ranges(self._store.coverage(pair, part.timeframe)),
            )
            for part in line.parts
        )

    def note(self, file: ArchiveFile, pair: str, imported: Sequence[ImportedFile]) -> None:
        """Remember a finished file.

        Raises:
            StoreError: The disk refused.
        """
        line = _FinishedFile(
            name=_name(file),
            size_bytes=file.size_bytes,
            mark=file.mark,
            pair=pair,
            parts=[_Part(done.timeframe, *part) for done in imported for part in done.covered],
        )
        with typed_errors(self._path):
            make_directories(self._path.parent)
            # The line feed in front ends a line that a kill cut off.
            with self._path.open("ab") as out:
                out.write(b"\n" + msgspec.json.encode(line) + b"\n")
                out.flush()
                sync_file(out.fileno())


def _name(file: ArchiveFile) -> str:
    return file.path.name if file.member is None else file.member
