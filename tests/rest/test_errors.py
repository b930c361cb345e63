"""Every error string of Kraken's list, and every odd answer, becomes the one right error."""

from __future__ import annotations

import traceback

import httpx
import pytest
import trio

from krakked._errors import (
    Action,
    ApiError,
    AuthError,
    LockoutError,
    NonceError,
    RateLimitError,
    RequestError,
    ServiceError,
)
from krakked._rest.endpoints import Answer
from krakked._rest.error_table import LOCKOUT_S, ROWS, find_row
from krakked._rest.reply import (
    MAX_CODE_CHARS,
    MAX_WAIT_S,
    Envelope,
    Received,
    classify,
    classify_http,
    clean_text,
    judge,
    read_envelope,
)

AUTH = (AuthError, False, Action.FIX_CREDENTIALS)
REQUEST = (RequestError, False, Action.FIX_REQUEST)
WAIT = (RateLimitError, True, Action.WAIT)
SERVICE = (ServiceError, True, Action.RETRY)
MODE = (ServiceError, False, Action.CHECK_SYSTEM_STATUS)

ORDER_TEXTS = [
    "Insufficient funds",
    "Insufficient margin",
    "Order minimum not met",
    "Cost minimum not met",
    "Tick size check failed",
    "Orders limit exceeded",
    "Invalid price",
    "Positions limit exceeded",
    "Scheduled orders limit exceeded",
    "Margin allowance exceeded",
    "Margin level too low",
    "Margin position size exceeded",
    "Cannot open position",
    "Cannot open opposing position",
    "Reduce only:Non-PC",
    "Reduce only:No position exists",
    "Reduce only:Position is closed",
    "Unknown order",
    "Unknown position",
    "Invalid order",
    "Post only order",
]
FUNDING_TEXTS = [
    "Max fee exceeded",
    "No funding method",
    "Too many addresses",
    "Unknown asset",
    "Unknown withdraw key",
    "Invalid amount",
    "Invalid reference id",
    "Unknown reference id",
    "Failed",
]

TABLE = {
    "EAPI:Invalid key": AUTH,
    "EAPI:Invalid signature": AUTH,
    "EAPI:Invalid nonce": (NonceError, True, Action.RETRY),
    "EGeneral:Permission denied": AUTH,
    "EAccount:Invalid permissions": AUTH,
    "EAuth:Account temporary disabled": AUTH,
    "EAuth:Account unconfirmed": AUTH,
    "EAuth:Failed": AUTH,
    "EAuth:Something new": AUTH,
    "EAPI:Feature disabled": AUTH,
    "EAPI:Bad request": REQUEST,
    "EAPI:Invalid arguments:nonce": REQUEST,
    "EGeneral:Temporary lockout": (LockoutError, True, Action.WAIT),
    "EAPI:Rate limit exceeded": WAIT,
    "EAuth:Rate limit exceeded": WAIT,
    "EAuth:Too many requests": WAIT,
    "EGeneral:Too many requests": WAIT,
    "EService:Throttled:1790000007": WAIT,
    "EService: Throttled: [1790000007]": WAIT,
    "EOrder:Rate limit exceeded": WAIT,
    "EOrder:Domain rate limit exceeded": WAIT,
    "EService:Unavailable": SERVICE,
    "EService:Busy": SERVICE,
    "EService:Timeout": SERVICE,
    "EService:Market in cancel_only mode": MODE,
    "EService:Market in post_only mode": MODE,
    "EService:Deadline elapsed": (ServiceError, False, Action.FIX_REQUEST),
    "EGeneral:Internal error": SERVICE,
    "EGeneral:Internal error:1234": SERVICE,
    "EGeneral:Invalid arguments": REQUEST,
    "EGeneral:Invalid arguments:Index unavailable": REQUEST,
    "EGeneral:Invalid arguments:ordertype": REQUEST,
    "EGeneral:Unknown method": REQUEST,
    "EQuery:Unknown asset pair": REQUEST,
    "EQuery:Invalid asset pair": REQUEST,
    "EQuery:Unknown asset": REQUEST,
    "ETrade:Invalid request": REQUEST,
    "ETrade:Locked": REQUEST,
    **{f"EOrder:{text}": REQUEST for text in ORDER_TEXTS},
    "EBM:limit exceeded:CAL": REQUEST,
    **{f"EFunding:{text}": REQUEST for text in FUNDING_TEXTS},
    "EEarnings:Insufficient funds": REQUEST,
    "ESession:Invalid session": AUTH,
    # families: texts that no list has
    "EService:Something new": SERVICE,
    "EDatabase:Internal error": SERVICE,
    "EAccount:Locked": AUTH,
    "EUser:Not verified": AUTH,
    "Exceeded msg rate": WAIT,
}


