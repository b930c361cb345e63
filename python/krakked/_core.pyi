"""krakked._core: the Rust core. Signing, nonces and the way from socket bytes to cache.

Nothing here reads a clock, opens a file or touches a socket, `SocketReader` apart: time comes in as
an argument. What holds a lock refuses a forked child with `ForkedProcessError`.
Times named ``*_ns`` are integer nanoseconds, ``*_s`` are unix seconds; ``now_ns`` is the *elapsed*
clock (`Clock.elapsed_ns`). Every class is safe to share between threads.
"""

from typing import ClassVar, Final, NoReturn, final

from typing_extensions import disjoint_base

__version__: Final[str]

__all__ = [
    "CandleBuilder",
    "ClosedCandle",
    "ExactCandle",
    "ExactTicker",
    "FrameSplitter",
    "FrameTap",
    "LiveCandle",
    "MarketCache",
    "NonceSequence",
    "OhlcvtParser",
    "Resampler",
    "Signer",
    "SocketReader",
    "Ticker",
    "TlsTrust",
    "WireEvent",
    "__version__",
]

@final
class Signer:
    """An API secret that signs and tells nothing else: no getter, copy or pickle; wiped on drop."""

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
        """Encode ``nonce`` and `params` as a form and sign it; give (body, API-Sign).

        The form is what `urllib.parse.urlencode` gives, with the nonce first.
        """

    def __reduce__(self) -> NoReturn:
        """Refuse with TypeError; so do copies."""

    def __reduce_ex__(self, protocol: object, /) -> NoReturn: ...
    def __getstate__(self) -> NoReturn: ...
    def __copy__(self) -> NoReturn: ...
    def __deepcopy__(self, memo: object, /) -> NoReturn: ...

@final
class NonceSequence:
    """Strictly rising nonces: max(last + 1, now)."""

    def __new__(cls, last: int = 0) -> NonceSequence: ...
    def next(self, now_ns: int) -> int:
        """Give the next nonce for a wall clock of `now_ns` unix nanoseconds.

        Raises:
            OverflowError: The highest 64-bit nonce was given; the key is used up.
        """
    @property
    def last(self) -> int:
        """The highest nonce given so far."""

@final
class Ticker:
    """The newest ticker of a symbol, as floats.

    Prices in quote per base, quantities in base units, `volume` to `change_pct` and `trades` over
    24 hours. What Kraken left out is None.
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def bid(self) -> float | None: ...
    @property
    def bid_qty(self) -> float | None: ...
    @property
    def ask(self) -> float | None: ...
    @property
    def ask_qty(self) -> float | None: ...
    @property
    def last(self) -> float | None: ...
    @property
    def volume(self) -> float | None: ...
    @property
    def vwap(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def change(self) -> float | None: ...
    @property
    def change_pct(self) -> float | None: ...
    @property
    def trades(self) -> int | None: ...
    @property
    def exchange_ns(self) -> int | None:
        """Kraken's time of the update, unix nanoseconds."""
    @property
    def updated_ns(self) -> int:
        """Elapsed time at which it came."""
    @property
    def late_ns(self) -> int:
        """How long before it was made, as far as its own time tells."""

@final
class ExactTicker:
    """The newest ticker of a symbol, each number as its exact wire digits: positional decimal text.

    Prices in quote per base, quantities in base units, `volume` to `change_pct` and `trades` over
    24 hours. What Kraken left out is None.
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def bid(self) -> str | None: ...
    @property
    def bid_qty(self) -> str | None: ...
    @property
    def ask(self) -> str | None: ...
    @property
    def ask_qty(self) -> str | None: ...
    @property
    def last(self) -> str | None: ...
    @property
    def volume(self) -> str | None: ...
    @property
    def vwap(self) -> str | None: ...
    @property
    def low(self) -> str | None: ...
    @property
    def high(self) -> str | None: ...
    @property
    def change(self) -> str | None: ...
    @property
    def change_pct(self) -> str | None: ...
    @property
    def trades(self) -> int | None: ...
    @property
    def exchange_ns(self) -> int | None:
        """Kraken's time of the update, unix nanoseconds."""
    @property
    def updated_ns(self) -> int:
        """Elapsed time at which it came."""
    @property
    def late_ns(self) -> int:
        """How long before it was made, as far as its own time tells."""

