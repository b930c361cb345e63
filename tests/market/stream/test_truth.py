"""Some seeds of everything that may go wrong; `make truth` takes a thousand and goes on sockets."""

from __future__ import annotations

import pytest
from tests.market.stream.truth import run_virtual


@pytest.mark.parametrize("seed", [4])
def test_every_candle_is_true_or_soon_corrected(seed: int) -> None:
    report = run_virtual(seed)
    assert report.faults == []
    assert report.candles > 15


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 30))
def test_every_candle_is_true_or_soon_corrected_at_length(seed: int) -> None:
    report = run_virtual(seed)
    assert report.faults == [], "\n".join(sorted(report.story))