@pytest.mark.parametrize(("text", "expected"), TABLE.items(), ids=TABLE.keys())
def test_every_error_string_has_its_class(text, expected) -> None:
    error = classify([text], "Balance", server_s=1790000000.0)
    assert (type(error), error.retryable, error.action) == expected
    assert error.code == clean_text(text)
    assert error.endpoint == "Balance"
    assert error.code in str(error)


@pytest.mark.parametrize("change", [str.upper, str.lower, str.swapcase, str.title])
def test_spelling_in_small_or_capital_letters_makes_no_difference(change) -> None:
    for text, expected in TABLE.items():
        given = change(text)
        if not given.startswith("E") and ":" not in given:
            continue  # that is no error of Kraken's
        error = classify([given], "Balance", server_s=1790000000.0)
        assert (type(error), error.retryable, error.action) == expected, given
        row = next(row for row in ROWS if clean_text(text).startswith(row.prefix))
        assert error.code.startswith(row.prefix), "gates compare the code as it is in the table"


def test_the_longest_prefix_wins_whatever_the_order() -> None:
    prefixes = sorted((row.prefix for row in ROWS), key=len)
    for at, short in enumerate(prefixes):
        assert find_row(short) is not None
        for long in prefixes[at + 1 :]:
            if long.startswith(short):
                assert find_row(f"{long}:more").prefix == long
                assert find_row(f"{short}\x00").prefix == short
    assert len(set(prefixes)) == len(prefixes)


def test_every_row_is_reached_by_some_string() -> None:
    texts = [clean_text(text) for text in TABLE]
    assert [row.prefix for row in ROWS if not any(t.startswith(row.prefix) for t in texts)] == []


def test_an_unknown_string_is_a_plain_api_error() -> None:
    for text in ("EGeneral:Brand new", "EAPI:Nonsense", "EServices:Odd", "E", "EX:y:z"):
        error = classify([text], "Balance")
        assert type(error) is ApiError
        assert not error.retryable
        assert error.code == text


WAITS = {
    "EGeneral:Temporary lockout": 900.0,
    "EAPI:Rate limit exceeded": 10.0,
    "EAuth:Rate limit exceeded": 60.0,
    "EAuth:Too many requests": 60.0,
    "EGeneral:Too many requests": 3.0,
    "EService:Throttled": 5.0,
    "Exceeded msg rate": 5.0,
    "EOrder:Rate limit exceeded": 5.0,
    "EOrder:Domain rate limit exceeded": 5.0,
}


def test_every_wait_of_the_table() -> None:
    assert {row.prefix: row.retry_after_s for row in ROWS if row.retry_after_s} == WAITS
    assert LOCKOUT_S == 15 * 60
    open_ended = {row.prefix for row in ROWS if not row.refusal}
    assert open_ended == {
        "EService:Unavailable",
        "EService:Busy",
        "EService:Timeout",
        "EService:",
        "EDatabase:",
        "EGeneral:Internal error",
    }


def test_waiting_times_are_stated() -> None:
    assert classify(["EGeneral:Temporary lockout"], "Balance").retry_after_s == 900
    throttled = classify(["EService: Throttled: 1790000007"], "Balance", server_s=1790000000.0)
    assert throttled.retry_after_s == 7
    assert throttled.code == "EService:Throttled:1790000007"
    for absurd in ("EService:Throttled:1", "EService:Throttled:x", "EService:Throttled"):
        assert classify([absurd], "Balance", server_s=1790000000.0).retry_after_s == 5
    late = classify(["EService:Throttled:99999999999"], "Balance", server_s=1790000000.0)
    assert late.retry_after_s == 900


def test_the_first_error_decides_and_warnings_stand_beside_it() -> None:
    error = classify(["WDatabase:No change", "EQuery:Unknown asset", "EAPI:Invalid key"], "Ticker")
    assert type(error) is RequestError
    assert error.code == "EQuery:Unknown asset"


