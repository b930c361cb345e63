"""Backoff, budget, watchdogs, ledger, lanes, names, time: rules without I/O."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krakked._market.bars import OHLCBar, Source
from krakked._market.pairs import PairMetadata, PairTable
from krakked._market.stream.backoff import (
    AFTER_MAINTENANCE_S,
    CAP_S,
    MARGIN_S,
    Backoff,
    ConnectBudget,
)
from krakked._market.stream.connection_plan import ConnectionPlan
from krakked._market.stream.crosscheck import Look, TradeAudit
from krakked._market.stream.evidence import Evidence
from krakked._market.stream.loglimit import LogLimiter
from krakked._market.stream.requests import SubscriptionKey
from krakked._market.stream.sequencer import REMEMBERED, CandleSequencer, Hole, SeriesCandle
from krakked._market.stream.symbols import SymbolNames, decode_instrument
from krakked._market.stream.watchdogs import ConnectionWatch, TransportWatch, WatchdogVerdict

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
    assert verdicts[5] is WatchdogVerdict.PING
    assert next(now for now, v in verdicts.items() if v is WatchdogVerdict.DEAD) == 12
    assert all(v is WatchdogVerdict.FINE for now, v in verdicts.items() if now < 5 or 5 < now < 12)


def test_an_answered_ping_starts_over() -> None:
    watch = TransportWatch(0.0)
    last = 0.0
    for now in range(1, 1000):
        verdict = watch.check(float(now), last)
        if verdict is WatchdogVerdict.PING:
            last = now + 0.1
        assert verdict is not WatchdogVerdict.DEAD


def test_a_program_that_held_up_its_own_loop_is_not_taken_for_a_dead_peer() -> None:
    watch = TransportWatch(0.0)
    assert watch.check(60.0, 0.0) is WatchdogVerdict.PING  # not DEAD
    assert (
        watch.check(200.0, 0.0) is WatchdogVerdict.PING
    )  # held up again while the pong waited unread
    frames = ConnectionWatch()
    assert frames.check(1.0, 1.0, armed=True) is WatchdogVerdict.FINE
    assert frames.check(61.0, 1.0, armed=True) is WatchdogVerdict.FINE
    assert frames.check(62.0, 61.5, armed=True) is WatchdogVerdict.FINE


def test_the_connection_watchdog_is_armed_only_by_an_acknowledgement() -> None:
    watch = ConnectionWatch()
    for now in range(1, 1000):
        assert watch.check(float(now), 0.0, armed=False) is WatchdogVerdict.FINE
    verdicts = {now: watch.check(float(now), 0.0, armed=True) for now in range(1000, 1020)}
    assert next(now for now, v in verdicts.items() if v is WatchdogVerdict.DEAD) == 1012


# --- ledger ----------------------------------------------------------------------------------

SERIES = ("BTC/USD", 1)


def candle(
    minute: int, count: int = 1, evidence: Evidence = Evidence.NEXT, volume: float = 1.0
) -> SeriesCandle:
    return SeriesCandle("BTC/USD", 1, bar(minute, count, volume), Source.WEBSOCKET, evidence)


def bar(minute: int, count: int = 1, volume: float = 1.0) -> OHLCBar:
    return OHLCBar(minute * 60, 1.0, 1.0, 1.0, 1.0, 1.0, volume, count)


def minutes(candles: list[SeriesCandle]) -> list[int]:
    return [c.bar.time // 60 for c in candles]


def begun(first: int = 0) -> CandleSequencer:
    ledger = CandleSequencer()
    ledger.begin(SERIES, first * 60)
    return ledger


def test_history_of_the_first_snapshot_is_not_given_out() -> None:
    ledger = begun(10)
    given = [m for n in (8, 9, 10, 11) for m in minutes(ledger.closed(candle(n)))]
    assert given == [10, 11]


def test_rows_of_a_snapshot_that_was_not_told_yet_are_history() -> None:
    ledger = CandleSequencer()
    assert ledger.closed(candle(8, evidence=Evidence.SNAPSHOT)) == []
    ledger.begin(SERIES, 10 * 60)
    assert ledger.closed(candle(9, evidence=Evidence.SNAPSHOT)) == []
    assert minutes(ledger.closed(candle(10))) == [10]


def test_a_series_without_snapshot_begins_with_its_first_candle() -> None:
    ledger = CandleSequencer()
    assert minutes(ledger.closed(candle(8))) == [8]


def test_a_short_outage_needs_no_rest_and_keeps_the_order() -> None:
    ledger = begun()
    ledger.closed(candle(10))
    ledger.lost(SERIES, 11 * 60)
    assert ledger.closed(candle(12)) == []  # 11 may still come
    assert ledger.closed(candle(11)) == []
    hole, ready = ledger.snapshot(SERIES, 5 * 60)
    assert hole is None
    assert minutes(ready) == [11, 12]
    assert minutes(ledger.closed(candle(13))) == [13]


def test_a_hole_is_filled_in_order_and_newer_candles_wait() -> None:
    ledger = begun()
    ledger.closed(candle(10))
    ledger.lost(SERIES, 11 * 60)
    hole, ready = ledger.snapshot(SERIES, 20 * 60)
    assert (hole, ready) == (Hole("BTC/USD", 1, 11 * 60, 20 * 60), [])
    assert hole is not None
    assert ledger.closed(candle(20)) == []
    assert ledger.current_hole(hole)
    given = ledger.filled(hole, [bar(n, count=n % 2) for n in range(9, 25)])
    assert minutes(given) == [11, 13, 15, 17, 19, 20]
    assert [(c.source, c.evidence) for c in given[:1]] == [(Source.REST, Evidence.REST)]
    assert not any(c.corrects for c in given)
    assert minutes(ledger.closed(candle(21))) == [21]


def test_a_hole_grows_when_the_connection_is_lost_again() -> None:
    ledger = begun()
    ledger.closed(candle(10))
    ledger.lost(SERIES, 11 * 60)
    first, _ = ledger.snapshot(SERIES, 20 * 60)
    ledger.closed(candle(20))
    ledger.lost(SERIES, 21 * 60)
    second, _ = ledger.snapshot(SERIES, 40 * 60)
    assert first is not None
    assert second == Hole("BTC/USD", 1, 11 * 60, 40 * 60)
    assert ledger.filled(first, [bar(15)]) == []  # superseded
    given = ledger.filled(second, [bar(n) for n in range(11, 45)])
    assert minutes(given) == list(range(11, 40))


def test_a_hole_that_nothing_fills_lets_the_newer_ones_go_and_may_be_filled_later() -> None:
    ledger = begun()
    ledger.closed(candle(10))
    ledger.lost(SERIES, 11 * 60)
    hole, _ = ledger.snapshot(SERIES, 20 * 60)
    assert hole is not None
    ledger.closed(candle(20))
    assert minutes(ledger.give_up(hole)) == [20]
    late = ledger.filled(hole, [bar(12)])
    assert [(c.bar.time, c.corrects, c.previous) for c in late] == [(12 * 60, True, None)]
    assert ledger.filled(hole, [bar(12)]) == []


def test_no_snapshot_at_all_is_resolved_again_and_again_while_the_series_is_lost() -> None:
    ledger = begun()
    ledger.closed(candle(10))
    ledger.lost(SERIES, 11 * 60)
    assert ledger.unresolved(SERIES, 11 * 60) is None
    assert ledger.is_lost(SERIES)
    first = ledger.unresolved(SERIES, 12 * 60)
    assert first == Hole("BTC/USD", 1, 11 * 60, 12 * 60)
    assert minutes(ledger.filled(first, [bar(11)])) == [11]
    assert ledger.unresolved(SERIES, 12 * 60) is None
    second = ledger.unresolved(SERIES, 14 * 60)
    assert second == Hole("BTC/USD", 1, 12 * 60, 14 * 60)
    assert minutes(ledger.filled(second, [bar(12), bar(13)])) == [12, 13]
    assert ledger.closed(candle(14)) == []
    assert minutes(ledger.recovered(SERIES)) == [14]
    assert not ledger.is_lost(SERIES)


def test_a_loss_looks_again_at_what_was_given_out_shortly_before() -> None:
    ledger = begun()
    ledger.closed(candle(10, count=5))
    ledger.lost(SERIES, 10 * 60)
    hole, _ = ledger.snapshot(SERIES, 20 * 60)
    assert hole is not None
    assert hole.since_s == 10 * 60
    wrong, missed = ledger.filled(hole, [bar(10, count=7), bar(11)])
    assert (wrong.corrects, wrong.previous, wrong.bar) == (True, bar(10, count=5), bar(10, count=7))
    assert (missed.corrects, missed.bar) == (False, bar(11))


def test_a_late_row_corrects_once_and_only_with_more() -> None:
    ledger = begun()
    ledger.closed(candle(10, count=5))
    ledger.closed(candle(11))
    late = ledger.closed(candle(10, count=6, evidence=Evidence.LATE))
    assert [(c.corrects, c.previous) for c in late] == [(True, bar(10, count=5))]
    assert ledger.closed(candle(10, count=6, evidence=Evidence.LATE)) == []
    assert ledger.closed(candle(10, count=5, evidence=Evidence.LATE)) == []
    skipped = ledger.closed(candle(9, evidence=Evidence.LATE))
    assert [(c.corrects, c.previous) for c in skipped] == [(True, None)]
    assert ledger.closed(candle(9, volume=2.0, evidence=Evidence.LATE))[0].previous == bar(9)
    assert minutes(ledger.closed(candle(12))) == [12]


def test_rest_confirms_and_a_weaker_source_does_not_overrule_it() -> None:
    ledger = begun()
    ledger.closed(candle(10, count=5, evidence=Evidence.QUIET))
    hole = Hole("BTC/USD", 1, 10 * 60, 11 * 60, confirms=True)
    assert ledger.current_hole(hole)
    assert ledger.filled(hole, [bar(10, count=5)]) == []
    assert ledger.filled(hole, [bar(10, count=4)]) == []  # older than what is known
    (corrected,) = ledger.filled(hole, [bar(10, count=5, volume=3.0)])
    assert (corrected.source, corrected.bar.volume) == (Source.REST, 3.0)
    assert ledger.closed(candle(10, count=5, evidence=Evidence.LATE)) == []
    assert len(ledger.closed(candle(10, count=6, evidence=Evidence.LATE))) == 1
    assert minutes(ledger.closed(candle(11))) == [11]  # nothing ever waited


def test_a_doubtful_candle_waits_for_rest_or_for_its_row() -> None:
    for how in ("rest", "row", "rest lacks it", "nothing"):
        ledger = begun()
        ledger.closed(candle(9))
        hole = ledger.doubtful(candle(10, count=5, evidence=Evidence.DOUBTFUL))
        assert hole == Hole("BTC/USD", 1, 10 * 60, 11 * 60)
        assert ledger.closed(candle(11)) == []
        match how:
            case "rest":
                given = ledger.filled(hole, [bar(10, count=6)])
                assert [(c.bar.count, c.source) for c in given] == [
                    (6, Source.REST),
                    (1, Source.WEBSOCKET),
                ]
            case "row":
                given = ledger.closed(candle(10, count=6, evidence=Evidence.LATE))
                assert not ledger.current_hole(hole)
            case "rest lacks it":
                given = ledger.filled(hole, [bar(10, count=4)])
                assert given[0].bar.count == 5
            case "nothing":
                given = ledger.give_up(hole)
                assert minutes(given) == [11]  # better missing than wrong
                continue
        assert minutes(given) == [10, 11], how
        assert not any(c.corrects for c in given)


def test_what_is_forgotten_gives_back_what_waited() -> None:
    ledger = begun()
    ledger.closed(candle(9))
    ledger.doubtful(candle(10, evidence=Evidence.DOUBTFUL))
    ledger.closed(candle(11))
    assert minutes(ledger.forget(SERIES)) == [11]
    assert not ledger.knows(SERIES)


@given(st.lists(st.integers(0, 30), max_size=80))
def test_out_of_order_and_repeated_candles_never_come_out_twice(order: list[int]) -> None:
    ledger = begun()
    out = [one for n in order for one in ledger.closed(candle(n))]
    given = [c.bar.time for c in out if not c.corrects]
    assert given == sorted(set(given))
    told = [c.bar.time for c in out]
    assert len(told) == len(set(told))
    if len(set(order)) < REMEMBERED:
        assert set(told) == {60 * n for n in order}


# --- lanes -----------------------------------------------------------------------------------


def test_one_lane_per_timeframe_ticker_and_instrument_on_the_first() -> None:
    lanes = ConnectionPlan([1, 5, 60])
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
            assert lanes.supervisor_of(key) == line


def test_no_connection_carries_two_intervals_of_a_symbol() -> None:
    lanes = ConnectionPlan([1, 5], symbols_per_connection=2)
    for i in range(5):
        lanes.add(f"S{i}")
    for keys in lanes.plan().values():
        ohlc = [k.symbol for k in keys if k.channel == "ohlc"]
        assert len(ohlc) == len(set(ohlc)) <= 2


def test_adding_and_removing_never_moves_another_symbol() -> None:
    lanes = ConnectionPlan([1], symbols_per_connection=2)
    for symbol in "ABCDE":
        lanes.add(symbol)
    before = {s: lanes.supervisor_of(SubscriptionKey("ticker", s)) for s in "ABCDE"}
    lanes.remove("B")
    lanes.add("F")
    assert lanes.supervisor_of(SubscriptionKey("ticker", "F")) == (0, 0)  # B's place
    for symbol in "ACDE":
        assert lanes.supervisor_of(SubscriptionKey("ticker", symbol)) == before[symbol]


def test_timeframes_come_and_go() -> None:
    lanes = ConnectionPlan([1, 5])
    lanes.add("A")
    lanes.remove_interval(1)
    assert lanes.plan()[0, 0][0] == SubscriptionKey("ticker", "A")  # tickers stay
    lanes.remove_interval(5)
    assert set(lanes.plan()) == {(0, 0)}
    lanes.add_interval(15)
    lanes.add_interval(60)
    assert lanes.intervals == (15, 60)
    assert ConnectionPlan([]).intervals == ()


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


def test_log_lines_of_one_kind_are_limited_and_counted() -> None:
    limiter = LogLimiter(burst=2, every_s=10.0)
    assert [limiter.admit("a", 0.0) for _ in range(5)] == ["", "", None, None, None]
    assert limiter.admit("b", 0.0) == ""
    assert limiter.admit("a", 10.0) == " (3 more like this were not logged)"


def test_an_outage_makes_at_most_ten_lines_however_long_it_lasts() -> None:
    limiter = LogLimiter()
    assert limiter.admit("disconnect", 0.0) == ""
    limiter.outage(0.0)
    losing = [
        now
        for now in range(100_000)
        for kind in ("disconnect", "retry", "fill")
        if limiter.admit(kind, float(now)) is not None
    ]
    assert losing == [0, 0, 0, 60, 300, 1260]
    returning = [
        kind
        for now in range(100_000, 100_050)
        for kind in ("connect", "resubscribed")
        if limiter.admit(kind, float(now)) is not None
    ]
    assert len(returning) == 4
    limiter.calm(100_050.0)
    limiter.calm(100_109.0)
    assert limiter.admit("connect", 100_109.0) is None
    limiter.calm(100_110.0)  # over
    assert limiter.admit("disconnect", 100_110.0) is not None


def test_a_loss_while_coming_back_belongs_to_the_same_outage() -> None:
    limiter = LogLimiter()
    limiter.outage(0.0)
    for now in (0.0, 0.0, 0.0):
        limiter.admit("disconnect", now)
    limiter.calm(50.0)
    limiter.outage(55.0)
    limiter.calm(100.0)
    limiter.calm(159.0)
    assert limiter.admit("disconnect", 59.0) is None
    limiter.calm(160.0)
    assert limiter.admit("disconnect", 160.0) is not None


# --- the audit of trades ---


def look(at_s: float, today: int, told: int, later: int) -> Look:
    return Look(at_s, {}, {"A": today}, {"A": told}, {"A": later})


def test_candles_that_lack_a_trade_are_found_and_rows_under_way_are_no_lack() -> None:
    audit = TradeAudit()
    assert audit.check(look(0.0, 100, 10, 10)) == {}
    assert audit.check(look(120.0, 105, 13, 15)) == {}  # two were on their way
    assert audit.check(look(240.0, 110, 19, 20)) == {}
    assert audit.check(look(360.0, 112, 20, 22)) == {}  # one is missing, and hidden by a later one
    assert audit.check(look(480.0, 114, 23, 23)) == {"A": 0.0}
    assert audit.check(look(600.0, 116, 25, 25)) == {}  # told once
    assert audit.check(look(720.0, 118, 26, 26)) == {"A": 600.0}  # the newest that was sound


def test_midnight_and_trades_counted_twice_are_no_lack() -> None:
    audit = TradeAudit()
    assert audit.check(look(0.0, 100, 10, 10)) == {}
    assert audit.check(look(120.0, 3, 13, 13)) == {}
    assert audit.check(look(240.0, 5, 17, 17)) == {}  # two of them filled by REST as well
    assert audit.check(look(360.0, 9, 19, 20)) == {"A": 240.0}
