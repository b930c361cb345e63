"""Keys, signatures, nonces, permissions, counters and the lockout."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from krakked._sandbox.accounts import signature
from krakked.sandbox import SandboxSettings, open_sandbox

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "sign.json").read_text())[
    "vectors"
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_signature_is_krakens(vector: dict[str, str]) -> None:
    secret = base64.b64decode(vector["secret"])
    made = signature(secret, vector["path"], vector["nonce"], vector["body"].encode())
    assert base64.b64encode(made).decode() == vector["sign"]


async def test_calls_of_a_good_key(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        balance = await rest.private("Balance")
        assert balance["error"] == []
        assert balance["result"]["ZUSD"] == "10250.5000"
        extended = (await rest.private("BalanceEx", as_json=True))["result"]["XXBT"]
        assert set(extended) == {"balance", "credit", "credit_used", "hold_trade"}
        info = (await rest.private("GetApiKeyInfo"))["result"]
        assert "query-funds" in info["permissions"]
        assert info["nonceWindow"] == 0
        token = (await rest.private("GetWebSocketsToken"))["result"]
        assert token["expires"] == 900
        assert (await rest.private("OpenPositions"))["result"] == []


async def test_key_info_in_the_other_spelling(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    settings = SandboxSettings(snake_case_key_info=True)
    async with (
        open_sandbox(memory=True, settings=settings) as exchange,
        open_rest(exchange) as rest,
    ):
        info = (await rest.private("GetApiKeyInfo"))["result"]
        assert info["api_key_name"] == "sandbox"
        assert info["nonce_window"] == "0"


async def test_a_bad_key_comes_before_everything_else(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        rest.key = "nonsense"
        rest.secret = base64.b64encode(b"wrong").decode()
        for endpoint in ("Balance", "Nothing"):
            assert (await rest.private(endpoint))["error"] == ["EAPI:Invalid key"]


async def test_signature_nonce_and_permission(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        good = rest.secret
        rest.secret = base64.b64encode(b"x" * 64).decode()
        assert (await rest.private("Balance"))["error"] == ["EAPI:Invalid signature"]
        rest.secret = good
        nonce = rest.next_nonce()
        assert (await rest.private("Balance", nonce=nonce))["error"] == []
        assert (await rest.private("Balance", nonce=nonce))["error"] == ["EAPI:Invalid nonce"]
        assert (await rest.private("Balance", nonce=nonce - 1))["error"] == ["EAPI:Invalid nonce"]
        assert (await rest.private("Nothing"))["error"] == ["EGeneral:Unknown method"]
        rest.key, rest.secret = exchange.add_key(permissions=("query-open-trades",))
        assert (await rest.private("Balance"))["error"] == ["EGeneral:Permission denied"]
        assert (await rest.private("GetApiKeyInfo"))["error"] == []


async def test_a_nonce_window_forgives_lateness_but_no_repeat(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        rest.key, rest.secret = exchange.add_key(nonce_window=10)
        assert (await rest.private("Balance", nonce=100))["error"] == []
        assert (await rest.private("Balance", nonce=95))["error"] == []
        assert (await rest.private("Balance", nonce=95))["error"] == ["EAPI:Invalid nonce"]
        assert (await rest.private("Balance", nonce=89))["error"] == ["EAPI:Invalid nonce"]


async def test_otp_bodies_and_query_strings(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        rest.key, rest.secret = exchange.add_key(otp="123456")
        assert (await rest.private("Balance"))["error"][0].startswith("EAuth:")
        assert (await rest.private("Balance", otp="123456"))["error"] == []
        headers = {"API-Key": rest.key, "API-Sign": "AAAA"}
        reply = await rest.http.post("/0/private/Balance?x=1", content="nonce=1", headers=headers)
        assert reply.json()["error"] == ["EAPI:Bad request"]
        headers["Content-Type"] = "application/json"
        reply = await rest.http.post("/0/private/Balance", content="[1]", headers=headers)
        assert reply.json()["error"] == ["EAPI:Bad request"]


@pytest.mark.parametrize(
    ("tier", "calls", "wait_s"), [("starter", 15, 3.1), ("intermediate", 20, 2.1), ("pro", 20, 1.1)]
)
async def test_the_private_counter(
    autojump_clock: MockClock, open_rest: Callable[..., Any], tier: Any, calls: int, wait_s: float
) -> None:
    settings = SandboxSettings(tier=tier)
    async with (
        open_sandbox(memory=True, settings=settings) as exchange,
        open_rest(exchange) as rest,
    ):
        for _ in range(calls):
            assert (await rest.private("Balance"))["error"] == []
        assert (await rest.private("Balance"))["error"] == ["EAPI:Rate limit exceeded"]
        await trio.sleep(wait_s)
        assert (await rest.private("Balance"))["error"] == []
        assert (await rest.private("Ledgers"))["error"] == ["EAPI:Rate limit exceeded"]
        await trio.sleep(4 * wait_s)
        assert (await rest.private("Ledgers"))["error"] == []


async def test_many_bad_keys_lock_out_even_the_good_one(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        good = rest.key
        rest.key = "wrong"
        for _ in range(8):
            assert (await rest.private("Balance"))["error"] == ["EAPI:Invalid key"]
        rest.key = good
        assert (await rest.private("Balance"))["error"] == ["EGeneral:Temporary lockout"]
        await trio.sleep(901)
        assert (await rest.private("Balance"))["error"] == []


async def test_public_limits_per_ip_and_pair(
    autojump_clock: MockClock, open_rest: Callable[..., Any]
) -> None:
    async with open_sandbox(memory=True) as exchange, open_rest(exchange) as rest:
        for _ in range(15):
            assert await rest.errors("Time") == []
        assert await rest.errors("Time") == ["EGeneral:Too many requests"]
        await trio.sleep(30)
        for _ in range(60):  # one a second is always fine
            assert await rest.errors("Trades", pair="XBTUSD", count=1) == []
            await trio.sleep(1)
    settings = SandboxSettings(pair_burst=2, public_burst=100)
    async with (
        open_sandbox(memory=True, settings=settings) as exchange,
        open_rest(exchange) as rest,
    ):
        errors = [await rest.errors("OHLC", pair="XBTUSD") for _ in range(3)]
        assert errors == [[], [], ["EGeneral:Too many requests"]]
        assert await rest.errors("OHLC", pair="ETHUSD") == []
        assert exchange.rest_refusals == {"EGeneral:Too many requests": 1}
    settings = SandboxSettings(limits=False)
    async with (
        open_sandbox(memory=True, settings=settings) as exchange,
        open_rest(exchange) as rest,
    ):
        for _ in range(50):
            assert await rest.errors("Time") == []
