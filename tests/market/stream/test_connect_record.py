"""The connect budget that processes share: sixty attempts in ten minutes, whoever makes them."""

from __future__ import annotations

import errno
import os

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from krakked._market.stream import connect_record
from krakked._market.stream.connect_record import (
    ConnectRecord,
    SharedBudget,
    brought_to,
    wait_ns,
)

SECOND = 10**9
WINDOW = 602 * SECOND
"""Ten minutes and two seconds of margin."""


class Virtual:
    """Follows trio's clock."""

    virtual = True

    def wall_ns(self) -> int:
        return 1_790_000_000 * SECOND + self.elapsed_ns()

    def elapsed_ns(self) -> int:
        return round(trio.current_time() * SECOND)


def record(*attempts_ns: int, at_ns: int, boot: str = "b", wall: int = 0) -> ConnectRecord:
    return ConnectRecord(boot=boot, at_ns=at_ns, at_wall_ns=wall, attempts_ns=attempts_ns)


def test_the_sixtieth_goes_and_the_next_waits_until_the_first_leaves_the_window() -> None:
    assert wait_ns(record(*range(59), at_ns=100)) == 0
    assert wait_ns(record(*range(60), at_ns=100)) == WINDOW - 100
    assert wait_ns(record(*range(7, 67), at_ns=100)) == WINDOW + 7 - 100
    assert wait_ns(record(*range(60), at_ns=WINDOW)) == 0


def test_attempts_fall_out_of_the_window_and_none_lies_ahead() -> None:
    now = record(at_ns=WINDOW + 5)
    assert brought_to(record(4, 5, 6, at_ns=9), now, 0).attempts_ns == (6,)
    assert brought_to(record(4, 99 * WINDOW, at_ns=9), now, 0).attempts_ns == (WINDOW + 5,)


def test_attempts_of_another_clock_are_as_old_as_the_wall_clock_says() -> None:
    now = record(at_ns=50 * SECOND, boot="other", wall=1000 * SECOND)
    then = record(5 * SECOND, 8 * SECOND, at_ns=10 * SECOND, wall=970 * SECOND)
    assert brought_to(then, now, 0).attempts_ns == (15 * SECOND, 18 * SECOND)
    assert brought_to(then, now, 40 * SECOND).attempts_ns == (5 * SECOND, 8 * SECOND)


@given(st.lists(st.integers(0, 2000), max_size=200), st.integers(0, 1))
def test_no_window_ever_holds_more_than_sixty(gaps: list[int], shared_by: int) -> None:
    """Two processes that ask in any rhythm, each waiting as it is told."""
    state, now_ns, made = record(at_ns=0), 0, []
    for gap in [*gaps, *[0] * 130]:
        now_ns += gap * SECOND // 10
        state = brought_to(state, record(at_ns=now_ns), 0)
        now_ns += wait_ns(state)
        state = brought_to(state, record(at_ns=now_ns), 0)
        assert wait_ns(state) == 0
        state = record(*state.attempts_ns, now_ns, at_ns=now_ns)
        made.append(now_ns)
    assert all(b - a >= 600 * SECOND for a, b in zip(made, made[60:], strict=False))


async def test_two_programs_share_the_budget(autojump_clock, tmp_path) -> None:
    times: list[float] = []

    async def connect(budget: SharedBudget) -> None:
        for _ in range(70):
            await budget.spend()
            times.append(trio.current_time())

    one, two = (SharedBudget.of_host(tmp_path, "ws.kraken.com", Virtual()) for _ in range(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect, one)
        nursery.start_soon(connect, two)
    assert len(times) == 140
    assert times[59] < 5
    assert times[60] >= 600
    assert times[120] >= 1200
    assert [path.name for path in tmp_path.iterdir()] == ["stream-ws.kraken.com.state"]


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
async def test_a_record_that_cannot_be_used_stops_no_connection(
    autojump_clock, tmp_path, monkeypatch, caplog, code
) -> None:
    budget = SharedBudget.of_host(tmp_path, "127.0.0.1:1", Virtual())

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", fail)
        await budget.spend()
    assert trio.current_time() < 1
    assert len(caplog.records) == 1
    assert connect_record.BUDGET_ATTEMPTS == 60
