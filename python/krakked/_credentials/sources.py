"""Where credentials come from: the environment, then the vault, then nowhere.

Source: contract, Phase 1 section 3. The vault's secret goes from the decrypted buffer into the Rust
Signer and is overwritten; it never becomes a str.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Final

import msgspec

from krakked._config.settings import KrakkedConfig
from krakked._core import Signer
from krakked._credentials.candidate import Candidate
from krakked._credentials.passwords import PasswordSource, as_source, default_password
from krakked._credentials.payload import decode_payload
from krakked._credentials.profiles import existing_vault, vault_of
from krakked._credentials.vault import SENTENCE, Derivation, derive_root, parse_header, unseal
from krakked._credentials.vault_file import VaultFile
from krakked._errors import (
    CredentialsFormatError,
    NoCredentialsError,
    VaultDamagedError,
    VaultOpenError,
)
from krakked._public import public
from krakked._rest.signing import Credentials, looks_like_secret
from krakked._secrecy import wipe

KEY_VARIABLE: Final = "KRAKEN_API_KEY"
SECRET_VARIABLE: Final = "KRAKEN_API_SECRET"  # noqa: S105 - the variable's name

_log = logging.getLogger("krakked.credentials")


class OpenedVault(msgspec.Struct, frozen=True, kw_only=True):
    """What an opened vault holds, ready to sign."""

    credentials: Credentials
    validated_at_s: int | None
    """Unix seconds of the validation that succeeded, or None when they were saved unvalidated."""


@public
def load_credentials(
    config: KrakkedConfig | None = None,
    *,
    profile: str | None = None,
    password: PasswordSource | None = None,
    environ: Mapping[str, str] | None = None,
    derive: Derivation = derive_root,
) -> Credentials:
    """Get credentials from the environment, else from the vault.

    Both ``KRAKEN_API_KEY`` and ``KRAKEN_API_SECRET`` set: they are used and the vault is not
    touched. One alone is incomplete: a warning names the missing one, and the vault is next.
    Opening the vault takes 0.6 s of processor time and 256 MiB for a moment.

    Args:
        config: Settings in force; read from config.yaml by default.
        profile: Name of a profile: its vault is opened, and the variables are ignored, with a
            warning.
        password: The master password, or a function that gives it, called only when a safe vault
            is there. By default ``KRAKKED_MASTER_PASSWORD_FILE``, else a prompt.
        environ: Variables to look at; the process's own by default.
        derive: The key derivation; anything but the default is for tests.

    Raises:
        NoCredentialsError: Neither holds any: start the first-time set-up.
        CredentialsFormatError: Both variables are set and one is malformed.
        VaultUnsafeError: The vault is a link, not ours or open to others (before any prompt).
        WrongPasswordError: Wrong password or altered header.
        VaultDamagedError: The file is cut or altered.
        VaultVersionError: Written by a newer krakked.
        NoPasswordError: The password is needed and nothing can give it.
        ConfigError: config.yaml is wrong.
    """
    variables = os.environ if environ is None else environ
    ask = as_source(password if password is not None else lambda: default_password(variables))
    del password  # a traceback with locals now finds nothing plain in this frame
    if profile is not None:
        if any(variables.get(name, "").strip() for name in (KEY_VARIABLE, SECRET_VARIABLE)):
            _log.warning(
                "%s and %s are ignored: profile %.64s has a key of its own",
                KEY_VARIABLE,
                SECRET_VARIABLE,
                profile,
            )
        return _of_vault(existing_vault(config, profile), ask, derive)
    credentials = credentials_from_environment(variables)
    if credentials is not None:
        return credentials
    vault = vault_of(config)
    if not vault.exists():
        raise NoCredentialsError(
            f"No credentials: {KEY_VARIABLE} and {SECRET_VARIABLE} are not both set and there is "
            f"no {vault.path}. Run `krakked setup`."
        )
    return _of_vault(vault, ask, derive)


def _of_vault(vault: VaultFile, ask: PasswordSource, derive: Derivation) -> Credentials:
    opened = open_vault(vault, ask, derive=derive)
    if opened.validated_at_s is None:
        _log.warning("these credentials were saved without a validation that succeeded")
    return opened.credentials


def credentials_from_environment(environ: Mapping[str, str]) -> Credentials | None:
    """Get credentials from the two variables; None when they are not both set.

    Raises:
        CredentialsFormatError: Both are set and one is malformed; never echoed.
    """
    present = {
        name: bool(environ.get(name, "").strip()) for name in (KEY_VARIABLE, SECRET_VARIABLE)
    }
    if not all(present.values()):
        for name, there in present.items():
            other = SECRET_VARIABLE if name == KEY_VARIABLE else KEY_VARIABLE
            if there:
                _log.warning("%s is set but %s is missing: both are ignored", name, other)
        return None
    try:
        candidate = Candidate(environ[KEY_VARIABLE], environ[SECRET_VARIABLE])
    except CredentialsFormatError as error:
        name = KEY_VARIABLE if error.field == "key" else SECRET_VARIABLE
        problem, field = f"{name}: {error}", error.field
    else:
        credentials = candidate_credentials(candidate, source="environment")
        candidate.clear()
        return credentials
    raise CredentialsFormatError(problem, field=field)


def candidate_credentials(candidate: Candidate, *, source: str) -> Credentials:
    """Return signing credentials for a candidate; its secret is copied into Rust only.

    Args:
        candidate: Checked key and secret.
        source: Where they came from, in words for the user.
    """
    key, secret = candidate.reveal_key(), candidate.reveal_secret()
    try:
        return Credentials(key.decode("ascii"), Signer(secret), source=source)
    finally:
        wipe(key)
        wipe(secret)


def open_vault(
    vault: VaultFile, password: PasswordSource, *, derive: Derivation = derive_root
) -> OpenedVault:
    """Open a vault file. Everything that needs no password is checked before one is asked for.

    Raises:
        VaultError: As for `load_credentials`.
        NoPasswordError: The password function had none to give.
    """
    ask = as_source(password)
    del password
    data = vault.read()
    try:
        parse_header(data)
        content = unseal(data, ask(), derive=derive)
        credentials, validated_at_s = decode_payload(content, into_credentials)
    except VaultOpenError as error:
        error.path = str(vault.path)
        raise
    return OpenedVault(credentials=credentials, validated_at_s=validated_at_s)


def into_credentials(key: str, secret: bytearray) -> Credentials:
    """Return signing credentials for what an opened vault holds.

    Raises:
        CredentialsFormatError: Key and secret are in each other's place.
        VaultDamagedError: They cannot be a key and a secret.
    """
    problem: VaultDamagedError | CredentialsFormatError
    try:
        return Credentials(key, Signer(secret), source="vault")
    except CredentialsFormatError as error:  # sealed by something with laxer checks, as are those:
        swapped = looks_like_secret(key.encode("ascii"))  # an older krakked took them
        problem = error.with_traceback(None) if swapped else VaultDamagedError(SENTENCE)
    except ValueError:
        problem = VaultDamagedError(SENTENCE)
    del key
    raise problem
