"""Nothing secret in errors, their frames, logs, reprs and pickles of this room."""

from __future__ import annotations

import base64
import copy
import io
import logging
import pickle
import traceback
import types
from functools import partial
from urllib.parse import quote_plus

import httpx
import pytest
import trio
from rich.console import Console
from rich.traceback import Traceback

from krakked._config.settings import RestSettings
from krakked._core import Signer
from krakked._errors import ConfigError, CredentialsFormatError, KrakkedError
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._rest.client import RestClient
from krakked._rest.request import PrivateCall
from krakked._rest.signing import Credentials

KEY = "CanaryKeyQ7w3E9r2T6y1U5i8O4p0A3s7D2f6G1h5J9k4L8z3X7c2V6b"
SECRET = base64.b64encode(
    b"canary secret of sixty-four bytes, not used for anything real!!!"
).decode()
OTP = "Otp-Canary-4711-0815-XYZ"
MARKER = "BodyMarker-5f3a9c1e7b2d"

FAILURES = [
    httpx.ConnectError("refused"),
    httpx.ReadTimeout(f"{KEY}"),
    httpx.ReadError(f"{KEY} {SECRET}"),
    httpx.LocalProtocolError(f"Illegal header value b'{KEY}'"),
    httpx.RemoteProtocolError(f"{MARKER}"),
    UnicodeEncodeError("ascii", KEY, 0, 1, KEY),
    httpx.Response(503, text=f"<html>{MARKER}</html>"),
    httpx.Response(200, text=f"<html>{MARKER}</html>", headers={"content-type": "text/html"}),
    httpx.Response(
        200,
        text=f'{{"error":[],"result":{{"token":"{MARKER}',
        headers={"content-type": "application/json"},
    ),
    httpx.Response(200, json={"error": [], "result": [MARKER]}),
    httpx.Response(200, json={"error": [f"EAPI:Invalid key:{KEY}"]}),
    httpx.Response(200, json={"error": ["EAPI:Invalid signature"], "result": MARKER}),
    httpx.Response(200, json={"error": ["EGeneral:Internal error"]}),
]


def windows(text: str) -> list[str]:
    return [text[at : at + 8] for at in range(len(text) - 7)]


def assert_clean(shown: str, sign: str = "") -> None:
    for secret in (KEY, SECRET, OTP, MARKER, sign):
        for shape in (secret, quote_plus(secret), base64.b64encode(secret.encode()).decode()):
            assert not [w for w in windows(shape) if w in shown], secret[:6]


def ours(frame: types.FrameType) -> bool:
    """Tell by the module: a path tells nothing, the clone's own folder may be `krakked` too."""
    return str(frame.f_globals.get("__name__")).startswith("krakked.")


def library_frames(error: BaseException) -> BaseException:
    """Leave out the frames of this test, whose own variables hold everything."""
    trace = error.__traceback__
    while trace is not None and not ours(trace.tb_frame):
        trace = trace.tb_next
    return error.with_traceback(trace)


class PlainTraceback(Traceback):
    """Without the colours of the source lines, which take nine tenths of the time."""

    @classmethod
    def _guess_lexer(cls, filename: str, code: str) -> str:
        return "text"


def show_in_every_way(error: BaseException) -> str:
    out = io.StringIO()
    library_frames(error)
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    out.write("".join(report.format()))
    trace = PlainTraceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=None
    )
    Console(file=out, width=400).print(trace)
    seen: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        queue += [one.__cause__, one.__context__]
        out.write(f"{one!r} {one} {one.args!r} {vars(one)!r}")
    return out.getvalue()


@pytest.mark.parametrize("number", range(len(FAILURES)))
async def test_logs_and_exception_messages_hold_neither_api_key_nor_secret(
    autojump_clock, server, clock, caplog, number
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script = [FAILURES[number]] * 3
    client = RestClient(
        RestSettings(),
        network=server,
        clock=clock,
        credentials=Credentials(KEY, Signer(SECRET), source="test"),
    )
    async with client:
        call = partial(client.private, "GetWebSocketsToken", {"marker": MARKER}, otp=OTP)
        if (
            isinstance(FAILURES[number], httpx.Response)
            and b'"result":["' in FAILURES[number].content
        ):
            call = client.websockets_token  # a success, but of another shape
        with pytest.raises(KrakkedError) as caught:
            await call()
    shown = show_in_every_way(caught.value)
    for request in server.requests:
        assert_clean(shown, request.headers["api-sign"])
        assert_clean(caplog.text, request.headers["api-sign"])
    assert server.requests
    assert_clean(repr(client.reachability()))


def test_this_test_would_notice_a_leak() -> None:
    with pytest.raises(AssertionError):
        assert_clean(f"... {KEY[10:30]} ...")
    with pytest.raises(AssertionError):
        assert_clean(quote_plus(SECRET))


async def test_debug_logs_of_every_library_over_a_real_socket(caplog) -> None:
    caplog.set_level(logging.DEBUG)
    received: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        received.append(await stream.receive_some(65536))
        body = b'{"error":["EGeneral:Permission denied"]}'
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        await stream.send_all(head.encode() + b"\r\n\r\n" + body)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, answer, 0)
        port = listeners[0].socket.getsockname()[1]
        client = RestClient(
            RestSettings(base_url=f"http://127.0.0.1:{port}"),
            network=SystemNetwork(),
            clock=SystemClock(),
            credentials=Credentials(KEY, Signer(SECRET), source="test"),
        )
        async with client:
            with pytest.raises(KrakkedError) as caught:
                await client.private("Balance", {"marker": MARKER}, otp=OTP)
        nursery.cancel_scope.cancel()
    assert KEY.encode() in received[0]
    assert "httpcore" in {record.name.split(".")[0] for record in caplog.records}
    assert_clean(caplog.text + show_in_every_way(caught.value))


def test_holders_show_and_give_nothing() -> None:
    credentials = Credentials(KEY, Signer(SECRET), source="test")
    call = PrivateCall("Balance", {"marker": MARKER}, otp=OTP)
    signed = call.sign(credentials, 5)
    for holder in (credentials, call, signed):
        assert_clean(f"{holder!r} {holder}")
        for protocol in range(6):
            with pytest.raises(TypeError):
                pickle.dumps(holder, protocol)
        for duplicate in (copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                duplicate(holder)
    shown = [repr(getattr(credentials, name)) for name in dir(credentials)]
    assert_clean(" ".join(shown))
    assert credentials != Credentials(KEY, Signer(SECRET), source="test")


@pytest.mark.parametrize("key", ["", "short", KEY + "\n", KEY[:-1] + "\0", KEY + "é", "a b" * 10])
def test_odd_keys_are_refused_without_echo(key) -> None:
    with pytest.raises(CredentialsFormatError) as caught:
        Credentials(key, Signer(SECRET), source="test")
    assert caught.value.field == "key"
    assert_clean(str(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        "http://api.kraken.com",
        "http://192.168.1.5:80",
        "ftp://127.0.0.1",
        "https://user:pass@example.org",
        "https://",
        "api.kraken.com",
    ],
)
def test_credentials_never_go_out_in_the_clear(server, clock, url) -> None:
    with pytest.raises(ConfigError):
        RestClient(RestSettings(base_url=url), network=server, clock=clock)
