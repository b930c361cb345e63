"""Worlds that differ from the laboratory: failing calls of the system, processes in odd places."""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

ERRORS: Final = {
    "open": (errno.EMFILE, errno.EACCES, errno.EIO),
    "create": (errno.ENOSPC, errno.EROFS, errno.EMFILE),
    "read": (errno.EIO,),
    "write": (errno.ENOSPC, errno.EIO, errno.EDQUOT),
    "fsync": (errno.EIO, errno.ENOSPC),
    "flock": (errno.ENOLCK, errno.EIO),
    "ftruncate": (errno.EIO,),
    "mkdir": (errno.ENOSPC, errno.EROFS, errno.EACCES),
    "replace": (errno.ENOSPC, errno.EIO, errno.EROFS),
    "link": (errno.EPERM, errno.EROFS),
    "unlink": (errno.EROFS, errno.EACCES),
    "scandir": (errno.EACCES, errno.EIO),
}
"""What each call may fail with on real disks and mounts."""


class FailingCalls:
    """Sees this process's file calls below one directory, and lets one of them fail.

    Args:
        root: Only calls about this directory and what lies below it count.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._paths: dict[int, str] = {}
        self.calls: list[tuple[str, str]] = []
        """Kind and path of every call so far."""
        self._fails: tuple[str, int, int] | None = None
        self.failed = False

    @contextmanager
    def watching(self, fails: tuple[str, int, int] | None = None) -> Iterator[None]:
        """Watch the block; `fails` is (kind, which of its calls, errno)."""
        self.calls, self._fails, self.failed = [], fails, False
        with pytest.MonkeyPatch.context() as patch:
            self._patch(patch)
            yield

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        real_open, real_io_open, real_close = os.open, io.open, os.close

        def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            self._seen("create" if flags & os.O_CREAT else "open", path)
            fd = real_open(path, flags, *args, **kwargs)
            if self._below(path):
                self._paths[fd] = os.fspath(path)
            return fd

        def io_opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not isinstance(file, int):
                self._seen("create" if set(mode) & set("wxa") else "open", file)
            return real_io_open(file, mode, *args, **kwargs)

        def closed(fd: int) -> None:
            self._paths.pop(fd, None)
            real_close(fd)

        patch.setattr(os, "open", opened)
        patch.setattr(os, "close", closed)
        patch.setattr(io, "open", io_opened)
        patch.setattr(builtins, "open", io_opened)
        for module, name in (
            *((os, name) for name in ("read", "write", "fsync", "ftruncate")),
            (fcntl, "flock"),
        ):
            patch.setattr(module, name, self._of_descriptor(name, getattr(module, name)))
        for name, kind in (
            ("mkdir", "mkdir"),
            ("replace", "replace"),
            ("rename", "replace"),
            ("link", "link"),
            ("unlink", "unlink"),
            ("scandir", "scandir"),
        ):
            patch.setattr(os, name, self._of_path(kind, getattr(os, name)))

    def _of_descriptor(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(fd: int, *args: Any, **kwargs: Any) -> Any:
            if kind == "flock" and args[0] == fcntl.LOCK_UN:
                return real(fd, *args, **kwargs)  # never fails on a lock that is held
            if fd in self._paths:
                self._seen(kind, self._paths[fd], named=False)
                if kind == "fsync":
                    return None  # nobody pulls the plug here, and real ones cost a minute
            return real(fd, *args, **kwargs)

        return call

    def _of_path(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._seen(kind, args[-1] if kind in {"replace", "link"} else args[0])
            return real(*args, **kwargs)

        return call

    def _below(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._root)

    def _seen(self, kind: str, path: Any, *, named: bool = True) -> None:
        if not self._below(path):
            return
        self.calls.append((kind, os.fspath(path)))
        if self._fails is None or self._fails[0] != kind:
            return
        if sum(1 for each, _ in self.calls if each == kind) - 1 == self._fails[1]:
            self.failed = True
            code = self._fails[2]
            # The system names the file only where a call was given its name.
            raise OSError(code, os.strerror(code), *([os.fspath(path)] if named else []))

    def plans(self, per_kind: int) -> list[tuple[str, int, int]]:
        """Choose failures out of the calls seen: of each kind the first, the last, some between."""
        chosen: list[tuple[str, int, int]] = []
        for kind, codes in ERRORS.items():
            count = sum(1 for each, _ in self.calls if each == kind)
            places = sorted(
                {round(n * (count - 1) / max(1, per_kind - 1)) for n in range(per_kind)}
            )
            chosen += [
                (kind, place, codes[number % len(codes)])
                for number, place in enumerate(places if count else [])
            ]
        return chosen


@pytest.fixture
def failing_calls() -> Callable[[Path], FailingCalls]:
    """Give the shim for one directory."""
    return FailingCalls
