"""No secret anywhere: canaries through every error path, looked for in every sink.

Key, secret, password, one-time password, WebSocket token and a body parameter are random per run.
Each error path uses them the way a user would; then every sink shows what it can of the exception,
of the log records and of the objects, and the texts are searched for every 8-character window of
every canary in 8 encodings. A leaky stub must be found by every sink, or the search proves nothing.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import faulthandler
import gc
import hashlib
import inspect
import io
import json
import linecache
import logging
import os
import pickle
import re
import secrets
import ssl
import sys
import tempfile
import traceback
import types
import urllib.parse
import warnings
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import rich.console
import rich.traceback
import sentry_sdk
import sentry_sdk.utils
import structlog
import trio

from krakked._config.loader import load_config
from krakked._config.settings import KrakkedConfig, RestSettings
from krakked._core import Signer
from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Outcome, Validation
from krakked._credentials.passwords import MasterPassword, password_from_fd, password_from_file
from krakked._credentials.saving import change_password, save_credentials
from krakked._credentials.setup import run_setup
from krakked._credentials.sources import candidate_credentials, load_credentials, open_vault
from krakked._credentials.validation import validate_credentials
from krakked._credentials.vault import seal
from krakked._credentials.vault_file import VaultFile
from krakked._errors import KrakkedError
from krakked._network.clock import SystemClock
from krakked._network.http_transport import HttpTransport
from krakked._network.network import SystemNetwork
from krakked._rest.client import RestClient
from krakked._rest.signing import Credentials

WINDOW = 8


class Canaries:
    """The secrets of this run; no frame of the tests holds them as plain locals."""

    def __init__(self) -> None:
        self.key = base64.b64encode(secrets.token_bytes(42)).decode()
        self.secret = base64.b64encode(secrets.token_bytes(64)).decode()
        self.password = secrets.token_urlsafe(30)
        self.token = secrets.token_urlsafe(40)
        self.marker = secrets.token_urlsafe(30)
        self.otp = secrets.token_urlsafe(30)

    def __repr__(self) -> str:
        return "<Canaries>"

    def all(self) -> dict[str, str]:
        return dict(vars(self))


CANARIES = Canaries()


def encodings(text: str) -> dict[str, tuple[list[str], int]]:
    """Give a canary in 8 encodings, each with the length of what 8 of its characters become."""
    raw = text.encode()
    shifted = [base64.b64encode(b"\0" * shift + raw).decode()[2 * shift :] for shift in range(3)]
    return {
        "raw": ([text], WINDOW),
        "base64": (shifted, WINDOW),
        "hex": ([raw.hex(), raw.hex().upper(), raw.hex(" ")], 2 * WINDOW),
        "url": ([urllib.parse.quote(text, safe=""), urllib.parse.quote_plus(text)], WINDOW),
        "escaped": ([repr(raw)[2:-1], json.dumps(text)[1:-1].replace("/", "\\/")], WINDOW),
        "reversed": ([text[::-1]], WINDOW),
        "decoded to hex": (decoded_forms(text)[:1], 2 * WINDOW),
        # Four letters for a byte: shorter windows are met by chance in the pads of long passwords.
        "decoded": (decoded_forms(text)[1:], 4 * WINDOW),
    }


def decoded_forms(text: str) -> list[str]:
    """Give what the base64 stands for, as hex and as Python would show the bytes."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_")
    except ValueError:
        return []
    return [raw.hex(), repr(raw)[2:-1], repr(bytearray(raw))[12:-2], str(list(raw))]


class Search:
    """Finds windows of the canaries in texts; each line is looked at once only."""

    def __init__(self, canaries: dict[str, str]) -> None:
        self.windows: dict[int, dict[str, str]] = {}
        for name, text in canaries.items():
            for encoding, (forms, size) in encodings(text).items():
                for form in forms:
                    for at in range(len(form) - size + 1):
                        windows = self.windows.setdefault(size, {})
                        windows.setdefault(form[at : at + size], f"{name} {encoding}")
        self._clean: set[str] = set()

    def hits(self, text: str) -> set[str]:
        found: set[str] = set()
        for line in set(text.splitlines()) - self._clean:
            before = len(found)
            for size, windows in self.windows.items():
                found |= {
                    windows[line[at : at + size]]
                    for at in range(len(line) - size + 1)
                    if line[at : at + size] in windows
                }
            if len(found) == before:
                self._clean.add(line)
        return found


SEARCH = Search(CANARIES.all())


@dataclass
class Evidence:
    """What one error path left to be looked at."""

    error: BaseException
    objects: list[object] = field(default_factory=list)
    records: list[logging.LogRecord] = field(default_factory=list)
    output: str = ""
    warned: list[warnings.WarningMessage] = field(default_factory=list)


