"""The master password: held veiled, read from a prompt, a file, a descriptor or the OS keyring.

Never from the command line's arguments and never from a variable's value: both are visible to
other programs. A Python str cannot be overwritten, so nothing is promised about the text that a
caller hands in; it is veiled here at once and no frame of krakked keeps it.
"""

from __future__ import annotations

import getpass
import importlib
import os
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, final

from krakked._credentials.secret_lines import (
    MAX_LINE_BYTES,
    line_of_descriptor,
    line_of_file,
)
from krakked._errors import CredentialsFormatError, NoPasswordError
from krakked._public import public
from krakked._secrecy import NeverCopied, Veil, wipe

PASSWORD_FILE_VARIABLE: Final = "KRAKKED_MASTER_PASSWORD_FILE"  # noqa: S105 - names a file
"""Environment variable naming a file whose first line is the master password."""

MIN_PASSWORD_CHARACTERS: Final = 10
"""Shortest master password that a vault is sealed with; a guess costs 0.6 s and 256 MiB."""

MAX_PASSWORD_BYTES: Final = MAX_LINE_BYTES
"""Longest password accepted, in UTF-8."""

KEYRING_SERVICE: Final = "krakked"
KEYRING_ENTRY: Final = "master-password"
"""Of the vault without a name; that of a profile ends in ``:`` and its name."""


@public
@final
class MasterPassword(NeverCopied):
    """A master password, normalised (NFKC, UTF-8) and veiled.

    Raises:
        CredentialsFormatError: Empty, too long, or not text.
    """

    __slots__ = ("_veil",)

    def __init__(self, text: str) -> None:
        self._veil, problem = _veiled_password(text)
        del text  # a traceback with locals now finds nothing plain in this frame
        if problem is not None:
            raise CredentialsFormatError(f"The master password {problem}.", field="password")

    def reveal(self) -> bytearray:
        """Return the bytes to derive from, in a buffer of its own; the caller wipes it."""
        return self._veil.reveal()

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self._veil)

    @property
    def characters(self) -> int:
        """Length in characters, as normalised."""
        text = self.reveal()
        count = sum((byte & 0xC0) != 0x80 for byte in text)  # UTF-8: every byte that begins one
        wipe(text)
        return count

    def matches(self, other: MasterPassword) -> bool:
        """Tell whether two entries are the same."""
        mine, theirs = self.reveal(), other.reveal()
        same = mine == theirs
        wipe(mine)
        wipe(theirs)
        return same

    def __repr__(self) -> str:
        return "<MasterPassword>"


PasswordSource = str | MasterPassword | Callable[[], "str | MasterPassword"]
"""What the public functions take: the password, or something to call when it is really needed."""


def _veiled_password(text: object) -> tuple[Veil, str | None]:
    """Normalise and veil; the second item says what is wrong, so that nothing raises here."""
    if not isinstance(text, str):
        return Veil(b""), "must be text"
    try:
        data = bytearray(unicodedata.normalize("NFKC", text).encode())
    except UnicodeEncodeError:  # the error object holds the text: dropped here
        return Veil(b""), "holds characters that could not be decoded; check the terminal's locale"
    veil, size = Veil(data), len(data)
    wipe(data)
    if size == 0:
        return veil, "is empty"
    if size > MAX_PASSWORD_BYTES:
        return veil, f"is longer than {MAX_PASSWORD_BYTES} bytes"
    return veil, None


def as_source(given: PasswordSource) -> Callable[[], MasterPassword]:
    """Turn whatever a caller gave into a function that gives the veiled password.

    Never raises and keeps no plain text, so a caller can drop its argument before anything can go
    wrong. The function raises `CredentialsFormatError` for a password that is none, and whatever a
    given function raises.
    """
    if isinstance(given, str):
        ready = _wrapped(given)
        return lambda: _or_raise(ready)
    if isinstance(given, MasterPassword):
        return lambda: given
    return lambda: _or_raise(_asked(given))


def _asked(source: Callable[[], str | MasterPassword]) -> MasterPassword | CredentialsFormatError:
    given = source()
    return given if isinstance(given, MasterPassword) else _wrapped(given)


def _wrapped(text: str) -> MasterPassword | CredentialsFormatError:
    try:
        return MasterPassword(text)
    except CredentialsFormatError as error:
        return error.with_traceback(None)


def _or_raise(password: MasterPassword | CredentialsFormatError) -> MasterPassword:
    if isinstance(password, CredentialsFormatError):
        raise password
    return password


