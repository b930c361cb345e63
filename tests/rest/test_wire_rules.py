"""Odd fields, odd results, bounds: the small rules behind the typed calls."""

from __future__ import annotations

import gzip
import zlib

import httpx
import pytest

from krakked._errors import (
    AuthError,
    LockoutError,
    NetworkError,
    NetworkTimeoutError,
    RateLimitError,
    ServiceError,
)
from krakked._rest import http, retries
from krakked._rest.bounded_body import ACCEPTED, BodyReader
from krakked._rest.models import (
    ApiKeyInfo,
    AssetPairInfo,
    ExtendedBalance,
    TickerInfo,
    WebSocketsToken,
    parse_api_key_info,
)
from krakked._rest.retries import RetryBudget, pause_s, worth_retrying


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (7, 7), ("7", 7), (" 7 ", 7), ("-7", -7), (7.9, 7), (0, 0), ("0", 0), (None, None),
        (True, None), (False, None), ("", None), ("x", None), ("7.5", None), ([7], None),
        ("--7", None),
    ],
)  # fmt: skip
def test_numbers_of_the_key_info_may_be_text(given, read) -> None:
    assert parse_api_key_info({"nonceWindow": given}).nonce_window == read
    for name in ("validUntil", "queryFrom", "queryTo", "createdTime", "modifiedTime"):
        info = parse_api_key_info({name: given})
        found = {
            "validUntil": info.valid_until_s,
            "queryFrom": info.query_from_s,
            "queryTo": info.query_to_s,
            "createdTime": info.created_s,
            "modifiedTime": info.modified_s,
        }
        assert found == dict.fromkeys(found) | {name: read or None}, "0 is unset"


def test_texts_of_the_key_info() -> None:
    assert parse_api_key_info({}) == ApiKeyInfo()
    info = parse_api_key_info({
        "apiKeyName": 5, "permissions": ["a", 7, "b"], "ip_allowlist": "1.2.3.4", "lastUsed": 9,
    })  # fmt: skip
    assert (info.name, info.permissions, info.ip_allowlist, info.last_used) == (
        "5", ("a", "b"), (), "9",
    )  # fmt: skip
    assert parse_api_key_info({"apiKeyName": None}).name == ""


def test_what_is_assumed_where_kraken_is_silent() -> None:
    pair = AssetPairInfo(altname="X")
    assert (pair.aclass_base, pair.aclass_quote, pair.status) == ("currency", "currency", "")
    assert pair.wsname is None
    assert (pair.pair_decimals, pair.lot_decimals, pair.lot_multiplier) == (None, None, None)
    assert (pair.leverage_buy, pair.leverage_sell) == ((), ())
    assert TickerInfo() == TickerInfo(a=(), b=(), c=(), v=(), p=(), t=(), l=(), h=(), o="")
    nothing = ExtendedBalance()
    assert {nothing.balance, nothing.credit, nothing.credit_used, nothing.hold_trade} == {"0"}
    token = WebSocketsToken(token="MARKER")
    assert (token.expires, repr(token)) == (900, "WebSocketsToken(***, expires=900)")
    assert list(token.__rich_repr__()) == [("expires", 900)]


OHLC_ROW = '[1790000000,"1","1","1","1","1","1",1]'


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (f'{{"X":[{OHLC_ROW}]}}', "no usable `last`"),
        (f'{{"X":[{OHLC_ROW}],"last":"x"}}', "no usable `last`"),
        (f'{{"X":[{OHLC_ROW}],"last":-1}}', "no usable `last`"),
        (f'{{"X":[{OHLC_ROW}],"last":[]}}', "no usable `last`"),
        ('{"last":1}', "not exactly one pair"),
        ('{"X":[],"Y":[],"last":1}', "not exactly one pair"),
        ('{"X":5,"last":1}', "not exactly one pair"),
        ('{"X":"5","last":1}', "not exactly one pair"),
        ('{"X":[[1]],"last":1}', "not readable"),
        ("[]", "not readable"),
    ],
)
async def test_odd_results_of_ohlc(autojump_clock, server, open_client, result, told) -> None:
    server.answer = lambda _: httpx.Response(
        200, content=f'{{"error":[],"result":{result}}}',
        headers={"content-type": "application/json"},
    )  # fmt: skip
    async with open_client() as client:
        with pytest.raises(ServiceError, match=told):
            await client.ohlc("X", 1)


async def test_what_is_asked_for(autojump_clock, server, open_client) -> None:
    server.answer = lambda _: {"error": [], "result": {"X": [], "last": "5"}}
    async with open_client() as client:
        assert (await client.ohlc("X", 5)).last == 5
        await client.ohlc("X", 5, since_s=0)
        assert (await client.trades("X", 7)).last_ns == 5
        await client.trades_bytes("X", 8, 3)
        await client.asset_pairs_bytes()
        server.answer = lambda _: {"error": [], "result": {}}
        await client.asset_pairs()
        await client.asset_pairs(country_code="US:CA")
    assert [dict(request.url.params) for request in server.requests] == [
        {"pair": "X", "interval": "5"},
        {"pair": "X", "interval": "5", "since": "0"},
        {"pair": "X", "since": "7", "count": "1000"},
        {"pair": "X", "since": "8", "count": "3"},
        {},
        {},
        {"country_code": "US:CA"},
    ]


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_of_exactly_the_limit_is_taken(packed) -> None:
    for size, fits in ((999, True), (1000, True), (1001, False)):
        reader = BodyReader("gzip" if packed else "", 1000)
        content = gzip.compress(bytes(size)) if packed else bytes(size)
        assert reader.feed(content) is fits
        assert len(reader.body()) == (size if fits else 0)
        assert reader.too_large is not fits
        assert reader.feed(b"more") is False or fits


