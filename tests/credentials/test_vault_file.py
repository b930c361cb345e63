"""The file itself: what is refused, with which mode it appears, and what an error leaves behind."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from krakked._credentials.vault_file import VaultFile
from krakked._errors import VaultDamagedError, VaultError, VaultLockedError, VaultUnsafeError
from krakked._files.shared_record import RecordFile

OLD, NEW = b"old" * 100, b"new" * 100


@pytest.fixture
def file(tmp_path: Path) -> VaultFile:
    vault = VaultFile(tmp_path / "kraken_bot")
    vault.write(OLD)
    return vault


def names(vault: VaultFile) -> set[str]:
    return {path.name for path in vault.path.parent.iterdir()}


def test_written_file_and_directory_are_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    for number, umask in enumerate((0o000, 0o022, 0o077, 0o777)):
        vault = VaultFile(tmp_path / f"{number}")
        before = os.umask(umask)
        try:
            if umask == 0o777:
                vault.path.parent.mkdir()
                vault.path.parent.chmod(0o700)
            vault.write(OLD)
            vault.write(NEW, keep_backup=True)
        finally:
            os.umask(before)
        assert stat.S_IMODE(vault.path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(vault.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(vault.backup_path.stat().st_mode) == 0o600
        assert vault.read() == NEW


def test_no_temporary_file_is_left_and_the_backup_holds_the_old_bytes(file: VaultFile) -> None:
    assert file.write(NEW) is False
    assert names(file) == {"secrets.enc", "secrets.enc.lock"}
    assert file.write(OLD, keep_backup=True) is True
    assert file.backup_path.read_bytes() == NEW
    assert names(file) == {"secrets.enc", "secrets.enc.bak", "secrets.enc.lock"}


def plant(vault: VaultFile, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = vault.path.parent / "elsewhere"
    vault.path.replace(elsewhere)
    if kind == "symlink":
        vault.path.symlink_to(elsewhere)
    elif kind == "dangling symlink":
        vault.path.symlink_to("/nowhere")
    elif kind == "hard link":
        vault.path.hardlink_to(elsewhere)
    elif kind == "directory":
        vault.path.mkdir()
    elif kind == "fifo":
        os.mkfifo(vault.path, 0o600)
    elif kind == "socket":
        # by its name alone: a socket's path may have about a hundred bytes, a temporary one more
        with contextlib.chdir(vault.path.parent), socket.socket(socket.AF_UNIX) as server:
            server.bind(vault.path.name)
    elif kind.startswith("mode "):
        elsewhere.replace(vault.path)
        vault.path.chmod(int(kind[5:], 8))
    elif kind == "foreign":
        elsewhere.replace(vault.path)
        if os.geteuid() == 0:
            os.chown(vault.path, 12345, 12345)
        else:  # nobody else can give a file away: so it is us who are another one now
            monkeypatch.setattr(os, "geteuid", lambda: vault.path.stat().st_uid + 1)


@pytest.mark.parametrize("links", [0, 1, 2])
@pytest.mark.parametrize("owner", ["we", "root"])
@pytest.mark.parametrize("mode", [0o444, 0o440, 0o400])
def test_a_secret_mounted_for_us_is_read(file: VaultFile, monkeypatch, links, owner, mode) -> None:
    """As Docker and Kubernetes mount them: nobody here may write, and it may be behind links."""
    at = file.path
    for number in range(links):
        behind = at.with_name(f"..data{number}")
        at.replace(behind)
        at.symlink_to(behind.name)
        at = behind
    at.chmod(mode)
    if owner == "root":
        if os.geteuid() != 0:
            pytest.skip("only root can make a file of root's")
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert file.read() == OLD
    assert file.facts().size_bytes == len(OLD)


@pytest.mark.parametrize("mode", [0o644, 0o464, 0o446, 0o600])
@pytest.mark.parametrize("linked", [False, True])
def test_what_somebody_may_write_is_not_mounted_for_us(file: VaultFile, mode, linked) -> None:
    if linked:
        behind = file.path.with_name("..data")
        file.path.replace(behind)
        file.path.symlink_to(behind.name)
        behind.chmod(mode)
    else:
        file.path.chmod(mode)
    if mode == 0o600 and not linked:
        assert file.read() == OLD
        return
    with pytest.raises(VaultUnsafeError):
        file.read()


def test_a_root_owned_file_that_only_root_may_write_is_read(file: VaultFile, monkeypatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of root's")
    file.path.chmod(0o644)
    with pytest.raises(VaultUnsafeError):
        file.read()  # we may write it, and others may read it
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert file.read() == OLD


PLANTED = [
    "symlink",
    "dangling symlink",
    "hard link",
    "directory",
    "fifo",
    "socket",
    "mode 666",
    "mode 640",
    "mode 604",
    "mode 620",
    "mode 601",
    "foreign",
]


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_files_are_refused_for_reading_and_for_replacing(
    file: VaultFile, kind, monkeypatch
) -> None:
    plant(file, kind, monkeypatch)
    for call in (file.read, file.facts, lambda: file.write(NEW)):
        # who is not root plays another one: then the directory is a stranger's, too
        words = r"secrets\.enc|cannot be opened|can be changed by other users"
        with pytest.raises(VaultError, match=words) as caught:
            call()
        assert isinstance(caught.value, VaultUnsafeError) or kind == "socket"
    assert file.exists()
    assert (file.path.parent / "elsewhere").exists() == (not kind.startswith(("mode", "foreign")))


def test_planted_temporary_names_and_locks_are_not_followed(file: VaultFile, tmp_path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    planted = file.path.parent / ".secrets.enc.0011223344556677.tmp"
    planted.symlink_to(victim)
    file.write(NEW)
    assert not planted.is_symlink()
    assert victim.read_bytes() == b"precious"
    lock = Path(f"{file.path}.lock")
    lock.unlink()
    lock.symlink_to(victim)
    with pytest.raises(VaultUnsafeError, match="lock"):
        file.write(OLD)
    assert victim.read_bytes() == b"precious"
    assert file.read() == NEW


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "file"])
def test_a_name_planted_at_the_last_moment_is_not_written_to(
    file: VaultFile, tmp_path, monkeypatch, kind
) -> None:
    """Somebody who guesses the temporary name after the sweep gets nothing: O_EXCL."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    planted = file.path.parent / ".secrets.enc.0011223344556677.tmp"

    def guessed(_size: int) -> str:
        if kind == "file":
            planted.write_bytes(b"readable by all")
        else:
            planted.symlink_to(victim if kind == "symlink" else tmp_path / "made by us")
        return "0011223344556677"

    monkeypatch.setattr("secrets.token_hex", guessed)
    with pytest.raises(VaultError, match="the old file is untouched"):
        file.write(NEW)
    assert file.path.read_bytes() == OLD
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "made by us").exists()
    assert planted.is_symlink() or planted.read_bytes() == b"readable by all"


