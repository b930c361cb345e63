"""The interactive set-up: contract, Phase 1 sections 4 and 9."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Outcome, Validation
from krakked._credentials.passwords import MasterPassword
from krakked._credentials.saving import SavedVault, save_credentials
from krakked._credentials.setup import MAX_TRIES, describe, run_setup
from krakked._credentials.sources import load_credentials, open_vault
from krakked._errors import AuthError, ConnectFailedError, CredentialsFormatError
from krakked._rest.otp import OneTimePassword


class Script:
    """Answers in order; remembers what was said and asked."""

    def __init__(
        self,
        *entries: tuple[str, str],
        choices: tuple[str, ...] = (),
        passwords: tuple[str, ...],
        codes: tuple[str, ...] = (),
    ) -> None:
        self.codes = list(codes)
        self.entries, self.choices, self.passwords = list(entries), list(choices), list(passwords)
        self.said: list[str] = []
        self.offered: list[list[str]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def ask_key(self) -> str:
        return self.entries[0][0]

    def ask_secret(self) -> str:
        return self.entries.pop(0)[1]

    def ask_otp(self) -> str:
        return self.codes.pop(0)

    def ask_new_password(self) -> MasterPassword:
        return MasterPassword(self.passwords.pop(0))

    def choose(self, question: str, choices: Mapping[str, str]) -> str:
        self.offered.append(list(choices))
        return self.choices.pop(0)


class Kraken:
    """Gives the outcomes in order."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.codes: list[str | None] = []

    def validate(self, candidate: Candidate, *, otp: OneTimePassword | None = None) -> Validation:
        self.codes.append(otp and otp.fresh("Balance"))
        outcome = self.outcomes.pop(0)
        error = {
            Outcome.VALID: None,
            Outcome.AUTH_PROBLEM: AuthError("bad key", code="EAPI:Invalid key", endpoint="Balance"),
        }.get(outcome, ConnectFailedError("no route"))
        return Validation(
            outcome=outcome,
            tag=candidate.tag,
            validated_at_s=7 if outcome is Outcome.VALID else None,
            error=error,
        )


@pytest.fixture
def start(config, cheap, vault):
    def run(script: Script, *outcomes: Outcome) -> SavedVault | None:
        def save(candidate: Candidate, password: MasterPassword, **options) -> SavedVault:
            return save_credentials(candidate, password, config=config, derive=cheap, **options)

        kraken = Kraken(*outcomes)
        saved = run_setup(script, validate=kraken.validate, save=save, vault_exists=vault.exists())
        assert kraken.outcomes == [], "every outcome was used"
        return saved

    return run


PASSWORD = "correct horse battery"


def test_valid_credentials_are_sealed_and_load_on_the_next_run(known, start, config, cheap) -> None:
    script = Script((f" {known.key}\n", known.secret), passwords=(PASSWORD,))
    saved = start(script, Outcome.VALID)
    assert saved is not None
    assert saved.validated
    credentials = load_credentials(config, password=PASSWORD, environ={}, derive=cheap)
    assert credentials.source == "vault"
    assert not any(known.key in text or known.secret in text for text in script.said)


def test_an_auth_problem_is_said_and_not_saved_by_default(known, start, vault) -> None:
    script = Script((known.key, known.secret), choices=("quit",), passwords=())
    assert start(script, Outcome.AUTH_PROBLEM) is None
    assert not vault.exists()
    assert "rejected" in script.said[-1]
    assert script.offered == [["again", "quit", "override", "otp"]]


