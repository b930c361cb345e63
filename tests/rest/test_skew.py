"""Kraken's clock against ours."""

from __future__ import annotations

import logging

import pytest
import trio

from krakked._rest.server_clock import ServerClock
from krakked._rest.skew import WARN_S, measure_skew, server_wall_ns, skew_s

S = 10**9


def test_within_the_error_of_whole_seconds_the_wall_clock_counts() -> None:
    measure = measure_skew(1000, 0, S // 5)
    for off_ns in (-S // 2, 0, S // 2):
        wall = 1000 * S + S // 2 + off_ns
        assert skew_s(measure, wall, S // 10) == 0
        assert server_wall_ns(measure, wall, S // 10) == wall


def test_a_wrong_or_stepped_wall_clock_is_overruled() -> None:
    measure = measure_skew(1000, 0, 0)
    assert server_wall_ns(measure, 4600 * S, 7 * S) == 1007 * S + S // 2
    assert skew_s(measure, 4600 * S, 0) == pytest.approx(3599.5)
    assert server_wall_ns(None, 5, 0) == 5


def test_the_error_is_half_a_second_and_half_the_round_trip() -> None:
    assert WARN_S == 2.0
    measure = measure_skew(1000, 10 * S, 14 * S)
    assert measure.elapsed_ns == 12 * S
    assert measure.server_ns == 1000 * S + S // 2
    assert measure.error_ns == S // 2 + 2 * S
    assert measure.server_now_ns(15 * S) == 1003 * S + S // 2
    for sign in (1, -1):
        edge = measure.server_ns + sign * measure.error_ns
        assert skew_s(measure, edge, 12 * S) == 0
        assert skew_s(measure, edge + sign, 12 * S) == pytest.approx(sign * 2.5)
        assert server_wall_ns(measure, edge, 12 * S) == edge
        assert server_wall_ns(measure, edge + sign, 12 * S) == measure.server_ns


@pytest.mark.parametrize(("ahead_s", "warned"), [(1.9, False), (2.6, True), (-1.9, False)])
async def test_from_two_seconds_on_the_user_is_told(
    autojump_clock, clock, caplog, ahead_s, warned
) -> None:
    server_clock = ServerClock(clock)
    unixtime = (clock.wall_ns() - int(ahead_s * S)) // S
    server_clock.learn(unixtime, clock.elapsed_ns(), clock.elapsed_ns())
    assert ("Set the clock (NTP)" in caplog.text) is warned


async def test_the_client_learns_the_skew_and_says_so_once(
    autojump_clock, server, clock, open_client, caplog
) -> None:
    caplog.set_level(logging.WARNING, "krakked.rest")
    clock.step_ns = 3600 * S  # our clock is an hour ahead of the exchange's
    server.answer = lambda _: {
        "error": [],
        "result": {"unixtime": (clock.wall_ns() - clock.step_ns) // S},
    }
    async with open_client() as client:
        assert client.server_wall_ns() == clock.wall_ns()
        assert client.reachability().clock_ahead_s is None
        await client.time()
        assert client.reachability().clock_ahead_s == pytest.approx(3600, abs=1)
        await trio.sleep(1000)
        expected = clock.wall_ns() - clock.step_ns
        assert abs(client.server_wall_ns() - expected) <= S
        clock.step_ns = -3600 * S  # stepped again, unnoticed by Time
        assert abs(client.server_wall_ns() - expected) <= S
        await client.time()
        assert [r.getMessage() for r in caplog.records if "behind Kraken's" in r.getMessage()] == []
        clock.step_ns = 0
        await client.time()
        clock.step_ns = -3600 * S
        server.answer = lambda _: {
            "error": [],
            "result": {"unixtime": (clock.wall_ns() - clock.step_ns) // S},
        }
        await client.time()
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2  # once for every time the clock went wrong
    assert "ahead of Kraken's" in warned[0]
    assert "behind Kraken's" in warned[1]
    assert "Set the clock (NTP)" in warned[1]
