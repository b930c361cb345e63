"""A server that can send ticker frames faster than anybody reads them; a process of its own.

    python benches/stream_blaster.py ORDERS.json     (see `Orders`)

Speaks just enough of RFC 6455 and of Kraken's WebSocket v2 (and v1, for cryptofeed): the upgrade,
status, one acknowledgement and one snapshot per symbol, pongs. After that, told so on a second
port, it sends frames built beforehand, 300 bytes of JSON each, in writes of a quarter megabyte.
The last frame of each symbol carries a quote of its own (`final_quote`), so that a reader can be
checked. Prints its ports as one line of JSON and, at the end, what it did.
"""

from __future__ import annotations

import base64
import hashlib
import json
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAYLOAD_BYTES = 300
FRAME_BYTES = PAYLOAD_BYTES + 4
WRITE_FRAMES = 864
"""Frames in one write: 256 KiB."""
BUFFER_FRAMES = 25_600
"""Different frames built beforehand: 7.8 MB, more than a cache of the processor holds."""
DAY = "2026-11-02T"
FINAL_TURN = 1_000_003
"""The turn of the last frames; its quotes occur in no other."""
STAMP = len("2026-11-02T00:00:00.000000Z")
V2_TAIL = '"}]}'
"""What follows the time stamp of a v2 frame; fixed, so that the stamp can be changed in place."""


@dataclass
class Orders:
    """What to do; the fields of the orders' JSON."""

    symbols: list[str] = field(default_factory=list)
    """v2 symbols, or v1 names for ``wire = v1``."""
    frames: int = 1_000_000
    """Frames of one connection, the final round included."""
    wire: str = "v2"
    pace: float = 0.0
    """Frames a second, each written on its own; 0: as fast as the reader reads."""
    cuts: int = 0
    """Connections that are cut in the middle of a frame before the last one is let live."""
    ping_s: float = 0.0
    """Seconds between protocol pings; 0: none."""
    patience_s: float = 10.0
    """Longest wait for a pong, in seconds; then the connection is cut."""
    cert: str = ""
    key: str = ""


# --- frames ---------------------------------------------------------------------------------------


def digits(ticks: int, decimals: int) -> str:
    """Write an integer number of ticks as a decimal number, as Kraken does."""
    whole, part = divmod(ticks, 10**decimals)
    return f"{whole}.{part:0{decimals}d}" if decimals else str(whole)


def quote_ticks(index: int, turn: int) -> tuple[int, int]:
    """Give a symbol's bid in ticks (five digits) and its decimals in one turn of the buffer."""
    step = 1_500 if turn == FINAL_TURN else turn * 31 % 997
    return 11_000 + 7_919 * (index + 1) % 87_000 + step, 1 + index % 4


def final_quote(index: int) -> tuple[str, str]:
    """Give bid and ask, as sent, of the last frame of the symbol with this number."""
    bid, decimals = quote_ticks(index, FINAL_TURN)
    return digits(bid, decimals), digits(bid + 3, decimals)


def stamp_at(turn: int, micros: int) -> str:
    """Give a time stamp that rises with the turn."""
    return f"{DAY}{turn // 3600 % 24:02d}:{turn // 60 % 60:02d}:{turn % 60:02d}.{micros:06d}Z"


def v2_payload(symbol: str, index: int, turn: int, stamp: str, kind: str = "update") -> str:
    bid, d = quote_ticks(index, turn)
    fixed = (
        f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{symbol}",'
        f'"bid":{digits(bid, d)},"bid_qty":{digits(56_251_979 + turn, 8)},'
        f'"ask":{digits(bid + 3, d)},"ask_qty":{digits(44_780 + index, 8)},'
        f'"last":{digits(bid + 1, d)},"volume":%s,"vwap":{digits(bid + 40, d)},'
        f'"low":{digits(bid - 81, d)},"high":{digits(bid + 93, d)},"change":-{digits(29, d)},'
        f'"change_pct":-0.51,"trades":%s,"timestamp":"{stamp}{V2_TAIL}'
    )
    left = PAYLOAD_BYTES - (len(fixed) - 4)
    trades = "1352627"[: max(1, min(7, left - 11))]
    return fixed % (volume(left - len(trades), turn), trades)


