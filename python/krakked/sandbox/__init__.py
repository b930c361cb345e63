"""A local Kraken: REST and WebSocket v2, strict, seeded, with faults on demand.

`open_sandbox` runs one; nothing in here is used by the library itself, and it imports none of it.
"""

from krakked.sandbox.exchange import Exchange as Exchange
from krakked.sandbox.exchange import open_sandbox as open_sandbox
from krakked.sandbox.replay import Recording as Recording
from krakked.sandbox.settings import SandboxSettings as SandboxSettings
