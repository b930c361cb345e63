"""What config.yaml may say, as frozen structs with their defaults and their rules. No I/O here.

The rule of a field stands in its annotation. A struct checks itself whenever it is made, so values
given in code pass the same door as those of config.yaml.
"""

import functools
import typing
from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from krakked._config import rules
from krakked._errors import ConfigError
from krakked._public import public


class Field(typing.NamedTuple):
    """One setting: its type, without the rule, and the rule."""

    kind: object
    rule: rules.Rule | None


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every configuration struct: immutable, keyword-only, checked when it is made.

    Raises:
        ConfigError: A value is of the wrong type or outside its rule; `key` names the setting.
    """

    BLOCK: ClassVar[str] = ""
    """Dotted path of the block in config.yaml; empty at the top."""

    def __post_init__(self) -> None:
        for name, field in fields_of(type(self)).items():
            given = getattr(self, name)
            value, expectation = rules.fit(field.kind, given)
            if expectation is None and value is not None and field.rule is not None:
                expectation = field.rule(value)
            if expectation is not None:
                key = f"{self.BLOCK}.{name}".lstrip(".")
                raise ConfigError(f"{key}: {expectation}, found {rules.describe(given)}.", key=key)
            if value is not given:
                msgspec.structs.force_setattr(self, name, value)


@functools.cache
def fields_of(struct: type[Settings]) -> dict[str, Field]:
    """Return every field of a settings struct."""
    hints = typing.get_type_hints(struct, include_extras=True)
    found: dict[str, Field] = {}
    for field in msgspec.structs.fields(struct):
        hint, rule = hints[field.name], None
        if typing.get_origin(hint) is Annotated:
            hint, rule = typing.get_args(hint)
        found[field.name] = Field(hint, rule)
    return found


@public
class RegionProfile(Settings, frozen=True):
    """Where the account lives and what it may do; read-only."""

    BLOCK: ClassVar[str] = "region"

    code: Annotated[str, rules.name] = "US_CA"
    """Region code."""
    supports_margin: bool = False
    """Whether margin trading is allowed."""
    supports_futures: bool = False
    """Whether futures are allowed."""
    supports_staking: bool = False
    """Whether staking is allowed."""
    default_quote: Annotated[str, rules.name] = "USD"
    """Quote currency of the universe, as the asset's short name."""


@public
class MarginEligible(StrEnum):
    """What to do with spot pairs that Kraken marks as eligible for margin."""

    EXCLUDE = "exclude"
    """They are left out."""
    INCLUDE = "include"
    """They belong like all others."""


@public
class UniverseSettings(Settings, frozen=True):
    """`universe:`; which pairs belong."""

    BLOCK: ClassVar[str] = "universe"

    include_pairs: Annotated[tuple[str, ...], rules.names] = ()
    """Pairs to admit whatever the other rules say; any spelling."""
    exclude_pairs: Annotated[tuple[str, ...], rules.names] = ()
    """Pairs to leave out; wins over everything."""
    exclude_bases: Annotated[tuple[str, ...], rules.names] = ()
    """Base assets to leave out (short names such as USDT)."""
    min_24h_volume_usd: Annotated[float, rules.at_least(0, 1e15, "USD a day")] = 0.0
    """Liquidity floor in USD a day; 0 turns it off."""
    margin_eligible: MarginEligible = MarginEligible.EXCLUDE
    """`exclude` leaves out BTC, ETH, SOL, XRP and most of the volume; `include` keeps them."""
    country_code: Annotated[str | None, rules.country_code] = None
    """Ask AssetPairs for the pairs offered in one place only, such as ``US:CA``; None asks for all.
    Unverified: Kraken's page names countries (``GB``), one client's page a region (``US:TX``)."""


CALL_RATE = rules.at_least(0.01, 1000, "calls a second")
"""From a call in 100 s: less would be a wait without end."""


@public
class RestSettings(Settings, frozen=True):
    """`rest:`; the signed and public HTTP calls."""

    BLOCK: ClassVar[str] = "rest"

    base_url: Annotated[str, rules.rest_url] = "https://api.kraken.com"
    """Another host must be https unless it is loopback."""
    public_calls_per_second: Annotated[float, CALL_RATE] = 1.0
    """Upper bound of public calls (Kraken's advice is 1 a second per IP)."""
    public_pair_calls_per_second: Annotated[float, rules.at_least(0.01, 1000, "calls a second")] = (
        1.0
    )
    """Upper bound of OHLC and Trades calls for any one pair, within the bound above."""
    private_counter_max: Annotated[float, rules.at_least(1, 1000, "a count")] = 15.0
    """Kraken's private counter: its maximum (15 suits every tier)."""
    private_counter_decay_per_s: Annotated[float, rules.above(0, 100, "counts a second")] = 0.33
    """Kraken's private counter: its decay a second (0.33 suits every tier)."""
    timeout_s: Annotated[float, rules.above(0, 3600, "seconds")] = 30.0
    """Longest wait for a whole call, in seconds."""


