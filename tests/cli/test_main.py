"""The command line as a whole: every command is there, errors are sentences."""

from __future__ import annotations

import re

import pytest

from krakked._cli import main as cli
from krakked._cli.exits import MEANINGS, Exit
from krakked._errors import ConfigError, KrakkedError


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert re.search(rf"^ +{name} +{re.escape(cli.COMMANDS[name][:30])}", text, re.MULTILINE)


def test_a_wrong_command_line_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["fly"])
    assert stop.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ConfigError("config.yaml:3: no [such] key"), 1, "config.yaml:3: no [such] key"),
        (ExceptionGroup("", [ConfigError("first"), KrakkedError("second")]), 1, "second"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (BaseExceptionGroup("", [KeyboardInterrupt()]), 130, "Interrupted"),
    ],
)
def test_errors_become_sentences_and_a_status(
    error: BaseException,
    status: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr("krakked._cli.config.run", fail)
    assert cli.main(["config", "show"]) == status
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("way", ["option", "before", "variable", None])
def test_a_bug_of_ours_is_one_sentence_and_debug_shows_the_rest(
    way: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> int:
        raise BaseExceptionGroup("", [ZeroDivisionError("secret thoughts")])

    monkeypatch.setattr("krakked._cli.config.run", fail)
    words = ["config", "show"]
    if way == "variable":
        monkeypatch.setenv("KRAKKED_DEBUG", "1")
    elif way is not None:
        words.insert(0 if way == "before" else 2, "--debug")
    assert cli.main(words) == 70
    told = capsys.readouterr().err
    assert ("Traceback" in told) is (way is not None)
    assert ("secret thoughts" in told) is (way is not None)
    (sentence,) = [line for line in told.splitlines() if line.startswith("krakked made a mistake")]
    assert "ZeroDivisionError" in sentence
    assert "--debug" in sentence


def test_help_documents_every_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for status in Exit:
        assert re.search(rf"^ +{status.value}  {re.escape(MEANINGS[status])}$", text, re.MULTILINE)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_common_options_may_stand_anywhere(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr("krakked._cli.config.run", lambda a: seen.append(a.verbose) or 0)
    words = ["config", "show"]
    words.insert(place, "--verbose")
    assert cli.main(words) == 0
    assert cli.main(["config", "show"]) == 0
    assert seen == [True, False]
