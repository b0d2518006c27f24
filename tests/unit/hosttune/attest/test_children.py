"""Which processes belong to a launched one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from hosttune.attest import children
from hosttune.attest.read import _read_other_memory
from hosttune.host.root import Fact, Live

from ..conftest import FakeHost
from .test_read import STAT

PARENTS = {1: 0, 7: 1, 8: 7, 9: 8, 20: 1, 30: 1, 31: 7}


def make_host(group: str = "/system.slice/agent.service", members: str = "7\n8\n9\n20\n") -> FakeHost:
    files = {"/proc/7/cgroup": f"0::{group}\n", f"/sys/fs/cgroup{group}/cgroup.procs": members}
    for pid, parent in PARENTS.items():
        status = f"Name:\ta\nState:\t{'Z' if pid == 31 else 'S'}\nPPid:\t{parent}\nCpus_allowed_list:\t3\n"
        for directory in (f"/proc/{pid}", f"/proc/{pid}/task/{pid}"):
            files |= {f"{directory}/status": status, f"{directory}/stat": STAT}
    return FakeHost(files)


def read_memory(pid: int) -> Fact[Any]:
    return Fact("value", (pid, []))


def find(host: FakeHost, pid: int = 7) -> list[int]:
    found = children.read_children(host, pid, read_memory)
    assert found.value is not None, found
    return [one.pid for one in found.value]


def test_those_below_it_and_those_in_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 30)
    assert find(make_host()) == [8, 9, 20]
    assert find(make_host("/user.slice/session-1.scope")) == [8, 9]  # a shell and an editor may be there
    assert find(make_host(), 9) == []
    host = make_host()
    host.files["/sys/fs/cgroup/unified/system.slice/agent.service/cgroup.procs"] = host.files.pop(
        "/sys/fs/cgroup/system.slice/agent.service/cgroup.procs"
    )
    assert find(host) == [8, 9, 20]


def test_a_daemon_whose_parent_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a service nothing but its CPUs tells where it comes from."""
    monkeypatch.setattr(os, "getpid", lambda: 30)

    def find_all(leased: set[int], **changes: str) -> list[int]:
        host = make_host("/user.slice/session-1.scope")
        host.files |= changes
        found = children.read_children(host, 7, read_memory, frozenset(leased))
        return [one.pid for one in found.value or []]

    assert find_all({3}) == [8, 9, 20]
    assert find_all({2, 3}) == [8, 9, 20]
    assert find_all({2}) == find_all(set()) == [8, 9]
    adopted = make_host().files["/proc/20/status"]
    for parent, counts in ((40, True), (41, False), (31, False)):  # 41 launched it, below 40
        above = {f"/proc/{one}/status": adopted.replace("list:\t3", "list:\t0-7") for one in (40, 41)}
        above["/proc/41/status"] = above["/proc/41/status"].replace("PPid:\t1", "PPid:\t40")
        above["/proc/7/status"] = adopted.replace("PPid:\t1", "PPid:\t41")
        above["/proc/20/status"] = adopted.replace("PPid:\t1", f"PPid:\t{parent}")
        assert (20 in find_all({3}, **above)) is counts, parent
    wider = make_host().files["/proc/20/status"].replace("list:\t3", "list:\t2-3")
    assert find_all({3}, **{"/proc/20/status": wider}) == [8, 9]
    fields = STAT.split()
    fields[21] = str(int(fields[21]) - 1)
    assert find_all({3}, **{"/proc/20/stat": " ".join(fields)}) == [8, 9]
    assert find_all({3}, **{"/proc/20/status": "Name:\ta\nState:\tS\nPPid:\t1\nCpus_allowed_list:\t?\n"}) == [8, 9]


def test_the_reader_itself_and_what_started_it_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 20)
    assert find(make_host()) == [8, 9]
    monkeypatch.setattr(os, "getpid", lambda: 9)
    assert find(make_host()) == [20]


def test_what_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 30)

    def refuse(pid: int) -> Fact[Any]:
        return Fact("unreadable", None, "/proc/8/smaps", "EACCES")

    def end(pid: int) -> Fact[Any]:
        return Fact("absent")

    assert children.read_children(make_host(), 7, refuse).reason == "EACCES"
    assert children.read_children(make_host(), 7, end).value == []
    assert children.read_children(make_host().deny("/proc"), 7, read_memory).state == "unreadable"
    host = make_host()
    host.files["/proc/8/task/8/stat"] = "x"
    assert children.read_children(host, 7, read_memory).state == "unreadable"
    monkeypatch.setattr(children, "MOST", 3)
    assert len(children.read_children(make_host(), 7, read_memory).value or []) == 3
    monkeypatch.setattr(children, "MOST", 2)
    assert "3 processes" in children.read_children(make_host(), 7, read_memory).reason


def test_a_real_child() -> None:
    """This process reads itself in another one, as attest does."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            code = (
                "import sys; from hosttune.attest import children, read; from hosttune.host.root import Live; "
                "root = Live(); read_memory = lambda pid: read._read_other_memory(root, pid); "
                "found = children.read_children(root, int(sys.argv[1]), read_memory); "
                "print([(one.pid, one.name, one.locked, bool(one.unlocked)) for one in found.value])"
            )
            command = [sys.executable, "-c", code, str(os.getpid())]
            run = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=False)
            assert run.returncode == 0, run.stderr
            assert (sleeper.pid, "sleep", 0, True) in eval(run.stdout)
        finally:
            sleeper.kill()
    assert _read_other_memory(Live(), sleeper.pid).state == "absent"
