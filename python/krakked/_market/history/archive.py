"""Kraken's downloads as they lie on disk: which files are in there and what each of them is.

The OHLCVT archive holds ``<ALTNAME>_<minutes>.csv``, the time-and-sales archive ``<ALTNAME>.csv``.
Both come as a zip with nested folders and macOS junk, or unpacked, and people compress single files
again (``.csv.gz``) or spell the pair in another way. Source: Kraken support articles "Downloadable
historical OHLCVT data" and "Downloadable historical market data (time and sales)".
"""

from __future__ import annotations

import enum
import gzip
import re
import stat
import zipfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Final, Self, cast

import msgspec

from krakked._errors import ImportFormatError
from krakked._market.history.import_report import SkippedFile
from krakked._timeframes import LABELS, MINUTES

ARCHIVE_MINUTES: Final = frozenset({1, 5, 15, 30, 60, 240, 720, 1440})
"""Intervals in Kraken's OHLCVT archive; 720 is known to no other interface."""

_PAIR: Final = r"(?P<pair>[A-Za-z0-9]+(?:[-_.][A-Za-z0-9]+)*?)"
_OHLCVT: Final = re.compile(rf"{_PAIR}[_-](?P<interval>[0-9]+[mhdw]?)")
_TRADES: Final = re.compile(_PAIR)
_OTHER_ARCHIVES: Final = frozenset(
    {".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zst", ".zip"}
)

_NO_FILE: Final = "it is no file (a pipe, a socket or a device)."
_HIDDEN: Final = "it is hidden; give its own path to have it read."


class ArchiveFile(msgspec.Struct, frozen=True, kw_only=True):
    """One CSV file worth importing."""

    path: Path
    """The file, or the zip that holds it."""
    member: str | None
    """Name inside the zip."""
    pair: str
    """The pair as the file's name spells it: its altname, nearly always."""
    minutes: int | None
    """Interval of the candles; None: trades."""
    size_bytes: int
    """Size, unpacked; of a ``.gz`` as it lies there."""
    mark: str
    """Tells this very content from another under the same name (CRC, or time of change)."""
    place: int | None = None
    """Which of the members of this name it is, from 0, should the zip hold several."""

    @property
    def timeframe(self) -> str | None:
        """Label of the candles' interval; None: trades, or an interval krakked has no label for."""
        return None if self.minutes is None else LABELS.get(self.minutes)

    @property
    def label(self) -> str:
        """The file's name for messages, the member of an archive included."""
        return _label(self.path, self.member, self.place)


