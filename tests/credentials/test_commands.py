"""`krakked setup`, `krakked vault ...`, `krakked config show` as a user meets them."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import types
from pathlib import Path

import msgspec
import pytest

from krakked._cli import setup as setup_command
from krakked._cli import vault as vault_command
from krakked._cli.exits import Exit
from krakked._cli.main import build_parser, main
from krakked._credentials import saving
from krakked._credentials.outcomes import Outcome, Validation
from krakked._credentials.sources import load_credentials
from krakked._credentials.vault_file import VaultFile
from krakked._errors import ConfigError, NoCredentialsError

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def own_log_level():
    """The command line sets the level of krakked's loggers; other tests must not see that."""
    logger = logging.getLogger("krakked")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture
def directory(own_config_dir: Path, monkeypatch, cheap) -> Path:
    """The commands' configuration directory, with instant derivations."""
    for owner, name in [
        (setup_command, "save_credentials"),
        (vault_command, "change_password"),
        (vault_command, "vault_info"),
    ]:
        real = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, _real=real, **more: _real(*args, derive=cheap, **more)
        )
        monkeypatch.setenv("COLUMNS", "200")
    return own_config_dir


@pytest.fixture
def type_in(monkeypatch):
    """Give what the user types: hidden lines and open answers, each in order."""

    def prepare(*, hidden: tuple[str, ...] = (), answers: tuple[str, ...] = ()) -> None:
        lines, open_answers = iter(hidden), iter(answers)
        monkeypatch.setattr("getpass.getpass", lambda _: next(lines))
        monkeypatch.setattr("rich.console.Console.input", lambda *_, **__: next(open_answers))

    return prepare


def kraken(monkeypatch, outcome: Outcome) -> list[str | None]:
    """Give the outcome whatever is asked; tell the one-time passwords that came along."""
    codes: list[str | None] = []

    async def validate(candidate, *, config, otp=None):
        codes.append(otp and otp.fresh("Balance"))
        at = 1_790_000_000 if outcome is Outcome.VALID else None
        return Validation(outcome=outcome, tag=candidate.tag, validated_at_s=at)

    async def words(_: object) -> list[str]:
        return ["468 pairs"]

    monkeypatch.setattr(setup_command, "validate_credentials", validate)
    monkeypatch.setattr(setup_command, "_universe_in_words", words)
    return codes


def password_fd(text: str) -> str:
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    return str(read)


@pytest.fixture
def sealed(directory, type_in, monkeypatch, known, capfd) -> VaultFile:
    """A vault as `krakked setup` makes it; whatever a test prints holds no secret."""
    kraken(monkeypatch, Outcome.VALID)
    type_in(hidden=(known.key, known.secret, PASSWORD, "other", PASSWORD, PASSWORD))
    assert main(["setup"]) == 0
    out = capfd.readouterr().out
    assert "The two entries differ" in out
    assert "56 characters" in out
    assert "468 pairs" in out
    assert known.key not in out
    assert known.secret not in out
    return VaultFile(directory)


def test_vault_status_without_a_vault_says_what_to_do(directory, capfd) -> None:
    assert main(["vault", "status"]) == Exit.CREDENTIALS
    assert "Run `krakked setup`" in capfd.readouterr().out


def test_vault_status_tells_the_facts_without_a_password(sealed, capfd) -> None:
    assert main(["vault", "status"]) == 0
    out = capfd.readouterr().out
    assert "256 MiB" in out
    assert "fingerprint" not in out


def test_vault_status_opens_when_asked(sealed, known, capfd) -> None:
    assert main(["vault", "status", "--open", "--password-fd", password_fd(PASSWORD)]) == 0
    out = capfd.readouterr().out
    assert hashlib.sha256(known.key.encode()).hexdigest()[:16] in out
    assert "validated" in out
    assert "never" not in out
    assert known.key not in out
    assert main(["vault", "status", "--open", "--password-fd", password_fd("wrong")]) == 4
    assert "Wrong password or corrupted secrets file" in capfd.readouterr().err


def test_vault_status_refuses_an_unsafe_file(sealed, capfd) -> None:
    sealed.path.chmod(0o644)
    assert main(["vault", "status"]) == 4
    assert "chmod 600" in capfd.readouterr().err


def test_vault_passwd_changes_the_password_and_the_cost(sealed, capfd) -> None:
    arguments = [
        "--password-fd",
        password_fd(PASSWORD),
        "--new-password-fd",
        password_fd("the next one"),
    ]
    assert main(["vault", "passwd", "--cost", "small", *arguments]) == 0
    assert "sealed with the new password" in capfd.readouterr().out
    assert main(["vault", "status", "--open", "--password-fd", password_fd("the next one")]) == 0
    assert "64 MiB" in capfd.readouterr().out
    assert main(["vault", "status", "--open", "--password-fd", password_fd(PASSWORD)]) == 4


