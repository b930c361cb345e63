"""Lockouts and rejected keys stop private calls without sending."""

from __future__ import annotations

import itertools

import pytest
import trio

from krakked.errors import AuthError, LockoutError


async def test_a_lockout_stops_private_calls_for_15_virtual_minutes(
    autojump_clock, server, clock, open_client
) -> None:
    server.script = ["EGeneral:Temporary lockout"]
    async with open_client() as client:
        with pytest.raises(LockoutError) as first:
            await client.balance()
        assert first.value.retry_after_s == 900
        for _ in range(14):
            await trio.sleep(60)
            with pytest.raises(LockoutError) as caught:
                await client.balance()
            assert 0 < caught.value.retry_after_s < 900
        assert len(server.requests) == 1
        assert client.reachability().limiter.lockout_left_s == pytest.approx(60, abs=1)
        await client.public("Time")  # public calls go on
        await trio.sleep(60.1)
        assert await client.balance() == {}
    assert len(server.requests) == 3


async def test_a_lockout_outlives_the_process_and_the_clients_of_the_key(
    autojump_clock, server, clock, open_client, tmp_path
) -> None:
    server.script = ["EGeneral:Temporary lockout"]
    async with open_client(state_dir=tmp_path) as client:
        with pytest.raises(LockoutError):
            await client.balance()
    clock.step_ns -= 3600 * 10**9  # a stepped wall clock changes nothing
    async with open_client(state_dir=tmp_path) as other:
        with pytest.raises(LockoutError):
            await other.balance()
        await trio.sleep(901)
        await other.balance()
    assert len(server.requests) == 2


async def test_a_rejected_key_is_not_tried_in_a_loop(autojump_clock, server, open_client) -> None:
    server.answer = lambda _: "EAPI:Invalid key"
    async with open_client() as client:
        for _ in range(4000):  # one try a second
            with pytest.raises(AuthError) as caught:
                await client.balance()
            await trio.sleep(1)
        assert caught.value.code == "EAPI:Invalid key"
        gaps = [b - a for a, b in itertools.pairwise(server.times)]
        assert gaps == pytest.approx([1, 1, 30, 60, 120, 240, 480, 900, 900, 900], abs=1.01)
        pauses = [0, 0, 30, 60, 120, 240, 480, 900, 900, 900]
        assert all(gap >= pause for gap, pause in zip(gaps, pauses, strict=True))
        server.answer = None
        await trio.sleep(900)
        assert await client.balance() == {}
        server.script = ["EAPI:Invalid key", {"error": [], "result": {}}]
        with pytest.raises(AuthError):
            await client.balance()
        assert await client.balance() == {}  # one slip has no consequence


async def test_a_missing_permission_says_nothing_against_the_key(
    autojump_clock, server, open_client
) -> None:
    server.answer = lambda _: "EGeneral:Permission denied"
    async with open_client() as client:
        for _ in range(10):
            with pytest.raises(AuthError):
                await client.balance()
    assert len(server.requests) == 10
