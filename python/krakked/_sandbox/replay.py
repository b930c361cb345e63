"""Recorded frames, played again at their recorded pace.

Format: NDJSON, one frame a line, oldest first::

    {"t_ns": 1790358504745996000, "connection": 1, "url": "wss://ws.kraken.com/v2", "frame": "..."}

`t_ns` is the unix time in nanoseconds at which the frame arrived, `connection` any integer that
tells connections of the recording apart, `frame` the frame's text exactly as received. `url` and
unknown keys are ignored. `krakked record` writes such files.

The first client to connect is greeted as the recording's first connection was, the second as the
second, and so on, starting over when there are more clients than recorded connections. Then each
gets the frames of the connection that had asked for the same as it does, if there is one.

What clients send is read. The application-level ping is answered; an answer to a subscription is
held back, and all that follows with it, until the client has asked, and carries the id of its
request: a client that is slower than the one recorded would otherwise be answered before it asks.
Who asks for nothing gets everything all the same, `ASK_S` later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import trio
import trio_websocket

ASK_S = 5.0
"""Longest wait for a client to ask for what the recorded one had asked for; once a connection."""

Subject = tuple[object, object, object, object]
"""(method, channel, symbol, interval) of a request or an answer; None where it names none."""

Frames = tuple[tuple[float, str], ...]
"""Seconds since the connection's first frame, and the frame's text."""


class ReplayFormatError(ValueError):
    """A recording has a line that is not a recorded frame."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The frames of each connection, with their delay in seconds from the recording's start."""

    connections: tuple[Frames, ...]
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
        if Path(path).is_fifo():
            raise ReplayFormatError(f"{path} is a pipe, not a recording.")
        with Path(path).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    entry = json.loads(line)
                    at, text = int(entry["t_ns"]), entry["frame"]
                    connection = int(entry.get("connection", 0))
                    if not isinstance(text, str):
                        raise TypeError
                    text.encode()  # half of a surrogate pair cannot be sent
                except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
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
            asked = _Requests()
            nursery.start_soon(asked.read, websocket)
            start = trio.current_time()
            frames = self.connections[number % len(self.connections)]
            if _is_greeting(frames[0][1]) and any(map(_answers, self.connections)):
                await websocket.send_message(frames[0][1])
                frames = await self._chosen(frames, asked)
            for delay, text in frames:
                await trio.sleep_until(start + delay / self.speed)
                await websocket.send_message(await asked.answer(text))
            if not self.keep_open:
                nursery.cancel_scope.cancel()

    async def _chosen(self, by_order: Frames, asked: _Requests) -> Frames:
        """Return the frames after the greeting of the connection that asked for the same."""
        subjects = await asked.first()
        chosen = max(
            [by_order, *self.connections],
            key=lambda frames: len(subjects.intersection(_answers(frames))),
        )
        return chosen[1:] if _is_greeting(chosen[0][1]) else chosen


class _Requests:
    """What a client has asked for so far."""

    def __init__(self) -> None:
        self._req_ids: dict[Subject, object] = {}
        self._more = trio.Event()
        self._patient = True

    async def read(self, websocket: trio_websocket.WebSocketConnection) -> None:
        """Note what the client asks for; answer its pings."""
        while True:
            try:
                request = json.loads(await websocket.get_message())
            except ValueError:
                continue
            if not isinstance(request, dict):
                continue
            if request.get("method") == "ping":
                answer = {"method": "pong"}
                if "req_id" in request:
                    answer["req_id"] = request["req_id"]
                await websocket.send_message(json.dumps(answer))
            for subject in _subjects(request):
                self._req_ids[subject] = request.get("req_id")
            self._more.set()
            self._more = trio.Event()

    async def first(self) -> set[Subject]:
        """Return what the client asks for in its first request; nothing when it asks too late."""
        with trio.move_on_after(ASK_S):
            while not self._req_ids:
                await self._more.wait()
        self._patient = bool(self._req_ids)
        return set(self._req_ids)

    async def answer(self, text: str) -> str:
        """Return a recorded frame as this client may get it, once it may."""
        frame = _answer(text)
        if frame is None:
            return text
        wanted = _subject(frame)
        with trio.move_on_after(ASK_S if self._patient else 0) as waiting:
            while (req_id := self._req_id(wanted)) is _NOT_ASKED:
                await self._more.wait()
        if waiting.cancelled_caught:
            self._patient = False
            return text
        if "req_id" not in frame or frame["req_id"] == req_id:
            return text
        return json.dumps({**frame, "req_id": req_id})

    def _req_id(self, wanted: Subject) -> object:
        for subject, req_id in self._req_ids.items():
            if all(want in {None, has} for want, has in zip(wanted, subject, strict=True)):
                return req_id
        return _NOT_ASKED


_NOT_ASKED = object()


def _subjects(request: dict[str, object]) -> list[Subject]:
    """Return what a request asks for, symbol by symbol."""
    params = request.get("params")
    if not isinstance(params, dict):
        return []
    symbols = params.get("symbol")
    if not isinstance(symbols, list):
        symbols = [symbols]
    rest = params.get("interval")
    return [(request.get("method"), params.get("channel"), symbol, rest) for symbol in symbols]


def _answer(text: str) -> dict[str, object] | None:
    """Return a frame that answers a subscription, or None."""
    if '"method"' not in text:
        return None
    try:
        frame = json.loads(text)
    except ValueError:
        return None
    answers = isinstance(frame, dict) and frame.get("method") in {"subscribe", "unsubscribe"}
    return frame if answers else None


def _subject(frame: dict[str, object]) -> Subject:
    result = frame.get("result")
    about = result if isinstance(result, dict) else frame
    return (frame["method"], about.get("channel"), about.get("symbol"), about.get("interval"))


def _answers(frames: Frames) -> set[Subject]:
    """Return what a recorded connection was answered."""
    found = (_answer(text) for _, text in frames)
    return {_subject(frame) for frame in found if frame is not None}


def _is_greeting(text: str) -> bool:
    """Whether a frame is Kraken's status frame."""
    try:
        frame = json.loads(text)
    except ValueError:
        return False
    return isinstance(frame, dict) and frame.get("channel") == "status"
