"""The sealed file `secrets.enc`, format version 1: bytes in, bytes out. Pure: no file, no clock.

    offset size  field
    0      8     magic "KRAKVLT1"
    8      1     format version = 1
    9      1     key derivation = 1 (Argon2id v1.3)
    10     1     cipher = 1 (ChaCha20-Poly1305)
    11     1     flags = 0
    12     4     memory in KiB, little-endian
    16     4     passes
    20     1     lanes
    21     32    salt, fresh at every save
    53     12    nonce, fresh at every save
    65     4     length of the ciphertext, tag included
    69     32    key commitment
    101    n     ciphertext and 16-byte tag; the file ends here

    root   = Argon2id(NFKC(password), salt, memory, passes, lanes, 32 bytes)
    commit = HMAC-SHA256(root, "krakked/v1/commit" || bytes 0..68)
    key    = HMAC-SHA256(root, "krakked/v1/enc");  associated data = bytes 0..100

The header is checked before any password is asked for or any memory taken. A wrong commitment means
a wrong password or an altered header; a right commitment with a wrong tag means a damaged file.
"""

import hmac
import struct
from collections.abc import Callable
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from krakked._credentials.passwords import MasterPassword
from krakked._errors import VaultDamagedError, VaultError, VaultVersionError, WrongPasswordError
from krakked._public import public
from krakked._secrecy import wipe

MAGIC: Final = b"KRAKVLT1"
VERSION: Final = 1
ARGON2ID: Final = 1
CHACHA20_POLY1305: Final = 1
_HEADER: Final = struct.Struct("<8sBBBBIIB32s12sI")
HEADER_SIZE: Final = _HEADER.size
COMMITMENT_SIZE: Final = 32
BODY_OFFSET: Final = HEADER_SIZE + COMMITMENT_SIZE
TAG_SIZE: Final = 16
SALT_SIZE: Final = 32
NONCE_SIZE: Final = 12
MAX_FILE_BYTES: Final = 65_536
PAD_TO: Final = 256
"""The payload is padded to a multiple of this, so that the length tells nothing about it."""

SENTENCE: Final = "Wrong password or corrupted secrets file"
"""What every failed opening says (contract, Phase 1 section 3)."""


@public
class DerivationCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one derivation costs."""

    memory_kib: int
    """Memory in KiB."""
    passes: int
    """Passes over that memory."""
    lanes: int
    """Parallel lanes."""


DEFAULT_COST: Final = DerivationCost(memory_kib=262_144, passes=3, lanes=4)
"""256 MiB, 3 passes, 4 lanes: four times RFC 9106's second choice; 0.6 to 0.9 s on two cores."""

SMALL_COST: Final = DerivationCost(memory_kib=65_536, passes=3, lanes=4)
"""64 MiB, 3, 4: RFC 9106's second recommended choice, for hosts with little memory."""

COSTS: Final = {"default": DEFAULT_COST, "small": SMALL_COST}
"""Costs a vault may be written with, by name. Reading accepts more, see `cost_is_accepted`."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The checked head of a vault file."""

    cost: DerivationCost
    salt: bytes
    nonce: bytes
    body_size: int
    commitment: bytes


Derivation = Callable[[MasterPassword, bytes, DerivationCost], bytearray]
"""(password, salt, cost) to a 32-byte root key in a buffer of its own."""


