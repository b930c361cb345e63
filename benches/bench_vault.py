"""How long opening and sealing the vault takes, and the memory it needs.

A guess at the master password costs an attacker as much as an opening costs the user, so slow is
the point; more than 1.5 s would annoy. Exits 1 above that bound. Run by `make bench`.
"""

from __future__ import annotations

import base64
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from krakked._config.settings import KrakkedConfig
from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Outcome, Validation
from krakked._credentials.saving import save_credentials
from krakked._credentials.sources import load_credentials
from krakked._credentials.vault import PROFILES

ROUNDS = 5
BOUND_S = 1.5
PASSWORD = "correct horse battery staple"


def median_s(call: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> int:
    candidate = Candidate(
        base64.b64encode(os.urandom(42)).decode(), base64.b64encode(os.urandom(64)).decode()
    )
    valid = Validation(outcome=Outcome.VALID, tag=candidate.tag, validated_at_s=int(time.time()))
    slow = False
    with tempfile.TemporaryDirectory() as directory:
        config = KrakkedConfig(config_dir=str(Path(directory) / "kraken_bot"))
        for profile, cost in reversed(PROFILES.items()):
            seal_s = median_s(
                lambda profile=profile: save_credentials(
                    candidate, PASSWORD, validation=valid, config=config, profile=profile
                )
            )
            open_s = median_s(lambda: load_credentials(config, password=PASSWORD, environ={}))
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"vault {profile:8} {cost.memory_kib // 1024:4} MiB x {cost.passes}: "
                f"median open {open_s:.3f} s, seal {seal_s:.3f} s, peak process {peak_mib:.0f} MiB"
            )
            slow = slow or (profile == "default" and open_s >= BOUND_S)
    print(f"bound: median open < {BOUND_S} s: {'MISSED' if slow else 'kept'}")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