# --- sinks: each turns the evidence into the text that it would show ------------------------------


def chain(error: BaseException | None, seen: set[int] | None = None) -> Iterator[BaseException]:
    seen = set() if seen is None else seen
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        yield from chain(other, seen)


def info(error: BaseException) -> tuple[type[BaseException], BaseException, Any]:
    return type(error), error, error.__traceback__


def plain_log(found: Evidence) -> str:
    style = logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s %(args)s")
    record = logging.makeLogRecord({"msg": "failed: %s %r", "exc_info": info(found.error)})
    record.args = (found.error, found.error)
    return "\n".join(style.format(each) for each in [*found.records, record])


def json_log(found: Evidence) -> str:
    return "\n".join(json.dumps(vars(each), default=repr) for each in found.records) + json.dumps(
        {"error": found.error, "args": found.error.args, **vars(found.error)}, default=repr
    )


def structured_log(found: Evidence) -> str:
    lines: list[str] = []
    logger = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()),
        processors=[
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=True)
            ),
            structlog.processors.JSONRenderer(default=repr),
            lambda _, __, line: lines.append(line) or line,
        ],
    )
    logger.error("failed", exc_info=info(found.error), objects=found.objects)
    return "\n".join(lines)


def output(found: Evidence) -> str:
    return found.output


def warned(found: Evidence) -> str:
    return "\n".join(f"{each.message} {each.source!r}" for each in found.warned)


def fault_handler(found: Evidence) -> str:
    """A crash while an error travels: the frames that `faulthandler` sees are names only."""
    with tempfile.TemporaryFile() as file:
        if isinstance(found, LeakyEvidence):
            found.call_a_leaky_name(partial(faulthandler.dump_traceback, file))
        else:
            faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read().decode() + "\n".join(
            frame.name
            for each in chain(found.error)
            for frame in traceback.extract_tb(each.__traceback__)
        )


def plain_traceback(found: Evidence) -> str:
    return "".join(traceback.format_exception(found.error))


def traceback_with_locals(found: Evidence) -> str:
    shown = traceback.TracebackException(*info(found.error), capture_locals=True)
    return "".join(shown.format())


class PlainTraceback(rich.traceback.Traceback):
    """Without the colours of the source lines, which take nine tenths of the time."""

    @classmethod
    def _guess_lexer(cls, filename: str, code: str) -> str:
        return "text"


def rich_traceback(found: Evidence) -> str:
    console = rich.console.Console(file=io.StringIO(), width=2000)
    shown = PlainTraceback.from_exception(
        *info(found.error), show_locals=True, width=2000, extra_lines=0,
        locals_max_length=10_000, locals_max_string=100_000, locals_hide_dunder=False,
    )  # fmt: skip
    console.print(shown)
    return console.file.getvalue()  # type: ignore[attr-defined]


def pytest_report(found: Evidence) -> str:
    return str(
        pytest.ExceptionInfo.from_exception(found.error).getrepr(
            showlocals=True, style="long", truncate_locals=False
        )
    )


def like_cgitb(found: Evidence) -> str:
    """Every local of every frame, and every dotted name on the line that was running."""
    lines = []
    for each in chain(found.error):
        for frame, number in traceback.walk_tb(each.__traceback__):
            lines += [f"{name} = {value!r}" for name, value in frame.f_locals.items()]
            running = linecache.getline(frame.f_code.co_filename, number)
            for dotted in re.findall(r"[A-Za-z_][\w.]*", running):
                first, *others = dotted.split(".")
                value = frame.f_locals.get(first, frame.f_globals.get(first))
                if value is CANARIES:  # a line of this file
                    continue
                for other in others:
                    value = getattr(value, other, None)
                    lines.append(f"{dotted} = {value!r}")
    return "\n".join(lines)


LIBRARIES = ("krakked", "httpx", "httpcore", "h11")


def reachable(value: object, seen: set[int], depth: int = 6) -> Iterator[str]:
    """Show what attributes and containers lead to, through objects of ours and of httpx."""
    if id(value) in seen or depth == 0:
        return
    seen.add(id(value))
    if isinstance(value, str | bytes | bytearray | int | float | BaseException):
        yield repr(value)
        return
    inner: list[object] = []
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    elif type(value).__module__.split(".")[0] in LIBRARIES and not isinstance(value, type):
        inner = [found for _, found in attributes(value)]
    for each in inner:
        yield from reachable(each, seen, depth - 1)


