"""The scheduler's names, and the real-time budget of a cgroup."""

from __future__ import annotations

import os

import pytest

from hosttune.host import sched

MOUNTS = "30 23 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n31 1 0:1 / /x rw - tmpfs x rw\n"
GROUPS = "4:cpu,cpuacct:/desk\n0::/user.slice\n"
FILE = "/sys/fs/cgroup/cpu,cpuacct/desk/cpu.rt_runtime_us"


def test_numbers_are_those_of_the_kernel() -> None:
    for name in ("other", "fifo", "rr", "batch", "idle"):
        assert sched.POLICY_NUMBERS[name] == getattr(os, f"SCHED_{name.upper()}")
    assert set(sched.POLICY_NUMBERS) > sched.FAIR_POLICIES
    assert not sched.FAIR_POLICIES & {"fifo", "rr", "deadline"}


def test_the_budget_of_this_processs_group(fake_host) -> None:  # type: ignore[no-untyped-def]
    files = {"/proc/self/cgroup": GROUPS, "/proc/self/mountinfo": MOUNTS, FILE: "950000\n"}
    group = sched.read_rt_group(fake_host(files))
    assert (group.value, group.source) == (950_000, FILE)
    unified = sched.read_rt_group(fake_host({**files, "/proc/self/cgroup": "0::/user.slice\n"}))
    assert unified.state == "absent"


@pytest.mark.parametrize("path", ["/proc/self/cgroup", "/proc/self/mountinfo"])
def test_a_group_that_cannot_be_read(fake_host, path: str) -> None:  # type: ignore[no-untyped-def]
    host = fake_host({"/proc/self/cgroup": GROUPS, "/proc/self/mountinfo": MOUNTS}).deny(path)
    assert (sched.read_rt_group(host).state, sched.read_rt_group(host).reason) == ("unreadable", "EACCES")
