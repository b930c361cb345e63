"""What lies in the vault: what a program may know about it, and validating it where it lies."""

from collections.abc import Callable

import msgspec

from krakked._config.loader import load_config
from krakked._config.settings import KrakkedConfig
from krakked._credentials.outcomes import Outcome, Validation
from krakked._credentials.passwords import (
    MasterPassword,
    PasswordSource,
    as_source,
    default_password,
)
from krakked._credentials.payload import decode_payload, restamped
from krakked._credentials.profiles import existing_vault
from krakked._credentials.saving import sealed
from krakked._credentials.sources import into_credentials, open_vault
from krakked._credentials.validation import ask_kraken
from krakked._credentials.vault import (
    COSTS,
    DEFAULT_COST,
    Derivation,
    derive_root,
    parse_header,
    unseal,
)
from krakked._credentials.vault_file import VaultFile
from krakked._errors import VaultOpenError
from krakked._network.clock import Clock, SystemClock, run_blocking
from krakked._network.network import Network, SystemNetwork
from krakked._public import public
from krakked._rest.otp import Otp, one_time
from krakked._rest.signing import Credentials
from krakked._secrecy import Veil, wipe


@public
class VaultInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said about a vault; nothing secret."""

    path: str
    """The vault file."""
    size_bytes: int
    """Its size."""
    modified_s: float
    """Unix seconds of its last change."""
    backup: str | None
    """The kept older vault, or None."""
    memory_bytes: int
    """Memory that one opening, and one guess at the password, takes."""
    opened: bool
    """Whether it was opened; the fields below are None when it was not."""
    fingerprint: str | None = None
    """First 16 hex digits of SHA-256 of the API key."""
    validated_at_s: int | None = None
    """Unix seconds of the last validation that succeeded; None also when none ever did."""


@public
def vault_info(
    config: KrakkedConfig | None = None,
    *,
    profile: str | None = None,
    password: PasswordSource | None = None,
    derive: Derivation = derive_root,
) -> VaultInfo:
    """Tell what is known about the vault; with its password also what it says about the key.

    Args:
        config: Settings in force; read from config.yaml by default.
        profile: Name of a profile, whose vault is meant; None = the one vault without a name.
        password: The master password, or a function that gives it; None = do not open it.
        derive: The key derivation; anything but the default is for tests.

    Raises:
        NoCredentialsError: There is no vault.
        VaultError: As for `load_credentials`.
    """
    vault = existing_vault(config, profile)
    facts, cost = vault.facts(), parse_header(vault.read()).cost
    if password is None:
        opened = None
    else:
        ask = as_source(password)
        del password  # a traceback with locals now finds nothing plain in this frame
        opened = open_vault(vault, ask, derive=derive)
    return VaultInfo(
        path=facts.path,
        size_bytes=facts.size_bytes,
        modified_s=facts.modified_s,
        backup=facts.backup,
        memory_bytes=cost.memory_kib * 1024,
        opened=opened is not None,
        fingerprint=opened.credentials.fingerprint if opened else None,
        validated_at_s=opened.validated_at_s if opened else None,
    )


@public
async def validate_stored_credentials(
    password: PasswordSource | None = None,
    *,
    otp: Otp | None = None,
    config: KrakkedConfig | None = None,
    profile: str | None = None,
    network: Network | None = None,
    clock: Clock | None = None,
    derive: Derivation = derive_root,
) -> Validation:
    """Ask Kraken about the credentials in the vault, and note a success there.

    So credentials that were saved as unvalidated, say without a network, become validated. Anything
    but a success leaves the vault as it is. Takes about 1.5 s of processor time.

    Args:
        password: The master password, or a function that gives it; by default
            ``KRAKKED_MASTER_PASSWORD_FILE``, else a prompt.
        otp: As for `validate_credentials`.
        config: Settings in force; read from config.yaml by default.
        profile: Name of a profile, whose vault is meant; None = the one vault without a name.
        network: How to reach the exchange; real sockets by default.
        clock: Where times come from; the machine's clocks by default.
        derive: The key derivation; anything but the default is for tests.

    Returns:
        The outcome. A failed validation is an answer, not an exception.

    Raises:
        NoCredentialsError: There is no vault.
        VaultError: It cannot be opened, as for `load_credentials`, or the success cannot be noted:
            it was changed meanwhile, or the disk is full. The old one is untouched.
        NoPasswordError: The password function had none to give.
        ConfigError: config.yaml is wrong.
    """
    ask = as_source(default_password if password is None else password)
    otp = one_time(otp)
    del password  # a traceback with locals now finds nothing plain in this frame
    if config is None:
        config = load_config()
    clock = clock or SystemClock()
    vault = existing_vault(config, profile)
    opened = await run_blocking(clock, _open, vault, ask, derive)
    validation = await ask_kraken(
        opened.credentials,
        opened.credentials.fingerprint,
        otp=otp,
        config=config,
        network=network or SystemNetwork(config.network.proxy),
        clock=clock,
    )
    if validation.outcome is Outcome.VALID and validation.validated_at_s is not None:
        await run_blocking(clock, _note, vault, opened, validation.validated_at_s, derive)
    return validation


class _Opened:
    """A vault that was opened and is to be sealed again; shows nothing."""

    __slots__ = ("content", "credentials", "data", "password")

    def __init__(
        self, data: bytes, password: MasterPassword, content: Veil, credentials: Credentials
    ) -> None:
        self.data = data
        self.password = password
        self.content = content
        self.credentials = credentials


def _open(vault: VaultFile, ask: Callable[[], MasterPassword], derive: Derivation) -> _Opened:
    data = vault.read()
    try:
        parse_header(data)
        password = ask()
        content = unseal(data, password, derive=derive)
        kept = Veil(content)
        credentials, _ = decode_payload(content, into_credentials)
    except VaultOpenError as error:
        error.path = str(vault.path)
        raise
    return _Opened(data, password, kept, credentials)


def _note(vault: VaultFile, opened: _Opened, validated_at_s: int, derive: Derivation) -> None:
    old_cost = parse_header(opened.data).cost
    cost = old_cost if old_cost in COSTS.values() else DEFAULT_COST
    content = opened.content.reveal()
    renewed = restamped(content, validated_at_s=validated_at_s)
    wipe(content)
    opened.content.clear()
    try:
        data = sealed(renewed, opened.password, cost, derive)
    finally:
        wipe(renewed)
    vault.write(data, expected=opened.data)