def walked_locals(found: Evidence) -> str:
    """Every local of the libraries' frames, and what can be reached from there."""
    lines: list[str] = []
    seen: set[int] = set()
    for each in chain(found.error):
        for frame, _ in traceback.walk_tb(each.__traceback__):
            # told by module: a path tells nothing, the clone's own folder may be `krakked` too
            library = str(frame.f_globals.get("__name__")).partition(".")[0]
            if isinstance(found, LeakyEvidence) or library in LIBRARIES:
                lines += reachable(dict(frame.f_locals), seen)
    return "\n".join(lines)


def sentry_event(found: Evidence) -> str:
    events: list[Any] = []
    options = {"include_local_variables": True, "max_value_length": 100_000}
    client = sentry_sdk.Client(
        dsn="http://public@127.0.0.1:9/1",
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        send_client_reports=False,
        before_send=lambda event, _: events.append(json.dumps(event, default=repr)),
        **options,
    )
    event, hint = sentry_sdk.utils.event_from_exception(
        info(found.error), client_options=client.options
    )
    event["extra"] = {"objects": found.objects}
    client.capture_event(event, hint)
    client.close()
    return "\n".join(events)


def nursery_group(found: Evidence) -> str:
    """The error inside trio's exception group, printed with locals."""

    async def fail() -> None:
        raise found.error

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    try:
        trio.run(main, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        shown = traceback.TracebackException(*info(group), capture_locals=True)
        return "".join(shown.format()) + repr(group)
    raise AssertionError("no group")


def exception_hook(found: Evidence) -> str:
    with contextlib.redirect_stderr(io.StringIO()) as text:
        sys.__excepthook__(*info(found.error))
    return text.getvalue()


def error_attributes(found: Evidence) -> str:
    """`args`, attributes and notes along `__cause__`, `__context__` and groups."""
    return "\n".join(
        f"{each!r} {each.args!r} {vars(each)!r} {getattr(each, '__notes__', ())} "
        f"{[getattr(each, name, None) for name in ('object', 'doc', 'name', 'obj', 'filename')]!r}"
        for each in chain(found.error)
    )


def pickled(found: Evidence) -> str:
    texts = []
    for value in [*chain(found.error), *found.objects]:
        for protocol in range(6):
            with contextlib.suppress(Exception):
                texts.append(pickle.dumps(value, protocol).decode("latin-1"))
    return "\n".join(texts)


def spawn_arguments(found: Evidence) -> str:
    texts = []
    for value in [*chain(found.error), *found.objects]:
        with contextlib.suppress(Exception):
            texts.append(bytes(ForkingPickler.dumps(value)).decode("latin-1"))
    return "\n".join(texts)


def shown_objects(found: Evidence) -> str:
    return "\n".join(
        f"{value!r} {value!s} {value} {[value]} {value!a}"
        for value in [*found.objects, found.error]
    )


def attributes(value: object) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    names = {*dir(value), *getattr(value, "__slots__", ())}
    for name in names:
        with contextlib.suppress(Exception):
            inner = inspect.getattr_static(value, name)
            if not callable(inner) or name in getattr(value, "__dict__", ()):
                found.append((name, getattr(value, name)))
    return found


def object_attributes(found: Evidence) -> str:
    """vars, dir and getattr, slots, getmembers."""
    lines = []
    for value in [*found.objects, found.error]:
        lines += [f"{name} {inner!r}" for name, inner in attributes(value)]
        lines.append(repr(getattr(value, "__dict__", "")))
        with contextlib.suppress(Exception):
            lines += [repr(pair) for pair in inspect.getmembers(value)]
    return "\n".join(lines)


def serialised_objects(found: Evidence) -> str:
    lines = []
    for value in [*found.objects, *chain(found.error)]:
        for call in (
            lambda value=value: json.dumps(value, default=str),
            lambda value=value: json.dumps(value, default=vars),
            lambda value=value: repr(msgspec.structs.asdict(value)),
            lambda value=value: msgspec.json.encode(value, enc_hook=str).decode(),
            lambda value=value: repr(value.__reduce_ex__(2)),
        ):
            with contextlib.suppress(Exception):
                lines.append(call())
    return "\n".join(lines)


def copied_objects(found: Evidence) -> str:
    lines = []
    for value in [*found.objects, found.error]:
        for call in (copy.copy, copy.deepcopy):
            try:
                lines.append(f"{call(value)!r} {attributes(call(value))!r}")
            except Exception as error:
                lines.append(f"{error!r} {error.args!r}")
    return "\n".join(lines)


def garbage_walk(found: Evidence) -> str:
    """`gc.get_referents`, five steps deep, code and modules left out."""
    skipped = (type, types.ModuleType, types.FunctionType, types.CodeType, types.FrameType)
    level: list[object] = [*found.objects, *(each.args for each in chain(found.error))]
    seen: set[int] = set()
    lines: list[str] = []
    for _ in range(5):
        following: list[object] = []
        for value in level:
            for inner in gc.get_referents(value):
                if id(inner) not in seen and not isinstance(inner, skipped):
                    seen.add(id(inner))
                    following.append(inner)
                    if isinstance(inner, str | bytes | bytearray | int):
                        lines.append(inner if isinstance(inner, str) else repr(inner))
        level = following
    return "\n".join(lines)


SINKS: list[Callable[[Evidence], str]] = [
    plain_log, json_log, structured_log, output, warned, fault_handler, plain_traceback,
    traceback_with_locals, rich_traceback, pytest_report, like_cgitb, walked_locals, sentry_event,
    nursery_group, exception_hook, error_attributes, pickled, spawn_arguments, shown_objects,
    object_attributes, serialised_objects, copied_objects, garbage_walk,
]  # fmt: skip


# --- collecting evidence --------------------------------------------------------------------------


class Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def collect(path: Callable[[list[object]], Awaitable[None]]) -> Evidence:
    """Walk one error path with every logger at DEBUG; the path must end in an error."""
    recorder, root = Recorder(), logging.getLogger()
    before = root.level
    root.addHandler(recorder)
    root.setLevel(logging.DEBUG)
    objects: list[object] = []
    text = io.StringIO()
    error: BaseException | None = None
    try:
        with (
            warnings.catch_warnings(record=True) as warned_of,
            contextlib.redirect_stdout(text),
            contextlib.redirect_stderr(text),
        ):
            warnings.simplefilter("always")
            try:
                await path(objects)
            except (
                KrakkedError,
                ValueError,
                TypeError,
                trio.TooSlowError,
                BaseExceptionGroup,
            ) as caught:
                error = caught
    finally:
        root.removeHandler(recorder)
        root.setLevel(before)
    assert error is not None, "the path must fail"
    found = Evidence(error, objects, recorder.records, text.getvalue(), list(warned_of))
    # `with suppress` and this frame are ours, not the user's: nothing of the harness is looked at
    return found


# --- error paths ----------------------------------------------------------------------------------

PATHS: dict[str, Callable[[list[object]], Awaitable[None]]] = {}


def path(function: Callable[[list[object]], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    PATHS[function.__name__] = function
    return function


class Request:
    """What a server received; shows nothing of it."""

    def __init__(self) -> None:
        self.data = b""

    def take(self, part: bytes) -> None:
        self.data += part

    def __repr__(self) -> str:
        return "<Request>"

    def is_whole(self) -> bool:
        return b"nonce" in self.data or self.data.startswith(b"\x16")  # 0x16: a TLS hello

    def put_into(self, answer: bytes) -> bytes:
        token = {"error": [], "result": {"token": CANARIES.token, "expires": "soon"}}
        echoed = answer.replace(b"@ECHO@", self.data)
        if b"@TOKEN@" in answer:
            echoed = http(200, json.dumps(token).encode())
        return echoed.replace(b"@SIZE@", b"%d" % (len(echoed) * 2))


async def serve(answer: bytes, task_status: trio.TaskStatus[int]) -> None:
    """Answer every connection with raw bytes after its request came; b"" hangs, None resets."""

    async def talk(stream: trio.SocketStream) -> None:
        request = Request()  # the server is ours: its frames hold no plain text either
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while not request.is_whole():
                request.take(await stream.receive_some())
            if not answer:
                await trio.sleep_forever()
            await stream.send_all(request.put_into(answer))
            await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, talk, 0, host="127.0.0.1"))
        task_status.started(listeners[0].socket.getsockname()[1])


def http(status: int, body: bytes, kind: str = "application/json") -> bytes:
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def call_kraken(
    objects: list[object],
    answer: bytes,
    *,
    scheme: str = "http",
    network: SystemNetwork | None = None,
    **more: Any,
) -> None:
    """One signed call with canaries in credentials, body and otp, over real sockets and httpx."""
    credentials = candidate_credentials(
        Candidate(CANARIES.key, CANARIES.secret), source="candidate"
    )
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, answer)
        settings = RestSettings(
            base_url=f"{scheme}://127.0.0.1:{port}", timeout_s=60 if network else 0.3
        )
        client = RestClient(
            settings,
            network=network or SystemNetwork(),
            clock=SystemClock(),
            credentials=credentials,
        )
        objects += [credentials, client, settings]
        error: KrakkedError | None = None
        try:
            async with client:
                await client.private(
                    "Balance", {"marker": CANARIES.marker}, otp=CANARIES.otp, **more
                )
        except KrakkedError as caught:
            error = caught
        nursery.cancel_scope.cancel()
    if error:
        objects.append(client.reachability())
        raise error