@final
class LiveCandle:
    """The newest candle of a series, as floats."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def open_s(self) -> int:
        """Open time, unix seconds."""
    @property
    def open(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def close(self) -> float: ...
    @property
    def vwap(self) -> float | None:
        """None where Kraken left it out."""
    @property
    def volume(self) -> float: ...
    @property
    def trades(self) -> int:
        """0 where Kraken left it out: a streamed candle has a trade at least."""
    @property
    def closed(self) -> bool: ...
    @property
    def updated_ns(self) -> int:
        """Elapsed time of the newest row."""
    @property
    def late_ns(self) -> int:
        """How long before it was made, as far as its event's time tells."""

@final
class ExactCandle:
    """The newest candle of a series, each number as its exact wire digits."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def open_s(self) -> int:
        """Open time, unix seconds."""
    @property
    def open(self) -> str: ...
    @property
    def high(self) -> str: ...
    @property
    def low(self) -> str: ...
    @property
    def close(self) -> str: ...
    @property
    def vwap(self) -> str | None:
        """None where Kraken left it out."""
    @property
    def volume(self) -> str: ...
    @property
    def trades(self) -> int:
        """0 where Kraken left it out: a streamed candle has a trade at least."""
    @property
    def closed(self) -> bool: ...
    @property
    def updated_ns(self) -> int:
        """Elapsed time of the newest row."""
    @property
    def late_ns(self) -> int:
        """How long before it was made, as far as its event's time tells."""

