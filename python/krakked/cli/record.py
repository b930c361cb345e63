"""`krakked record`: the stream's frames with their times as NDJSON, for `krakked sandbox --replay`.

Each line is an object: ``t_ns`` (unix nanoseconds of arrival), ``connection`` (a small number),
``url``, ``frame`` (the text as received). Public market data only; no key is involved.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import BinaryIO

import orjson
import trio
from rich.console import Console

import krakked


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `record` to the command line."""
    parser = subparsers.add_parser("record", help="write the stream's frames to a file (NDJSON)")
    parser.add_argument("file", metavar="FILE", help="file to write; it must not exist")
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help="pairs (default: the universe)")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after so long")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Record until Ctrl-C or the end of the time asked for."""
    console = Console()
    try:
        file = Path(arguments.file).open("xb")  # noqa: SIM115 - closed below
    except OSError as error:
        console.print(f"[red]{arguments.file}: {error.strerror}[/]")
        return 1
    with file:
        recorder = FrameRecorder(file)
        try:
            trio.run(record, recorder, arguments.pairs or None, arguments.seconds)
        finally:
            console.print(f"{recorder.frames:,} frames in {arguments.file}")
    return 0


class FrameRecorder:
    """Writes each frame as one line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._numbers: dict[str, int] = {}
        self.frames = 0
        self.url = ""

    def __call__(self, connection: str, text: str) -> None:
        """Write one frame."""
        number = self._numbers.setdefault(connection, len(self._numbers))
        line = {"t_ns": time.time_ns(), "connection": number, "url": self.url, "frame": text}
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        self.frames += 1


async def record(recorder: FrameRecorder, pairs: list[str] | None, seconds: float | None) -> None:
    """Stream, and let the recorder see every frame."""
    config = krakked.load_config()
    recorder.url = config.market_data.ws.url
    with trio.move_on_after(float("inf") if seconds is None else seconds):
        async with krakked.open_kraken(config, pairs=pairs, on_frame=recorder):
            await trio.sleep_forever()
