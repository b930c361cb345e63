"""Who goes first: orders past the counter, pairs, processes, keys that Kraken refuses."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
import trio

from krakked._core import Signer
from krakked._errors import (
    Action,
    AuthError,
    ForkedProcessError,
    LockoutError,
    NonceError,
    RateLimitError,
    RequestError,
)
from krakked._rest.limits import (
    SECOND_NS,
    TURN_GRACE_NS,
    Plan,
    PublicRule,
    PublicState,
    WaitReason,
    ahead_ns,
    leave_public,
    plan_public,
    queue_public,
    take_public,
)
from krakked._rest.signing import Credentials

KEY = "RestTestKeyRestTestKeyRestTestKeyRestTestKeyRestTestKey0"
"""The key of `credentials`."""


def names(server) -> list[str]:
    return [r.url.path.rsplit("/", 1)[1] for r in server.requests]


# --- calls that cost nothing -------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint", ["CancelOrder", "CancelAll", "CancelAllOrdersAfter", "AddOrder"]
)
async def test_what_costs_nothing_passes_those_that_wait_for_the_counter(
    autojump_clock, server, open_client, endpoint
) -> None:
    async with open_client() as client:
        for _ in range(13):
            await client.private("Balance")
        async with trio.open_nursery() as nursery:
            for history in ("TradesHistory", "Ledgers"):
                nursery.start_soon(client.private, history)
                await trio.sleep(0.2)
            begun = trio.current_time()
            await client.private(endpoint)
            assert trio.current_time() - begun < 0.01
            waiting = {w.endpoint: w.reason for w in client.why_waiting()}
            assert waiting == {"TradesHistory": WaitReason.COUNTER, "Ledgers": WaitReason.TURN}
    assert names(server)[13:] == [endpoint, "TradesHistory", "Ledgers"]


async def test_a_full_counter_at_kraken_holds_no_order_back(
    autojump_clock, server, open_client
) -> None:
    server.script = ["EAPI:Rate limit exceeded"] * 3
    async with open_client() as client, trio.open_nursery() as nursery:
        with pytest.raises(RateLimitError):
            await client.private("WalletTransfer")
        server.script.clear()
        nursery.start_soon(client.private, "Balance")
        await trio.sleep(0.1)
        await client.private("CancelAll")
        assert trio.current_time() < 0.2
    assert names(server) == ["WalletTransfer", "CancelAll", "Balance"]
    assert server.times[-1] >= 5


@pytest.mark.parametrize(
    "code", ["EOrder:Rate limit exceeded", "EOrder:Domain rate limit exceeded"]
)
async def test_an_engine_limit_holds_back_its_pair_only(
    autojump_clock, server, open_client, code
) -> None:
    server.script = [code]
    async with open_client() as client:
        with pytest.raises(RateLimitError) as caught:
            await client.private("AddOrder", {"pair": "XBTUSD"})
        pause_s = caught.value.retry_after_s or 5.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.private, "AddOrder", {"pair": "XBTUSD", "n": "2"})
            await trio.sleep(0.01)
            assert [w.reason for w in client.why_waiting()] == [WaitReason.ENGINE]
            await client.private("AddOrder", {"pair": "ETHUSD"})
            await client.private("CancelOrder", {"txid": "A"})
            await client.private("Balance")
            assert trio.current_time() < 0.1
    assert [form.get("pair") for form in server.forms()] == [
        "XBTUSD",
        "ETHUSD",
        None,
        None,
        "XBTUSD",
    ]
    assert server.times[-1] >= pause_s


async def test_orders_keep_their_own_order_behind_a_call_in_flight(
    autojump_clock, server, open_client
) -> None:
    server.delay_s = 2
    async with open_client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.private, "Balance")
        await trio.sleep(0.1)
        for number in range(3):
            nursery.start_soon(client.private, "AddOrder", {"n": str(number)})
            await trio.sleep(0.01)
    assert [form.get("n") for form in server.forms()] == [None, "0", "1", "2"]
    assert server.most_in_flight == 1
    assert server.nonces() == sorted(set(server.nonces()))


# --- long waits are said -------------------------------------------------------------------------


async def test_a_long_wait_is_said_once_with_its_reason(
    autojump_clock, server, open_client, caplog
) -> None:
    caplog.set_level(logging.INFO, logger="krakked.rest")
    async with open_client() as client:
        for _ in range(14):
            await client.private("Balance")
        assert caplog.messages == []
        await client.private("Ledgers")
        told = [m for m in caplog.messages if "waits" in m]
        assert len(told) == 1
        assert "Ledgers waits" in told[0]
        assert WaitReason.COUNTER in told[0]


# --- keys that Kraken refuses --------------------------------------------------------------------


async def rejected(client, error=AuthError) -> None:
    with pytest.raises(error):
        await client.private("Balance")


async def test_a_rejected_key_rests_and_a_corrected_secret_may_be_tried(
    autojump_clock, server, clock, open_client, credentials, tmp_path
) -> None:
    server.answer = lambda _: "EAPI:Invalid signature"
    async with open_client(state_dir=tmp_path) as client:
        for _ in range(3):
            await rejected(client)
        assert len(server.requests) == 3
        await rejected(client)
        assert len(server.requests) == 3  # the fourth was not sent
    corrected = Credentials(KEY, Signer("QQ" * 42 + "QUE="), source="test")
    assert corrected.fingerprint == credentials.fingerprint
    assert corrected.tag != credentials.tag
    server.answer = None
    async with open_client(state_dir=tmp_path, credentials=corrected) as client:
        await client.private("Balance")
    async with open_client(state_dir=tmp_path) as client:
        server.answer = lambda _: "EAPI:Invalid signature"
        for _ in range(3):
            await rejected(client)
    assert len(server.requests) == 7  # counted from the start again


async def test_a_lockout_is_the_keys_whatever_the_secret(
    autojump_clock, server, open_client, credentials, tmp_path
) -> None:
    server.script = ["EGeneral:Temporary lockout"]
    async with open_client(state_dir=tmp_path) as client:
        await rejected(client, LockoutError)
    corrected = Credentials(KEY, Signer("QQ" * 42 + "QUE="), source="test")
    async with open_client(state_dir=tmp_path, credentials=corrected) as client:
        await rejected(client, LockoutError)
        assert len(server.requests) == 1
        await trio.sleep(900)
        await client.private("Balance")


async def test_after_repeated_invalid_nonces_the_key_rests_and_says_what_to_do(
    autojump_clock, server, open_client
) -> None:
    server.answer = lambda _: "EAPI:Invalid nonce"
    async with open_client() as client:
        for _ in range(2):
            await rejected(client, NonceError)
        assert len(server.requests) == 6
        with pytest.raises(NonceError, match="Make a key for this program alone") as caught:
            await client.private("AddOrder")
        assert len(server.requests) == 6
        assert caught.value.action is Action.FIX_CREDENTIALS
        assert 0 < caught.value.retry_after_s <= 30
        server.answer = None
        await trio.sleep(31)
        await client.private("Balance")
        server.answer = lambda _: "EAPI:Invalid nonce"
        await rejected(client, NonceError)
        assert len(server.requests) == 10


async def test_a_nonce_refused_now_and_then_never_rests_the_key(
    autojump_clock, server, open_client
) -> None:
    async with open_client() as client:
        for number in range(40):
            server.script = ["EAPI:Invalid nonce", "EOrder:Insufficient funds"]
            for _ in range(2):
                with pytest.raises((NonceError, RequestError)):
                    await client.private("AddOrder", {"n": str(number)})
    assert len(server.requests) == 80


async def test_a_state_file_removed_meanwhile_takes_no_nonce_back(
    autojump_clock, server, clock, open_client, tmp_path
) -> None:
    async with open_client(state_dir=tmp_path) as client:
        await client.private("Balance")
        for path in tmp_path.iterdir():
            path.unlink()
        clock.step_ns = -3600 * SECOND_NS
        await client.private("Balance")
    assert server.nonces() == sorted(set(server.nonces()))


# --- turns between processes ---------------------------------------------------------------------


def test_the_queue_is_first_come_first_served() -> None:
    rule = PublicRule()
    state = take_public(PublicState(), rule, None, 0)
    for token in (1, 2, 3):
        ahead = ahead_ns(state, rule, token, 0)
        plan = plan_public(state, None, 0, ahead_ns=ahead)
        assert plan == Plan(token * SECOND_NS, WaitReason.PUBLIC_SPACING)
        state = queue_public(state, token, plan.wait_ns, 0)
    now = SECOND_NS
    assert plan_public(state, None, now, ahead_ns=ahead_ns(state, rule, 2, now)).wait_ns > 0
    assert plan_public(state, None, now, ahead_ns=ahead_ns(state, rule, 1, now)).wait_ns == 0
    state = leave_public(take_public(state, rule, None, now), 1)
    assert [turn.token for turn in state.turns] == [2, 3]
    late = queue_public(state, 2, SECOND_NS, now)
    assert [turn.token for turn in late.turns] == [2, 3]  # looking again keeps the place
    assert leave_public(late, 9) is late


def test_a_killed_waiter_loses_its_turn() -> None:
    rule = PublicRule()
    state = queue_public(take_public(PublicState(), rule, None, 0), 1, SECOND_NS, 0)
    end = SECOND_NS + TURN_GRACE_NS
    assert ahead_ns(state, rule, 2, end - 1) == SECOND_NS
    assert ahead_ns(state, rule, 2, end) == 0
    assert [turn.token for turn in queue_public(state, 2, 0, end).turns] == [2]


async def test_two_clients_of_one_host_take_turns(
    autojump_clock, server, open_client, tmp_path
) -> None:
    """One asks without a pause, the other now and then: neither gets in ahead of its turn."""
    async with (
        open_client(state_dir=tmp_path) as busy,
        open_client(state_dir=tmp_path) as calm,
        trio.open_nursery() as nursery,
    ):

        async def ask(client, name: str, count: int) -> None:
            for _ in range(count):
                await client.public("Ticker", {"pair": name})

        nursery.start_soon(ask, busy, "busy", 20)
        nursery.start_soon(ask, busy, "busy", 20)
        await trio.sleep(3.5)
        nursery.start_soon(ask, calm, "calm", 10)
    order = [r.url.params["pair"] for r in server.requests]
    first = order.index("calm")
    assert order[first : first + 19].count("calm") == 10


async def test_a_cancelled_waiter_gives_up_its_turn(
    autojump_clock, server, open_client, tmp_path
) -> None:
    async with open_client(state_dir=tmp_path) as one, open_client(state_dir=tmp_path) as two:
        await one.public("Time")
        with trio.move_on_after(0.5):
            await one.public("Time")
        await two.public("Time")
    assert server.times[1] - server.times[0] < 1.01


WORKER = """
import sys, time
from pathlib import Path
import trio
from krakked._network.clock import SystemClock
from krakked._rest.limits import CounterRule
from krakked._rest.private_limiter import PrivateLimiter
from krakked._rest.waits import WaitBoard

async def main():
    clock = SystemClock()
    gate = PrivateLimiter(Path(sys.argv[1]), "tag", clock, CounterRule(), WaitBoard())
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + float(sys.argv[2])
    calls = 0
    while time.monotonic() < end:
        async with gate.passage("AddOrder") as passage:
            await trio.sleep(0.02)
            passage.answered(None, accepted=True)
        calls += 1
    print(calls)

trio.run(main)
"""


@pytest.mark.slow
def test_processes_with_one_key_take_turns(tmp_path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "key.state"), "6"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        counts = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert min(counts) >= max(counts) / 4, counts


# --- a forked child ------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("kind", ["public", "private"])
async def test_a_client_is_refused_in_a_forked_child(server, clock, open_client, kind) -> None:
    async with open_client() as client:
        call = getattr(client, kind)("Balance" if kind == "private" else "Time")
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                call.send(None)
                os.write(writer, b"sent")
            except ForkedProcessError as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)  # noqa: ASYNC222 -- milliseconds
        call.close()
        answer = os.read(reader, 1000).decode()
        os.close(reader)
        os.close(writer)
        assert f"opened by process {os.getpid()}" in answer
        assert server.requests == []