@final
class ClosedCandle:
    """A candle that is given out as closed; see `MarketCache.take_closed`."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def symbol(self) -> str: ...
    @property
    def interval_minutes(self) -> int: ...
    @property
    def open_s(self) -> int:
        """Open time, unix seconds."""
    @property
    def open(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def close(self) -> float: ...
    @property
    def vwap(self) -> float | None: ...
    @property
    def volume(self) -> float: ...
    @property
    def trades(self) -> int: ...
    @property
    def evidence(self) -> str:
        """One of the words under `MarketCache`."""

@final
class MarketCache:
    """Latest ticker and live candles of every symbol; shared by all connections of one feed.

    Keeps up to 16,384 symbols of at most 64 bytes, 16 intervals each; more is ignored and counted.
    Once `want` was called, only symbols that are wanted have a place.

    Rules of a candle: a row older than the newest candle never moves it back. Within a candle
    trades only rise; with the same number of trades the later event wins and the same event again
    is late.
    A candle is closed on evidence alone: a newer one of its series ("next"), an ohlc update of any
    symbol on its connection whose engine stamp is at least the grace after its end ("watermark"),
    or, on a connection without updates for 5 s, the pong to a ping that the gateway received after
    end and grace ("quiet"). The grace is 1 s, or three times the worst lag of ten minutes, at most
    15 s. While the symbol's ticker shows a trade that the candle lacks, it waits for its row, after
    20 s it is given out as "doubtful". A row for a candle given out before comes as "late". Rows of
    a snapshot that were missed are closed in order ("snapshot"). When a connection ends
    (`FrameTap.end`), or after `doubt`, what was not given out is unconfirmed until a row tells its
    state; what no row ever confirms is dropped and left to the back-fill.

    Rules of a ticker: a row with an exchange time before the known one is late and ignored. An
    update's own time tells how late it came (`late_ns`), by Kraken's clock and by this machine's,
    whichever is kinder; a row that bears no time of its own inherits what its connection's newest
    one told within a minute.

    Rows whose time lies more than a minute ahead of Kraken's clock, as its own answers tell it, or
    off the grid of their interval are refused and counted.
    """

    def __new__(cls) -> MarketCache: ...
    def ticker(self, symbol: str) -> Ticker | None:
        """Return the newest ticker as floats, or None before it."""
    def ticker_exact(self, symbol: str) -> ExactTicker | None:
        """The same with every number as its exact wire digits."""
    def candle(self, symbol: str, interval_minutes: int) -> LiveCandle | None:
        """Return the newest candle as floats, or None when none came."""
    def candle_exact(self, symbol: str, interval_minutes: int) -> ExactCandle | None:
        """The same with every number as its exact wire digits."""
    def updated_ns(self, symbol: str) -> int | None:
        """Elapsed time of the newest ticker, or None."""
    def learn_wall(self, wall_ns: int, now_ns: int) -> None:
        """Note what this machine's wall clock shows at an elapsed time."""
    def want(self, symbol: str) -> None:
        """Give a symbol a place; from the first call on all others are ignored."""
    def close_due(self, now_ns: int, *, held_up: bool = False) -> list[int]:
        """Close the candles for which there is evidence; queue them for `take_closed`.

        Args:
            now_ns: Elapsed time.
            held_up: This program was not reading for a while: rows look later than they were.

        Returns:
            Connections (`FrameTap.connection`) on which only the answer to a ping could tell.
        """
    def take_closed(self) -> list[ClosedCandle]:
        """Take the queue of closed candles, oldest first; of one series always in order.

        Never dropped, and never twice but as "late". The first snapshot of a series closes its
        older rows, too.
        """
    def expect_ticker(self, symbol: str, since_ns: int | None) -> None:
        """Note that a ticker is acknowledged since then, or promised no more (None)."""
    def expect_candles(self, symbol: str, interval_minutes: int, since_ns: int | None) -> None:
        """Note that a candle series is acknowledged since then, or promised no more (None)."""
    def take_mute(self, now_ns: int) -> tuple[list[str], list[tuple[str, int]]]:
        """Take what was promised and is mute while the other channel of its symbol flows.

        Symbols of tickers that show nothing of a trade that a candle row told 15 s ago, and
        (symbol, interval) of candles that bring nothing of a trade that the ticker showed 15 s ago
        (21 s when no row of another symbol tells that the candle maker is past it). Each is told
        once, until it is expected anew.
        """
    def traded(self, symbol: str, interval_minutes: int) -> int | None:
        """Give how many trades the rows of a series have told of; only differences count."""
    def take_passed_over(self, now_ns: int) -> list[tuple[str, int, int]]:
        """Take the intervals (symbol, interval, open_s) that were passed over.

        The ticker showed a trade in them 20 s ago or earlier, no row came, and a newer candle has
        begun. Each is told once.
        """
    def doubt(self, symbol: str, interval_minutes: int) -> None:
        """Leave what was not given out of a series unconfirmed until a row tells its state."""
    def take_doubt(self, symbol: str, interval_minutes: int) -> int | None:
        """Take the open time of the oldest candle that fell into doubt since the last call."""
    def server_ns(self, now_ns: int) -> int | None:
        """Give Kraken's time at an elapsed time, unix nanoseconds; None before its first answer."""
    def take_changed(
        self, watcher: int, *, arm: bool = False
    ) -> tuple[list[str], list[tuple[str, int]]]:
        """Take what changed since this watcher's last call.

        Args:
            watcher: From `add_watcher`.
            arm: If nothing did, the next change wakes who waits for the descriptor of `listen`.

        Symbols with a new ticker, and (symbol, interval) with a new candle state. Conflated: each
        once, whatever the number of updates; the longest unchanged first.

        Raises:
            KeyError: No such watcher.
        """
    def add_watcher(self, *, everything: bool = False) -> int:
        """Register a consumer of `take_changed`, which sees changes from now on.

        Args:
            everything: What is known counts as changed, once.
        """
    def remove_watcher(self, watcher: int) -> None:
        """Forget a consumer."""
    def forget(self, symbol: str) -> None:
        """Drop what is known of a symbol (it was delisted or unsubscribed); it is wanted no more.

        Which of its candles were given out as closed stays remembered.
        """
    def listen(self, conflate_ns: int) -> int:
        """Give the descriptor that becomes readable when a change wakes a listener who armed.

        Readers' threads wake at once for the first change, then at most once in `conflate_ns`; 0:
        for each. Not on Windows.
        """
    def unlisten(self) -> None:
        """Close that descriptor; to be called when nobody waits for it. Not on Windows."""
    def wake(self) -> None:
        """Make that descriptor readable, whatever happened."""
    def heard(self) -> None:
        """Say that the listener is awake; to be called before it looks for changes."""
    def clear_candles(self, symbol: str, interval_minutes: int) -> None:
        """Drop the live candle of one series."""

