"""The planners against independent models of what Kraken counts."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krakked._config.settings import RestSettings
from krakked._rest import limits
from krakked._rest.limits import (
    MICRO,
    SECOND_NS,
    CallOutcome,
    CounterRule,
    Plan,
    PrivateState,
    PublicRule,
    PublicState,
    Sent,
    Turn,
    WaitReason,
)
from krakked._rest.models import ENDPOINTS

TIERS = {"starter": (15, 0.33), "intermediate": (20, 0.5), "pro": (20, 1.0)}


class KrakensCounter:
    """Kraken's side, written on its own: floats, continuous or whole-second decay."""

    def __init__(self, maximum: float, decay: float, *, stepped: bool, skew: float) -> None:
        self.maximum, self.decay, self.stepped, self.skew = maximum, decay, stepped, skew
        self.value = 0.0
        self.at = 0.0
        self.charged = 0.0
        self.refusals = 0

    def arrive(self, cost: float, t: float) -> bool:
        now = t * self.skew
        if self.stepped:
            now = float(int(now))
        self.value = max(0.0, self.value - self.decay * max(0.0, now - self.at))
        self.at = max(self.at, now)
        if self.value + cost > self.maximum + 1e-9:
            self.refusals += 1
            return False
        self.value += cost
        self.charged += cost
        return True


def run_schedule(seed: int, tier: str) -> tuple[int, float]:
    """Play one schedule; give (refusals, our share of what Kraken would have allowed).

    Half of the schedules ask all the time for 150 s, without faults: their share is what is
    held against 95 %. The others ask now and then for a minute, with lost and late calls.
    """
    rng = random.Random(seed)
    maximum, decay = TIERS[tier]
    rule = CounterRule(max_micro=maximum * MICRO, decay_micro_per_s=round(decay * MICRO))
    skew = rng.uniform(0.999, 1.001)
    stepped = rng.random() < 0.5
    kraken = KrakensCounter(maximum, decay, stepped=stepped, skew=skew)
    saturated = rng.random() < 0.5
    horizon_s = 150.0 if saturated else 60.0
    state, now, token = PrivateState(), rng.uniform(0, 50), 0
    begin = now
    dear = rng.choice([0.0, 0.1, 0.5])
    while now < begin + horizon_s:
        if not saturated:
            now += rng.expovariate(rng.choice([0.2, 1.0, 5.0]))
        cost = 4 if rng.random() < dear else 1
        plan = limits.plan_private(state, rule, cost * MICRO, int(now * SECOND_NS))
        while plan.wait_ns:
            now += plan.wait_ns / SECOND_NS + 1e-6
            plan = limits.plan_private(state, rule, cost * MICRO, int(now * SECOND_NS))
        token += 1
        state = limits.reserve(state, rule, cost * MICRO, token, int(now * SECOND_NS))
        fate = rng.random()
        latency = rng.uniform(0.01, 0.4)
        if fate < 0.02 and not saturated:  # nothing left the machine
            state = limits.settle(state, rule, token, CallOutcome.NOT_SENT, int(now * SECOND_NS))
            continue
        if fate < 0.04 and not saturated:  # a time-out; the call may still have arrived
            kraken.arrive(cost, now + rng.uniform(0, 30))
            now += 30
            state = limits.settle(state, rule, token, CallOutcome.UNKNOWN, int(now * SECOND_NS))
            continue
        kraken.arrive(cost, now + rng.uniform(0, latency))
        now += latency
        state = limits.settle(state, rule, token, CallOutcome.ANSWERED, int(now * SECOND_NS))
    allowed = maximum + decay * skew * (now - begin)
    share = kraken.charged / allowed if saturated else 1.0
    return kraken.refusals, share


def check_schedules(seeds: range) -> None:
    for tier in TIERS:
        worst, calls = 1.0, 0
        for seed in seeds:
            refusals, share = run_schedule(seed, tier)
            assert refusals == 0, (seed, tier)
            assert share >= 0.95, (seed, tier, share)
            worst, calls = min(worst, share), calls + 1
        print(f"{tier}: {calls} schedules, 0 refusals, worst share {worst:.1%}")