def test_the_bounds_of_texts_and_waits() -> None:
    assert MAX_CODE_CHARS == 200
    assert MAX_WAIT_S == 900.0
    assert clean_text("x " * 300) == ("x " * 300)[:200]
    assert clean_text("a" * 39) == "a" * 39
    assert clean_text("a" * 40) == "[cut]"
    assert clean_text(f"E:{'b' * 41}!") == "E:[cut]!"
    assert clean_text(" EService: Throttled:   [5] ") == "EService:Throttled:[5]"
    assert clean_text("a\tb\x00c\u200bd") == "a b c d"
    long = classify(["EQuery:Unknown asset" + " x" * 200, *["W:" + " y" * 150] * 3], "Ticker")
    told = str(long).removeprefix("Kraken refused Ticker: ").removesuffix(". No such asset.")
    assert len(told) == 400


def test_texts_are_cut_and_cleaned_of_tokens() -> None:
    key = "Ab1/" * 14
    error = classify([f"EAPI:Invalid key:{key}\n\x00" + "x " * 300], "Balance")
    assert key not in str(error)
    assert "\n" not in error.code
    assert len(error.code) <= 200


@pytest.mark.parametrize(
    ("text", "errors", "result"),
    [
        ('{"error":["EQuery:Unknown asset pair"]}', 1, b""),
        ('{"error":["EQuery:Unknown asset pair"],"result":null}', 1, b"null"),
        ('{"error":["EQuery:Unknown asset pair"],"result":{}}', 1, b"{}"),
        ('{"result":{"a":1},"error":[]}', 0, b'{"a":1}'),
        ('{"error":null,"result":[]}', 0, b"[]"),
        ('{"error":"EGeneral:Internal error"}', 1, b""),
        ('{"error":["WSomething: odd"],"result":7,"extra":{}}', 0, b"7"),
        ('{"error":["", " "],"result":1}', 0, b"1"),
        ('{"Error":"Exceeded msg rate"}', 1, b""),
        ('{"Error":["Exceeded msg rate"],"error":[]}', 1, b""),
        ('{"error":["eGeneral:internal error"],"result":{}}', 1, b"{}"),
        ('{"error":["everything is fine"],"result":{}}', 0, b"{}"),
    ],
)
def test_envelope_oddities(text, errors, result) -> None:
    envelope = read_envelope(text.encode(), "X")
    assert len(envelope.errors) == errors
    assert envelope.result == result


UNREADABLE = {
    "empty": b"",
    "html": b"<html>MARKER</html>",
    "cut": b'{"error":[],"result":{"a":"MARKER',
    "array": b'["MARKER"]',
    "error number": b'{"error":5,"result":"MARKER"}',
    "error of numbers": b'{"error":[1],"result":"MARKER"}',
    "bad utf-8": b'{"error":["MARKER\xff"]}',
    "bad utf-8 inside": b'{"error":[],"result":"MARKER\xff"}',
    "too deep": b'{"error":[],"result":' + b"[" * 100_000,
    "no result": b'{"error":[]}',
    "not a number": b'{"error":[],"result":NaN}',
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_unreadable_bodies_are_service_errors_that_show_nothing(
    autojump_clock, server, open_client, name
) -> None:
    content = UNREADABLE[name]
    server.answer = lambda _: httpx.Response(
        200, content=content, headers={"content-type": "application/json; charset=utf-8"}
    )
    async with open_client() as client:
        with pytest.raises(ServiceError) as caught:
            await client.public("Assets")
    error = caught.value
    assert error.code == "unreadable answer"
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )
    library = shown.split("test_errors.py")[-1].split("\n  File", 1)[-1]
    assert "MARKER" not in library
    # a read is worth repeating; one whose envelope was in order is not
    assert len(server.requests) == (1 if name in {"bad utf-8 inside", "no result"} else 3)


HTTP = [
    (204, ServiceError, False),
    (301, ServiceError, False),
    (400, RequestError, False),
    (401, ServiceError, False),
    (403, ServiceError, False),
    (404, RequestError, False),
    (408, ServiceError, True),
    (429, RateLimitError, True),
    (500, ServiceError, True),
    (502, ServiceError, True),
    (503, ServiceError, True),
    (504, ServiceError, True),
    (520, ServiceError, True),
    (522, ServiceError, True),
    (525, ServiceError, True),
]


@pytest.mark.parametrize(("status", "kind", "retryable"), HTTP)
def test_every_http_class(status, kind, retryable) -> None:
    error = classify_http("Time", status, "text/html")
    assert type(error) is kind
    assert error.code == f"HTTP {status}"
    assert error.retryable is retryable


