"""The judgement of `hosttune attest` on a process that was read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hosttune.attest.compare import compare
from hosttune.attest.read import Memory, Process, find_unlocked
from hosttune.host.process import Thread
from hosttune.host.root import Fact
from hosttune.launch.record import Record

RECORD = Record(
    pid=7, starttime=1, command=["agent"], policy="fifo", priority=80, nice=0, cpus="2-3",
    user="trader", uid=990, gid=990, groups=[5, 990], memory_locked=True, cpu_dma_latency=True,
    timer_slack_ns=1, leases=["/run/hosttune/lease/cpu3.lock"], rlimits={"memlock": (-1, -1)},
    forced=[], preflight={},
)  # fmt: skip
MAIN = Thread(7, "agent", "fifo", 80, 0, frozenset({3}))
PROCESS = Process(
    executable=Fact("value", "/opt/agent"), threads=[MAIN], uids=[990] * 4, gids=[990] * 4, groups=[5, 990],
    capabilities=0, memory=Fact("value", Memory(9000, 9004, [])), rlimits={"memlock": (-1, -1)},
    timer_slack=Fact("value", 0),
    descriptors=Fact("value", ["/dev/null", "/dev/cpu_dma_latency", "/run/hosttune/lease/cpu3.lock"]),
)  # fmt: skip


def statuses(record: Record = RECORD, **changes: Any) -> dict[str, str]:
    process = msgspec.structs.replace(PROCESS, **changes)
    return {one.id.removeprefix("attest."): one.status for one in compare(record, process)}


def test_everything_holds() -> None:
    assert set(statuses().values()) == {"pass"}


@pytest.mark.parametrize(
    ("name", "changes", "status"),
    [
        ("policy", {"threads": [MAIN, Thread(8, "log", "other", 0, 0, frozenset({3}))]}, "fail"),
        ("policy", {"threads": [MAIN, Thread(8, "log", "fifo", 79, 0, frozenset({3}))]}, "fail"),
        ("cpus", {"threads": [MAIN, Thread(8, "log", "fifo", 80, 0, frozenset({1, 3}))]}, "fail"),
        ("nice", {"threads": [Thread(7, "agent", "fifo", 80, 5, frozenset({3}))]}, "fail"),
        ("user", {"uids": [990, 0, 990, 990]}, "fail"),
        ("user", {"uids": [990, 990, 0, 990]}, "fail"),
        ("user", {"groups": [0, 5, 990]}, "fail"),
        ("capabilities", {"capabilities": 1 << 23}, "fail"),
        ("memory_lock", {"memory": Fact("value", Memory(9000, 9100, ["[heap] (96 kB)"]))}, "fail"),
        ("memory_lock", {"memory": Fact("value", Memory(0, 9100, []))}, "fail"),
        ("memory_lock", {"memory": Fact("unreadable", None, "", "EACCES")}, "unknown"),
        ("rlimit.memlock", {"rlimits": {"memlock": (8 << 20, 8 << 20)}}, "fail"),
        ("timer_slack", {"timer_slack": Fact("value", 50_000)}, "fail"),
        ("timer_slack", {"timer_slack": Fact("unreadable", None, "", "EPERM")}, "unknown"),
        ("cpu_dma_latency", {"descriptors": Fact("value", ["/run/hosttune/lease/cpu3.lock"])}, "fail"),
        ("lease", {"descriptors": Fact("value", ["/dev/cpu_dma_latency"])}, "fail"),
        ("lease", {"descriptors": Fact("unreadable", None, "", "EACCES")}, "unknown"),
    ],
)
def test_one_broken_promise_is_one_finding(name: str, changes: dict[str, Any], status: str) -> None:
    found = statuses(**changes)
    assert found.pop(name) == status
    assert "fail" not in found.values() or name in ("lease", "cpu_dma_latency")


def test_the_offending_thread_is_named() -> None:
    threads = [MAIN, Thread(8, "log", "other", 0, 0, frozenset({3}))]
    policy = compare(RECORD, msgspec.structs.replace(PROCESS, threads=threads))[0]
    assert policy.found == "other 0 in log (8)"


def test_what_was_not_promised_does_not_apply() -> None:
    record = msgspec.structs.replace(RECORD, memory_locked=False, cpu_dma_latency=False, leases=[])
    found = statuses(record, descriptors=Fact("value", []), memory=Fact("value", Memory(0, 1, ["x"])))
    assert (found["memory_lock"], found["cpu_dma_latency"]) == ("na", "na")
    assert "lease" not in found and "fail" not in found.values()


SMAPS = """\
00400000-00401000 r-xp 00000000 fe:00 12 /opt/my agent
Size:                  4 kB
Rss:                   4 kB
VmFlags: rd ex mr mw me lo sd
7f0000000000-7f0000001000 rw-p 00000000 00:00 0
Rss:                   {rss} kB
VmFlags: rd wr mr mw me {flags}
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]
Rss:                   4 kB
VmFlags: rd ex mr mw me de sd
"""


@pytest.mark.parametrize(
    ("rss", "flags", "expected"),
    [
        (8, "ac lo", []),
        (8, "ac", ["anonymous 7f0000000000-7f0000001000 (8 kB)"]),
        (0, "ac", []),
        (8, "ht", []),
        (8, "io pf", []),
    ],
)
def test_unlocked_mappings(rss: int, flags: str, expected: list[str]) -> None:
    assert find_unlocked(SMAPS.format(rss=rss, flags=flags)) == expected
