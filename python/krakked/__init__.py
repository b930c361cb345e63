"""Connect trio programs to the Kraken exchange: safely, fast, without surprises.

Quick start::

    import krakked, trio

    async def main():
        async with krakked.open_kraken(pairs=["XBTUSD", "ETHUSD"]) as kraken:
            await kraken.wait_live(timeout_s=30)
            quote = kraken.get_best_bid_ask("XBTUSD")      # BestBidAsk: bid, ask, quantities
            bars = await kraken.get_ohlc("XBTUSD", "1h", 24)  # 24 closed candles, oldest first
            async for change in kraken.changes():          # tickers, candles, what happens
                print(change)

    trio.run(main)

`open_kraken` gives a `Kraken`: live reads, closed candles, the universe, REST and one health
report. `load_config` and `load_credentials` read what it needs; every error is a `KrakkedError`.
`krakked.sandbox` is a local exchange to try all of it on. Users import from here and from there,
nothing deeper.
"""

TYPE_CHECKING = False  # typing's own costs as much as a bare start; type checkers know the name
if TYPE_CHECKING:
    __version__: str
    from krakked._client import Kraken as Kraken
    from krakked._client import open_kraken as open_kraken
    from krakked._config.loader import load_config as load_config
    from krakked._config.settings import KrakkedConfig as KrakkedConfig
    from krakked._config.settings import MarginEligible as MarginEligible
    from krakked._config.settings import MarketDataSettings as MarketDataSettings
    from krakked._config.settings import NetworkSettings as NetworkSettings
    from krakked._config.settings import OHLCStoreSettings as OHLCStoreSettings
    from krakked._config.settings import ReaderChoice as ReaderChoice
    from krakked._config.settings import RegionProfile as RegionProfile
    from krakked._config.settings import RestSettings as RestSettings
    from krakked._config.settings import StoreBackend as StoreBackend
    from krakked._config.settings import UniverseSettings as UniverseSettings
    from krakked._config.settings import WebSocketSettings as WebSocketSettings
    from krakked._core import Signer as Signer
    from krakked._credentials.candidate import Candidate as Candidate
    from krakked._credentials.outcomes import Outcome as Outcome
    from krakked._credentials.outcomes import Validation as Validation
    from krakked._credentials.passwords import MasterPassword as MasterPassword
    from krakked._credentials.passwords import PasswordSource as PasswordSource
    from krakked._credentials.saving import SavedVault as SavedVault
    from krakked._credentials.saving import save_credentials as save_credentials
    from krakked._credentials.sources import load_credentials as load_credentials
    from krakked._credentials.stored import VaultInfo as VaultInfo
    from krakked._credentials.stored import (
        validate_stored_credentials as validate_stored_credentials,
    )
    from krakked._credentials.stored import vault_info as vault_info
    from krakked._credentials.validation import validate_credentials as validate_credentials
    from krakked._credentials.vault import Derivation as Derivation
    from krakked._credentials.vault import DerivationCost as DerivationCost
    from krakked._errors import Action as Action
    from krakked._errors import ApiError as ApiError
    from krakked._errors import AuthError as AuthError
    from krakked._errors import BackfillTooLargeError as BackfillTooLargeError
    from krakked._errors import ChangesInUseError as ChangesInUseError
    from krakked._errors import ChangesLaggedError as ChangesLaggedError
    from krakked._errors import ClosedError as ClosedError
    from krakked._errors import ConfigError as ConfigError
    from krakked._errors import ConnectFailedError as ConnectFailedError
    from krakked._errors import CredentialsError as CredentialsError
    from krakked._errors import CredentialsFormatError as CredentialsFormatError
    from krakked._errors import CredentialsRejectedError as CredentialsRejectedError
    from krakked._errors import CredentialsUnvalidatedError as CredentialsUnvalidatedError
    from krakked._errors import DataStaleError as DataStaleError
    from krakked._errors import DisconnectedError as DisconnectedError
    from krakked._errors import ForkedProcessError as ForkedProcessError
    from krakked._errors import ImportFormatError as ImportFormatError
    from krakked._errors import InvalidTimeError as InvalidTimeError
    from krakked._errors import KrakkedError as KrakkedError
    from krakked._errors import LockoutError as LockoutError
    from krakked._errors import LockTimeoutError as LockTimeoutError
    from krakked._errors import MarketDataError as MarketDataError
    from krakked._errors import MissingBarsError as MissingBarsError
    from krakked._errors import NetworkError as NetworkError
    from krakked._errors import NetworkTimeoutError as NetworkTimeoutError
    from krakked._errors import NoCredentialsError as NoCredentialsError
    from krakked._errors import NoDataYetError as NoDataYetError
    from krakked._errors import NonceError as NonceError
    from krakked._errors import NoPasswordError as NoPasswordError
    from krakked._errors import NotLiveError as NotLiveError
    from krakked._errors import RateLimitError as RateLimitError
    from krakked._errors import RequestError as RequestError
    from krakked._errors import ServiceError as ServiceError
    from krakked._errors import StaleReason as StaleReason
    from krakked._errors import StoreCorruptError as StoreCorruptError
    from krakked._errors import StoreError as StoreError
    from krakked._errors import StoreExchangeError as StoreExchangeError
    from krakked._errors import StoreFullError as StoreFullError
    from krakked._errors import StoreLockedError as StoreLockedError
    from krakked._errors import StoreVersionError as StoreVersionError
    from krakked._errors import SubscriptionRefusedError as SubscriptionRefusedError
    from krakked._errors import UnknownPairError as UnknownPairError
    from krakked._errors import UnknownTimeframeError as UnknownTimeframeError
    from krakked._errors import VaultDamagedError as VaultDamagedError
    from krakked._errors import VaultError as VaultError
    from krakked._errors import VaultLockedError as VaultLockedError
    from krakked._errors import VaultOpenError as VaultOpenError
    from krakked._errors import VaultUnsafeError as VaultUnsafeError
    from krakked._errors import VaultVersionError as VaultVersionError
    from krakked._errors import WrongPasswordError as WrongPasswordError
    from krakked._market.bars import OHLCBar as OHLCBar
    from krakked._market.bars import Source as Source
    from krakked._market.candle_store import CandleStore as CandleStore
    from krakked._market.changes import CandleChange as CandleChange
    from krakked._market.changes import CandleClosed as CandleClosed
    from krakked._market.changes import CandleCorrected as CandleCorrected
    from krakked._market.changes import CandleEvent as CandleEvent
    from krakked._market.changes import Change as Change
    from krakked._market.changes import ChangeKind as ChangeKind
    from krakked._market.changes import Changes as Changes
    from krakked._market.changes import Disconnected as Disconnected
    from krakked._market.changes import FeedEvent as FeedEvent
    from krakked._market.changes import MarketStatus as MarketStatus
    from krakked._market.changes import PairStatus as PairStatus
    from krakked._market.changes import Reconnected as Reconnected
    from krakked._market.changes import Resubscribed as Resubscribed
    from krakked._market.changes import SubscriptionMute as SubscriptionMute
    from krakked._market.changes import SubscriptionRecovered as SubscriptionRecovered
    from krakked._market.changes import SubscriptionRefused as SubscriptionRefused
    from krakked._market.changes import TickerChange as TickerChange
    from krakked._market.history.archive_import import import_archive as import_archive
    from krakked._market.history.import_report import BadLine as BadLine
    from krakked._market.history.import_report import BadLines as BadLines
    from krakked._market.history.import_report import ImportCallback as ImportCallback
    from krakked._market.history.import_report import ImportedFile as ImportedFile
    from krakked._market.history.import_report import ImportProgress as ImportProgress
    from krakked._market.history.import_report import ImportReport as ImportReport
    from krakked._market.history.import_report import SkippedFile as SkippedFile
    from krakked._market.history.plan import BackfillOrigin as BackfillOrigin
    from krakked._market.history.plan import BackfillPlan as BackfillPlan
    from krakked._market.history.plan import PlanStep as PlanStep
    from krakked._market.history.progress import BackfillProgress as BackfillProgress
    from krakked._market.history.progress import Pause as Pause
    from krakked._market.history.reader import Form as Form
    from krakked._market.history.reader import OnGap as OnGap
    from krakked._market.history.report import BackfillFailure as BackfillFailure
    from krakked._market.history.report import BackfillReport as BackfillReport
    from krakked._market.history.trades_backfill import MissingRange as MissingRange
    from krakked._market.live import BestBidAsk as BestBidAsk
    from krakked._market.live import LatestPrice as LatestPrice
    from krakked._market.live import LiveOHLC as LiveOHLC
    from krakked._market.live import LiveTicker as LiveTicker
    from krakked._market.live_feed import LiveFeed as LiveFeed
    from krakked._market.pairs import PairMetadata as PairMetadata
    from krakked._market.pairs import PairTable as PairTable
    from krakked._market.status import DataStatus as DataStatus
    from krakked._market.status import Freshness as Freshness
    from krakked._market.status import PairFreshness as PairFreshness
    from krakked._market.status import Verdict as Verdict
    from krakked._market.store.coverage import CoverageRange as CoverageRange
    from krakked._market.store.coverage import Gap as Gap
    from krakked._market.store.coverage import GapKind as GapKind
    from krakked._market.store.fitness import RefusedBar as RefusedBar
    from krakked._market.store.folding import FoldReport as FoldReport
    from krakked._market.store.maintenance import CompactReport as CompactReport
    from krakked._market.store.maintenance import GivenUp as GivenUp
    from krakked._market.store.maintenance import RepairedPartition as RepairedPartition
    from krakked._market.store.maintenance import RepairReport as RepairReport
    from krakked._market.store.maintenance import StoreFinding as StoreFinding
    from krakked._market.store.ohlc_store import OHLCStore as OHLCStore
    from krakked._market.store.resample import resample as resample
    from krakked._market.store.scan import scan as scan
    from krakked._market.stream.disconnect import DisconnectReason as DisconnectReason
    from krakked._market.stream.evidence import Evidence as Evidence
    from krakked._market.stream.notices import Emergency as Emergency
    from krakked._market.stream.notices import Maintenance as Maintenance
    from krakked._market.stream.notices import Notices as Notices
    from krakked._market.stream.requests import SubscriptionState as SubscriptionState
    from krakked._market.stream.statistics import ConnectionState as ConnectionState
    from krakked._market.stream.statistics import ConnectionStatus as ConnectionStatus
    from krakked._market.stream.statistics import FeedStatistics as FeedStatistics
    from krakked._market.stream.statistics import PairStream as PairStream
    from krakked._market.times import Time as Time
    from krakked._market.universe import Universe as Universe
    from krakked._market.universe import UniverseRule as UniverseRule
    from krakked._market.universe import build_universe as build_universe
    from krakked._market.universe_source import UniverseChange as UniverseChange
    from krakked._network.clock import Clock as Clock
    from krakked._network.clock import SystemClock as SystemClock
    from krakked._network.network import Network as Network
    from krakked._network.network import SystemNetwork as SystemNetwork
    from krakked._rest.client import RestClient as RestClient
    from krakked._rest.health import ApiWarning as ApiWarning
    from krakked._rest.health import LimiterStatus as LimiterStatus
    from krakked._rest.health import NonceStatus as NonceStatus
    from krakked._rest.health import RestStatus as RestStatus
    from krakked._rest.limits import WaitReason as WaitReason
    from krakked._rest.models import ApiKeyInfo as ApiKeyInfo
    from krakked._rest.models import AssetPairInfo as AssetPairInfo
    from krakked._rest.models import ExtendedBalance as ExtendedBalance
    from krakked._rest.models import OHLCReply as OHLCReply
    from krakked._rest.models import OHLCRow as OHLCRow
    from krakked._rest.models import ServerTime as ServerTime
    from krakked._rest.models import SystemStatus as SystemStatus
    from krakked._rest.models import TickerInfo as TickerInfo
    from krakked._rest.models import TradeRow as TradeRow
    from krakked._rest.models import TradesReply as TradesReply
    from krakked._rest.models import WebSocketsToken as WebSocketsToken
    from krakked._rest.otp import OneTimePassword as OneTimePassword
    from krakked._rest.otp import Otp as Otp
    from krakked._rest.reply import JsonValue as JsonValue
    from krakked._rest.request import Value as Value
    from krakked._rest.signing import Credentials as Credentials
    from krakked._rest.waits import Waiting as Waiting
    from krakked._timeframes import Timeframe as Timeframe

