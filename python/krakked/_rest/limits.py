"""When the next call may go: pure planners over small frozen states.

Time comes in as `now_ns`, nanoseconds of a clock that never steps back and that all processes of
the machine share (`Clock.elapsed_ns`). Amounts are integer micro-units, so nothing drifts.

Public calls keep a spacing; private calls follow Kraken's decaying counter, with one unit of slack
because Kraken may take it down in whole steps and calls may arrive closer together than they left.

Source: "Spot REST rate limits", docs.kraken.com/api/docs/guides/spot-rest-ratelimits, and support
article 206548367 (public limits).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from krakked._config.settings import RestSettings
from krakked._public import public
from krakked._rest.models import endpoint_row

SECOND_NS = 1_000_000_000
MICRO = 1_000_000
"""Micro-units in one unit of Kraken's counter."""


@public
class WaitReason(StrEnum):
    """Why a call waits."""

    TURN = "another call of ours goes first"
    """First come, first served."""
    PUBLIC_SPACING = "public calls keep their spacing"
    """See `rest.public_calls_per_second`."""
    PAIR_SPACING = "calls for one pair keep their spacing"
    """See `rest.public_pair_calls_per_second`."""
    ENGINE = "the matching engine has had enough orders for this pair for now"
    """Kraken said so of an order call."""
    COUNTER = "the private call counter has to decay"
    """See `rest.private_counter_max`."""
    OTHER_PROCESS = "another process uses this key"
    """One after another: nonces have to arrive in order."""
    HOLD = "Kraken asked for a pause"
    """Kraken has refused a call for there being too many."""
    RETRY = "a failed read is tried again soon"
    """Not all failures are final."""


class Plan(msgspec.Struct, frozen=True):
    """What a planner says: go now, or look again after `wait_ns`."""

    wait_ns: int = 0
    """0 = go now."""
    reason: WaitReason = WaitReason.TURN
    """Why to wait; without meaning when `wait_ns` is 0."""


GO = Plan()


# --- public calls ----------------------------------------------------------------------------


class PublicRule(msgspec.Struct, frozen=True, kw_only=True):
    """How far apart public calls stay."""

    spacing_ns: int = SECOND_NS
    """Between any two calls to one host."""
    pair_spacing_ns: int = SECOND_NS
    """Between two OHLC or Trades calls for one pair."""
    slow_spacing_ns: int = 3 * SECOND_NS
    """After "Too many requests": 1.5 s was refused in a bulk run, 3 s was not."""
    max_spacing_ns: int = 30 * SECOND_NS
    """Repeated refusals double the spacing up to here."""


class Turn(msgspec.Struct, frozen=True, array_like=True):
    """The place of one waiting call in the queue of all processes."""

    token: int
    """Names the call."""
    until_ns: int
    """When its process must have looked again; a killed one loses its turn then."""


TURN_GRACE_NS = 2 * SECOND_NS
"""How late a waiting call may be before its turn is lost."""


class PublicState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of the public calls to one host."""

    next_ns: int = 0
    """No call before this."""
    spacing_ns: int = 0
    """Raised spacing; at most the rule's spacing means normal."""
    pairs: dict[str, int] = {}
    """Pair -> no OHLC or Trades call for it before this."""
    refused: bool = False
    """Whether the last news was a refusal."""
    held: bool = False
    """Whether `next_ns` is a pause Kraken asked for."""
    turns: tuple[Turn, ...] = ()
    """Calls that wait, one of each process, first come first."""


def public_rule(settings: RestSettings) -> PublicRule:
    """Take the spacings from the configuration."""
    return PublicRule(
        spacing_ns=int(SECOND_NS / settings.public_calls_per_second),
        pair_spacing_ns=int(SECOND_NS / settings.public_pair_calls_per_second),
    )