KRAKEN_TEXTS = [
    "EAPI:Invalid key", "EAPI:Invalid signature", "EAPI:Invalid nonce", "EAPI:Feature disabled",
    "EGeneral:Permission denied", "EAccount:Invalid permissions", "EAPI:Bad request",
    "EAuth:Account temporary disabled", "EGeneral:Temporary lockout", "EAPI:Rate limit exceeded",
    "EGeneral:Too many requests", "EService:Throttled:1790000000", "EService:Unavailable",
    "EService:Busy", "EService:Timeout", "EService:Deadline elapsed", "EGeneral:Internal error",
    "EGeneral:Invalid arguments", "EGeneral:Unknown method", "EQuery:Unknown asset pair",
    "EOrder:Insufficient funds", "EFunding:Unknown withdraw key", "ESession:Invalid session",
    "EWhatever:Unseen",
]  # fmt: skip
for text in KRAKEN_TEXTS:
    PATHS[text] = partial(call_kraken, answer=http(200, json.dumps({"error": [text]}).encode()))
    PATHS[f"{text}, JSON body"] = partial(
        call_kraken, answer=http(200, json.dumps({"error": [text]}).encode()), json=True
    )

PATHS |= {
    "HTML page": partial(call_kraken, answer=http(503, b"<html>x</html>", "text/html")),
    "HTML page that echoes the request": partial(
        call_kraken, answer=b"HTTP/1.1 502 X\r\nContent-Type: text/html\r\n\r\n@ECHO@"
    ),
    "200 that echoes the request": partial(
        call_kraken, answer=b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\n\r\n@ECHO@"
    ),
    "header that echoes the request": partial(
        call_kraken, answer=b"HTTP/1.1 200 X\r\nRetry-After: 1\r\nX\x00: @ECHO@\r\n\r\n"
    ),
    "redirect": partial(
        call_kraken, answer=b"HTTP/1.1 302 X\r\nLocation: https://127.0.0.1/\r\n\r\n"
    ),
    "Cloudflare 429": partial(call_kraken, answer=http(429, b"error 1015", "text/html")),
    "not JSON": partial(call_kraken, answer=http(200, b"not json")),
    "JSON of another shape": partial(call_kraken, answer=http(200, b"[[]]")),
    "cut JSON": partial(call_kraken, answer=http(200, b'{"error":[')),
    "cut body": partial(
        call_kraken,
        answer=b"HTTP/1.1 200 X\r\nContent-Type: text/json\r\nContent-Length: @SIZE@\r\n\r\n{",
    ),
    "empty body": partial(call_kraken, answer=http(200, b"")),
    "wrong content type": partial(call_kraken, answer=http(200, b"{}", "image/png")),
    "bad compression": partial(
        call_kraken, answer=b"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\n\r\nnot gzip"
    ),
    "no HTTP at all": partial(call_kraken, answer=b"\x00\x01\x02\r\n\r\n"),
    "closed without an answer": partial(call_kraken, answer=b"H"),
    "read time-out": partial(call_kraken, answer=b""),
    "a text without a result": partial(call_kraken, answer=http(200, b'{"error":["odd"]}')),
    "TLS that stalls": partial(call_kraken, answer=b"", scheme="https"),
    "TLS failure": partial(call_kraken, answer=http(200, b"{}"), scheme="https"),
}


