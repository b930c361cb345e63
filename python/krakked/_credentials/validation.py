"""Asking Kraken whether a key is good, and what it may do.

`Balance` decides (a missing permission is an authentication problem, as the contract says);
`GetApiKeyInfo` only enriches, and its failure never fails a validation. An invalid nonce, a rate
limit, a lockout or an outage says nothing about the key and is never called an auth problem.
"""

from __future__ import annotations

import logging
from typing import Final

from krakked._config.directories import state_of
from krakked._config.loader import load_config
from krakked._config.settings import KrakkedConfig
from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Outcome, Validation, classify_failure
from krakked._credentials.sources import candidate_credentials
from krakked._errors import KrakkedError, RequestError
from krakked._network.clock import Clock, SystemClock, require_trio
from krakked._network.network import Network, SystemNetwork, exchange_reached
from krakked._public import public
from krakked._rest.client import RestClient
from krakked._rest.models import ApiKeyInfo
from krakked._rest.otp import OTP_CODE, OneTimePassword, Otp, one_time
from krakked._rest.signing import Credentials

_EXPIRES_SOON_S: Final = 14 * 86_400
_WITHDRAWING: Final = ("withdraw-funds", "add-withdraw-address", "update-withdraw-address")

_log = logging.getLogger("krakked.credentials")


@public
async def validate_credentials(
    candidate: Candidate,
    *,
    otp: Otp | None = None,
    config: KrakkedConfig | None = None,
    network: Network | None = None,
    clock: Clock | None = None,
) -> Validation:
    """Ask Kraken whether a key and secret work: one ``Balance``, then ``GetApiKeyInfo``.

    The call goes through the same shared record as all others of the key: a lockout, and the rest
    that a key takes which Kraken keeps rejecting, hold here as well. Cancelling is safe.

    Args:
        candidate: Key and secret.
        otp: One-time password of a key with a second factor: the code, or a function that gives
            the code of the moment. No code is sent twice; without another one for ``GetApiKeyInfo``
            the permissions stay unknown.
        config: Settings in force; read from config.yaml by default.
        network: How to reach the exchange; real sockets by default.
        clock: Where times come from; the machine's clocks by default.

    Returns:
        The outcome. A failed validation is an answer, not an exception.

    Raises:
        ConfigError: config.yaml is wrong.
    """
    otp = one_time(otp)  # no frame shows it
    require_trio("validate_credentials")
    if config is None:
        config = load_config()
    return await ask_kraken(
        candidate_credentials(candidate, source="candidate"),
        candidate.tag,
        otp=otp,
        config=config,
        network=network or SystemNetwork(config.network.proxy),
        clock=clock or SystemClock(),
    )


async def ask_kraken(
    credentials: Credentials,
    tag: str,
    *,
    otp: OneTimePassword | None,
    config: KrakkedConfig,
    network: Network,
    clock: Clock,
) -> Validation:
    """Validate credentials that are ready to sign; see `validate_credentials`.

    Args:
        credentials: Key and signer.
        tag: What the answer is to be tied to.
        otp: One-time password, or None.
        config: Settings in force.
        network: How to reach the exchange.
        clock: Where times come from.
    """
    try:
        async with RestClient(
            config.rest,
            network=network,
            clock=clock,
            credentials=credentials,
            # A key's lockout and brakes hold for validations, too.
            state_dir=state_of(config, exchange_reached(network)),
        ) as client:
            await client.balance(otp=otp)  # decodes: an answer without balances is no success
            info, problem = await _key_info(client, otp)
    except KrakkedError as error:
        _log.info("validation ended: %s", type(error).__name__)
        return Validation(
            outcome=classify_failure(error), tag=tag, error=error.with_traceback(None)
        )
    return enriched(tag, clock.wall_ns() // 1_000_000_000, info, problem)


async def _key_info(
    client: RestClient, otp: OneTimePassword | None
) -> tuple[ApiKeyInfo | None, str]:
    try:
        return await client.api_key_info(otp=otp), ""
    except RequestError as error:
        if error.code == OTP_CODE:
            return None, "that would have taken a second one-time password"
        return None, type(error).__name__
    except KrakkedError as error:
        return None, type(error).__name__


def enriched(tag: str, now_s: int, info: ApiKeyInfo | None, problem: str = "") -> Validation:
    """Make the successful validation, with what `GetApiKeyInfo` adds to it. Pure."""
    if info is None:
        warning = f"Kraken did not tell what this key may do ({problem})."
        return Validation(outcome=Outcome.VALID, tag=tag, validated_at_s=now_s, warnings=(warning,))
    return Validation(
        outcome=Outcome.VALID,
        tag=tag,
        validated_at_s=now_s,
        permissions=tuple(info.permissions),
        nonce_window=info.nonce_window,
        expires_at_s=info.valid_until_s,
        warnings=key_warnings(info, now_s),
    )


def key_warnings(info: ApiKeyInfo, now_s: int) -> tuple[str, ...]:
    """Say in plain words what makes this key more dangerous than it needs to be. Pure."""
    found: list[str] = []
    withdrawing = [name for name in _WITHDRAWING if name in info.permissions]
    if withdrawing:
        found.append(
            f"This key may move money out ({', '.join(withdrawing)}). krakked never needs that: "
            "make a key without it."
        )
    if not info.ip_allowlist:
        found.append("This key works from anywhere: it has no IP allow-list.")
    if info.valid_until_s is None:
        found.append("This key never expires.")
    elif info.valid_until_s - now_s < _EXPIRES_SOON_S:
        days = max(0, (info.valid_until_s - now_s) // 86_400)
        found.append(f"This key expires in {days} days.")
    return tuple(found)
