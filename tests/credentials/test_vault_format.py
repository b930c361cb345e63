"""secrets.enc version 1: the bytes, the bounds, and every way of altering them."""

from __future__ import annotations

import hmac
import os
import random
import struct
import unicodedata

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from krakked._credentials import vault as format_
from krakked._credentials.passwords import MasterPassword
from krakked._credentials.payload import (
    decode_payload,
    encode_payload,
    read_validated_at,
    restamped,
)
from krakked._credentials.vault import (
    BODY_OFFSET,
    COSTS,
    DEFAULT_COST,
    HEADER_SIZE,
    SENTENCE,
    SMALL_COST,
    Derivation,
    DerivationCost,
    cost_is_accepted,
    parse_header,
    seal,
    unseal,
)
from krakked._errors import (
    VaultDamagedError,
    VaultError,
    VaultOpenError,
    VaultVersionError,
    WrongPasswordError,
)


def sealed(
    known, derive: Derivation, *, cost: DerivationCost = DEFAULT_COST, password: str = ""
) -> bytes:
    content = encode_payload(known.candidate(), validated_at_s=1_790_000_000)
    return seal(
        content,
        MasterPassword(password or known.password),
        salt=os.urandom(32),
        nonce=os.urandom(12),
        cost=cost,
        derive=derive,
    )


def opened(data: bytes, password: str, derive: Derivation) -> tuple[str, str, int | None]:
    content = unseal(data, MasterPassword(password), derive=derive)
    (key, secret), at = decode_payload(content, lambda k, s: (k, s.decode()))
    assert not any(content), "the decrypted buffer is overwritten"
    return key, secret, at


def test_encrypt_decrypt_gives_identical_values(known, cheap) -> None:
    data = sealed(known, cheap)
    assert opened(data, known.password, cheap) == (
        known.key,
        known.secret,
        1_790_000_000,
    )


def test_round_trip_of_the_payload_bytes(known, cheap) -> None:
    content = encode_payload(known.candidate(), validated_at_s=None)
    before = bytes(content)
    assert (
        before.rstrip()
        == (
            f'{{"schema":1,"api_key":"{known.key}","api_secret":"{known.secret}","validated_at":null}}'
        ).encode()
    )
    assert len(before) % 256 == 0
    data = seal(
        content,
        MasterPassword(known.password),
        salt=os.urandom(32),
        nonce=os.urandom(12),
        derive=cheap,
    )
    assert bytes(unseal(data, MasterPassword(known.password), derive=cheap)) == before
    assert read_validated_at(bytearray(before)) is None
    assert known.key.encode() not in data
    assert known.secret.encode() not in data


def test_wrong_password_never_gives_credentials(known, cheap) -> None:
    data = sealed(known, cheap)
    for wrong in ("x", known.password[:-1], known.password + " ", known.password.swapcase()):
        with pytest.raises(WrongPasswordError, match=f"^{SENTENCE}$"):
            unseal(data, MasterPassword(wrong), derive=cheap)


def test_a_fresh_file_has_the_published_layout_and_cost(known, cheap) -> None:
    data = sealed(known, cheap)
    assert data[:8] == b"KRAKVLT1"
    assert tuple(data[8:12]) == (1, 1, 1, 0)
    assert struct.unpack_from("<IIB", data, 12) == (262_144, 3, 4)
    assert struct.unpack_from("<I", data, 65) == (len(data) - 101,)
    assert (HEADER_SIZE, BODY_OFFSET) == (69, 101)
    assert len(data) == 373
    small = sealed(known, cheap, cost=SMALL_COST)
    assert struct.unpack_from("<IIB", small, 12) == (65_536, 3, 4)


@pytest.mark.slow
def test_another_implementation_of_the_written_format_opens_it(known) -> None:
    data = sealed(known, format_.derive_root, cost=SMALL_COST, password="Ångström ﬁ")
    password = unicodedata.normalize("NFKC", "Ångström ﬁ").encode()
    root = Argon2id(salt=data[21:53], length=32, iterations=3, lanes=4, memory_cost=65_536).derive(
        password
    )
    commit = hmac.digest(root, b"krakked/v1/commit" + data[:69], "sha256")
    assert commit == data[69:101]
    key = hmac.digest(root, b"krakked/v1/enc", "sha256")
    content = ChaCha20Poly1305(key).decrypt(data[53:65], data[101:], data[:101])
    assert content.rstrip().startswith(b'{"schema":1,"api_key":"' + known.key.encode())


def test_equal_looking_passwords_are_equal(known, cheap) -> None:
    data = sealed(known, cheap, password="caf\u00e9 \ufb01")
    assert opened(data, "cafe\u0301 fi", cheap)[0] == known.key