def plan_public(state: PublicState, pair: str | None, now_ns: int, *, ahead_ns: int = 0) -> Plan:
    """Say when a call may go (for `pair`, if it is limited per pair).

    Args:
        state: What is remembered.
        pair: Pair of an OHLC or Trades call, else None.
        now_ns: Time of the look.
        ahead_ns: What the calls that came before this one will take; see `ahead_ns`.
    """
    wait_ns = max(0, state.next_ns - now_ns) + ahead_ns
    pair_wait_ns = plan_pair(state, pair, now_ns)
    if wait_ns <= 0 and pair_wait_ns <= 0:
        return GO
    if pair_wait_ns > wait_ns:
        return Plan(pair_wait_ns, WaitReason.PAIR_SPACING)
    return Plan(wait_ns, WaitReason.HOLD if state.held else WaitReason.PUBLIC_SPACING)


def ahead_ns(state: PublicState, rule: PublicRule, token: int, now_ns: int) -> int:
    """Return the time that the calls of other processes take that came before this one.

    Example: the next call may go in 0.4 s, the spacing is 1 s, and two calls of other processes
    came before this one: they take 2 s, and this one looks again in 2.4 s.
    """
    spacing_ns = max(rule.spacing_ns, state.spacing_ns)
    ahead = 0
    for turn in state.turns:
        if turn.token == token:
            break
        ahead += turn.until_ns > now_ns
    return ahead * spacing_ns


def queue_public(state: PublicState, token: int, wait_ns: int, now_ns: int) -> PublicState:
    """Keep a waiting call's turn until it looks again; who waits longest keeps the first."""
    mine = Turn(token, now_ns + wait_ns + TURN_GRACE_NS)
    turns = [
        mine if turn.token == token else turn
        for turn in state.turns
        if turn.token == token or turn.until_ns > now_ns
    ]
    if mine not in turns:
        turns.append(mine)
    return msgspec.structs.replace(state, turns=tuple(turns))


def leave_public(state: PublicState, token: int) -> PublicState:
    """Return a turn up; the state itself when there is none."""
    turns = tuple(turn for turn in state.turns if turn.token != token)
    if len(turns) == len(state.turns):
        return state
    return msgspec.structs.replace(state, turns=turns)


def plan_pair(state: PublicState, pair: str | None, now_ns: int) -> int:
    """Say how many nanoseconds the pair's own spacing still asks for."""
    return 0 if pair is None else max(0, state.pairs.get(pair, 0) - now_ns)