REFUSED_PARAMETERS: dict[str, Callable[[], dict[str, Any]]] = {
    "a nonce": lambda: {"nonce": CANARIES.marker},
    "an object": lambda: {"marker": CANARIES.marker, "object": object()},
    "a lone surrogate": lambda: {"marker": CANARIES.marker + "\udc80"},
    "not a number": lambda: {"marker": CANARIES.marker, "number": float("nan")},
}
for name, refused in REFUSED_PARAMETERS.items():
    for json_body in (False, True):

        async def parameters(
            objects: list[object],
            refused: Callable[[], dict[str, Any]] = refused,
            json_body: bool = json_body,
        ) -> None:
            credentials = candidate_credentials(
                Candidate(CANARIES.key, CANARIES.secret), source="candidate"
            )
            client = RestClient(
                RestSettings(),
                network=SystemNetwork(),
                clock=SystemClock(),
                credentials=credentials,
            )
            objects += [credentials, client]
            async with client:
                await client.private("Balance", refused(), otp=CANARIES.otp, json=json_body)

        PATHS[f"parameters with {name}, {'JSON' if json_body else 'form'}"] = parameters


@path
async def connect_refused(objects: list[object]) -> None:
    credentials = candidate_credentials(Candidate(CANARIES.key, CANARIES.secret), source="x")
    settings = RestSettings(base_url="http://127.0.0.1:1", timeout_s=1)
    async with RestClient(
        settings, network=SystemNetwork(), clock=SystemClock(), credentials=credentials
    ) as client:
        objects += [credentials, client]
        await client.private("AddOrder", {"marker": CANARIES.marker}, otp=CANARIES.otp)


