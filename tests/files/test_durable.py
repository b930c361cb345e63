"""Durable replacement: the old file or the new one, and both names forced."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from krakked._files import durable


def test_directories_are_made_to_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync_directory", synced.append)
    durable.make_directories(tmp_path / "a" / "b" / "c", mode=0o700)
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    durable.make_directories(tmp_path / "a" / "b")
    assert len(synced) == 3


def test_the_order_is_write_force_rename_force(tmp_path, monkeypatch) -> None:
    calls: list[str] = []
    target, temp = tmp_path / "target", tmp_path / "temp"
    real_sync, real_replace = durable.sync_file, Path.replace
    monkeypatch.setattr(
        durable,
        "sync_file",
        lambda fd: (
            calls.append("dir" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"),
            real_sync(fd),
        ),
    )
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (calls.append("rename"), real_replace(self, to))[1]
    )
    durable.replace(target, b"new", temp=temp)
    assert calls == ["file", "rename", "dir"]
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE])
def test_a_failing_call_leaves_the_old_file_and_no_temp(tmp_path, monkeypatch, call, code) -> None:
    target, temp = tmp_path / "target", tmp_path / "temp"
    target.write_bytes(b"old")

    def fail(*_: object) -> object:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        if call == "rename":
            patched.setattr(Path, "replace", fail)
        else:
            patched.setattr(os, call, fail)
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            durable.replace(target, b"new", temp=temp)
    assert caught.value.errno == code
    assert not isinstance(caught.value, durable.NotForcedError)
    assert target.read_bytes() == b"old"
    assert not temp.exists()


def test_a_directory_that_cannot_be_forced_says_so(tmp_path, monkeypatch) -> None:
    target = tmp_path / "target"

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable, "sync_directory", fail)
    with pytest.raises(durable.NotForcedError) as caught:
        durable.replace(target, b"new", temp=tmp_path / "temp")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(target))
    assert target.read_bytes() == b"new"


def test_a_file_system_without_directory_sync_is_no_failure(tmp_path, monkeypatch) -> None:
    def sync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(durable, "sync_file", sync)
    durable.replace(tmp_path / "target", b"new", temp=tmp_path / "temp")
    assert (tmp_path / "target").read_bytes() == b"new"


def test_another_writers_temp_is_not_taken_away(tmp_path) -> None:
    temp = tmp_path / "temp"
    temp.write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        durable.replace(tmp_path / "target", b"new", temp=temp)
    assert temp.read_bytes() == b"somebody's"


def test_a_short_count_is_written_on_and_a_lying_file_system_is_noticed(
    tmp_path, monkeypatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:2]))
    durable.replace(tmp_path / "target", memoryview(b"abcdefg"), temp=tmp_path / "temp")
    assert (tmp_path / "target").read_bytes() == b"abcdefg"
    monkeypatch.setattr(os, "write", lambda fd, data: len(data))
    with pytest.raises(OSError, match="shorter"):
        durable.replace(tmp_path / "target", b"lost", temp=tmp_path / "temp")
    assert (tmp_path / "target").read_bytes() == b"abcdefg"


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_a_private_file_is_private_under_any_umask(tmp_path, umask) -> None:
    before = os.umask(umask)
    try:
        durable.replace(tmp_path / "target", b"x", temp=tmp_path / "temp", private=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o600
