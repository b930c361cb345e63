"""Outcome to action: what a validation finds, what may be saved, what the vault holds after."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio

from krakked._config.settings import KrakkedConfig
from krakked._credentials.outcomes import Outcome, Validation
from krakked._credentials.saving import save_credentials
from krakked._credentials.sources import open_vault
from krakked._credentials.validation import enriched, key_warnings, validate_credentials
from krakked._errors import (
    ConnectFailedError,
    CredentialsError,
    CredentialsRejectedError,
    CredentialsUnvalidatedError,
    LockoutError,
    NonceError,
)
from krakked._rest.models import ApiKeyInfo

AUTH = [
    "EAPI:Invalid key",
    "EAPI:Invalid signature",
    "EGeneral:Permission denied",
    "EAccount:Invalid permissions",
    "EAuth:Account temporary disabled",
    "EAuth:Account unconfirmed",
    "EAuth:Failed",
    "EAuth:Something nobody has seen yet",
    "EAPI:Feature disabled",
    "ESession:Invalid session",
    # known categories, texts that are on no list, any spelling
    "EAPI:Key not yet active",
    "eapi:key expired",
    "EAccount:Something new",
    "EUser:Needs verification",
    "EUSER:NEEDS VERIFICATION",
    "EGeneral: permission denied",
]
"""Kraken's texts that speak about key or account. Source: Kraken API guide "Error messages"."""

NOT_AUTH = [
    "EAPI:Invalid nonce",
    "EAPI:Bad request",
    "EAPI:Invalid arguments",
    "EAPI:Invalid arguments:nonce",
    "EGeneral:Temporary lockout",
    "EAPI:Rate limit exceeded",
    "EAuth:Rate limit exceeded",
    "EAuth:Too many requests",
    "EGeneral:Too many requests",
    "EService:Throttled:1790000000",
    "EService: Throttled: 1790000000",
    "EOrder:Rate limit exceeded",
    "EOrder:Domain rate limit exceeded",
    "EService:Unavailable",
    "EService:Something new",
    "EDatabase:Something new",
    "EGeneral:Something new",
    "EAPIs:Something new",
    "EService:Busy",
    "EService:Timeout",
    "EService:Market in cancel_only mode",
    "EService:Market in post_only mode",
    "EService:Deadline elapsed",
    "EGeneral:Internal error",
    "EGeneral:Internal error[7]",
    "EGeneral:Invalid arguments",
    "EGeneral:Invalid arguments:Index unavailable",
    "EGeneral:Invalid arguments:ordertype",
    "EGeneral:Unknown method",
    "EQuery:Unknown asset pair",
    "EQuery:Invalid asset pair",
    "EQuery:Unknown asset",
    "ETrade:Invalid request",
    "ETrade:Locked",
    *(
        f"EOrder:{text}"
        for text in (
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
        )
    ),
    "EBM:limit exceeded:CAL",
    *(
        f"EFunding:{text}"
        for text in (
            "Max fee exceeded",
            "No funding method",
            "Too many addresses",
            "Unknown asset",
            "Unknown withdraw key",
            "Invalid amount",
            "Invalid reference id",
            "Unknown reference id",
            "Failed",
        )
    ),
    "EEarnings:Above max",
    "EWhatever:Nobody has seen this",
    "not even a category",
]

HTML = "<html><head><title>{}</title></head><body>cloudflare</body></html>"


def kraken_says(text: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, json={"error": [text]})


def http_status(status: int) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(
        status, text=HTML.format(status), headers={"content-type": "text/html"}
    )


def raises(error: type[httpx.TransportError]) -> Callable[[httpx.Request], httpx.Response]:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error("no", request=request)

    return handler


def body(content: bytes, kind: str = "application/json") -> Callable[..., httpx.Response]:
    return lambda _: httpx.Response(200, content=content, headers={"content-type": kind})


SERVICE_ANSWERS = {
    **{f"HTTP {status}": http_status(status) for status in (
        301, 400, 401, 403, 404, 405, 408, 413, 429, 500, 502, 503, 504, 520, 522, 525, 530
    )},
    "HTML with 200": body(b"<html>hello</html>", "text/html"),
    "cut JSON": body(b'{"error":[],"resu'),
    "empty body": body(b""),
    "JSON of another shape": body(b"[1,2]"),
    "no result": body(b'{"error":[]}'),
}  # fmt: skip

