"""Recorded frames, played again at their recorded pace.

Format: NDJSON, one frame a line, oldest first::

    {"t_ns": 1790358504745996000, "connection": 1, "url": "wss://ws.kraken.com/v2", "frame": "..."}

`t_ns` is the unix time in nanoseconds at which the frame arrived, `connection` any integer that
tells connections of the recording apart, `frame` the frame's text exactly as received. `url` and
unknown keys are ignored. `krakked record` writes such files.

The first client to connect gets the frames of the recording's first connection, the second those of
the second, and so on, starting over when there are more clients than recorded connections. What
clients send is read and ignored, but for the application-level ping, which is answered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import trio
import trio_websocket


class ReplayFormatError(ValueError):
    """A recording has a line that is not a recorded frame."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The frames of each connection, with their delay in seconds from the recording's start."""

    connections: tuple[tuple[tuple[float, str], ...], ...]
    speed: float = 1.0
    keep_open: bool = True
    """Whether a connection stays open, silent, after its last frame."""

    @classmethod
    def load(cls, path: str | Path, *, speed: float = 1.0, keep_open: bool = True) -> Recording:
        """Read a recording.

        Raises:
            ReplayFormatError: A line is not a recorded frame.
        """
        frames: dict[int, list[tuple[int, str]]] = {}
        with Path(path).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    entry = json.loads(line)
                    at, text = int(entry["t_ns"]), entry["frame"]
                    connection = int(entry.get("connection", 0))
                    if not isinstance(text, str):
                        raise TypeError
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise ReplayFormatError(f"{path}:{number}: not a recorded frame") from None
                frames.setdefault(connection, []).append((at, text))
        return cls(
            tuple(
                tuple(((at - sent[0][0]) / 1e9, text) for at, text in sent)
                for sent in frames.values()
            ),
            speed,
            keep_open,
        )

    async def play(self, websocket: trio_websocket.WebSocketConnection, number: int) -> None:
        """Play one connection's frames to a client."""
        if not self.connections:
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer_pings, websocket)
            start = trio.current_time()
            for delay, text in self.connections[number % len(self.connections)]:
                await trio.sleep_until(start + delay / self.speed)
                await websocket.send_message(text)
            if not self.keep_open:
                nursery.cancel_scope.cancel()


async def _answer_pings(websocket: trio_websocket.WebSocketConnection) -> None:
    while True:
        try:
            request = json.loads(await websocket.get_message())
        except ValueError:
            continue
        if isinstance(request, dict) and request.get("method") == "ping":
            answer = {"method": "pong"}
            if "req_id" in request:
                answer["req_id"] = request["req_id"]
            await websocket.send_message(json.dumps(answer))