def test_an_answer_counts_as_one_to_a_read_unless_told() -> None:
    assert read_envelope(b"{}", "X").read is True
    assert read_envelope(b"{}", "X", read=False).read is False


def test_every_status_there_is() -> None:
    malformed = {400, 404, 405, 411, 413, 414, 415, 431}
    for status in range(100, 600):
        if status == 200:
            continue
        error = classify_http("Time", status, "")
        retryable = status >= 500 or status in {408, 425, 429}
        kind = {True: RequestError, False: ServiceError}[status in malformed]
        assert type(error) is (RateLimitError if status == 429 else kind), status
        assert error.retryable is retryable, status
        action = Action.RETRY if retryable else Action.CHECK_SYSTEM_STATUS
        if status in malformed:
            action = Action.FIX_REQUEST
        assert error.action is (Action.WAIT if status == 429 else action), status
        assert ("a redirect, which is never followed" in str(error)) is (300 <= status < 400)
        assert ("address is blocked" in str(error)) is (status in {401, 403})
        assert f"HTTP {status}" in str(error)


def test_a_content_type_is_named_and_cut() -> None:
    for given, told in (
        ("text/html; charset=UTF-8", "content type text/html."),
        ("", "content type absent."),
        (" ;x", "content type absent."),
        ("x/" + "y z" * 40, "content type x/" + ("y z" * 40)[:58] + "."),
    ):
        assert str(classify_http("Time", 200, given)).endswith(told)
    for fine in ("application/json", "text/json;a;b", " APPLICATION/JSON ; charset=x"):
        assert classify_http("Time", 200, fine) is None


def test_what_answers_show_of_themselves() -> None:
    reply = Received(status=200, content_type="", retry_after=None, body=b"MARKER")
    assert repr(reply) == "Received(200, 6 bytes)"
    assert list(reply.__rich_repr__()) == [("status", 200)]
    envelope = read_envelope(b'{"error":["Ea:b","Wc:d"],"result":"MARKER"}', "X")
    assert repr(envelope) == "Envelope(8 bytes, ('Ea:b',), ('Wc:d',))"
    assert list(envelope.__rich_repr__()) == [("errors", ("Ea:b",)), ("warnings", ("Wc:d",))]
    answer = Answer(envelope=envelope, body=b"MARKER", sent_ns=1, received_ns=2)
    assert repr(answer) == "Answer(6 bytes)"
    assert list(answer.__rich_repr__()) == []


@pytest.mark.parametrize("file", [True, False])
@pytest.mark.parametrize("read", [True, False])
def test_a_zip_is_an_answer_where_a_file_is_wanted(read, file) -> None:
    for status, body in ((200, b"PK\x03\x04..."), (200, b"PK\x05\x06"), (502, b"PK\x03\x04")):
        reply = Received(status=status, content_type="application/zip", retry_after=None, body=body)
        found = judge(reply, "RetrieveExport", read=read, file=file)
        if status == 200 and file:
            assert isinstance(found, Envelope)
            assert (found.result, found.errors, found.warnings) == (b"", (), ())
            assert found.read is read
        else:
            assert type(found) is ServiceError
            assert ("private_bytes" in str(found)) is (status == 200)
    plain = Received(status=200, content_type="application/zip", retry_after=None, body=b"{}")
    assert type(judge(plain, "X", read=read, file=file)) is ServiceError
    assert type(judge(reply, "X", read=True)) is ServiceError, "no file unless it is wanted"


def test_warnings_stand_beside_the_errors_in_the_message() -> None:
    body = b'{"error":["Wa:first","EQuery:Unknown asset","Wb:last"]}'
    reply = Received(status=200, content_type="text/json", retry_after=None, body=body)
    found = judge(reply, "Ticker", read=True)
    assert type(found) is RequestError
    assert found.code == "EQuery:Unknown asset"
    assert "Wa:first; Wb:last" in str(found)


@pytest.mark.parametrize("kind", ["text/html; charset=UTF-8", "", "text/plain", "application/xml"])
def test_a_wrong_content_type_is_a_service_error(kind) -> None:
    error = classify_http("Time", 200, kind)
    assert type(error) is ServiceError
    assert classify_http("Time", 200, "Application/JSON;charset=utf-8") is None