@final
class FrameTap:
    """One connection's way from received bytes to the cache.

    Takes complete, unfragmented server text frames out of the byte stream, decodes and applies
    them, and gives back everything else (handshake, control frames, fragments, anything odd) for
    the WebSocket library to judge. RFC 6455 stays that library's business.
    """

    def __new__(cls, cache: MarketCache, *, max_message_bytes: int = ...) -> FrameTap:
        """A tap at the start of a connection, before the HTTP reply.

        Args:
            cache: Where tickers and candles go.
            max_message_bytes: Larger text frames are handed on; default 8 MiB. Give the WebSocket
                library the same cap.
        """

    def receive(self, data: bytes | bytearray | memoryview, now_ns: int) -> bytes:
        """Feed one received chunk; give the bytes to forward (may be empty)."""
    def apply_message(self, message: str | bytes, now_ns: int) -> None:
        """Apply one message that the WebSocket library delivered (it came fragmented, say)."""
    def end(self) -> None:
        """The connection is over: its running candles are unconfirmed from here on.

        Call it as soon as the loss is noticed; may be called twice. Dropping the tap does it, too.
        """
    def take_events(self) -> list[WireEvent]:
        """Take what needs a reaction, oldest first.

        At most 65,536 events wait (32 MiB of raw JSON, 32 malformed ones); more are dropped and
        counted. The order is the order of the messages.
        """
    @property
    def connection(self) -> int:
        """The number of this connection in `MarketCache.close_due`."""
    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun and is not complete."""
    @property
    def lag_ns(self) -> tuple[int, int] | None:
        """Worst lag of candle rows in ten minutes, and the grace that follows; None after `end`."""
    @property
    def events_pending(self) -> bool:
        """Whether `take_events` would give anything (cheap)."""
    @property
    def last_frame_ns(self) -> int:
        """Elapsed time of the newest application frame of any kind; 0 before the first."""
    @property
    def last_data_ns(self) -> int:
        """Elapsed time of the newest good message but heartbeat, pong and status; 0 before."""
    @property
    def malformed_in_a_row(self) -> int:
        """Malformed frames since the last good one."""
    def statistics(self) -> dict[str, int]:
        """Count what this connection has seen.

        frames, messages, bytes, tapped, forwarded, tickers, candles, heartbeats, malformed,
        refused, ignored, late, events_dropped.
        """

@disjoint_base
class WireEvent:
    """What the exchange said that needs a reaction: one of the classes below."""

    @final
    class Status(WireEvent):
        """What the exchange's state is, upon connecting and on every change."""

        __match_args__: ClassVar[tuple[str, ...]]
        def __new__(
            cls,
            system: str,
            connection_id: int | None,
            raw_json: str,
        ) -> WireEvent.Status: ...
        @property
        def system(self) -> str:
            """``online``, ``maintenance``, ``cancel_only``, ``post_only``, or what comes next."""
        @property
        def connection_id(self) -> int | None:
            """Kraken's number of this connection."""
        @property
        def raw_json(self) -> str:
            """The element as sent."""

    @final
    class Pong(WireEvent):
        """An answer to our ping."""

        __match_args__: ClassVar[tuple[str, ...]]
        def __new__(cls, req_id: int | None) -> WireEvent.Pong: ...
        @property
        def req_id(self) -> int | None:
            """Ours, echoed."""

    @final
    class Subscribed(WireEvent):
        """A subscription is acknowledged."""

        __match_args__: ClassVar[tuple[str, ...]]
        def __new__(
            cls,
            channel: str | None,
            symbol: str | None,
            interval: int | None,
            req_id: int | None,
            warnings: list[str],
        ) -> WireEvent.Subscribed: ...
        @property
        def channel(self) -> str | None: ...
        @property
        def symbol(self) -> str | None: ...
        @property
        def interval(self) -> int | None:
            """Minutes."""
        @property
        def req_id(self) -> int | None:
            """Ours, echoed."""
        @property
        def warnings(self) -> list[str]:
            """Notes of the exchange."""

    @final
    class Unsubscribed(WireEvent):
        """A subscription has ended, asked for or not."""

        __match_args__: ClassVar[tuple[str, ...]]
        def __new__(
            cls,
            channel: str | None,
            symbol: str | None,
            interval: int | None,
            req_id: int | None,
        ) -> WireEvent.Unsubscribed: ...
        @property
        def channel(self) -> str | None: ...
        @property
        def symbol(self) -> str | None: ...
        @property
        def interval(self) -> int | None:
            """Minutes."""
        @property
        def req_id(self) -> int | None:
            """Ours, echoed."""

    @final
    class Refused(WireEvent):
        """A request was refused."""

        __match_args__: ClassVar[tuple[str, ...]]
        def __new__(
            cls,
            method: str,
            channel: str | None,
            symbol: str | None,
            interval: int | None,
            req_id: int | None,
            error: str,
        ) -> WireEvent.Refused: ...
        @property
        def method(self) -> str:
            """Empty when the answer does not say."""
        @property
        def channel(self) -> str | None: ...
        @property
        def symbol(self) -> str | None: ...
        @property
        def interval(self) -> int | None:
            """Minutes."""
        @property
        def req_id(self) -> int | None:
            """Ours, echoed."""
        @property
        def error(self) -> str:
            """Kraken's text."""

    @final
    class TickerSnapshot(WireEvent):
        """A snapshot of a symbol's ticker was applied."""

        __match_args__: ClassVar[tuple[str, ...]]
        def __new__(cls, symbol: str) -> WireEvent.TickerSnapshot: ...
        @property
        def symbol(self) -> str: ...

    @final
    class OhlcSnapshot(WireEvent):
        """A snapshot of candles was applied."""

        __match_args__: ClassVar[tuple[str, ...]]
        def __new__(
            cls,
            symbol: str,
            interval: int,
            oldest_s: int,
            newest_s: int,
            gateway_ns: int | None,
        ) -> WireEvent.OhlcSnapshot: ...
        @property
        def symbol(self) -> str: ...
        @property
        def interval(self) -> int:
            """Minutes."""
        @property
        def oldest_s(self) -> int:
            """Open time of its oldest row."""
        @property
        def newest_s(self) -> int:
            """Open time of its newest row."""
        @property
        def gateway_ns(self) -> int | None:
            """Kraken's time of it, unix nanoseconds."""

    @final
    class Instrument(WireEvent):
        """Reference data."""

        __match_args__: ClassVar[tuple[str, ...]]
        def __new__(cls, snapshot: bool, raw_json: str) -> WireEvent.Instrument: ...
        @property
        def snapshot(self) -> bool: ...
        @property
        def raw_json(self) -> str:
            """``data`` as sent."""

    @final
    class Malformed(WireEvent):
        """A message made no sense."""

        __match_args__: ClassVar[tuple[str, ...]]
        def __new__(cls, reason: str, sample: str) -> WireEvent.Malformed: ...
        @property
        def reason(self) -> str: ...
        @property
        def sample(self) -> str:
            """At most 200 characters, printable ASCII."""

    @final
    class Other(WireEvent):
        """A channel or method of no use here; each name is told once."""

        __match_args__: ClassVar[tuple[str, ...]]
        def __new__(cls, name: str) -> WireEvent.Other: ...
        @property
        def name(self) -> str: ...

