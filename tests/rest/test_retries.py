"""What is sent again, when, and with what."""

from __future__ import annotations

import random
from contextlib import suppress

import httpx
import pytest
import trio

from krakked._errors import (
    ApiError,
    AuthError,
    ConnectFailedError,
    DisconnectedError,
    KrakkedError,
    LockoutError,
    NetworkError,
    NetworkTimeoutError,
    NonceError,
    RateLimitError,
    ServiceError,
)
from krakked._rest.retries import MAX_ATTEMPTS, RetryBudget, pause_s, worth_retrying

KEY_PART = "RestTestKey"

FAILURES = {
    "connect": (httpx.ConnectError("refused"), ConnectFailedError, 3),
    "connect timeout": (httpx.ConnectTimeout(""), ConnectFailedError, 3),
    "pool": (httpx.PoolTimeout(""), ConnectFailedError, 3),
    "tls": (
        httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"),
        ConnectFailedError,
        1,
    ),
    "read timeout": (httpx.ReadTimeout(""), NetworkTimeoutError, 3),
    "write timeout": (httpx.WriteTimeout(""), NetworkTimeoutError, 3),
    "read": (httpx.ReadError("reset"), DisconnectedError, 3),
    "write": (httpx.WriteError("pipe"), DisconnectedError, 3),
    "closed early": (httpx.RemoteProtocolError("cut"), DisconnectedError, 3),
    "illegal header": (
        httpx.LocalProtocolError("Illegal header value b'RestTestKey'"),
        NetworkError,
        1,
    ),
    "decoding": (httpx.DecodingError("zlib"), ServiceError, 3),
    "os": (OSError(5, "RestTestKey"), NetworkError, 1),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_http_failures_become_ours_and_reads_are_repeated(
    autojump_clock, server, open_client, name
) -> None:
    failure, kind, attempts = FAILURES[name]
    server.script = [failure] * 3
    async with open_client() as client:
        with pytest.raises(KrakkedError) as caught:
            await client.private("Balance")
    assert type(caught.value) is kind
    assert len(server.requests) == attempts
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert KEY_PART not in str(caught.value)


async def test_every_attempt_has_a_fresh_nonce_and_signature(
    autojump_clock, server, open_client
) -> None:
    server.script = [httpx.Response(502), "EAPI:Invalid nonce", {"error": [], "result": {"a": "1"}}]
    async with open_client() as client:
        assert await client.balance() == {"a": "1"}
    nonces = server.nonces()
    assert nonces == sorted(set(nonces))
    assert len({r.headers["api-sign"] for r in server.requests}) == 3


async def test_what_is_not_a_read_is_sent_once(autojump_clock, server, open_client) -> None:
    server.answer = lambda _: httpx.Response(503)
    async with open_client() as client:
        for endpoint in ("AddOrder", "CancelAll", "Withdraw", "Unheard/Of"):
            with pytest.raises(ServiceError):
                await client.private(endpoint)
        server.answer = lambda _: httpx.ReadTimeout("")
        with pytest.raises(NetworkTimeoutError) as caught:
            await client.private("AddOrder")
    assert not caught.value.retryable
    assert len(server.requests) == 5


async def test_a_one_time_password_is_used_once(autojump_clock, server, open_client) -> None:
    server.answer = lambda _: httpx.Response(503)
    async with open_client() as client:
        with pytest.raises(ServiceError):
            await client.private("Balance", otp="123456")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("EAPI:Invalid key", AuthError),
        ("EAPI:Invalid signature", AuthError),
        ("EGeneral:Permission denied", AuthError),
        ("EGeneral:Temporary lockout", LockoutError),
    ],
)
async def test_a_refused_key_is_never_tried_again_by_itself(
    autojump_clock, server, open_client, text, kind
) -> None:
    server.answer = lambda _: text
    async with open_client() as client:
        with pytest.raises(kind):
            await client.balance()
    assert len(server.requests) == 1


async def test_invalid_nonce_is_tried_three_times_at_most(
    autojump_clock, server, open_client
) -> None:
    server.answer = lambda _: "EAPI:Invalid nonce"
    async with open_client() as client:
        with pytest.raises(NonceError):
            await client.balance()
    assert len(server.requests) == 3
    assert server.nonces() == sorted(set(server.nonces()))


async def test_a_full_counter_is_waited_out(autojump_clock, server, open_client) -> None:
    server.script = ["EAPI:Rate limit exceeded", {"error": [], "result": {}}]
    async with open_client() as client:
        await client.balance()
    assert server.times[1] - server.times[0] >= 10


async def test_throttled_calls_wait_until_the_stated_time(
    autojump_clock, server, clock, open_client
) -> None:
    until_s = clock.wall_ns() // 10**9 + 20
    server.script = [f"EService: Throttled: {until_s}", {"error": [], "result": {}}]
    async with open_client() as client:
        await client.balance()
    assert clock.wall_ns() >= until_s * 10**9


