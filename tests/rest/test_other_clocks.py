"""Records whose times mean nothing here: another boot, another machine, a clock begun anew.

Whatever lies in the state directory, a call goes within one spacing (public) or one full decay of
the counter (private). All on virtual time; a bound that does not hold would be an endless wait.
"""

from __future__ import annotations

import itertools

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from krakked._files.shared_record import RecordFile
from krakked._rest import limits, private_limiter, public_limiter
from krakked._rest.limits import (
    MICRO,
    SECOND_NS,
    CounterRule,
    PrivateState,
    PublicRule,
    PublicState,
)
from krakked._rest.private_limiter import KeyRecord
from krakked._rest.public_limiter import HostRecord
from krakked._rest.record_times import Stamp, boot_name, passed_ns, same_boot, same_clock

SPACING_S = 1.0
DECAY_S = 15 / 0.33
"""From a full counter to none: no wait for it is longer."""
HOUR_NS = 3600 * SECOND_NS

BOOTS = ("same", "other", "")
MOMENTS = ("past", "future", "absent")
COUNTERS = ("empty", "full")
COMBINATIONS = list(itertools.product(BOOTS, MOMENTS, COUNTERS))


def put(path, record: msgspec.Struct | None) -> None:
    if record is None:
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    file = RecordFile(path)
    assert file.try_lock()
    file.read()
    file.write(msgspec.json.encode(record), durable=True)
    file.unlock()


@pytest.fixture(params=["told", "not told"])
def here(request, monkeypatch) -> str:
    """Name of our own boot: as the system tells it, or empty where it does not."""
    name = "b00t" if request.param == "told" else ""
    for module in (public_limiter, private_limiter):
        monkeypatch.setattr(module, "boot_id", lambda: name)
    return name


def stamped(boot: str, moment: str, here: str, clock) -> dict[str, object]:
    """Head of a record as another run of the machine would have written it."""
    elapsed, wall = clock.elapsed_ns(), clock.wall_ns()
    names = {
        "same": boot_name(here, wall, elapsed),
        "other": "another-machine",
        "": "started 12345",
    }
    at_ns = elapsed - HOUR_NS if moment == "past" else elapsed + HOUR_NS
    return {"boot": names[boot], "at_ns": at_ns}


@pytest.mark.parametrize(("boot", "moment", "counter"), COMBINATIONS)
@pytest.mark.parametrize("with_wall", [False, True])
async def test_any_record_lets_public_calls_go_within_their_spacing(
    autojump_clock, server, clock, open_client, tmp_path, here, boot, moment, counter, with_wall
) -> None:
    await trio.sleep(7200)
    head = stamped(boot, moment, here, clock)
    at_ns = head["at_ns"]
    head["at_wall_ns"] = clock.wall_ns() if with_wall else 0
    pending = PublicState(next_ns=at_ns + SECOND_NS, pairs={"A": at_ns + SECOND_NS})
    public = pending if counter == "full" else PublicState()
    record = None if moment == "absent" else HostRecord(**head, public=public)
    put(tmp_path / "host-api.kraken.com.state", record)
    begun = trio.current_time()
    async with open_client(state_dir=tmp_path) as client:
        with trio.fail_after(10):
            await client.public("OHLC", {"pair": "A"})
            await client.public("Time")
    assert server.times[0] - begun <= SPACING_S + 1e-3
    assert server.times[1] - begun <= 2 * SPACING_S + 1e-3


@pytest.mark.parametrize(("boot", "moment", "counter"), COMBINATIONS)
@pytest.mark.parametrize("with_wall", [False, True])
async def test_any_record_lets_private_calls_go_within_the_decay(
    autojump_clock,
    server,
    clock,
    open_client,
    credentials,
    tmp_path,
    here,
    boot,
    moment,
    counter,
    with_wall,
) -> None:
    await trio.sleep(7200)
    head = stamped(boot, moment, here, clock)
    at_ns = head["at_ns"]
    head["at_wall_ns"] = clock.wall_ns() if with_wall else 0
    full = PrivateState(
        value_micro=15 * MICRO,
        at_ns=at_ns,
        in_flight=(limits.Sent(1, 4 * MICRO, at_ns),),
        hold_until_ns=at_ns + 5 * SECOND_NS,
    )
    record = KeyRecord(**head, counter=full if counter == "full" else PrivateState())
    put(
        tmp_path / f"key-{credentials.fingerprint}.state",
        None if moment == "absent" else record,
    )
    begun = trio.current_time()
    async with open_client(state_dir=tmp_path) as client:
        with trio.fail_after(200):
            await client.private("Balance")
            first = server.times[0] - begun
            await client.private("Ledgers")
    assert first <= (DECAY_S if counter == "full" else 0.0) + 1e-3
    assert server.times[1] - begun <= DECAY_S + 4 / 0.33 + 1e-3