def test_every_step_is_forced_to_disk_in_order(file: VaultFile, monkeypatch) -> None:
    steps: list[str] = []
    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

    def forced(fd: int) -> None:
        kind = stat.S_ISDIR(os.fstat(fd).st_mode)
        steps.append("force directory" if kind else "force file")
        fsync(fd)

    def renamed(self: Path, target: Path) -> Path:
        steps.append(f"rename to {target.name}")
        return replace(self, target)

    def deleted(self: Path, **more: bool) -> None:
        unlink(self, **more)
        steps.append(f"delete {self.name}")

    monkeypatch.setattr(os, "fsync", forced)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(Path, "unlink", deleted)
    file.write(NEW, keep_backup=True)
    assert steps == [
        "force file",
        "rename to secrets.enc.bak",
        "force directory",
        "force file",
        "rename to secrets.enc",
        "force directory",
    ]
    steps.clear()
    assert file.remove()
    assert steps == ["delete secrets.enc", "delete secrets.enc.bak", "force directory"]


def test_a_directory_that_others_can_change_is_refused(file: VaultFile) -> None:
    file.path.parent.chmod(0o770)
    with pytest.raises(VaultUnsafeError, match="chmod go-w"):
        file.write(NEW)
    file.path.parent.chmod(0o755)
    file.write(NEW)
    assert file.read() == NEW


def is_temporary(target: object) -> bool:
    if isinstance(target, int):
        target = Path(f"/proc/self/fd/{target}").readlink()
    return str(target).endswith(".tmp")


@pytest.mark.parametrize("call", ["open", "fchmod", "write", "fsync", "fstat", "rename"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_an_error_at_any_step_leaves_the_old_vault_and_no_temporary_file(
    file: VaultFile, monkeypatch, call: str, code: int
) -> None:
    owner = Path if call == "rename" else os
    real = getattr(os, call) if call != "rename" else Path.replace

    def fail(target: object, *args: object) -> object:
        if not is_temporary(target):
            return real(target, *args)
        if call == "fstat":  # the file system lies about what it kept
            return os.stat_result((0o100600,) + (0,) * 9)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(owner, "replace" if call == "rename" else call, fail)
        with pytest.raises(VaultError, match="the old file is untouched"):
            file.write(NEW)
    assert file.read() == OLD
    assert names(file) == {"secrets.enc", "secrets.enc.lock"}


def test_short_writes_are_continued(file: VaultFile, monkeypatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    file.write(NEW)
    assert file.read() == NEW


def test_what_a_killed_writer_left_is_swept_at_the_next_start(file: VaultFile) -> None:
    left = file.path.parent / ".secrets.enc.deadbeefdeadbeef.tmp"
    left.write_bytes(b"half")
    assert file.read() == OLD
    assert not left.exists()
    left.write_bytes(b"half")
    lock = RecordFile(Path(f"{file.path}.lock"))
    assert lock.try_lock()
    assert file.read() == OLD
    assert left.exists(), "a writer at work keeps its file"
    lock.unlock()


def test_another_writer_at_work_is_an_error_after_a_while(file: VaultFile, monkeypatch) -> None:
    monkeypatch.setattr("krakked._credentials.vault_file.LOCK_WAIT_S", 0.2)
    lock = RecordFile(Path(f"{file.path}.lock"))
    assert lock.try_lock()
    with pytest.raises(VaultLockedError, match=f"pid {os.getpid()}"):
        file.write(NEW)
    timer = threading.Timer(0.05, lock.unlock)
    timer.start()
    file.write(NEW)
    timer.join()
    assert file.read() == NEW
    with pytest.raises(VaultLockedError, match="meanwhile"):
        file.write(OLD, expected=b"something else")


def test_too_large_a_file_is_damage(file: VaultFile) -> None:
    file.path.write_bytes(bytes(70_000))
    with pytest.raises(VaultDamagedError, match="corrupted"):
        file.read()


def test_remove_takes_the_backup_along(file: VaultFile) -> None:
    file.write(NEW, keep_backup=True)
    assert file.remove() is True
    assert names(file) == {"secrets.enc.lock"}
    assert file.remove() is False
    assert not file.exists()
    with pytest.raises(VaultError, match="No such file"):
        file.read()


def test_facts_name_size_age_and_backup(file: VaultFile) -> None:
    file.write(NEW, keep_backup=True)
    facts = file.facts()
    assert facts.size_bytes == len(NEW)
    assert facts.backup == str(file.backup_path)
    assert abs(facts.modified_s - file.path.stat().st_mtime) < 1
