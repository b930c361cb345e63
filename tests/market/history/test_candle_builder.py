"""Candles built in Rust equal candles computed a second way, in Decimal, for every timeframe."""

from __future__ import annotations

import itertools
import math
import struct
from collections import defaultdict
from decimal import Decimal, localcontext
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krakked._core import CandleBuilder
from krakked._timeframes import MINUTES, TRADE_TIMEFRAMES

Trade = tuple[int, str, str, int]
"""Time in ns, price, volume, id."""

FIELDS = ("time", "open", "high", "low", "close", "vwap", "volume", "count")


def rows_of(columns: dict[str, bytes]) -> list[tuple[Any, ...]]:
    """Columns to rows; a vwap that is none is None."""
    count = len(columns["time"]) // 8
    values = [
        struct.unpack(f"<{count}{'q' if name in ('time', 'count') else 'd'}", columns[name])
        for name in FIELDS
    ]
    return [
        tuple(None if isinstance(v, float) and math.isnan(v) else v for v in row)
        for row in zip(*values, strict=True)
    ]


def second_way(tape: list[Trade], minutes: int) -> list[tuple[Any, ...]]:
    """Candles by sorting and exact decimals: slow, plain, and nothing in common with Rust."""
    buckets: dict[int, list[Trade]] = defaultdict(list)
    for trade in {trade[3]: trade for trade in tape}.values():
        buckets[trade[0] // (minutes * 60_000_000_000) * minutes * 60].append(trade)
    rows: list[tuple[Any, ...]] = []
    with localcontext() as context:
        context.prec = 60
        for time, trades in sorted(buckets.items()):
            trades.sort(key=lambda trade: trade[3])
            prices = [Decimal(price) for _, price, _, _ in trades]
            volumes = [Decimal(volume) for _, _, volume, _ in trades]
            volume = sum(volumes, Decimal(0))
            turnover = sum((p * v for p, v in zip(prices, volumes, strict=True)), Decimal(0))
            rows.append(
                (
                    time,
                    float(prices[0]),
                    float(max(prices)),
                    float(min(prices)),
                    float(prices[-1]),
                    float(turnover / volume) if volume else None,
                    float(volume),
                    len(trades),
                )
            )
    return rows


@st.composite
def tapes(draw: st.DrawFn) -> list[Trade]:
    """A tape in id order: ties, bursts, empty stretches of days, digits of any length."""
    price_decimals = draw(st.integers(0, 10))
    gaps = st.one_of(
        st.just(0),
        st.integers(1, 50_000_000_000),
        st.integers(1, 3 * 86_400_000_000_000),
    )
    time = draw(st.integers(1_380_000_000, 1_800_000_000)) * 1_000_000_000
    trades: list[Trade] = []
    first = draw(st.integers(1, 2**40))
    for number in range(draw(st.integers(1, 40))):
        time += draw(gaps)
        units = draw(st.integers(1, 10**12))
        price = f"{Decimal(units).scaleb(-price_decimals):f}"
        lots = draw(st.integers(0, 10**15))
        decimals = draw(st.sampled_from([0, 5, 8, 11]))
        trades.append((time, price, f"{Decimal(lots).scaleb(-decimals):f}", first + number))
    return trades


def reply(trades: list[Trade]) -> bytes:
    """One reply of `Trades`, the times as Kraken writes them."""
    rows = [
        [p, v, msgspec.Raw(f"{t // 10**9}.{t % 10**9:09d}".encode()), "b", "m", "", i]
        for t, p, v, i in trades
    ]
    last = str(trades[-1][0])
    return msgspec.json.encode({"error": [], "result": {"XXBTZUSD": rows, "last": last}})


def check_tape(tape: list[Trade], pages: list[list[Trade]]) -> None:
    labels = {MINUTES[label] for label in TRADE_TIMEFRAMES}
    builder = CandleBuilder(sorted(labels))
    for page in pages:
        builder.add_page(reply(page))
    assert builder.holes() == []
    assert builder.last_id == tape[-1][3]
    for minutes in labels:
        assert rows_of(builder.take(minutes)) == second_way(tape, minutes)
        assert builder.pending(minutes) == 0


@st.composite
def paged(draw: st.DrawFn) -> tuple[list[Trade], list[list[Trade]]]:
    """A tape cut into pages that overlap and come in any order."""
    tape = draw(tapes())
    cuts = sorted({0, len(tape), *draw(st.lists(st.integers(0, len(tape)), max_size=4))})
    overlap = draw(st.integers(0, 3))
    pages = [tape[max(0, a - overlap) : b] for a, b in itertools.pairwise(cuts)]
    return tape, draw(st.permutations(pages))


@given(paged())
@settings(max_examples=60, deadline=None)
def test_candles_from_trades_equal_the_second_way(given_: tuple[list[Trade], Any]) -> None:
    check_tape(*given_)


@pytest.mark.slow
@given(paged())
@settings(max_examples=1500, deadline=None)
def test_candles_from_trades_equal_the_second_way_many_times(
    given_: tuple[list[Trade], Any],
) -> None:
    check_tape(*given_)


@given(tapes())
@settings(max_examples=30, deadline=None)
def test_taking_candles_on_the_way_changes_nothing(tape: list[Trade]) -> None:
    builder = CandleBuilder([5])
    rows: list[tuple[Any, ...]] = []
    for time, price, volume, number in tape:
        builder.add(time, price, volume, number)
        rows += rows_of(builder.take(5, time // 300_000_000_000 * 300))
    rows += rows_of(builder.take(5))
    assert rows == second_way(tape, 5)


def test_trades_outside_the_range_leave_no_hole() -> None:
    tape = [(n * 30_000_000_000, "1", "1", n) for n in range(1, 9)]
    builder = CandleBuilder([1])
    page = builder.add_page(reply(tape), 60_000_000_000, 180_000_000_000)
    assert page == (8, 4, 1, 8, 30_000_000_000, 240_000_000_000, 240_000_000_000)
    assert builder.holes() == []
    assert [row[0] for row in rows_of(builder.take(1))] == [60, 120]


def test_missing_ids_are_holes_until_they_come() -> None:
    builder = CandleBuilder([1])
    builder.add_page(reply([(1, "1", "1", 1), (5, "1", "1", 5), (9, "1", "1", 9)]))
    assert builder.holes() == [(2, 4), (6, 8)]
    builder.add_page(reply([(n, "1", "1", n) for n in (2, 3, 4)]))
    assert builder.holes() == [(6, 8)]


def test_a_trade_after_its_candle_was_taken_is_refused() -> None:
    builder = CandleBuilder([1])
    builder.add(90_000_000_000, "1", "1", 2)
    builder.take(1, 120)
    with pytest.raises(ValueError, match="taken already"):
        builder.add(60_000_000_000, "1", "1", 1)
    assert not builder.add(90_000_000_000, "1", "1", 2)


def test_csv_in_pieces() -> None:
    text = b"60.5,10,2\r\n61,11.5,4E+2\n\n119.9999999,9,3.811e-05\n120,1,1"
    for size in (1, 3, 7, 100):
        builder = CandleBuilder([1])
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        lines = sum(
            builder.add_csv(piece, is_last=number == len(pieces))
            for number, piece in enumerate(pieces, start=1)
        )
        assert lines == 4
        assert builder.newest_s(1) == 120
        first, second = rows_of(builder.take(1))
        assert first[:5] == (60, 10.0, 11.5, 9.0, 9.0)
        assert first[7] == 3
        assert second[0] == 120


@pytest.mark.parametrize(
    "line", [b"x,1,1", b"60,1", b"60,1,1,1", b"60,-1,1", b"60,1,", b"60,nan,1", b"60 ,1,1 "]
)
def test_a_malformed_csv_line_is_left_out_with_its_number(line: bytes) -> None:
    builder = CandleBuilder([1])
    assert builder.add_csv(b"1,1,1\n" + line + b"\n80,1,1\n", is_last=True) == 2
    count, first = builder.bad_lines()
    assert (count, first[0][0], bool(first[0][1])) == (1, 2, True)
    assert builder.take_doubts() == [(1_000_000_000, 80_000_000_000)]
    assert [row[0] for row in rows_of(builder.take(1))] == [0, 60]


def test_trades_of_the_future_are_bad_lines() -> None:
    builder = CandleBuilder([1], latest_ns=60_000_000_000)
    assert builder.add_csv(b"59,1,1\n60,1,1\n60.5,1,1\n", is_last=True) == 2
    assert builder.bad_lines() == (1, [(3, "the trade lies in the future")])


@pytest.mark.parametrize("intervals", [[], [0]])
def test_an_interval_is_at_least_a_minute(intervals: list[int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        CandleBuilder(intervals)