@final
class TlsTrust:
    """Certificates whose holders may vouch for servers, parsed once for any number of readers.

    Not on Windows.
    """

    def __new__(cls, roots: list[bytes]) -> TlsTrust:
        """Parse certificates in DER; what cannot be an authority is left out."""
    @property
    def roots(self) -> int:
        """How many are trusted."""

@final
class SocketReader:
    """A connected socket that a thread of its own reads into a `FrameTap`, without Python.

    The thread stamps what arrives with the elapsed time of `SystemClock`, decodes and applies it,
    answers protocol pings between whole frames, and speaks TLS where asked (rustls). It handles no
    signal, and never takes the interpreter's lock. Everything else it keeps for the event loop: at
    most 1 MiB to be forwarded, beyond which the socket is not read, and 256 KiB to be sent. Not on
    Windows.
    """

    def __new__(
        cls,
        tap: FrameTap,
        descriptor: int,
        *,
        trust: TlsTrust | None = None,
        host: str | None = None,
    ) -> SocketReader:
        """Take a descriptor over; it is closed here, also when this raises.

        Args:
            tap: Where received bytes go; from now on it is this reader's alone to feed.
            descriptor: A connected TCP socket's, given away by `socket.detach`.
            trust: Whom to trust; None speaks no TLS.
            host: The server's name or address, which its certificate must bear.

        Raises:
            OSError: No thread or descriptor is left.
            ValueError: TLS cannot be spoken with such a host name.
        """
    @property
    def descriptor(self) -> int:
        """Becomes readable when an armed call is to be made again; OSError once closed."""
    def clear(self) -> None:
        """Say that the event loop is awake; to be called before the calls that arm."""
    def open_or_arm(self) -> bool | None:
        """Whether the TLS handshake is done; False when it never will be, None when not yet."""
    def take_or_arm(self, max_bytes: int | None = None) -> bytes | bool | None:
        """Take what the WebSocket library has to see; b"" at the end.

        Returns:
            True: events or closed candles wait, look again afterwards. None: nothing yet.
        """
    def send(self, data: bytes | bytearray | memoryview, start: int = 0) -> int:
        """Hand over a whole frame, or the rest of one from `start`; give how much was taken."""
    def room_or_arm(self) -> bool:
        """Whether `send` would take anything."""
    def close(self) -> None:
        """Send what the socket takes at once; no thread or descriptor is left after this."""
    @property
    def end(self) -> tuple[str, str] | None:
        """Why nothing more comes: a kind and words; None while it may.

        Kinds: ``eof``; ``cut``, eof without TLS's farewell; ``os``, an error of the system;
        ``tls``, by either side; ``panic``, a fault of ours; ``closed``, by this side.
        """
    @property
    def finished(self) -> bool:
        """Whether the thread does nothing more; after ``eof`` and ``cut`` it still sends."""
    @property
    def received_bytes(self) -> int:
        """Bytes received so far, TLS's own not counted."""
    @property
    def last_bytes_ns(self) -> int:
        """Elapsed time of the newest bytes of any kind; of the opening before the first."""

