"""The command line as a whole: every command is there, errors are sentences."""

from __future__ import annotations

import pytest

from krakked.cli import main as cli
from krakked.errors import ConfigError, KrakkedError


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert name.rstrip("_") in text


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

    monkeypatch.setattr("krakked.cli.config.run", fail)
    assert cli.main(["config", "show"]) == status
    assert words in capsys.readouterr().err


def test_a_bug_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("krakked.cli.config.run", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["config", "show"])
