"""What a newcomer does, elsewhere: a clone named `krakked` in a path with a space, another user.

`make field-clone` runs it (root only, about as long as `make test`, a few gigabytes of temporary
files). The last commit is cloned into `.../a dir/krakked` below a folder that its user cannot
write; an unprivileged user of its own, made for the run and removed after it, gets copies of the
Python and the Rust toolchain that it can read, a home and a TMPDIR with a space in their names and
LANG=C, and runs `make demo` and the command given (`bash .ci/run`). With `--offline` that runs in
a network namespace where only the loopback is up, after a first `make build` outside of it.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PASSED_ON = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
"""What of the caller's environment the new user sees, besides pip's and cargo's settings."""


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def make_user() -> pwd.struct_passwd:
    name = f"krakked{os.getpid()}"
    # no home from useradd: its place is one of the things that are tried
    subprocess.run(["useradd", "--system", "--no-create-home", name], check=True)
    return pwd.getpwnam(name)


def remove_user(user: pwd.struct_passwd) -> None:
    """End what the user left running, then take it away."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == user.pw_uid:
                os.kill(int(entry.name), 9)
        except OSError:
            continue
    subprocess.run(["userdel", user.pw_name], check=False)


def copy_toolchain(to: Path) -> dict[str, str]:
    """Copy Python, Rust and cargo's downloads; return the variables that lead to them."""
    python = Path(sys.base_prefix)
    rust = Path(subprocess.check_output(["rustc", "--print", "sysroot"], text=True).strip())
    cargo = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    shutil.copytree(python, to / "python", symlinks=True)
    ignored = shutil.ignore_patterns("doc", "man")
    shutil.copytree(rust, to / "rust", symlinks=True, ignore=ignored)
    (to / "cargo").mkdir()
    if (cargo / "registry").is_dir():
        shutil.copytree(cargo / "registry", to / "cargo" / "registry", symlinks=True)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "PATH": f"{to}/rust/bin:{to}/python/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHON": str(to / "python" / "bin" / name),
        "CARGO_HOME": str(to / "cargo"),
        # a Python with a shared library looks for it where it was built, which may be closed to us
        "LD_LIBRARY_PATH": str(to / "python" / "lib"),
    }


def hand_over(path: Path, user: pwd.struct_passwd) -> None:
    subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", str(path)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", default="bash .ci/run", help="what must end with 0")
    parser.add_argument("--offline", action="store_true", help="no network after the build")
    parser.add_argument("--under", help="where to lay the clone (default: the temporary folder)")
    parser.add_argument("--keep", action="store_true", help="leave clone and copies there")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("make field-clone needs root: it makes a user of its own")
        return 2
    top = Path(tempfile.mkdtemp(prefix="krakked-field-", dir=options.under))
    user = make_user()
    try:
        top.chmod(0o755)
        parent = top / "a dir"
        home, tmp, tools = top / "home of another", top / "tmp dir", top / "tools"
        for folder in (parent, home, tmp, tools):
            folder.mkdir()
        say(f"copying the toolchain to {tools}")
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in PASSED_ON or name.startswith(("PIP_", "CARGO_NET", "CARGO_HTTP"))
        }
        environment |= copy_toolchain(tools)
        environment |= {"HOME": str(home), "TMPDIR": str(tmp), "LANG": "C", "LC_ALL": "C"}
        environment |= {"USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": "/bin/bash"}
        clone = parent / "krakked"
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(clone)], check=True)
        for folder in (clone, home, tmp, tools / "cargo"):
            hand_over(folder, user)

        def run(command: str, *, offline: bool = False) -> int:
            say(command)
            began = time.monotonic()
            drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
            line = [*drop, "bash", "-c", command]
            if offline:
                line = [
                    "unshare",
                    "--net",
                    "bash",
                    "-c",
                    'ip link set lo up && exec "$@"',
                    "-",
                    *line,
                ]
            code = subprocess.run(
                line, cwd=clone, env=environment, stdin=subprocess.DEVNULL, check=False
            ).returncode
            say(f"{command}: exit {code} after {time.monotonic() - began:.0f} s")
            return code

        for command, cut_off in (
            ("make build", False),
            ("make demo", options.offline),
            (options.command, options.offline),
        ):
            code = run(command, offline=cut_off)
            if code:
                return code
        status = subprocess.check_output(
            ["git", "-c", f"safe.directory={clone}", "status", "--porcelain"], cwd=clone, text=True
        )
        if status:
            say(f"the run left in the clone:\n{status}")
            return 1
        return 0
    finally:
        remove_user(user)
        if options.keep:
            say(f"kept: {top}")
        else:
            shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
