"""What a key and a secret look like, and what is refused before anything leaves the machine."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest

from krakked._core import Signer
from krakked._credentials.candidate import Candidate
from krakked._credentials.passwords import MasterPassword
from krakked._credentials.payload import encode_payload
from krakked._credentials.saving import sealed
from krakked._credentials.sources import load_credentials, open_vault
from krakked._credentials.vault import DEFAULT_COST
from krakked._errors import CredentialsFormatError, VaultDamagedError
from krakked._rest.signing import Credentials, looks_like_key, looks_like_secret


def key_of(size: int) -> str:
    return base64.b64encode(os.urandom(size)).decode()[:size]


def secret_of(size: int) -> str:
    return base64.b64encode(os.urandom(size)).decode()


def refused(key: str, secret: str) -> CredentialsFormatError:
    with pytest.raises(CredentialsFormatError) as caught:
        Candidate(key, secret)
    for text in (key.strip(), secret.strip()):
        assert len(text) < 8 or text not in str(caught.value)
    return caught.value


def test_key_and_secret_in_each_others_place_are_refused(known) -> None:
    for key, secret, field in [
        (known.secret, known.key, "key"),
        (f" {known.secret}\n", known.key, "key"),
        (known.secret.rstrip("="), known.key, "key"),
        (known.secret, known.secret, "key"),
        (known.key, known.key, "secret"),
        (known.key, f"{known.key} ", "secret"),
    ]:
        error = refused(key, secret)
        assert error.field == field
        assert "the two look swapped" in str(error)


def test_swapped_variables_are_refused_and_named(known, config, refuse) -> None:
    swapped = {"KRAKEN_API_KEY": known.secret, "KRAKEN_API_SECRET": known.key}
    with pytest.raises(CredentialsFormatError, match=r"KRAKEN_API_KEY: .*swapped"):
        load_credentials(config, environ=swapped, derive=refuse)


def test_no_signer_takes_a_secret_for_a_key(known) -> None:
    """What an older krakked or another program sealed comes this way."""
    for key in (known.secret, known.secret.rstrip("=")):
        with pytest.raises(CredentialsFormatError, match="look swapped") as caught:
            Credentials(key, Signer(known.secret), source="test")
        assert caught.value.field == "key"
        assert key not in str(caught.value)


def test_a_vault_with_swapped_content_says_so(known, vault, cheap) -> None:
    content = encode_payload(Candidate(known.key, known.secret), validated_at_s=None)
    text = bytes(content).replace(known.key.encode(), b"@").replace(known.secret.encode(), b"#")
    text = text.replace(b"@", known.secret.encode()).replace(b"#", known.key.encode())
    assert len(text) == len(content)
    password = MasterPassword("some pass word")
    vault.write(sealed(bytearray(text), password, DEFAULT_COST, cheap))
    with pytest.raises(CredentialsFormatError, match="look swapped"):
        open_vault(vault, password, derive=cheap)
    text = bytes(content).replace(known.key.encode(), b"k" * 15 + b" " * (len(known.key) - 15))
    vault.write(sealed(bytearray(text), password, DEFAULT_COST, cheap))
    with pytest.raises(VaultDamagedError):
        open_vault(vault, password, derive=cheap)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        '""',
        "''",
        "``",
        "\u201c\u201d",
        "\u2018\u2019",
        "\u201e\u201c",
        "\u201a\u2018",
        "\u00ab\u00bb",
        ('"', ""),
        ("", "'"),
        ("\u2019", ""),
    ],
)
def test_quotes_are_named(known, first, last) -> None:
    for key, secret, field in [
        (f"{first}{known.key}{last}", known.secret, "key"),
        (f" {first}{known.key}{last}\n", known.secret, "key"),
        (known.key, f"{first}{known.secret}{last}", "secret"),
    ]:
        error = refused(key, secret)
        assert error.field == field
        assert str(error).endswith("Remove the quotes.")


def test_the_lengths_that_are_taken() -> None:
    secret = secret_of(64)
    assert len(secret) == 88
    for size in (16, 17, 55, 56, 57, 85, 89, 199, 200):
        Candidate(key_of(size), secret)
    for size in (0, 1, 15, 201, 4096):
        assert refused(key_of(size), secret).field == "key"
    for size in (32, 33, 63, 64, 65, 255, 256):
        Candidate(key_of(56), secret_of(size))
    for size in (0, 1, 31, 257, 4096):
        assert refused(key_of(56), secret_of(size)).field == "secret"


def test_the_shapes() -> None:
    assert [n for n in range(120) if looks_like_key(b"A" * n)] == [56]
    assert [n for n in range(120) if looks_like_secret(b"A" * n)] == [86]
    assert looks_like_secret(b"A" * 86 + b"==")
    assert looks_like_secret(b"A" * 86 + b"=")


@pytest.mark.parametrize("at", [0, 7, 55])
@pytest.mark.parametrize("char", list("-_ \0\nä@[`{:,."))
def test_characters_that_no_key_has_are_named_by_place(known, at, char) -> None:
    key = known.key[:at] + char + known.key[at + 1 :]
    if key.strip() != key or char == "`":
        return  # white space and quotes at the ends are another matter
    error = refused(key, known.secret)
    assert f"character {at + 1} is none of A-Z a-z 0-9 + / =" in str(error)
    error = refused(known.key, known.secret[:at] + char + known.secret[at + 1 :])
    assert f"character {at + 1} is none of" in str(error)


def test_a_secret_that_was_cut_is_told(known) -> None:
    for cut in (known.secret[:-1], known.secret[:-3], known.secret[:-2], known.secret + "="):
        assert "not complete base64" in str(refused(known.key, cut))
    stray = known.secret[:-3] + chr(ord(known.secret[-3]) + 1) + "=="
    if base64.b64decode(stray) == base64.b64decode(known.secret):
        assert "not complete base64" in str(refused(known.key, stray))


def test_what_a_candidate_tells_of_itself(known) -> None:
    candidate = Candidate(known.key, known.secret)
    assert repr(candidate) == "<Candidate>"
    assert candidate.fingerprint == hashlib.sha256(known.key.encode()).hexdigest()[:16]
    assert candidate.tag == Candidate(f" {known.key}", known.secret).tag
    assert len(candidate.tag) == 64
    others = {
        Candidate(known.key, secret_of(64)).tag,
        Candidate(key_of(56), known.secret).tag,
        candidate.tag,
    }
    assert len(others) == 3