class CuttingNetwork(SystemNetwork):
    """Cuts a call off when some parts of its request are sent: as a user does, or Ctrl-C."""

    def __init__(self, parts: int, cut: Callable[[], None]) -> None:
        super().__init__()
        self.left = parts
        self.cut = cut

    def http_transport(self) -> httpx.AsyncBaseTransport:
        return HttpTransport(self._open, ssl.create_default_context())

    async def _open(
        self, host: str, port: int, tls: bool, timeout_s: float | None
    ) -> trio.abc.Stream:
        return CuttingStream(await trio.open_tcp_stream(host, port), self)


class CuttingStream(trio.abc.Stream):
    def __init__(self, below: trio.SocketStream, network: CuttingNetwork) -> None:
        self.below = below
        self.network = network

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.network.left -= 1
        if self.network.left < 0:
            await self._cut()
        await self.below.send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self._cut()
        return b""

    async def _cut(self) -> None:
        self.network.cut()
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None:
        await self.below.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.below.aclose()


for parts, name in enumerate(("headers go out", "body goes out", "answer is awaited")):

    async def cancelled(objects: list[object], parts: int = parts) -> None:
        def cut() -> None:
            scope.deadline = trio.current_time()

        with trio.fail_after(60) as scope:
            await call_kraken(objects, b"", network=CuttingNetwork(parts, cut))

    async def interrupted(objects: list[object], parts: int = parts) -> None:
        def cut() -> None:
            raise KeyboardInterrupt

        await call_kraken(objects, b"", network=CuttingNetwork(parts, cut))

    PATHS[f"cancelled while the {name}"] = cancelled
    PATHS[f"interrupted while the {name}"] = interrupted


for name, spoil in {
    "newline": lambda text: text[:20] + "\n" + text[20:],
    "NUL": lambda text: text[:20] + "\0" + text[20:],
    "not ASCII": lambda text: text[:20] + "é" + text[20:],
    "surrogate": lambda text: text[:20] + "\udc80" + text[20:],
    "cut": lambda text: text[:13],
    "cut base64": lambda text: text[:-3],
    "far too long": lambda text: text * 9,
    "wrong type": lambda text: [text],
}.items():

    async def candidate(objects: list[object], spoil: Callable[[str], Any] = spoil) -> None:
        Candidate(CANARIES.key, spoil(CANARIES.secret))

    async def candidate_key(objects: list[object], spoil: Callable[[str], Any] = spoil) -> None:
        Candidate(spoil(CANARIES.key), CANARIES.secret)

    async def environment(objects: list[object], spoil: Callable[[str], Any] = spoil) -> None:
        os.environ["KRAKEN_API_KEY"] = CANARIES.key
        os.environ["KRAKEN_API_SECRET"] = str(spoil(CANARIES.secret)).replace("\0", "\n")
        try:
            load_credentials(KrakkedConfig(config_dir="/nowhere"))
        finally:
            del os.environ["KRAKEN_API_KEY"], os.environ["KRAKEN_API_SECRET"]

    async def signer(objects: list[object], spoil: Callable[[str], Any] = spoil) -> None:
        Signer(spoil(CANARIES.secret))

    PATHS[f"secret with {name}"] = candidate
    PATHS[f"environment with {name}"] = environment
    PATHS[f"signer with {name}"] = signer
    if name not in {"cut base64"}:
        PATHS[f"key with {name}"] = candidate_key


@path
async def credentials_with_a_bad_key(objects: list[object]) -> None:
    Credentials("k" * 5, Signer(CANARIES.secret), source="x")


@contextlib.contextmanager
def vault_directory() -> Iterator[KrakkedConfig]:
    """A vault sealed with the cheap derivation, holding the canaries."""
    with tempfile.TemporaryDirectory() as top:
        config = KrakkedConfig(config_dir=f"{top}/kraken_bot")
        save_canaries(config)
        yield config


def save_canaries(config: KrakkedConfig, **more: Any) -> None:
    save_credentials(
        Candidate(CANARIES.key, CANARIES.secret), CANARIES.password, config=config,
        **({"allow_unvalidated": True, "derive": cheap} | more),
    )  # fmt: skip


def cheap(password: MasterPassword, *_: object) -> bytearray:
    return bytearray(hashlib.sha256(password.reveal()).digest())