def test_salt_and_nonce_are_fresh_at_every_save(known, cheap, vault, config) -> None:
    from krakked._credentials.saving import save_credentials

    seen = set()
    for _ in range(8):
        save_credentials(
            known.candidate(), known.password, allow_unvalidated=True, config=config, derive=cheap
        )
        data = vault.read()
        seen |= {data[21:53], data[53:65], data[101:]}
    assert len(seen) == 24


def test_every_single_bit_flip_is_refused_with_a_typed_error(known, cheap) -> None:
    data = sealed(known, cheap)
    password = MasterPassword(known.password)
    kinds = {VaultDamagedError: 0, WrongPasswordError: 0, VaultVersionError: 0}
    for bit in range(len(data) * 8):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VaultError) as caught:
            unseal(bytes(altered), password, derive=cheap)
        kinds[type(caught.value)] += 1
        if not isinstance(caught.value, VaultVersionError):
            assert str(caught.value) == SENTENCE
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
    assert sum(kinds.values()) == 373 * 8
    assert min(kinds.values()) > 0


def test_every_truncation_and_every_longer_file_is_refused_with_a_typed_error(
    known, cheap, refuse
) -> None:
    data = sealed(known, cheap)
    password = MasterPassword(known.password)
    for size in range(len(data)):
        with pytest.raises(VaultDamagedError, match=SENTENCE):
            unseal(data[:size], password, derive=refuse)
    for more in (b"\0", b" ", b"\n", data, bytes(70_000)):
        with pytest.raises(VaultDamagedError, match=SENTENCE):
            unseal(data + more, password, derive=refuse)


def test_hostile_parameters_are_refused_before_the_derivation(known, cheap, refuse) -> None:
    data = sealed(known, cheap)
    for memory, passes, lanes in [
        (262_144, 0, 4),
        (0, 3, 4),
        (8, 1, 1),
        (65_535, 3, 4),
        (65_536, 2, 4),
        (1_048_577, 1, 4),
        (2**32 - 1, 1, 1),
        (1_048_576, 4, 4),
        (262_144, 13, 4),
        (262_144, 2**32 - 1, 4),
        (262_144, 3, 0),
        (262_144, 3, 9),
        (262_144, 3, 255),
    ]:
        planted = data[:12] + struct.pack("<IIB", memory, passes, lanes) + data[21:]
        with pytest.raises(VaultDamagedError):
            unseal(planted, MasterPassword(known.password), derive=refuse)


@pytest.mark.parametrize("rounds", [10_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_mutated_headers_never_reach_the_derivation_out_of_bounds(known, cheap, rounds) -> None:
    data = sealed(known, cheap)
    chance = random.Random(7)
    reached = refused = 0
    for _ in range(rounds):
        altered = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 5, 30))):
            altered[chance.randrange(BODY_OFFSET)] = chance.randrange(256)
        struct.pack_into("<I", altered, 12, chance.choice((65_536, 262_144, 2**20, 2**31, 1)))
        try:
            header = parse_header(bytes(altered))
        except VaultError:
            refused += 1
            continue
        reached += 1
        assert cost_is_accepted(header.cost)
        assert 65_536 <= header.cost.memory_kib <= 1_048_576
        assert header.cost.memory_kib * header.cost.passes <= 3 * 1_048_576
    assert min(reached, refused) > 500


def test_the_writer_never_copies_parameters_out_of_the_file_it_read(
    known, cheap, vault, config
) -> None:
    from krakked._credentials.saving import change_password

    vault.write(sealed(known, cheap, cost=SMALL_COST))
    change_password(known.password, "another one", config=config, derive=cheap)
    assert parse_header(vault.read()).cost == DEFAULT_COST
    change_password("another one", "a third one", config=config, cost="small", derive=cheap)
    assert parse_header(vault.read()).cost == SMALL_COST


