"""One-time passwords: asked for each sending, never sent twice, wherever a private call is made."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from krakked._errors import AuthError, KrakkedError, RequestError, ServiceError
from krakked._rest.otp import OneTimePassword
from krakked._rest.request import PrivateCall

TYPED = {
    "balance": {"ZUSD": "1"},
    "balance_ex": {"ZUSD": {"balance": "1"}},
    "api_key_info": {"apiKeyName": "k", "permissions": []},
    "websockets_token": {"token": "t", "expires": 900},
}


def sent_codes(server) -> list[str | None]:
    return [
        json.loads(each.content).get("otp")
        if each.content.startswith(b"{")
        else httpx.QueryParams(each.content.decode()).get("otp")
        for each in server.requests
    ]


def counting(codes: list[str]) -> Callable[[], str]:
    """Give the codes one after the other, and the last one for ever."""

    def give() -> str:
        return codes.pop(0) if len(codes) > 1 else codes[0]

    return give


CARRIERS = {
    "argument": lambda code: {"otp": code},
    "in data": lambda code: {"data": {"otp": code}},
    "argument, json": lambda code: {"otp": code, "json": True},
    "in data, json": lambda code: {"data": {"otp": code}, "json": True},
}
"""The ways in which a caller may give a code."""


@pytest.fixture(params=CARRIERS)
def carried(request: pytest.FixtureRequest) -> Callable[[object], dict[str, Any]]:
    return CARRIERS[request.param]


@pytest.mark.parametrize("name", TYPED)
async def test_typed_calls_take_a_code(autojump_clock, server, open_client, name) -> None:
    server.answer = lambda _: {"error": [], "result": TYPED[name]}
    async with open_client() as client:
        await getattr(client, name)(otp="012345")
        await getattr(client, name)(otp=lambda: "543210")
        await getattr(client, name)()
    assert sent_codes(server) == ["012345", "543210", None]


@pytest.mark.parametrize(
    "failure", ["EService:Unavailable", "EAPI:Invalid nonce", "EAPI:Rate limit exceeded", "504"]
)
async def test_a_code_is_sent_once(autojump_clock, server, open_client, carried, failure) -> None:
    server.answer = lambda _: httpx.Response(504) if failure == "504" else failure
    async with open_client() as client:
        with pytest.raises(KrakkedError) as caught:
            await client.private("Balance", **carried("123456"))
        assert failure in str(caught.value)
        assert client.reachability().limiter.retry_budget == 500
    assert sent_codes(server) == ["123456"]


async def test_a_function_is_asked_for_each_sending(
    autojump_clock, server, open_client, carried
) -> None:
    server.answer = lambda _: httpx.Response(503)
    source = counting(["111111", "222222", "333333", "444444"])
    async with open_client() as client:
        with pytest.raises(ServiceError):
            await client.private("Balance", **carried(source))
    assert sent_codes(server) == ["111111", "222222", "333333"]


async def test_a_function_without_a_new_code_ends_the_retries(
    autojump_clock, server, open_client
) -> None:
    server.answer = lambda _: httpx.Response(503)
    async with open_client() as client:
        with pytest.raises(ServiceError, match="503") as caught:
            await client.private("Balance", otp=counting(["111111", "222222"]))
    assert sent_codes(server) == ["111111", "222222"]
    assert caught.value.__context__ is None


async def test_one_object_remembers_over_several_calls(autojump_clock, server, open_client) -> None:
    code = OneTimePassword("123456")
    async with open_client() as client:
        await client.private("Balance", otp=code)
        with pytest.raises(RequestError, match="was sent before") as caught:
            await client.balance_ex(otp=OneTimePassword(code))
    assert caught.value.code == "one-time password"
    assert sent_codes(server) == ["123456"]


async def test_what_never_left_this_machine_is_not_spent(
    autojump_clock, server, open_client
) -> None:
    server.script = [httpx.ConnectError("no"), {"error": [], "result": {"ZUSD": "1"}}]
    async with open_client() as client:
        assert await client.private("Balance", otp="123456") == {"ZUSD": "1"}
    assert sent_codes(server) == ["123456", "123456"]  # the first was never on the wire


async def test_a_write_is_sent_once_with_a_function_too(
    autojump_clock, server, open_client
) -> None:
    server.answer = lambda _: httpx.Response(503)
    async with open_client() as client:
        with pytest.raises(ServiceError):
            await client.private("AddOrder", otp=counting(["1", "2", "3"]))
    assert sent_codes(server) == ["1"]


@pytest.mark.parametrize(
    "case",
    [
        (123456, "must be text, as leading zeros count, and not int"),
        (b"123456", "not bytes"),
        (lambda: 123456, "not int"),
        (lambda: None, "not NoneType"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("\ud800", "cannot be sent"),
    ],
)
async def test_what_is_no_code_is_refused_before_sending(
    autojump_clock, server, open_client, carried, case
) -> None:
    given, told = case
    async with open_client() as client:
        with pytest.raises(RequestError, match=told) as caught:
            await client.private("Balance", **carried(given))
        assert client.reachability().limiter.private_counter == 0
    assert caught.value.code == "one-time password"
    assert server.requests == []


async def test_white_space_around_a_code_is_cut_off(autojump_clock, server, open_client) -> None:
    async with open_client() as client:
        await client.private("Balance", otp=" 123456\n")
        await client.private("Balance", {"otp": None})
    assert sent_codes(server) == ["123456", None]


async def test_two_codes_for_one_call_are_refused(autojump_clock, server, open_client) -> None:
    async with open_client() as client:
        with pytest.raises(RequestError, match="give it once"):
            await client.private("Balance", {"otp": "1"}, otp="2")
    assert server.requests == []


async def test_an_error_of_the_function_comes_through_and_costs_nothing(
    autojump_clock, server, open_client
) -> None:
    def broken() -> str:
        raise RuntimeError("no authenticator")

    async with open_client() as client:
        with pytest.raises(RuntimeError, match="no authenticator"):
            await client.private("Balance", otp=broken)
        assert client.reachability().limiter.private_counter == 0
        await client.private("Balance", otp="1")  # the key is free again
    assert sent_codes(server) == ["1"]


@pytest.mark.parametrize("text", ["EGeneral:Permission denied", "EAPI:Invalid signature"])
async def test_a_second_factor_is_hinted_at(autojump_clock, server, open_client, text) -> None:
    server.script = [text]
    async with open_client() as client:
        with pytest.raises(AuthError, match="otp"):
            await client.balance()


def test_a_one_time_password_shows_nothing() -> None:
    code = OneTimePassword("hide-me-123456")
    assert "hide-me" not in repr(code)
    assert "hide-me" not in repr([getattr(code, name) for name in code.__slots__])
    with pytest.raises(TypeError):
        pickle.dumps(code)
    assert not code.exhausted
    assert code.fresh("Balance") == "hide-me-123456"
    assert code.exhausted
    assert code.fresh("Balance") is None
    code.not_sent(hash("hide-me-123456"))
    assert not code.exhausted


def test_not_sent_is_told_for_nothing_before_signing_and_after_dropping(credentials) -> None:
    call = PrivateCall("Balance", otp="123456")
    call.not_sent()
    assert call.may_repeat
    assert b"otp=123456" in call.sign(credentials, 5).body()
    assert not call.may_repeat
    call.not_sent()
    assert call.may_repeat
    call.drop()
    call.not_sent()  # as when the call was cancelled meanwhile