def altered(config: KrakkedConfig, change: Callable[[bytearray], object]) -> None:
    vault = VaultFile(Path(config.config_dir))
    data = bytearray(vault.read())
    change(data)
    vault.path.write_bytes(data)


def load(config: KrakkedConfig, objects: list[object], password: Any = None, **more: Any) -> None:
    vault = VaultFile(Path(config.config_dir))
    objects += [vault, config]
    opened = open_vault(
        vault, password or (lambda: CANARIES.password), **({"derive": cheap} | more)
    )
    objects += [opened, opened.credentials]


@path
async def wrong_password(objects: list[object]) -> None:
    with vault_directory() as config:
        load(config, objects)
        load_credentials(config, password=CANARIES.password + "x", derive=cheap)


@path
async def damaged_vault(objects: list[object]) -> None:
    with vault_directory() as config:
        altered(config, lambda data: data.__setitem__(-1, data[-1] ^ 1))
        load_credentials(config, password=CANARIES.password, derive=cheap)


@path
async def truncated_vault(objects: list[object]) -> None:
    with vault_directory() as config:
        altered(config, lambda data: data.__delitem__(slice(200, None)))
        load(config, objects)


@path
async def hostile_vault(objects: list[object]) -> None:
    with vault_directory() as config:
        altered(config, lambda data: data.__setitem__(slice(12, 16), b"\xff" * 4))
        load(config, objects)


@path
async def newer_vault(objects: list[object]) -> None:
    with vault_directory() as config:
        altered(config, lambda data: data.__setitem__(8, 2))
        load(config, objects)


@path
async def sealed_payload_of_another_shape(objects: list[object]) -> None:
    with vault_directory() as config:
        content = bytearray(
            (
                f'{{"schema":1,"api_key":"{CANARIES.key}","api_secret":"{CANARIES.secret}",'
                '"validated_at":"never"}'
            ).ljust(256).encode()
        )  # fmt: skip
        data = seal(
            content,
            MasterPassword(CANARIES.password),
            salt=bytes(32),
            nonce=bytes(12),
            derive=cheap,
        )
        content[:] = bytes(256)
        VaultFile(Path(config.config_dir)).write(data)
        load(config, objects)


@path
async def vault_open_to_others(objects: list[object]) -> None:
    with vault_directory() as config:
        VaultFile(Path(config.config_dir)).path.chmod(0o644)
        load(config, objects)


@path
async def derivation_out_of_memory(objects: list[object]) -> None:
    def poor(password: MasterPassword, *_: object) -> bytearray:
        raise KrakkedError("not enough memory")

    with vault_directory() as config:
        load(config, objects, derive=poor)


@path
async def password_function_that_fails(objects: list[object]) -> None:
    with vault_directory() as config:
        load(
            config,
            objects,
            lambda: 1 / 0 if not CANARIES.password else CANARIES.password + "\udc80",
        )


@path
async def disk_full(objects: list[object]) -> None:
    with vault_directory() as config:
        real, os.fsync = os.fsync, lambda _: (_ for _ in ()).throw(OSError(28, "No space left"))
        try:
            save_canaries(config)
        finally:
            os.fsync = real


@path
async def saving_a_rejected_key(objects: list[object]) -> None:
    rejected = Candidate(CANARIES.key, CANARIES.secret)
    validation = Validation(outcome=Outcome.AUTH_PROBLEM, tag=rejected.tag)
    objects += [rejected, validation]
    with vault_directory() as config:
        save_credentials(rejected, CANARIES.password, validation=validation, config=config)


@path
async def saving_unvalidated(objects: list[object]) -> None:
    with vault_directory() as config:
        save_canaries(config, allow_unvalidated=False)


@path
async def saving_with_an_unknown_cost(objects: list[object]) -> None:
    with vault_directory() as config:
        save_canaries(config, cost="tiny")


@path
async def changing_the_password_with_a_wrong_one(objects: list[object]) -> None:
    with vault_directory() as config:
        change_password(CANARIES.password[::-1], CANARIES.password, config=config, derive=cheap)


@path
async def password_too_long(objects: list[object]) -> None:
    objects.append(MasterPassword(CANARIES.password))
    MasterPassword(CANARIES.password * 200)


@path
async def password_from_a_descriptor_not_utf8(objects: list[object]) -> None:
    read, write = os.pipe()
    os.write(write, CANARIES.password.encode() + b"\xff\n")
    os.close(write)
    try:
        password_from_fd(read)
    finally:
        os.close(read)