@final
class FrameSplitter:
    """The tap of `FrameTap` without a cache: for recording, and for tests against an echo."""

    def __new__(cls, *, max_message_bytes: int = ...) -> FrameSplitter: ...
    def receive(self, data: bytes | bytearray | memoryview) -> tuple[list[str], bytes]:
        """Feed one received chunk; give (texts taken out, bytes to forward)."""
    @property
    def surrendered(self) -> bool:
        """Whether everything is forwarded from here on (no 101, Close, or a protocol violation)."""

@final
class CandleBuilder:
    """Candles of one or several intervals out of trades, exactly.

    A trade's id decides, not the order of arrival: an id counts once, the lowest id of an interval
    opens it, the highest closes it. Trades without id (CSV) count in the order of arrival. Volume
    and turnover are summed as integers and rounded once, to the nearest double. Memory is bounded
    by the candles not taken yet, never by the length of the tape.
    """

    def __new__(
        cls,
        intervals_minutes: list[int],
        *,
        earliest_ns: int = ...,
        latest_ns: int = ...,
        silence_ns: int = ...,
    ) -> CandleBuilder:
        """Start with nothing.

        Args:
            intervals_minutes: Of the candles.
            earliest_ns: A trade of a CSV that is earlier is a bad line.
            latest_ns: A trade of a CSV that is later is a bad line.
            silence_ns: More than this between two trades of a CSV is told by `take_silences`.
        """
    def add(self, time_ns: int, price: str, volume: str, trade_id: int | None = None) -> bool:
        """Count one trade; False when its id was counted before.

        Raises:
            ValueError: No decimal numbers, negative ones, or a trade of a candle taken already.
        """
    def add_page(
        self, reply: bytes, start_ns: int = 0, end_ns: int = ...
    ) -> tuple[int, int, int | None, int | None, int | None, int | None, int | None]:
        """Count the trades with start_ns <= time < end_ns of one reply of `Trades`.

        Trades outside only leave their id, so that they are no holes.

        Returns:
            (rows, rows counted, lowest id, highest id, time_ns of the lowest, time_ns of the
            highest, Kraken's `last` in nanoseconds).

        Raises:
            ValueError: The reply is malformed (what and where), or a trade came too late.
        """
    def add_csv(self, piece: bytes, *, is_last: bool = False) -> int:
        """Count a piece of a time-and-sales CSV (unix seconds, price, volume); give its trades.

        A line is judged when the next one is known: trades come one behind, the last with
        `is_last`. Bad lines are left out, see `bad_lines`.
        """
    def bad_lines(self) -> tuple[int, list[tuple[int, str]]]:
        """How many lines of the CSV were left out, and (1-based number, problem) of the first 10.

        No trade, in the future, at the wrong place (the time does not rise), negative, or of a
        candle that was taken already.
        """
    def take_doubts(self) -> list[tuple[int, int]]:
        """Take where lines were left out: times of the trades around them, unix nanoseconds.

        Candles from the one with the first to the one with the second may lack trades.
        """
    def take_silences(self) -> list[tuple[int, int]]:
        """Take the stretches of more than `silence_ns` without a trade, as `take_doubts` does."""
    def take(self, interval_minutes: int, before_s: int | None = None) -> dict[str, bytes]:
        """Take the candles that open before `before_s` (all with None), oldest first, as columns.

        Little-endian int64 `time` (open, unix seconds) and `count`; float64 `open`, `high`, `low`,
        `close`, `vwap` (NaN when the volume is 0), `volume`. Only candles with trades. Trades
        before `before_s` are too late from now on.
        """
    def pending(self, interval_minutes: int) -> int:
        """How many candles of an interval have not been taken."""
    def newest_s(self, interval_minutes: int) -> int | None:
        """Open time of the newest candle of an interval that has not been taken."""
    def holes(self) -> list[tuple[int, int]]:
        """Runs of ids (first, last) never seen although lower and higher ones were."""
    @property
    def last_id(self) -> int | None:
        """The highest id seen."""

