"""The master password: where it comes from, what is refused, and that it stays veiled."""

from __future__ import annotations

import contextlib
import copy
import getpass
import logging
import os
import pickle
import sys
import traceback
import types
import warnings

import pytest

from krakked._credentials.candidate import Candidate
from krakked._credentials.passwords import (
    MAX_PASSWORD_BYTES,
    PASSWORD_FILE_VARIABLE,
    MasterPassword,
    as_source,
    default_password,
    fit_to_seal,
    password_from_fd,
    password_from_file,
    password_from_keyring,
    prompt_password,
    store_in_keyring,
)
from krakked._errors import CredentialsFormatError, NoPasswordError
from krakked._secrecy import Veil


def text_of(password: MasterPassword) -> str:
    return password.reveal().decode()


@pytest.mark.parametrize("bad", ["", "x" * (MAX_PASSWORD_BYTES + 1), "a\udc80b", b"bytes", None])
def test_what_is_no_password_is_refused_unechoed(bad) -> None:
    for make in (lambda: MasterPassword(bad), as_source(lambda: bad)):
        with pytest.raises(CredentialsFormatError) as caught:
            make()
        assert caught.value.field == "password"
        assert caught.value.__context__ is None


def test_any_source_becomes_a_function() -> None:
    ready = MasterPassword("ready")
    assert text_of(as_source("text")()) == "text"
    assert as_source(ready)() is ready
    assert text_of(as_source(lambda: "called")()) == "called"
    assert as_source(lambda: ready)() is ready
    with pytest.raises(CredentialsFormatError, match="empty"):
        as_source("")()


def test_password_file_first_line(tmp_path, caplog) -> None:
    file = tmp_path / "password"
    for content, expected in [
        (b"one", "one"),
        (b"one\n", "one"),
        (b"one\r\ntwo", "one"),
        (b" spaces count \n", " spaces count "),
        (b"\xef\xbb\xbfone\r\n", "one"),  # an editor's mark in front, unseen
        (b"one\xef\xbb\xbf", "one\ufeff"),
        ("pässwörd\n".encode(), "pässwörd"),
    ]:
        file.write_bytes(content)
        file.chmod(0o600)
        assert text_of(password_from_file(file)) == expected
    assert caplog.text == ""
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING, "krakked"):
        password_from_file(file)
    assert "may be read by others" in caplog.text
    link = tmp_path / "link"
    link.symlink_to(file)
    file.chmod(0o600)
    assert text_of(password_from_file(link)) == "pässwörd"


@pytest.mark.parametrize(
    "content", [b"", b"\nsecond", b"\xef\xbb\xbf\nsecond", b"\xff\xfe", b"\xc3", b"x" * 5000]
)
def test_password_file_without_a_password(tmp_path, content) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(CredentialsFormatError):
        password_from_file(file)


@pytest.mark.parametrize("mark", ["utf-16-le", "utf-16-be"])
def test_a_password_file_in_utf_16_is_named_so(tmp_path, mark) -> None:
    file = tmp_path / "password"
    file.write_bytes("\ufeffcorrect horse\n".encode(mark))
    file.chmod(0o600)
    with pytest.raises(CredentialsFormatError, match="save it as UTF-8"):
        password_from_file(file)


def test_a_password_file_in_the_home_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "password").write_bytes(b"at home")
    (tmp_path / "password").chmod(0o600)
    assert text_of(password_from_file("~/password")) == "at home"
    given = default_password({PASSWORD_FILE_VARIABLE: "~/password"})
    assert text_of(given) == "at home"
    for nowhere in ("~nobody-of-this-name/password", "~/pass\0word"):
        with pytest.raises(NoPasswordError, match="cannot be opened"):
            password_from_file(nowhere)


@pytest.mark.parametrize(
    "mode", [0o600, 0o400, 0o700, 0o711, 0o601, 0o610, 0o640, 0o604, 0o644, 0o444]
)
def test_who_may_read_a_password_file_is_only_warned_about(tmp_path, caplog, mode) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"x")
    file.chmod(mode)
    password_from_file(file)
    assert ("may be read by others" in caplog.text) is bool(mode & 0o044)


def test_two_entries_are_compared() -> None:
    first = MasterPassword("päss")
    assert first.matches(MasterPassword("päss")) is True
    assert first.matches(MasterPassword("pa\u0308ss")) is True  # the same in another form
    assert first.matches(MasterPassword("pass")) is False
    assert first.matches(MasterPassword("päss ")) is False


def test_what_cannot_be_opened_is_told_with_its_reason(tmp_path) -> None:
    with pytest.raises(NoPasswordError, match="No such file or directory"):
        password_from_file(tmp_path / "nowhere")
    with pytest.raises(NoPasswordError, match="embedded null"):
        password_from_file(tmp_path / "a\0b")


