"""Where the universe comes from: AssetPairs and Ticker over REST, or the last good copy on disk.

Owns the universe in force: readers see the old one or the new one, never a mixture. Decides nothing
about pairs; that is `krakked._market.universe`.
"""

import logging
import os
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from krakked._config.settings import RegionProfile, UniverseSettings
from krakked._errors import (
    ApiError,
    AuthError,
    MarketDataError,
    NetworkError,
    RequestError,
)
from krakked._files import durable
from krakked._market.pairs import PairMetadata, PairTable
from krakked._market.universe import Universe, build_universe
from krakked._network.clock import Clock, run_blocking
from krakked._public import public
from krakked._unreadable import UNREADABLE

if TYPE_CHECKING:  # its HTTP library is loaded when a client is made
    from krakked._rest.client import RestClient

LOG = logging.getLogger("krakked.market")

COPY_NAME: Final = "universe.json"
"""File below the state directory that holds the last good copy."""

PATIENCE_S: Final = 20.0
"""How long a start waits for Kraken while there is a copy, waits of the limiter included."""

_COPY_VERSION: Final = 1
_STALE_TEMP_S: Final = 3600


@public
class UniverseChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a refresh changed, in canonical names, in the order of Kraken's reply."""

    listed: tuple[str, ...] = ()
    """Pairs that are in the universe now and were not before (all of them the first time)."""
    delisted: tuple[str, ...] = ()
    """Pairs that were in the universe and are not any more, for whatever reason."""
    changed: tuple[str, ...] = ()
    """Pairs that stayed, with other metadata (the 24 h volume aside)."""

    def __bool__(self) -> bool:
        return bool(self.listed or self.delisted or self.changed)


