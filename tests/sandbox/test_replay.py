"""A recording is played as it was recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from krakked._sandbox.replay import ReplayFormatError
from krakked.sandbox import Recording, open_sandbox

NS = 1_000_000_000


def write(path: Path, entries: list[tuple[int, int, str]]) -> Path:
    lines = [
        json.dumps({"t_ns": at, "connection": number, "url": "wss://ws", "frame": frame})
        for at, number, frame in entries
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


async def test_frames_come_back_byte_for_byte_and_in_time(
    autojump_clock: MockClock,
    open_ws: Callable[..., Any],
    tmp_path: Path,
    recorded: Callable[[str], Path],
) -> None:
    frames = recorded("ws_v2_mixed").read_text().splitlines()
    entries = [(5 * NS * n, 1, frame) for n, frame in enumerate(frames)]
    path = write(tmp_path / "recorded.ndjson", [*entries, (7, 2, '{"channel":"heartbeat"}')])
    async with open_sandbox(memory=True, replay=Recording.load(path)) as exchange:
        async with open_ws(exchange) as ws:
            start = trio.current_time()
            got = [await ws.websocket.get_message() for _ in frames]
            assert got == frames
            assert trio.current_time() - start == pytest.approx(5 * (len(frames) - 1))
            await ws.send({"method": "ping", "req_id": 4})
            assert await ws.next() == {"method": "pong", "req_id": 4}
        async with open_ws(exchange) as ws:
            assert await ws.next() == {"channel": "heartbeat"}


async def test_speed_and_end(
    autojump_clock: MockClock, open_ws: Callable[..., Any], tmp_path: Path
) -> None:
    path = write(tmp_path / "r.ndjson", [(0, 1, '{"n":1}'), (100 * NS, 1, '{"n":2}')])
    recording = Recording.load(path, speed=10, keep_open=False)
    async with open_sandbox(memory=True, replay=recording) as exchange, open_ws(exchange) as ws:
        start = trio.current_time()
        assert [await ws.next(), await ws.next()] == [{"n": 1}, {"n": 2}]
        assert trio.current_time() - start == pytest.approx(10)


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[]",
        "nonsense",
        '{"t_ns":1,"frame":{}}',
        '{"t_ns":Infinity,"frame":"x"}',
        '{"t_ns":1,"frame":"\\ud800"}',
        '{"t_ns":1,"frame":"\xff"}',
        "\xff\xfe",
        "[" * 100_000,
    ],
    ids=range(9),
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.ndjson"
    path.write_bytes(b'{"t_ns":1,"connection":1,"frame":"x"}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(ReplayFormatError, match=r"bad\.ndjson:2"):
        Recording.load(path)
