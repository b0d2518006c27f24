"""Threads and descriptors that cannot all be read are not read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hosttune.attest import read
from hosttune.host.root import Live

from ..conftest import FakeHost

STAT = "7 (agent) S 1 7 7 0 -1 4194304 " + "0 " * 10 + "20 0 1 0 99 " + "0 " * 16 + "3 80 1 0 0 0\n"
STATUS = "Name:\tagent\nCpus_allowed_list:\t3\n"


def make_host(*tids: int) -> FakeHost:
    return FakeHost({f"/proc/7/task/{tid}/{name}": text for tid in tids for name, text in
                     (("stat", STAT), ("status", STATUS))})  # fmt: skip


def test_all_threads() -> None:
    fact = read._read_threads(make_host(7, 8), 7)
    assert fact.value is not None and [thread.tid for thread in fact.value] == [7, 8]


def test_a_directory_that_cannot_be_listed() -> None:
    assert read._read_threads(make_host(7).deny("/proc/7/task"), 7).state == "unreadable"
    assert read._read_threads(FakeHost(), 7).value is None


def test_a_thread_that_is_listed_and_cannot_be_read() -> None:
    host = make_host(7, 8).deny("/proc/7/task/8/status")
    assert read._read_threads(host, 7).reason == "/proc/7/task/8/status: EACCES"


def test_threads_that_come_and_go_until_they_stay() -> None:
    class Restless(FakeHost):
        left = 3

        def list(self, path: str) -> Any:
            self.left -= 1
            self.files |= make_host(7, 100 + max(self.left, 0)).files
            for tid in range(100, 110):
                if tid != 100 + max(self.left, 0):
                    for name in ("stat", "status"):
                        self.files.pop(f"/proc/7/task/{tid}/{name}", None)
            return super().list(path)

    host = Restless()
    assert [thread.tid for thread in read._read_threads(host, 7).value or []] == [7, 100]
    host.left = 1 << 10
    assert read._read_threads(host, 7).state == "unreadable"


def test_too_many_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MOST", 1)
    assert "more than" in read._read_threads(make_host(7, 8), 7).reason
    with pytest.raises(OSError, match="more than"):
        read._read_descriptors("/proc/self/fd")


def test_descriptors_as_the_kernel_has_them(tmp_path: Path) -> None:
    master, slave = os.openpty()
    with (tmp_path / "a").open("w") as writable, (tmp_path / "a").open() as readable:
        found = {one.number: one for one in read._read_descriptors("/proc/self/fd")}
        assert (found[writable.fileno()].writable, found[readable.fileno()].writable) == (True, False)
        assert found[writable.fileno()].path == str(tmp_path / "a")
        assert (found[slave].terminal, found[master].terminal, found[readable.fileno()].terminal) == (
            True,
            False,
            False,
        )
        assert found[slave].owner == os.geteuid()
    os.close(master)
    os.close(slave)


def test_a_real_process() -> None:
    fact = read._read_threads(Live(), os.getpid())
    assert fact.value is not None and {thread.tid for thread in fact.value} >= {os.getpid()}