@public
class ReaderChoice(StrEnum):
    """Who reads the live stream's sockets."""

    AUTO = "auto"
    """Real sockets in Rust, where that is possible."""
    PYTHON = "python"
    """All of them in Python."""


@public
class WebSocketSettings(Settings, frozen=True):
    """`market_data.ws:`; the live stream."""

    BLOCK: ClassVar[str] = "market_data.ws"

    url: Annotated[str, rules.stream_url] = "wss://ws.kraken.com/v2"
    """Another host must be wss unless it is loopback."""
    stale_tolerance_seconds: Annotated[float, rules.above(0, 86_400, "seconds")] = 60.0
    """Data older than this is never handed out as fresh."""
    timeframes: Annotated[tuple[str, ...], rules.timeframes] = ("1m", "5m", "1h")
    """Timeframes of the live candles; each takes a connection of its own."""
    conflate_ms: Annotated[float, rules.at_least(0, 1_000, "milliseconds")] = 2.0
    """`changes()` wakes at once for the first change, then at most once in this; 0 = for each."""
    reader: ReaderChoice = ReaderChoice.AUTO
    """`auto`: real sockets are read in Rust; `python`: none is."""


@public
class StoreBackend(StrEnum):
    """File format of the candle store."""

    PARQUET = "parquet"
    """Parquet: what other programs read as it is."""
    CSV = "csv"
    """CSV: larger, without checksums."""


@public
class OHLCStoreSettings(Settings, frozen=True):
    """`market_data.ohlc_store:`; closed candles on disk."""

    BLOCK: ClassVar[str] = "market_data.ohlc_store"

    backend: StoreBackend = StoreBackend.PARQUET
    """`parquet` or `csv`."""
    root_dir: Annotated[str, rules.directory] = "~/.local/share/kraken_bot/ohlc"
    """Directory of the store; `~` is expanded."""


@public
class MarketDataSettings(Settings, frozen=True):
    """`market_data:`."""

    BLOCK: ClassVar[str] = "market_data"

    ws: WebSocketSettings = WebSocketSettings()
    """The live stream."""
    ohlc_store: OHLCStoreSettings = OHLCStoreSettings()
    """Closed candles on disk."""


@public
class NetworkSettings(Settings, frozen=True):
    """`network:`; the way to the exchange, for REST and the stream alike."""

    BLOCK: ClassVar[str] = "network"

    proxy: Annotated[str | None, rules.proxy] = None
    """A proxy for everything, such as ``http://user:password@host:3128`` or
    ``socks5://host:1080`` (names are resolved by the proxy). None: the usual variables
    (``HTTPS_PROXY``, ``ALL_PROXY``) and the system's settings decide; ``direct``: no proxy at all.
    Hosts in ``NO_PROXY`` are called directly in any case."""

    def __repr__(self) -> str:
        return f"NetworkSettings(proxy={rules.shown_proxy(self.proxy)!r})"

    def __rich_repr__(self) -> list[tuple[str, str | None]]:
        return [("proxy", rules.shown_proxy(self.proxy))]


@public
class KrakkedConfig(Settings, frozen=True):
    """The whole of config.yaml, in force."""

    region: RegionProfile = RegionProfile()
    """Where the account lives."""
    universe: UniverseSettings = UniverseSettings()
    """Which pairs belong."""
    rest: RestSettings = RestSettings()
    """The HTTP calls."""
    market_data: MarketDataSettings = MarketDataSettings()
    """The live stream and the store."""
    network: NetworkSettings = NetworkSettings()
    """The way to the exchange."""
    state_dir: Annotated[str, rules.optional_directory] = ""
    """Directory of what processes share (nonces, limit counters); empty: ``state`` below
    `config_dir`. ``KRAKKED_STATE_DIR`` wins over the file; a relative path counts from
    `config_dir`."""
    config_dir: str = ""
    """Directory of config.yaml, secrets.enc and state/; set by the loader, never in the file."""
    exchange: str = ""
    """What the exchange is when its addresses cannot tell, as with a sandbox on a free port; set by
    the sandbox, never in the file. Empty: the addresses name it (``kraken`` for Kraken's own)."""