def test_no_refusal_in_random_schedules() -> None:
    check_schedules(range(40))


@pytest.mark.slow
def test_no_refusal_in_10000_random_schedules_of_every_tier() -> None:
    check_schedules(range(10_000))


@pytest.mark.parametrize("tier", TIERS)
def test_at_least_95_percent_of_the_allowed_rate(tier: str) -> None:
    """Saturated, answered calls of cost 1 with up to 0.4 s of latency, over ten minutes."""
    maximum, decay = TIERS[tier]
    rule = CounterRule(max_micro=maximum * MICRO, decay_micro_per_s=round(decay * MICRO))
    rng = random.Random(1)
    kraken = KrakensCounter(maximum, decay, stepped=False, skew=1.0)
    state, now = PrivateState(), 0.0
    for token in range(100_000):
        plan = limits.plan_private(state, rule, MICRO, int(now * SECOND_NS))
        while plan.wait_ns:
            now += plan.wait_ns / SECOND_NS
            plan = limits.plan_private(state, rule, MICRO, int(now * SECOND_NS) + 1)
        if now > 600:
            break
        state = limits.reserve(state, rule, MICRO, token, int(now * SECOND_NS))
        latency = rng.uniform(0.01, 0.4)
        kraken.arrive(1, now + rng.uniform(0, latency))
        now += latency
        state = limits.settle(state, rule, token, CallOutcome.ANSWERED, int(now * SECOND_NS))
    assert kraken.refusals == 0
    assert kraken.charged >= 0.95 * (maximum + decay * 600)