def volume(length: int, turn: int) -> str:
    """Write a volume with so many characters, eight of them decimals if there is room."""
    if not 4 <= length <= 19:
        raise ValueError(f"no volume has {length} characters")
    decimals = min(8, length - 2)
    whole = str(3_156_847_825 + turn)[: length - 1 - decimals]
    return f"{whole}.{78_211_034 + turn * 3}"[:length]


def v1_payload(name: str, index: int, turn: int) -> str:
    bid, d = quote_ticks(index, turn)
    p = [digits(bid + step, d) + "0" * (5 - d) for step in (0, 3, 1, 40, -81, 93, 7)]
    fixed = (
        f'[{100_000 + index},{{"a":["{p[1]}",4,"4.12345678"],"b":["{p[0]}",3,"3.56251979"],'
        f'"c":["{p[2]}","0.00044780"],"v":["315.8478","%s"],"p":["{p[3]}","{p[3]}"],'
        f'"t":[135,270],"l":["{p[4]}","{p[4]}"],"h":["{p[5]}","{p[5]}"],'
        f'"o":["{p[6]}","{p[6]}"]}},"ticker","{name}"]'
    )
    left = PAYLOAD_BYTES - (len(fixed) - 2)
    return fixed % volume(min(left, 19), turn).ljust(left, "0")


def framed(text: str, opcode: int = 1) -> bytes:
    payload = text.encode()
    if len(payload) < 126:
        return bytes([0x80 | opcode, len(payload)]) + payload
    if len(payload) < 65_536:
        return struct.pack("!BBH", 0x80 | opcode, 126, len(payload)) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, len(payload)) + payload


