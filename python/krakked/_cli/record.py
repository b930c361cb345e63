"""`krakked record`: the stream's frames with their times as NDJSON, for `krakked sandbox --replay`.

Each line is an object: ``t_ns`` (unix nanoseconds of arrival), ``connection`` (a small number),
``url``, ``frame`` (the text as received). Public market data only; no key is involved.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import orjson
import trio

import krakked
from krakked._cli import terminal
from krakked._cli.arguments import duration


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.add_argument("file", metavar="FILE", help="file to write; it must not exist")
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help="pairs (default: the universe)")
    parser.add_argument("--seconds", type=duration, metavar="S", help="stop after so long")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Record until Ctrl-C or the end of the time asked for."""
    console = terminal.console()
    file = Path(arguments.file).open("xb")  # noqa: SIM115 - closed below
    recorder = FrameRecorder(file)
    try:
        trio.run(record, recorder, arguments.pairs or None, arguments.seconds)
    finally:
        recorder.close()
        console.print(f"{recorder.frames:,} frames in {arguments.file}", markup=False)
        if not recorder.frames:
            Path(arguments.file).unlink(missing_ok=True)
    if recorder.error is not None:
        recorder.error.filename = arguments.file  # a write does not know its file
        raise recorder.error
    return 0


class FrameRecorder:
    """Writes each frame as one line.

    Args:
        file: Where to.
        now_ns: Unix time in nanoseconds.
    """

    def __init__(self, file: BinaryIO, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._file = file
        self._now_ns = now_ns
        self._numbers: dict[str, int] = {}
        self.frames = 0
        self.url = ""
        self.error: OSError | None = None
        """What ended the recording early: a full disk, say."""
        self.failed = trio.Event()

    def __call__(self, connection: str, text: str) -> None:
        """Write one frame; after a failure, nothing more."""
        if self.error is not None:
            return
        number = self._numbers.setdefault(connection, len(self._numbers))
        line = {"t_ns": self._now_ns(), "connection": number, "url": self.url, "frame": text}
        try:
            self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        except OSError as error:
            self.error = error
            self.failed.set()
            return
        self.frames += 1

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:  # the last frames did not fit
            self.error = self.error or error


async def record(recorder: FrameRecorder, pairs: list[str] | None, seconds: float | None) -> None:
    """Stream, and let the recorder see every frame."""
    config = krakked.load_config()
    recorder.url = config.market_data.ws.url
    with trio.move_on_after(float("inf") if seconds is None else seconds):
        async with krakked.open_kraken(config, pairs=pairs, on_frame=recorder):
            await recorder.failed.wait()