NETWORK_FAILURES = {
    "refused": raises(httpx.ConnectError),
    "connect time-out": raises(httpx.ConnectTimeout),
    "read time-out": raises(httpx.ReadTimeout),
    "write time-out": raises(httpx.WriteTimeout),
    "read error": raises(httpx.ReadError),
    "write error": raises(httpx.WriteError),
    "closed": raises(httpx.CloseError),
    "cut answer": raises(httpx.RemoteProtocolError),
}


class FakeNetwork:
    """Answers every call with one handler; `GetApiKeyInfo` with another, if there is one."""

    def __init__(self, balance: Callable[..., Any], info: Callable[..., Any] | None = None) -> None:
        self._balance, self._info = balance, info or balance
        self.calls: list[str] = []

    def http_transport(self) -> httpx.AsyncBaseTransport:
        def handler(request: httpx.Request) -> Any:
            endpoint = request.url.path.rsplit("/", 1)[-1]
            self.calls.append(endpoint)
            return (self._info if endpoint == "GetApiKeyInfo" else self._balance)(request)

        return httpx.MockTransport(handler)

    async def open_stream(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        raise AssertionError("nothing here opens a stream")


class VirtualClock:
    virtual = True

    def wall_ns(self) -> int:
        return 1_790_000_000_000_000_000 + self.elapsed_ns()

    def elapsed_ns(self) -> int:
        return int(trio.current_time() * 1e9)


@pytest.fixture(autouse=True)
def instant_disk(monkeypatch) -> None:
    """What must be forced to the disk is shown in test_vault_file.py."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def sealed(known, config, vault, cheap) -> str:
    """A vault with older credentials is there; its sha256."""
    older = type(known)("O" * 56, "O" * 88, "the older password").candidate()
    save_credentials(older, "older password", allow_unvalidated=True, config=config, derive=cheap)
    return sha256(vault)


def sha256(vault) -> str:
    return hashlib.sha256(vault.read()).hexdigest()


async def judge(known, config: KrakkedConfig, handler: Callable[..., Any]) -> Validation:
    return await validate_credentials(
        known.candidate(), config=config, network=FakeNetwork(handler), clock=VirtualClock()
    )


CASES = [
    *((text, kraken_says(text), Outcome.AUTH_PROBLEM) for text in AUTH),
    *((text, kraken_says(text), Outcome.SERVICE_PROBLEM) for text in NOT_AUTH),
    *((name, answer, Outcome.SERVICE_PROBLEM) for name, answer in SERVICE_ANSWERS.items()),
    *((name, answer, Outcome.NETWORK_PROBLEM) for name, answer in NETWORK_FAILURES.items()),
]


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [(handler, outcome) for _, handler, outcome in CASES],
    ids=[name for name, _, _ in CASES],
)
async def test_only_success_changes_the_vault(
    known, config, vault, sealed, cheap, autojump_clock, handler, outcome
) -> None:
    candidate = known.candidate()
    validation = await validate_credentials(
        candidate, config=config, network=FakeNetwork(handler), clock=VirtualClock()
    )
    assert validation.outcome is outcome
    assert validation.validated_at_s is None
    assert validation.error is not None

    def save(**options: bool) -> None:
        save_credentials(
            candidate,
            known.password,
            validation=validation,
            config=config,
            derive=cheap,
            **options,
        )

    auth = outcome is Outcome.AUTH_PROBLEM
    refusal = CredentialsRejectedError if auth else CredentialsUnvalidatedError
    with pytest.raises(refusal):
        save()
    with pytest.raises(refusal):  # the other permission is not this one
        save(allow_unvalidated=auth, override_auth_failure=not auth)
    assert sha256(vault) == sealed
    save(allow_unvalidated=not auth, override_auth_failure=auth)
    assert sha256(vault) != sealed
    assert hashlib.sha256(vault.backup_path.read_bytes()).hexdigest() == sealed
    assert open_vault(vault, known.password, derive=cheap).validated_at_s is None


async def test_success_is_saved_with_the_time_of_validation_and_without_backup(
    known, config, vault, sealed, cheap, autojump_clock
) -> None:
    candidate = known.candidate()
    network = FakeNetwork(body(b'{"error":[],"result":{"ZUSD":"1.0"}}'), kraken_says("EAPI:x"))
    validation = await validate_credentials(
        candidate, config=config, network=network, clock=VirtualClock()
    )
    assert validation.outcome is Outcome.VALID
    assert network.calls[:2] == ["Balance", "GetApiKeyInfo"]
    assert "did not tell" in validation.warnings[0], "its failure never fails a validation"
    saved = save_credentials(
        candidate, known.password, validation=validation, config=config, derive=cheap
    )
    assert (saved.validated, saved.backup) == (True, None)
    assert not vault.backup_path.exists()
    opened = open_vault(vault, known.password, derive=cheap)
    assert opened.validated_at_s is not None
    assert abs(opened.validated_at_s - 1_790_000_000) < 60


async def test_warnings_of_kraken_do_not_fail_a_validation(known, config, autojump_clock) -> None:
    handler = body(b'{"error":["WDatabase:No change"],"result":{}}')
    assert (await judge(known, config, handler)).outcome is Outcome.VALID


async def test_a_rejected_key_is_asked_about_once_and_leaves_no_vault(
    known, config, vault, autojump_clock
) -> None:
    network = FakeNetwork(kraken_says("EAPI:Invalid key"))
    await validate_credentials(
        known.candidate(), config=config, network=network, clock=VirtualClock()
    )
    assert network.calls == ["Balance"]
    assert {path.name for path in vault.path.parent.iterdir()} == {"state"}


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        ("EAPI:Invalid key", 3),
        ("EAPI:Invalid signature", 3),
        ("EGeneral:Temporary lockout", 1),
        ("EAPI:Invalid nonce", 6),
    ],
)
async def test_a_key_that_kraken_refuses_is_not_validated_in_a_loop(
    known, config, autojump_clock, code, sent
) -> None:
    """Fourteen set-ups in a row, each a program of its own: that is what makes a lockout."""
    network = FakeNetwork(kraken_says(code))
    for _ in range(14):
        validation = await validate_credentials(
            known.candidate(), config=config, network=network, clock=VirtualClock()
        )
        assert validation.outcome is not Outcome.VALID
    assert network.calls == ["Balance"] * sent


@pytest.mark.parametrize("after", range(12))
async def test_cancellation_at_each_checkpoint_changes_nothing(
    known, config, vault, sealed, autojump_clock, after
) -> None:
    """Cancelled at the n-th look at the event loop, wherever that is."""
    finished = False

    async def run() -> None:
        nonlocal finished
        await judge(known, config, body(b'{"error":[],"result":{}}'))
        finished = True

    class CancelLater(trio.abc.Instrument):
        left = after

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.left -= 1
            if self.left == 0:
                nursery.cancel_scope.cancel()

    instrument = CancelLater()
    async with trio.open_nursery() as nursery:
        trio.lowlevel.add_instrument(instrument)
        if after == 0:
            nursery.cancel_scope.cancel()
        nursery.start_soon(run)
    trio.lowlevel.remove_instrument(instrument)
    assert sha256(vault) == sealed
    assert not finished or after > 3


async def test_a_time_out_around_a_hanging_call_changes_nothing(
    known, config, vault, sealed, autojump_clock
) -> None:
    class Hangs(FakeNetwork):
        def http_transport(self) -> httpx.AsyncBaseTransport:
            class Transport(httpx.AsyncBaseTransport):
                async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                    await trio.sleep_forever()
                    raise AssertionError

            return Transport()

    network = Hangs(kraken_says(""))
    with trio.move_on_after(5) as scope:
        await validate_credentials(
            known.candidate(), config=config, network=network, clock=VirtualClock()
        )
    assert scope.cancelled_caught
    validation = await validate_credentials(
        known.candidate(), config=config, network=network, clock=VirtualClock()
    )
    assert validation.outcome is Outcome.NETWORK_PROBLEM
    assert sha256(vault) == sealed


@pytest.mark.parametrize(
    ("outcome", "unvalidated", "override"),
    list(itertools.product([None, *Outcome], [False, True], [False, True])),
)
def test_the_table_of_what_may_be_saved(
    known, config, vault, sealed, cheap, outcome, unvalidated, override
) -> None:
    candidate = known.candidate()
    validation = outcome and Validation(
        outcome=outcome,
        tag=candidate.tag,
        validated_at_s=1_790_000_000 if outcome is Outcome.VALID else None,
    )
    allowed = {
        None: unvalidated,
        Outcome.VALID: True,
        Outcome.AUTH_PROBLEM: override,
        Outcome.SERVICE_PROBLEM: unvalidated,
        Outcome.NETWORK_PROBLEM: unvalidated,
    }[outcome]

    def save() -> None:
        save_credentials(
            candidate,
            known.password,
            validation=validation,
            allow_unvalidated=unvalidated,
            override_auth_failure=override,
            config=config,
            derive=cheap,
        )

    if allowed:
        save()
    else:
        with pytest.raises(CredentialsError):
            save()
    assert (sha256(vault) != sealed) == allowed
    assert vault.backup_path.exists() == (allowed and outcome is not Outcome.VALID)


def test_a_validation_counts_only_for_the_key_and_secret_it_was_made_for(
    known, config, vault, sealed, cheap
) -> None:
    candidate = known.candidate()
    good = Validation(outcome=Outcome.VALID, tag=candidate.tag, validated_at_s=1)
    other = type(known)(known.key, "B" * 88, known.password).candidate()
    with pytest.raises(CredentialsError, match="another key or secret"):
        save_credentials(other, known.password, validation=good, config=config, derive=cheap)
    assert sha256(vault) == sealed


def test_an_unknown_cost_is_refused(known, config, refuse) -> None:
    with pytest.raises(CredentialsError, match="default, small"):
        save_credentials(
            known.candidate(), refuse, allow_unvalidated=True, config=config, cost="tiny"
        )


def test_whose_fault_it_was() -> None:
    from krakked._credentials.outcomes import classify_failure

    nonce = NonceError("x", code="EAPI:Invalid nonce", endpoint="Balance")
    lockout = LockoutError("x", code="EGeneral:Temporary lockout", endpoint="Balance")
    assert classify_failure(nonce) is Outcome.SERVICE_PROBLEM
    assert classify_failure(lockout) is Outcome.SERVICE_PROBLEM
    assert classify_failure(ConnectFailedError("x")) is Outcome.NETWORK_PROBLEM


NOW = 1_790_000_000


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (ApiKeyInfo(permissions=("query-funds",)), ["no IP allow-list", "never expires"]),
        (
            ApiKeyInfo(
                permissions=("query-funds", "withdraw-funds"),
                ip_allowlist=("203.0.113.7",),
                valid_until_s=NOW + 90 * 86_400,
            ),
            ["may move money out (withdraw-funds)"],
        ),
        (
            ApiKeyInfo(ip_allowlist=("203.0.113.7",), valid_until_s=NOW + 3 * 86_400),
            ["expires in 3 days"],
        ),
        (ApiKeyInfo(ip_allowlist=("203.0.113.7",), valid_until_s=NOW + 90 * 86_400), []),
    ],
)
def test_dangerous_keys_are_pointed_out(info: ApiKeyInfo, said: list[str]) -> None:
    warnings = key_warnings(info, NOW)
    assert len(warnings) == len(said)
    assert all(part in warning for part, warning in zip(said, warnings, strict=True))


def test_key_info_enriches() -> None:
    info = ApiKeyInfo(permissions=("query-funds",), nonce_window=15, valid_until_s=NOW + 1)
    validation = enriched("tag", NOW, info)
    assert validation.permissions == ("query-funds",)
    assert validation.nonce_window == 15
    assert validation.expires_at_s == NOW + 1
    assert validation.validated_at_s == NOW


@pytest.mark.parametrize(
    "fields",
    [
        b'{"permissions":["withdraw-funds"],"nonceWindow":15,"validUntil":"0","ipAllowlist":[]}',
        b'{"permissions":["withdraw-funds"],"nonce_window":"15","valid_until":"0",'
        b'"ip_allowlist":[]}',
    ],
)
async def test_both_spellings_of_key_info_are_read(known, config, fields, autojump_clock) -> None:
    network = FakeNetwork(
        body(b'{"error":[],"result":{}}'), body(b'{"error":[],"result":%s}' % fields)
    )
    validation = await validate_credentials(
        known.candidate(), config=config, network=network, clock=VirtualClock()
    )
    assert validation.nonce_window == 15
    assert validation.permissions == ("withdraw-funds",)
    assert len(validation.warnings) == 3