_HOME = {
    "_client": "Kraken open_kraken",
    "_config.loader": "load_config",
    "_config.settings": """
        KrakkedConfig MarginEligible MarketDataSettings NetworkSettings OHLCStoreSettings
        ReaderChoice RegionProfile RestSettings StoreBackend UniverseSettings WebSocketSettings
    """,
    "_core": "Signer",
    "_credentials.candidate": "Candidate",
    "_credentials.outcomes": "Outcome Validation",
    "_credentials.passwords": "MasterPassword PasswordSource",
    "_credentials.saving": "SavedVault save_credentials",
    "_credentials.sources": "load_credentials",
    "_credentials.stored": "VaultInfo validate_stored_credentials vault_info",
    "_credentials.validation": "validate_credentials",
    "_credentials.vault": "Derivation DerivationCost",
    "_errors": """
        Action ApiError AuthError BackfillTooLargeError ChangesInUseError ChangesLaggedError
        ClosedError ConfigError ConnectFailedError CredentialsError CredentialsFormatError
        CredentialsRejectedError CredentialsUnvalidatedError DataStaleError DisconnectedError
        ForkedProcessError ImportFormatError InvalidTimeError KrakkedError LockTimeoutError
        LockoutError MarketDataError MissingBarsError NetworkError NetworkTimeoutError
        NoCredentialsError NoDataYetError NoPasswordError NonceError NotLiveError RateLimitError
        RequestError ServiceError StaleReason StoreCorruptError StoreError StoreExchangeError
        StoreFullError StoreLockedError StoreVersionError SubscriptionRefusedError
        UnknownPairError UnknownTimeframeError VaultDamagedError VaultError VaultLockedError
        VaultOpenError VaultUnsafeError VaultVersionError WrongPasswordError
    """,
    "_market.bars": "OHLCBar Source",
    "_market.candle_store": "CandleStore",
    "_market.changes": """
        CandleChange CandleClosed CandleCorrected CandleEvent Change ChangeKind Changes
        Disconnected FeedEvent MarketStatus PairStatus Reconnected Resubscribed SubscriptionMute
        SubscriptionRecovered SubscriptionRefused TickerChange
    """,
    "_market.history.archive_import": "import_archive",
    "_market.history.import_report": """
        BadLine BadLines ImportCallback ImportProgress ImportReport ImportedFile SkippedFile
    """,
    "_market.history.plan": "BackfillOrigin BackfillPlan PlanStep",
    "_market.history.progress": "BackfillProgress Pause",
    "_market.history.reader": "Form OnGap",
    "_market.history.report": "BackfillFailure BackfillReport",
    "_market.history.trades_backfill": "MissingRange",
    "_market.live": "BestBidAsk LatestPrice LiveOHLC LiveTicker",
    "_market.live_feed": "LiveFeed",
    "_market.pairs": "PairMetadata PairTable",
    "_market.status": "DataStatus Freshness PairFreshness Verdict",
    "_market.store.coverage": "CoverageRange Gap GapKind",
    "_market.store.fitness": "RefusedBar",
    "_market.store.folding": "FoldReport",
    "_market.store.maintenance": """
        CompactReport GivenUp RepairReport RepairedPartition StoreFinding
    """,
    "_market.store.ohlc_store": "OHLCStore",
    "_market.store.resample": "resample",
    "_market.store.scan": "scan",
    "_market.stream.evidence": "Evidence",
    "_market.stream.statistics": "ConnectionState ConnectionStatus FeedStatistics PairStream",
    "_market.stream.notices": "Emergency Maintenance Notices",
    "_market.stream.disconnect": "DisconnectReason",
    "_market.stream.requests": "SubscriptionState",
    "_market.times": "Time",
    "_market.universe": "Universe UniverseRule build_universe",
    "_market.universe_source": "UniverseChange",
    "_network.clock": "Clock SystemClock",
    "_network.network": "Network SystemNetwork",
    "_rest.client": "RestClient",
    "_rest.health": "ApiWarning LimiterStatus NonceStatus RestStatus",
    "_rest.limits": "WaitReason",
    "_rest.models": """
        ApiKeyInfo AssetPairInfo ExtendedBalance OHLCReply OHLCRow ServerTime SystemStatus
        TickerInfo TradeRow TradesReply WebSocketsToken
    """,
    "_rest.otp": "OneTimePassword Otp",
    "_rest.reply": "JsonValue",
    "_rest.request": "Value",
    "_rest.signing": "Credentials",
    "_rest.waits": "Waiting",
    "_timeframes": "Timeframe",
}
"""Where each public name lives; it is loaded when it is first asked for (PEP 562)."""

_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = ["__version__", *sorted(_MODULE_OF)]  # noqa: PLE0604 - texts, all of them


def __getattr__(name: str) -> object:
    if name == "__version__":
        module = "_core"
    elif name in _MODULE_OF:
        module = _MODULE_OF[name]
    else:
        raise AttributeError(f"module 'krakked' has no attribute {name!r}", name=name)
    from importlib import import_module  # noqa: PLC0415 - only when something is asked for

    value: object = getattr(import_module(f"krakked.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
