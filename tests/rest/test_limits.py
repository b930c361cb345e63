"""The planners against independent models of what Kraken counts."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krakked.rest import limits
from krakked.rest.limits import (
    MICRO,
    SECOND_NS,
    CounterRule,
    Outcome,
    PrivateState,
    PublicRule,
    PublicState,
    Reason,
)

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
            state = limits.settle(state, rule, token, Outcome.NOT_SENT, int(now * SECOND_NS))
            continue
        if fate < 0.04 and not saturated:  # a time-out; the call may still have arrived
            kraken.arrive(cost, now + rng.uniform(0, 30))
            now += 30
            state = limits.settle(state, rule, token, Outcome.UNKNOWN, int(now * SECOND_NS))
            continue
        kraken.arrive(cost, now + rng.uniform(0, latency))
        now += latency
        state = limits.settle(state, rule, token, Outcome.ANSWERED, int(now * SECOND_NS))
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
        state = limits.settle(state, rule, token, Outcome.ANSWERED, int(now * SECOND_NS))
    assert kraken.refusals == 0
    assert kraken.charged >= 0.95 * (maximum + decay * 600)


steps = st.lists(
    st.tuples(
        st.integers(0, 20_000_000_000),
        st.sampled_from([1, 4]),
        st.sampled_from(list(Outcome)),
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
        if outcome is not Outcome.NOT_SENT:
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
    settled = limits.settle(later, rule, 7, Outcome.ANSWERED, 30 * SECOND_NS)
    assert (settled.value_micro, settled.in_flight) == (4 * MICRO, ())
    lost = limits.decay(state, rule, 60 * SECOND_NS)
    assert (lost.value_micro, lost.in_flight) == (4 * MICRO, ())


def test_not_sent_costs_nothing_and_unknown_costs_twice() -> None:
    rule = CounterRule()
    state = limits.reserve(PrivateState(), rule, MICRO, 1, 0)
    assert limits.settle(state, rule, 1, Outcome.NOT_SENT, 0).value_micro == 0
    assert limits.settle(state, rule, 1, Outcome.UNKNOWN, 0).value_micro == 2 * MICRO


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
    assert limits.plan_public(state, None, 0) == limits.Plan(3 * SECOND_NS, Reason.HOLD)
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
