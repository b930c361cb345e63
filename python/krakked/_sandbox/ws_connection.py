"""One WebSocket v2 connection: its subscriptions, its outbox and its answers."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import trio
import trio_websocket

from krakked._sandbox import ws_frames as frames
from krakked._sandbox.faulty_stream import FaultyStream
from krakked._sandbox.limits import Counter
from krakked._sandbox.listing import Pair
from krakked._sandbox.pump import Pump
from krakked._sandbox.reference_channel import instrument_snapshot
from krakked._sandbox.rest_public import OHLC_INTERVALS
from krakked._sandbox.venue import Venue
from krakked._sandbox.ws_faults import StreamFaults
from krakked._sandbox.ws_frames import Asked

PUBLIC_CHANNELS = frozenset({"ticker", "ohlc", "trade", "instrument"})
PRIVATE_CHANNELS = frozenset({"executions", "balances"})
WRONG_HOST_PRIVATE = (
    "Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com"
)
WRONG_HOST_PUBLIC = (
    "Public market data subscriptions are unavailable on this endpoint. Try ws.kraken.com"
)


@dataclass(frozen=True, slots=True)
class Served:
    """What a connection listens to."""

    channel: str
    symbol: str
    interval: int | None = None
    trigger: str | None = None


class ClientConnection:
    """The server's side of one connection."""

    def __init__(
        self,
        venue: Venue,
        pump: Pump,
        faults: StreamFaults,
        stream: FaultyStream,
        *,
        number: int,
        connection_id: int,
        private: bool,
        variant: int,
    ) -> None:
        self._venue = venue
        self._pump = pump
        self._faults = faults
        self.stream = stream
        self.number = number
        self.connection_id = connection_id
        self.private = private
        self.variant = variant
        self.subscriptions: dict[tuple[str, str], Served] = {}
        self.last_data = trio.current_time()
        self.last_request = trio.current_time()
        self.sent_frames = 0
        self.on_overrun: Callable[[], object] = int
        """Called when the client reads too slowly."""
        self._outbox: deque[str] = deque()
        self._held = 0
        self._held_until = 0.0
        self._gone = False
        self._wake = trio.Event()
        settings = venue.settings
        self._message_rate = Counter(settings.message_burst, settings.messages_per_s)

    # --- sending --------------------------------------------------------------------------------

    def push(self, text: str) -> None:
        """Queue a frame."""
        if len(self._outbox) >= self._venue.settings.max_backlog:
            self.on_overrun()
        else:
            self._outbox.append(text)
        self._wake.set()

    def push_data(self, channel: str, symbol: str, text: str) -> None:
        """Queue a data frame, unless a fault says otherwise; faults may repeat or spoil it."""
        if self._venue.settings.lean_frames:
            text = frames.lean(channel, text)
        for frame in self._faults.data_frames(self.number, channel, symbol, text):
            late_s = self._faults.ticker_lag_s if channel == "ticker" else 0.0
            if late_s > 0.0:
                self._pump.later(trio.current_time() + late_s, partial(self._send_late, frame))
                continue
            self.last_data = trio.current_time()
            self._push_in_order(frame)

    def _send_late(self, text: str) -> None:
        if not self._gone:
            self.last_data = trio.current_time()
            self._push_in_order(text)

    def _push_in_order(self, text: str) -> None:
        """Queue a frame behind what the gateway keeps back for now."""
        held_s = self._faults.hold_s(self.number)
        if held_s <= 0.0 and not self._held:
            self.push(text)
            return
        at = max(trio.current_time() + held_s, self._held_until)
        self._held_until = at
        self._held += 1
        self._pump.later(at, partial(self._let_go, text))

    def _let_go(self, text: str) -> None:
        self._held -= 1
        if not self._gone:
            self.push(text)

    def _pong(self, text: str) -> None:
        if not self._faults.pongs_overtake:
            self._push_in_order(text)
            return
        self._outbox.appendleft(text)
        self._wake.set()

    async def send_loop(self, websocket: trio_websocket.WebSocketConnection) -> None:
        """Send what is queued, until the connection ends."""
        while True:
            if not self._outbox:
                self._wake = trio.Event()
                await self._wake.wait()
            self.stream.corked = self._faults.coalesce or len(self._outbox) > 1
            while self._outbox:
                self.sent_frames += 1
                await websocket.send_message(self._outbox.popleft())
            await self.stream.uncork()

    def send_status(self) -> None:
        """Queue a status frame."""
        venue = self._venue
        maintenance, emergency = (
            json.dumps(notices, separators=(",", ":"))
            for notices in (venue.upcoming_maintenance, venue.emergency)
        )
        text = frames.status(self.connection_id, venue.system, maintenance, emergency, self.variant)
        self.push(frames.lean("status", text) if self._venue.settings.lean_frames else text)

    # --- requests -------------------------------------------------------------------------------

    async def handle(self, message: str | bytes) -> None:
        """Answer one client message."""
        self.last_request = trio.current_time()
        time_in = self._now_ns()
        try:
            request = json.loads(message)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._refuse(Asked("", "", time_in), "Malformed request")  # text unverified
            return
        req_id = request.get("req_id")
        echo = f'"req_id":{req_id}' if type(req_id) is int else ""
        asked = Asked(str(request.get("method", "")), echo, time_in)
        if not self._message_rate.add(self.last_request) or self._faults.take_rate_error():
            self._refuse(asked, "Exceeded msg rate")  # exact v2 text unverified
        elif asked.method == "ping":
            self._pong(frames.pong(asked, self._now_ns()))
        elif asked.method in ("subscribe", "unsubscribe"):
            params = request.get("params")
            await self._subscription_request(asked, params if isinstance(params, dict) else {})
        else:
            self._refuse(asked, "Method not supported")  # text unverified

    async def _subscription_request(self, asked: Asked, params: dict[str, object]) -> None:
        channel = str(params.get("channel", ""))
        if channel in PRIVATE_CHANNELS:
            self._private(asked, channel, params)
        elif channel not in PUBLIC_CHANNELS:
            self._refuse(asked, f"Channel not supported {channel}")  # text unverified
        elif self.private:
            self._refuse(asked, WRONG_HOST_PUBLIC)
        elif channel == "instrument":
            self._instrument(asked, params)
        else:
            await self._per_symbol(asked, channel, params)

    async def _per_symbol(self, asked: Asked, channel: str, params: dict[str, object]) -> None:
        symbols = params.get("symbol")
        if not isinstance(symbols, list) or not symbols:
            self._refuse(asked, "Symbol(s) missing")  # text unverified
            return
        interval = params.get("interval", 1) if channel == "ohlc" else None
        if interval is not None and interval not in OHLC_INTERVALS:
            self._refuse(asked, f"Interval not supported {interval}")  # text unverified
            return
        trigger = str(params.get("event_trigger", "trades")) if channel == "ticker" else None
        if trigger not in (None, "trades", "bbo"):
            self._refuse(asked, f"Event trigger not supported {trigger}")  # text unverified
            return
        snapshot = params.get("snapshot", channel != "trade") is not False
        began = time.monotonic()
        for symbol in symbols:
            step = interval if isinstance(interval, int) else None
            wanted = Served(channel, str(symbol), step, trigger)
            if asked.method == "subscribe":
                self._subscribe(asked, wanted, snapshot)
            else:
                self._unsubscribe(asked, wanted)
            if time.monotonic() - began > 0.02:  # let others run, by real time and not virtual
                await trio.lowlevel.checkpoint()
                began = time.monotonic()

    def _subscribe(self, asked: Asked, wanted: Served, snapshot: bool) -> None:
        symbol = wanted.symbol
        now_ns = self._venue.clock.now_ns()
        pair = self._venue.by_symbol(symbol, now_ns)
        held = self.subscriptions.get((wanted.channel, symbol))
        if "/" not in symbol:
            self._refuse(asked, f"Currency pair not in ISO 4217-A3 format {symbol}", symbol)
        elif pair is None:
            self._refuse(asked, f"Currency pair not supported {symbol}", symbol)
        elif self._faults.refuses(self.number, wanted.channel, symbol):
            text = self._faults.refusal_text or f"Currency pair not supported {symbol}"
            self._refuse(asked, text, symbol)
        elif held is not None and (
            held.interval != wanted.interval
            or (held.interval is not None and not self._venue.settings.plain_duplicates)
        ):
            text = "Already subscribed to one ohlc interval on this symbol"
            self._refuse(asked, text, symbol)
        elif held is not None:
            self._refuse(asked, "Already subscribed", symbol)
        else:
            self.subscriptions[wanted.channel, symbol] = wanted
            self._pump.start_heartbeats(self)
            rows = self._join(wanted, pair, now_ns)
            self._acknowledge(asked, wanted, snapshot)
            if snapshot and rows:
                self._push_snapshot(wanted, rows)

    def _join(self, wanted: Served, pair: Pair, now_ns: int) -> str:
        if wanted.channel == "ticker":
            return self._pump.add_ticker(self, pair, wanted.trigger or "trades", now_ns)
        if wanted.channel == "ohlc":
            return self._pump.add_candles(self, pair, 60 * (wanted.interval or 1), now_ns)
        return self._pump.add_trades(self, pair, now_ns)

    def _push_snapshot(self, wanted: Served, rows: str) -> None:
        if wanted.channel == "ohlc":  # its stamp is the gateway's, as an acknowledgement's
            text = frames.candle_frame("snapshot", rows, self._now_ns(), self.variant)
        else:
            text = frames.data_frame(wanted.channel, "snapshot", rows, self.variant)
        self.push_data(wanted.channel, wanted.symbol, text)

    def _acknowledge(self, asked: Asked, wanted: Served, snapshot: bool) -> None:
        extra = f'"event_trigger":"{wanted.trigger}"' if wanted.trigger else ""
        if asked.method == "subscribe":
            said = f'"snapshot":{"true" if snapshot else "false"}'
            extra = f"{extra},{said}" if extra else said
        warn = wanted.channel == "ohlc" and asked.method == "subscribe"
        result = frames.result_of(wanted.channel, wanted.symbol, wanted.interval, extra, warn)
        if not self._faults.loses_ack():
            self.push(frames.ack(asked, result, self._now_ns()))

    def _unsubscribe(self, asked: Asked, wanted: Served) -> None:
        held = self.subscriptions.get((wanted.channel, wanted.symbol))
        if held is None or held.interval != wanted.interval:
            self._refuse(asked, "Served Not Found", wanted.symbol)
            return
        self.leave(held)
        self._acknowledge(asked, held, False)

    def end(self, held: Served) -> None:
        """End a subscription that nobody gave up, and say so."""
        self.leave(held)
        self._acknowledge(Asked("unsubscribe", "", self._now_ns()), held, False)

    def leave(self, held: Served) -> None:
        """End a subscription."""
        del self.subscriptions[held.channel, held.symbol]
        self._pump.remove(self, held.channel, held.symbol)
        if not self.subscriptions:
            self._pump.stop_heartbeats(self)

    def close(self) -> None:
        """Forget everything."""
        self._gone = True
        for held in list(self.subscriptions.values()):
            self.leave(held)
        self._pump.stop_heartbeats(self)

    # --- channels without a symbol --------------------------------------------------------------

    def _instrument(self, asked: Asked, params: dict[str, object]) -> None:
        held = Served("instrument", "")
        snapshot = params.get("snapshot", True) is not False
        said = f'"snapshot":{"true" if snapshot else "false"}'
        said = f'{said},"warnings":["tick_size is deprecated, use price_increment"]'
        if asked.method == "unsubscribe":
            self.subscriptions.pop(("instrument", ""), None)
            result = frames.result_of("instrument", None, None, "", False)
        elif ("instrument", "") in self.subscriptions:
            self._refuse(asked, "Already subscribed")
            return
        else:
            self.subscriptions["instrument", ""] = held
            self._pump.start_heartbeats(self)
            result = frames.result_of("instrument", None, None, said, False)
        self.push(frames.ack(asked, result, self._now_ns()))
        if asked.method == "subscribe" and snapshot:
            self.push_data("instrument", "", instrument_snapshot(self._venue, params))

    def _private(self, asked: Asked, channel: str, params: dict[str, object]) -> None:
        if not self.private:
            self._refuse(asked, WRONG_HOST_PRIVATE)
            return
        now_ns = self._venue.clock.now_ns()
        if self._venue.accounts.key_of_token(params.get("token"), now_ns) is None:
            self.push(frames.session_refusal(asked, channel, self._now_ns()))
            return
        self.subscriptions[channel, ""] = Served(channel, "")
        self._pump.start_heartbeats(self)
        result = frames.result_of(channel, None, None, '"snapshot":true', False)
        self.push(frames.ack(asked, result, self._now_ns()))
        self.push(frames.data_frame(channel, "snapshot", "", self.variant))

    def _refuse(self, asked: Asked, error: str, symbol: str | None = None) -> None:
        if not self._venue.settings.refusals_echo_req_id:
            asked = Asked(asked.method, "", asked.time_in)
        self.push(frames.refusal(asked, error, self._now_ns(), symbol))

    def _now_ns(self) -> int:
        return self._venue.clock.shown_ns()
