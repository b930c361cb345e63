"""Waiting: order, cancellation, what is shown, and what processes share."""

from __future__ import annotations

import msgspec
import pytest
import trio

from krakked._errors import LockTimeoutError, RateLimitError
from krakked._files.shared_record import RecordFile
from krakked._rest.limits import WaitReason
from krakked._rest.private_limiter import KeyRecord


def key_record(client) -> KeyRecord:
    return client._private_limiter.latest


async def test_a_burst_of_public_calls_keeps_to_the_rate(
    autojump_clock, server, open_client
) -> None:
    async with open_client() as client, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(client.public, "Time")
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert min(gaps) >= 1.0
    assert trio.current_time() < 9.1


async def test_public_calls_go_in_the_order_in_which_they_came(
    autojump_clock, server, open_client
) -> None:
    async with open_client() as client, trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(client.public, "Ticker", {"pair": str(number)})
            await trio.sleep(0.01)
    assert [r.url.params["pair"] for r in server.requests] == [str(n) for n in range(8)]


async def test_one_pairs_calls_do_not_hold_up_the_others(
    autojump_clock, server, open_client
) -> None:
    async with (
        open_client(public_calls_per_second=10.0) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(client.public, "Trades", {"pair": "A"})
        await trio.sleep(0.01)
        for _ in range(5):
            nursery.start_soon(client.public, "Time")
    paths = [r.url.path.rsplit("/", 1)[1] for r in server.requests]
    assert paths == ["Trades", *["Time"] * 5, "Trades", "Trades"]
    assert server.times[-1] >= 2.0


async def test_the_spacing_after_too_many_requests(autojump_clock, server, open_client) -> None:
    server.script = ["EGeneral:Too many requests"]
    async with open_client() as client:
        for _ in range(4):
            await client.public("Time")
        assert client.reachability().limiter.public_spacing_s > 2.7
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert gaps[0] >= 3.0
    assert all(2.7 < gap < 3.6 for gap in gaps)


async def test_a_waiting_head_learns_of_a_refusal(autojump_clock, server, open_client) -> None:
    server.script = ["EGeneral:Too many requests"]
    server.delay_s = 0.5
    async with open_client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.public, "Time")
        await trio.sleep(0.1)
        nursery.start_soon(client.public, "Assets")  # would go at 1.0; the refusal comes at 0.5
    assert server.times[1] >= 3.4


async def test_private_calls_go_one_at_a_time_and_in_order(
    autojump_clock, server, open_client
) -> None:
    server.delay_s = 0.3
    async with open_client() as client, trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(client.private, "Balance", {"n": number})
            await trio.sleep(0.001)
    assert server.most_in_flight == 1
    assert [form["n"] for form in server.forms()] == [str(n) for n in range(10)]
    assert server.nonces() == sorted(set(server.nonces()))


async def test_calls_of_a_key_with_a_wide_nonce_window_overlap(
    autojump_clock, server, open_client
) -> None:
    server.script = [{"error": [], "result": {"nonceWindow": 60 * 10**9}}]
    async with open_client() as client:
        await client.api_key_info()
        server.delay_s = 0.3
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(client.private, "Balance")
        assert server.most_in_flight == 5
        record = key_record(client)
    assert record.counter.in_flight == ()
    assert 5 < record.counter.value_micro / 1e6 < 6.1


async def test_a_small_nonce_window_changes_nothing(autojump_clock, server, open_client) -> None:
    server.script = [{"error": [], "result": {"nonceWindow": 15}}]
    async with open_client() as client:
        await client.api_key_info()
        server.delay_s = 0.3
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(client.private, "Balance")
    assert server.most_in_flight == 1


