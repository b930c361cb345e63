"""Every way in which a call can end, for calls that read and calls that change something.

A call that changes something and got no proper answer may have taken effect. Its error must never
invite to send it again: orders were doubled that way (veox/python3-krakenex#98,
nothingisdead/npm-kraken-api#37).
"""

from __future__ import annotations

import gzip
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import httpx
import pytest
import trio

from krakked._config.settings import RestSettings
from krakked._errors import (
    Action,
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
    RequestError,
    ServiceError,
)
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._rest.client import RestClient
from krakked._rest.models import ENDPOINTS
from krakked._rest.retries import advise

JSON_TYPE = {"content-type": "application/json"}


class Exit(NamedTuple):
    """One way out: what the server does, and what a read is told."""

    reply: Callable[[], object]
    kind: type[KrakkedError]
    retryable: bool
    action: str
    known: bool = False
    """Whether it is certain that nothing was done; else a write has to be looked up."""


def http(status: int, **headers: str) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(
        status, text="<html>", headers={"content-type": "text/html"} | headers
    )


def body(content: bytes, **headers: str) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(200, content=content, headers=JSON_TYPE | headers)


def stream(content: bytes, **headers: str) -> Callable[[], httpx.Response]:
    """Answer in chunks, as real sockets do: then the client unpacks."""

    async def chunks():
        yield content

    return lambda: httpx.Response(200, content=chunks(), headers=JSON_TYPE | headers)


def fault(error: Exception) -> Callable[[], Exception]:
    return lambda: error


def text(code: str) -> Callable[[], dict[str, object]]:
    return lambda: {"error": [code]}


SERVICE = (ServiceError, True, "retry")
BLOCKED = (ServiceError, False, "check_system_status")
BAD_REQUEST = (RequestError, False, "fix_request", True)
COUNTER = (RateLimitError, True, "wait", True)
CUT = (DisconnectedError, True, "retry")

