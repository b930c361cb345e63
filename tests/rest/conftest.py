"""A scripted server behind httpx.MockTransport and a clock that follows trio's."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest
import trio

from krakked._config.settings import RestSettings
from krakked._core import Signer
from krakked._rest.client import RestClient
from krakked._rest.signing import Credentials

EPOCH_NS = 1_790_000_000_000_000_000
KEY = "RestTestKeyRestTestKeyRestTestKeyRestTestKeyRestTestKey0"
SECRET = base64.b64encode(bytes(range(64))).decode()

Reply = httpx.Response | Exception | dict[str, object] | str


class VirtualClock:
    """Wall and elapsed time out of trio's clock; the wall may be stepped."""

    virtual = True

    def __init__(self) -> None:
        self.step_ns = 0

    def wall_ns(self) -> int:
        return EPOCH_NS + self.step_ns + round(trio.current_time() * 1e9)

    def elapsed_ns(self) -> int:
        return round(trio.current_time() * 1e9)


class ScriptedServer:
    """Answers from a script, then `{"error":[],"result":{}}`; keeps what it was sent, and when."""

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.answer: Callable[[httpx.Request], Reply] | None = None
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []
        self.delay_s = 0.0
        self.in_flight = 0
        self.most_in_flight = 0

    def http_transport(self) -> httpx.AsyncBaseTransport:
        return httpx.MockTransport(self.handle)

    async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        raise AssertionError("REST opens no stream")

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(trio.current_time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await trio.sleep(self.delay_s)
        finally:
            self.in_flight -= 1
        if self.script:
            reply = self.script.pop(0)
        else:
            reply = self.answer(request) if self.answer else {"error": [], "result": {}}
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, str):
            reply = {"error": [reply]}
        return httpx.Response(200, json=reply) if isinstance(reply, dict) else reply

    def forms(self) -> list[dict[str, str]]:
        """What the private calls carried."""
        return [
            {name: values[0] for name, values in parse_qs(r.content.decode()).items()}
            for r in self.requests
        ]

    def nonces_of(self, endpoint: str) -> list[int]:
        """The nonces of the calls of one endpoint."""
        forms = zip(self.requests, self.forms(), strict=True)
        return [int(form["nonce"]) for r, form in forms if r.url.path.endswith(f"/{endpoint}")]

    def nonces(self) -> list[int]:
        return [int(form["nonce"]) for form in self.forms()]


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def credentials() -> Credentials:
    return Credentials(KEY, Signer(SECRET), source="test")


@pytest.fixture
def open_client(
    server: ScriptedServer, clock: VirtualClock, credentials: Credentials
) -> Callable[..., RestClient]:
    """Make a client of the scripted server; keyword arguments go into its settings."""

    def make(
        *,
        state_dir: Path | None = None,
        keyless: bool = False,
        clock: VirtualClock = clock,
        credentials: Credentials = credentials,
        **settings: object,
    ) -> RestClient:
        return RestClient(
            RestSettings(**settings),  # type: ignore[arg-type]
            network=server,
            clock=clock,
            credentials=None if keyless else credentials,
            state_dir=state_dir,
        )

    return make
