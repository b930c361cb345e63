"""Labels and intervals of candles."""

from __future__ import annotations

import typing
from typing import Any

import pytest

from krakked._errors import UnknownTimeframeError
from krakked._timeframes import LABELS, MINUTES, Timeframe, interval_s, parse_timeframe

TABLE = {
    "1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440, "1w": 10080,
}  # fmt: skip


def test_the_table_is_krakens() -> None:
    assert MINUTES == TABLE
    assert tuple(TABLE) == typing.get_args(Timeframe)
    assert {minutes: label for label, minutes in TABLE.items()} == LABELS
    for label, minutes in TABLE.items():
        assert parse_timeframe(label) == minutes
        assert interval_s(label) == minutes * 60


@pytest.mark.parametrize("label", ["7m", "1M", "1H", "60", "", " 1m", 60, None, ["1m"], b"1m"])
def test_what_is_no_timeframe_is_refused_with_those_that_are(label: Any) -> None:
    with pytest.raises(UnknownTimeframeError, match=r"Use one of 1m, 5m, .* 1d, 1w\.") as caught:
        parse_timeframe(label)
    assert caught.value.timeframe == str(label)