EXITS = {
    # the servers in front
    "204": Exit(http(204), *BLOCKED),
    "301": Exit(http(301, location="https://api.kraken.com/elsewhere"), *BLOCKED),
    "302": Exit(http(302, location="https://api.kraken.com/elsewhere"), *BLOCKED),
    "308": Exit(http(308, location="/0/private/AddOrder"), *BLOCKED),
    "400": Exit(http(400), *BAD_REQUEST),
    "401": Exit(http(401), *BLOCKED),
    "403": Exit(http(403), *BLOCKED),
    "404": Exit(http(404), *BAD_REQUEST),
    "408": Exit(http(408), *SERVICE),
    "409": Exit(http(409), *BLOCKED),
    "413": Exit(http(413), *BAD_REQUEST),
    "425": Exit(http(425), *SERVICE),
    "429": Exit(http(429), RateLimitError, True, "wait"),
    "500": Exit(http(500), *SERVICE),
    "502": Exit(http(502), *SERVICE),
    "503": Exit(http(503), *SERVICE),
    "504": Exit(http(504), *SERVICE),
    "520": Exit(http(520), *SERVICE),
    "522": Exit(http(522), *SERVICE),
    "524": Exit(http(524), *SERVICE),
    "525": Exit(http(525), *SERVICE),
    "530": Exit(http(530), *SERVICE),
    "502 with a refusal in JSON": Exit(
        lambda: httpx.Response(502, json={"error": ["EOrder:Insufficient funds"]}), *SERVICE
    ),
    # bodies
    "html": Exit(http(200), *SERVICE),
    "no content type": Exit(lambda: httpx.Response(200, content=b"{}"), *SERVICE),
    "empty": Exit(body(b""), *SERVICE),
    "cut JSON": Exit(body(b'{"error":[],"result":{"txid":["OAB'), *SERVICE),
    "no JSON": Exit(body(b"OK"), *SERVICE),
    "another JSON": Exit(body(b"[1,2]"), *SERVICE),
    "no result": Exit(body(b'{"error":[]}'), *SERVICE),
    "an empty object": Exit(body(b"{}"), *SERVICE),
    "a result that is no JSON": Exit(body(b'{"error":[],"result":NaN}'), *SERVICE),
    "a result that is no UTF-8": Exit(body(b'{"error":[],"result":"\xff"}'), *SERVICE),
    "a number for errors": Exit(body(b'{"error":5,"result":{}}'), *SERVICE),
    "only a warning": Exit(text("WDatabase:No change"), *SERVICE),
    "only an odd text": Exit(text("try later"), *SERVICE),
    "UTF-16": Exit(body('{"error":[],"result":{}}'.encode("utf-16")), *SERVICE),
    "broken gzip": Exit(stream(b"no gzip", **{"content-encoding": "gzip"}), *SERVICE),
    "cut gzip": Exit(stream(gzip.compress(b"{}")[:-9], **{"content-encoding": "gzip"}), *SERVICE),
    "brotli": Exit(stream(b"\x0b\x02", **{"content-encoding": "br"}), *SERVICE),
    "too large": Exit(stream(bytes((16 << 20) + 1)), ServiceError, False, "fix_request"),
    "DecodingError": Exit(fault(httpx.DecodingError("zlib")), *SERVICE),
    # Kraken in trouble
    "EService:Unavailable": Exit(text("EService:Unavailable"), *SERVICE),
    "EService:Busy": Exit(text("EService:Busy"), *SERVICE),
    "EService:Timeout": Exit(text("EService:Timeout"), *SERVICE),
    "EGeneral:Internal error": Exit(text("EGeneral:Internal error"), *SERVICE),
    "a text that nobody knows": Exit(text("EGeneral:Odd"), ApiError, False, "fix_request"),
    # Kraken's refusals
    "EOrder": Exit(text("EOrder:Insufficient funds"), *BAD_REQUEST),
    "EGeneral:Invalid arguments": Exit(text("EGeneral:Invalid arguments:volume"), *BAD_REQUEST),
    "EAPI:Invalid nonce": Exit(text("EAPI:Invalid nonce"), NonceError, True, "retry", True),
    "EAPI:Invalid key": Exit(text("EAPI:Invalid key"), AuthError, False, "fix_credentials", True),
    "EOrder:Rate limit": Exit(text("EOrder:Rate limit exceeded"), *COUNTER),
    "EAPI:Rate limit": Exit(text("EAPI:Rate limit exceeded"), *COUNTER),
    "lockout": Exit(text("EGeneral:Temporary lockout"), LockoutError, True, "wait", True),
    "cancel_only": Exit(text("EService:Market in cancel_only mode"), *BLOCKED, True),
    "deadline": Exit(
        text("EService:Deadline elapsed"), ServiceError, False, "fix_request", True
    ),
    # a refusal, and more than that
    "a refusal beside a result": Exit(
        lambda: {"error": ["EOrder:Insufficient funds"], "result": {"txid": ["O1"]}},
        RequestError, False, "fix_request",
    ),
    "too many requests beside a result": Exit(
        lambda: {"error": ["EGeneral:Too many requests"], "result": {"txid": ["O1"]}},
        RateLimitError, True, "wait",
    ),
    "a nonce refused beside a result": Exit(
        lambda: {"error": ["EAPI:Invalid nonce"], "result": True}, NonceError, True, "retry"
    ),
    "a refusal and trouble": Exit(
        lambda: {"error": ["EOrder:Rate limit exceeded", "EService:Timeout"]},
        RateLimitError, True, "wait",
    ),
    "two refusals": Exit(
        lambda: {"error": ["EOrder:Insufficient funds", "EOrder:Tick size check failed"]},
        *BAD_REQUEST,
    ),
    "a refusal and no result, said": Exit(
        lambda: {"error": ["EOrder:Insufficient funds"], "result": None}, *BAD_REQUEST
    ),
    # the network
    "ConnectError": Exit(fault(httpx.ConnectError("no")), ConnectFailedError, True, "retry", True),
    "ConnectTimeout": Exit(
        fault(httpx.ConnectTimeout("")), ConnectFailedError, True, "retry", True
    ),
    "PoolTimeout": Exit(fault(httpx.PoolTimeout("")), ConnectFailedError, True, "retry", True),
    "ProxyError": Exit(fault(httpx.ProxyError("407")), ConnectFailedError, True, "retry", True),
    "untrusted": Exit(
        fault(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]")),
        ConnectFailedError, False, "check_network", True,
    ),
    "LocalProtocolError": Exit(
        fault(httpx.LocalProtocolError("header")), NetworkError, False, "fix_request", True
    ),
    "ReadTimeout": Exit(fault(httpx.ReadTimeout("")), NetworkTimeoutError, True, "retry"),
    "WriteTimeout": Exit(fault(httpx.WriteTimeout("")), NetworkTimeoutError, True, "retry"),
    "ReadError": Exit(fault(httpx.ReadError("reset")), *CUT),
    "WriteError": Exit(fault(httpx.WriteError("pipe")), *CUT),
    "CloseError": Exit(fault(httpx.CloseError("")), *CUT),
    "RemoteProtocolError": Exit(fault(httpx.RemoteProtocolError("cut")), *CUT),
    "OSError": Exit(fault(OSError(5, "io")), NetworkError, False, "check_network"),
    "TypeError": Exit(fault(TypeError("a bug")), NetworkError, False, "check_network"),
    "TooManyRedirects": Exit(
        fault(httpx.TooManyRedirects("")), NetworkError, False, "check_network"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXITS)
async def test_what_a_read_is_told(autojump_clock, server, open_client, name) -> None:
    exit_ = EXITS[name]
    server.answer = lambda _: exit_.reply()
    async with open_client() as client:
        for call in (client.public, client.private):
            with pytest.raises(KrakkedError) as caught:
                await call("Balance")
            error = caught.value
            if not error_came_from_the_breaker(error):
                assert type(error) is exit_.kind
                assert (error.retryable, error.action) == (exit_.retryable, exit_.action)  # type: ignore[attr-defined]
                assert error.endpoint == "Balance"  # type: ignore[attr-defined]


@pytest.mark.parametrize("endpoint", ["AddOrder", "Unheard/Of"])
@pytest.mark.parametrize("name", EXITS)
async def test_what_a_write_is_told(autojump_clock, server, open_client, name, endpoint) -> None:
    exit_ = EXITS[name]
    server.answer = lambda _: exit_.reply()
    async with open_client() as client:
        with pytest.raises(KrakkedError) as caught:
            await client.private(endpoint)
    error = caught.value
    assert type(error) is exit_.kind
    if exit_.known:
        assert (error.retryable, error.action) == (exit_.retryable, exit_.action)  # type: ignore[attr-defined]
        assert "look that up" not in str(error)
    else:
        assert (error.retryable, error.action) == (False, Action.LOOK_UP_OUTCOME)  # type: ignore[attr-defined]
        assert str(error).count(f"Whether {endpoint} took effect is not known: look that up") == 1
        assert "did not reach" not in str(error)
    assert len(server.requests) == 1


def error_came_from_the_breaker(error: KrakkedError) -> bool:
    return "was not sent" in str(error)


async def test_a_write_that_hangs_may_have_arrived(autojump_clock, server, open_client) -> None:
    """The overall time-out, which is trio's and not httpx's."""
    server.delay_s = 1000
    async with open_client(timeout_s=5) as client:
        with pytest.raises(NetworkTimeoutError) as caught:
            await client.private("AddOrder")
        assert trio.current_time() == pytest.approx(5, abs=0.1)
    assert (caught.value.retryable, caught.value.action) == (False, Action.LOOK_UP_OUTCOME)
    assert len(server.requests) == 1


def test_advice_is_given_once() -> None:
    error = NetworkError("Cut.", endpoint="AddOrder")
    assert advise(advise(error, read=False), read=False) is error
    assert str(error).count("look that up") == 1
    untouched = NetworkError("Cut.", endpoint="AddOrder")
    assert str(advise(untouched, read=True)) == "Cut."
    assert str(advise(untouched, read=False, sent=False)) == "Cut."
    assert (untouched.retryable, untouched.action) == (True, Action.RETRY)


def test_a_call_counts_as_sent_and_only_a_refusal_says_that_it_did_nothing() -> None:
    def advised(error: ApiError | NetworkError) -> tuple[bool, Action]:
        given = advise(error, read=False)
        assert given is error
        return error.retryable, error.action

    def api(kind: type[ApiError], code: str) -> ApiError:
        return kind("x", code=code, endpoint="AddOrder", retryable=True, action=Action.RETRY)

    unknown = (False, Action.LOOK_UP_OUTCOME)
    kept = (True, Action.RETRY)
    assert advised(NetworkError("x", endpoint="AddOrder")) == unknown
    assert advised(api(ServiceError, "EService:Timeout")) == unknown
    assert advised(api(RequestError, "EService:Timeout")) == unknown  # the table decides first
    assert advised(api(ServiceError, "EOrder:Insufficient funds")) == kept
    assert advised(api(ServiceError, "HTTP 502")) == unknown
    assert advised(api(RequestError, "HTTP 400")) == kept


# --- a bot that does what the error says ----------------------------------------------------------


class Venue:
    """An exchange that books an order, or does not, and then answers as the script says."""

    def __init__(self, script: list[tuple[bool, Callable[[], object]]]) -> None:
        self.script = script
        self.orders: list[str] = []

    def answer(self, request: httpx.Request) -> object:
        form = httpx.QueryParams(request.content.decode())
        if request.url.path.endswith("/OpenOrders"):
            orders = {f"O{at}": {"cl_ord_id": each} for at, each in enumerate(self.orders)}
            return {"error": [], "result": {"open": orders}}
        executes, reply = (
            self.script.pop(0)
            if self.script
            else (True, lambda: {"error": [], "result": {"txid": ["O"]}})
        )
        if executes:
            self.orders.append(form["cl_ord_id"])
        return reply()


async def obedient_bot(client: RestClient, cl_ord_id: str) -> None:
    """Place one order, doing at every error what its `action` says."""
    for _ in range(5):
        try:
            await client.private("AddOrder", {"cl_ord_id": cl_ord_id})
        except (ApiError, NetworkError) as error:
            match error.action:
                case Action.RETRY if error.retryable:
                    continue
                case Action.WAIT if error.retryable:
                    await trio.sleep(getattr(error, "retry_after_s", None) or 1)
                case Action.LOOK_UP_OUTCOME:
                    found = (await client.private("OpenOrders"))["open"].values()
                    if any(order["cl_ord_id"] == cl_ord_id for order in found):
                        return
                case _:
                    raise
        else:
            return
    raise AssertionError("the bot got nowhere")


OPEN_ENDED = [name for name, exit_ in EXITS.items() if not exit_.known]


@pytest.mark.parametrize("name", OPEN_ENDED)
async def test_a_bot_that_obeys_places_one_order(autojump_clock, server, open_client, name) -> None:
    """Executed and then answered badly: one order. Not executed and answered so: one order."""
    for executed in (True, False):
        venue = Venue([(executed, EXITS[name].reply)])
        server.answer = venue.answer
        async with open_client() as client:
            await obedient_bot(client, "one")
        assert venue.orders == ["one"]


@pytest.mark.parametrize(
    "name", ["EAPI:Invalid nonce", "EOrder:Rate limit", "EAPI:Rate limit", "ConnectError"]
)
async def test_a_refused_order_may_be_sent_again(autojump_clock, server, open_client, name) -> None:
    venue = Venue([(False, EXITS[name].reply)])
    server.answer = venue.answer
    async with open_client() as client:
        await obedient_bot(client, "one")
    assert venue.orders == ["one"]


# --- over real sockets ----------------------------------------------------------------------------


def reset(stream: trio.SocketStream) -> None:
    """Close with RST instead of FIN."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def reset_before_reading(stream: trio.SocketStream) -> None:
    reset(stream)


async def reset_after_reading(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    reset(stream)


async def close_after_reading(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await stream.aclose()


async def half_a_head(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-")
    await stream.aclose()


async def half_a_body(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await stream.send_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    )
    await stream.aclose()


async def no_http(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await stream.send_all(b"SSH-2.0-OpenSSH_9.9\r\n")
    await stream.aclose()


async def stall(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await trio.sleep_forever()


BEHAVIOURS = (
    reset_before_reading,
    reset_after_reading,
    close_after_reading,
    half_a_head,
    half_a_body,
    no_http,
    stall,
)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda each: each.__name__)
async def test_a_write_over_a_real_connection_that_ends_badly(credentials, behaviour) -> None:
    connections = 0

    async def serve_one(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await behaviour(stream)

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, serve_one, 0, host="127.0.0.1")
        port = (await nursery.start(serve))[0].socket.getsockname()[1]
        settings = RestSettings(base_url=f"http://127.0.0.1:{port}", timeout_s=0.3)
        async with RestClient(
            settings, network=SystemNetwork(), clock=SystemClock(), credentials=credentials
        ) as client:
            with pytest.raises(NetworkError) as caught:
                await client.private("AddOrder")
        nursery.cancel_scope.cancel()
    assert (caught.value.retryable, caught.value.action) == (False, Action.LOOK_UP_OUTCOME)
    assert connections == 1


async def test_a_write_that_never_left_may_be_sent_again(credentials) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    settings = RestSettings(base_url=f"http://127.0.0.1:{port}")
    async with RestClient(
        settings, network=SystemNetwork(), clock=SystemClock(), credentials=credentials
    ) as client:
        with pytest.raises(ConnectFailedError) as caught:
            await client.private("AddOrder")
    assert (caught.value.retryable, caught.value.action) == (True, Action.RETRY)


# --- which calls only read ------------------------------------------------------------------------

READS = {
    "Balance",
    "BalanceEx",
    "ClosedOrders",
    "CreditLines",
    "DepositMethods",
    "DepositStatus",
    "Earn/Allocations",
    "Earn/Strategies",
    "ExportStatus",
    "GetApiKeyInfo",
    "GetWebSocketsToken",
    "Ledgers",
    "OpenOrders",
    "OpenPositions",
    "OrderAmends",
    "QueryLedgers",
    "QueryOrders",
    "QueryTrades",
    "TradeBalance",
    "TradeVolume",
    "TradesHistory",
    "WithdrawAddresses",
    "WithdrawMethods",
    "WithdrawStatus",
}
WRITES = {
    "AddExport",
    "AddOrder",
    "AddOrderBatch",
    "AmendOrder",
    "CancelAll",
    "CancelAllOrdersAfter",
    "CancelOrder",
    "CancelOrderBatch",
    "CreateSubaccount",
    "DepositAddresses",
    "Earn/Allocate",
    "Earn/AllocateStatus",
    "Earn/Deallocate",
    "EditOrder",
    "Level3",
    "RemoveExport",
    "RetrieveExport",
    "WalletTransfer",
    "Withdraw",
    "WithdrawCancel",
    "WithdrawInfo",
    "AccountTransfer",
    "Nobody/Knows",
    "balance",
    "BALANCE",
    "Balance2",
}


def test_the_calls_that_only_read_are_these_and_no_others() -> None:
    """One more of them would be sent again by itself; what is in doubt is not on the list."""
    private = {name for name, row in ENDPOINTS.items() if row.reads and not row.per_pair}
    assert private == READS
    assert not private & WRITES


@pytest.mark.parametrize("endpoint", sorted(READS | WRITES))
async def test_only_what_reads_is_sent_again(autojump_clock, server, open_client, endpoint) -> None:
    server.answer = lambda _: httpx.Response(503)
    async with open_client() as client:
        with pytest.raises(ServiceError) as caught:
            await client.private(endpoint)
    assert len(server.requests) == (3 if endpoint in READS else 1)
    assert caught.value.retryable is (endpoint in READS)


@pytest.mark.parametrize("result", [None, "", "maintenance", "O1"])
async def test_a_write_that_is_told_no_outcome_has_to_be_looked_up(
    autojump_clock, server, open_client, result
) -> None:
    server.answer = lambda _: {"error": [], "result": result}
    async with open_client() as client:
        with pytest.raises(ServiceError, match="look that up") as caught:
            await client.private("AddOrder", {"pair": "XBTUSD"})
        assert (caught.value.retryable, caught.value.action) == (False, "look_up_outcome")
        server.answer = lambda _: {"error": [], "result": True}
        assert await client.private("Earn/Allocate") is True
    assert len(server.requests) == 2