async def test_two_machines_that_share_a_directory_do_not_stop_each_other(
    autojump_clock, server, clock, open_client, tmp_path, monkeypatch
) -> None:
    """Each finds the other's record every time, and their wall clocks are an hour apart."""
    monkeypatch.setattr(public_limiter, "boot_id", lambda: "one")
    monkeypatch.setattr(private_limiter, "boot_id", lambda: "one")
    async with open_client(state_dir=tmp_path) as one:
        monkeypatch.setattr(public_limiter, "boot_id", lambda: "two")
        monkeypatch.setattr(private_limiter, "boot_id", lambda: "two")
        late = type(clock)()
        late.step_ns = -HOUR_NS
        async with open_client(state_dir=tmp_path, clock=late) as two:

            async def calls(client) -> None:
                for _ in range(10):
                    await client.public("Time")
                    await client.private("Balance")

            with trio.fail_after(200):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(calls, one)
                    nursery.start_soon(calls, two)
    assert len(server.requests) == 40
    assert server.nonces_of("Balance") == sorted(set(server.nonces_of("Balance")))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    next_ns=st.integers(-HOUR_NS, 100 * HOUR_NS),
    spacing_ns=st.integers(0, 100 * SECOND_NS),
    passed_ns=st.integers(0, HOUR_NS),
)
def test_a_carried_over_spacing_is_never_longer_than_the_widest(
    next_ns, spacing_ns, passed_ns
) -> None:
    rule = PublicRule()
    state = PublicState(next_ns=next_ns, spacing_ns=spacing_ns, held=True, refused=True)
    carried = limits.rebase_public(state, rule, 5, passed_ns)
    spacing = min(max(rule.spacing_ns, spacing_ns), rule.max_spacing_ns)
    assert carried.next_ns - 5 == max(0, spacing - passed_ns)
    assert carried.spacing_ns == spacing
    assert (carried.pairs, carried.turns, carried.held) == ({}, (), False)


@given(
    value=st.integers(0, 100 * MICRO),
    flying=st.integers(0, 20 * MICRO),
    passed_ns=st.integers(0, HOUR_NS),
)
def test_a_carried_over_counter_is_at_most_full_and_decays_for_what_has_passed(
    value, flying, passed_ns
) -> None:
    rule = CounterRule()
    state = PrivateState(
        value_micro=value,
        at_ns=9 * HOUR_NS,
        in_flight=(limits.Sent(1, flying, 9 * HOUR_NS),),
        hold_until_ns=99 * HOUR_NS,
        full_until_ns=99 * HOUR_NS,
        pairs={"A": 99 * HOUR_NS},
    )
    carried = limits.rebase_private(state, rule, 5, passed_ns)
    fallen = rule.decay_micro_per_s * passed_ns // SECOND_NS
    assert carried.value_micro == max(0, min(value + flying, rule.max_micro) - fallen)
    assert carried == PrivateState(value_micro=carried.value_micro, at_ns=5)


def test_which_clocks_are_the_same() -> None:
    def stamp(boot: str, at_ns: int, wall: int = 0) -> Stamp:
        return Stamp(boot=boot, at_ns=at_ns, at_wall_ns=wall)

    assert same_clock(stamp("a", 5), stamp("a", 5))
    assert not same_clock(stamp("a", 6), stamp("a", 5))
    assert not same_clock(stamp("a", 5), stamp("b", 6))
    assert same_boot("started 100", "started 160")
    assert not same_boot("started 100", "started 161")
    assert not same_boot("started 161", "started 100")
    assert boot_name("id", 5, 3) == "id"
    assert boot_name("", 500 * SECOND_NS, 300 * SECOND_NS) == "started 200"
    assert passed_ns(stamp("a", 0, 100), stamp("b", 0, 130), 7) == 30
    assert passed_ns(stamp("a", 0, 100), stamp("b", 0, 130), 70) == 70
    assert passed_ns(stamp("a", 0, 130), stamp("b", 0, 100), 7) == 7
    assert passed_ns(stamp("a", 0), stamp("b", 0, 10**18), 0) == 0


def test_times_ahead_of_a_record_that_seems_ours_are_not_waited_for() -> None:
    """A call in flight from the future, a counter from the future: neither stays for ever."""
    rule = CounterRule()
    state = PrivateState(
        value_micro=14 * MICRO, at_ns=HOUR_NS, in_flight=(limits.Sent(1, MICRO, HOUR_NS),)
    )
    now = limits.decay(state, rule, 5)
    assert (now.value_micro, now.at_ns, now.in_flight) == (15 * MICRO, 5, ())
