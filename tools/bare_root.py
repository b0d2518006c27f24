#!/usr/bin/env python3
"""Run a command on a bare Debian 12 with a clone of this repository, as a newcomer does.

The system has what README.md asks for (git, python3, make, sudo, ca-certificates) on Debian's minimal set of packages,
and no locale is set. The clone is of the commit that is checked out here; what is not committed is not in it. The
command runs in the clone, in a mount namespace of its own entered by pivot_root(2): a chroot(2) forbids user
namespaces (user_namespaces(7)), which the building of guest images wants. The settings that this machine's apt and pip
need to reach their archives are copied in. Exit status: the command's; 2 if it could not be started.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from testhost.aptsources import debian_sources  # noqa: E402 - found through the line above
from testhost.image import apt_settings, recipe_key  # noqa: E402
from testhost.output import print_message  # noqa: E402

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "git", "make", "python3", "sudo")
CACHE = ROOT / ".cache/bare-root"
CACHE_S = 7 * 86_400  # An older base lacks security updates, which would be all that apt does in it.
LOCKED_MEMORY = 8 << 20  # bytes; what Linux gives a login since 5.16
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# pip's files for all users, for this user, and its oldest place (pip documentation, "Configuration").
PIP_SETTINGS = ("/etc/pip.conf", "/etc/xdg/pip", "~/.config/pip", "~/.pip")
KEPT = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "TERM", "CI")
PATHS = {
    "root": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "dev": "/usr/local/bin:/usr/bin:/bin",
}
# $1 is the new root; what follows is the command. Its /dev/shm is its own: names there are not this machine's.
ENTER = """
set -eu
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,bind,suid,dev,exec "$root"
for directory in proc sys dev; do mount --rbind /$directory "$root/$directory"; done
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
readlink /proc/self/ns/mnt >"$root.namespace"
mkdir "$root/before"
cd "$root"
pivot_root . before
cd /
umount -l /before
rmdir /before
exec "$@"
"""


class BareRootError(Exception):
    """Why the command could not be started."""


def run(*argv: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a step of the set-up; on a signal to us it ends first. Raises BareRootError with the end of its output."""
    step = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env=env, text=True, errors="replace", start_new_session=True)  # fmt: skip
    try:
        said, _ = step.communicate()
    except BaseException:
        for number in (signal.SIGTERM, signal.SIGKILL):  # mmdebstrap unmounts and removes what it made
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(step.pid, number)
                step.wait(20)
        raise
    if step.returncode:
        end = "\n".join(said.splitlines()[-20:])
        raise BareRootError(f"{shlex.join(map(str, argv))}: status {step.returncode}\n{end}")


def find_base(work: Path) -> Path:
    """Returns the tar file of the bare system, made anew (in the directory `work`) when there is none or an old one."""
    sources = debian_sources(Path("/etc/apt"), platform.freedesktop_os_release(), SUITE)
    tar = CACHE / f"{recipe_key([SUITE, PACKAGES, sources])}.tar"
    if tar.exists() and time.time() - tar.stat().st_mtime < CACHE_S:
        return tar
    if shutil.which("mmdebstrap") is None:
        print_message("bare_root: installing mmdebstrap")
        run("apt-get", "update")
        run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends",
            "mmdebstrap", "debian-archive-keyring")  # fmt: skip
    print_message(f"bare_root: making {tar}")
    owner = ROOT.stat()
    for directory in (CACHE.parent, CACHE):  # whoever owns the tree may remove them
        if not directory.exists():
            directory.mkdir()
            os.chown(directory, owner.st_uid, owner.st_gid)
    part = CACHE / f"{work.name}.part"  # of this run: another one may be making a base, too
    words = ["--mode=root", "--variant=minbase", "--format=tar", "--include=" + ",".join(PACKAGES)]
    words += [f"--aptopt={setting.rstrip(';')}" for setting in apt_settings()]
    try:
        run("mmdebstrap", *words, SUITE, part, *sources,
            env={**os.environ, "LC_ALL": "C.UTF-8", "TMPDIR": str(work)})  # fmt: skip
        for old in CACHE.glob("*.tar"):
            old.unlink(missing_ok=True)
        part.replace(tar)
    finally:
        part.unlink(missing_ok=True)
    return tar


