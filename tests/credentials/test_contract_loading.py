"""Contract, Phase 1 section 7, "Credential loading" and "Encryption/decryption", point by point."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import pytest

from krakked._config.settings import KrakkedConfig
from krakked._core import Signer
from krakked._credentials.passwords import MasterPassword
from krakked._credentials.payload import encode_payload
from krakked._credentials.saving import change_password, save_credentials, sealed
from krakked._credentials.sources import load_credentials, open_vault
from krakked._credentials.vault import BODY_OFFSET, DEFAULT_COST
from krakked._errors import (
    CredentialsFormatError,
    NoCredentialsError,
    NoPasswordError,
    VaultDamagedError,
    VaultUnsafeError,
    WrongPasswordError,
)
from krakked._rest.signing import Credentials

SENTENCE = r"^Wrong password or corrupted secrets file(\n|$)"


@pytest.fixture
def stored(known, config: KrakkedConfig, cheap) -> KrakkedConfig:
    """A configuration whose vault holds `known`."""
    save_credentials(
        known.candidate(), known.password, allow_unvalidated=True, config=config, derive=cheap
    )
    return config


def environ(known) -> dict[str, str]:
    return {"KRAKEN_API_KEY": known.key, "KRAKEN_API_SECRET": known.secret}


def signs_like(credentials: Credentials, secret: str) -> bool:
    _, headers = credentials.sign_form("/0/private/Balance", 1616492376594, [])
    expected = Signer(secret).sign("/0/private/Balance", 1616492376594, "nonce=1616492376594")
    return headers["API-Sign"] == expected


def test_env_vars_present_env_credentials_are_used(known, config, refuse) -> None:
    credentials = load_credentials(config, environ=environ(known), password=refuse, derive=refuse)
    assert credentials.source == "environment"
    assert signs_like(credentials, known.secret)


def test_env_vars_of_the_process_are_the_default(known, config, monkeypatch) -> None:
    for name, value in environ(known).items():
        monkeypatch.setenv(name, f"  {value}\n")
    assert signs_like(load_credentials(config), known.secret)


def test_only_secrets_file_present_decrypted_credentials_are_used(known, stored, cheap) -> None:
    credentials = load_credentials(stored, password=known.password, environ={}, derive=cheap)
    assert credentials.source == "vault"
    assert signs_like(credentials, known.secret)


@pytest.mark.parametrize("cost", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_round_trip_with_the_real_derivation(known, config, cost) -> None:
    save_credentials(
        known.candidate(), known.password, allow_unvalidated=True, config=config, cost=cost
    )
    assert signs_like(load_credentials(config, password=lambda: known.password), known.secret)


def test_both_present_env_wins(known, stored, refuse) -> None:
    other = type(known)(known.key[::-1].replace("=", "A"), "A" * 88, "")
    credentials = load_credentials(stored, environ=environ(other), password=refuse, derive=refuse)
    assert credentials.source == "environment"
    assert signs_like(credentials, "A" * 88)


@pytest.mark.parametrize(
    ("there", "other"),
    list(itertools.product(["KRAKEN_API_KEY", "KRAKEN_API_SECRET"], [None, "", "  \n"])),
)
def test_one_env_var_alone_is_incomplete_warned_about_and_not_used(
    known, stored, cheap, caplog, there, other
) -> None:
    missing = ({"KRAKEN_API_KEY", "KRAKEN_API_SECRET"} - {there}).pop()
    variables = {there: environ(known)[there]}
    if other is not None:
        variables[missing] = other
    with caplog.at_level(logging.WARNING, "krakked"):
        credentials = load_credentials(
            stored, password=known.password, environ=variables, derive=cheap
        )
    assert credentials.source == "vault"
    assert f"{there} is set but {missing} is missing" in caplog.text
    assert variables[there] not in caplog.text


def test_one_env_var_alone_and_no_vault_means_no_credentials(known, config, refuse) -> None:
    with pytest.raises(NoCredentialsError, match="krakked setup"):
        load_credentials(config, environ={"KRAKEN_API_KEY": known.key}, password=refuse)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("KRAKEN_API_KEY", "short"),
        ("KRAKEN_API_KEY", "a" * 30 + "\n" + "b" * 30),
        ("KRAKEN_API_KEY", "a" * 30 + "\0" + "b" * 30),
        ("KRAKEN_API_KEY", "ключ" * 14),
        ("KRAKEN_API_KEY", "a" * 300),
        ("KRAKEN_API_SECRET", "a" * 87),
        ("KRAKEN_API_SECRET", "a" * 85 + "==="),
        ("KRAKEN_API_SECRET", "a" * 86 + "=b"),
        ("KRAKEN_API_SECRET", "b" * 85 + "x=="),
        ("KRAKEN_API_SECRET", "a" * 20),
        ("KRAKEN_API_SECRET", "a" * 400),
        ("KRAKEN_API_SECRET", "a" * 44 + "\r\n" + "a" * 44),
        ("KRAKEN_API_SECRET", "a" * 80 + "\udcff" * 8),
        ("KRAKEN_API_SECRET", "a" * 80 + "-_" * 4),
    ],
)
def test_invalid_env_vars_are_refused_cleanly_and_never_echoed(
    known, stored, refuse, name, bad
) -> None:
    with pytest.raises(CredentialsFormatError, match=name) as caught:
        load_credentials(
            stored, environ=environ(known) | {name: bad}, password=refuse, derive=refuse
        )
    assert caught.value.field == ("key" if name == "KRAKEN_API_KEY" else "secret")
    assert bad[:8] not in str(caught.value).replace("secret", "")
    assert caught.value.__context__ is None


def test_no_credentials_available_is_signalled(config, refuse) -> None:
    with pytest.raises(NoCredentialsError, match=r"secrets\.enc"):
        load_credentials(config, environ={}, password=refuse, derive=refuse)
    assert not Path(config.config_dir).exists()


def test_wrong_master_password_is_a_clean_explicit_failure(known, stored, cheap) -> None:
    with pytest.raises(WrongPasswordError, match=SENTENCE) as caught:
        load_credentials(stored, password="not it", environ={}, derive=cheap)
    assert caught.value.path == str(Path(stored.config_dir) / "secrets.enc")
    assert caught.value.__cause__ is None


def test_corrupted_secrets_file_is_a_clean_explicit_failure(known, stored, vault, cheap) -> None:
    whole = vault.read()
    for altered in (
        whole[:BODY_OFFSET] + bytes([whole[BODY_OFFSET] ^ 1]) + whole[BODY_OFFSET + 1 :],
        whole[:-1],
        b"",
        b"not a vault",
    ):
        vault.path.write_bytes(altered)
        with pytest.raises(VaultDamagedError, match=SENTENCE):
            load_credentials(stored, password=known.password, environ={}, derive=cheap)


def test_hostile_parameters_are_refused_without_prompt_or_derivation(
    known, stored, vault, refuse
) -> None:
    data = bytearray(vault.read())
    data[16:20] = (2**31).to_bytes(4, "little")
    vault.path.write_bytes(data)
    with pytest.raises(VaultDamagedError, match=SENTENCE):
        load_credentials(stored, password=refuse, environ={}, derive=refuse)


def test_unsafe_files_are_refused_without_prompt_or_derivation(stored, vault, refuse) -> None:
    vault.path.chmod(0o644)
    with pytest.raises(VaultUnsafeError, match="chmod 600"):
        load_credentials(stored, password=refuse, environ={}, derive=refuse)


def test_without_a_way_to_ask_the_error_says_what_to_do(known, stored, tmp_path, cheap) -> None:
    with pytest.raises(NoPasswordError, match="nowhere"):
        load_credentials(
            stored, environ={"KRAKKED_MASTER_PASSWORD_FILE": str(tmp_path / "nowhere")}
        )
    file = tmp_path / "password"
    file.write_text(known.password + "\nsecond line\n")
    file.chmod(0o600)
    credentials = load_credentials(
        stored, environ={"KRAKKED_MASTER_PASSWORD_FILE": str(file)}, derive=cheap
    )
    assert signs_like(credentials, known.secret)


def test_saved_unvalidated_is_marked_and_loading_says_so(
    known, stored, vault, cheap, caplog
) -> None:
    assert open_vault(vault, known.password, derive=cheap).validated_at_s is None
    with caplog.at_level(logging.WARNING, "krakked"):
        load_credentials(stored, password=known.password, environ={}, derive=cheap)
    assert "without a validation" in caplog.text


def test_changing_the_master_password_keeps_the_credentials(known, stored, cheap, vault) -> None:
    with pytest.raises(WrongPasswordError, match=SENTENCE):
        change_password("not it", "x", config=stored, derive=cheap)
    before = vault.read()
    with pytest.raises(CredentialsFormatError, match="empty"):
        change_password(known.password, "", config=stored, derive=cheap)
    with pytest.raises(CredentialsFormatError, match="at least 10 characters"):
        change_password(known.password, "too short", config=stored, derive=cheap)
    assert vault.read() == before
    change_password(known.password, "the next one", config=stored, derive=cheap)
    with pytest.raises(WrongPasswordError, match=SENTENCE):
        load_credentials(stored, password=known.password, environ={}, derive=cheap)
    credentials = load_credentials(stored, password="the next one", environ={}, derive=cheap)
    assert signs_like(credentials, known.secret)
    with pytest.raises(NoCredentialsError, match="There is no"):
        change_password("a", "b", config=KrakkedConfig(config_dir=stored.config_dir + "/x"))


@pytest.mark.parametrize("validated", [True, False])
def test_only_what_never_was_validated_is_warned_about(
    known, config, cheap, vault, caplog, validated
) -> None:
    content = encode_payload(known.candidate(), validated_at_s=7 if validated else None)
    vault.write(sealed(content, MasterPassword(known.password), DEFAULT_COST, cheap))
    load_credentials(config, password=known.password, environ={}, derive=cheap)
    assert ("saved without a validation that succeeded" in caplog.text) is not validated


def test_the_directory_of_the_vault(known, config, cheap, tmp_path, monkeypatch) -> None:
    """From the settings given, else from config.yaml's place, else the usual one."""
    save_credentials(
        known.candidate(), known.password, allow_unvalidated=True, config=config, derive=cheap
    )
    monkeypatch.setenv("KRAKKED_CONFIG_DIR", config.config_dir)
    load_credentials(password=known.password, environ={}, derive=cheap)
    load_credentials(KrakkedConfig(), password=known.password, environ={}, derive=cheap)
    elsewhere = KrakkedConfig(config_dir=str(tmp_path / "elsewhere"))
    with pytest.raises(NoCredentialsError):
        load_credentials(elsewhere, password=known.password, environ={}, derive=cheap)