@path
async def password_file_open_to_others(objects: list[object]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(CANARIES.password.encode())
        file.flush()
        os.fchmod(file.fileno(), 0o666)
        password_from_file(file.name)


@path
async def secret_pasted_into_config_yaml(objects: list[object]) -> None:
    with tempfile.TemporaryDirectory() as top:
        file = Path(top, "config.yaml")
        file.write_text(f"rest: {{timeout_s: '{CANARIES.secret}'}}\n")  # noqa: ASYNC240
        load_config(file.parent)


@path
async def validation_ends_in_an_error(objects: list[object]) -> None:
    candidate = Candidate(CANARIES.key, CANARIES.secret)
    config = KrakkedConfig(rest=RestSettings(base_url="http://127.0.0.1:1", timeout_s=1))
    validation = await validate_credentials(candidate, config=config)
    objects += [candidate, validation]
    assert validation.error is not None
    raise validation.error


@path
async def setup_given_up(objects: list[object]) -> None:
    class Person:
        def say(self, text: str) -> None:
            print(text)

        def ask_key(self) -> str:
            return CANARIES.key

        def ask_secret(self) -> str:
            return CANARIES.secret[:-1]

    run_setup(Person(), validate=None, save=None, vault_exists=False)  # type: ignore[arg-type]


@path
async def websocket_token_then_an_error(objects: list[object]) -> None:
    credentials = candidate_credentials(Candidate(CANARIES.key, CANARIES.secret), source="x")
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, http(200, b"@TOKEN@"))
        settings = RestSettings(base_url=f"http://127.0.0.1:{port}", timeout_s=1)
        error: KrakkedError | None = None
        try:
            async with RestClient(
                settings, network=SystemNetwork(), clock=SystemClock(), credentials=credentials
            ) as client:
                await client.websockets_token()
        except KrakkedError as caught:
            error = caught
        nursery.cancel_scope.cancel()
    if error:
        raise error


# --- the tests ------------------------------------------------------------------------------------


class LeakyError(KrakkedError):
    """Everything an exception should not do."""

    def __init__(self, text: str) -> None:
        super().__init__(f"could not sign with {text}")
        self.text = text

    def __repr__(self) -> str:
        return f"LeakyError({self.text})"


class LeakyObject:
    """Everything an object should not do."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"LeakyObject({self.text})"


class LeakyEvidence(Evidence):
    def call_a_leaky_name(self, call: Callable[[], object]) -> None:
        name = f"sign_with_{CANARIES.password.replace('-', '_')}"
        namespace: dict[str, Any] = {}
        exec(f"def {name}(call): call()", namespace)
        namespace[name](call)


async def leaky_path(objects: list[object]) -> None:
    secret = CANARIES.secret
    objects.append(LeakyObject(secret))
    logging.getLogger("httpcore.connection").debug("headers %s", secret)
    print("sending", secret)
    warnings.warn(f"odd secret {secret}", stacklevel=1)
    raise LeakyError(secret)


@pytest.mark.parametrize("sink", SINKS, ids=lambda sink: sink.__name__)
def test_a_leaky_stub_is_found_in_every_sink(sink) -> None:
    found = LeakyEvidence(**vars(trio.run(collect, leaky_path)))
    search = Search(CANARIES.all() | {"mangled": CANARIES.password.replace("-", "_")})
    assert search.hits(sink(found)), f"{sink.__name__} looks at nothing"


@pytest.mark.parametrize(
    "name",
    ["raw", "base64", "hex", "url", "escaped", "reversed", "decoded to hex", "decoded"],
)
def test_every_window_of_every_encoding_is_found(name) -> None:
    for canary, text in CANARIES.all().items():
        forms, size = encodings(text)[name]
        for form in forms:
            for at in range(len(form) - size + 1):
                assert SEARCH.hits(f"...{form[at : at + size]}..."), (canary, name)
    assert not SEARCH.hits("an innocent text, 0123456789abcdef, AAAAAAAAAAAAAAAA")


def test_the_catalogue_is_as_large_as_promised() -> None:
    assert len(SINKS) >= 15
    assert len(PATHS) >= 25
    assert len(encodings("x" * 32)) == 8
    assert all(len(text) >= 32 for text in CANARIES.all().values())


QUICK = {
    "EAPI:Invalid key",
    "secret with newline",
    "wrong_password",
    "parameters with a lone surrogate, form",
}
"""Paths of plain pytest; the others take a minute together and run in `make test`."""


def marked(name: str) -> Any:
    return pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])


@pytest.mark.parametrize("name", [marked(name) for name in PATHS])
def test_no_canary_in_any_sink(name) -> None:
    found = trio.run(collect, PATHS[name])
    leaks = {sink.__name__: hits for sink in SINKS if (hits := SEARCH.hits(sink(found)))}
    assert not leaks, f"{name}: {leaks}"
