"""Bars for the store's tests."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from krakked._market.bars import OHLCBar

START = 1_793_491_200  # 2026-11-01 00:00 UTC


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Force nothing to the medium: no test here cuts the power (`make torture` does)."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def make_bars() -> Callable[..., list[OHLCBar]]:
    """Give a function that makes consecutive bars, with intervals that did not trade."""

    def make_bars(count: int, step_s: int = 60, start: int = START) -> list[OHLCBar]:
        """Bars with and without trades, with digits that CSV must not lose."""
        bars = []
        close = 84001.9
        for i in range(count):
            trades = (i * 7) % 4
            last = close + (0.1 * (i % 11) - 0.5 if trades else 0.0)
            high, low = max(close, last) + 0.1 * trades, min(close, last) - 0.1 * trades
            vwap = (high + low) / 2 if trades else None
            volume = 159.04484404 / (i + 3) if trades else 0.0
            bars.append(OHLCBar(start + i * step_s, close, high, low, last, vwap, volume, trades))
            close = last
        return bars

    return make_bars
