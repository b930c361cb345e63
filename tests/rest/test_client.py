"""The client against a scripted server: what is sent, what comes back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import httpx
import msgspec
import pytest
import trio

from krakked._errors import Action, NoCredentialsError, RequestError, ServiceError
from krakked._rest import http as exchange

SECRET = bytes(range(64))


def signature(path: str, nonce: str, body: bytes) -> str:
    digest = hashlib.sha256(nonce.encode() + body).digest()
    return base64.b64encode(hmac.new(SECRET, path.encode() + digest, "sha512").digest()).decode()


async def test_public_is_a_get_with_a_query_and_a_user_agent(
    autojump_clock, server, open_client
) -> None:
    server.script = [{"error": [], "result": {"unixtime": 5}}]
    async with open_client() as client:
        assert await client.public("Time", {"a": "x y", "b": None, "c": ["p", "q"]}) == {
            "unixtime": 5
        }
    request = server.requests[0]
    assert request.method == "GET"
    assert str(request.url) == "https://api.kraken.com/0/public/Time?a=x+y&c=p%2Cq"
    assert request.headers["user-agent"].startswith("krakked/")
    assert "api-key" not in request.headers


async def test_private_is_a_signed_post_without_a_query(
    autojump_clock, server, open_client
) -> None:
    server.script = [{"error": [], "result": {"ZUSD": "1.5"}}]
    async with open_client() as client:
        answer = await client.private("Balance", {"asset": "ZUSD", "flag": True}, otp="123 456")
    assert answer == {"ZUSD": "1.5"}
    request = server.requests[0]
    assert request.method == "POST"
    assert str(request.url) == "https://api.kraken.com/0/private/Balance"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    form = server.forms()[0]
    assert form | {"nonce": ""} == {"nonce": "", "asset": "ZUSD", "flag": "true", "otp": "123 456"}
    assert request.content.startswith(b"nonce=")
    assert request.headers["api-sign"] == signature(
        "/0/private/Balance", form["nonce"], request.content
    )
    assert len(form["nonce"]) == 19  # nanoseconds


async def test_a_private_call_as_json_signs_the_bytes_it_sends(
    autojump_clock, server, open_client
) -> None:
    async with open_client() as client:
        await client.private("Level3", {"pair": "BTC/USD", "depth": 10}, json=True)
    request = server.requests[0]
    assert request.headers["content-type"] == "application/json"
    sent = json.loads(request.content)
    assert sent == {"nonce": sent["nonce"], "pair": "BTC/USD", "depth": 10}
    assert request.headers["api-sign"] == signature(
        "/0/private/Level3", sent["nonce"], request.content
    )


async def test_private_calls_need_credentials(autojump_clock, server, open_client) -> None:
    async with open_client(keyless=True) as client:
        with pytest.raises(NoCredentialsError):
            await client.private("Balance")
    assert server.requests == []


@pytest.mark.parametrize("name", ["/0/public/Time", "Time?x=1", "../Time", "", "Ti me"])
async def test_odd_endpoint_names_are_refused_before_sending(
    autojump_clock, server, open_client, name
) -> None:
    async with open_client() as client:
        with pytest.raises(RequestError):
            await client.public(name)
        with pytest.raises(RequestError):
            await client.private(name)
    assert server.requests == []


async def test_the_nonce_is_not_the_callers_to_give(autojump_clock, server, open_client) -> None:
    async with open_client() as client:
        with pytest.raises(RequestError):
            await client.private("Balance", {"nonce": 1})
    assert server.requests == []


async def test_public_bytes_gives_the_body_as_it_came(autojump_clock, server, open_client) -> None:
    body = b'{"error":[],"result":{"x":1.50}}'
    server.script = [
        httpx.Response(200, content=body, headers={"content-type": "application/json"})
    ]
    async with open_client() as client:
        assert await client.public_bytes("Assets") == body


async def test_warnings_are_kept_and_do_not_fail_a_call(
    autojump_clock, server, open_client
) -> None:
    server.script = [{"error": ["WDatabase: No change"], "result": {"x": 1}}]
    async with open_client() as client:
        assert await client.public("Assets") == {"x": 1}
        (warning,) = client.reachability().warnings
    assert (warning.endpoint, warning.text) == ("Assets", "WDatabase:No change")


async def test_a_custom_base_url_keeps_the_signed_path(autojump_clock, server, open_client) -> None:
    async with open_client(base_url="http://127.0.0.1:9/") as client:
        await client.private("Balance")
    request = server.requests[0]
    assert str(request.url) == "http://127.0.0.1:9/0/private/Balance"
    nonce = server.forms()[0]["nonce"]
    assert request.headers["api-sign"] == signature("/0/private/Balance", nonce, request.content)


async def test_redirects_are_not_followed(autojump_clock, server, open_client) -> None:
    server.script = [httpx.Response(302, headers={"location": "https://evil.example/"})]
    async with open_client() as client:
        with pytest.raises(ServiceError) as caught:
            await client.private("Balance")
    assert caught.value.code == "HTTP 302"
    assert len(server.requests) == 1


async def test_a_403_of_the_servers_in_front_holds_public_calls_for_a_minute(
    autojump_clock, server, open_client
) -> None:
    blocked = httpx.Response(403, text="error 1015", headers={"content-type": "text/html"})
    async with open_client() as client:
        server.script = [blocked]
        with pytest.raises(ServiceError, match="403"):
            await client.public("SystemStatus")
        began = trio.current_time()
        server.script = [httpx.Response(200, json={"error": [], "result": {}})]
        await client.public("SystemStatus")
        assert trio.current_time() - began >= 59


async def test_reachability_tells_what_the_calls_met(autojump_clock, server, open_client) -> None:
    async with open_client() as client:
        before = client.reachability()
        assert (before.reachable, before.last_error, before.last_ok_age_s) == (None, None, None)
        await client.public("Time")
        assert client.reachability().reachable is True
        server.script = ["EQuery:Unknown asset pair"]
        with pytest.raises(RequestError):
            await client.public("Ticker", {"pair": "NOPE"})
        refused = client.reachability()
        assert refused.reachable is True  # the API answered
        assert "Unknown asset pair" in (refused.last_error or "")
        server.script = [httpx.Response(503)] * 3
        with pytest.raises(ServiceError):
            await client.public("Time")
        down = client.reachability()
        assert down.reachable is False
        assert down.last_ok_age_s is not None
        assert down.last_ok_age_s > 0
        assert down.limiter.private_counter is None


@pytest.mark.parametrize(("timeout_s", "connect_s"), [(30.0, 10.0), (4.0, 4.0)])
async def test_every_phase_has_its_own_time_limit(
    autojump_clock, server, open_client, timeout_s, connect_s
) -> None:
    async with open_client(timeout_s=timeout_s) as client:
        await client.public("Time")
    assert server.requests[0].extensions["timeout"] == {
        "connect": connect_s,
        "write": connect_s,
        "read": timeout_s,
        "pool": timeout_s,
    }


async def test_cookies_are_dropped(autojump_clock, server, open_client) -> None:
    """Cloudflare sets some; kept, they would tie all calls of a machine together."""
    server.answer = lambda _: httpx.Response(
        200,
        json={"error": [], "result": {}},
        headers={"set-cookie": "__cf_bm=track-me; Path=/; Domain=kraken.com; Secure; HttpOnly"},
    )
    async with open_client() as client:
        for _ in range(2):
            await client.public("Time")
            await client.private("Balance")
    assert [request.headers.get("cookie") for request in server.requests] == [None] * 4


ZIPS = {"with a member": b"PK\x03\x04" + bytes(60), "empty": b"PK\x05\x06" + bytes(18)}


@pytest.mark.parametrize("kind", ["application/zip", "application/octet-stream", ""])
@pytest.mark.parametrize("name", ZIPS)
async def test_an_export_is_readable_as_bytes(
    autojump_clock, server, open_client, name, kind
) -> None:
    server.answer = lambda _: httpx.Response(
        200, content=ZIPS[name], headers={"content-type": kind}
    )
    async with open_client() as client:
        assert await client.private_bytes("RetrieveExport", {"id": "ABCD"}) == ZIPS[name]
        assert client.reachability().reachable
        with pytest.raises(ServiceError, match="a zip file, which private_bytes would give"):
            await client.private("RetrieveExport", {"id": "ABCD"})
    assert server.forms()[0]["id"] == "ABCD"
    assert "application/zip" in server.requests[0].headers["accept"]


async def test_an_export_that_is_refused_or_cut_is_no_file(
    autojump_clock, server, open_client
) -> None:
    async with open_client() as client:
        server.script = ["EGeneral:Invalid arguments:id"]
        with pytest.raises(RequestError):
            await client.private_bytes("RetrieveExport", {"id": "X"})
        for content, kind in ((b"<html>", "text/html"), (b"P", "application/zip")):
            server.script = [httpx.Response(200, content=content, headers={"content-type": kind})]
            with pytest.raises(ServiceError, match="content type"):
                await client.private_bytes("RetrieveExport", {"id": "X"})
        server.script = [{"error": [], "result": {"a": 1}}]
        assert json.loads(await client.private_bytes("Balance"))["result"] == {"a": 1}
    assert len(server.requests) == 4


async def test_a_file_may_be_larger_than_other_answers(
    autojump_clock, server, open_client, monkeypatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_BODY_BYTES", 1 << 20)
    monkeypatch.setattr(exchange, "MAX_FILE_BYTES", 3 << 20)

    async def chunks(size: int):
        yield b"PK\x03\x04"
        yield bytes(size - 4)

    def zip_of(size: int) -> httpx.Response:
        return httpx.Response(
            200, content=chunks(size), headers={"content-type": "application/zip"}
        )

    async with open_client() as client:
        server.script = [zip_of(3 << 20)]
        assert len(await client.private_bytes("RetrieveExport")) == 3 << 20
        for call, size in ((client.private_bytes, (3 << 20) + 1), (client.private, (1 << 20) + 1)):
            server.script = [zip_of(size)]
            with pytest.raises(ServiceError, match="more than"):
                await call("RetrieveExport")


def test_the_limits_of_sizes() -> None:
    assert exchange.MAX_BODY_BYTES == 16 << 20
    assert exchange.MAX_FILE_BYTES == 256 << 20


class Spread(msgspec.Struct):
    """What a user wants of an endpoint that has no method of its own."""

    last: int


async def test_an_answer_is_decoded_into_what_is_wanted(
    autojump_clock, server, open_client
) -> None:
    server.script = [
        {"error": [], "result": {"last": 7, "more": [1]}},
        {"error": [], "result": {"ZUSD": "1.5"}},
        {"error": [], "result": {"last": "x"}},
        {"error": [], "result": {"descr": {}, "txid": [1]}},
        {"error": [], "result": None},
    ]
    async with open_client() as client:
        assert await client.public("Spread", {"pair": "XBTUSD"}, reply=Spread) == Spread(last=7)
        assert await client.private("Balance", reply=dict[str, str]) == {"ZUSD": "1.5"}
        with pytest.raises(ServiceError) as read:
            await client.public("Spread", reply=Spread)
        assert read.value.code == "unreadable answer"
        # An order was perhaps placed, whatever its answer looks like, or were it none.
        for _ in range(2):
            with pytest.raises(ServiceError) as written:
                await client.private("AddOrder", {"pair": "XBTUSD"}, reply=dict[str, str])
            assert written.value.action is Action.LOOK_UP_OUTCOME
            assert not written.value.retryable
    assert len(server.requests) == 5
