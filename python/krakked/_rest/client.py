"""The REST client: a thin shell that ties request, gate, exchange and reply together."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, final, overload
from urllib.parse import urlsplit

import msgspec
import trio

from krakked._config.settings import RestSettings
from krakked._errors import (
    ApiError,
    KrakkedError,
    NetworkError,
    NetworkTimeoutError,
    NoCredentialsError,
)
from krakked._files.owner import OwnerProcess
from krakked._network.clock import Clock
from krakked._network.network import Network
from krakked._public import public
from krakked._rest.breaker import lockout_left_s
from krakked._rest.endpoints import Answer, TypedEndpoints
from krakked._rest.health import CallLog, LimiterStatus, RestStatus
from krakked._rest.http import Failed, HttpExchange
from krakked._rest.limits import (
    MICRO,
    SECOND_NS,
    WaitReason,
    counter_rule,
    decay,
    public_rule,
)
from krakked._rest.models import ApiKeyInfo, ServerTime, endpoint_row
from krakked._rest.nonces import may_overlap
from krakked._rest.otp import Otp, one_time, spent
from krakked._rest.private_limiter import PrivateLimiter
from krakked._rest.public_limiter import PublicLimiter
from krakked._rest.reply import (
    Envelope,
    JsonValue,
    Received,
    decode_result,
    decode_wanted,
    judge,
)
from krakked._rest.request import (
    PrivateCall,
    Value,
    check_endpoint,
    encode_value,
    public_target,
    refused,
)
from krakked._rest.retries import RetryBudget, advise, pause_s, worth_retrying
from krakked._rest.server_clock import ServerClock
from krakked._rest.signing import Credentials
from krakked._rest.waits import WaitBoard, Waiting
from krakked._rest.waits import log as waits_log
from krakked._roles import require_able, require_kind

log = logging.getLogger("krakked.rest")

T = TypeVar("T")


@public
@final
class RestClient(TypedEndpoints):
    """Kraken's REST API: limited, signed, retried where that is safe. An async context manager.

    Args:
        settings: `rest:` of config.yaml.
        network: How to reach the exchange.
        clock: Where times come from.
        credentials: For private calls; None = public calls only.
        state_dir: Directory of the records shared between processes (nonces, limits). None keeps
            them in this object: then only this one client may use the key.
    """

    def __init__(
        self,
        settings: RestSettings,
        *,
        network: Network,
        clock: Clock,
        credentials: Credentials | None = None,
        state_dir: Path | None = None,
    ) -> None:
        require_able(network, "network", Network)
        require_able(clock, "clock", Clock)
        if credentials is not None:
            require_kind(credentials, "credentials", Credentials)
        self._owner = OwnerProcess("The REST client")
        self._clock = clock
        self._credentials = credentials
        self._board = WaitBoard()
        self._budget = RetryBudget()
        self._random = random.Random()  # noqa: S311 -- jitter only
        self._exchange = HttpExchange(settings.base_url, network, settings.timeout_s)
        self._public_limiter = PublicLimiter(
            state_dir and state_dir / f"host-{_host_name(settings.base_url)}.state",
            clock,
            public_rule(settings),
            self._board,
        )
        self._counter = counter_rule(settings)
        self._private_limiter = credentials and PrivateLimiter(
            state_dir and state_dir / f"key-{credentials.fingerprint}.state",
            credentials.tag,
            clock,
            self._counter,
            self._board,
            lock_timeout_s=60.0 + settings.timeout_s,
        )
        self._nonce_window: int | None = None
        self._server_clock = ServerClock(clock)
        self._log = CallLog()

    async def __aenter__(self) -> Self:
        await self._exchange.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exchange.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"RestClient({self._exchange.host!r})"

    @property
    def sandbox(self) -> str | None:
        """Which sandbox has answered, as ``sandbox-5-20261126``; None for a real exchange."""
        return self._exchange.sandbox

    # --- calls -----------------------------------------------------------------------------------

    @overload
    async def public(
        self, endpoint: str, params: Mapping[str, Value] | None = None, *, reply: None = None
    ) -> JsonValue: ...
    @overload
    async def public(
        self, endpoint: str, params: Mapping[str, Value] | None = None, *, reply: type[T]
    ) -> T: ...
    async def public(
        self,
        endpoint: str,
        params: Mapping[str, Value] | None = None,
        *,
        reply: type[T] | None = None,
    ) -> T | JsonValue:
        """Call a public endpoint and return its decoded ``result``.

        Args:
            endpoint: Kraken's name, such as ``Time`` or ``Depth``.
            params: Query parameters; None values are left out, sequences become comma lists.
            reply: What to decode into: a type that msgspec knows, such as ``dict[str, str]`` or a
                Struct of yours. None = plain values of JSON, of which a type checker knows nothing.

        Raises:
            NetworkError: No usable answer came, after at most three attempts.
            ApiError: Kraken refused the call; see its subclasses. `ServiceError` too where the
                answer is none of `reply`.
        """
        _check_reply(endpoint, reply)
        return decode_wanted((await self._ask_public(endpoint, params)).envelope, endpoint, reply)

    async def public_bytes(self, endpoint: str, params: Mapping[str, Value] | None = None) -> bytes:
        """Call a public endpoint and give the whole body of the successful reply.

        Raises:
            NetworkError: No usable answer came, after at most three attempts.
            ApiError: Kraken refused the call; see its subclasses.
        """
        return (await self._ask_public(endpoint, params)).body

    @overload
    async def private(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: Otp | None = None,
        json: bool = False,
        reply: None = None,
    ) -> JsonValue: ...
    @overload
    async def private(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: Otp | None = None,
        json: bool = False,
        reply: type[T],
    ) -> T: ...
    async def private(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: Otp | None = None,
        json: bool = False,
        reply: type[T] | None = None,
    ) -> T | JsonValue:
        """Call a private endpoint, signed, and return its decoded ``result``.

        Calls that only read are tried at most three times, each with a fresh nonce and signature.
        Everything else is sent once. Where it may have taken effect although no proper answer came,
        the error is not retryable and its action is `Action.LOOK_UP_OUTCOME`: look before sending
        it again.

        Args:
            endpoint: Kraken's name, such as ``Balance``.
            data: Parameters, without ``nonce``.
            otp: One-time password of a key with a second factor: the code, or a function that
                gives the code of the moment, asked when the call goes out. No code is sent twice
                by a call; a read is only repeated with another one.
            json: Send the parameters as JSON, for the endpoints that want it.
            reply: What to decode into, as for `public`.

        Raises:
            NoCredentialsError: The client was made without credentials.
            NetworkError: No usable answer came.
            ApiError: Kraken refused the call; `LockoutError` and a repeated `AuthError` come
                without anything being sent.
        """
        try:
            _check_reply(endpoint, reply)
            call = PrivateCall(endpoint, data, otp=otp, json=json)
        finally:
            data = otp = None  # not in the frames of an error
        return decode_wanted((await self._fetch(call)).envelope, endpoint, reply)

    async def private_bytes(
        self,
        endpoint: str,
        data: Mapping[str, object] | None = None,
        *,
        otp: Otp | None = None,
        json: bool = False,
    ) -> bytes:
        """Call a private endpoint that answers with a file, such as ``RetrieveExport``.

        Gives its zip, of at most 256 MiB, or the whole body of a successful answer in JSON. The
        download, too, has to be over within `rest.timeout_s`. Otherwise as `private`.
        """
        try:
            call = PrivateCall(endpoint, data, otp=otp, json=json)
        finally:
            data = otp = None  # not in the frames of an error
        return (await self._fetch(call, file=True)).body

    async def _fetch_public(
        self, endpoint: str, params: Mapping[str, Value] | None = None
    ) -> Answer:
        """Call a public endpoint; see `public`."""
        self._owner.check()
        target = public_target(endpoint, params)
        pair = params.get("pair") if params and endpoint_row(endpoint).per_pair else None
        attempt = 1
        while True:
            try:
                return await self._get(
                    endpoint, target, None if pair is None else encode_value(pair)
                )
            except KrakkedError as error:
                seconds = self._pause(error, attempt, read=True)
                if seconds is None:
                    raise
            await self._sleep(endpoint, seconds)
            attempt += 1

    async def _fetch_private(
        self,
        endpoint: str,
        data: Mapping[str, Value] | None = None,
        *,
        otp: Otp | None = None,
    ) -> Answer:
        """Call a private endpoint; see `private`."""
        try:
            call = PrivateCall(endpoint, data, otp=otp)
        finally:
            data = otp = None  # not in the frames of an error
        return await self._fetch(call)

    async def _fetch(self, call: PrivateCall, *, file: bool = False) -> Answer:
        """Send a call, perhaps several times; it is empty afterwards."""
        attempt = 1
        met: KrakkedError = spent(call.endpoint)
        try:
            self._owner.check()
            while True:
                try:
                    answer = await self._post(call, file=file)
                except KrakkedError as error:
                    seconds = self._pause(error, attempt, read=call.may_repeat)
                    if seconds is None:
                        raise
                    met = error.with_traceback(None)
                else:
                    if answer is not None:
                        return answer
                    raise met
                await self._sleep(call.endpoint, seconds)
                attempt += 1
        finally:
            call.drop()
            del met  # it would hold this frame, and this frame it

    async def _get(self, endpoint: str, target: str, pair: str | None) -> Answer:
        self._exchange.check_open()
        await self._public_limiter.admit(endpoint, pair)
        sent_ns = self._clock.elapsed_ns()
        outcome = await self._exchange.get(target, endpoint)
        answer = self._judge(endpoint, outcome, sent_ns, read=True)
        if isinstance(answer, Answer):
            return answer
        del outcome  # it holds the body
        await self._public_limiter.react(answer)
        raise answer

    async def _post(self, call: PrivateCall, *, file: bool) -> Answer | None:
        """Send a call once; None when its one-time password of the moment was sent before."""
        self._exchange.check_open()
        if self._credentials is None or self._private_limiter is None:
            raise NoCredentialsError(
                f"{call.endpoint} is a private call and this client has no credentials. Give it "
                "some: open_kraken(credentials=krakked.load_credentials())."
            )
        overlap = may_overlap(self._nonce_window)
        async with self._private_limiter.passage(
            call.endpoint, pair=call.pair, overlap=overlap
        ) as passage:
            passage.not_sent()  # until it is: asking for a one-time password may fail
            signed = call.sign(self._credentials, passage.ticket.nonce)
            if signed is None:
                return None
            passage.sent()
            sent_ns = self._clock.elapsed_ns()
            try:
                outcome = await self._exchange.post(signed, call.endpoint, file=file)
            finally:
                signed.drop()
            answer = self._judge(call.endpoint, outcome, sent_ns, read=call.is_read, file=file)
            if isinstance(outcome, Received):
                error = answer if isinstance(answer, ApiError) else None
                passage.answered(error, accepted=isinstance(answer, Answer))
            elif not outcome.sent:
                passage.not_sent()
                call.not_sent()
            del outcome  # it holds the body
        if isinstance(answer, Answer):
            return answer
        raise answer

    # --- judging ---------------------------------------------------------------------------------

    def _judge(
        self,
        endpoint: str,
        outcome: Received | Failed,
        sent_ns: int,
        *,
        read: bool,
        file: bool = False,
    ) -> Answer | KrakkedError:
        """Turn what came into an answer or the error to raise; note it for the health report."""
        received_ns = self._clock.elapsed_ns()
        if isinstance(outcome, Failed):
            verdict: Envelope | ApiError | NetworkError = outcome.error
        else:
            server_s = self.server_wall_ns() / SECOND_NS
            verdict = judge(outcome, endpoint, read=read, file=file, server_s=server_s)
        if not isinstance(verdict, Envelope):
            advise(verdict, read=read, sent=isinstance(outcome, Received) or outcome.sent)
            self._log.failed(verdict, received_ns)
            return verdict
        body = outcome.body if isinstance(outcome, Received) else b""
        self._log.answered(received_ns)
        self._log.warned(endpoint, verdict.warnings)
        self._budget.refund()
        return Answer(envelope=verdict, body=body, sent_ns=sent_ns, received_ns=received_ns)

    def _pause(self, error: KrakkedError, attempt: int, *, read: bool) -> float | None:
        """Return the pause before the next attempt, or None when there is to be none."""
        if not worth_retrying(error, attempt=attempt, read=read) or not self._budget.spend(error):
            return None
        seconds = pause_s(error, attempt=attempt, chance=self._random.random())
        # What took long is said by every program; what failed at once, to who asks for it.
        slow = isinstance(error, NetworkTimeoutError)
        (waits_log if slow else log).info("%s Attempt %d follows.", error, attempt + 1)
        return seconds

    async def _sleep(self, endpoint: str, seconds: float) -> None:
        with self._board.waiting(endpoint) as wait:
            wait.set(WaitReason.RETRY, seconds)
            await trio.sleep(seconds)

    # --- what calls teach us ---------------------------------------------------------------------

    async def time(self) -> ServerTime:
        """Ask for Kraken's clock, and compare ours with it."""
        answer = await self._fetch_public("Time")
        told: ServerTime = decode_result(answer.envelope, ServerTime, "Time")
        self._server_clock.learn(told.unixtime, answer.sent_ns, answer.received_ns)
        return told

    async def api_key_info(self, *, otp: Otp | None = None) -> ApiKeyInfo:
        """Ask what the key may do; a wide enough nonce window lets later calls overlap."""
        otp = one_time(otp)  # no frame shows it
        info = await super().api_key_info(otp=otp)
        self._nonce_window = info.nonce_window
        return info

    def server_wall_ns(self) -> int:
        """Return Kraken's unix time in nanoseconds, as far as known.

        That is the wall clock, unless the last `time` showed that it is wrong.
        """
        return self._server_clock.wall_ns()

    def why_waiting(self) -> tuple[Waiting, ...]:
        """Say which calls wait and for what, the longest waiting first; empty when none does."""
        return self._board.snapshot()

    def reachability(self) -> RestStatus:
        """Say what the calls so far tell about the API; sends nothing."""
        now_ns = self._clock.elapsed_ns()
        record = self._private_limiter.latest if self._private_limiter else None
        counter: float | None = None
        if record is not None:
            current = decay(record.counter, self._counter, now_ns)
            flying = sum(sent.cost_micro for sent in current.in_flight)
            counter = (current.value_micro + flying) / MICRO
        return RestStatus(
            reachable=self._log.reachable,
            last_error=self._log.last_error,
            last_ok_age_s=self._log.last_ok_age_s(now_ns),
            clock_ahead_s=self._server_clock.ahead_s(),
            warnings=tuple(self._log.warnings),
            limiter=LimiterStatus(
                public_spacing_s=self._public_limiter.spacing_s,
                private_counter=counter,
                lockout_left_s=lockout_left_s(record.breaker, now_ns) if record else 0.0,
                retry_budget=self._budget.tokens,
                waiting=self.why_waiting(),
            ),
            nonce=self._private_limiter.nonce_status(self._nonce_window)
            if self._private_limiter
            else None,
        )


def _host_name(base_url: str) -> str:
    """Return a file name for a host and port."""
    parts = urlsplit(base_url)
    host = "".join(char if char.isalnum() or char in "-." else "_" for char in parts.hostname or "")
    return f"{host}_{parts.port}" if parts.port else host


def _check_reply(endpoint: str, kind: object) -> None:
    """Refuse what no answer can be decoded into, before anything is sent."""
    if kind is None:
        return
    try:
        msgspec.json.Decoder(kind)
    except (TypeError, NameError, ValueError, AttributeError) as error:
        raise refused(check_endpoint(endpoint), f"reply: {error!s:.200}") from None
