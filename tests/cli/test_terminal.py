"""Options and streams as people have them."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable

import pytest

from krakked._cli import terminal
from krakked._cli.arguments import descriptor, duration, factor, port, seed


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (duration, {"0": 0.0, "2.5": 2.5, "1e3": 1000.0}, ["-1", "nan", "inf", "1e9", "soon", ""]),
        (factor, {"1": 1.0, "0.5": 0.5}, ["0", "-1", "nan", "inf", "x"]),
        (port, {"0": 0, "8080": 8080, "65535": 65535}, ["-1", "65536", "1.5", "nan", "http"]),
        (descriptor, {"0": 0, "63": 63}, ["-1", "1.5", "99999999999", "stdin"]),
        (seed, {"0": 0, "7": 7}, ["-1", "1.5", "nan", "inf", "1e40", "seven"]),
    ],
)
def test_what_options_may_hold(
    read: Callable[[str], float], good: dict[str, float], bad: list[str]
) -> None:
    for text, value in good.items():
        assert read(text) == value
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="is no "):
            read(text)


@pytest.mark.parametrize(
    ("columns", "width"),
    [
        ("120", 120),
        ("1", terminal.LEAST_COLUMNS),
        ("0", terminal.LEAST_COLUMNS),
        ("9999999999999999999999", terminal.MOST_COLUMNS),
    ],
)
def test_the_width_can_always_be_drawn(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal.console().width == width


@pytest.mark.parametrize("columns", ["-5", "wide", "", "٣"])
def test_a_width_that_is_no_number_is_left_to_the_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal.console().width > 0


def test_an_ascii_stream_shows_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    terminal.prepare()
    terminal.console().print("✓ done … 5 € \udcff")
    terminal.flush()
    assert raw.getvalue() == b"+ done ~ 5 ? ?\n"


def test_missing_streams_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    terminal.prepare()
    assert sys.stdin.read() == ""
    print("nobody hears this")
    terminal.say(("nor this",))
    terminal.flush()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()
