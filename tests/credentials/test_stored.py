"""What lies in the vault: known to programs, and validated where it lies."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import trio

from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Outcome
from krakked._credentials.passwords import MasterPassword
from krakked._credentials.payload import encode_payload, read_validated_at, restamped
from krakked._credentials.saving import save_credentials
from krakked._credentials.stored import validate_stored_credentials, vault_info
from krakked._credentials.vault import COSTS, parse_header
from krakked._errors import (
    CredentialsError,
    NoCredentialsError,
    VaultDamagedError,
    VaultLockedError,
    WrongPasswordError,
)
from krakked.sandbox import SandboxSettings, open_sandbox

PASSWORD = "correct horse battery"
SMALL = SandboxSettings(pair_count=2)


@pytest.fixture
def save(config, cheap) -> Callable[[str, str], None]:
    """Save a key and secret as unvalidated."""

    def unvalidated(key: str, secret: str, **more: Any) -> None:
        save_credentials(
            Candidate(key, secret),
            PASSWORD,
            allow_unvalidated=True,
            config=config,
            derive=cheap,
            **more,
        )

    return unvalidated


@pytest.fixture
def info(config, cheap):
    return functools.partial(vault_info, config, derive=cheap)


def test_facts_without_a_password(known, save, info, vault, refuse, config) -> None:
    with pytest.raises(NoCredentialsError, match="krakked setup"):
        info()
    save(known.key, known.secret, cost="small")
    found = vault_info(config, derive=refuse)
    assert found.path == str(vault.path)
    assert found.size_bytes == vault.path.stat().st_size
    assert found.modified_s == vault.path.stat().st_mtime
    assert found.memory_bytes == 64 << 20
    assert (found.opened, found.fingerprint, found.validated_at_s) == (False, None, None)
    assert found.backup is None
    save(known.key, known.secret)
    assert info().backup == str(vault.backup_path)
    assert info().memory_bytes == 256 << 20


def test_facts_with_the_password(known, save, info) -> None:
    save(known.key, known.secret)
    found = info(password=PASSWORD)
    assert found.opened
    assert found.fingerprint == hashlib.sha256(known.key.encode()).hexdigest()[:16]
    assert found.validated_at_s is None
    assert known.key not in repr(found)
    with pytest.raises(WrongPasswordError):
        info(password="something else")


@pytest.mark.parametrize("cost", COSTS)
async def test_what_was_saved_unvalidated_becomes_validated(
    save, info, cheap, config, vault, autojump_clock, cost
) -> None:
    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        save(exchange.key, exchange.secret, cost=cost)
        before = vault.read()
        asked: list[int] = []

        def password() -> MasterPassword:
            asked.append(1)
            return MasterPassword(PASSWORD)

        found = await validate_stored_credentials(
            password,
            config=config,
            network=exchange.network,
            clock=exchange.clock,
            derive=cheap,
        )
        assert found.outcome is Outcome.VALID
        assert "query-funds" in (found.permissions or ())
        assert found.validated_at_s == exchange.clock.wall_ns() // 10**9
    assert asked == [1]
    after = info(password=PASSWORD)
    assert after.validated_at_s == found.validated_at_s
    assert after.fingerprint == Candidate(exchange.key, exchange.secret).fingerprint
    assert parse_header(vault.read()).cost == COSTS[cost]
    assert parse_header(vault.read()).salt != parse_header(before).salt
    assert after.backup is None, "nothing else was kept: it holds the same key"


@pytest.mark.parametrize("fault", ["rejected", "service", "network", "second factor"])
async def test_anything_but_a_success_leaves_the_vault_as_it_is(
    save, cheap, config, vault, autojump_clock, fault
) -> None:
    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        key, secret = exchange.add_key(otp="123456") if fault == "second factor" else (
            exchange.key, exchange.secret
        )  # fmt: skip
        save("A" * 56 if fault == "rejected" else key, secret)
        before = vault.read()
        if fault == "service":
            exchange.faults.rest.http_error(503, times=3)
        if fault == "network":
            exchange.faults.rest.refuse_connects()
        validate = functools.partial(
            validate_stored_credentials,
            PASSWORD,
            config=config,
            network=exchange.network,
            clock=exchange.clock,
            derive=cheap,
        )
        found = await validate()
        assert found.outcome is {
            "service": Outcome.SERVICE_PROBLEM,
            "network": Outcome.NETWORK_PROBLEM,
        }.get(fault, Outcome.AUTH_PROBLEM)
        assert vault.read() == before
        if fault == "second factor":
            await trio.sleep(1)
            assert (await validate(otp="123456")).outcome is Outcome.VALID
            assert vault.read() != before


async def test_a_wrong_password_asks_nobody(save, known, cheap, config, autojump_clock) -> None:
    save(known.key, known.secret)
    with pytest.raises(WrongPasswordError) as caught:
        await validate_stored_credentials(
            "something else", config=config, network=None, derive=cheap
        )
    assert caught.value.path is not None
    with pytest.raises(NoCredentialsError):
        await validate_stored_credentials(
            PASSWORD, config=type(config)(config_dir=config.config_dir + "/x"), derive=cheap
        )


async def test_a_vault_that_changed_meanwhile_is_not_overwritten(
    save, known, cheap, config, vault, autojump_clock
) -> None:
    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        save(exchange.key, exchange.secret)
        exchange.faults.rest.delay(5, times=1)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def change() -> None:
                await trio.sleep(1)
                save(known.key, known.secret)

            with pytest.raises(VaultLockedError, match="changed"):
                await validate_stored_credentials(
                    PASSWORD,
                    config=config,
                    network=exchange.network,
                    clock=exchange.clock,
                    derive=cheap,
                )
    assert vault_info(config, password=PASSWORD, derive=cheap).fingerprint == (
        Candidate(known.key, known.secret).fingerprint
    )


async def test_a_validation_of_what_is_stored_is_of_no_other_candidate(
    save, cheap, config, autojump_clock
) -> None:
    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        save(exchange.key, exchange.secret)
        found = await validate_stored_credentials(
            PASSWORD,
            config=config,
            network=exchange.network,
            clock=exchange.clock,
            derive=cheap,
        )
        with pytest.raises(CredentialsError, match="another key"):
            save_credentials(
                Candidate(exchange.key, exchange.secret),
                PASSWORD,
                validation=found,
                config=config,
                derive=cheap,
            )


def test_a_payload_is_stamped_anew_and_nothing_else(known) -> None:
    candidate = Candidate(known.key, known.secret)
    old = encode_payload(candidate, validated_at_s=None)
    before = bytes(old)
    renewed = restamped(old, validated_at_s=1_790_000_000)
    assert bytes(old) == before
    assert renewed == encode_payload(candidate, validated_at_s=1_790_000_000)
    assert read_validated_at(renewed) == 1_790_000_000
    with pytest.raises(VaultDamagedError):
        restamped(bytearray(b"{}"), validated_at_s=1)
