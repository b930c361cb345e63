"""Whoever walks the locals of a traceback, and their attributes, finds nothing secret.

Crash reporters and debuggers do that. Only krakked's own frames and those of the HTTP libraries are
walked: the caller's frames hold what the caller put there.
"""

from __future__ import annotations

import base64
import contextlib
import inspect
import types
from collections.abc import Iterator
from decimal import Decimal
from functools import partial

import httpx
import pytest
import trio

from krakked._config.settings import RestSettings
from krakked._core import Signer
from krakked._errors import KrakkedError, LockoutError, NetworkError, RequestError, ServiceError
from krakked._rest.client import RestClient
from krakked._rest.request import PrivateCall
from krakked._rest.signing import Credentials

KEY = "CanaryKeyQ7w3E9r2T6y1U5i8O4p0A3s7D2f6G1h5J9k4L8z3X7c2V6b"
SECRET = base64.b64encode(
    b"frames: a secret of sixty-four bytes, of no use to anybody at al"
).decode()
OTP = "Otp-Canary-4711-0815-XYZ"
MARKER = "BodyMarker-5f3a9c1e7b2d"
OURS = ("krakked", "httpx", "httpcore", "h11")


def walk(value: object, seen: set[int], depth: int = 6) -> Iterator[str]:
    """Show a value and what can be reached from it through attributes and containers."""
    if id(value) in seen or depth == 0:
        return
    seen.add(id(value))
    if isinstance(value, str | bytes | bytearray | int | float | Decimal | BaseException):
        yield repr(value)
    elif isinstance(value, dict):
        for name, inner in list(value.items()):
            yield from walk(name, seen, depth - 1)
            yield from walk(inner, seen, depth - 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from walk(inner, seen, depth - 1)
    elif type(value).__module__.split(".")[0] in OURS and not isinstance(value, type):
        yield repr(value)
        for name in {*dir(value), *getattr(value, "__slots__", ())}:
            with contextlib.suppress(Exception):
                if not isinstance(inspect.getattr_static(value, name), property):
                    yield from walk(getattr(value, name), seen, depth - 1)


def library(frame: types.FrameType) -> str:
    """Tell by the module: a path tells nothing, the clone's own folder may be `krakked` too."""
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def frames(error: BaseException | None) -> Iterator[types.FrameType]:
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            if library(trace.tb_frame) in OURS:
                yield trace.tb_frame
            trace = trace.tb_next
        error = error.__cause__ or error.__context__


def shown(error: BaseException) -> str:
    seen: set[int] = set()
    lines = [repr(error), *walk(vars(error), seen)]
    for frame in frames(error):
        lines += list(walk(dict(frame.f_locals), seen))
    return "\n".join(lines)


def assert_clean(text: str, *others: str) -> None:
    for secret in (KEY, SECRET, OTP, MARKER, *others):
        parts = [secret[at : at + 8] for at in range(len(secret) - 7)]
        assert not [part for part in parts if part in text], secret[:6]


class Odd:
    def __repr__(self) -> str:
        return MARKER


REFUSED = {
    "a nonce": {"nonce": 5, "marker": MARKER},
    "an object": {"a": MARKER, "marker": Odd()},
    "a list of objects": {"marker": [MARKER, Odd()]},
    "not a number": {"a": MARKER, "marker": float("nan")},
    "an infinite number": {"a": MARKER, "marker": Decimal("Infinity")},
    "a lone surrogate": {"marker": MARKER + "\udc80"},
}


@pytest.mark.parametrize("json", [False, True], ids=["form", "json"])
@pytest.mark.parametrize("name", REFUSED)
async def test_parameters_that_are_refused_are_in_no_frame(
    autojump_clock, server, open_client, name, json
) -> None:
    data = REFUSED[name]
    async with open_client() as client:
        with pytest.raises(RequestError) as caught:
            await client.private("Balance", data, otp=OTP, json=json)
        assert not isinstance(caught.value, UnicodeError)  # it would hold the text
        assert_clean(shown(caught.value))
    assert not server.requests


async def test_a_refused_endpoint_leaves_parameters_in_no_frame(
    autojump_clock, open_client
) -> None:
    async with open_client() as client:
        for call in (client.private, client._fetch_private):
            with pytest.raises(RequestError) as caught:
                await call("../Balance", {"marker": MARKER})
            assert_clean(shown(caught.value))


FAILURES = {
    "connect": httpx.ConnectError("refused"),
    "read time-out": httpx.ReadTimeout("slow"),
    "protocol": httpx.LocalProtocolError(f"Illegal header value b'{KEY}'"),
    "a bug below": RuntimeError(f"{KEY}"),
    "a bug of arithmetic": ZeroDivisionError(),
    "HTML": httpx.Response(503, text=f"<html>{MARKER}</html>"),
    "cut JSON": httpx.Response(
        200, text=f'{{"error":[],"result":{{"x":"{MARKER}', headers={"content-type": "text/json"}
    ),
    "bad UTF-8": httpx.Response(
        200,
        content=b'{"error":[],"result":"' + MARKER.encode() + b'\xff"}',
        headers={"content-type": "text/json"},
    ),
    "of another shape": httpx.Response(200, json={"error": [], "result": {"token": [MARKER]}}),
    "refused": httpx.Response(200, json={"error": ["EGeneral:Permission denied"], "x": MARKER}),
    "service": httpx.Response(200, json={"error": ["EService:Busy"], "result": MARKER}),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_no_frame_of_a_failed_call_leads_to_a_secret(
    autojump_clock, server, clock, name
) -> None:
    server.script = [FAILURES[name]] * 3
    client = RestClient(
        RestSettings(),
        network=server,
        clock=clock,
        credentials=Credentials(KEY, Signer(SECRET), source="test"),
    )
    async with client:
        call = partial(client.private, "GetWebSocketsToken", {"marker": MARKER}, otp=OTP)
        if name in {"of another shape", "bad UTF-8"}:
            call = client.websockets_token
        with pytest.raises(KrakkedError) as caught:
            await call()
        signs = [request.headers["api-sign"] for request in server.requests]
        assert signs
        assert_clean(shown(caught.value), *signs)
        if name == "bad UTF-8":
            server.script = [FAILURES[name]]
            with pytest.raises(ServiceError) as caught:
                await client.private("Balance")
            assert_clean(shown(caught.value))


async def test_a_call_that_may_not_go_is_in_no_frame(autojump_clock, server, open_client) -> None:
    server.script = ["EGeneral:Temporary lockout"]
    async with open_client() as client:
        with pytest.raises(LockoutError):
            await client.private("Balance")
        with pytest.raises(LockoutError, match="was not sent") as caught:
            await client.private("Balance", {"marker": MARKER}, otp=OTP)
    assert_clean(shown(caught.value))


async def test_a_cancelled_call_is_in_no_frame(autojump_clock, server, open_client) -> None:
    server.delay_s = 60
    seen: list[BaseException] = []
    async with open_client() as client:
        with trio.move_on_after(1):
            try:
                await client.private("Balance", {"marker": MARKER}, otp=OTP)
            except trio.Cancelled as cancelled:
                seen.append(cancelled)
                raise
    own = [f for f in frames(seen[0]) if f.f_globals["__name__"] == "krakked._rest.client"]
    assert own
    assert_clean("\n".join(text for f in own for text in walk(dict(f.f_locals), set())))


async def test_an_unexpected_error_of_the_library_is_told_with_its_place_only(
    autojump_clock, server, open_client, caplog
) -> None:
    server.script = [RuntimeError(MARKER)]
    async with open_client() as client:
        with pytest.raises(NetworkError, match=r"RuntimeError") as caught:
            await client.public("Time")
    assert not caught.value.retryable
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "unexpected RuntimeError in handle, " in caplog.text
    assert_clean(caplog.text)


def test_this_walk_would_find_a_leak() -> None:
    call = PrivateCall("Balance", {"marker": MARKER})
    assert MARKER in "\n".join(walk({"call": call}, set()))
    call.drop()
    assert_clean("\n".join(walk({"call": call}, set())))
    request = httpx.Request("POST", "https://127.0.0.1", headers={"API-Key": KEY})
    assert KEY in "\n".join(walk([request], set()))
