"""A local Kraken: REST and WebSocket v2, strict, seeded, with faults on demand.

    async with open_sandbox(seed=1, memory=False) as exchange:
        exchange.rest_url, exchange.ws_url      # loopback addresses
        exchange.key, exchange.secret           # an API key that may read
        exchange.network, exchange.clock        # for a client on virtual time (memory=True)
        exchange.config(directory)              # a client's settings, its files in one directory
        exchange.truth.candles("XBTUSD", 1, start_s, end_s)
        await exchange.faults.cut()

Nothing in here is used by the library itself, and of the library it imports only the settings'
structs, so that `config` can fill them in, and the errors.
"""

from krakked._sandbox.accounts import Accounts
from krakked._sandbox.exchange import Exchange, open_sandbox
from krakked._sandbox.faults import Faults
from krakked._sandbox.network import LoopbackNetwork, MemoryNetwork
from krakked._sandbox.replay import Recording
from krakked._sandbox.settings import SandboxSettings
from krakked._sandbox.truth import TrueCandle, TrueTicker, TrueTrade, Truth

__all__ = [
    "Accounts",
    "Exchange",
    "Faults",
    "LoopbackNetwork",
    "MemoryNetwork",
    "Recording",
    "SandboxSettings",
    "TrueCandle",
    "TrueTicker",
    "TrueTrade",
    "Truth",
    "open_sandbox",
]