async def test_why_waiting_says_what_and_how_long(autojump_clock, server, open_client) -> None:
    async with open_client() as client:
        assert client.why_waiting() == ()
        for _ in range(14):
            await client.private("Balance")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.private, "Balance")
            nursery.start_soon(client.public, "Time")
            nursery.start_soon(client.public, "Assets")
            nursery.start_soon(client.public, "Ticker")
            await trio.sleep(0.1)
            shown = {w.endpoint: w for w in client.why_waiting()}
            assert shown["Balance"].reason is WaitReason.COUNTER
            assert 2 < shown["Balance"].left_s < 3.1
            public = [shown[n].reason for n in ("Assets", "Ticker", "Time") if n in shown]
            assert sorted(public) == sorted([WaitReason.PUBLIC_SPACING, WaitReason.TURN])
            assert client.reachability().limiter.waiting == client.why_waiting()
        assert client.why_waiting() == ()


async def test_a_cancelled_waiter_leaves_the_state_unchanged(
    autojump_clock, server, open_client, tmp_path
) -> None:
    async with open_client(state_dir=tmp_path) as client:
        for _ in range(14):
            await client.private("Balance")
        before = key_record(client)
        calls = len(server.requests)
        with trio.move_on_after(1):
            await client.private("Balance")
        after = read_record(tmp_path)
        assert len(server.requests) == calls
        assert (after.nonce, after.counter) == (before.nonce, before.counter)
        assert client.why_waiting() == ()
        await client.private("Balance")
    assert len(server.requests) == calls + 1


def read_record(state_dir) -> KeyRecord:
    (path,) = state_dir.glob("key-*.state")
    file = RecordFile(path)
    assert file.try_lock()
    payload = file.read()
    file.unlock()
    assert payload is not None
    return msgspec.json.decode(payload, type=KeyRecord)


async def test_a_call_cancelled_in_flight_is_charged_and_frees_the_key(
    autojump_clock, server, open_client, tmp_path
) -> None:
    server.delay_s = 5
    async with open_client(state_dir=tmp_path) as client:
        with trio.move_on_after(1):
            await client.private("Balance")
        record = read_record(tmp_path)
        assert record.counter.in_flight == ()
        assert record.counter.value_micro == 2_000_000
        server.delay_s = 0
        await client.private("Balance")


async def test_a_cancelled_public_waiter_does_not_take_a_slot(
    autojump_clock, server, open_client
) -> None:
    async with open_client() as client:
        await client.public("Time")
        for _ in range(50):
            with trio.move_on_after(0.01):
                await client.public("Time")
        await client.public("Assets")
    assert server.times[1] < 1.1


async def test_two_clients_share_the_public_spacing_and_the_key(
    autojump_clock, server, open_client, tmp_path
) -> None:
    server.delay_s = 0.05
    async with open_client(state_dir=tmp_path) as one, open_client(state_dir=tmp_path) as two:
        async with trio.open_nursery() as nursery:
            for client in (one, two):
                for _ in range(4):
                    nursery.start_soon(client.public, "Time")
        gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
        assert min(gaps) >= 1.0
        server.requests.clear()
        server.most_in_flight = 0
        async with trio.open_nursery() as nursery:
            for client in (one, two):
                for _ in range(12):
                    nursery.start_soon(client.private, "Balance")
    assert server.most_in_flight == 1
    assert server.nonces() == sorted(set(server.nonces()))
    assert trio.current_time() > 7 + 10 / 0.33  # 24 calls on one counter of 14 + 0.33/s


async def test_a_blocked_key_names_its_holder(
    autojump_clock, server, open_client, tmp_path, credentials
) -> None:
    import os

    file = RecordFile(tmp_path / f"key-{credentials.fingerprint}.state")
    assert file.try_lock()
    async with open_client(state_dir=tmp_path) as client:
        with pytest.raises(LockTimeoutError) as caught:
            await client.private("Balance")
        assert caught.value.holder_pid == os.getpid()
        assert str(os.getpid()) in str(caught.value)
        file.unlock()
        await client.private("Balance")


async def test_throttled_on_a_private_call_holds_the_key_back(
    autojump_clock, server, open_client
) -> None:
    server.script = ["EAuth:Too many requests"] * 3
    async with open_client() as client:
        with pytest.raises(RateLimitError):
            await client.private("AddOrder")
        await client.private("Balance")
    assert server.times[1] - server.times[0] >= 60