def test_vault_passwd_with_a_wrong_password_changes_nothing(sealed, capfd) -> None:
    before = sealed.path.read_bytes()
    arguments = [
        "--password-fd",
        password_fd("wrong"),
        "--new-password-fd",
        password_fd("the next one"),
    ]
    assert main(["vault", "passwd", *arguments]) == 4
    assert "Wrong password or corrupted secrets file" in capfd.readouterr().err
    assert sealed.path.read_bytes() == before


def test_vault_passwd_takes_no_short_password(sealed, capfd) -> None:
    before = sealed.path.read_bytes()
    for short in ("x", "123456789"):
        new = ["--new-password-fd", password_fd(short)]
        assert main(["vault", "passwd", "--password-fd", password_fd(PASSWORD), *new]) != 0
        assert "at least 10 characters" in capfd.readouterr().err
    assert sealed.path.read_bytes() == before


def test_vault_passwd_asks_on_the_terminal(sealed, type_in) -> None:
    type_in(hidden=(PASSWORD, "one", "another"))
    assert main(["vault", "passwd"]) == 4  # the two entries differ
    type_in(hidden=(PASSWORD, "the new one", "the new one"))
    assert main(["vault", "passwd"]) == 0
    assert main(["vault", "status", "--open", "--password-fd", password_fd("the new one")]) == 0


def test_vault_passwd_fills_the_keyring_after_the_vault_only(sealed, monkeypatch, capfd) -> None:
    stored: list[str] = []
    keyring = types.ModuleType("keyring")
    keyring.set_password = lambda *args: stored.append(args[2])  # type: ignore[attr-defined]
    keyring.get_password = lambda *_: stored[-1] if stored else None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    passwd = ["vault", "passwd", "--store-in-keyring"]
    new = ["--new-password-fd", password_fd("kept in the keyring")]
    assert main([*passwd, "--password-fd", password_fd("wrong"), *new]) == 4
    assert stored == []
    with monkeypatch.context() as full:
        full.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
        new = ["--new-password-fd", password_fd("kept in the keyring")]
        assert main([*passwd, "--password-fd", password_fd(PASSWORD), *new]) == 4
    assert stored == []
    new = ["--new-password-fd", password_fd("kept in the keyring")]
    assert main([*passwd, "--password-fd", password_fd(PASSWORD), *new]) == 0
    assert stored == ["kept in the keyring"]
    assert main(["vault", "status", "--open", "--keyring"]) == 0
    assert "kept in the keyring" not in "".join(capfd.readouterr())


def test_vault_remove_asks_first(sealed, type_in, capfd) -> None:
    type_in(answers=("no",))
    assert main(["vault", "remove"]) == 1
    assert "Nothing was deleted" in capfd.readouterr().out
    assert sealed.exists()
    type_in(answers=("remove",))
    assert main(["vault", "remove"]) == 0
    assert not sealed.exists()
    assert main(["vault", "remove", "--yes"]) == Exit.CREDENTIALS


def test_vault_remove_takes_the_backup_along(sealed) -> None:
    sealed.write(sealed.read(), keep_backup=True)
    assert sealed.backup_path.exists()
    assert main(["vault", "remove", "--yes"]) == 0
    assert not sealed.exists()
    assert not sealed.backup_path.exists()


def test_setup_refuses_a_rejected_key_and_writes_nothing(
    directory, type_in, monkeypatch, known, capfd
) -> None:
    kraken(monkeypatch, Outcome.AUTH_PROBLEM)
    type_in(hidden=(known.key, known.secret), answers=("nonsense", "2"))
    assert main(["setup"]) == 1
    assert "Nothing was saved" in capfd.readouterr().out
    assert not VaultFile(directory).exists()


def test_setup_asks_for_a_one_time_password_when_told(
    directory, type_in, monkeypatch, known, capfd
) -> None:
    codes = kraken(monkeypatch, Outcome.VALID)
    type_in(hidden=(known.key, known.secret, " 012345 ", PASSWORD, PASSWORD))
    assert main(["setup", "--otp"]) == 0
    assert codes == ["012345"]
    assert "012345" not in "".join(capfd.readouterr())


