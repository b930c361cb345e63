"""Desired state: one ack per symbol, every refusal shape, batches, mutes, resends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krakked._market.stream.channels import SNAPSHOT_DUE_S
from krakked._market.stream.requests import RequestAnswer, SubscriptionKey, SubscriptionState
from krakked._market.stream.subscriptions import (
    ACK_TIMEOUT_S,
    BATCH_SYMBOLS,
    SubscriptionTable,
)

BTC = SubscriptionKey("ticker", "BTC/USD")
ETH = SubscriptionKey("ticker", "ETH/USD")
BTC_1M = SubscriptionKey("ohlc", "BTC/USD", 1)
ETH_1M = SubscriptionKey("ohlc", "ETH/USD", 1)
S = SubscriptionState


def table_of(*keys: SubscriptionKey) -> SubscriptionTable:
    table = SubscriptionTable()
    table.want(keys)
    table.connected(0.0)
    return table


def send_all(table: SubscriptionTable, now_s: float = 0.0) -> list[dict]:
    sent = []
    while (request := table.next_request(now_s)) is not None:
        sent.append(json.loads(request.text))
    return sent


def ack(table: SubscriptionTable, key: SubscriptionKey, now_s: float = 0.0) -> None:
    assert table.subscribed(key.channel, key.symbol, key.interval, now_s) == key


def refuse(table: SubscriptionTable, error: str, **named: object) -> tuple[SubscriptionKey, ...]:
    return table.refused(RequestAnswer("subscribe", **named), error, 0.0).keys


def test_requests_are_what_kraken_expects() -> None:
    table = table_of(BTC, ETH, BTC_1M)
    ticker, ohlc = send_all(table)
    assert ticker == {
        "method": "subscribe",
        "params": {
            "channel": "ticker",
            "symbol": ["BTC/USD", "ETH/USD"],
            "event_trigger": "bbo",
            "snapshot": True,
        },
        "req_id": 1,
    }
    assert ohlc["params"] == {
        "channel": "ohlc",
        "symbol": ["BTC/USD"],
        "interval": 1,
        "snapshot": True,
    }


def test_symbols_go_out_in_batches() -> None:
    keys = [SubscriptionKey("ticker", f"S{i}/USD") for i in range(BATCH_SYMBOLS * 2 + 1)]
    sizes = [len(sent["params"]["symbol"]) for sent in send_all(table_of(*keys))]
    assert sizes == [BATCH_SYMBOLS, BATCH_SYMBOLS, 1]


def test_one_ack_per_symbol_and_data_makes_it_live() -> None:
    table = table_of(BTC, ETH)
    send_all(table)
    ack(table, BTC)
    assert [table.state(k)[0] for k in (BTC, ETH)] == [S.ACKNOWLEDGED, S.WANTED]
    assert not table.settled
    table.data(BTC, 1e9)
    ack(table, ETH)
    assert [table.state(k)[0] for k in (BTC, ETH)] == [S.LIVE, S.ACKNOWLEDGED]
    assert table.settled
    assert (table.acknowledged, table.showing_life) == (2, 1)


def test_data_before_the_ack_counts() -> None:
    table = table_of(BTC)
    send_all(table)
    table.data(BTC, 1e9)
    ack(table, BTC)
    assert table.state(BTC)[0] is S.LIVE
    assert table.tick(1000.0) == []


@pytest.mark.parametrize(
    "named",
    [
        {"symbol": "BTC/USD"},
        {"symbol": "BTC/USD", "req_id": 1},
        {"channel": "ticker", "symbol": "BTC/USD"},
    ],
)
def test_a_refusal_with_a_symbol_concerns_it_alone(named: dict) -> None:
    table = table_of(BTC, ETH)
    send_all(table)
    assert refuse(table, "Currency pair not supported BTC/USD", **named) == (BTC,)
    assert table.state(BTC) == (S.REFUSED, "Currency pair not supported BTC/USD")
    assert table.state(ETH)[0] is S.WANTED
    ack(table, ETH)
    assert table.settled


def test_refusals_without_channel_hit_the_older_request_first() -> None:
    table = table_of(BTC, BTC_1M)
    send_all(table)
    assert refuse(table, "Currency pair not supported", symbol="BTC/USD") == (BTC,)
    assert refuse(table, "Currency pair not supported", symbol="BTC/USD") == (BTC_1M,)
    assert refuse(table, "Currency pair not supported", symbol="BTC/USD") == ()


@pytest.mark.parametrize("named", [{}, {"req_id": 1}, {"channel": "ticker"}])
def test_a_refusal_without_symbol_concerns_the_whole_request(named: dict) -> None:
    table = table_of(BTC, ETH, BTC_1M)
    send_all(table)
    assert refuse(table, "Public market data subscriptions are unavailable", **named) == (BTC, ETH)
    assert table.state(BTC_1M)[0] is S.WANTED


def test_a_refusal_of_an_unknown_request_without_symbol_concerns_nobody() -> None:
    table = table_of(BTC)
    send_all(table)
    assert refuse(table, "whatever", req_id=99) == ()
    assert table.state(BTC)[0] is S.WANTED


def test_a_plain_duplicate_is_success() -> None:
    table = table_of(BTC)
    send_all(table)
    assert refuse(table, "Already subscribed", symbol="BTC/USD", req_id=1) == ()
    assert table.state(BTC)[0] is S.ACKNOWLEDGED


def test_a_second_ohlc_interval_is_never_success() -> None:
    table = table_of(BTC_1M)
    send_all(table)
    error = "Already subscribed to one ohlc interval on this symbol"
    assert refuse(table, error, symbol="BTC/USD") == (BTC_1M,)
    assert table.state(BTC_1M) == (S.REFUSED, error)


def test_a_rate_complaint_slows_down_and_asks_again() -> None:
    table = table_of(BTC, ETH)
    send_all(table)
    refusal = table.refused(RequestAnswer("subscribe", req_id=1), "Exceeded msg rate", 0.0)
    assert refusal.slow_down
    assert refusal.keys == ()
    assert table.next_request(0.5) is None
    assert table.next_send_s(0.5) == 1.0
    again = table.next_request(1.0)
    assert again is not None
    assert again.symbols == ("BTC/USD", "ETH/USD")
    table.refused(RequestAnswer("subscribe", req_id=again.req_id), "Exceeded msg rate", 1.0)
    assert table.next_request(2.9) is None  # the pause doubles
    assert table.next_request(3.0) is not None


def test_unanswered_requests_are_sent_again_and_then_the_connection_is_worthless() -> None:
    table = table_of(BTC, ETH)
    send_all(table)
    ack(table, ETH)
    table.data(ETH, 1e9)
    now = 0.0
    for _ in range(2):
        now += ACK_TIMEOUT_S
        table.tick(now)
        assert not table.worthless
        assert [sent["params"]["symbol"] for sent in send_all(table, now)] == [["BTC/USD"]]
    table.tick(now + ACK_TIMEOUT_S)
    assert table.worthless
    table.connected(100.0)
    assert not table.worthless


def test_reference_data_that_is_never_answered_costs_no_connection() -> None:
    key = SubscriptionKey("instrument")
    table = table_of(BTC, key)
    send_all(table)
    ack(table, BTC)
    table.data(BTC, 1e9)
    for now in (10.0, 20.0, 30.0, 40.0):
        table.tick(now)
        send_all(table, now)
    assert not table.worthless
    assert table.state(key)[0] is S.REFUSED
    assert table.settled


def test_a_ticker_without_data_is_mute_and_asked_for_again() -> None:
    table = table_of(BTC, ETH, BTC_1M)
    send_all(table)
    for key in (BTC, ETH, BTC_1M):
        ack(table, key, 1.0)
    table.data(ETH, 1e9)
    assert table.tick(SNAPSHOT_DUE_S + 0.9) == []
    assert table.tick(SNAPSHOT_DUE_S + 1.0) == [BTC]  # the candles alone are never mute
    assert table.state(BTC)[0] is S.MUTE
    (drop,) = send_all(table, 15.0)
    assert (drop["method"], drop["params"]["symbol"]) == ("unsubscribe", ["BTC/USD"])
    table.unsubscribed(RequestAnswer("unsubscribe", "ticker", "BTC/USD"))
    (again,) = send_all(table, 15.0)
    assert again["method"] == "subscribe"
    ack(table, BTC, 16.0)
    assert table.state(BTC)[0] is S.MUTE  # an ack alone is no data
    assert table.tick(40.0) == []  # known already
    table.data(BTC, 1e9)
    assert table.state(BTC)[0] is S.LIVE
    assert table.mute == 0


def test_mute_subscriptions_are_recycled_at_growing_distances() -> None:
    table = table_of(BTC)
    send_all(table)
    ack(table, BTC)
    times = []
    for now in range(15, 2000):
        table.tick(float(now))
        for sent in send_all(table, float(now)):
            times.append(now)
            if sent["method"] == "unsubscribe":
                table.unsubscribed(RequestAnswer("unsubscribe", "ticker", "BTC/USD"))
        for _ in send_all(table, float(now)):
            pass
        table.subscribed("ticker", "BTC/USD", None, float(now))
    assert times == [15, 75, 195, 435, 915, 1815]


def test_unwanted_ones_are_unsubscribed_and_forgotten() -> None:
    table = table_of(BTC, ETH)
    send_all(table)
    ack(table, BTC)
    table.unwant([BTC, ETH])
    (drop,) = send_all(table)
    assert drop["method"] == "unsubscribe"
    table.unsubscribed(RequestAnswer("unsubscribe", "ticker", "BTC/USD", None, drop["req_id"]))
    ack(table, ETH)  # was on its way when it was given up
    (drop,) = send_all(table)
    assert drop["params"]["symbol"] == ["ETH/USD"]
    table.refused(RequestAnswer("unsubscribe", "ticker", "ETH/USD"), "Subscription Not Found", 0.0)
    assert table.states() == {}
    assert table.settled
    assert table.acknowledged == 0


def test_wanted_again_before_the_unsubscribe_went_out() -> None:
    table = table_of(BTC)
    send_all(table)
    ack(table, BTC)
    table.data(BTC, 0.5)
    table.unwant([BTC])
    table.want([BTC])  # its data was forgotten, so it is given up and asked for again
    table.data(BTC, 1.0)  # of the old subscription: proves nothing
    assert table.state(BTC)[0] is S.ACKNOWLEDGED
    (drop,) = send_all(table, 1.0)
    assert drop["method"] == "unsubscribe"
    table.unsubscribed(RequestAnswer("unsubscribe", "ticker", "BTC/USD"), 1.1)
    (again,) = send_all(table, 1.2)
    assert again["method"] == "subscribe"
    ack(table, BTC, 1.3)
    table.data(BTC, 1.1)
    assert table.state(BTC)[0] is S.ACKNOWLEDGED
    table.data(BTC, 1.4)
    assert table.state(BTC)[0] is S.LIVE
    assert (table.acknowledged, table.showing_life) == (1, 1)


def test_wanted_again_while_the_first_request_is_under_way() -> None:
    table = table_of(BTC)
    send_all(table)
    table.unwant([BTC])
    table.want([BTC])
    ack(table, BTC)
    assert [sent["method"] for sent in send_all(table)] == ["unsubscribe"]
    table.unsubscribed(RequestAnswer("unsubscribe", "ticker", "BTC/USD"))
    assert [sent["method"] for sent in send_all(table)] == ["subscribe"]
    ack(table, BTC)
    assert table.settled


def test_an_end_nobody_asked_for_is_told() -> None:
    table = table_of(BTC)
    send_all(table)
    ack(table, BTC)
    assert table.unsubscribed(RequestAnswer("unsubscribe", "ticker", "BTC/USD"), 5.0) == [BTC]
    assert table.state(BTC)[0] is S.REFUSED
    assert send_all(table, 5.0) == []
    table.tick(64.0)
    assert send_all(table, 64.0) == []
    table.tick(65.0)
    (again,) = send_all(table, 65.0)
    assert again["method"] == "subscribe"


@pytest.mark.parametrize(
    "error",
    [
        "Currency pair not supported BTC/USD",
        "Currency pair not in ISO 4217-A3 format BTCUSD",
        "EQuery:Unknown asset pair",
        "Already subscribed to one ohlc interval on this symbol",
    ],
)
def test_a_lasting_reason_is_asked_again_only_on_a_sign(error: str) -> None:
    table = table_of(BTC_1M)
    send_all(table)
    assert refuse(table, error, symbol="BTC/USD") == (BTC_1M,)
    for now in range(0, 5000, 100):
        table.tick(float(now))
        assert send_all(table, float(now)) == []
        assert table.retry_after_s(BTC_1M, float(now)) is None
    table.ask_again([BTC_1M])
    assert len(send_all(table, 5000.0)) == 1
    ack(table, BTC_1M)
    assert table.state(BTC_1M) == (S.ACKNOWLEDGED, None)


@pytest.mark.parametrize(
    "error", ["EService:Unavailable", "EGeneral:Internal error", "Market in cancel_only mode", "x"]
)
def test_a_passing_refusal_is_asked_again_at_growing_distances(error: str) -> None:
    table = table_of(BTC, ETH)
    send_all(table)
    ack(table, ETH)
    table.data(ETH, 1.0)
    refuse(table, error, symbol="BTC/USD")
    assert table.retry_after_s(BTC, 10.0) == 50.0
    asked = []
    for now in range(1, 4000):
        table.tick(float(now))
        for sent in send_all(table, float(now)):
            asked.append(now)
            assert sent["params"]["symbol"] == ["BTC/USD"]
            assert table.state(BTC) == (S.REFUSED, error)  # until it is acknowledged
            assert table.retry_after_s(BTC, float(now)) == 0.0
            table.refused(RequestAnswer("subscribe", symbol="BTC/USD"), error, float(now))
    assert asked == [60, 180, 420, 900, 1800, 2700, 3600]
    table.ask_again()
    send_all(table, 4000.0)
    ack(table, BTC, 4000.0)
    assert table.retry_after_s(BTC, 4000.0) is None
    table.data(BTC, 4001.0)
    table.unsubscribed(RequestAnswer("unsubscribe", "ticker", "BTC/USD"), 4002.0)
    assert table.retry_after_s(BTC, 4002.0) == 60.0  # it served us in between


def test_tickers_come_first_then_candles_and_reference_data_only_after_prices() -> None:
    instrument = SubscriptionKey("instrument")
    table = SubscriptionTable()
    table.want([instrument, BTC_1M, BTC])
    table.connected(0.0)
    assert [sent["params"]["channel"] for sent in send_all(table)] == ["ticker", "ohlc"]
    assert table.next_send_s(0.0) is None
    ack(table, BTC)
    ack(table, BTC_1M)
    assert send_all(table, 1.0) == []  # the ticker has not come
    table.data(BTC, 2.0)
    assert table.next_send_s(2.0) == 2.0
    assert [sent["params"]["channel"] for sent in send_all(table, 2.0)] == ["instrument"]


def test_while_answers_come_the_rest_is_waited_for() -> None:
    keys = [SubscriptionKey("ticker", f"S{i}/USD") for i in range(90)]
    table = table_of(*keys)
    send_all(table)
    for second, key in enumerate(keys):  # a slow link: one answer a second
        table.tick(float(second))
        assert send_all(table, float(second)) == []
        ack(table, key, float(second))
        table.data(key, float(second))
        if second == 50:
            break
    assert not table.worthless
    table.tick(59.0)
    assert send_all(table, 59.0) == []
    table.tick(61.0)  # and then no more for ten seconds
    (again,) = send_all(table, 61.0)
    assert len(again["params"]["symbol"]) == 39


def test_a_reconnect_starts_from_nothing_and_retries_the_refused() -> None:
    table = table_of(BTC, ETH)
    send_all(table)
    ack(table, BTC)
    refuse(table, "no", symbol="ETH/USD")
    table.disconnected(5.0)
    assert table.acknowledged == 0
    assert table.state(ETH) == (S.REFUSED, "no")  # reads go on saying why
    table.connected(6.0)
    (sent,) = send_all(table)
    assert sent["params"]["symbol"] == ["BTC/USD", "ETH/USD"]
    ack(table, ETH)
    assert table.state(ETH)[0] is S.ACKNOWLEDGED


def test_a_delisted_pair_is_not_waited_for() -> None:
    table = table_of(BTC)
    send_all(table)
    ack(table, BTC)
    table.end([BTC], "The pair is delisted")
    assert table.tick(100.0) == []
    assert table.state(BTC) == (S.REFUSED, "The pair is delisted")
    assert table.retry_after_s(BTC, 100.0) is None
    table.ask_again([BTC])  # it is listed again
    (drop,) = send_all(table, 101.0)
    assert drop["method"] == "unsubscribe"
    table.refused(
        RequestAnswer("unsubscribe", "ticker", "BTC/USD"), "Subscription Not Found", 101.0
    )
    (again,) = send_all(table, 101.0)
    assert again["method"] == "subscribe"
    ack(table, BTC, 102.0)
    assert table.state(BTC)[0] is S.ACKNOWLEDGED


keys = st.sampled_from([BTC, ETH, BTC_1M, ETH_1M])
steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["want", "unwant", "send", "ack", "refuse", "rate", "unsub", "data", "tick", "cut"]
        ),
        keys,
    ),
    max_size=60,
)


@given(steps)
def test_whatever_the_exchange_says_counters_and_states_agree(script: list) -> None:
    table = table_of(BTC, ETH)
    wanted = {BTC, ETH}
    now = 0.0
    for what, key in script:
        now += 1.0
        answer = RequestAnswer("subscribe", key.channel, key.symbol, key.interval)
        match what:
            case "want":
                table.want([key])
                wanted.add(key)
            case "unwant":
                table.unwant([key])
                wanted.discard(key)
            case "send":
                table.next_request(now)
            case "ack":
                table.subscribed(key.channel, key.symbol, key.interval, now)
            case "refuse":
                table.refused(answer, "no", now)
            case "rate":
                table.refused(answer, "Exceeded msg rate", now)
            case "unsub":
                table.unsubscribed(
                    RequestAnswer("unsubscribe", key.channel, key.symbol, key.interval)
                )
            case "data":
                table.data(key, now)
            case "tick":
                now += 9.0
                table.tick(now)
            case "cut":
                table.connected(now)
        states = table.states()
        assert set(states) == wanted
        live = sum(1 for k, (s, _) in states.items() if s is S.LIVE and k.channel == "ticker")
        assert table.showing_life == live
        assert table.acknowledged >= 0
        assert table.mute == sum(1 for s, _ in states.values() if s is S.MUTE)
    # Left in peace with a willing exchange, everything wanted gets acknowledged.
    table.connected(now)
    for _ in range(20):
        now += 40.0
        while (request := table.next_request(now)) is not None:
            for symbol in request.symbols:
                if request.method == "subscribe":
                    table.subscribed(request.channel, symbol, request.interval, now)
                else:
                    table.unsubscribed(
                        RequestAnswer("unsubscribe", request.channel, symbol, request.interval)
                    )
    assert set(table.states()) == wanted
    assert table.settled
    assert table.acknowledged == len(wanted)
