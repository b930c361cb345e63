"""One HTTP exchange: the only place that talks to httpx.

It never raises what httpx raises. Those exceptions hold the request, and with it key, signature and
body, so they are turned into ours here, once, without a chain. Redirects are not followed, bodies
are capped, and neither proxies nor .netrc of the environment are looked at.
"""

from __future__ import annotations

import logging
import ssl
import traceback
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self, final
from urllib.parse import urlsplit

import httpx
import msgspec
import trio

from krakked._errors import (
    Action,
    ApiError,
    ClosedError,
    ConfigError,
    ConnectFailedError,
    DisconnectedError,
    NetworkError,
    NetworkTimeoutError,
)
from krakked._network.addresses import check_url
from krakked._network.network import USER_AGENT, Network
from krakked._rest.bounded_body import ACCEPTED, BodyReader
from krakked._rest.connect_trace import Progress
from krakked._rest.reply import Received, clean_text, unreadable
from krakked._rest.request import SignedRequest

MAX_BODY_BYTES = 16 * 1024 * 1024
"""The largest real answer, all pairs or all tickers, is about 1 MiB."""
MAX_FILE_BYTES = 256 * 1024 * 1024
"""For calls that answer with a file; an export of all ledgers may be large."""
CONNECT_TIMEOUT_S = 10.0
"""Name resolution, TCP and TLS."""
WRITE_TIMEOUT_S = 10.0
"""Between two parts of a request; ours fit into one."""
CLOSE_TIMEOUT_S = 2.0
"""For closing what a cancelled call leaves; nobody can cut that short."""

log = logging.getLogger("krakked.rest")


def _checked_host(base_url: str) -> str:
    """Return the host when credentials may be sent to it: over TLS, or to this machine.

    Raises:
        ConfigError: Anything else.
    """
    expectation = check_url(base_url, secure="https", plain="http", path_allowed=False)
    if expectation is not None:
        raise ConfigError(f"rest.base_url: {expectation}.", key="rest.base_url")
    return urlsplit(base_url).hostname or ""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """No usable answer came."""

    error: ApiError | NetworkError
    sent: bool
    """False only when surely nothing left this machine."""


