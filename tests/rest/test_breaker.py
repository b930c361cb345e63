"""Lockouts and rejected keys stop private calls without sending."""

from __future__ import annotations

import itertools

import pytest
import trio

from krakked._errors import AuthError, LockoutError
from krakked._rest import breaker, private_limiter
from krakked._rest.breaker import BreakerState
from krakked._rest.limits import SECOND_NS as S


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


async def test_a_lockout_outlives_a_restart_of_the_machine(
    autojump_clock, server, clock, open_client, tmp_path, monkeypatch
) -> None:
    server.script = ["EGeneral:Temporary lockout"]
    monkeypatch.setattr(private_limiter, "boot_id", lambda: "before")
    async with open_client(state_dir=tmp_path) as client:
        with pytest.raises(LockoutError):
            await client.balance()
    await trio.sleep(300)
    monkeypatch.setattr(private_limiter, "boot_id", lambda: "after")
    async with open_client(state_dir=tmp_path) as client:
        with pytest.raises(LockoutError) as caught:
            await client.balance()
        assert caught.value.retry_after_s == pytest.approx(600, abs=1)
        await trio.sleep(601)
        assert await client.balance() == {}


# --- the rules by themselves ---------------------------------------------------------------------


def test_a_key_without_history_is_free() -> None:
    assert BreakerState() == BreakerState(
        lockout_until_ns=0,
        lockout_until_wall_ns=0,
        rejections=0,
        rejected_code="",
        rejected_tag="",
        rejected_until_ns=0,
    )
    assert breaker.lockout_left_s(BreakerState(), 5 * S) == 0
    assert breaker.rejection_left_s(BreakerState(), "tag", 5 * S) == 0


def test_what_is_left_is_told_in_seconds_and_for_the_rejected_pair_only() -> None:
    state = BreakerState(lockout_until_ns=12 * S, rejected_until_ns=9 * S, rejected_tag="tag")
    assert [breaker.lockout_left_s(state, at * S) for at in (2, 12, 13)] == [10, 0, 0]
    assert [breaker.rejection_left_s(state, "tag", at * S) for at in (2, 9, 10)] == [7, 0, 0]
    assert breaker.rejection_left_s(state, "other", 2 * S) == 0


def test_which_answers_count_against_the_key() -> None:
    assert breaker.is_rejection("EAuth:Account temporary disabled")
    assert breaker.is_rejection("EAuth:Account unconfirmed")
    for code in ("EAPI:Invalid key", "EAPI:Invalid signature", "EAPI:Invalid nonce"):
        assert breaker.is_rejection(code)
        assert breaker.is_rejection(f"{code}: and more")
    assert not breaker.is_rejection("EAPI:Invalid")
    assert not breaker.is_rejection("EGeneral:Permission denied")


def test_a_lockout_is_15_minutes_on_both_clocks() -> None:
    state = breaker.note_lockout(BreakerState(rejections=1), 7 * S, 1000 * S)
    assert state == BreakerState(
        rejections=1, lockout_until_ns=907 * S, lockout_until_wall_ns=1900 * S
    )


@pytest.mark.parametrize(
    ("code", "pauses_s"),
    [
        ("EAPI:Invalid key", [0, 0, 30, 60, 120, 240, 480, 900, 900]),
        ("EAPI:Invalid signature", [0, 0, 30, 60, 120, 240, 480, 900, 900]),
        ("EAPI:Invalid nonce", [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900]),
        ("EAPI:Invalid nonce: and more", [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900]),
    ],
)
def test_pauses_double_after_free_rejections(code, pauses_s) -> None:
    state = BreakerState()
    for count, pause_s in enumerate(pauses_s, 1):
        state = breaker.note_rejected(state, code, "tag", 7 * S)
        assert state == BreakerState(
            rejections=count,
            rejected_code=code,
            rejected_tag="tag",
            rejected_until_ns=(7 + pause_s) * S if pause_s else 0,
        )


def test_another_pair_or_another_kind_of_rejection_counts_from_the_start() -> None:
    three = BreakerState()
    for _ in range(3):
        three = breaker.note_rejected(three, "EAPI:Invalid key", "tag", 0)
    assert three.rejected_until_ns == 30 * S
    for code, tag in (("EAPI:Invalid key", "other"), ("EAPI:Invalid nonce", "tag")):
        assert breaker.note_rejected(three, code, tag, 0) == BreakerState(
            rejections=1, rejected_code=code, rejected_tag=tag
        )
    nonces = BreakerState(rejections=4, rejected_code="EAPI:Invalid nonce: x", rejected_tag="tag")
    assert breaker.note_rejected(nonces, "EAPI:Invalid nonce", "tag", 0).rejections == 5
    assert breaker.note_rejected(nonces, "EAPI:Invalid key", "tag", 0).rejections == 1


def test_an_accepted_key_forgets_rejections_but_no_lockout() -> None:
    clean = BreakerState(lockout_until_ns=5, lockout_until_wall_ns=6)
    assert breaker.note_accepted(clean) is clean  # nothing to write
    rejected = breaker.note_rejected(clean, "EAPI:Invalid key", "tag", 0)
    assert breaker.note_accepted(rejected) == clean
    assert breaker.note_nonce_accepted(rejected) is rejected
    nonce = breaker.note_rejected(clean, "EAPI:Invalid nonce: x", "tag", 0)
    assert breaker.note_nonce_accepted(nonce) == clean


@pytest.mark.parametrize(
    ("wall_s", "left_s"), [(1300, 600), (1899, 1), (1900, 0), (5000, 0), (1000, 900), (10, 900)]
)
def test_the_wall_clock_tells_what_a_restart_leaves_of_a_lockout(wall_s, left_s) -> None:
    state = BreakerState(
        lockout_until_ns=77_000 * S,
        lockout_until_wall_ns=1900 * S,
        rejections=3,
        rejected_code="EAPI:Invalid key",
        rejected_tag="tag",
        rejected_until_ns=88_000 * S,
    )
    assert breaker.rebase(state, 4 * S, wall_s * S) == BreakerState(
        lockout_until_ns=(4 + left_s) * S if left_s else 0,
        lockout_until_wall_ns=1900 * S,
        rejections=3,
        rejected_code="EAPI:Invalid key",
        rejected_tag="tag",
    )
