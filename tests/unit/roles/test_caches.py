"""Compiled strategies: root makes, marks and removes what the agent's user owns, who tries to turn it on root.

The programs of the release are stand-ins; the user, the links and the scripts are real.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles/trading_agent/files"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

USER = "nobody"
UID = pwd.getpwnam(USER).pw_uid
GROUP = "nogroup"


class Host:
    """A release of root's, the directory of caches, and files of root's that the user is after."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.release, self.caches = place / "releases/1.0-abc", place / "caches"
        self.cache = self.caches / "1.0-abc"
        self.victim, self.secrets = place / "victim", place / "secrets"
        (self.release / "bin").mkdir(parents=True)
        self.secrets.mkdir()
        (self.secrets / "key").write_text("root's\n")
        self.victim.write_text("root's\n")
        self.program("python", ":")

    def program(self, name: str, script: str) -> None:
        path = self.release / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def warm(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", FILES / "warm_release.sh", self.release, self.cache, USER, GROUP],
            capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "SECRET": "root's"},
        )  # fmt: skip

    def prune(self) -> list[str]:
        command = ["sh", FILES / "prune_caches.sh", self.place / "releases", self.caches]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.splitlines()

    def is_unharmed(self) -> bool:
        return (
            self.victim.read_text() == "root's\n"
            and (self.secrets / "key").read_text() == "root's\n"
            and {path.stat().st_uid for path in (self.victim, self.secrets, self.caches, self.release)} == {0}
        )


@pytest.fixture
def host(open_place: Path) -> Host:
    return Host(open_place)


def test_the_users_code_leads_root_nowhere(host: Host) -> None:
    """What it leaves behind: links at each name that root might open, to a file and to a directory of root's."""
    names = (".complete", ".warm", "cache", "marker", ".complete/x")
    host.program("agent", f"""set -eu
        cd "$3"
        for name in {" ".join(names)}; do ln -s {host.victim} "$name" 2>/dev/null || :; done
        ln -s {host.secrets} directory
        for place in {host.release} {host.caches} {host.release}/bin; do
            ! ln -s {host.victim} "$place/.warm" 2>/dev/null || exit 9
            ! mv "$3" "$place/elsewhere" 2>/dev/null || exit 9
        done""")  # fmt: skip
    done = host.warm()
    assert done.returncode == 0, done.stderr
    assert host.is_unharmed()
    assert (host.release / ".warm").lstat().st_uid == 0 and not (host.release / ".warm").is_symlink()
    assert (host.cache.stat().st_uid, host.cache.stat().st_mode & 0o777) == (UID, 0o700)
    # Once more, over what is there now; and then its removal.
    done = host.warm()
    assert done.returncode == 0 and host.is_unharmed(), done.stderr
    shutil.rmtree(host.release)
    assert host.prune() == [f"removed {host.cache}"]
    assert not host.cache.exists()
    assert host.victim.read_text() == (host.secrets / "key").read_text() == "root's\n"


def test_the_users_code_has_nothing_of_roots(host: Host) -> None:
    host.program("agent", """
        exec >"$3/said" 2>&1
        id -u; id -g; grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs):' /proc/self/status; umask; env
        readlink /proc/self/fd/0; awk '{ print "tty", $7, "session", $6 == $1 }' /proc/$$/stat""")  # fmt: skip
    assert host.warm().returncode == 0
    said = (host.cache / "said").read_text().splitlines()
    assert said[:2] == [str(UID), str(pwd.getpwnam(USER).pw_gid)]
    assert dict(line.split() for line in said[2:8]) == {
        **{f"Cap{name}:": "0" * 16 for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")},
        "NoNewPrivs:": "1",
    }
    assert "0077" in said and "/dev/null" in said and "tty 0 session 1" in said
    assert not [line for line in said if "SECRET" in line]


def test_what_cannot_be_compiled_leaves_no_mark(host: Host) -> None:
    host.program("agent", "exit 2")
    assert host.warm().returncode == 2
    assert not (host.release / ".warm").exists()


@pytest.mark.parametrize("target", ["victim", "secrets"])
def test_a_link_where_the_directories_belong(host: Host, target: str) -> None:
    """Left from a time when the directory above was the user's."""
    host.program("agent", ":")
    host.caches.mkdir()
    os.chown(host.caches, UID, UID)
    host.cache.symlink_to(getattr(host, target))
    assert host.warm().returncode == 0
    assert host.is_unharmed() and not host.cache.is_symlink()


def test_pruning_removes_links_and_not_what_they_lead_to(host: Host) -> None:
    host.caches.mkdir()
    (host.caches / "1.0-abc").mkdir()
    (host.caches / "0.9-old").symlink_to(host.secrets)
    (host.caches / "0.8-old/deep").mkdir(parents=True)
    (host.caches / "0.8-old/deep/link").symlink_to(host.secrets)
    assert sorted(host.prune()) == [f"removed {host.caches}/{name}" for name in ("0.8-old", "0.9-old")]
    assert host.is_unharmed() and [path.name for path in host.caches.iterdir()] == ["1.0-abc"]
    assert host.prune() == []


def test_there_may_be_no_caches(host: Host) -> None:
    assert host.prune() == []
