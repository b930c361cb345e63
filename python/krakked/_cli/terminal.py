"""The three standard streams, whatever they are: closed, full, a broken pipe, plain ASCII."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # a fifth of a second that `krakked --version` need not wait for
    from rich.console import Console

LEAST_COLUMNS: Final = 20
MOST_COLUMNS: Final = 1_000
"""Widths that COLUMNS may ask for; beyond them tables are unreadable or take all memory."""

_PLAIN: Final = {"✓": "+", "…": "~"}
"""What a stream that knows ASCII alone shows instead."""


class _Output(io.TextIOWrapper):
    """Standard output that names itself when it fails, and remembers that it did."""

    failed: OSError | None = None
    """What it met first; argparse, for one, tells nobody."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._stream = stream  # its end would close the buffer

    def write(self, text: str) -> int:
        """Write."""
        try:
            return super().write(text)
        except OSError as error:
            raise self._noted(error) from None

    def flush(self) -> None:
        """Flush."""
        try:
            super().flush()
        except OSError as error:
            raise self._noted(error) from None

    def _noted(self, error: OSError) -> OSError:
        error.filename = error.filename or "standard output"
        self.failed = self.failed or error
        return error


def prepare(*, is_program: bool = False) -> None:
    """Make the standard streams usable: none is missing, none fails over a character.

    A descriptor that was closed by the caller is opened on the null device: the next file that
    krakked opens must not become its standard output.

    Args:
        is_program: Whether this process is the command and nothing else.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                opened = os.open(os.devnull, os.O_RDWR)
                if opened != number:
                    os.dup2(opened, number)
                    os.close(opened)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    codecs.register_error("krakked.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="krakked.plain")
    if is_program and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _Output(sys.stdout)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unfit = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in unfit), error.end


def console(*, stderr: bool = False) -> Console:
    """Return a console of a width that can be drawn."""
    asked = os.environ.get("COLUMNS", "")
    width = None
    if asked.isdecimal():
        width = min(max(int(asked[:9]), LEAST_COLUMNS), MOST_COLUMNS)
    from rich.console import Console  # noqa: PLC0415 - see above

    return Console(stderr=stderr, width=width)


def flush() -> None:
    """Write out what is buffered.

    Raises:
        OSError: Standard output takes no more, or has lost something; it names itself.
    """
    sys.stdout.flush()
    if isinstance(sys.stdout, _Output) and sys.stdout.failed is not None:
        raise sys.stdout.failed


def say(sentences: tuple[str, ...]) -> None:
    """Print each sentence as one line on standard error; who cannot hear misses it."""
    if not sentences:
        return
    from rich.markup import escape  # noqa: PLC0415 - see above

    with contextlib.suppress(OSError):
        shown = console(stderr=True)
        for sentence in sentences:
            name, colon, text = sentence.partition(": ")
            if name.isidentifier() and name.endswith("Error"):
                shown.print(f"[bold red]{name}[/]{colon}{escape(text)}", soft_wrap=True)
            else:
                shown.print(escape(sentence), soft_wrap=True)
        sys.stderr.flush()


def abandon() -> None:
    """Throw away what a stream could not take, so that the interpreter's last flush is quiet."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            continue
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
