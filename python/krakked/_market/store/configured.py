"""The store that the settings name, for work beside a client: it claims the settings' exchange."""

from __future__ import annotations

from krakked._config.directories import exchange_of, store_root
from krakked._config.settings import KrakkedConfig
from krakked._market.store.ohlc_store import OHLCStore


def configured_store(config: KrakkedConfig) -> OHLCStore:
    """Open the store of the settings; the caller closes it."""
    backend = config.market_data.ohlc_store.backend
    return OHLCStore(store_root(config), backend=backend, exchange=exchange_of(config))