def take_public(state: PublicState, rule: PublicRule, pair: str | None, now_ns: int) -> PublicState:
    """Count one call that goes now. A raised spacing shrinks by 2 % with every call that passes."""
    spacing_ns = max(rule.spacing_ns, state.spacing_ns)
    if not state.refused:
        spacing_ns = max(rule.spacing_ns, spacing_ns * 98 // 100)
    pairs = {name: at for name, at in state.pairs.items() if at > now_ns}
    if pair is not None:
        pairs[pair] = now_ns + max(rule.pair_spacing_ns, spacing_ns)
    return PublicState(
        next_ns=now_ns + spacing_ns, spacing_ns=spacing_ns, pairs=pairs, turns=state.turns
    )


def slow_public(
    state: PublicState, rule: PublicRule, now_ns: int, pause_ns: int = 0
) -> PublicState:
    """React to "Too many requests": at least 3 s of spacing, doubled while refusals go on.

    Args:
        state: State before.
        rule: The spacings.
        now_ns: Time of the refusal.
        pause_ns: Pause that the answer asked for, 0 if none.
    """
    spacing_ns = rule.slow_spacing_ns
    if state.spacing_ns >= spacing_ns:
        spacing_ns = min(2 * state.spacing_ns, max(rule.max_spacing_ns, rule.spacing_ns))
    spacing_ns = max(spacing_ns, rule.spacing_ns)
    next_ns = max(state.next_ns, now_ns + max(pause_ns, spacing_ns))
    return msgspec.structs.replace(
        state, next_ns=next_ns, spacing_ns=spacing_ns, refused=True, held=True
    )


def rebase_public(state: PublicState, rule: PublicRule, now_ns: int, passed_ns: int) -> PublicState:
    """Carry the state over from another clock: at most one spacing is left to wait.

    Args:
        state: State whose times mean nothing here.
        rule: The spacings.
        now_ns: Time of our clock.
        passed_ns: Time that has passed since it was written.
    """
    widest_ns = max(rule.max_spacing_ns, rule.spacing_ns)
    spacing_ns = min(max(rule.spacing_ns, state.spacing_ns), widest_ns)
    return PublicState(next_ns=now_ns + max(0, spacing_ns - passed_ns), spacing_ns=spacing_ns)


# --- private calls ---------------------------------------------------------------------------


class CounterRule(msgspec.Struct, frozen=True, kw_only=True):
    """Kraken's private counter. The defaults suit every tier and every version of the rules."""

    max_micro: int = 15 * MICRO
    """Over this, Kraken refuses."""
    decay_micro_per_s: int = 330_000
    """How much the counter falls in a second."""
    slack_micro: int = MICRO
    """Kept free."""
    pending_ns: int = 60 * SECOND_NS
    """A call without news for so long is taken as counted by Kraken then."""

    def ceiling_micro(self, cost_micro: int) -> int:
        """Return the highest counter a call may lead to (a dear call may always go from zero)."""
        return max(self.max_micro - self.slack_micro, cost_micro)


def counter_rule(settings: RestSettings) -> CounterRule:
    """Take the counter of the account's tier from the configuration."""
    return CounterRule(
        max_micro=int(settings.private_counter_max * MICRO),
        decay_micro_per_s=int(settings.private_counter_decay_per_s * MICRO),
    )


def call_cost_micro(endpoint: str) -> int:
    """Return what a private call adds to the counter, see `Endpoint.cost`."""
    return endpoint_row(endpoint).cost * MICRO


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """A call that was sent and whose outcome is not known yet."""

    token: int
    cost_micro: int
    sent_ns: int


class PrivateState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of the private calls of one key."""

    value_micro: int = 0
    """The counter at `at_ns`, without the calls in flight."""
    at_ns: int = 0
    """When `value_micro` was true."""
    in_flight: tuple[Sent, ...] = ()
    """Reserved calls; they do not decay before Kraken has surely counted them."""
    hold_until_ns: int = 0
    """No call before this: Kraken asked for a pause."""
    full_until_ns: int = 0
    """No call that counts before this: Kraken said that the counter is full."""
    pairs: dict[str, int] = {}
    """Pair -> no order for it before this: the matching engine counts per pair."""


class CallOutcome(StrEnum):
    """What became of a sent call."""

    ANSWERED = "answered"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"


def decay(state: PrivateState, rule: CounterRule, now_ns: int) -> PrivateState:
    """Bring the counter to `now_ns`; calls too long in flight are counted as of now."""
    elapsed_ns = max(0, now_ns - state.at_ns)
    value = max(0, state.value_micro - rule.decay_micro_per_s * elapsed_ns // SECOND_NS)
    lost = [sent for sent in state.in_flight if not 0 <= now_ns - sent.sent_ns < rule.pending_ns]
    value += sum(sent.cost_micro for sent in lost)
    flying = (
        tuple(sent for sent in state.in_flight if sent not in lost) if lost else state.in_flight
    )
    return msgspec.structs.replace(state, value_micro=value, at_ns=now_ns, in_flight=flying)


def plan_private(
    state: PrivateState,
    rule: CounterRule,
    cost_micro: int,
    now_ns: int,
    *,
    pair: str | None = None,
) -> Plan:
    """Say when a call of this cost may go without Kraken's counter passing its maximum.

    A call that costs the counter nothing never waits for it; an order waits for its own pair.
    """
    holds = [(state.hold_until_ns, WaitReason.HOLD)]
    if pair is not None:
        holds.append((state.pairs.get(pair, 0), WaitReason.ENGINE))
    if cost_micro:
        holds.append((state.full_until_ns, WaitReason.COUNTER))
    until_ns, reason = max(holds)
    if until_ns > now_ns:
        return Plan(until_ns - now_ns, reason)
    return _plan_counter(state, rule, cost_micro, now_ns) if cost_micro else GO


def _plan_counter(state: PrivateState, rule: CounterRule, cost_micro: int, now_ns: int) -> Plan:
    current = decay(state, rule, now_ns)
    flying = sum(sent.cost_micro for sent in current.in_flight)
    excess = current.value_micro + flying + cost_micro - rule.ceiling_micro(cost_micro)
    if excess <= 0:
        return GO
    if excess > current.value_micro:  # only calls in flight stand in the way
        return Plan(SECOND_NS // 4, WaitReason.COUNTER)
    wait_ns = -(-excess * SECOND_NS // max(1, rule.decay_micro_per_s))
    return Plan(wait_ns, WaitReason.COUNTER)


def reserve(
    state: PrivateState, rule: CounterRule, cost_micro: int, token: int, now_ns: int
) -> PrivateState:
    """Count a call that is about to be sent."""
    current = decay(state, rule, now_ns)
    sent = Sent(token, cost_micro, now_ns)
    return msgspec.structs.replace(current, in_flight=(*current.in_flight, sent))


def settle(
    state: PrivateState, rule: CounterRule, token: int, outcome: CallOutcome, now_ns: int
) -> PrivateState:
    """Book a reserved call by what became of it.

    An answered call counts from now on, the latest moment at which Kraken can have counted it. One
    that never left costs nothing. An unknown one is charged twice: it may still be under way.
    """
    current = decay(state, rule, now_ns)
    value, flying = current.value_micro, []
    for sent in current.in_flight:
        if sent.token != token:
            flying.append(sent)
        elif outcome is CallOutcome.ANSWERED:
            value += sent.cost_micro
        elif outcome is CallOutcome.UNKNOWN:
            value += 2 * sent.cost_micro
    return msgspec.structs.replace(current, value_micro=value, in_flight=tuple(flying))


def exceed(state: PrivateState, rule: CounterRule, until_ns: int, now_ns: int) -> PrivateState:
    """React to "Rate limit exceeded": somebody else counts on this key, so take it as full."""
    current = decay(state, rule, now_ns)
    return msgspec.structs.replace(
        current,
        value_micro=max(current.value_micro, rule.max_micro),
        full_until_ns=max(until_ns, current.full_until_ns),
    )


def hold_private(state: PrivateState, until_ns: int) -> PrivateState:
    """Let no call go before `until_ns`."""
    return msgspec.structs.replace(state, hold_until_ns=max(state.hold_until_ns, until_ns))


def hold_pair(state: PrivateState, pair: str, until_ns: int, now_ns: int) -> PrivateState:
    """Let no order for a pair go before `until_ns`."""
    pairs = {name: at for name, at in state.pairs.items() if at > now_ns}
    pairs[pair] = max(until_ns, pairs.get(pair, 0))
    return msgspec.structs.replace(state, pairs=pairs)


def rebase_private(
    state: PrivateState, rule: CounterRule, now_ns: int, passed_ns: int
) -> PrivateState:
    """Carry the counter over from another clock: at most a full one, decayed for what has passed.

    Args:
        state: State whose times mean nothing here.
        rule: Kraken's counter.
        now_ns: Time of our clock.
        passed_ns: Time that has passed since it was written.
    """
    value = state.value_micro + sum(sent.cost_micro for sent in state.in_flight)
    full = PrivateState(value_micro=min(value, rule.max_micro), at_ns=now_ns - passed_ns)
    return decay(full, rule, now_ns)