class Buffer:
    """Frames built beforehand, round by round over all symbols, and sent again and again."""

    def __init__(self, orders: Orders) -> None:
        self.symbols, self.v2 = orders.symbols, orders.wire == "v2"
        turns = max(1, BUFFER_FRAMES // len(self.symbols))
        self.frames = turns * len(self.symbols)
        self.bytes = bytearray(b"".join(self.round(turn) for turn in range(turns)))
        assert len(self.bytes) == self.frames * FRAME_BYTES
        self.final = bytearray(self.round(FINAL_TURN))
        self._seconds = 0

    def round(self, turn: int) -> bytes:
        return b"".join(framed(self.payload(i, turn)) for i in range(len(self.symbols)))

    def payload(self, index: int, turn: int, kind: str = "update") -> str:
        if not self.v2:
            return v1_payload(self.symbols[index], index, turn)
        final = turn == FINAL_TURN
        stamp = stamp_at(1 if final else 0, index if final else turn * 10 % 999_999)
        return v2_payload(self.symbols[index], index, turn, stamp, kind)

    def later(self) -> None:
        """Let a second pass in all time stamps: updates never go back in time, nor far ahead."""
        if not self.v2:
            return
        self._seconds = (self._seconds + 1) % 86_000
        for frames, count, seconds in (
            (self.bytes, self.frames, self._seconds),
            (self.final, len(self.symbols), self._seconds + 1),
        ):
            before, now = stamp_at(max(0, seconds - 1), 0), stamp_at(seconds, 0)
            first = FRAME_BYTES - len(V2_TAIL) - STAMP
            for at in range(len(DAY), len(DAY) + len("00:00:00")):
                if before[at] != now[at] or self._seconds == 0:
                    frames[first + at :: FRAME_BYTES] = now[at].encode() * count


# --- one connection -------------------------------------------------------------------------------


class Gone(Exception):
    """The client has left."""


class Client:
    """One connection: the upgrade, the client's requests, pongs."""

    def __init__(self, sock: socket.socket, orders: Orders, buffer: Buffer) -> None:
        self.sock, self.orders, self.buffer = sock, orders, buffer
        self.numbers = {symbol: i for i, symbol in enumerate(orders.symbols)}
        self.inbox = bytearray()
        self.asked_s = self.heard_s = time.monotonic()
        self.upgrade()

    def upgrade(self) -> None:
        while b"\r\n\r\n" not in self.inbox:
            self.receive()
        head, _, rest = bytes(self.inbox).partition(b"\r\n\r\n")
        self.inbox = bytearray(rest)
        lines = (line.partition(":") for line in head.decode().split("\r\n")[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        if self.orders.wire == "v1":
            self.say({"event": "systemStatus", "status": "online", "version": "1.9.6"})
        else:
            element = {"version": "2.0.10", "system": "online", "api_version": "v2"}
            element["connection_id"] = 18_125_794_168_470_749_634
            self.say({"channel": "status", "type": "update", "data": [element]})

    def say(self, message: dict[str, Any]) -> None:
        self.sock.sendall(framed(json.dumps(message, separators=(",", ":"))))

    def receive(self) -> None:
        data = self.sock.recv(65_536)
        if not data:
            raise Gone
        self.inbox += data

    def listen(self, timeout_s: float = 0.0, also: socket.socket | None = None) -> bool:
        """Answer what has come; True when `also` became readable."""
        waiting = [self.sock] if also is None else [self.sock, also]
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            timeout_s = 0.0
            ready = [self.sock]
        else:
            ready, _, _ = select.select(waiting, [], [], timeout_s)
        if self.sock in ready:
            self.receive()
            for opcode, payload in self.frames():
                self.answer(opcode, payload)
        return also is not None and also in ready

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Take the client's masked frames out of the inbox (it sends no fragments)."""
        while len(self.inbox) >= 6:
            length, at = self.inbox[1] & 0x7F, 2
            if length == 126:
                length, at = int.from_bytes(self.inbox[2:4], "big"), 4
            elif length == 127:
                length, at = int.from_bytes(self.inbox[2:10], "big"), 10
            if len(self.inbox) < at + 4 + length:
                return
            mask = self.inbox[at : at + 4]
            masked = self.inbox[at + 4 : at + 4 + length]
            pad = (bytes(mask) * (length // 4 + 1))[:length]
            text = (int.from_bytes(masked, "big") ^ int.from_bytes(pad, "big")).to_bytes(
                length, "big"
            )
            opcode = self.inbox[0] & 0x0F
            del self.inbox[: at + 4 + length]
            yield opcode, text

    def ask_whether_alive(self) -> None:
        """Ping now and then; leave when nobody has answered for too long."""
        now_s = time.monotonic()
        if not self.orders.ping_s or now_s - self.asked_s < self.orders.ping_s:
            return
        if self.asked_s - self.heard_s > self.orders.patience_s:
            raise Gone("no pong")
        self.asked_s = now_s
        self.sock.sendall(framed("alive?", 9))

    def answer(self, opcode: int, payload: bytes) -> None:
        if opcode == 10:
            self.heard_s = time.monotonic()
        if opcode == 8:
            raise Gone
        if opcode == 9:
            self.sock.sendall(framed(payload.decode("latin-1"), 10))
        if opcode not in (1, 2):
            return
        message = json.loads(payload)
        if message.get("event") == "subscribe":
            self.subscribe_v1(message)
        elif message.get("method") == "subscribe":
            self.subscribe_v2(message["params"], message.get("req_id"))
        elif "ping" in (message.get("method"), message.get("event")):
            pong = {"method": "pong"} if self.orders.wire == "v2" else {"event": "pong"}
            self.say(pong | ({"req_id": message["req_id"]} if "req_id" in message else {}))

    def subscribe_v2(self, params: dict[str, Any], req_id: int | None) -> None:
        stamps = {"time_in": stamp_at(0, 0), "time_out": stamp_at(0, 1)}
        number = {} if req_id is None else {"req_id": req_id}
        channel = params["channel"]
        for symbol in params.get("symbol") or [None]:
            result = {k: v for k, v in params.items() if k != "symbol"}
            if symbol is not None:
                result["symbol"] = symbol
            self.say({"method": "subscribe", "result": result, "success": True} | stamps | number)
            if channel == "ticker" and params.get("snapshot", True):
                payload = self.buffer.payload(self.numbers[symbol], 0, "update")
                self.sock.sendall(framed(payload.replace('"update"', '"snapshot"', 1)))
        if channel == "instrument":
            data: dict[str, list[object]] = {"assets": [], "pairs": []}
            self.say({"channel": "instrument", "type": "snapshot", "data": data})

    def subscribe_v1(self, message: dict[str, Any]) -> None:
        for name in message["pair"]:
            number = self.numbers[name]
            answer = {"event": "subscriptionStatus", "status": "subscribed", "pair": name}
            answer |= {"channelID": 100_000 + number, "channelName": "ticker"}
            self.say(answer | {"subscription": message["subscription"]})
            self.sock.sendall(framed(self.buffer.payload(number, 0)))


# --- blasting -------------------------------------------------------------------------------------


def blast(client: Client, buffer: Buffer, frames: int) -> None:
    """Send frames as fast as they are read; the final round closes."""
    view, left, at = memoryview(buffer.bytes), frames - len(buffer.symbols), 0
    while left > 0:
        count = min(WRITE_FRAMES, left, buffer.frames - at)
        client.sock.sendall(view[at * FRAME_BYTES : (at + count) * FRAME_BYTES])
        client.listen()
        client.ask_whether_alive()
        left -= count
        at += count
        if at == buffer.frames:
            at = 0
            buffer.later()
    client.sock.sendall(buffer.final)


def trickle(client: Client, buffer: Buffer, frames: int, pace: float) -> None:
    """Send frames one by one, evenly spaced."""
    view, begin, final = memoryview(buffer.bytes), time.monotonic(), memoryview(buffer.final)
    first_final = frames - len(buffer.symbols)
    for number in range(frames):
        wait_s = begin + number / pace - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        source, at = (view, number % buffer.frames) if number < first_final else (
            final, number - first_final)  # fmt: skip
        client.sock.sendall(source[at * FRAME_BYTES : (at + 1) * FRAME_BYTES])
        client.listen()


def cut(client: Client, buffer: Buffer) -> None:
    """Send half a frame and break the connection, without a word."""
    client.sock.sendall(buffer.final[: FRAME_BYTES // 2])
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()


def serve(orders: Orders) -> dict[str, float]:
    buffer = Buffer(orders)
    context = None
    if orders.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(orders.cert, orders.key)
    listener = socket.create_server(("127.0.0.1", 0), backlog=8)
    control = socket.create_server(("127.0.0.1", 0))
    ports = {"port": listener.getsockname()[1], "control": control.getsockname()[1]}
    print(json.dumps(ports), flush=True)
    told: socket.socket | None = None
    seconds = cpu_s = 0.0

    def accept() -> Client:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(context.wrap_socket(sock, server_side=True) if context else sock,
                      orders, buffer)  # fmt: skip

    for round_ in range(orders.cuts + 1):
        client = accept()
        if told is None:
            while not client.listen(0.5, control):
                pass
            told, _ = control.accept()
        while not client.listen(0.05, told):
            pass
        if not told.recv(16):
            break
        begin, cpu = time.monotonic(), time.process_time()
        if orders.pace:
            trickle(client, buffer, orders.frames, orders.pace)
        else:
            blast(client, buffer, orders.frames)
        seconds += time.monotonic() - begin
        cpu_s += time.process_time() - cpu
        if round_ < orders.cuts:
            wait_for(client, told)
            cut(client, buffer)
    result = {"seconds": seconds, "cpu_s": cpu_s}
    print(json.dumps(result), flush=True)
    if told is not None:
        linger(client, told)
    return result


def wait_for(client: Client, told: socket.socket) -> None:
    """Stay alive until the reader has said that it has seen everything."""
    while not client.listen(0.05, told):
        pass
    told.recv(16)


def linger(client: Client, told: socket.socket) -> None:
    """Answer pings until the reader closes its control connection."""
    step: Callable[[], bool] = lambda: client.listen(0.2, told)  # noqa: E731
    try:
        while not step():
            pass
    except (Gone, OSError):
        told.recv(16)


def main() -> int:
    try:
        serve(Orders(**json.loads(Path(sys.argv[1]).read_text())))
    except (Gone, ConnectionError) as error:
        print(json.dumps({"error": repr(error)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