class _Copy(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    saved_at_s: float
    asset_pairs: msgspec.Raw
    ticker: msgspec.Raw = msgspec.Raw(b"null")


class UniverseSource:
    """The universe in force and the way to renew it.

    Args:
        rest: REST client.
        settings: The `universe:` settings.
        region: Region profile.
        clock: Clock.
        state_dir: Directory of the last good copy; None keeps none.
    """

    def __init__(
        self,
        rest: "RestClient",
        settings: UniverseSettings,
        region: RegionProfile,
        clock: Clock,
        state_dir: Path | None = None,
    ) -> None:
        self._rest = rest
        self._settings = settings
        self._region = region
        self._clock = clock
        self._path = None if state_dir is None else state_dir / COPY_NAME
        self._universe: Universe | None = None
        self._replies: tuple[bytes, bytes | None] | None = None
        self._instrument: frozenset[str] | None = None
        self._fetched_wall_ns = 0
        self._from_copy = False

    # --- what is in force ----------------------------------------------------------------------

    @property
    def current(self) -> Universe:
        """The universe in force.

        Raises:
            MarketDataError: `start` or `refresh` has not succeeded yet.
        """
        if self._universe is None:
            raise MarketDataError("The universe is not loaded yet: await refresh() first.")
        return self._universe

    @property
    def table(self) -> PairTable:
        """Every spelling of every known pair."""
        return self.current.table

    @property
    def from_copy(self) -> bool:
        """Whether the universe comes from the last good copy because Kraken could not be asked."""
        return self._from_copy

    @property
    def age_s(self) -> float | None:
        """Seconds since Kraken gave the data in force, by the wall clock; None before the first."""
        if self._universe is None:
            return None
        return max(0.0, (self._clock.wall_ns() - self._fetched_wall_ns) / 1e9)

    # --- renewing it ---------------------------------------------------------------------------

    async def start(self) -> UniverseChange:
        """Load the universe: from Kraken, or from the last good copy while Kraken is down.

        Where there is a copy, Kraken has `PATIENCE_S` to answer: an exchange that takes connections
        and says nothing would else hold up a start for minutes.

        Raises:
            NetworkError: Kraken could not be reached and there is no copy; likewise `ServiceError`
                and `RateLimitError`.
            MarketDataError: The reply is no list of pairs, or an empty one, and there is no copy.
        """
        copy = await run_blocking(self._clock, self._read_copy)
        if copy is None:
            return await self.refresh()
        why = f"no answer within {PATIENCE_S:g} s"
        try:
            with trio.move_on_after(PATIENCE_S):
                return await self.refresh()
        except (NetworkError, ApiError, MarketDataError) as error:
            if isinstance(error, AuthError | RequestError):
                raise
            why = type(error).__name__
        change = self._use(copy)
        LOG.warning(
            "Kraken could not be asked for its pairs (%s); the universe is a copy %.0f s old.",
            why,
            self.age_s or 0.0,
        )
        return change

    async def use_fresh_copy(self, at_most_s: float) -> bool:
        """Take the last good copy without asking Kraken, if it is no older than `at_most_s`."""
        copy = await run_blocking(self._clock, self._read_copy)
        if copy is None or not 0 <= self._clock.wall_ns() / 1e9 - copy.saved_at_s <= at_most_s:
            return False
        self._use(copy)
        return True

    def _use(self, copy: _Copy) -> UniverseChange:
        asset_pairs, ticker = bytes(copy.asset_pairs), bytes(copy.ticker)
        replies = (asset_pairs, None if ticker == b"null" else ticker)
        universe = self._build(*replies)
        self._fetched_wall_ns = int(copy.saved_at_s * 1e9)
        self._from_copy = True
        return self._swap(universe, replies)

    async def refresh(self) -> UniverseChange:
        """Ask Kraken for its pairs and their volumes (two calls), and swap the universe.

        On any error the universe in force stays as it is.

        Returns:
            What was listed, delisted and changed.

        Raises:
            NetworkError: Kraken could not be reached.
            ApiError: Kraken refused; `RateLimitError` and `ServiceError` are kinds of it.
            MarketDataError: The reply is no list of pairs.
        """
        asset_pairs = await self._asset_pairs()
        ticker = await self._ticker()
        universe = self._build(asset_pairs, ticker)
        self._fetched_wall_ns = self._clock.wall_ns()
        self._from_copy = False
        change = self._swap(universe, (asset_pairs, ticker))
        await run_blocking(self._clock, self._write_copy, asset_pairs, ticker)
        return change

    def apply_instrument(self, symbols: Collection[str]) -> UniverseChange:
        """Let the WebSocket v2 symbols of an `instrument` snapshot overrule the naming rules."""
        self._instrument = frozenset(symbols)
        if self._replies is None:
            return UniverseChange()
        return self._swap(self._build(*self._replies), self._replies)

    async def _asset_pairs(self) -> bytes:
        country = self._settings.country_code
        if country is None:
            return await self._rest.public_bytes("AssetPairs")
        return await self._rest.public_bytes("AssetPairs", {"country_code": country})

    async def _ticker(self) -> bytes | None:
        try:
            return await self._rest.public_bytes("Ticker")
        except (NetworkError, ApiError) as error:
            if self._settings.min_24h_volume_usd > 0:
                raise  # the floor decides who is in; guessing would list or delist at random
            LOG.warning("No 24 h volumes for the universe: %s", error)
            return None

    def _build(self, asset_pairs: bytes, ticker: bytes | None) -> Universe:
        universe = build_universe(
            asset_pairs,
            region=self._region,
            settings=self._settings,
            ticker=ticker,
            instrument=self._instrument,
        )
        if all(pair.unfit for pair in universe.table.by_canonical.values()):
            raise MarketDataError(
                "Kraken's list of pairs is empty, or none of them can be read; the old universe "
                "stays."
            )
        return universe

    def _swap(self, universe: Universe, replies: tuple[bytes, bytes | None]) -> UniverseChange:
        before = self._universe
        self._universe, self._replies = universe, replies
        for warning in universe.warnings:
            LOG.warning("%s", warning)
        return compare_universes(before, universe)

    # --- the last good copy --------------------------------------------------------------------

    def _read_copy(self) -> _Copy | None:
        if self._path is None:
            return None
        try:
            copy = msgspec.json.decode(self._path.read_bytes(), type=_Copy)
        except (OSError, *UNREADABLE) as error:
            if not isinstance(error, FileNotFoundError):
                LOG.warning("%s cannot be used: %s.", self._path, type(error).__name__)
            return None
        return copy if copy.version == _COPY_VERSION else None

    def _write_copy(self, asset_pairs: bytes, ticker: bytes | None) -> None:
        if self._path is None:
            return
        copy = _Copy(
            version=_COPY_VERSION,
            saved_at_s=self._fetched_wall_ns / 1e9,
            asset_pairs=msgspec.Raw(asset_pairs),
            ticker=msgspec.Raw(ticker or b"null"),
        )
        try:
            self._sweep_temps(self._path.parent)
            durable.make_directories(self._path.parent, mode=0o700)
            temp = self._path.with_name(f"universe~{os.getpid()}-{secrets.token_hex(4)}.tmp")
            durable.replace(self._path, msgspec.json.encode(copy), temp=temp, private=True)
        except OSError as error:
            LOG.warning("The last good copy of the universe could not be saved: %s", error)

    def _sweep_temps(self, directory: Path) -> None:
        for temp in directory.glob("universe~*.tmp"):
            if self._clock.wall_ns() / 1e9 - temp.stat().st_mtime > _STALE_TEMP_S:
                temp.unlink(missing_ok=True)


def compare_universes(before: Universe | None, after: Universe) -> UniverseChange:
    """Say what differs between two universes; pure."""
    old = {} if before is None else before.metadata
    return UniverseChange(
        listed=tuple(name for name in after.pairs if name not in old),
        delisted=tuple(name for name in old if name not in after.metadata),
        changed=tuple(
            name
            for name in after.pairs
            if name in old and _lasting(old[name]) != _lasting(after.metadata[name])
        ),
    )


def _lasting(pair: PairMetadata) -> PairMetadata:
    return msgspec.structs.replace(pair, volume_24h_usd=None)