def test_setup_takes_the_password_from_a_file_without_asking(
    directory, type_in, monkeypatch, known, tmp_path, capfd
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(0o600)
    monkeypatch.setenv("KRAKKED_MASTER_PASSWORD_FILE", str(file))
    kraken(monkeypatch, Outcome.NETWORK_PROBLEM)
    type_in(hidden=(known.key, known.secret), answers=("unvalidated",))
    assert main(["setup"]) == 0
    assert "UNVALIDATED" in capfd.readouterr().out
    assert main(["vault", "status", "--open"]) == 0
    assert "never" in capfd.readouterr().out
    assert saving.DEFAULT == "default"


def test_config_show_prints_every_setting_and_its_origin(directory, capfd) -> None:
    (directory / "config.yaml").write_text("region: US_NY\nrest:\n  timeout_s: 12\n")
    assert main(["config", "show"]) == 0
    out = capfd.readouterr().out
    assert "KRAKKED_CONFIG_DIR" in out
    for line in ("US_NY", "config.yaml:1", "rest.timeout_s", "config.yaml:3", "default"):
        assert line in out
    (directory / "config.yaml").write_text("regoin: US_NY\n")
    assert main(["config", "show"]) == 1
    assert "did you mean region?" in capfd.readouterr().err


def test_no_argument_takes_a_secret(directory) -> None:
    for command in (["setup"], ["vault", "status"], ["vault", "passwd"]):
        parser = build_parser(command)
        for option in ("--password", "--api-secret", "--secret", "--api-key", "--key"):
            with pytest.raises(SystemExit):
                parser.parse_args([*command, option, "x"])
        with pytest.raises(SystemExit):
            parser.parse_args([*command, "positional"])


def given(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def named(tmp_path: Path, known) -> list[str]:
    words = ["setup", "--key-file", given(tmp_path / "key", f"{known.key}\r\n")]
    words += ["--secret-fd", password_fd(known.secret)]
    return [*words, "--password-fd", password_fd(PASSWORD)]


def test_setup_without_a_person(directory, tmp_path, monkeypatch, known, capfd, type_in) -> None:
    kraken(monkeypatch, Outcome.VALID)
    type_in()  # nobody is there
    assert main(named(tmp_path, known)) == 0
    out = "".join(capfd.readouterr())
    assert "Sealed into" in out
    assert known.key not in out
    assert known.secret not in out
    before = VaultFile(directory).read()
    assert main(named(tmp_path, known)) == Exit.CREDENTIALS
    assert "--replace" in capfd.readouterr().err
    assert VaultFile(directory).read() == before
    assert main([*named(tmp_path, known), "--replace"]) == 0
    assert VaultFile(directory).read() != before


@pytest.mark.parametrize(
    ("outcome", "more", "status"),
    [
        (Outcome.AUTH_PROBLEM, [], Exit.CREDENTIALS),
        (Outcome.AUTH_PROBLEM, ["--unvalidated"], Exit.CREDENTIALS),
        (Outcome.NETWORK_PROBLEM, [], Exit.UNREACHABLE),
        (Outcome.SERVICE_PROBLEM, [], Exit.UNREACHABLE),
        (Outcome.NETWORK_PROBLEM, ["--unvalidated"], Exit.DONE),
    ],
)
def test_setup_without_a_person_saves_what_it_may(
    directory, tmp_path, monkeypatch, known, outcome, more, status
) -> None:
    kraken(monkeypatch, outcome)
    assert main([*named(tmp_path, known), *more]) == status
    assert VaultFile(directory).exists() == (status is Exit.DONE)


def test_setup_wants_both_key_and_secret(directory, tmp_path, known, capfd) -> None:
    assert main(["setup", "--key-file", given(tmp_path / "key", known.key)]) == 4
    assert "name it with --secret-file or --secret-fd" in capfd.readouterr().err
    others = tmp_path / "key"
    others.chmod(0o666)
    assert main(["setup", "--key-file", str(others), "--secret-file", str(others)]) == 4
    assert f"The API key file {others} may be written by others" in capfd.readouterr().err
    assert not VaultFile(directory).exists()


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.VALID, 0),
        (Outcome.AUTH_PROBLEM, 4),
        (Outcome.SERVICE_PROBLEM, 3),
        (Outcome.NETWORK_PROBLEM, 3),
    ],
)
def test_auth_test_asks_about_the_key_in_force(
    directory, monkeypatch, known, capfd, outcome, status
) -> None:
    async def ask(credentials, tag, **_):
        return Validation(outcome=outcome, tag=tag, permissions=("query-funds",), warnings=("w",))

    monkeypatch.setattr("krakked._cli.auth.ask_kraken", ask)
    monkeypatch.setenv("KRAKEN_API_KEY", known.key)
    monkeypatch.setenv("KRAKEN_API_SECRET", known.secret)
    assert main(["auth", "test"]) == status
    fingerprint = hashlib.sha256(known.key.encode()).hexdigest()[:16]
    assert f"Key {fingerprint}, from the environment." in capfd.readouterr().out
    assert main(["auth", "test", "--json"]) == status
    told = msgspec.json.decode(capfd.readouterr().out)
    assert told["outcome"] == outcome
    assert told["permissions"] == ["query-funds"]
    assert told["error"] is None


