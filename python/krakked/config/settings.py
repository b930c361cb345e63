"""What config.yaml may say, as frozen structs with their defaults. No I/O here."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every configuration struct: immutable, keyword-only, unknown keys refused."""


class RegionProfile(Settings, frozen=True):
    """Where the account lives and what it may do; read-only."""

    code: str = "US_CA"
    """Region code."""
    supports_margin: bool = False
    """Whether margin trading is allowed."""
    supports_futures: bool = False
    """Whether futures are allowed."""
    supports_staking: bool = False
    """Whether staking is allowed."""
    default_quote: str = "USD"
    """Quote currency of the universe, as the asset's short name."""


class MarginEligible(StrEnum):
    """What to do with spot pairs that Kraken marks as eligible for margin."""

    EXCLUDE = "exclude"
    INCLUDE = "include"


class UniverseSettings(Settings, frozen=True):
    """`universe:`; which pairs belong."""

    include_pairs: tuple[str, ...] = ()
    """Pairs to admit whatever the other rules say; any spelling."""
    exclude_pairs: tuple[str, ...] = ()
    """Pairs to leave out; wins over everything."""
    exclude_bases: tuple[str, ...] = ()
    """Base assets to leave out (short names such as USDT)."""
    min_24h_volume_usd: float = 0.0
    """Liquidity floor in USD a day; 0 turns it off."""
    margin_eligible: MarginEligible = MarginEligible.EXCLUDE
    """`exclude`, the contract's rule, leaves out BTC, ETH, SOL, XRP ...; `include` keeps them."""


class RestSettings(Settings, frozen=True):
    """`rest:`; the signed and public HTTP calls."""

    base_url: str = "https://api.kraken.com"
    """Another host must be https unless it is loopback."""
    public_calls_per_second: float = 1.0
    """Upper bound of public calls (Kraken's advice is 1 a second per IP)."""
    public_pair_calls_per_second: float = 1.0
    """Upper bound of OHLC and Trades calls for any one pair, within the bound above."""
    private_counter_max: float = 15.0
    """Kraken's private counter: its maximum (15 suits every tier)."""
    private_counter_decay_per_s: float = 0.33
    """Kraken's private counter: its decay a second (0.33 suits every tier)."""
    timeout_s: float = 30.0
    """Longest wait for a whole call, in seconds."""


class WebSocketSettings(Settings, frozen=True):
    """`market_data.ws:`; the live stream."""

    url: str = "wss://ws.kraken.com/v2"
    """Another host must be wss unless it is loopback."""
    stale_tolerance_seconds: float = 60.0
    """Data older than this is never handed out as fresh."""
    timeframes: tuple[str, ...] = ("1m", "5m", "1h")
    """Timeframes of the live candles; each takes a connection of its own."""


class StoreBackend(StrEnum):
    """File format of the candle store."""

    PARQUET = "parquet"
    CSV = "csv"


class OHLCStoreSettings(Settings, frozen=True):
    """`market_data.ohlc_store:`; closed candles on disk."""

    backend: StoreBackend = StoreBackend.PARQUET
    """`parquet` or `csv`."""
    root_dir: str = "~/.local/share/kraken_bot/ohlc"
    """Directory of the store; `~` is expanded."""


class MarketDataSettings(Settings, frozen=True):
    """`market_data:`."""

    ws: WebSocketSettings = WebSocketSettings()
    ohlc_store: OHLCStoreSettings = OHLCStoreSettings()


class KrakkedConfig(Settings, frozen=True):
    """The whole of config.yaml, in force."""

    region: RegionProfile = RegionProfile()
    universe: UniverseSettings = UniverseSettings()
    rest: RestSettings = RestSettings()
    market_data: MarketDataSettings = MarketDataSettings()
    config_dir: str = ""
    """Directory of config.yaml, secrets.enc and state/; set by the loader, never in the file."""
    exchange: str = ""
    """What the exchange is when its addresses cannot tell, as with a sandbox on a free port; set by
    the sandbox, never in the file. Empty: `krakked.config.identity.exchange_identity` names it."""
