"""What a command ends with: one status and a few sentences, whatever was raised."""

from __future__ import annotations

import errno
import os

import pytest

from krakked import _errors as errors
from krakked._cli.exits import MEANINGS, Ending, Exit, judge, status_table

API = {"code": "E", "endpoint": "Balance"}


def all_errors(base: type[BaseException] = errors.KrakkedError) -> set[type[BaseException]]:
    """Give a class and everything below it."""
    return {base}.union(*(all_errors(below) for below in base.__subclasses__()))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConfigError("config.yaml:3: x"), 1),
        (errors.UnknownPairError("no such pair", pair="X"), 1),
        (errors.MarketDataError("x"), 1),
        (errors.RequestError("x", **API), 1),
        (errors.NonceError("x", **API), 1),
        (errors.ClosedError(), 1),
        (errors.ConnectFailedError("x"), 3),
        (errors.NetworkTimeoutError("x"), 3),
        (errors.ServiceError("x", **API), 3),
        (errors.RateLimitError("x", **API), 3),
        (errors.AuthError("x", **API), 4),
        (errors.ConnectFailedError("x", action=errors.Action.FIX_SETTINGS), 1),
        (errors.LockoutError("x", **API), 4),
        (errors.NoCredentialsError("x"), 4),
        (errors.WrongPasswordError("x"), 4),
        (errors.VaultUnsafeError("x"), 4),
        (errors.StoreFullError("x", path="/s"), 5),
        (errors.LockTimeoutError("x", path="/l"), 5),
        (OSError(errno.ENOSPC, "No space left on device"), 5),
        (MemoryError(), 5),
        (EOFError(), 1),
        (ModuleNotFoundError("x", name="starlette"), 1),
        (ModuleNotFoundError("x", name="krakked._cli.nothing"), 70),
        (ZeroDivisionError(), 70),
        (UnicodeEncodeError("ascii", "x", 0, 1, "y"), 70),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_the_status_of_each_kind(error: BaseException, status: int) -> None:
    nested = BaseExceptionGroup("a", [BaseExceptionGroup("b", [error])])
    for each in (error, nested):
        ending = judge(each)
        assert ending.status == status
        assert len(ending.sentences) == (0 if status == 141 else 1)
    assert MEANINGS[Exit(status)] in status_table()


def test_no_error_of_the_tree_is_taken_for_a_bug() -> None:
    kinds = all_errors()
    assert len(kinds) > 40
    for kind in kinds:
        error = kind.__new__(kind)
        error.__dict__["action"] = None
        assert judge(error).status not in {Exit.BUG, Exit.DONE, Exit.USAGE}, kind


def test_an_unreadable_settings_file_is_trouble_with_a_file() -> None:
    error = errors.ConfigError("/c/config.yaml: cannot be read", path="/c/config.yaml")
    error.__cause__ = PermissionError(errno.EACCES, "Permission denied")
    assert judge(error).status is Exit.FILES


def test_of_several_errors_the_gravest_gives_the_status() -> None:
    named, files, bug = errors.KrakkedError("n"), errors.StoreError("f"), ValueError("b")
    assert judge(ExceptionGroup("", [named, files])).status is Exit.FILES
    assert judge(ExceptionGroup("", [named, bug, files])).status is Exit.BUG
    group = BaseExceptionGroup("", [bug, BaseExceptionGroup("", [KeyboardInterrupt()])])
    assert judge(group) == Ending(status=Exit.INTERRUPTED, sentences=("Interrupted.",))


def test_many_errors_are_a_few_sentences() -> None:
    same = ExceptionGroup("", [errors.StoreError("the disk is full", path="/s")] * 592)
    assert judge(same).sentences == ("StoreError: the disk is full",)
    many = ExceptionGroup("", [errors.MarketDataError(f"pair {n}") for n in range(592)])
    assert judge(many).sentences == (
        "MarketDataError: pair 0",
        "MarketDataError: pair 1",
        "MarketDataError: pair 2",
        "And 589 more errors of the same command.",
    )


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "Free disk space"),
        (errno.EROFS, "another directory"),
        (errno.EACCES, "permissions"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EEXIST, "Name another"),
    ],
)
def test_an_error_of_the_system_names_file_and_remedy(code: int, remedy: str) -> None:
    (sentence,) = judge(OSError(code, os.strerror(code), "/a/b")).sentences
    assert sentence.startswith(f"/a/b: {os.strerror(code)}.")
    assert remedy in sentence


def test_a_sentence_is_one_line_that_cannot_paint_the_terminal() -> None:
    error = errors.ConfigError("one\ntwo \x1b[31mred\r\x07")
    assert judge(error).sentences == ("ConfigError: one two  [31mred  ",)
