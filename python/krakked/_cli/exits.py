"""How a command ends: its exit status, and the sentences that say why. Pure.

Whatever a command raises comes down to one `Ending` here. Nobody sees a traceback unless --debug
asks for one.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Final, NamedTuple

from krakked._errors import (
    Action,
    AuthError,
    ConfigError,
    CredentialsError,
    KrakkedError,
    LockoutError,
    LockTimeoutError,
    NetworkError,
    NotLiveError,
    RateLimitError,
    ServiceError,
    StoreError,
)

SENTENCES_SHOWN: Final = 3
"""Different errors of one command that are spelled out."""

EXTRAS: Final = {
    "hypercorn": "sandbox",
    "numpy": "sandbox",
    "plotext": "plot",
    "shtab": "completion",
    "starlette": "sandbox",
}
"""Modules that only an extra installs."""


class Exit(IntEnum):
    """Exit statuses of the command."""

    DONE = 0
    NOT_DONE = 1
    USAGE = 2
    UNREACHABLE = 3
    CREDENTIALS = 4
    FILES = 5
    BUG = 70  # EX_SOFTWARE of sysexits.h
    INTERRUPTED = 130  # 128 + SIGINT, as shells say it
    PIPE = 141  # 128 + SIGPIPE
    TERMINATED = 143  # 128 + SIGTERM


MEANINGS: Final = {
    Exit.DONE: "done",
    Exit.NOT_DONE: "not done, or not all of it: the output says what to mend",
    Exit.USAGE: "wrong command line",
    Exit.UNREACHABLE: "Kraken cannot be reached or is busy: try again later",
    Exit.CREDENTIALS: "the key, its permissions, the vault or its password",
    Exit.FILES: "a file, directory, lock or port of this machine: full, taken, not permitted",
    Exit.BUG: "an error of krakked itself: --debug shows it",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
    Exit.PIPE: "whoever read the output went away",
    Exit.TERMINATED: "ended by SIGTERM, tidily",
}
"""What each status means; part of `krakked --help`."""


class Ending(NamedTuple):
    """How a command ends."""

    status: Exit
    sentences: tuple[str, ...] = ()
    """For standard error; empty when there is nothing to say."""


def status_table() -> str:
    """Return all statuses as lines for the help."""
    return "\n".join(f"  {status.value:>3}  {meaning}" for status, meaning in MEANINGS.items())


def flatten(error: BaseException) -> list[BaseException]:
    """Return the leaves of an exception group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in flatten(part)]
    if isinstance(error, NotLiveError) and error.errors:
        return list(error.errors)
    return [error]


def judge(error: BaseException) -> Ending:
    """Say how a command ends that raised this.

    Of several errors at once (tasks that ran side by side) the gravest gives the status: Ctrl-C
    above all, then an error of krakked itself, then the others in the order of their statuses.
    """
    leaves = flatten(error)
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return Ending(status=Exit.INTERRUPTED, sentences=("Interrupted.",))
    if any(isinstance(leaf, BrokenPipeError) for leaf in leaves):
        return Ending(status=Exit.PIPE)
    told = list(dict.fromkeys((_status(leaf), _sentence(leaf)) for leaf in leaves))
    told.sort(key=lambda one: -one[0])
    sentences = [sentence for _, sentence in told[:SENTENCES_SHOWN]]
    if len(told) > SENTENCES_SHOWN:
        sentences.append(f"And {len(told) - SENTENCES_SHOWN} more errors of the same command.")
    return Ending(status=told[0][0], sentences=tuple(sentences))


_STATUSES: Final[tuple[tuple[type[BaseException], Exit], ...]] = (
    (LockoutError, Exit.CREDENTIALS),
    (NetworkError, Exit.UNREACHABLE),
    (ServiceError, Exit.UNREACHABLE),
    (RateLimitError, Exit.UNREACHABLE),
    (CredentialsError, Exit.CREDENTIALS),
    (AuthError, Exit.CREDENTIALS),
    (StoreError, Exit.FILES),
    (LockTimeoutError, Exit.FILES),
    (KrakkedError, Exit.NOT_DONE),
    (EOFError, Exit.NOT_DONE),
    (OSError, Exit.FILES),
    (MemoryError, Exit.FILES),
)
"""Status of each kind of error; the first that fits."""


def _status(error: BaseException) -> Exit:
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        return Exit.NOT_DONE
    if isinstance(error, ConfigError) and isinstance(error.__cause__, OSError):
        return Exit.FILES  # nothing is wrong with the settings; their file cannot be read
    if isinstance(error, NetworkError) and error.action is Action.FIX_SETTINGS:
        return Exit.NOT_DONE
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), Exit.BUG)


def _sentence(error: BaseException) -> str:
    match error:
        case KrakkedError():
            return f"{type(error).__name__}: {_one_line(str(error))}"
        case EOFError():
            return "The input ended before every question was answered; nothing was changed."
        case ModuleNotFoundError() if error.name in EXTRAS:
            extra = EXTRAS[error.name]
            return f"This needs {error.name}. Install it with: pip install 'krakked[{extra}]'"
        case OSError():
            return _os_sentence(error)
        case MemoryError():
            return "There is not enough memory."
    return (
        f"krakked made a mistake ({type(error).__name__}). Run the command again with --debug and "
        "report what it prints."
    )


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


_REMEDIES: Final = {
    errno.ENOSPC: "Free disk space.",
    errno.EDQUOT: "Free disk space: the quota is used up.",
    errno.EROFS: "The file system is read-only: name another directory.",
    errno.EACCES: "Check who owns it and its permissions.",
    errno.EPERM: "Check who owns it and its permissions.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "The system has too many open files.",
    errno.EEXIST: "Name another one; it was not touched.",
    errno.EIO: "The disk or its connection fails; look into the system's log.",
}


def _os_sentence(error: OSError) -> str:
    name = f"{error.filename}: " if error.filename is not None else ""
    what = _one_line(error.strerror or str(error)) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "")
    return f"{name}{what}.{f' {remedy}' if remedy else ''}"
