"""krakked._core: the Rust core. Signing, nonces and the way from socket bytes to cache.

Nothing here reads a clock, opens a file or touches a socket: time comes in as an argument.
Times named ``*_ns`` are integer nanoseconds; ``now_ns`` is the *elapsed* clock (`Clock.elapsed_ns`),
``*_s`` are unix seconds. Every class is safe to share between threads.
"""

from typing import Final, final

@final
class Signer:
    """An API secret that signs and tells nothing else: no getter, no copy, no pickle, zeroized on drop."""

    def __new__(cls, secret: str | bytes | bytearray) -> Signer:
        """Decode a base64 secret, as shown by Kraken.

        Raises:
            ValueError: Not base64, or an implausible length; the text never shows any of it.
        """

    def sign(self, path: str, nonce: int | str, body: str | bytes) -> str:
        """Give API-Sign: base64(HMAC-SHA512(secret, path || SHA256(nonce || body))).

        Args:
            path: URI path from ``/0/``, no host, no query.
            nonce: The nonce that is also inside `body`, as sent.
            body: The exact bytes that go on the wire (form or JSON).
        """

    def sign_form(self, path: str, nonce: int, params: list[tuple[str, str]]) -> tuple[bytes, str]:
        """Encode ``nonce`` and `params` as a form and sign it; give (body, API-Sign)."""

@final
class NonceSequence:
    """Strictly rising nonces: max(last + 1, now)."""

    def __new__(cls, last: int = 0) -> NonceSequence: ...
    def next(self, now_ns: int) -> int:
        """Give the next nonce for a wall clock of `now_ns` unix nanoseconds."""
    @property
    def last(self) -> int:
        """The highest nonce given so far."""

TICKER_FIELDS: Final[tuple[str, ...]]
"""Order of a ticker row: bid, bid_qty, ask, ask_qty, last, volume, vwap, low, high, change,
change_pct, trades, exchange_ns, updated_ns. A value Kraken left out is None."""

CANDLE_FIELDS: Final[tuple[str, ...]]
"""Order of a candle row: open_s, open, high, low, close, vwap, volume, trades, closed, updated_ns."""

@final
class MarketCache:
    """Latest ticker and live candles of every symbol; shared by all connections of one feed."""

    def __new__(cls) -> MarketCache: ...
    def ticker(self, symbol: str) -> tuple[float | int | None, ...] | None:
        """Give the newest ticker as floats in the order of TICKER_FIELDS, or None when none came."""
    def ticker_exact(self, symbol: str) -> tuple[str | int | None, ...] | None:
        """The same with every price and quantity as its exact wire digits (decimal text)."""
    def candle(self, symbol: str, interval_minutes: int) -> tuple[float | int | bool, ...] | None:
        """Give the newest candle in the order of CANDLE_FIELDS, or None when none came."""
    def candle_exact(
        self, symbol: str, interval_minutes: int
    ) -> tuple[str | int | bool, ...] | None:
        """The same with exact decimal text."""
    def updated_ns(self, symbol: str) -> int | None:
        """Elapsed time of the newest ticker, or None."""
    def count_updated_since(self, since_ns: int) -> int:
        """How many symbols had a ticker at or after `since_ns`."""
    def close_due(self, wall_s: float, grace_s: float) -> int:
        """Mark candles closed whose end plus grace has passed; give how many were closed now.

        The closed ones are queued for `take_closed`, once each.
        """
    def take_closed(
        self,
    ) -> list[tuple[str, int, int, float, float, float, float, float, float, int]]:
        """Take the queue of closed candles, oldest first.

        Each is (symbol, interval_minutes, open_s, open, high, low, close, vwap, volume, trades).
        Closed by a newer candle or by `close_due`; never twice, never dropped.
        """
    def take_changed(self, watcher: int) -> tuple[list[str], list[tuple[str, int]]]:
        """Take what changed since this watcher's last call: (symbols with a new ticker,
        (symbol, interval) with a new candle state). Conflated: each once, whatever the number of updates.
        """
    def add_watcher(self) -> int:
        """Register a consumer of `take_changed`."""
    def remove_watcher(self, watcher: int) -> None:
        """Forget a consumer."""
    def forget(self, symbol: str) -> None:
        """Drop what is known of a symbol (it was delisted or unsubscribed)."""
    def clear_candles(self, symbol: str, interval_minutes: int) -> None:
        """Drop the live candle of one series."""

@final
class FrameTap:
    """One connection's way from received bytes to the cache.

    Takes complete, unfragmented server text frames out of the byte stream, decodes and applies
    them, and gives back everything else (handshake, control frames, fragments, anything odd) for
    the WebSocket library to judge. RFC 6455 stays that library's business.
    """

    def __new__(cls, cache: MarketCache, *, max_message_bytes: int = ...) -> FrameTap: ...
    def receive(self, data: bytes, now_ns: int) -> bytes:
        """Feed one received chunk; give the bytes to forward (may be empty)."""
    def apply_message(self, message: str | bytes, now_ns: int) -> None:
        """Apply one message that the WebSocket library delivered (it came fragmented, say)."""
    def take_events(self) -> list[tuple[object, ...]]:
        """Take what needs a reaction, oldest first. The first item names the kind:

        ("status", system, connection_id | None, raw_json)
        ("pong", req_id | None)
        ("subscribed", channel, symbol | None, interval | None, req_id | None, warnings: list[str])
        ("unsubscribed", channel | None, symbol | None, interval | None, req_id | None)
        ("refused", method, channel | None, symbol | None, interval | None, req_id | None, error)
        ("ticker_snapshot", symbol)          the first ticker data of a symbol on this connection
        ("ohlc_snapshot", symbol, interval)  a snapshot of candles arrived
        ("instrument", type, raw_json)       reference data, snapshot or update
        ("malformed", reason, sample)        sample: at most 200 bytes, printable
        ("other", channel | method)          known to be ignored
        """
    @property
    def events_pending(self) -> bool:
        """Whether `take_events` would give anything (cheap)."""
    @property
    def last_frame_ns(self) -> int:
        """Elapsed time of the newest application frame of any kind; 0 before the first."""
    @property
    def last_data_ns(self) -> int:
        """Elapsed time of the newest frame that is not a heartbeat, pong or status; 0 before."""
    @property
    def malformed_in_a_row(self) -> int:
        """Malformed frames since the last good one."""
    def statistics(self) -> dict[str, int]:
        """Counters: frames, messages, bytes, tapped, forwarded, tickers, candles, heartbeats,
        malformed, ignored, late."""
