"""Times as users give them: seconds and aware datetimes; everything else is refused by its unit."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from trio.testing import MockClock

import krakked
from krakked._errors import InvalidTimeError, KrakkedError
from krakked._market.bars import OHLCBar
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.times import FAR_S, SOON_S, unix_seconds, utc_minute
from krakked.sandbox import SandboxSettings, open_sandbox

NOW = 1_790_000_000


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (0, 0),
        (0.0, 0),
        (NOW, NOW),
        (NOW + 0.25, NOW + 1),
        (float(NOW), NOW),
        (FAR_S - 1, FAR_S - 1),
        (np.int64(NOW), NOW),
        (np.float32(0.5), 1),
        (Fraction(7, 2), 4),
        (datetime(2026, 9, 21, 13, 33, 20, tzinfo=UTC), 1_789_997_600),
        (datetime(2026, 9, 21, 15, 33, 20, tzinfo=timezone(timedelta(hours=2))), 1_789_997_600),
        (datetime(1970, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC), 1),
        (pd.Timestamp("2026-09-21T13:33:20Z"), 1_789_997_600),
    ],
)
def test_seconds_and_aware_datetimes_are_times(given: Any, seconds: int) -> None:
    found = unix_seconds(given, "since", now_s=None)
    assert found == seconds
    assert type(found) is int


class Nowhere(tzinfo):
    """A time zone that does not know where it is."""

    def utcoffset(self, _when: datetime | None) -> None:
        return None


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (True, "expected unix seconds or an aware datetime"),
        (False, "expected unix seconds or an aware datetime"),
        ("2026-01-01", "expected unix seconds"),
        (b"5", "expected unix seconds"),
        (None, "expected unix seconds"),
        (Decimal(5), "expected unix seconds"),
        (1j, "expected unix seconds"),
        ([NOW], "expected unix seconds"),
        (datetime(2026, 1, 1), "no time zone"),
        (datetime(2026, 1, 1, tzinfo=Nowhere()), "no time zone"),
        (math.nan, "no point in time"),
        (math.inf, "no point in time"),
        (-math.inf, "no point in time"),
        (10**400, "no point in time"),
        (-1, "before 1970"),
        (-0.001, "before 1970"),
        (datetime(1969, 12, 31, tzinfo=UTC), "before 1970"),
        (FAR_S, "milliseconds"),
        (NOW * 1_000, "milliseconds; unix seconds are wanted: divide by 1,000."),
        (NOW * 1_000_000, "microseconds; unix seconds are wanted: divide by 1,000,000."),
        (NOW * 1_000_000_000, "nanoseconds; unix seconds are wanted: divide by 1,000,000,000."),
        (1e14, "microseconds"),
        (1e17, "nanoseconds"),
        (1e20, "no unit of time"),
    ],
)
def test_what_is_no_time_is_refused_by_its_unit(given: Any, why: str) -> None:
    with pytest.raises(InvalidTimeError) as caught:
        unix_seconds(given, "since_ts")
    assert str(caught.value).startswith("since_ts=")
    assert why in str(caught.value)
    assert caught.value.time == repr(given)[:60]
    assert isinstance(caught.value, KrakkedError)


def test_the_next_candle_may_lie_ahead_and_nothing_else() -> None:
    assert datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() == FAR_S - 1
    assert SOON_S == 7 * 86_400 + 86_400
    assert unix_seconds(NOW + SOON_S, "since", now_s=NOW) == NOW + SOON_S
    for given in (NOW + SOON_S + 1, datetime.fromtimestamp(NOW + SOON_S + 1, UTC)):
        with pytest.raises(InvalidTimeError, match="in the future, now is 1790000000"):
            unix_seconds(given, "since", now_s=NOW)
    assert unix_seconds(NOW + SOON_S + 1, "until") == NOW + SOON_S + 1


def stored(tmp_path: Path) -> OHLCStore:
    store = OHLCStore(tmp_path)
    times = [NOW // 60 * 60 + 60 * n for n in range(4)]
    store.append_bars("XBTUSD", "1m", [bar(time) for time in times])
    return store


def bar(time: int) -> OHLCBar:
    return OHLCBar(time=time, open=1, high=1, low=1, close=1, vwap=1, volume=1, count=1)


def test_the_store_takes_datetimes_and_refuses_other_units(tmp_path: Path) -> None:
    store = stored(tmp_path)
    first = NOW // 60 * 60
    since = datetime.fromtimestamp(first + 60, UTC)
    until = datetime.fromtimestamp(first + 179.5, UTC)
    bars = store.get_bars("XBTUSD", "1m", since=since, until=until)
    assert [one.time for one in bars] == [first + 60, first + 120]
    assert [one.time for one in store.get_bars("XBTUSD", "1m", since=first + 120.5)] == [
        first + 180
    ]
    for wrong in (NOW * 1000, -1, True, math.nan, "2026"):
        with pytest.raises(InvalidTimeError, match=r"^since="):
            store.get_bars("XBTUSD", "1m", since=wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidTimeError, match=r"^until="):
            store.gaps("XBTUSD", "1m", until=wrong)  # type: ignore[arg-type]
    store.close()


async def test_every_call_of_a_client_takes_the_same_times(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    settings = SandboxSettings(pair_count=40)
    async with open_sandbox(memory=True, settings=settings) as exchange:
        config = exchange.config(tmp_path)
        async with krakked.open_kraken(
            config, live=False, network=exchange.network, clock=exchange.clock
        ) as kraken:
            now_s = exchange.clock.wall_ns() // 10**9
            since = datetime.fromtimestamp(now_s - 3600, UTC)
            bars = await kraken.get_ohlc_since("XBTUSD", "1m", since)
            assert bars == await kraken.get_ohlc_since("XBTUSD", "1m", now_s - 3600)
            assert len(bars) >= 58
            plan = await kraken.plan_backfill("XBTUSD", "1m", since=since)
            assert plan.since_s == -(-(now_s - 3600) // 60) * 60
            assert await kraken.get_ohlc_since("XBTUSD", "1w", now_s + 86_400) == []
            wrong = (now_s * 1000, now_s * 10**9, -5, True, math.nan, now_s + 9 * 86_400)
            for time in (*wrong, datetime(2026, 1, 1)):
                for call in (kraken.get_ohlc_since, kraken.plan_backfill, kraken.backfill_ohlc):
                    with pytest.raises(InvalidTimeError):
                        await call("XBTUSD", "1m", time)


def test_times_are_written_for_people_whatever_they_are() -> None:
    assert utc_minute(1_793_491_200) == "2026-11-01 00:00"
    assert utc_minute(0) == "1970-01-01 00:00"
    assert utc_minute(FAR_S - 1) == "9999-12-31 23:59"
    assert utc_minute(FAR_S) == "the end"
    assert utc_minute(2**80) == "the end"
    assert utc_minute(-1) == "before 1970"