def fit_to_seal(password: MasterPassword) -> MasterPassword:
    """Give the password back when a vault may be sealed with it; opening takes any.

    Raises:
        CredentialsFormatError: It is too short.
    """
    if password.characters >= MIN_PASSWORD_CHARACTERS:
        return password
    raise CredentialsFormatError(
        f"The master password is too short: use at least {MIN_PASSWORD_CHARACTERS} characters; a "
        "few random words are good.",
        field="password",
    )


def prompt_password(prompt: str = "Master password: ") -> MasterPassword:
    """Ask on the terminal without echo.

    Raises:
        NoPasswordError: There is no terminal to ask on, or the user gave up.
        CredentialsFormatError: Nothing was typed.
    """
    return MasterPassword(hidden_line(prompt))


def hidden_line(prompt: str) -> str:
    """Read one line from the terminal without echo; refuse where it would be shown.

    Raises:
        NoPasswordError: There is no terminal to ask on, or the input ended.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # its fallback would echo
        try:
            return getpass.getpass(prompt)
        except (getpass.GetPassWarning, EOFError, OSError):
            reason = "There is no terminal to ask on without showing what is typed"
        except UnicodeError:  # it holds what was typed: dropped here
            reason = "What was typed is no text in the encoding of this terminal's locale"
    raise NoPasswordError(
        f"{reason}. Name a file with {PASSWORD_FILE_VARIABLE}, or use --password-fd."
    )


def password_from_file(path: str | Path) -> MasterPassword:
    """Read a password from the first line of a file, such as a container's or systemd's secret.

    What may be read, and how, is `line_of_file`'s.

    Raises:
        NoPasswordError: The file cannot be read, or others may write it.
        CredentialsFormatError: Its first line is empty, too long or not UTF-8.
    """
    line = line_of_file(path, what="password", field="password", failed=NoPasswordError)
    return _or_raise(_decoded(line))


def password_from_fd(descriptor: int) -> MasterPassword:
    """Read a password from the first line of an open file descriptor; the caller closes it.

    Raises:
        NoPasswordError: The descriptor cannot be read.
        CredentialsFormatError: Its first line is empty, too long or not UTF-8.
    """
    line = line_of_descriptor(descriptor, what="password", field="password", failed=NoPasswordError)
    return _or_raise(_decoded(line))


def _decoded(line: bytearray) -> MasterPassword | CredentialsFormatError:
    try:
        return _wrapped(line.decode())
    except UnicodeDecodeError:
        return CredentialsFormatError("The master password is not UTF-8 text.", field="password")
    finally:
        wipe(line)


def password_from_keyring(profile: str | None = None) -> MasterPassword:
    """Read the password from the operating system's keyring (extra ``krakked[keyring]``).

    Never asked unless the user chose it: any program of the same user may read the entry as well.

    Raises:
        NoPasswordError: No keyring, or no entry in it.
    """
    try:
        keyring = importlib.import_module("keyring")
    except ImportError as error:
        raise NoPasswordError(
            "The keyring needs an extra: pip install 'krakked[keyring]'."
        ) from error
    problem = "has no entry for krakked; `krakked vault passwd --store-in-keyring` makes one"
    try:
        text = keyring.get_password(KEYRING_SERVICE, _entry(profile))
    except Exception as error:  # every backend has its own errors, and they are not ours to show
        problem, text = f"cannot be used ({type(error).__name__})", None
    if not text:
        raise NoPasswordError(f"The operating system's keyring {problem}.")
    password, text = _wrapped(text), ""
    return _or_raise(password)


def store_in_keyring(password: MasterPassword, profile: str | None = None) -> None:
    """Put the password into the operating system's keyring, because the user asked for it.

    Raises:
        NoPasswordError: No keyring can be used.
    """
    problem: str | None = None
    buffer = password.reveal()
    try:
        keyring = importlib.import_module("keyring")
        keyring.set_password(KEYRING_SERVICE, _entry(profile), buffer.decode())
    except ImportError:
        problem = "needs an extra: pip install 'krakked[keyring]'"
    except Exception as error:  # as above
        problem = f"cannot be used ({type(error).__name__})"
    finally:
        wipe(buffer)
    if problem:
        raise NoPasswordError(f"The operating system's keyring {problem}.")


def _entry(profile: str | None) -> str:
    return KEYRING_ENTRY if profile is None else f"{KEYRING_ENTRY}:{profile}"


def default_password(environ: Mapping[str, str] | None = None) -> MasterPassword:
    """Get the password where no source was named: the file in the environment, else a prompt.

    Raises:
        NoPasswordError: Neither can give one.
        CredentialsFormatError: What it gave is no password.
    """
    named = (os.environ if environ is None else environ).get(PASSWORD_FILE_VARIABLE, "")
    return password_from_file(named) if named else prompt_password()