async def test_a_long_stated_wait_is_the_callers(
    autojump_clock, server, clock, open_client
) -> None:
    server.script = [f"EService:Throttled:{clock.wall_ns() // 10**9 + 300}"]
    async with open_client() as client:
        with pytest.raises(RateLimitError) as caught:
            await client.balance()
    assert caught.value.retry_after_s == pytest.approx(300, abs=1)
    assert len(server.requests) == 1


async def test_the_whole_exchange_has_a_deadline(autojump_clock, server, open_client) -> None:
    server.delay_s = 1000
    async with open_client(timeout_s=5) as client:
        with pytest.raises(NetworkTimeoutError):
            await client.private("AddOrder")
    assert trio.current_time() < 6


async def test_the_budget_stops_retries_when_everything_fails(
    autojump_clock, server, open_client
) -> None:
    server.answer = lambda _: httpx.Response(503)
    async with open_client(public_calls_per_second=1000.0) as client:
        for _ in range(200):
            with pytest.raises(ServiceError):
                await client.public("Time")
        assert client.reachability().limiter.retry_budget == 0
    assert len(server.requests) == 200 + 500 // 5


def test_pauses_are_full_jitter_and_bounded() -> None:
    error = NetworkError("x")
    assert [pause_s(error, attempt=n, chance=1.0) for n in (1, 2, 3, 9)] == [0.5, 1.0, 2.0, 8.0]
    assert pause_s(error, attempt=3, chance=0.0) == 0
    assert not worth_retrying(error, attempt=MAX_ATTEMPTS, read=True)
    assert not worth_retrying(error, attempt=1, read=False)


def failed(kind: type[ApiError], stated_s: float | None, *, retryable: bool = True) -> ApiError:
    return kind("x", code="E", endpoint="Balance", retryable=retryable, retry_after_s=stated_s)


def test_a_stated_wait_is_kept_here_unless_the_limiter_keeps_it() -> None:
    cut = NetworkError("x")
    assert [pause_s(cut, attempt=n, chance=0.5) for n in (1, 2, 3, 9)] == [0.25, 0.5, 1.0, 4.0]
    assert pause_s(failed(ServiceError, None), attempt=2, chance=0.5) == 0.5
    assert pause_s(failed(ServiceError, 7.0), attempt=2, chance=0.5) == 7.5
    assert pause_s(failed(ServiceError, 7.0), attempt=2, chance=0.0) == 7.0
    for attempt in (1, 3):
        assert pause_s(failed(RateLimitError, 7.0), attempt=attempt, chance=0.5) == 0.25


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (NetworkError("x"), True),
        (NetworkError("x", retryable=False), False),
        (failed(ServiceError, None), True),
        (failed(ServiceError, 60.0), True),
        (failed(ServiceError, 60.5), False),
        (failed(ServiceError, None, retryable=False), False),
        (failed(ServiceError, 60.0, retryable=False), False),
        (failed(RateLimitError, 10.0), True),
        (failed(LockoutError, 10.0), False),
        (KrakkedError("x"), False),
    ],
)
def test_which_failed_reads_are_sent_again(error, worth) -> None:
    assert MAX_ATTEMPTS == 3
    assert [worth_retrying(error, attempt=n, read=True) for n in (1, 2, 3)] == [worth, worth, False]
    assert not worth_retrying(error, attempt=1, read=False)


def test_the_budget_is_spent_to_the_last_token() -> None:
    budget = RetryBudget()
    budget.tokens = 15
    assert budget.spend(NetworkTimeoutError("x"))
    assert budget.tokens == 5
    assert not budget.spend(NetworkTimeoutError("x"))
    assert budget.spend(NetworkError("x"))
    assert budget.tokens == 0
    assert not budget.spend(NetworkError("x"))
    assert budget.tokens == 0


def test_successes_fill_the_budget_again() -> None:
    budget = RetryBudget()
    assert budget.spend(NetworkTimeoutError("x"))
    assert budget.tokens == 490
    budget.refund()
    assert budget.tokens == 491
    assert budget.spend(NetworkError("x"))
    assert budget.tokens == 486
    for _ in range(20):
        budget.refund()
    assert budget.tokens == 500


async def test_no_order_is_ever_sent_twice(autojump_clock, server, open_client) -> None:
    """The exchange books an order and then anything may happen to the answer."""
    rng = random.Random(5)
    faults = [
        lambda: httpx.ReadTimeout(""),
        lambda: httpx.ReadError(""),
        lambda: httpx.RemoteProtocolError(""),
        lambda: httpx.Response(502),
        lambda: httpx.Response(200, text="<html>"),
        lambda: {"error": ["EService:Timeout"]},
        lambda: {"error": ["EAPI:Invalid nonce"]},
        lambda: {"error": ["EGeneral:Internal error"]},
        lambda: {"error": [], "result": {"txid": ["X"]}},
    ]
    server.answer = lambda _: rng.choice(faults)()
    async with open_client() as client:
        for number in range(1000):
            with suppress(KrakkedError):
                await client.private("AddOrder", {"cl_ord_id": str(number)})
    sent = [form["cl_ord_id"] for form in server.forms()]
    assert sent == [str(number) for number in range(1000)]