def test_a_pipe_of_any_mode_is_read(tmp_path) -> None:
    """That is how a shell hands over `<(command)`; nobody can change what is in it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    keep = os.open(pipe, os.O_RDWR)
    try:
        os.write(keep, b"through a pipe\n")
        assert text_of(password_from_file(pipe)) == "through a pipe"
    finally:
        os.close(keep)


@pytest.mark.parametrize("size", [4095, 4096])
def test_the_longest_password_of_a_descriptor(size) -> None:
    for content in (b"x" * size, b"x" * size + b"\nmore"):
        read, write = os.pipe()
        os.write(write, content)
        os.close(write)
        assert password_from_fd(read).size == size
        os.close(read)


@pytest.mark.parametrize("content", [b"x" * 4097, b"x" * 5000])
def test_a_descriptor_without_an_end_is_given_up(content) -> None:
    read, write = os.pipe()
    try:
        os.write(write, content)  # and it stays open: waiting for its end would hang
        with pytest.raises(CredentialsFormatError, match="longer than 4096"):
            password_from_fd(read)
    finally:
        os.close(read)
        os.close(write)


def test_reading_stops_at_the_end_of_the_line() -> None:
    read, write = os.pipe()
    try:
        os.write(write, b"first\n")
        assert text_of(password_from_fd(read)) == "first"
    finally:
        os.close(read)
        os.close(write)


def test_a_password_file_is_only_read(tmp_path, monkeypatch) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"x")
    file.chmod(0o600)
    opened: list[int] = []
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, flags: (opened.append(flags), real(path, flags))[1]
    )
    password_from_file(file)
    access = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
    assert [flags & access for flags in opened] == [os.O_RDONLY]


def test_how_long_a_password_is() -> None:
    for text, characters in (
        ("abc", 3),
        ("päss", 4),
        ("ﬁ", 2),
        ("e\u0301", 1),
        ("🐎x", 2),
    ):
        assert MasterPassword(text).characters == characters
    for text in ("x", "123456789", "ä" * 9, "🐎" * 9):
        with pytest.raises(CredentialsFormatError, match="at least 10 characters"):
            fit_to_seal(MasterPassword(text))
    for text in ("1234567890", "ä" * 10, "🐎" * 10):
        assert fit_to_seal(MasterPassword(text)).characters == 10
    assert MAX_PASSWORD_BYTES == 4096
    assert MasterPassword("x" * 4096).size == 4096
    with pytest.raises(CredentialsFormatError, match="longer than 4096"):
        MasterPassword("x" * 4097)


def test_every_plain_copy_of_a_password_is_overwritten(wiped) -> None:
    password, other = MasterPassword("correct"), MasterPassword("horse")
    assert wiped == [b"correct", b"horse"]
    wiped.clear()
    assert password.characters == 7
    assert wiped == [b"correct"]
    wiped.clear()
    assert not password.matches(other)
    assert wiped == [b"correct", b"horse"]
    wiped.clear()
    read, write = os.pipe()
    os.write(write, b"\xef\xbb\xbfcorrect\r\nmore")
    os.close(write)
    password_from_fd(read)
    os.close(read)
    assert wiped == [b"\xef\xbb\xbfcorrect\r\nmore", b"correct", b"correct"]


def test_what_was_read_before_a_descriptor_fails_is_overwritten(wiped, monkeypatch) -> None:
    pieces = [b"corr"]

    def failing(*_: object) -> bytes:
        if pieces:
            return pieces.pop()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", failing)
    with pytest.raises(NoPasswordError, match="from file descriptor 99: Input/output") as caught:
        password_from_fd(99)
    assert wiped == [b"corr"]
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(caught.tb)]
    assert not [held for frame in frames[1:] for held in frame.values() if held == b"corr"]


@pytest.mark.parametrize("fault", [None, RuntimeError])
def test_what_goes_to_the_keyring_is_overwritten(wiped, monkeypatch, fault) -> None:
    keyring = types.ModuleType("keyring")

    def stored(*_: object) -> None:
        if fault:
            raise fault

    keyring.set_password = stored  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    password = MasterPassword("correct")
    wiped.clear()
    with pytest.raises(NoPasswordError) if fault else contextlib.nullcontext():
        store_in_keyring(password)
    assert wiped == [b"correct"]


def test_password_file_that_others_may_change_or_that_is_not_there(tmp_path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"x")
    for mode in (0o620, 0o602, 0o622, 0o660, 0o606, 0o720):
        file.chmod(mode)
        with pytest.raises(NoPasswordError, match="chmod 600"):
            password_from_file(file)
    with pytest.raises(NoPasswordError, match="No such file"):
        password_from_file(tmp_path / "nowhere")
    with pytest.raises(NoPasswordError, match="cannot be read"):
        password_from_file(tmp_path)


def test_password_from_a_descriptor_even_in_small_pieces() -> None:
    read, write = os.pipe()
    for piece in (b"from ", b"a ", b"pipe\n", b"rest"):
        os.write(write, piece)
    os.close(write)
    assert text_of(password_from_fd(read)) == "from a pipe"
    os.close(read)
    with pytest.raises(NoPasswordError):
        password_from_fd(read)


def test_prompt_is_the_default_and_the_file_comes_before_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda prompt: f"typed after {prompt!r}")
    assert text_of(default_password({})) == "typed after 'Master password: '"
    file = tmp_path / "password"
    file.write_bytes(b"filed")
    file.chmod(0o600)
    assert text_of(default_password({"KRAKKED_MASTER_PASSWORD_FILE": str(file)})) == "filed"


@pytest.mark.parametrize("fault", ["echo", EOFError, OSError])
def test_a_prompt_that_would_echo_or_fail_is_refused(monkeypatch, fault) -> None:
    def broken(_: str) -> str:
        if fault == "echo":
            warnings.warn(
                "Can not control echo on the terminal.", getpass.GetPassWarning, stacklevel=1
            )
            return "shown to everybody"
        raise fault

    monkeypatch.setattr(getpass, "getpass", broken)
    with pytest.raises(NoPasswordError, match="KRAKKED_MASTER_PASSWORD_FILE") as caught:
        prompt_password()
    assert caught.value.__context__ is None


def test_the_keyring_is_an_extra_and_its_errors_are_ours(monkeypatch) -> None:
    entries: dict[tuple[str, str], str] = {}
    keyring = types.ModuleType("keyring")
    keyring.get_password = lambda *name: entries.get(name)  # type: ignore[attr-defined]
    keyring.set_password = lambda *args: entries.update({args[:2]: args[2]})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    with pytest.raises(NoPasswordError, match="--store-in-keyring"):
        password_from_keyring()
    store_in_keyring(MasterPassword("kept there"))
    assert text_of(password_from_keyring()) == "kept there"

    def locked(*_: object) -> str:
        raise RuntimeError("the backend's own words")

    keyring.get_password = keyring.set_password = locked  # type: ignore[attr-defined]
    for call in (password_from_keyring, lambda: store_in_keyring(MasterPassword("x"))):
        with pytest.raises(NoPasswordError, match="RuntimeError") as caught:
            call()
        assert "own words" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "keyring", None)
    for call in (password_from_keyring, lambda: store_in_keyring(MasterPassword("x"))):
        with pytest.raises(NoPasswordError, match=r"krakked\[keyring\]"):
            call()


@pytest.mark.parametrize(
    "make",
    [
        lambda: MasterPassword("hunter2 hunter2"),
        lambda: Candidate("A" * 56, "B" * 88),
        lambda: Veil(b"hunter2 hunter2"),
    ],
)
def test_secrets_are_not_copied_pickled_or_shown(make) -> None:
    secret = make()
    for protocol in range(6):
        with pytest.raises(TypeError, match="not copied or pickled"):
            pickle.dumps(secret, protocol)
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not copied or pickled"):
            copied(secret)
    assert repr(secret) == str(secret) == f"{secret}" == f"<{type(secret).__name__}>"
    assert secret != make()
    with pytest.raises(TypeError):
        vars(secret)


def test_a_cleared_candidate_holds_nothing() -> None:
    candidate = Candidate("A" * 56, "B" * 88)
    candidate.clear()
    assert not any(candidate.reveal_key())
    assert not any(candidate.reveal_secret())


def test_candidates_take_text_or_bytes_and_trim() -> None:
    for key, secret in [
        ("A" * 56, "B" * 88),
        (b"A" * 56, bytearray(b"B" * 88)),
        (f" {'A' * 56}\r\n", f"\t{'B' * 88} "),
    ]:
        candidate = Candidate(key, secret)
        assert bytes(candidate.reveal_key()) == b"A" * 56
        assert bytes(candidate.reveal_secret()) == b"B" * 88
    with pytest.raises(CredentialsFormatError):
        Candidate(None, 5)  # type: ignore[arg-type]
    one, two = Candidate("A" * 56, "B" * 88), Candidate("A" * 56, "C" * 88)
    assert one.fingerprint == two.fingerprint
    assert one.tag != two.tag


def test_typed_bytes_that_are_no_text_are_refused_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def typed(prompt: str) -> str:
        raise UnicodeDecodeError("ascii", b"geheim\xc3\xa9", 6, 7, "ordinal not in range(128)")

    monkeypatch.setattr("getpass.getpass", typed)
    with pytest.raises(NoPasswordError, match="encoding") as caught:
        prompt_password()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # it would hold what was typed
