"""The whole store against a plain model: ranks, fills, gaps, whatever the order of calls."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from krakked._market.bars import OHLCBar, Source
from krakked._market.store import parquet_files
from krakked._market.store.coverage import GapKind
from krakked._market.store.ohlc_store import OHLCStore

STEP = 60
BORDER = 1_793_491_200  # 2026-11-01 00:00 UTC: slot 0; earlier slots lie in October's partition


class Model:
    """What the store promises, one interval at a time."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[OHLCBar, Source]] = {}
        self.claims: dict[int, Source] = {}

    def append(self, bars: list[OHLCBar], source: Source, covered: tuple[int, int] | None) -> None:
        for bar in bars:
            if bar.time not in self.rows or self.rows[bar.time][1] <= source:
                self.rows[bar.time] = (bar, source)
        outdated: set[int] = set()
        if covered:
            for moment in range(*covered, STEP):
                self.claims[moment] = max(source, self.claims.get(moment, source))
        if covered and source is Source.REST and bars:
            # What REST now leaves out of its answer may have been filled after a revised close.
            outdated = {*range(*covered, STEP)} - {bar.time for bar in bars}
        for moment in sorted({*self.rows, *self.claims}):
            row, claim = self.rows.get(moment), self.claims.get(moment)
            before = self.rows.get(moment - STEP)
            if claim is None or before is None:
                continue
            if before[1] <= Source.WEBSOCKET and claim is not Source.WEBSOCKET:
                continue  # what is provisional proves nothing to a stronger source
            made = row and row[0].count == 0 and row[1] <= claim
            made = made and (row[1] < Source.REST or moment in outdated)
            if row is None or made or (row[1] <= Source.WEBSOCKET and claim > row[1]):
                close = before[0].close
                bar = OHLCBar(moment, close, close, close, close, None, 0.0, 0)
                self.rows[moment] = (bar, claim)

    def bars(self, *, provisional: bool) -> list[OHLCBar]:
        return [
            bar
            for _, (bar, source) in sorted(self.rows.items())
            if provisional or source > Source.WEBSOCKET
        ]


slot = st.integers(-8, 8)


@st.composite
def calls(draw):
    source = draw(st.sampled_from(Source))
    first, last = sorted((draw(slot), draw(slot)))
    covered = (BORDER + first * STEP, BORDER + last * STEP) if draw(st.booleans()) else None
    if source is Source.PARTIAL:
        covered = None  # it answers for nothing
    bars = []
    for at in draw(st.lists(slot, max_size=6)):
        close, trades = float(draw(st.integers(1, 9))), draw(st.integers(0, 2))
        vwap = close if trades else None
        bars.append(
            OHLCBar(BORDER + at * STEP, close, close, close, close, vwap, float(trades), trades)
        )
    return bars, source, covered


QUICK = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(params=["parquet", "parquet-small-groups", "csv"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every format; small row groups make an append carry some over, as a long month does."""
    if request.param == "parquet-small-groups":
        monkeypatch.setattr(parquet_files, "ROW_GROUP_ROWS", 3)
    return request.param.partition("-")[0]


@QUICK
@given(st.lists(calls(), max_size=6))
def test_any_calls_leave_what_the_model_says(backend: str, made) -> None:
    check_calls(backend, made)


@pytest.mark.slow
@LONG
@given(st.lists(calls(), max_size=8))
def test_very_many_calls_leave_what_the_model_says(backend: str, made) -> None:
    check_calls(backend, made)


def check_calls(backend: str, made) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = OHLCStore(Path(folder), backend=backend)
        model = Model()
        for bars, source, covered in made:
            model.append(bars, source, covered)
            stored = store.append_bars("XBTUSD", "1m", bars, source=source, covered=covered)
            assert 0 <= stored <= len({bar.time for bar in bars})
        for provisional in (False, True):
            expected = model.bars(provisional=provisional)
            assert store.get_bars("XBTUSD", "1m", provisional=provisional) == expected
            for lookback in (1, 3, 7):
                newest = store.get_bars("XBTUSD", "1m", lookback=lookback, provisional=provisional)
                assert newest == expected[-lookback:]
            since = BORDER - 2 * STEP
            later = store.get_bars("XBTUSD", "1m", since=since, provisional=provisional)
            assert later == [bar for bar in expected if bar.time >= since]
        check_gaps(store, model)
        assert store.verify() == []
        store.compact()
        assert store.get_bars("XBTUSD", "1m", provisional=True) == model.bars(provisional=True)


def check_gaps(store: OHLCStore, model: Model) -> None:
    known = {*model.claims, *(t for t, (_, s) in model.rows.items() if s > Source.WEBSOCKET)}
    traded = {t for t, (b, s) in model.rows.items() if b.count and s > Source.WEBSOCKET}
    expected = {}
    if known:
        for moment in range(min(known), max(known) + STEP, STEP):
            if moment not in known:
                expected[moment] = GapKind.MISSING
            elif moment not in traded:
                expected[moment] = GapKind.NO_TRADE
    found = {}
    for gap in store.gaps("XBTUSD", "1m"):
        for moment in range(gap.start_s, gap.end_s, STEP):
            assert moment not in found
            found[moment] = gap.kind
    assert found == expected