@pytest.mark.parametrize("told", [True, False], ids=["told at the start", "found out"])
def test_a_key_with_a_second_factor_is_asked_for_a_new_code_at_every_try(
    known, config, cheap, vault, told
) -> None:
    choices = ("retry", "again") if told else ("otp", "retry", "again")
    script = Script(
        (known.key, known.secret),
        (known.key, known.secret),
        choices=choices,
        passwords=(PASSWORD,),
        codes=("111111", "222222", "333333"),
    )
    outcomes = [Outcome.AUTH_PROBLEM] * (not told)
    kraken = Kraken(*outcomes, Outcome.SERVICE_PROBLEM, Outcome.AUTH_PROBLEM, Outcome.VALID)

    def save(candidate: Candidate, password: MasterPassword, **options) -> SavedVault:
        return save_credentials(candidate, password, config=config, derive=cheap, **options)

    saved = run_setup(
        script, validate=kraken.validate, save=save, vault_exists=False, second_factor=told
    )
    assert saved is not None
    assert saved.validated
    assert kraken.codes == [None] * (not told) + ["111111", "222222", "333333"]


def test_after_an_auth_problem_other_credentials_can_be_entered(known, start, vault) -> None:
    script = Script(
        (known.key, "B" * 88), (known.key, known.secret), choices=("again",), passwords=(PASSWORD,)
    )
    saved = start(script, Outcome.AUTH_PROBLEM, Outcome.VALID)
    assert saved is not None
    assert saved.validated


def test_saving_after_an_auth_problem_needs_an_explicit_override(
    known, start, vault, cheap
) -> None:
    script = Script((known.key, known.secret), choices=("override",), passwords=(PASSWORD,))
    saved = start(script, Outcome.AUTH_PROBLEM)
    assert saved is not None
    assert not saved.validated
    assert open_vault(vault, PASSWORD, derive=cheap).validated_at_s is None


@pytest.mark.parametrize("outcome", [Outcome.SERVICE_PROBLEM, Outcome.NETWORK_PROBLEM])
def test_a_network_or_service_problem_is_not_called_an_invalid_key_and_can_be_retried(
    known, start, outcome
) -> None:
    script = Script((known.key, known.secret), choices=("retry", "retry"), passwords=(PASSWORD,))
    saved = start(script, outcome, outcome, Outcome.VALID)
    assert saved is not None
    assert saved.validated
    assert "says nothing about the key" in script.said[1]
    assert script.offered == [["retry", "quit", "unvalidated"]] * 2


def test_a_network_problem_may_be_saved_as_unvalidated_on_request(known, start) -> None:
    script = Script((known.key, known.secret), choices=("unvalidated",), passwords=(PASSWORD,))
    saved = start(script, Outcome.NETWORK_PROBLEM)
    assert saved is not None
    assert not saved.validated
    assert "UNVALIDATED" in script.said[-1]


def test_an_existing_vault_is_replaced_only_when_wanted_and_kept_when_in_doubt(
    known, start, vault
) -> None:
    start(Script((known.key, known.secret), passwords=(PASSWORD,)), Outcome.VALID)
    before = vault.read()
    assert start(Script(choices=("no",), passwords=())) is None
    assert vault.read() == before
    script = Script(
        (known.key, known.secret), choices=("yes", "unvalidated"), passwords=(PASSWORD,)
    )
    saved = start(script, Outcome.NETWORK_PROBLEM)
    assert saved is not None
    assert saved.backup == str(vault.backup_path)
    assert vault.backup_path.read_bytes() == before


def test_malformed_entries_are_asked_for_again_without_calling_kraken(known, start) -> None:
    script = Script(
        ("short", known.secret),
        (known.key, known.secret[:-1]),
        (known.key, known.secret),
        passwords=("short", PASSWORD),
    )
    assert start(script, Outcome.VALID) is not None
    assert "API key is malformed" in script.said[0]
    assert "API secret is malformed" in script.said[1]
    assert any("at least 10" in text for text in script.said)
    hopeless = Script(*[("x", "y")] * MAX_TRIES, choices=("yes",), passwords=())
    with pytest.raises(CredentialsFormatError):
        start(hopeless)


def test_a_validation_in_plain_words() -> None:
    validation = Validation(
        outcome=Outcome.VALID,
        tag="",
        permissions=("query-funds",),
        nonce_window=15,
        warnings=("This key never expires.",),
    )
    assert describe(validation).splitlines() == [
        "Kraken accepted this key.",
        "It may: query-funds.",
        "Its nonce window is 15.",
        "Warning: This key never expires.",
    ]
