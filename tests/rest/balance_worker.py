"""Child of test_sandbox.py: asks for the balance again and again with a real client.

Arguments: base URL, state directory, counter maximum, decay a second, calls. Key and secret come on
standard input. Prints how many calls succeeded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from krakked._config.settings import RestSettings
from krakked._core import Signer
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._rest.client import RestClient
from krakked._rest.signing import Credentials


async def ask(url: str, state_dir: str, maximum: str, decay: str, calls: str) -> None:
    key, secret = sys.stdin.read().split()
    settings = RestSettings(
        base_url=url,
        private_counter_max=float(maximum),
        private_counter_decay_per_s=float(decay),
    )
    credentials = Credentials(key, Signer(secret), source="test")
    async with RestClient(
        settings,
        network=SystemNetwork(),
        clock=SystemClock(),
        credentials=credentials,
        state_dir=Path(state_dir),
    ) as client:
        for _ in range(int(calls)):
            assert await client.balance()
    print(calls)


if __name__ == "__main__":
    trio.run(ask, *sys.argv[1:])