@final
class OhlcvtParser:
    """One CSV file of Kraken's OHLCVT archive, read piece by piece into columns."""

    def __new__(
        cls,
        interval_minutes: int,
        *,
        earliest_s: int = 0,
        now_s: int = ...,
        silence_s: int = ...,
    ) -> OhlcvtParser:
        """Start a file.

        Args:
            interval_minutes: Of its candles.
            earliest_s: A candle that opens before it (unix seconds) is a bad line.
            now_s: A candle that ends after it (unix seconds) is a bad line.
            silence_s: More seconds than these without a candle are told by `take_silences`.
        """
    def feed(self, piece: bytes, *, is_last: bool = False) -> None:
        """Read the next piece; a line may span pieces.

        A line is judged when the next one is known: rows come one behind, the last with `is_last`.
        Bad lines are left out, see `bad_lines`.
        """
    def bad_lines(self) -> tuple[int, list[tuple[int, str]]]:
        """How many lines were left out, and (1-based number, problem) of the first 10.

        No candle, off the interval's grid, in the future, contradicting itself, or at the wrong
        place (a time twice, or one that does not rise).
        """
    def take_doubts(self) -> list[tuple[int, int]]:
        """Take where lines were left out: (end of the row before, open time of the row behind).

        Unix seconds. Candles in between are not known to be without trades.
        """
    def take_silences(self) -> list[tuple[int, int]]:
        """Take the stretches of more than `silence_s` without a candle, as `take_doubts` does."""
    @property
    def in_order(self) -> bool:
        """Whether the file has not gone back in time; if it has, rows come as they stand there."""
    def take(self, before_s: int | None = None) -> dict[str, bytes]:
        """Take the rows that open before `before_s` (all with None, or not in order) as columns.

        Like `CandleBuilder.take`, but without `vwap`: the archive has none.
        """
    @property
    def rows(self) -> int:
        """How many rows wait to be taken."""
    @property
    def last_s(self) -> int | None:
        """Open time of the newest row read."""

@final
class Resampler:
    """Puts candles of one series, oldest first, together between edges.

    An interval without trades opens nothing. Volumes that are whole numbers of 10^-8 are added as
    such.

    Args:
        edges: Where periods begin, and where the last one ends: unix seconds, rising.
    """

    def __new__(cls, edges: list[int]) -> Resampler: ...
    def feed(
        self,
        columns: tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes],
        source: bytes,
    ) -> None:
        """Take the next candles.

        Args:
            columns: Little-endian int64 `time`, float64 `open`, `high`, `low`, `close`, `vwap`
                (NaN: none) and `volume`, int64 `count`.
            source: int8.

        Raises:
            ValueError: The columns differ in length, or the rows are out of order or of the edges.
        """
    def finish(self) -> dict[str, bytes]:
        """Give the candles, once.

        Returns:
            Columns of the same types by name (`source`: the weakest one, as int64), and `end` and
            `rows`, int64: where each period ends, and of how many candles it is made.
        """
