"""What a sandbox can be told before it opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

DEFAULT_START_S = 1_794_916_830
"""2026-11-17T12:00:30Z: where virtual time begins, in the middle of a day and of a minute."""


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All knobs; the defaults give a full-sized, strict and cheap exchange."""

    start_s: int | None = None
    """Unix seconds at which the market's clock starts; None: 2026-11-17T12:00:30Z in memory,
    the wall clock on sockets."""
    real_time_factor: float = 1.0
    """Market seconds per second of trio's clock (sockets: of the wall clock)."""
    pair_count: int | None = None
    """Keep only so many pairs, busiest first; None: all 1,434."""

    activity: float = 1.0
    """Multiplies every pair's rate of trades; 24 h volumes stay the same."""
    quote_activity: float = 1.0
    """Multiplies every pair's rate of quote moves; 0 freezes quotes between trades."""
    history_activity: float = 0.02
    """Trades before the anchor day happen at this part of the rate (and are larger), so that long
    candles stay cheap."""
    trade_rates: Mapping[str, float] = msgspec.field(default_factory=dict)
    """Trades a second by altname, for all of the pair's life; replaces the two factors above."""
    listed_s: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Unix second of listing by altname; in the future: listed while running."""

    ohlc_rows: int = 721
    """Most rows of OHLC, the running one included; 720 was recorded as well."""
    ohlc_since_inclusive: bool = True
    """Whether OHLC answers from the very open time asked for; sources differ."""
    ohlc_revised_after_s: float = 0.0
    """So long after its end OHLC shows a candle as it stood at nine tenths of its interval, and
    only then with its last trades: Kraken revises candles (ccxt/ccxt#6742)."""
    public_cache_s: float = 0.0
    """Public answers but Time are given out again for so long, as the servers in front do (2 s)."""

    limits: bool = True
    """Whether REST and connect limits are enforced at all."""
    public_burst: float = 15.0
    """Public calls of one IP: size of the counter (unpublished: a guess)."""
    public_decay_per_s: float = 1.0
    """Public calls of one IP: decay a second."""
    pair_burst: float = 15.0
    """OHLC and Trades calls of one IP for one pair: size of the counter."""
    pair_decay_per_s: float = 1.0
    """OHLC and Trades calls of one IP for one pair: decay a second."""
    tier: Literal["starter", "intermediate", "pro"] = "starter"
    """Private counter: starter 15/-0.33, intermediate 20/-0.5, pro 20/-1."""
    history_cost: float = 4.0
    """Private counter: cost of history and ledger calls."""
    invalid_keys_before_lockout: int = 8
    """Consecutive rejected keys of one IP that lock it out."""
    lockout_s: float = 900.0
    """Length of the lockout."""
    connects_per_window: int = 150
    """WebSocket connects of one IP in `connect_window_s`; more are refused with HTTP 429."""
    connect_window_s: float = 600.0
    """Window and length of the connect ban."""
    messages_per_s: float = 50.0
    """Client messages a second on one connection (unpublished)."""
    message_burst: float = 100.0
    """Burst of client messages on one connection."""

    heartbeat_s: float = 1.0
    """Quiet time on a subscribed connection after which a heartbeat is sent."""
    inactivity_s: float = 60.0
    """A connection without subscriptions and without requests is closed after this long."""
    max_backlog: int = 50_000
    """Frames waiting for a client that does not read; beyond, its connection is dropped."""
    snake_case_key_info: bool = False
    """GetApiKeyInfo in snake_case instead of camelCase (both were seen)."""
    require_user_agent: bool = True
    """Refuse REST calls without User-Agent with a Cloudflare page."""
    require_stream_user_agent: bool = False
    """Refuse WebSocket handshakes without User-Agent likewise."""
    refusals_echo_req_id: bool = True
    """Whether refusals of WebSocket requests carry the req_id (documented, but not recorded)."""
    plain_duplicates: bool = True
    """Whether asking for the same ohlc interval again is told from asking for another one."""
    lean_frames: bool = False
    """Without what came only in 2026: stamp and trades of tickers, maintenance fields and
    connection_id of status (REST's SystemStatus alike), the outer stamp of ohlc."""
