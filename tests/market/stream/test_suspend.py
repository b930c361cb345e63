"""A machine that slept: seen by the elapsed clock, or by the wall clock alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from krakked._errors import DataStaleError, StaleReason
from krakked._market.stream.suspend import Finding, Instant, SuspendWatch
from krakked._network.clock import SystemClock

OpenStage = Callable[..., Any]


class Machine:
    """Three clocks that tests move one by one, and what the connections say."""

    def __init__(self) -> None:
        self.elapsed_s, self.timer_s, self.wall_s = 5_000.0, 10.0, 1_790_000_000.0
        self.watch = SuspendWatch(self.now)

    @property
    def now(self) -> Instant:
        return Instant(round(self.elapsed_s * 1e9), self.timer_s, round(self.wall_s * 1e9))

    def live(self, seconds: float = 1.0) -> None:
        self.elapsed_s += seconds
        self.timer_s += seconds
        self.wall_s += seconds

    def check(self, heard_s: float | None = None) -> Finding:
        return self.watch.check(self.now, None if heard_s is None else round(heard_s * 1e9))

    def trusts(self, since_s: float) -> bool:
        """Whether data of an elapsed time counts."""
        return round(since_s * 1e9) >= self.watch.trusted_from_ns(self.now)


def test_a_day_without_sleep_raises_no_doubt() -> None:
    machine = Machine()
    assert machine.watch.slept_s == 0.0
    for second in range(2_000):
        machine.live()
        machine.wall_s += 0.0005 if second % 2 else -0.08  # slewed clocks
        assert machine.check() is Finding.AWAKE
    machine.live(300)  # a program that held up its own loop
    assert machine.trusts(0.0)
    assert machine.check() is Finding.AWAKE


def test_a_sleep_that_the_elapsed_clock_counts_is_one() -> None:
    machine = Machine()
    machine.live()
    machine.elapsed_s += 0.99
    assert machine.check() is Finding.AWAKE
    machine.live()
    machine.elapsed_s += 1.0
    machine.wall_s += 1.0
    woken_s = machine.elapsed_s
    assert not machine.trusts(woken_s)
    assert machine.trusts(woken_s + 1e-6)
    assert machine.check() is Finding.SLEPT
    assert machine.watch.slept_s == pytest.approx(1.0)
    machine.live()
    assert not machine.trusts(woken_s)
    assert machine.trusts(woken_s + 1e-6)
    assert machine.check() is Finding.AWAKE


def test_looking_changes_nothing() -> None:
    machine = Machine()
    machine.wall_s += 100
    for _ in range(3):
        assert not machine.trusts(machine.elapsed_s)
    assert machine.check() is Finding.DOUBT


@pytest.mark.parametrize(
    ("leap_s", "found"),
    [
        (4.9, Finding.AWAKE),
        (5.0, Finding.DOUBT),
        (7_199.0, Finding.DOUBT),
        (7_200.0, Finding.SLEPT),
        (8 * 3_600.0, Finding.SLEPT),
        (-3_600.0, Finding.AWAKE),
        (-86_400.0, Finding.AWAKE),
    ],
)
def test_a_leap_of_the_wall_clock_raises_a_doubt_or_is_a_sleep(
    leap_s: float, found: Finding
) -> None:
    machine = Machine()
    machine.wall_s += leap_s
    trusted = found is Finding.AWAKE
    assert machine.trusts(machine.elapsed_s) is trusted
    assert machine.check() is found
    assert machine.trusts(machine.elapsed_s) is trusted
    if found is Finding.SLEPT:
        assert machine.watch.slept_s == pytest.approx(leap_s)


def test_a_step_is_told_by_connections_that_go_on_being_heard() -> None:
    machine = Machine()
    machine.wall_s += 3_600
    assert machine.check() is Finding.DOUBT
    leapt_s = machine.elapsed_s
    machine.live(1.9)
    assert machine.check(leapt_s + 1.9) is Finding.AWAKE  # what lay in the socket, perhaps
    assert not machine.trusts(leapt_s)
    assert machine.trusts(leapt_s + 0.1)
    machine.live(0.2)
    assert machine.check(leapt_s + 2.0) is Finding.STEP
    assert machine.trusts(0.0)
    machine.live()
    assert machine.check() is Finding.AWAKE


@pytest.mark.parametrize("heard_after_s", [None, -1.0, 0.0, 1.9])
def test_a_doubt_that_nobody_answers_was_a_sleep(heard_after_s: float | None) -> None:
    machine = Machine()
    machine.wall_s += 1_800
    assert machine.check() is Finding.DOUBT
    leapt_s = machine.elapsed_s
    heard_s = None if heard_after_s is None else leapt_s + heard_after_s
    for _ in range(7):
        machine.live()
        assert machine.check(heard_s) is Finding.AWAKE
        assert not machine.trusts(leapt_s)
    machine.live()
    assert machine.check(heard_s) is Finding.SLEPT
    assert machine.watch.slept_s == pytest.approx(1_800)
    assert not machine.trusts(machine.elapsed_s)
    machine.live()
    assert machine.check(heard_s) is Finding.AWAKE


def test_a_second_leap_begins_the_doubt_anew() -> None:
    machine = Machine()
    machine.wall_s += 60
    machine.check()
    machine.live(6)
    assert machine.check() is Finding.AWAKE
    machine.live(1)
    machine.wall_s += 600
    assert machine.check() is Finding.DOUBT
    machine.live(7)
    assert machine.check() is Finding.AWAKE
    machine.live(1)
    assert machine.check() is Finding.SLEPT
    assert machine.watch.slept_s == pytest.approx(600)


def test_a_clock_in_fast_motion_is_no_sleep() -> None:
    machine = Machine()
    machine.live()
    machine.wall_s += 59
    assert machine.check() is Finding.DOUBT
    found = []
    for _ in range(20):
        machine.live()
        machine.wall_s += 59
        assert machine.trusts(0.0) is bool(found)
        found.append(machine.check())
    assert found == [Finding.STEP] + [Finding.AWAKE] * 19
    machine.live()  # back at its usual pace, and then a real leap
    assert machine.check() is Finding.AWAKE
    machine.wall_s += 59
    assert not machine.trusts(machine.elapsed_s)
    assert machine.check() is Finding.DOUBT


# --- the stream ----------------------------------------------------------------------------------


async def test_eight_hours_that_only_the_wall_clock_saw_make_everything_stale(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage() as s:
        s.reads.get_latest_price("XBTUSD")
        s.exchange.clock.step_wall(8 * 3600.0)
        for read in (s.reads.get_latest_price, s.reads.get_best_bid_ask):
            with pytest.raises(DataStaleError) as error:
                read("XBTUSD")
            assert error.value.why is StaleReason.RESUMED
        with pytest.raises(DataStaleError):
            s.reads.get_live_ohlc("XBTUSD", "1m")
        assert s.feed.statistics().pairs["XBTUSD"].slept
        await trio.sleep(15)
        s.reads.get_latest_price("XBTUSD")
        facts = s.feed.statistics()
        assert facts.resumes == 1
        assert facts.reconnects == len(facts.connections)


async def test_a_short_sleep_after_which_the_far_side_is_gone_connects_anew(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage() as s:
        s.exchange.faults.half_open()
        s.exchange.clock.step_wall(1200.0)
        with pytest.raises(DataStaleError) as error:
            s.reads.get_latest_price("XBTUSD")
        assert error.value.why is StaleReason.RESUMED
        await trio.sleep(7)
        with pytest.raises(DataStaleError):
            s.reads.get_latest_price("XBTUSD")
        await trio.sleep(15)
        s.reads.get_latest_price("XBTUSD")
        assert s.feed.statistics().resumes == 1


async def test_a_clock_that_was_set_costs_a_moment_and_no_connection(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage() as s:
        s.exchange.clock.step_wall(3600.0)
        with pytest.raises(DataStaleError):
            s.reads.get_latest_price("XBTUSD")
        await trio.sleep(5)
        s.reads.get_latest_price("XBTUSD")
        await trio.sleep(60)
        facts = s.feed.statistics()
        assert (facts.resumes, facts.reconnects) == (0, 0)


# --- the system's clocks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "clock_id"), [("linux", "CLOCK_BOOTTIME"), ("darwin", "CLOCK_MONOTONIC")]
)
def test_the_elapsed_clock_counts_sleep_where_the_system_has_such_a_clock(
    platform: str, clock_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {"CLOCK_BOOTTIME": 701, "CLOCK_MONOTONIC": 702}
    for name, number in ids.items():
        monkeypatch.setattr(time, name, number, raising=False)
    if platform != "linux":
        monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda number: number * 10, raising=False)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 5)
    assert SystemClock().elapsed_ns() == ids[clock_id] * 10


def test_elsewhere_the_finest_clock_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 7)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 5)
    monkeypatch.setattr(sys, "platform", "win32")
    assert SystemClock().elapsed_ns() == 7
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert SystemClock().elapsed_ns() == 5


def test_the_elapsed_clock_of_this_machine_runs() -> None:
    before = SystemClock().elapsed_ns()
    assert SystemClock().elapsed_ns() >= before > 0
