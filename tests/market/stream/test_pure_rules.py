"""Backoff, budget, watchdogs, ledger, lanes, names, time: rules without I/O."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krakked.market.bars import OHLCBar, Source
from krakked.market.pairs import PairMetadata, PairTable
from krakked.market.stream.backoff import (
    AFTER_MAINTENANCE_S,
    CAP_S,
    MARGIN_S,
    Backoff,
    ConnectBudget,
)
from krakked.market.stream.exchange_time import ExchangeTime
from krakked.market.stream.lanes import Lanes
from krakked.market.stream.ledger import CandleLedger, Hole, SeriesCandle
from krakked.market.stream.loglimit import LogLimiter
from krakked.market.stream.requests import SubscriptionKey
from krakked.market.stream.symbols import SymbolNames, decode_instrument
from krakked.market.stream.watchdogs import ConnectionWatch, TransportWatch, Verdict

# --- backoff ---------------------------------------------------------------------------------


def test_waits_are_full_jitter_under_a_doubling_bound() -> None:
    bounds = [1.0, 2.0, 4.0, 8.0, 16.0, CAP_S, CAP_S]
    longest = [0.0] * len(bounds)
    for seed in range(400):
        backoff = Backoff(Random(seed))
        for i, bound in enumerate(bounds):
            wait = backoff.next_wait_s()
            assert 0.0 <= wait <= bound
            longest[i] = max(longest[i], wait)
    assert all(seen > 0.95 * bound for seen, bound in zip(longest, bounds, strict=True))


def test_backoff_forgets_only_after_a_minute_of_data() -> None:
    backoff = Backoff(Random(1))
    for _ in range(5):
        backoff.next_wait_s()
    assert not backoff.healthy(59.9)
    assert backoff.failures == 5
    assert backoff.healthy(60.0)
    assert backoff.failures == 0


def test_maintenance_waits_at_least_five_seconds() -> None:
    waits = [Backoff(Random(i)).next_wait_s(maintenance=True) for i in range(100)]
    assert min(waits) >= AFTER_MAINTENANCE_S == 5.0


@given(st.integers(0, 2**32), st.sampled_from([0.0, 3.0, 9.0, 12.0, 40.0]))
def test_never_more_than_sixty_attempts_in_any_ten_minutes(seed: int, longest_s: float) -> None:
    draw, budget = Random(seed), ConnectBudget()
    now, attempts = 0.0, []
    for _ in range(200):
        now += draw.choice([0.0, draw.uniform(0.0, longest_s)])
        now += budget.wait_s(now)
        budget.spend(now)
        attempts.append(now)
    gaps = [b - a for a, b in zip(attempts, attempts[60:], strict=False)]
    assert min(gaps) >= 600.0 + MARGIN_S - 1e-6  # what adding up floats may cost


def test_sixty_attempts_may_come_at_once_and_the_next_waits_for_the_first_to_leave() -> None:
    budget = ConnectBudget()
    for number in range(60):
        assert budget.spent(100.0) == number
        assert budget.wait_s(100.0) == 0.0
        budget.spend(100.0)
    assert budget.wait_s(100.0) == 600.0 + MARGIN_S == 602.0
    assert budget.wait_s(699.0) == 3.0
    assert budget.wait_s(702.0) == 0.0
    assert (budget.spent(699.9), budget.spent(700.0)) == (60, 0)


# --- watchdogs -------------------------------------------------------------------------------


def test_half_open_is_noticed_within_fifteen_seconds_and_not_before_a_ping() -> None:
    watch = TransportWatch(0.0)
    last_bytes = 0.0
    verdicts = {now: watch.check(float(now), last_bytes) for now in range(1, 20)}
    assert verdicts[5] is Verdict.PING
    assert next(now for now, v in verdicts.items() if v is Verdict.DEAD) == 12
    assert all(v is Verdict.FINE for now, v in verdicts.items() if now < 5 or 5 < now < 12)


def test_an_answered_ping_starts_over() -> None:
    watch = TransportWatch(0.0)
    last = 0.0
    for now in range(1, 1000):
        verdict = watch.check(float(now), last)
        if verdict is Verdict.PING:
            last = now + 0.1
        assert verdict is not Verdict.DEAD


def test_a_program_that_held_up_its_own_loop_is_not_taken_for_a_dead_peer() -> None:
    watch = TransportWatch(0.0)
    assert watch.check(60.0, 0.0) is Verdict.PING  # not DEAD
    assert watch.check(200.0, 0.0) is Verdict.PING  # held up again while the pong waited unread
    frames = ConnectionWatch()
    assert frames.check(1.0, 1.0, armed=True) is Verdict.FINE
    assert frames.check(61.0, 1.0, armed=True) is Verdict.FINE
    assert frames.check(62.0, 61.5, armed=True) is Verdict.FINE


def test_the_connection_watchdog_is_armed_only_by_an_acknowledgement() -> None:
    watch = ConnectionWatch()
    for now in range(1, 1000):
        assert watch.check(float(now), 0.0, armed=False) is Verdict.FINE
    verdicts = {now: watch.check(float(now), 0.0, armed=True) for now in range(1000, 1020)}
    assert next(now for now, v in verdicts.items() if v is Verdict.DEAD) == 1012


# --- ledger ----------------------------------------------------------------------------------

SERIES = ("BTC/USD", 1)


def candle(minute: int, source: Source = Source.WEBSOCKET) -> SeriesCandle:
    return SeriesCandle("BTC/USD", 1, bar(minute), source)


def bar(minute: int, count: int = 1) -> OHLCBar:
    return OHLCBar(minute * 60, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, count)


def minutes(candles: list[SeriesCandle]) -> list[int]:
    return [c.bar.time // 60 for c in candles]


def test_history_of_the_first_snapshot_is_not_given_out() -> None:
    ledger = CandleLedger()
    ledger.begin(SERIES, 10 * 60)
    given = [m for n in (8, 9, 10, 11) for m in minutes(ledger.closed(candle(n)))]
    assert given == [10, 11]


def test_a_short_outage_needs_no_rest() -> None:
    ledger = CandleLedger()
    ledger.closed(candle(10))
    ledger.lost(SERIES, 11 * 60)
    assert ledger.snapshot(SERIES, 5 * 60) is None
    assert minutes(ledger.closed(candle(11))) == [11]


def test_a_hole_is_filled_in_order_and_newer_candles_wait() -> None:
    ledger = CandleLedger()
    ledger.closed(candle(10))
    ledger.lost(SERIES, 11 * 60)
    hole = ledger.snapshot(SERIES, 20 * 60)
    assert hole == Hole("BTC/USD", 1, 11 * 60, 20 * 60)
    assert ledger.closed(candle(20)) == []
    assert ledger.current_hole(hole)
    given = ledger.filled(hole, [bar(n, count=n % 2) for n in range(9, 25)])
    assert minutes(given) == [11, 13, 15, 17, 19, 20]
    assert [c.source for c in given[:2]] == [Source.REST, Source.REST]
    assert minutes(ledger.closed(candle(21))) == [21]


def test_a_hole_grows_when_the_connection_is_lost_again() -> None:
    ledger = CandleLedger()
    ledger.closed(candle(10))
    ledger.lost(SERIES, 11 * 60)
    first = ledger.snapshot(SERIES, 20 * 60)
    ledger.closed(candle(20))
    ledger.lost(SERIES, 21 * 60)
    second = ledger.snapshot(SERIES, 40 * 60)
    assert first is not None
    assert second == Hole("BTC/USD", 1, 11 * 60, 40 * 60)
    assert ledger.filled(first, [bar(15)]) == []  # superseded
    given = ledger.filled(second, [bar(n) for n in range(11, 45)])
    assert minutes(given) == list(range(11, 40))


def test_a_hole_that_cannot_be_filled_lets_the_newer_ones_go() -> None:
    ledger = CandleLedger()
    ledger.closed(candle(10))
    ledger.lost(SERIES, 11 * 60)
    hole = ledger.snapshot(SERIES, 20 * 60)
    ledger.closed(candle(20))
    assert minutes(ledger.filled(hole, ())) == [20]


def test_no_snapshot_at_all_is_resolved_once_the_interval_has_passed() -> None:
    ledger = CandleLedger()
    ledger.closed(candle(10))
    ledger.lost(SERIES, 11 * 60)
    assert ledger.unresolved(SERIES, 11 * 60) is None
    assert ledger.is_lost(SERIES)
    assert ledger.unresolved(SERIES, 12 * 60) == Hole("BTC/USD", 1, 11 * 60, 12 * 60)
    assert not ledger.is_lost(SERIES)


@given(st.lists(st.integers(0, 30), max_size=80))
def test_out_of_order_and_repeated_candles_never_come_out_twice(order: list[int]) -> None:
    ledger = CandleLedger()
    given = [m for n in order for m in minutes(ledger.closed(candle(n)))]
    assert given == sorted(set(given))


# --- lanes -----------------------------------------------------------------------------------


def test_one_lane_per_timeframe_ticker_and_instrument_on_the_first() -> None:
    lanes = Lanes([1, 5, 60])
    lanes.add("BTC/USD")
    plan = lanes.plan()
    assert [lanes.name(line) for line in plan] == ["1m", "5m", "1h"]
    assert plan[0, 0] == [
        SubscriptionKey("ticker", "BTC/USD"),
        SubscriptionKey("ohlc", "BTC/USD", 1),
        SubscriptionKey("instrument"),
    ]
    assert plan[1, 0] == [SubscriptionKey("ohlc", "BTC/USD", 5)]
    for line, keys in plan.items():
        for key in keys[:-1]:
            assert lanes.line_of(key) == line


def test_no_connection_carries_two_intervals_of_a_symbol() -> None:
    lanes = Lanes([1, 5], symbols_per_connection=2)
    for i in range(5):
        lanes.add(f"S{i}")
    for keys in lanes.plan().values():
        ohlc = [k.symbol for k in keys if k.channel == "ohlc"]
        assert len(ohlc) == len(set(ohlc)) <= 2


def test_adding_and_removing_never_moves_another_symbol() -> None:
    lanes = Lanes([1], symbols_per_connection=2)
    for symbol in "ABCDE":
        lanes.add(symbol)
    before = {s: lanes.line_of(SubscriptionKey("ticker", s)) for s in "ABCDE"}
    lanes.remove("B")
    lanes.add("F")
    assert lanes.line_of(SubscriptionKey("ticker", "F")) == (0, 0)  # B's place
    for symbol in "ACDE":
        assert lanes.line_of(SubscriptionKey("ticker", symbol)) == before[symbol]


def test_timeframes_come_and_go() -> None:
    lanes = Lanes([1, 5])
    lanes.add("A")
    lanes.remove_interval(1)
    assert lanes.plan()[0, 0][0] == SubscriptionKey("ticker", "A")  # tickers stay
    lanes.remove_interval(5)
    assert set(lanes.plan()) == {(0, 0)}
    lanes.add_interval(15)
    lanes.add_interval(60)
    assert lanes.intervals == (15, 60)
    assert Lanes([]).intervals == ()


# --- names -----------------------------------------------------------------------------------


def pair(canonical: str, symbol: str, wsname: str) -> PairMetadata:
    base, quote = wsname.split("/")
    return PairMetadata(
        canonical=canonical,
        base=base,
        quote=quote,
        rest_symbol=canonical,
        ws_symbol=symbol,
        wsname=wsname,
        raw_name=canonical,
        price_decimals=1,
        volume_decimals=8,
        lot_size=1.0,
        status="online",
    )


def test_the_instrument_list_wins_over_the_derived_symbol() -> None:
    table = PairTable([pair("XBTUSD", "BTC/USD", "XBT/USD"), pair("ETHUSD", "ETH/USD", "ETH/USD")])
    names = SymbolNames()
    names.add("XBTUSD", table)
    names.add("ETHUSD", table)
    assert names.symbol("XBTUSD") == "BTC/USD"
    raw = (
        b'{"pairs":[{"symbol":"XBT/USD","status":"online"},'
        b'{"symbol":"ETH/USD","status":"post_only"}]}'
    )
    assert names.listed(decode_instrument(raw), table) == [("XBTUSD", "BTC/USD", "XBT/USD")]
    assert names.canonical("XBT/USD") == "XBTUSD"
    assert names.canonical("BTC/USD") is None
    assert names.statuses == {"ETHUSD": "post_only"}


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"pairs":[{"status":1}]}', b"\xff"])
def test_reference_data_that_makes_no_sense_is_ignored(raw: bytes) -> None:
    assert decode_instrument(raw) == {}


# --- time ------------------------------------------------------------------------------------


def test_the_exchange_time_ignores_the_wall_clock_after_the_start() -> None:
    hour = 3600 * 10**9
    time = ExchangeTime(wall_ns=1_000 * hour + hour, elapsed_ns=0)  # our wall is an hour ahead
    assert time.now_ns(5) == 1_001 * hour + 5
    for i in range(20):
        time.sample(1_000 * hour + i, i)
    time.settle()
    assert time.now_ns(50) == 1_000 * hour + 50


def test_neither_old_stamps_nor_a_mad_one_decide() -> None:
    time = ExchangeTime(0, 0)
    for i in range(64):
        time.sample(10**18 - (10**12 if i % 3 == 0 else 0), 0)
    time.sample(9 * 10**18, 0)
    time.settle()
    assert time.now_ns(0) == 10**18


def test_log_lines_of_one_kind_are_limited_and_counted() -> None:
    limiter = LogLimiter(burst=2, every_s=10.0)
    assert [limiter.admit("a", 0.0) for _ in range(5)] == ["", "", None, None, None]
    assert limiter.admit("b", 0.0) == ""
    assert limiter.admit("a", 10.0) == " (3 more like this were not logged)"