class Zips:
    """Zips opened once, however many of their members are read; close it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._open: dict[Path, zipfile.ZipFile] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, path: Path) -> zipfile.ZipFile:
        """Return the zip at a path.

        Raises:
            OSError: It cannot be read; BadZipFile: it is none.
        """
        found = self._open.get(path)
        if found is None:
            found = self._open[path] = self._stack.enter_context(zipfile.ZipFile(path))
        return found

    def open(self, file: ArchiveFile) -> IO[bytes]:
        """Open the content of a file, unpacked; close the result."""
        name = file.member or file.path.name
        raw = file.path.open("rb") if file.member is None else self._member(file, file.member)
        return cast("IO[bytes]", _Unpacked(raw)) if name.lower().endswith(".gz") else raw

    def _member(self, file: ArchiveFile, name: str) -> IO[bytes]:
        archive = self.of(file.path)
        if file.place is None:
            return archive.open(name)
        same = [each for each in archive.infolist() if each.filename == name]
        return archive.open(same[file.place])


class _Unpacked(gzip.GzipFile):
    """A gzip file that closes what it reads from, and of a torn one gives what is there."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self._raw = raw
        self._cut: EOFError | None = None

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` unpacked bytes; of a file that is cut off, all that is there first."""
        if self._cut is not None:
            raise self._cut
        wanted, parts = -1 if size is None else size, []
        while wanted:
            try:
                part = self.read1(wanted)
            except EOFError as error:
                self._cut = error
                break
            if not part:
                break
            parts.append(part)
            wanted -= len(part) if wanted > 0 else 0
        if self._cut is not None and not parts:
            raise self._cut
        return b"".join(parts)

    def close(self) -> None:
        """Close both."""
        try:
            super().close()
        finally:
            self._raw.close()


def find_files(paths: Iterable[Path], zips: Zips) -> tuple[list[ArchiveFile], list[SkippedFile]]:
    """Find what can be imported in zips, folders and CSV files.

    Returns:
        The files, by pair and interval, candles before trades, older archives (by name) first; and
        what was passed over, hidden files that might hold candles among it. Only what macOS leaves
        everywhere, and other files beside, are passed over in silence. Links are followed, to a
        folder once; pipes, sockets and devices are never opened.

    Raises:
        ImportFormatError: A path does not exist, or cannot be looked at.
    """
    found: dict[str, ArchiveFile | SkippedFile] = {}
    for path in paths:
        for each in _look_at(path.expanduser().absolute(), zips):
            found[each.label] = each
    files = [each for each in found.values() if isinstance(each, ArchiveFile)]
    skipped = [each for each in found.values() if isinstance(each, SkippedFile)]
    files.sort(key=lambda f: (f.minutes is None, f.pair, f.minutes or 0, str(f.path)))
    skipped.sort(key=lambda each: each.label)
    return files, skipped


def _look_at(path: Path, zips: Zips) -> Iterator[ArchiveFile | SkippedFile]:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # a name may be too long, or be none
        if isinstance(error, FileNotFoundError):
            why = f"There is no such file or folder: {path}."
        else:
            why = f"{path} cannot be read: {getattr(error, 'strerror', None) or error}."
        raise ImportFormatError(why, path=str(path)) from error
    if stat.S_ISDIR(found.st_mode):
        for inner in _walk(path):
            if isinstance(inner, SkippedFile):
                yield inner
            else:
                yield from _look_at(inner, zips)
        return
    if not stat.S_ISREG(found.st_mode):
        yield SkippedFile(label=str(path), why=_NO_FILE)
        return
    if path.suffix.lower() == ".zip" or (
        _stem(path.name) is None and path.suffix.lower() not in _OTHER_ARCHIVES and _is_zip(path)
    ):
        yield from _look_into_zip(path, zips)
        return
    yield _judge(path, None, path.name, found.st_size, f"{found.st_mtime_ns}")


def _walk(top: Path) -> Iterator[Path | SkippedFile]:
    """Find the files below a folder that are worth a look, and what cannot be looked at."""
    seen: set[tuple[int, int]] = set()
    folders, linked = [top], deque[Path]()
    while folders or linked:
        # Links last: a folder is named by the place where it lies.
        folder = folders.pop() if folders else linked.popleft()
        # Only below the top: it may itself lie in a hidden one.
        hidden = _hidden(folder.relative_to(top))
        try:
            at = folder.stat()
            entries = sorted(folder.iterdir())
        except OSError as error:
            if not hidden:
                yield SkippedFile(
                    label=str(folder),
                    why=f"it cannot be read ({error.strerror}).",
                    unreadable=True,
                )
            continue
        if (at.st_dev, at.st_ino) in seen:
            if not hidden:
                yield SkippedFile(
                    label=str(folder), why="it leads to a folder that is read already."
                )
            continue
        seen.add((at.st_dev, at.st_ino))
        for entry in entries:
            inner = entry.relative_to(top)
            if _of_macos(inner):
                continue
            kind = _kind(entry)
            if kind is _Kind.FOLDER:
                (linked if entry.is_symlink() else folders).append(entry)
            elif _hidden(inner):
                if _worth(entry):
                    yield SkippedFile(label=str(entry), why=_HIDDEN)
            elif kind is not _Kind.FILE:
                yield SkippedFile(label=str(entry), why=kind.value)
            elif _worth(entry):
                yield entry


class _Kind(enum.Enum):
    """What an entry of a folder is; the value says why it is passed over."""

    FILE = "file"
    FOLDER = "folder"
    LOST = "it is a link that leads nowhere."
    OTHER = _NO_FILE


def _kind(entry: Path) -> _Kind:
    try:
        mode = entry.stat().st_mode
    except OSError:
        return _Kind.LOST if entry.is_symlink() else _Kind.OTHER
    if stat.S_ISDIR(mode):
        return _Kind.FOLDER
    return _Kind.FILE if stat.S_ISREG(mode) else _Kind.OTHER


def _worth(inner: Path | PurePosixPath) -> bool:
    return inner.suffix.lower() == ".csv" or inner.suffix.lower() in _OTHER_ARCHIVES


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except OSError:
        return False


def _look_into_zip(path: Path, zips: Zips) -> Iterator[ArchiveFile | SkippedFile]:
    try:
        members = zips.of(path).infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        yield SkippedFile(
            label=str(path),
            why=f"it cannot be read as a zip ({error}). Is the download complete?",
            unreadable=True,
        )
        return
    names = Counter(member.filename for member in members)
    places: Counter[str] = Counter()
    for member in members:
        name = member.filename
        inner = PurePosixPath(name)
        place = places[name] if names[name] > 1 else None
        places[name] += 1
        if member.is_dir() or _of_macos(inner):
            continue
        if _hidden(inner):
            if _worth(inner):
                yield SkippedFile(label=_label(path, name, place), why=_HIDDEN)
            continue
        mark = f"{member.CRC:08x}"
        yield _judge(path, name, inner.name, member.file_size, mark, place=place)


def _of_macos(inner: Path | PurePosixPath) -> bool:
    return "__MACOSX" in inner.parts or inner.name.startswith("._") or inner.name == ".DS_Store"


def _hidden(inner: Path | PurePosixPath) -> bool:
    return any(part.startswith(".") for part in inner.parts if part != "..")


def _label(path: Path, member: str | None, place: int | None) -> str:
    if member is None:
        return str(path)
    return f"{path}!{member}" + (f" (number {place + 1} of that name)" if place is not None else "")


def _stem(name: str) -> str | None:
    """Return a CSV file's name without its ending; None for other files."""
    lower = name.lower()
    for ending in (".csv", ".csv.gz"):
        if lower.endswith(ending):
            return name[: -len(ending)]
    return None


def _judge(
    path: Path,
    member: str | None,
    name: str,
    size: int,
    mark: str,
    *,
    place: int | None = None,
) -> ArchiveFile | SkippedFile:
    label = _label(path, member, place)
    stem = _stem(name)
    if stem is None:
        if PurePosixPath(name).suffix.lower() in _OTHER_ARCHIVES:
            return SkippedFile(
                label=label, why="krakked does not read what is packed so: unpack it."
            )
        return SkippedFile(label=label, why="it is no CSV file.")
    candles = _OHLCVT.fullmatch(stem)
    trades = _TRADES.fullmatch(stem)
    if candles is None and trades is None:
        return SkippedFile(
            label=label, why="its name is neither ALTNAME_minutes.csv nor ALTNAME.csv."
        )
    minutes = None
    if candles is not None:
        interval = candles["interval"]
        minutes = int(interval) if interval.isdecimal() else MINUTES.get(interval, 0)
        if minutes not in ARCHIVE_MINUTES:
            why = f"Kraken's archive has no candles of {interval} minutes."
            return SkippedFile(label=label, why=why)
        if minutes not in LABELS:
            return SkippedFile(label=label, why=f"krakked keeps no candles of {minutes} minutes.")
    return ArchiveFile(
        path=path,
        member=member,
        pair=stem if candles is None else candles["pair"],
        minutes=minutes,
        size_bytes=size,
        mark=mark,
        place=place,
    )