def test_a_body_of_exactly_the_limit_byte_by_byte() -> None:
    for size, fits in ((1000, True), (1001, False)):
        reader = BodyReader("gzip", 1000)
        taken = [reader.feed(bytes([byte])) for byte in gzip.compress(bytes(size))]
        assert all(taken) is fits
        assert (reader.body() == bytes(size)) is fits


def test_broken_packing_is_told_at_once() -> None:
    reader = BodyReader("gzip", 1000)
    assert reader.feed(b"no gzip") is False
    assert reader.problem == "its compression is broken"
    assert reader.body() == b""


def test_packed_bytes_count_as_well() -> None:
    noise = zlib.compressobj(0, zlib.DEFLATED, 31)  # stored: larger than what it holds
    packed = noise.compress(bytes(995)) + noise.flush()
    assert len(packed) > 1000
    reader = BodyReader("gzip", 1000)
    assert reader.feed(packed) is False
    assert reader.too_large


def test_what_follows_a_packed_body_and_what_encodings_are_known() -> None:
    assert ACCEPTED == "gzip"
    for known in ("gzip", " GZIP ", "identity", "", " "):
        assert BodyReader(known, 10).problem is None
    for unknown in ("br", "deflate", "zstd", "gzip, br", "x-gzip"):
        reader = BodyReader(unknown, 10)
        assert reader.problem == "a compression that was not asked for"
        assert reader.feed(b"x") is False
        assert reader.body() == b""
        assert not reader.too_large
    assert BodyReader("gzip", 10).body() == b""


def test_time_limits() -> None:
    assert http.CONNECT_TIMEOUT_S == 10.0
    assert http.WRITE_TIMEOUT_S == 10.0
    assert http.CLOSE_TIMEOUT_S == 2.0


# --- retries --------------------------------------------------------------------------------------


def service(**more: object) -> ServiceError:
    return ServiceError("x", code="HTTP 503", endpoint="X", **{"retryable": True} | more)


def test_how_often_and_how_long() -> None:
    assert (retries.MAX_ATTEMPTS, retries.FIRST_PAUSE_S) == (3, 0.5)
    assert (retries.LONGEST_PAUSE_S, retries.LONGEST_HOLD_S) == (8.0, 60.0)
    for error in (NetworkError("x"), service()):
        assert [worth_retrying(error, attempt=n, read=True) for n in (1, 2, 3, 4)] == [
            True, True, False, False,
        ]  # fmt: skip
        assert [pause_s(error, attempt=n, chance=1.0) for n in (1, 2, 3, 4, 5, 6)] == [
            0.5, 1.0, 2.0, 4.0, 8.0, 8.0,
        ]  # fmt: skip
        assert pause_s(error, attempt=2, chance=0.5) == 0.5
    assert not worth_retrying(NetworkError("x", retryable=False), attempt=1, read=True)
    assert not worth_retrying(service(retryable=False), attempt=1, read=True)
    assert not worth_retrying(service(), attempt=1, read=False)
    auth = AuthError("x", code="E", endpoint="X")
    assert not worth_retrying(auth, attempt=1, read=True)
    assert not worth_retrying(OSError("x"), attempt=1, read=True)


def test_a_stated_wait_is_kept_up_to_a_minute() -> None:
    for seconds, worth in ((0.0, True), (59.9, True), (60.0, True), (60.1, False), (900.0, False)):
        assert worth_retrying(service(retry_after_s=seconds), attempt=1, read=True) is worth
    assert pause_s(service(retry_after_s=20.0), attempt=1, chance=1.0) == 20.5
    assert pause_s(service(retry_after_s=20.0), attempt=2, chance=0.0) == 20.0
    rate = RateLimitError("x", code="E", endpoint="X", retryable=True, retry_after_s=20.0)
    for attempt in (1, 2, 5):
        assert pause_s(rate, attempt=attempt, chance=1.0) == 0.5, "the limiter keeps its wait"
    lockout = LockoutError("x", code="E", endpoint="X", retryable=True, retry_after_s=1.0)
    assert not worth_retrying(lockout, attempt=1, read=True)


def test_the_budget_to_the_last_token() -> None:
    budget = RetryBudget()
    assert budget.tokens == 500
    for _ in range(49):
        assert budget.spend(NetworkTimeoutError("x"))
    assert budget.tokens == 10
    assert budget.spend(NetworkTimeoutError("x"))
    assert budget.tokens == 0
    assert not budget.spend(service())
    for _ in range(4):
        budget.refund()
    assert not budget.spend(service())
    assert budget.tokens == 4
    budget.refund()
    assert budget.spend(service())
    for _ in range(9):
        budget.refund()
    assert not budget.spend(NetworkTimeoutError("x"))
    assert budget.spend(NetworkError("x"))
    assert budget.tokens == 4