def test_retry_after_is_read_when_it_is_a_number() -> None:
    assert classify_http("Time", 429, "", "12").retry_after_s == 12
    assert classify_http("Time", 429, "", "999999").retry_after_s == 900
    for status in (429, 503, 502, 408):
        assert classify_http("Time", status, "", " 12 ").retry_after_s == 12
        assert classify_http("Time", status, "").retry_after_s is None
    assert classify_http("Time", 429, "", "000000012").retry_after_s == 12
    for odd in ("", "soon", "-1", "1.5", "1234567890", "٣", "1e3"):
        assert classify_http("Time", 503, "", odd, server_s=0.0).retry_after_s is None


@pytest.mark.parametrize(
    ("at_s", "expected"), [(1_792_567_670, 10.0), (1_792_567_690, 0.0), (1_792_560_000, 900.0)]
)
def test_retry_after_is_read_when_it_is_a_date(at_s, expected) -> None:
    text = "Wed, 21 Oct 2026 07:28:00 GMT"
    assert classify_http("Time", 503, "", text, server_s=float(at_s)).retry_after_s == expected
    assert classify_http("Time", 503, "", text).retry_after_s is None


async def test_a_service_that_says_when_to_come_back_is_left_alone_until_then(
    autojump_clock, server, open_client
) -> None:
    away = httpx.Response(503, headers={"retry-after": "20"})
    server.script = [away, {"error": [], "result": {}}]
    async with open_client() as client:
        await client.private("Balance")
        assert 20 <= server.times[1] - server.times[0] <= 20.6
        server.script = [httpx.Response(503, headers={"retry-after": "61"})]
        with pytest.raises(ServiceError) as caught:
            await client.private("Balance")
    assert caught.value.retry_after_s == 61
    assert len(server.requests) == 3, "a longer wait is the caller's"


async def test_a_capital_error_asks_to_slow_down(autojump_clock, server, open_client) -> None:
    server.script = [httpx.Response(200, json={"Error": "Exceeded msg rate"})]
    async with open_client() as client:
        assert await client.private("Balance") == {}
        assert server.times[1] - server.times[0] >= 5
        server.script = [httpx.Response(200, json={"Error": "Exceeded msg rate"})] * 3
        with pytest.raises(RateLimitError) as caught:
            await client.public("Time")
    assert caught.value.code == "Exceeded msg rate"
    assert caught.value.action is Action.WAIT


async def test_an_oversized_body_is_dropped_and_not_asked_for_again(
    autojump_clock, server, open_client
) -> None:
    async def endless():
        while True:
            await trio.lowlevel.checkpoint()
            yield b" " * 1_000_000

    server.answer = lambda _: httpx.Response(
        200, content=endless(), headers={"content-type": "application/json"}
    )
    async with open_client() as client:
        with pytest.raises(ServiceError, match="more than 16 MiB"):
            await client.public("Assets")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('{"error":["something went wrong"]}', "something went wrong"),
        ('{"error":["  "," no prefix "]}', "no prefix"),
        ('{"error":"internal error"}', "internal error"),
        ('{"error":["WDatabase:No change"]}', "WDatabase:No change"),
    ],
)
async def test_texts_without_a_result_are_never_a_success(
    autojump_clock, server, open_client, content, code
) -> None:
    server.answer = lambda _: httpx.Response(
        200, text=content, headers={"content-type": "application/json"}
    )
    async with open_client() as client:
        for call in (client.public, client.private):
            with pytest.raises(ServiceError) as caught:
                await call("Balance")
            assert caught.value.code == code
            assert caught.value.retryable
        with pytest.raises(ServiceError) as caught:
            await client.private("AddOrder")
        assert (caught.value.retryable, caught.value.action) == (False, Action.LOOK_UP_OUTCOME)
    assert len(server.requests) == 7


@pytest.mark.parametrize("result", ["{}", "null", "[]", '"done"'])
async def test_warnings_beside_a_result_are_kept_and_not_raised(
    autojump_clock, server, open_client, result
) -> None:
    text = '{"error":["WDatabase:No change","odd text"],"result":' + result + "}"
    server.answer = lambda _: httpx.Response(
        200, text=text, headers={"content-type": "application/json"}
    )
    async with open_client() as client:
        await client.private("Balance")
        kept = [(each.endpoint, each.text) for each in client.reachability().warnings]
    assert kept == [("Balance", "WDatabase:No change"), ("Balance", "odd text")]