def test_auth_test_without_a_key(directory, capfd) -> None:
    assert main(["auth", "test"]) == 4
    assert "krakked setup" in capfd.readouterr().err


def test_vault_validate_notes_a_success(sealed, monkeypatch, capfd) -> None:
    told: list[object] = []

    async def validate(password, *, otp, profile):
        told.append(otp)
        return Validation(outcome=Outcome.VALID, tag="x", validated_at_s=1_790_000_000)

    monkeypatch.setattr(vault_command, "validate_stored_credentials", validate)
    assert main(["vault", "validate", "--password-fd", password_fd(PASSWORD)]) == 0
    assert "accepted this key" in capfd.readouterr().out
    assert told == [None]


def test_vault_status_as_json(directory, capfd) -> None:
    assert main(["vault", "status", "--json"]) == 4
    answer = msgspec.json.decode(capfd.readouterr().out)
    assert answer == {"path": str(directory / "secrets.enc"), "exists": False}


def test_vault_status_of_a_vault_as_json(sealed, capfd) -> None:
    assert main(["vault", "status", "--json"]) == 0
    answer = msgspec.json.decode(capfd.readouterr().out)
    assert answer["exists"] is True
    assert answer["memory_bytes"] == 256 << 20
    assert answer["opened"] is False


def test_profiles_are_vaults_apart(
    directory, tmp_path, monkeypatch, known, capfd, type_in, sealed
) -> None:
    other = "B" * 56
    words = ["setup", "--profile", "alice", "--key-file", given(tmp_path / "key", other)]
    words += ["--secret-fd", password_fd(known.secret), "--password-fd", password_fd(PASSWORD)]
    assert main(words) == 0
    assert str(directory / "profiles" / "alice" / "secrets.enc") in capfd.readouterr().out
    for profile, key in ((["--profile", "alice"], other), ([], known.key)):
        status = ["vault", "status", "--open", *profile, "--password-fd", password_fd(PASSWORD)]
        assert main(status) == 0
        assert hashlib.sha256(key.encode()).hexdigest()[:16] in capfd.readouterr().out
    assert main(["vault", "status", "--profile", "bob"]) == 4
    assert "krakked setup --profile bob" in capfd.readouterr().out
    assert main(["vault", "remove", "--profile", "alice", "--yes"]) == 0
    assert sealed.exists()


@pytest.mark.parametrize("name", ["../up", "Alice", "", "a" * 65, "a/b", ".x", "a b"])
def test_what_is_no_profile_is_said(directory, capfd, name) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["vault", "status", "--profile", name])
    assert caught.value.code == 2
    assert "can be no profile" in capfd.readouterr().err
    with pytest.raises(ConfigError) as refused:
        load_credentials(profile=name, environ={})
    assert refused.value.key == "profile"


def test_a_profile_ignores_the_environment_and_says_so(sealed, known, caplog, cheap) -> None:
    directory = sealed.path.parent / "profiles" / "alice"
    directory.mkdir(parents=True, mode=0o700)
    (directory / "secrets.enc").write_bytes(sealed.path.read_bytes())
    (directory / "secrets.enc").chmod(0o600)
    environ = {"KRAKEN_API_KEY": "E" * 56, "KRAKEN_API_SECRET": known.secret}
    found = load_credentials(profile="alice", password=PASSWORD, environ=environ, derive=cheap)
    assert found.fingerprint == hashlib.sha256(known.key.encode()).hexdigest()[:16]
    assert "KRAKEN_API_KEY and KRAKEN_API_SECRET are ignored: profile alice" in caplog.text
    with pytest.raises(NoCredentialsError, match="krakked setup --profile bob"):
        load_credentials(profile="bob", password=PASSWORD, environ=environ)


def test_two_set_ups_at_once_leave_one_key(directory, tmp_path, monkeypatch, known, capfd) -> None:
    kraken(monkeypatch, Outcome.VALID)
    real = setup_command.validate_credentials

    async def meanwhile(candidate, **more):
        VaultFile(directory).write(b"another process was faster")
        return await real(candidate, **more)

    monkeypatch.setattr(setup_command, "validate_credentials", meanwhile)
    assert main(named(tmp_path, known)) == Exit.CREDENTIALS
    assert "There is a vault already" in capfd.readouterr().err
    assert VaultFile(directory).read() == b"another process was faster"