@final
class HttpExchange:
    """Sends requests to one server and reports what came of it.

    Args:
        base_url: Scheme, host and port.
        network: Gives the transport.
        timeout_s: Longest time for one exchange, from connecting to the last byte.
    """

    def __init__(self, base_url: str, network: Network, timeout_s: float) -> None:
        self._base_url = base_url.rstrip("/")
        self.host: str = _checked_host(base_url)
        """Host name without port."""
        self._address = urlsplit(base_url).netloc
        self.sandbox: str | None = None
        """Which sandbox has answered, as it says itself; no real exchange says so."""
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            transport=network.http_transport(),
            headers={
                "User-Agent": USER_AGENT,
                "Accept": "application/json",
                "Accept-Encoding": ACCEPTED,
            },
            timeout=httpx.Timeout(
                timeout_s,
                connect=min(CONNECT_TIMEOUT_S, timeout_s),
                write=min(WRITE_TIMEOUT_S, timeout_s),
            ),
            follow_redirects=False,
            trust_env=False,
            # those of the servers in front would tie our calls together, and to this machine
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    def check_open(self) -> None:
        """Raise `ClosedError` after the end, before anything waits or is sent."""
        if self._client.is_closed:
            raise ClosedError

    async def get(self, target: str, endpoint: str) -> Received | Failed:
        """Send a public request; `target` is path and query."""
        return await self._send(endpoint, target, None)

    async def post(
        self, signed: SignedRequest, endpoint: str, *, file: bool = False
    ) -> Received | Failed:
        """Send a signed request: exactly the bytes that were signed; `file`: a file is wanted."""
        return await self._send(endpoint, signed.path, signed, file=file)

    async def _send(
        self, endpoint: str, target: str, signed: SignedRequest | None, *, file: bool = False
    ) -> Received | Failed:
        outcome: Received | Failed | None = None
        progress = Progress()
        with trio.move_on_after(self._timeout_s):
            # everything, because whatever comes from in there has frames that hold the request
            try:
                outcome = await self._ask(endpoint, target, signed, progress, file=file)
            except Exception as error:
                outcome = self._translate(error, endpoint)
            except BaseException as error:  # cancelled or interrupted: the same one goes on alone
                error.__cause__ = error.__context__ = None
                raise error.with_traceback(None)  # noqa: B904
        if outcome is None and progress.connecting:
            outcome = self._not_connected(endpoint, f"no connection within {self._timeout_s:g} s")
        return outcome or Failed(error=self._timed_out(endpoint), sent=True)

    async def _ask(
        self,
        endpoint: str,
        target: str,
        signed: SignedRequest | None,
        progress: Progress,
        *,
        file: bool,
    ) -> Received | Failed:
        request = self._build(target, signed, progress)
        if file:
            request.headers["Accept"] = "application/zip, application/json"
        response = await self._client.send(request, stream=True)
        try:
            return await self._receive(
                response, endpoint, MAX_FILE_BYTES if file else MAX_BODY_BYTES
            )
        finally:
            with trio.CancelScope(shield=True, deadline=_soon()):
                await response.aclose()

    def _build(
        self, target: str, signed: SignedRequest | None, progress: Progress
    ) -> httpx.Request:
        url, extensions = self._base_url + target, {"trace": progress}
        if signed is None:
            return self._client.build_request("GET", url, extensions=extensions)
        request = self._client.build_request(
            "POST", url, content=signed.body(), headers=signed.headers(), extensions=extensions
        )
        request.stream = _Whole(signed.body())
        return request

    async def _receive(
        self, response: httpx.Response, endpoint: str, limit: int
    ) -> Received | Failed:
        reader = BodyReader(response.headers.get("content-encoding", ""), limit)
        self.sandbox = response.headers.get("x-krakked-sandbox", self.sandbox)
        if response.status_code != 200:
            body = b""
        elif response.is_stream_consumed:  # a transport for tests that gives whole answers
            body = response.content
        else:
            with trio.CancelScope() as scope:
                async for chunk in response.aiter_raw():
                    if not reader.feed(chunk):
                        # ends the next read from within; leaving the loop here would abandon
                        # httpx's generators half-way
                        scope.cancel()
            body = reader.body()
        if reader.problem is not None and response.status_code == 200:
            error = unreadable(endpoint, reader.problem)
            if reader.too_large:  # it would be as large again
                error.retryable, error.action = False, Action.FIX_REQUEST
            return Failed(error=error, sent=True)
        return Received(
            status=response.status_code,
            content_type=response.headers.get("content-type", ""),
            retry_after=response.headers.get("retry-after"),
            body=body,
        )

    def _timed_out(self, endpoint: str) -> NetworkTimeoutError:
        return NetworkTimeoutError(
            f"{self._address} did not answer {endpoint} within {self._timeout_s:g} s "
            "(rest.timeout_s).",
            endpoint=endpoint,
        )

    def _not_connected(self, endpoint: str, told: str) -> Failed:
        untrusted = "CERTIFICATE_VERIFY_FAILED" in told
        return Failed(
            error=ConnectFailedError(
                f"Could not connect to {self._address}: {told}. Check the network"
                f"{', the system clock and any proxy in between' if untrusted else ''}.",
                endpoint=endpoint,
                retryable=not untrusted,
            ),
            sent=False,
        )

    def _translate(self, error: Exception, endpoint: str) -> Failed:
        """Say in our words what httpx met. Texts are used only where nothing was sent yet."""
        name = type(error).__name__
        if isinstance(error, ConnectFailedError):  # a proxy's, made anew without its frames
            told = ConnectFailedError(
                str(error), endpoint=endpoint, retryable=error.retryable, action=error.action
            )
            return Failed(error=told, sent=False)
        if isinstance(
            error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError
        ):
            return self._not_connected(endpoint, _reason(error))
        if isinstance(error, httpx.TimeoutException):
            return Failed(error=self._timed_out(endpoint), sent=True)
        if isinstance(error, httpx.DecodingError):
            return Failed(error=unreadable(endpoint, "its compression is broken"), sent=True)
        if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
            return Failed(
                error=DisconnectedError(
                    f"The connection to {self._address} broke during {endpoint} ({name}).",
                    endpoint=endpoint,
                ),
                sent=True,
            )
        if not isinstance(error, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError):
            log.error("%s: unexpected %s in %s", endpoint, name, _place(error))
        # LocalProtocolError and the like: their texts may quote header values
        malformed = isinstance(error, httpx.LocalProtocolError | httpx.InvalidURL)
        return Failed(
            error=NetworkError(
                f"{endpoint} failed in the HTTP library ({name}).",
                endpoint=endpoint,
                retryable=False,
                action=Action.FIX_REQUEST if malformed else Action.CHECK_NETWORK,
            ),
            sent=not malformed,
        )


class _Whole(httpx.AsyncByteStream):
    """A request's body in one piece.

    The library's own is a generator, which a connection that breaks while the body goes out would
    leave half-way, for the garbage collector to find.
    """

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        body, self._body = self._body, b""
        if not body:
            raise StopAsyncIteration
        return body

    def __repr__(self) -> str:
        return "_Whole(***)"


def _soon() -> float:
    return trio.current_time() + CLOSE_TIMEOUT_S


def _reason(error: BaseException | None) -> str:
    """Say why there is no connection: what the system or TLS said below httpx, which hides it.

    Nothing was sent yet, so these texts hold addresses and reasons only.
    """
    told = ""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return clean_text(str(error))
        if isinstance(error, httpx.TimeoutException | trio.TooSlowError):
            return "it took too long"
        told = told or clean_text(str(error))
        error = error.__cause__ or error.__context__
    return told or "the connection broke while it was made"


def _place(error: Exception) -> str:
    """Say where an error that is not kept came from: code only, no values."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}, {frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
