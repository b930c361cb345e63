"""Sealing credentials into the vault, and the one table of what may be saved when.

validation                          saved?
valid                               yes, marked with the time of the validation
auth problem                        only with override_auth_failure; old vault kept as .bak
service or network problem, none    only with allow_unvalidated; old vault kept as .bak
"""

import os
from typing import Final

import msgspec

from krakked._config.settings import KrakkedConfig
from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Outcome, Validation
from krakked._credentials.passwords import MasterPassword, PasswordSource, as_source, fit_to_seal
from krakked._credentials.payload import encode_payload, read_validated_at
from krakked._credentials.profiles import existing_vault, vault_of
from krakked._credentials.vault import (
    COSTS,
    NONCE_SIZE,
    SALT_SIZE,
    Derivation,
    DerivationCost,
    derive_root,
    parse_header,
    seal,
    unseal,
)
from krakked._errors import (
    CredentialsError,
    CredentialsRejectedError,
    CredentialsUnvalidatedError,
)
from krakked._public import public
from krakked._secrecy import wipe

DEFAULT: Final = "default"
"""Name of the cost that vaults are sealed with."""


@public
class SavedVault(msgspec.Struct, frozen=True, kw_only=True):
    """What a save did."""

    path: str
    """The vault file."""
    validated: bool
    """Whether these credentials have been validated."""
    backup: str | None
    """Where the older vault was kept, or None."""


@public
def save_credentials(
    candidate: Candidate,
    password: PasswordSource,
    *,
    validation: Validation | None = None,
    allow_unvalidated: bool = False,
    override_auth_failure: bool = False,
    only_new: bool = False,
    config: KrakkedConfig | None = None,
    profile: str | None = None,
    cost: str = DEFAULT,
    derive: Derivation = derive_root,
) -> SavedVault:
    """Seal a candidate into ``secrets.enc``, durably and all or nothing.

    Args:
        candidate: Key and secret.
        password: The new master password, or a function that gives it.
        validation: What `validate_credentials` said about this very candidate.
        allow_unvalidated: Save although no validation succeeded (none made, or Kraken unreachable).
        override_auth_failure: Save although Kraken rejected the credentials.
        only_new: Refuse where there is a vault already, also one that came a moment ago.
        config: Settings in force; read from config.yaml by default.
        profile: Name of a profile, whose vault is meant; None = the one vault without a name.
        cost: ``default`` (256 MiB) or ``small`` (64 MiB): the memory that opening the
            vault takes.
        derive: The key derivation; anything but the default is for tests.

    Raises:
        CredentialsRejectedError: Validation found an authentication problem; nothing was written.
        CredentialsUnvalidatedError: No validation succeeded; nothing was written.
        CredentialsFormatError: The master password is none, or shorter than 10 characters.
        CredentialsError: The validation is of another candidate, or the cost is unknown.
        VaultError: The vault cannot be written, or there is one and `only_new` is set; the old one
            is untouched.
    """
    ask = as_source(password)
    del password  # a traceback with locals now finds nothing plain in this frame
    problem = why_not_saved(
        candidate,
        validation,
        allow_unvalidated=allow_unvalidated,
        override_auth_failure=override_auth_failure,
    )
    if problem is not None:
        raise problem
    price = _cost(cost)
    validated_at_s = validation.validated_at_s if validation else None
    vault = vault_of(config, profile)
    content = encode_payload(candidate, validated_at_s=validated_at_s)
    try:
        data = sealed(content, fit_to_seal(ask()), price, derive)
    finally:
        wipe(content)
    kept = vault.write(data, keep_backup=validated_at_s is None, only_new=only_new)
    return SavedVault(
        path=str(vault.path),
        validated=validated_at_s is not None,
        backup=str(vault.backup_path) if kept else None,
    )


def why_not_saved(
    candidate: Candidate,
    validation: Validation | None,
    *,
    allow_unvalidated: bool = False,
    override_auth_failure: bool = False,
) -> CredentialsError | None:
    """Decide whether a candidate may be saved; None when it may, else the error to raise. Pure."""
    if validation is not None and validation.tag != candidate.tag:
        return CredentialsError(
            "The validation was made for another key or secret; validate again."
        )
    if validation is None or validation.outcome in {
        Outcome.SERVICE_PROBLEM,
        Outcome.NETWORK_PROBLEM,
    }:
        if allow_unvalidated:
            return None
        return CredentialsUnvalidatedError(
            "The credentials were not validated, so they were not saved. Validate them again, or "
            "save them as unvalidated on purpose."
        )
    if validation.outcome is Outcome.AUTH_PROBLEM and not override_auth_failure:
        return CredentialsRejectedError(
            "Kraken rejected these credentials, so they were not saved. Check key, secret and the "
            "key's permissions."
        )
    return None


def change_password(
    old: PasswordSource,
    new: PasswordSource,
    *,
    config: KrakkedConfig | None = None,
    profile: str | None = None,
    cost: str = DEFAULT,
    derive: Derivation = derive_root,
) -> SavedVault:
    """Seal the vault's content anew under another master password, and today's cost.

    The old file's bytes may remain on the medium, and a ``.bak`` stays under its own password:
    where the old password leaked, make a new API key at Kraken as well.

    Args:
        old: The password in force, or a function that gives it.
        new: The password to come, or a function that gives it, called after the old one fitted.
        config: Settings in force; read from config.yaml by default.
        profile: Name of a profile, whose vault is meant; None = the one vault without a name.
        cost: ``default`` (256 MiB) or ``small`` (64 MiB).
        derive: The key derivation; anything but the default is for tests.

    Raises:
        NoCredentialsError: There is no vault.
        CredentialsFormatError: The new password is none, or shorter than 10 characters.
        VaultError: It cannot be opened or written; the old one is untouched.
    """
    ask_old, ask_new = as_source(old), as_source(new)
    del old, new
    price = _cost(cost)
    vault = existing_vault(config, profile)
    data = vault.read()
    parse_header(data)
    content = unseal(data, ask_old(), derive=derive)
    try:
        validated = read_validated_at(content) is not None
        renewed = sealed(content, fit_to_seal(ask_new()), price, derive)
    finally:
        wipe(content)
    vault.write(renewed, expected=data)
    return SavedVault(path=str(vault.path), validated=validated, backup=None)


def sealed(
    content: bytearray, password: MasterPassword, cost: DerivationCost, derive: Derivation
) -> bytes:
    """Seal a payload with fresh salt and nonce; the caller wipes it."""
    return seal(
        content,
        password,
        salt=os.urandom(SALT_SIZE),
        nonce=os.urandom(NONCE_SIZE),
        cost=cost,
        derive=derive,
    )


def _cost(name: str) -> DerivationCost:
    cost = COSTS.get(name)
    if cost is None:
        raise CredentialsError(f"No such cost; use one of {', '.join(COSTS)}.")
    return cost
