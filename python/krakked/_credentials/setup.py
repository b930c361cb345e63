"""The interactive first-time set-up as pure dialogue: who talks, calls and saves is given to it.

Source: contract, Phase 1 section 4. An auth problem blocks saving unless the user insists;
a service or network problem leaves the choice between another try, saving as unvalidated, and
leaving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Outcome, Validation
from krakked._credentials.passwords import MasterPassword, fit_to_seal
from krakked._credentials.saving import SavedVault
from krakked._errors import CredentialsFormatError
from krakked._rest.otp import OneTimePassword

MAX_TRIES: Final = 5
"""How often a malformed entry is asked for again before the set-up gives up."""

_HEADLINES: Final = {
    Outcome.VALID: "Kraken accepted this key.",
    Outcome.AUTH_PROBLEM: "Kraken rejected these credentials.",
    Outcome.SERVICE_PROBLEM: "Kraken could not check the key now. This says nothing about the key.",
    Outcome.NETWORK_PROBLEM: "Kraken was not reached. This says nothing about the key.",
}


class Prompts(Protocol):
    """The person in front of the set-up."""

    def say(self, text: str) -> None:
        """Show one paragraph."""
        ...

    def ask_key(self) -> str:
        """Ask for the API key."""
        ...

    def ask_secret(self) -> str:
        """Ask for the API secret, without echo."""
        ...

    def ask_otp(self) -> str:
        """Ask for the one-time password of the key's second factor."""
        ...

    def ask_new_password(self) -> MasterPassword:
        """Ask for a new master password, without echo; where it is typed, twice."""
        ...

    def choose(self, question: str, choices: Mapping[str, str]) -> str:
        """Ask for one of the choices; give its key. The first is the safe default."""
        ...


def run_setup(
    prompts: Prompts,
    *,
    validate: Callable[..., Validation],
    save: Callable[..., SavedVault],
    vault_exists: bool,
    second_factor: bool = False,
) -> SavedVault | None:
    """Lead through the set-up; give what was saved, or None when the user left without saving.

    Args:
        prompts: The person.
        validate: Asks Kraken.
        save: Seals and writes.
        vault_exists: Whether a vault would be replaced.
        second_factor: Whether to ask for a one-time password from the start; else it is offered
            when Kraken rejects the key.

    Raises:
        CredentialsFormatError: `MAX_TRIES` malformed entries in a row.
        VaultError: The vault cannot be written; the old one is untouched.
    """
    if vault_exists and not _wants_replacement(prompts):
        return None
    candidate = _entered(prompts)
    while True:
        validation = _validated(prompts, candidate, validate, second_factor=second_factor)
        if validation is None:
            return None
        if validation.outcome is not Outcome.AUTH_PROBLEM:
            insisted = False
            break
        decision = prompts.choose(
            "What now?",
            {
                "again": "enter key and secret again",
                "quit": "leave; nothing was saved",
                "override": "save these rejected credentials all the same",
                "otp": "the key has a second factor (2FA): try again with its one-time password",
            },
        )
        if decision == "quit":
            return None
        if decision == "override":
            insisted = True
            break
        second_factor = second_factor or decision == "otp"
        if decision == "again":
            candidate = _entered(prompts)
    prompts.say(
        "Now choose a master password. It encrypts the key on this machine; nobody can recover it."
    )
    password = _new_password(prompts)
    saved = save(
        candidate,
        password,
        validation=validation,
        allow_unvalidated=validation.unvalidated,
        override_auth_failure=insisted,
    )
    candidate.clear()
    prompts.say(saved_text(saved))
    return saved


def _wants_replacement(prompts: Prompts) -> bool:
    decision = prompts.choose(
        "There is a vault already. Replace what it holds?",
        {"no": "keep it and leave", "yes": "replace it"},
    )
    return decision == "yes"


def _entered(prompts: Prompts) -> Candidate:
    tries = 0
    while True:
        try:
            return Candidate(prompts.ask_key(), prompts.ask_secret())
        except CredentialsFormatError as error:
            tries += 1
            if tries >= MAX_TRIES:
                raise
            prompts.say(str(error))


def _validated(
    prompts: Prompts,
    candidate: Candidate,
    validate: Callable[..., Validation],
    *,
    second_factor: bool,
) -> Validation | None:
    """Validate until there is a verdict or the user takes what there is; None to leave."""
    while True:
        otp = OneTimePassword(prompts.ask_otp()) if second_factor else None
        prompts.say("Asking Kraken for the balance of this key ...")
        validation = validate(candidate) if otp is None else validate(candidate, otp=otp)
        prompts.say(describe(validation))
        if not validation.unvalidated:
            return validation
        decision = prompts.choose(
            "What now?",
            {
                "retry": "try the validation again",
                "quit": "leave; nothing was saved",
                "unvalidated": "save as unvalidated",
            },
        )
        if decision == "quit":
            return None
        if decision == "unvalidated":
            return validation


def _new_password(prompts: Prompts) -> MasterPassword:
    tries = 0
    while True:
        try:
            return fit_to_seal(prompts.ask_new_password())
        except CredentialsFormatError as error:
            problem = error
        tries += 1
        if tries >= MAX_TRIES:
            raise problem
        prompts.say(str(problem))


def describe(validation: Validation) -> str:
    """Say a validation in plain words. Pure."""
    lines = [_HEADLINES[validation.outcome]]
    if validation.error is not None:
        lines.append(str(validation.error))
    if validation.permissions is not None:
        lines.append(f"It may: {', '.join(validation.permissions) or 'nothing'}.")
    if validation.nonce_window:
        lines.append(f"Its nonce window is {validation.nonce_window}.")
    lines += [f"Warning: {warning}" for warning in validation.warnings]
    return "\n".join(lines)


def saved_text(saved: SavedVault) -> str:
    """Say what was saved. Pure."""
    text = f"Sealed into {saved.path}"
    if not saved.validated:
        text += " as UNVALIDATED"
    if saved.backup:
        text += f"; the older vault was kept as {saved.backup}"
    return f"{text}."
