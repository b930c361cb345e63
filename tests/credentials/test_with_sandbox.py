"""Set-up and loading against a strict exchange: what Kraken would say decides what is saved."""

from __future__ import annotations

import functools

import pytest
import trio

from krakked._config.settings import KrakkedConfig
from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Outcome
from krakked._credentials.saving import save_credentials
from krakked._credentials.sources import load_credentials
from krakked._credentials.validation import validate_credentials
from krakked._errors import CredentialsRejectedError
from krakked._rest.client import RestClient
from krakked.sandbox import SandboxSettings, open_sandbox

SMALL = SandboxSettings(pair_count=5)


async def test_a_good_key_is_validated_sealed_and_signs_after_the_next_start(
    config: KrakkedConfig, vault, cheap, autojump_clock
) -> None:
    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        candidate = Candidate(exchange.key, exchange.secret)
        validation = await validate_credentials(
            candidate, config=config, network=exchange.network, clock=exchange.clock
        )
        assert validation.outcome is Outcome.VALID
        assert "query-funds" in (validation.permissions or ())
        assert not vault.exists(), "validating saves nothing"
        save_credentials(
            candidate, "some pass word", validation=validation, config=config, derive=cheap
        )
        credentials = load_credentials(config, password="some pass word", environ={}, derive=cheap)
        async with RestClient(
            config.rest, network=exchange.network, clock=exchange.clock, credentials=credentials
        ) as client:
            assert await client.private("Balance") == await client.balance()


@pytest.mark.parametrize("fault", ["key", "secret", "permission"])
async def test_bad_credentials_are_an_auth_problem_and_not_saved(
    config: KrakkedConfig, vault, autojump_clock, fault
) -> None:
    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        key, secret = exchange.add_key(permissions=("query-open-trades",))
        if fault != "permission":
            key, secret = exchange.key, exchange.secret
        key = "A" * 56 if fault == "key" else key
        secret = "A" * 88 if fault == "secret" else secret
        candidate = Candidate(key, secret)
        validation = await validate_credentials(
            candidate, config=config, network=exchange.network, clock=exchange.clock
        )
        assert validation.outcome is Outcome.AUTH_PROBLEM
        with pytest.raises(CredentialsRejectedError):
            save_credentials(candidate, "some pass word", validation=validation, config=config)
        assert not vault.exists()


async def test_an_exchange_that_is_down_is_not_an_auth_problem(
    config: KrakkedConfig, autojump_clock
) -> None:
    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        candidate = Candidate(exchange.key, exchange.secret)

        async def outcome() -> Outcome:
            validation = await validate_credentials(
                candidate, config=config, network=exchange.network, clock=exchange.clock
            )
            return validation.outcome

        exchange.faults.rest.http_error(503, times=3)
        assert await outcome() is Outcome.SERVICE_PROBLEM
        exchange.faults.rest.delay(500, times=3)
        assert await outcome() is Outcome.NETWORK_PROBLEM
        exchange.faults.rest.clear()
        exchange.faults.rest.refuse_connects()
        assert await outcome() is Outcome.NETWORK_PROBLEM
        exchange.faults.rest.clear()
        assert await outcome() is Outcome.VALID


async def test_dangerous_permissions_are_pointed_out(config, autojump_clock) -> None:
    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        key, secret = exchange.add_key(
            permissions=("query-funds", "withdraw-funds"), nonce_window=12
        )
        validation = await validate_credentials(
            Candidate(key, secret),
            config=config,
            network=exchange.network,
            clock=exchange.clock,
        )
        assert "withdraw-funds" in validation.warnings[0]
        assert validation.nonce_window == 12


async def test_a_key_with_a_second_factor_can_be_validated(config, autojump_clock) -> None:
    """The code goes out once: what the key may do stays unknown unless another code comes."""
    async with open_sandbox(memory=True, settings=SMALL) as exchange:
        key, secret = exchange.add_key(otp="123456")
        ask = functools.partial(
            validate_credentials,
            Candidate(key, secret),
            config=config,
            network=exchange.network,
            clock=exchange.clock,
        )
        assert (await ask()).outcome is Outcome.AUTH_PROBLEM
        await trio.sleep(1)  # a client without a record of its nonces begins at the clock
        assert (await ask(otp="654321")).outcome is Outcome.AUTH_PROBLEM
        asked: list[str] = []

        def code() -> str:
            asked.append("123456")
            return "123456"

        for otp in ("123456", code):
            await trio.sleep(1)
            validation = await ask(otp=otp)
            assert validation.outcome is Outcome.VALID
            assert validation.permissions is None
            (warning,) = validation.warnings
            assert "a second one-time password" in warning
        assert len(asked) == 2, "once for each call, the second time in vain"
