"""Everything the sandbox can be told to do wrong: `exchange.faults`.

Calls with "all" act on the connections open now; the others arm something for later. `clear()`
ends every standing fault. All randomness is seeded by the sandbox.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import trio

from krakked._sandbox.digits import NS
from krakked._sandbox.faulty_stream import FaultyStream
from krakked._sandbox.hostile import HOSTILE_KINDS, STORM
from krakked._sandbox.reference_channel import instrument_update
from krakked._sandbox.rest_faults import RestFaults
from krakked._sandbox.venue import Venue
from krakked._sandbox.ws_connection import ClientConnection
from krakked._sandbox.ws_server import WsServer


class Faults:
    """Faults by call.

    Attributes:
        rest: Faults of REST.
    """

    def __init__(self, venue: Venue, server: WsServer, rest: RestFaults, seed: int) -> None:
        self.rest = rest
        self._venue = venue
        self._server = server
        self._random = random.Random(f"faults {seed}")  # noqa: S311 - not for secrets
        self._refused_connects = 0
        self._refusing = False
        self._cut_mean_bytes: int | None = None
        self._cut_next: list[int] = []
        self._slices = 0
        self._slice_pause_s = 0.0
        self._fragments = 0
        self._silent_mean_bytes: int | None = None
        self._garbage = self._stalled = False
        server.on_stream = self._prepare

    def clear(self) -> None:
        """End every standing fault; open connections flow again."""
        stream = self._server.faults
        stream.coalesce = stream.mute_all = stream.refuse_all = False
        stream.refused.clear()
        stream.muted.clear()
        stream.refused_channels = stream.muted_channels = None
        stream.duplicate_chance = stream.late_chance = stream.malformed_chance = 0.0
        stream.oversized_times = stream.rate_errors = stream.lost_acks = 0
        stream.refusal_text = stream.refusals_left = None
        stream.lag_s = stream.lag_jitter_s = stream.late_rows_chance = stream.hold_all_s = 0.0
        stream.lagging = None
        stream.held.clear()
        stream.pongs_overtake = False
        self._server.link.bytes_per_s = None
        self._server.reject_next.clear()
        self._server.reject_always = None
        self._refused_connects, self._refusing = 0, False
        self._cut_mean_bytes = self._silent_mean_bytes = None
        self._garbage = self._stalled = False
        self._server.close_after_s = None
        self._cut_next.clear()
        self.slice_bytes(0)
        self.fragment(0)
        self.resume()
        self.rest.clear()
        self._venue.clock.shown_offset_ns = 0
        if self._venue.system != "online":
            self.set_system("online")

    # --- bytes ----------------------------------------------------------------------------------

    def _chosen(self, numbers: Iterable[int] | None) -> list[ClientConnection]:
        open_now = self._server.connections
        if numbers is None:
            return list(open_now.values())
        return [open_now[n] for n in numbers if n in open_now]

    async def cut(self, connections: Iterable[int] | None = None) -> int:
        """Drop connections now, without a closing handshake; gives how many."""
        chosen = self._chosen(connections)
        for connection in chosen:
            await connection.stream.drop()
        return len(chosen)

    def cut_after(self, sent_bytes: int, connections: Iterable[int] | None = None) -> None:
        """Drop open connections after so many more bytes, in the middle of a frame if need be."""
        for connection in self._chosen(connections):
            connection.stream.cut_after = sent_bytes

    def cut_next_after(self, sent_bytes: int) -> None:
        """Drop the next connection after so many bytes, the handshake's answer included."""
        self._cut_next.append(sent_bytes)

    def cut_randomly(self, mean_bytes: int | None) -> None:
        """Drop every later connection after a random number of bytes; None ends it."""
        self._cut_mean_bytes = mean_bytes

    def half_open(self, connections: Iterable[int] | None = None) -> int:
        """Let connections fall silent in both directions without closing them; gives how many."""
        chosen = self._chosen(connections)
        for connection in chosen:
            connection.stream.silent = True
        return len(chosen)

    def half_open_randomly(self, mean_bytes: int | None) -> None:
        """Let every later connection fall silent after a random number of bytes; None ends it."""
        self._silent_mean_bytes = mean_bytes

    def never_answer(self, on: bool = True) -> None:
        """Leave the handshakes of later connections unanswered."""
        self._stalled = on

    def garbage(self, on: bool = True) -> None:
        """Send random bytes instead of frames on later connections."""
        self._garbage = on

    def close_after(self, seconds: float | None) -> None:
        """Close later connections politely (a close frame) after so many seconds; None ends it."""
        self._server.close_after_s = seconds

    def stall(self, connections: Iterable[int] | None = None) -> None:
        """Hold back everything sent, until `resume`."""
        for connection in self._chosen(connections):
            connection.stream.stall()

    def resume(self, connections: Iterable[int] | None = None) -> None:
        """Let stalled connections flow again."""
        for connection in self._chosen(connections):
            connection.stream.resume()

    def slice_bytes(self, longest: int, pause_s: float = 0.0) -> None:
        """Send in pieces of 1 to `longest` bytes, on open and later connections; 0 ends it."""
        self._slices, self._slice_pause_s = longest, pause_s
        for connection in self._chosen(None):
            connection.stream.slices, connection.stream.slice_pause_s = longest, pause_s

    def link_rate(self, bytes_per_s: float | None) -> None:
        """Let all connections together carry so many bytes a second to the client; None ends it."""
        self._server.link.bytes_per_s = bytes_per_s

    def coalesce(self, on: bool = True) -> None:
        """Put all frames that wait into one piece of bytes (they are when several wait, anyway)."""
        self._server.faults.coalesce = on

    def fragment(self, count: int) -> None:
        """Split every frame into so many WebSocket fragments; 0 ends it."""
        self._fragments = count
        for connection in self._chosen(None):
            connection.stream.fragments = count

    def _prepare(self, stream: FaultyStream) -> None:
        stream.slices, stream.slice_pause_s = self._slices, self._slice_pause_s
        stream.fragments = self._fragments
        stream.garbage = self._garbage
        if self._stalled:
            stream.stall()
        if self._silent_mean_bytes is not None:
            stream.silent_after = int(self._random.expovariate(1 / self._silent_mean_bytes))
        if self._cut_next:
            stream.cut_after = self._cut_next.pop(0)
        elif self._cut_mean_bytes is not None:
            stream.cut_after = int(self._random.expovariate(1 / self._cut_mean_bytes))

    # --- connecting -----------------------------------------------------------------------------

    def refuse_connects(self, times: int | None = None) -> None:
        """Refuse TCP connects of the stream: so many times, or until `allow_connects`.

        In memory mode `open_stream` then raises ConnectionRefusedError; on sockets the connection
        is closed before the handshake.
        """
        if times is None:
            self._refusing = True
        else:
            self._refused_connects += times

    def allow_connects(self) -> None:
        """Refuse no more."""
        self._refused_connects, self._refusing = 0, False
        self._server.reject_next.clear()
        self._server.reject_always = None

    def takes_connect(self) -> bool:
        """Whether a connect is let through (asked by the network)."""
        if self._refusing:
            return False
        if self._refused_connects:
            self._refused_connects -= 1
            return False
        return True

    def accept_then_drop(self, times: int | None = 1) -> None:
        """Shake hands and drop at once; `times=None`: until `allow_connects`."""
        if times is None:
            self._server.reject_always = 0
        else:
            self._server.reject_next += [0] * times

    def cloudflare_page(self, status: int = 503, times: int | None = 1) -> None:
        """Answer handshakes with an HTML page; `times=None`: until `allow_connects`."""
        if times is None:
            self._server.reject_always = status
        else:
            self._server.reject_next += [status] * times

    def hostile(self, kind: str) -> None:
        """Become a server of some hostile kind, until `clear`.

        Kinds are ``refuses``, ``answers 503``, ``falls silent early``, ``is in maintenance`` and
        others; a wrong one is a `KeyError`.
        """
        HOSTILE_KINDS[kind](self)

    async def storm(self, seconds: float, *, mean_gap_s: float = 20.0) -> None:
        """Make something go wrong every now and then, drawn from the seed; to be run as a task.

        Cuts at random bytes, half-open and stalled connections, refusals, pages, drops, sliced and
        fragmented bytes, broken JSON; each lasts a while. All is well again when it returns.
        """
        end = trio.current_time() + seconds
        while True:
            await trio.sleep(self._random.expovariate(1 / mean_gap_s))
            if trio.current_time() >= end:
                break
            await self._random.choice(STORM)(self, self._random)
        self.clear()

    # --- content --------------------------------------------------------------------------------

    def malformed(self, chance: float) -> None:
        """Send broken or strange JSON before good frames, with a probability."""
        self._server.faults.malformed_chance = chance

    def oversized(self, size: int = 8 << 20, times: int = 1) -> None:
        """Send frames of so many bytes before the next data frames."""
        self._server.faults.oversized_bytes = size
        self._server.faults.oversized_times = times

    def mute(
        self, symbols: Iterable[str] | None = None, channels: Iterable[str] | None = None
    ) -> None:
        """Acknowledge subscriptions, but send no data for them (all symbols by default)."""
        faults = self._server.faults
        faults.mute_all = symbols is None
        faults.muted |= set(symbols or ())
        faults.muted_channels = None if channels is None else frozenset(channels)

    def unmute(self) -> None:
        """Send data again."""
        self._server.faults.mute_all = False
        self._server.faults.muted.clear()
        self._server.faults.muted_channels = None

    def refuse_symbols(
        self,
        symbols: Iterable[str],
        channels: Iterable[str] | None = None,
        *,
        error: str | None = None,
        times: int | None = None,
    ) -> None:
        """Refuse subscriptions for some symbols.

        Args:
            symbols: Which.
            channels: Of which channels; all by default.
            error: The exchange's text; "Currency pair not supported ..." by default, which lasts.
                "EService:Unavailable" passes.
            times: So many refusals in all, then none; None: until `accept_symbols`.
        """
        faults = self._server.faults
        faults.refused |= set(symbols)
        faults.refused_channels = None if channels is None else frozenset(channels)
        faults.refusal_text, faults.refusals_left = error, times

    def end_subscriptions(self, symbols: Iterable[str], channels: Iterable[str]) -> int:
        """Let the exchange end subscriptions on its own, and say so; gives how many."""
        wanted, ended = (set(symbols), set(channels)), 0
        for connection in self._chosen(None):
            for held in list(connection.subscriptions.values()):
                if held.symbol in wanted[0] and held.channel in wanted[1]:
                    connection.end(held)
                    ended += 1
        return ended

    def refuse_all_symbols(self) -> None:
        """Refuse every subscription for a symbol."""
        self._server.faults.refuse_all = True

    def accept_symbols(self) -> None:
        """Refuse none any more."""
        self._server.faults.refuse_all = False
        self._server.faults.refused.clear()
        self._server.faults.refused_channels = None
        self._server.faults.refusal_text = self._server.faults.refusals_left = None

    def message_rate_error(self, times: int = 1) -> None:
        """Answer the next requests with "Exceeded msg rate"."""
        self._server.faults.rate_errors += times

    def lose_acks(self, times: int) -> None:
        """Subscribe, but send no acknowledgement for the next so many symbols."""
        self._server.faults.lost_acks = times

    def lag_candles(
        self, seconds: float, *, jitter_s: float = 0.0, symbols: Iterable[str] | None = None
    ) -> None:
        """Let the candle maker be late behind ticker and gateway, its snapshots likewise.

        Args:
            seconds: How late each row of ohlc is.
            jitter_s: At most so much later, anew for each row; rows of a pair stay in order.
            symbols: Only these; all by default.
        """
        faults = self._server.faults
        faults.lag_s, faults.lag_jitter_s = seconds, jitter_s
        faults.lagging = None if symbols is None else set(symbols)

    def lag_tickers(self, seconds: float) -> None:
        """Let tickers come so late, and all else in time; those under way still come later."""
        self._server.faults.ticker_lag_s = seconds

    def late_rows(self, chance: float, seconds: float) -> None:
        """Send some ohlc rows up to so much later, behind newer rows and newer candles."""
        self._server.faults.late_rows_chance = chance
        self._server.faults.late_rows_s = seconds

    def hold_data(self, seconds: float, connections: Iterable[int] | None = None) -> None:
        """Keep data back in the gateway for so long, answers to pings too; 0 ends it.

        With `connections` only there, so that others overtake them.
        """
        if connections is None:
            self._server.faults.hold_all_s = seconds
            self._server.faults.held.clear()
        else:
            self._server.faults.held |= dict.fromkeys(connections, seconds)

    def pongs_overtake(self, on: bool = True) -> None:
        """Answer application pings at once, ahead of data that waits."""
        self._server.faults.pongs_overtake = on

    def duplicate_candles(self, chance: float) -> None:
        """Send some ohlc updates twice."""
        self._server.faults.duplicate_chance = chance

    def late_candles(self, chance: float) -> None:
        """Send some ohlc updates again after a newer one."""
        self._server.faults.late_chance = chance

    # --- the exchange's state -------------------------------------------------------------------

    async def system(self, status: str, *, drop: bool = False) -> None:
        """Change the system status (online, maintenance, cancel_only, post_only) and announce it.

        In maintenance no market data flows and REST answers EService:Unavailable; `drop` also ends
        all connections.
        """
        self.set_system(status)
        if drop:
            await self.cut()

    def set_system(self, status: str) -> None:
        """Change and announce the system status like `system`, without waiting."""
        self._venue.system = status
        self._server.pump.paused = status == "maintenance"
        self._announce()

    async def maintenance(self, *, drop: bool = False) -> None:
        """Begin maintenance; end it with `system("online")`."""
        await self.system("maintenance", drop=drop)

    async def cancel_only(self) -> None:
        """Only cancelling is allowed; data flows on."""
        await self.system("cancel_only")

    def announce_maintenance(self, element: object) -> None:
        """Put something into `upcoming_maintenance` and announce it."""
        self._venue.upcoming_maintenance.append(element)
        self._announce()

    def announce_emergency(self, element: object) -> None:
        """Put something into `emergency` and announce it."""
        self._venue.emergency.append(element)
        self._announce()

    def withdraw_notices(self) -> None:
        """Take all maintenance and emergencies back and say so."""
        self._venue.upcoming_maintenance.clear()
        self._venue.emergency.clear()
        self._announce()

    def _announce(self) -> None:
        for connection in self._chosen(None):
            connection.send_status()

    def pair_status(self, pair: str, status: str) -> None:
        """Change a pair's status, told to `instrument` subscribers; `delisted` removes it."""
        found = self._venue.directory.any(pair)
        self._venue.set_status(found, status)
        update = instrument_update(self._venue, found)
        for connection in self._chosen(None):
            if ("instrument", "") in connection.subscriptions:
                connection.push_data("instrument", "", update)
            if status == "delisted":
                for held in list(connection.subscriptions.values()):
                    if held.symbol == found.symbol:
                        connection.leave(held)

    def delist(self, pair: str) -> None:
        """Remove a pair: unknown to REST, its data ends without a word."""
        self.pair_status(pair, "delisted")

    def skew_server_clock(self, seconds: float) -> None:
        """Let the gateway's clock be wrong (Time, SystemStatus, acks, pongs, stamps of snapshots).

        The market and the engine's stamps are not moved.
        """
        self._venue.clock.shown_offset_ns = int(seconds * NS)