def copy_settings(root: Path, home: Path) -> None:
    """Copy into the new root what apt, pip and the resolver need to reach the archives that this machine uses."""
    for name in ("etc/resolv.conf", "etc/hosts", CERTIFICATES):
        source = Path("/") / name
        if source.exists():
            shutil.copyfile(source, root / name)
    (root / "etc/apt/apt.conf.d/99machine").write_text("".join(f"{line}\n" for line in apt_settings()))
    for name in PIP_SETTINGS:
        source = Path(name).expanduser()
        target = home / name[2:] if name.startswith("~") else root / name[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.exists():
            shutil.copyfile(source, target)


def make_root(root: Path, user: str, source: Path) -> Path:
    """Unpack the base, make the user and the clone; returns the clone's path as seen inside."""
    base = find_base(root.parent)
    root.mkdir(mode=0o755)
    run("tar", "-C", root, "--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=./dev/*", "-xpf", base)
    home = root / ("root" if user == "root" else f"home/{user}")
    if user != "root":
        run("chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", user)
        home.chmod(0o700)  # as Ubuntu and new releases of Debian make it: no other user may look into the tree
        rule = root / "etc/sudoers.d" / user
        rule.write_text(f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n")
        rule.chmod(0o440)
    copy_settings(root, home)
    # Objects are copied: a hard link to them would give the repository's own files to the user inside.
    environment = {**os.environ, "HOME": str(root.parent)}
    run("git", "config", "--global", "safe.directory", "*", env=environment)
    run("git", "clone", "--quiet", "--no-hardlinks", source, home / "hosttune", env=environment)
    if user != "root":
        run("chroot", root, "chown", "-R", f"{user}:{user}", f"/home/{user}")
    return Path("/") / (home / "hosttune").relative_to(root)


def command_line(root: Path, user: str, clone: Path, command: str) -> list[str]:
    """The words that enter the root and run the command with a newcomer's rights and environment."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("PIP_")}
    environment = {
        **kept, "HOME": str(clone.parent), "USER": user, "LOGNAME": user, "SHELL": "/bin/bash", "PATH": PATHS[user],
        "PIP_CERT": f"/{CERTIFICATES}", "SSL_CERT_FILE": f"/{CERTIFICATES}",
    }  # fmt: skip
    return [
        "unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", str(root),
        "prlimit", f"--memlock={LOCKED_MEMORY}:{LOCKED_MEMORY}",
        "setpriv", "--reuid", user, "--regid", user, "--init-groups", "--",
        "env", "-i", *(f"{name}={value}" for name, value in environment.items()),
        "bash", "-c", f"umask 022; cd {shlex.quote(str(clone))}; {command}",
    ]  # fmt: skip


def end_processes(root: Path) -> list[str]:
    """End what still runs in the root's mount namespace; returns the command lines, for people."""
    mark = Path(f"{root}.namespace")
    namespace = mark.read_text().strip() if mark.exists() else ""
    if namespace == os.readlink("/proc/self/ns/mnt"):
        return []
    said: dict[int, str] = {}
    for number in (signal.SIGTERM, signal.SIGKILL):
        limit = time.monotonic() + 10
        while namespace and time.monotonic() < limit:
            left = {}
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    if os.readlink(entry / "ns/mnt") == namespace:
                        words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                        left[int(entry.name)] = words.strip()
                except OSError:  # it has ended
                    continue
            for pid, words in left.items():
                if pid not in said or number == signal.SIGKILL:
                    said[pid] = words
                    try:
                        os.kill(pid, number)
                    except ProcessLookupError:
                        continue
            if not any(left.values()):  # one without a command line waits for its parent
                return list(said.values())
            time.sleep(0.2)
    return list(said.values())


def run_bare(user: str, source: Path, command: str) -> int:
    """Make the root, run the command in it, and remove all of it again; returns the command's exit status."""
    # /var/tmp, not /tmp: it needs some GB. Nobody else can look into the directory or have made it.
    work = Path(tempfile.mkdtemp(prefix="bare-root-", dir="/var/tmp"))
    root = work / "root"
    try:
        clone = make_root(root, user, source)
        status = subprocess.run(command_line(root, user, clone, command), check=False).returncode
        return 128 - status if status < 0 else status
    finally:
        for words in end_processes(root):
            print_message(f"bare_root: ended what was still running: {words[:200]}")
        shutil.rmtree(work, ignore_errors=True)


def _ended(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--user", choices=("dev", "root"), default="dev",
                        help="dev: an ordinary user with sudo (default); root: the clone is in /root")  # fmt: skip
    parser.add_argument("command", nargs="+", help="for bash; the words are joined by blanks")
    options = parser.parse_args(arguments)
    if os.geteuid():
        print_message("bare_root: run as root: it makes a root directory and mounts")
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
    try:
        return run_bare(options.user, ROOT, " ".join(options.command))
    except (BareRootError, OSError) as error:
        print_message(f"bare_root: {error}")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