def test_commitment_refuses_a_file_that_a_second_key_could_open(known, cheap) -> None:
    """Resealed under another root with the old commitment: the commitment decides, not the tag."""
    data = sealed(known, cheap)
    other = bytearray(os.urandom(32))
    key = hmac.digest(other, b"krakked/v1/enc", "sha256")
    content = encode_payload(known.candidate(), validated_at_s=None)
    body = ChaCha20Poly1305(key).encrypt(data[53:65], bytes(content), data[:101])
    planted = data[:101] + body
    with pytest.raises(WrongPasswordError, match=SENTENCE):
        unseal(planted, MasterPassword("x"), derive=lambda *_: bytearray(other))
    with pytest.raises(VaultDamagedError, match=SENTENCE):
        unseal(planted, MasterPassword(known.password), derive=cheap)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'{"schema":1}',
        b'{"schema":1,"api_key":5,"api_secret":"AAAA","validated_at":null}',
        b'{"schema":1,"api_key":12345678,"api_secret":"AAAA","validated_at":null}',
        b'{"schema":1,"api_key":"AAAA","api_secret":12345678,"validated_at":null}',
        b'{"schema":1,"api_key":"AAAA","api_secret":false,"validated_at":null}',
        b'{"schema":1,"api_key":"","api_secret":"AAAA","validated_at":null}',
        b'{"schema":1,"api_key":"AAAA","api_secret":null,"validated_at":null}',
        b'{"schema":1,"api_key":"AAAA","api_secret":"","validated_at":null}',
        b'{"schema":1,"api_key":"AAAA","api_secret":"A\\u0041","validated_at":null}',
        b'{"schema":1,"api_key":"A\\n","api_secret":"AAAA","validated_at":null}',
        b'{"schema":0,"api_key":"AAAA","api_secret":"AAAA","validated_at":null}',
        b'{"schema":1,"api_key":"AAAA","api_secret":"AAAA","validated_at":"x"}',
        b'{"schema":1,"api_key":"\xff","api_secret":"AAAA","validated_at":1}',
        b"[" * 5000,
    ],
)
def test_a_payload_of_another_shape_is_damage_and_is_wiped(content: bytes, refuse) -> None:
    buffer = bytearray(content)
    with pytest.raises(VaultDamagedError, match=SENTENCE) as caught:
        decode_payload(buffer, refuse)
    assert not any(buffer)
    assert caught.value.__context__ is None


def test_the_time_of_validation_is_read_and_the_content_left_alone() -> None:
    for stamp, expected in ((b"null", None), (b"7", 7)):
        content = b'{"schema":1,"api_key":"A","api_secret":"BB","validated_at":' + stamp + b"}   "
        buffer = bytearray(content)
        assert read_validated_at(buffer) == expected
        assert bytes(buffer) == content
        seen: list[tuple[str, bytes]] = []
        given = decode_payload(buffer, lambda key, secret: seen.append((key, bytes(secret))))  # noqa: B023
        assert given == (None, expected)
        assert seen == [("A", b"BB")], "one character is as good as any here"
    with pytest.raises(VaultDamagedError, match=SENTENCE):
        read_validated_at(bytearray(b"{}"))


def test_a_newer_schema_asks_for_an_upgrade(refuse) -> None:
    content = b'{"schema":2,"api_key":"AAAA","api_secret":"AAAA","validated_at":null}'
    with pytest.raises(VaultVersionError, match="Upgrade"):
        decode_payload(bytearray(content), refuse)


def test_the_secret_is_handed_over_in_a_buffer_that_is_wiped(known) -> None:
    kept: list[bytearray] = []
    content = encode_payload(known.candidate(), validated_at_s=5)

    def use(_: str, secret: bytearray) -> None:
        assert bytes(secret).decode() == known.secret
        kept.append(secret)

    assert decode_payload(content, use) == (None, 5)
    assert not any(kept[0])
    content = encode_payload(known.candidate(), validated_at_s=5)
    with pytest.raises(ZeroDivisionError):
        decode_payload(content, lambda _, secret: kept.append(secret) or 1 / 0)
    assert not any(kept[1])
    assert not any(content)


def test_every_plain_copy_of_key_and_secret_is_overwritten(known, wiped) -> None:
    key, secret = known.key.encode(), known.secret.encode()
    content = encode_payload(known.candidate(), validated_at_s=5)
    assert wiped == [key, secret]
    wiped.clear()
    restamped(content, validated_at_s=6)
    assert wiped == [key, secret]
    wiped.clear()
    before = bytes(content)
    decode_payload(content, lambda *_: None)
    assert wiped == [key, secret, before]
    wiped.clear()
    odd = bytearray(b'{"schema":1,"api_key":"A-A","api_secret":"BB","validated_at":null}')
    before = bytes(odd)
    with pytest.raises(VaultDamagedError):
        decode_payload(odd, lambda *_: None)
    assert wiped == [b"A-A", b"", b"BB", before]


def test_too_little_memory_is_a_vault_error(known, monkeypatch) -> None:
    class Poor:
        def __init__(self, **_: object) -> None: ...

        def derive_into(self, *_: object) -> None:
            raise MemoryError

    monkeypatch.setattr(format_, "Argon2id", Poor)
    with pytest.raises(VaultError, match="256 MiB") as caught:
        sealed(known, format_.derive_root)
    assert not isinstance(caught.value, VaultOpenError)


def test_costs_are_within_what_is_read() -> None:
    assert all(cost_is_accepted(cost) for cost in COSTS.values())