def derive_root(password: MasterPassword, salt: bytes, cost: DerivationCost) -> bytearray:
    """Derive the root key with Argon2id v1.3 (RFC 9106).

    Raises:
        VaultError: There is not enough memory for the cost.
    """
    root, text = bytearray(32), password.reveal()
    kdf = Argon2id(
        salt=salt,
        length=len(root),
        iterations=cost.passes,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
    try:
        kdf.derive_into(text, root)  # type: ignore[arg-type]  # takes any buffer
    except MemoryError:
        enough = False
    else:
        enough = True
    finally:
        wipe(text)
    if not enough:
        raise VaultError(f"Not enough memory: the vault needs {cost.memory_kib // 1024} MiB free.")
    return root


def cost_is_accepted(cost: DerivationCost) -> bool:
    """Tell whether a file with this cost is opened: neither planted weak nor an attack on memory.

    64 MiB to 1 GiB, 1 to 12 passes, 1 to 8 lanes, and memory times passes from 192 MiB to 3 GiB.
    """
    mib = 1024
    return (
        64 * mib <= cost.memory_kib <= 1024 * mib
        and 1 <= cost.passes <= 12
        and 1 <= cost.lanes <= 8
        and 192 * mib <= cost.memory_kib * cost.passes <= 3072 * mib
    )


def parse_header(data: bytes) -> Header:
    """Check everything about a vault file that can be checked without the password.

    Raises:
        VaultVersionError: Written by a newer krakked.
        VaultDamagedError: Cut, altered, not a vault, or with a cost outside the accepted bounds.
    """
    if not data.startswith(MAGIC):
        raise _damaged("this is not a krakked vault")
    if len(data) < BODY_OFFSET + TAG_SIZE or len(data) > MAX_FILE_BYTES:
        raise _damaged(f"a length of {len(data)} bytes cannot be right")
    (_, version, kdf, cipher, flags, memory_kib, passes, lanes, salt, nonce, body_size) = (
        _HEADER.unpack_from(data)
    )
    if version > VERSION:
        raise VaultVersionError(
            f"The secrets file has format {version}, newer than this krakked knows ({VERSION}). "
            "Upgrade krakked."
        )
    if (version, kdf, cipher, flags) != (VERSION, ARGON2ID, CHACHA20_POLY1305, 0):
        raise _damaged("unknown algorithm or flags in the header")
    cost = DerivationCost(memory_kib=memory_kib, passes=passes, lanes=lanes)
    if not cost_is_accepted(cost):
        raise _damaged("the header asks for a derivation outside the accepted bounds")
    if body_size != len(data) - BODY_OFFSET:
        raise _damaged("the file is shorter or longer than its header says")
    if (body_size - TAG_SIZE) % PAD_TO or body_size == TAG_SIZE:
        raise _damaged("the content has an impossible length")
    return Header(
        cost=cost,
        salt=salt,
        nonce=nonce,
        body_size=body_size,
        commitment=data[HEADER_SIZE:BODY_OFFSET],
    )


def seal(
    content: bytearray,
    password: MasterPassword,
    *,
    salt: bytes,
    nonce: bytes,
    cost: DerivationCost = DEFAULT_COST,
    derive: Derivation = derive_root,
) -> bytes:
    """Seal a payload into the bytes of a vault file.

    Args:
        content: Payload as `krakked._credentials.payload` writes it, padded; wiped by the caller.
        password: The master password.
        salt: 32 fresh random bytes.
        nonce: 12 fresh random bytes.
        cost: One of `COSTS`.
        derive: The key derivation; anything but the default is for tests.

    Raises:
        VaultError: Not enough memory, or a payload too large for the format.
        ValueError: A salt, nonce or padding of the wrong size.
    """
    size = len(content)
    if len(salt) != SALT_SIZE or len(nonce) != NONCE_SIZE or size % PAD_TO or size == 0:
        raise ValueError("salt, nonce and padding have fixed sizes")
    if BODY_OFFSET + size + TAG_SIZE > MAX_FILE_BYTES:
        raise VaultError("The credentials are too large for the vault.")
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        ARGON2ID,
        CHACHA20_POLY1305,
        0,
        cost.memory_kib,
        cost.passes,
        cost.lanes,
        salt,
        nonce,
        size + TAG_SIZE,
    )
    root = derive(password, salt, cost)
    try:
        front = header + _commitment(root, header)
        return front + _cipher(root).encrypt(nonce, content, front)
    finally:
        wipe(root)


def unseal(data: bytes, password: MasterPassword, *, derive: Derivation = derive_root) -> bytearray:
    """Open the bytes of a vault file; give the padded payload in a buffer the caller wipes.

    Args:
        data: The whole file.
        password: The master password.
        derive: The key derivation; anything but the default is for tests.

    Raises:
        WrongPasswordError: The password is wrong, or the header was altered.
        VaultDamagedError: The password is right and the content was altered, or as `parse_header`.
        VaultVersionError: Written by a newer krakked.
        VaultError: Not enough memory.
    """
    header = parse_header(data)
    root = derive(password, header.salt, header.cost)
    content = bytearray(header.body_size - TAG_SIZE)
    try:
        expected = _commitment(root, data[:HEADER_SIZE])
        committed = hmac.compare_digest(expected, header.commitment)
        intact = committed and _decrypt(root, header, data, content)
    finally:
        wipe(root)
    if not committed:
        raise WrongPasswordError(SENTENCE)
    if not intact:
        raise VaultDamagedError(SENTENCE)
    return content


def _decrypt(root: bytearray, header: Header, data: bytes, content: bytearray) -> bool:
    """Decrypt straight into `content`, which can be overwritten later; bytes could not."""
    try:
        _cipher(root).decrypt_into(header.nonce, data[BODY_OFFSET:], data[:BODY_OFFSET], content)
    except InvalidTag:
        wipe(content)
        return False
    return True


def _commitment(root: bytearray, header: bytes) -> bytes:
    return hmac.digest(root, b"krakked/v1/commit" + header, "sha256")


def _cipher(root: bytearray) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hmac.digest(root, b"krakked/v1/enc", "sha256"))


def _damaged(detail: str) -> VaultDamagedError:
    """Say the contract's sentence; what was seen, none of it secret, goes along as a note."""
    error = VaultDamagedError(SENTENCE)
    error.add_note(f"({detail})")
    return error