steps = st.lists(
    st.tuples(
        st.integers(0, 20_000_000_000),
        st.sampled_from([1, 4]),
        st.sampled_from(list(CallOutcome)),
        st.integers(0, 3_000_000_000),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_the_window_bound_holds(schedule) -> None:
    """For every window: costs sent <= max + decay * length."""
    rule = CounterRule()
    state, now, sent = PrivateState(), 0, []
    for token, (gap, cost, outcome, latency) in enumerate(schedule):
        now += gap
        plan = limits.plan_private(state, rule, cost * MICRO, now)
        while plan.wait_ns:
            now += plan.wait_ns
            plan = limits.plan_private(state, rule, cost * MICRO, now)
        state = limits.reserve(state, rule, cost * MICRO, token, now)
        if outcome is not CallOutcome.NOT_SENT:
            sent.append((now, cost))
        now += latency
        state = limits.settle(state, rule, token, outcome, now)
    for first in range(len(sent)):
        total = 0
        for at, cost in sent[first:]:
            total += cost
            assert total <= 15 + 0.33 * (at - sent[first][0]) / 1e9 + 1e-6


def test_history_calls_cost_four() -> None:
    assert limits.call_cost_micro("Ledgers") == 4 * MICRO
    assert limits.call_cost_micro("TradesHistory") == 4 * MICRO
    assert limits.call_cost_micro("Balance") == MICRO
    assert limits.call_cost_micro("AddOrder") == 0


def test_a_call_in_flight_does_not_decay_and_a_lost_one_ages_out() -> None:
    rule = CounterRule()
    state = limits.reserve(PrivateState(), rule, 4 * MICRO, 7, 0)
    later = limits.decay(state, rule, 30 * SECOND_NS)
    assert (later.value_micro, len(later.in_flight)) == (0, 1)
    settled = limits.settle(later, rule, 7, CallOutcome.ANSWERED, 30 * SECOND_NS)
    assert (settled.value_micro, settled.in_flight) == (4 * MICRO, ())
    lost = limits.decay(state, rule, 60 * SECOND_NS)
    assert (lost.value_micro, lost.in_flight) == (4 * MICRO, ())


def test_not_sent_costs_nothing_and_unknown_costs_twice() -> None:
    rule = CounterRule()
    state = limits.reserve(PrivateState(), rule, MICRO, 1, 0)
    assert limits.settle(state, rule, 1, CallOutcome.NOT_SENT, 0).value_micro == 0
    assert limits.settle(state, rule, 1, CallOutcome.UNKNOWN, 0).value_micro == 2 * MICRO


def test_a_dear_call_goes_even_if_the_counter_is_small() -> None:
    rule = CounterRule(max_micro=2 * MICRO)
    assert limits.plan_private(PrivateState(), rule, 4 * MICRO, 0).wait_ns == 0


def test_a_restart_of_the_machine_decays_nothing() -> None:
    rule = CounterRule()
    state = PrivateState(value_micro=9 * MICRO, at_ns=10**15)
    state = limits.reserve(state, rule, MICRO, 1, 10**15)
    assert limits.rebase_private(state, CounterRule(), 5, 0).value_micro == 10 * MICRO


# --- public ----------------------------------------------------------------------------------


def play_public(rule: PublicRule, calls: list[tuple[float, str | None]]) -> list[float]:
    state, now, sent = PublicState(), 0.0, []
    for gap, pair in calls:
        now += gap
        plan = limits.plan_public(state, pair, int(now * 1e9))
        while plan.wait_ns:
            now += plan.wait_ns / 1e9 + 1e-9
            plan = limits.plan_public(state, pair, int(now * 1e9))
        state = limits.take_public(state, rule, pair, int(now * 1e9))
        sent.append(now)
    return sent


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from([None, "A", "B"])), max_size=50))
def test_public_calls_keep_their_distance(calls) -> None:
    rule = PublicRule(spacing_ns=SECOND_NS // 5, pair_spacing_ns=SECOND_NS)
    sent = play_public(rule, calls)
    assert all(b - a >= 0.2 - 1e-6 for a, b in itertools.pairwise(sent))
    for name in ("A", "B"):
        times = [at for at, (_, pair) in zip(sent, calls, strict=True) if pair == name]
        assert all(b - a >= 1 - 1e-6 for a, b in itertools.pairwise(times))


def test_a_saturated_public_queue_wastes_nothing() -> None:
    sent = play_public(PublicRule(), [(0.0, None)] * 200)
    assert sent[-1] <= 199 * 1.001


def test_too_many_requests_widens_the_spacing_which_recovers_slowly() -> None:
    rule = PublicRule()
    state = limits.slow_public(PublicState(), rule, 0)
    assert limits.plan_public(state, None, 0) == limits.Plan(3 * SECOND_NS, WaitReason.HOLD)
    again = limits.slow_public(state, rule, 0)
    assert again.spacing_ns == 6 * SECOND_NS
    for _ in range(10):
        again = limits.slow_public(again, rule, 0)
    assert again.spacing_ns == 30 * SECOND_NS
    now, calls = state.next_ns, 0
    while state.spacing_ns > rule.spacing_ns:
        state = limits.take_public(state, rule, None, now)
        if calls == 0:
            assert state.spacing_ns == 3 * SECOND_NS  # the first call only shows that it works
        now, calls = state.next_ns, calls + 1
    assert 40 < calls < 80
    assert now > 80 * SECOND_NS


# --- every rule by its values ----------------------------------------------------------------

S = SECOND_NS


def test_the_units_and_the_defaults() -> None:
    assert (SECOND_NS, MICRO, limits.TURN_GRACE_NS) == (10**9, 10**6, 2 * 10**9)
    assert [name for name, row in ENDPOINTS.items() if row.per_pair] == ["OHLC", "Trades"]
    assert Plan(wait_ns=0, reason=WaitReason.TURN) == limits.GO
    assert PublicRule() == PublicRule(
        spacing_ns=10**9,
        pair_spacing_ns=10**9,
        slow_spacing_ns=3 * 10**9,
        max_spacing_ns=30 * 10**9,
    )
    assert CounterRule() == CounterRule(
        max_micro=15_000_000,
        decay_micro_per_s=330_000,
        slack_micro=1_000_000,
        pending_ns=60 * 10**9,
    )
    assert PublicState() == PublicState(
        next_ns=0, spacing_ns=0, pairs={}, refused=False, held=False, turns=()
    )
    assert PrivateState() == PrivateState(
        value_micro=0, at_ns=0, in_flight=(), hold_until_ns=0, full_until_ns=0, pairs={}
    )


def test_the_rules_come_from_the_settings() -> None:
    settings = RestSettings(
        public_calls_per_second=2.0,
        public_pair_calls_per_second=0.5,
        private_counter_max=20,
        private_counter_decay_per_s=0.5,
    )
    assert limits.public_rule(settings) == PublicRule(spacing_ns=S // 2, pair_spacing_ns=2 * S)
    assert limits.counter_rule(settings) == CounterRule(
        max_micro=20_000_000, decay_micro_per_s=500_000
    )


def test_what_every_private_call_costs() -> None:
    orders = (
        *("AddOrder", "AddOrderBatch", "AmendOrder", "EditOrder"),
        *("CancelAll", "CancelAllOrdersAfter", "CancelOrder", "CancelOrderBatch"),
    )
    dear = ("ClosedOrders", "Ledgers", "QueryLedgers", "QueryTrades", "TradesHistory")
    assert {limits.call_cost_micro(name) for name in orders} == {0}
    assert {limits.call_cost_micro(name) for name in dear} == {4_000_000}
    assert limits.call_cost_micro("Balance") == limits.call_cost_micro("New") == 1_000_000


@pytest.mark.parametrize(
    ("pair", "now_s", "ahead_s", "plan"),
    [
        (None, 4, 0, Plan(6 * S, WaitReason.PUBLIC_SPACING)),
        (None, 9, 0, Plan(1 * S, WaitReason.PUBLIC_SPACING)),
        (None, 10, 0, limits.GO),
        (None, 20, 3, Plan(3 * S, WaitReason.PUBLIC_SPACING)),
        (None, 4, 3, Plan(9 * S, WaitReason.PUBLIC_SPACING)),
        ("A", 4, 0, Plan(8 * S, WaitReason.PAIR_SPACING)),
        ("A", 4, 2, Plan(8 * S, WaitReason.PUBLIC_SPACING)),
        ("A", 4, 5, Plan(11 * S, WaitReason.PUBLIC_SPACING)),
        ("A", 11, 0, Plan(1 * S, WaitReason.PAIR_SPACING)),
        ("A", 12, 0, limits.GO),
        ("other", 10, 0, limits.GO),
    ],
)
def test_a_public_call_waits_for_the_host_the_pair_and_those_before_it(
    pair, now_s, ahead_s, plan
) -> None:
    state = PublicState(next_ns=10 * S, pairs={"A": 12 * S})
    assert limits.plan_public(state, pair, now_s * S, ahead_ns=ahead_s * S) == plan
    if not ahead_s:
        assert limits.plan_public(state, pair, now_s * S) == plan


def test_a_pause_that_kraken_asked_for_is_named_so() -> None:
    state = PublicState(next_ns=10 * S, held=True)
    assert limits.plan_public(state, None, 4 * S) == Plan(6 * S, WaitReason.HOLD)


def test_a_pair_never_called_is_free() -> None:
    state = PublicState(pairs={"A": 12 * S})
    assert [limits.plan_pair(state, pair, 0) for pair in (None, "B", "A")] == [0, 0, 12 * S]
    assert limits.plan_pair(state, "A", 13 * S) == 0


def test_live_turns_before_ones_own_cost_one_spacing_each() -> None:
    rule = PublicRule()
    turns = (Turn(1, 10 * S), Turn(2, 5 * S), Turn(3, 20 * S))
    state = PublicState(turns=turns)
    assert [limits.ahead_ns(state, rule, token, 4 * S) for token in (1, 2, 3, 9)] == [
        0,
        1 * S,
        2 * S,
        3 * S,
    ]
    assert limits.ahead_ns(state, rule, 3, 5 * S) == 1 * S  # the second one is late
    slow = PublicState(turns=turns, spacing_ns=4 * S)
    assert limits.ahead_ns(slow, rule, 3, 4 * S) == 8 * S
    queued = limits.queue_public(state, 9, 1 * S, 5 * S)
    assert queued.turns == (turns[0], turns[2], Turn(9, 8 * S))
    again = limits.queue_public(state, 2, 1 * S, 5 * S)
    assert again.turns == (turns[0], Turn(2, 8 * S), turns[2])
    assert limits.leave_public(state, 2).turns == (turns[0], turns[2])
    assert limits.leave_public(state, 9) is state


def test_a_public_call_that_goes_is_counted_for_host_and_pair() -> None:
    turns = (Turn(1, 10 * S),)
    pairs = {"late": 4 * S, "now": 5 * S, "later": 6 * S}
    state = PublicState(next_ns=5 * S, pairs=pairs, turns=turns, held=True)
    rule = PublicRule(pair_spacing_ns=2 * S)
    assert limits.take_public(state, rule, None, 5 * S) == PublicState(
        next_ns=6 * S, spacing_ns=S, pairs={"later": 6 * S}, turns=turns
    )
    assert limits.take_public(state, rule, "A", 5 * S).pairs == {"later": 6 * S, "A": 7 * S}
    raised = PublicState(spacing_ns=3 * S + 1)
    shrunk = limits.take_public(raised, rule, "A", 5 * S)
    assert shrunk == PublicState(
        next_ns=5 * S + 2_940_000_000,
        spacing_ns=2_940_000_000,
        pairs={"A": 5 * S + 2_940_000_000},
    )
    refused = PublicState(spacing_ns=3 * S, refused=True, held=True)
    assert limits.take_public(refused, rule, None, 5 * S) == PublicState(
        next_ns=8 * S, spacing_ns=3 * S
    )


def test_a_refusal_widens_the_spacing_within_bounds() -> None:
    def slow(rule: PublicRule, spacing_s: float, *pause_ns: int, next_s: int = 0) -> PublicState:
        state = PublicState(spacing_ns=int(spacing_s * S), next_ns=next_s * S)
        return limits.slow_public(state, rule, 5 * S, *pause_ns)

    rule = PublicRule()
    first = PublicState(next_ns=8 * S, spacing_ns=3 * S, refused=True, held=True)
    assert slow(rule, 0) == slow(rule, 2.9) == first
    assert slow(rule, 3).spacing_ns == 6 * S
    assert slow(rule, 20).spacing_ns == 30 * S
    assert slow(rule, 0, 2 * S).next_ns == 8 * S
    assert slow(rule, 0, 10 * S).next_ns == 15 * S
    assert slow(rule, 0, next_s=50).next_ns == 50 * S
    rare = PublicRule(spacing_ns=40 * S)
    assert slow(rare, 0).spacing_ns == slow(rare, 40).spacing_ns == 40 * S
    often = PublicRule(spacing_ns=S // 10, slow_spacing_ns=S // 2)
    assert slow(often, 0).next_ns == 5 * S + S // 2


def test_a_carried_over_spacing_may_be_wider_than_the_widest_where_the_user_wants_it() -> None:
    rare = PublicRule(spacing_ns=40 * S)
    carried = limits.rebase_public(PublicState(), rare, 5 * S, 10 * S)
    assert carried == PublicState(next_ns=35 * S, spacing_ns=40 * S)


def test_a_dear_call_may_fill_the_counter_beyond_its_ceiling() -> None:
    assert CounterRule().ceiling_micro(MICRO) == 14 * MICRO
    assert CounterRule().ceiling_micro(20 * MICRO) == 20 * MICRO


def test_the_counter_falls_in_whole_micro_units_and_never_below_zero() -> None:
    rule = CounterRule()
    state = PrivateState(value_micro=10 * MICRO, at_ns=1 * S)
    for now_ns, value in (
        (3 * S + 1, 9_340_000),
        (1 * S, 10 * MICRO),
        (0, 10 * MICRO),
        (99 * S, 0),
    ):
        fallen = limits.decay(state, rule, now_ns)
        assert fallen == PrivateState(value_micro=value, at_ns=now_ns)
        assert type(fallen.value_micro) is int


def test_a_call_is_in_flight_from_its_sending_to_the_end_of_its_time() -> None:
    sent = [Sent(at_s, MICRO, at_s * S) for at_s in (40, 41, 100, 101)]
    state = PrivateState(at_ns=100 * S, in_flight=tuple(sent))
    now = limits.decay(state, CounterRule(), 100 * S)
    assert now == PrivateState(value_micro=2 * MICRO, at_ns=100 * S, in_flight=tuple(sent[1:3]))


@pytest.mark.parametrize(
    ("cost", "pair", "now_s", "plan"),
    [
        (0, None, 4, Plan(6 * S, WaitReason.HOLD)),
        (0, None, 10, limits.GO),
        (0, "A", 4, Plan(8 * S, WaitReason.ENGINE)),
        (0, "A", 12, limits.GO),
        (0, "B", 10, limits.GO),
        (1, None, 4, Plan(10 * S, WaitReason.COUNTER)),
        (1, "A", 13, Plan(1 * S, WaitReason.COUNTER)),
        (1, "A", 14, limits.GO),
    ],
)
def test_a_private_call_waits_for_the_latest_of_its_holds(cost, pair, now_s, plan) -> None:
    state = PrivateState(hold_until_ns=10 * S, full_until_ns=14 * S, pairs={"A": 12 * S})
    assert limits.plan_private(state, CounterRule(), cost * MICRO, now_s * S, pair=pair) == plan


def test_an_order_for_a_pair_never_held_goes_at_once() -> None:
    assert limits.plan_private(PrivateState(), CounterRule(), 0, 0, pair="A") == limits.GO


@pytest.mark.parametrize(
    ("value", "flying", "decay_per_s", "wait_ns"),
    [
        (13_000_000, 0, 330_000, 0),
        (13_000_001, 0, 330_000, 3_031),  # 3,030.3 rounded up: never too early
        (14_000_000, 0, 330_000, 3_030_303_031),
        (0, 13_000_001, 330_000, S // 4),  # nothing decays: look again soon
        (2_000_000, 13_000_000, 330_000, 6_060_606_061),
        (1_999_999, 13_000_001, 330_000, S // 4),
        (13_000_001, 0, 1, S),
        (13_000_001, 0, 0, S),
    ],
)
def test_how_long_a_call_waits_for_the_counter(value, flying, decay_per_s, wait_ns) -> None:
    rule = CounterRule(decay_micro_per_s=decay_per_s)
    in_flight = (Sent(1, flying, 5 * S),) if flying else ()
    state = PrivateState(value_micro=value, at_ns=5 * S, in_flight=in_flight)
    plan = limits.plan_private(state, rule, MICRO, 5 * S)
    assert plan == (Plan(wait_ns, WaitReason.COUNTER) if wait_ns else limits.GO)
    assert type(plan.wait_ns) is int


def test_settling_a_call_leaves_the_others_in_flight() -> None:
    other = Sent(2, 4 * MICRO, 5 * S)
    state = PrivateState(value_micro=MICRO, at_ns=5 * S, in_flight=(Sent(1, 3, 5 * S), other))
    for outcome, value in (
        (CallOutcome.ANSWERED, 1_000_003),
        (CallOutcome.UNKNOWN, 1_000_006),
        (CallOutcome.NOT_SENT, 1_000_000),
    ):
        settled = limits.settle(state, CounterRule(), 1, outcome, 5 * S)
        assert settled == PrivateState(value_micro=value, at_ns=5 * S, in_flight=(other,))


def test_holds_only_grow() -> None:
    rule = CounterRule()
    low = PrivateState(value_micro=MICRO, at_ns=5 * S, full_until_ns=50 * S, hold_until_ns=50 * S)
    full = limits.exceed(low, rule, 40 * S, 5 * S)
    assert (full.value_micro, full.full_until_ns) == (15 * MICRO, 50 * S)
    high = PrivateState(value_micro=20 * MICRO, at_ns=5 * S)
    full = limits.exceed(high, rule, 40 * S, 5 * S)
    assert (full.value_micro, full.full_until_ns) == (20 * MICRO, 40 * S)
    assert limits.hold_private(low, 40 * S) == low
    assert limits.hold_private(low, 60 * S).hold_until_ns == 60 * S
    pairs = PrivateState(pairs={"late": 4 * S, "now": 5 * S, "A": 9 * S})
    assert limits.hold_pair(pairs, "A", 7 * S, 5 * S).pairs == {"A": 9 * S}
    assert limits.hold_pair(pairs, "A", 11 * S, 5 * S).pairs == {"A": 11 * S}
    assert limits.hold_pair(PrivateState(), "A", 7, 0).pairs == {"A": 7}
