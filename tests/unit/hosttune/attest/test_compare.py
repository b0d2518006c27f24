"""The judgement of `hosttune attest` on a process that was read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hosttune.attest.children import Child
from hosttune.attest.compare import check_exec, compare
from hosttune.attest.read import Memory, OpenFile, Process, find_refused, find_unlocked
from hosttune.host.process import Thread
from hosttune.host.root import Fact
from hosttune.launch.lease import Holder
from hosttune.launch.record import Record

from ..launch.promises import ALL_CAPABILITIES, NO_CAPABILITIES, make_record

RUN = "/run/hosttune"
RECORD = make_record()
MAIN = Thread(7, "agent", "fifo", 80, 0, frozenset({3}))
HOLDER = Holder(7, 1, "boot", 1, "agent")
UNREAD: Fact[Any] = Fact("unreadable", None, "", "EACCES")
PROCESS = Process(
    executable=Fact("value", "/opt/agent"), starttime=Fact("value", 1), threads=Fact("value", [MAIN]), uids=[990] * 4,
    gids=[990] * 4, groups=[5, 990], capabilities=Fact("value", NO_CAPABILITIES), no_new_privileges=Fact("value", 1),
    umask=Fact("value", 0o027), terminal=Fact("value", 0), memory=Fact("value", Memory(9000, 9004, [])),
    rlimits={"memlock": (-1, -1)}, timer_slack=Fact("value", 0), latency=Fact("value", 0),
    descriptors=Fact("value", [OpenFile(0, "/dev/null", False, False, 0), OpenFile(5, "/tmp/x", True, False, 990)]),
    children=Fact("value", []),
)  # fmt: skip


def threads(*others: Thread) -> dict[str, Any]:
    return {"threads": Fact("value", [MAIN, *others])}


def files(*opened: OpenFile) -> dict[str, Any]:
    return {"descriptors": Fact("value", list(opened))}


LEASED: Fact[Holder | None] = Fact("value", HOLDER)


def statuses(record: Record = RECORD, holder: Fact[Holder | None] = LEASED, **changes: Any) -> dict[str, str]:
    process = msgspec.structs.replace(PROCESS, **changes)
    found = compare(record, process, dict.fromkeys(record.leases, holder), RUN)
    return {one.id.removeprefix("attest."): one.status for one in found}


def test_everything_holds() -> None:
    assert set(statuses().values()) == {"pass"}


@pytest.mark.parametrize(
    ("name", "changes", "status"),
    [
        ("policy", threads(Thread(8, "log", "other", 0, 0, frozenset({3}))), "fail"),
        ("policy", threads(Thread(8, "log", "fifo", 79, 0, frozenset({3}))), "fail"),
        ("cpus", threads(Thread(8, "log", "fifo", 80, 0, frozenset({1, 3}))), "fail"),
        ("nice", {"threads": Fact("value", [Thread(7, "agent", "fifo", 80, 5, frozenset({3}))])}, "fail"),
        ("user", {"uids": [990, 0, 990, 990]}, "fail"),
        ("user", {"uids": [990, 990, 0, 990]}, "fail"),
        ("user", {"groups": [0, 5, 990]}, "fail"),
        *(("capabilities", {"capabilities": Fact("value", NO_CAPABILITIES | {name: 1 << 23})}, "fail")
          for name in NO_CAPABILITIES),
        ("capabilities", {"capabilities": UNREAD}, "unknown"),
        ("no_new_privs", {"no_new_privileges": Fact("value", 0)}, "fail"),
        ("no_new_privs", {"no_new_privileges": UNREAD}, "unknown"),
        ("umask", {"umask": Fact("value", 0o022)}, "fail"),
        ("umask", {"umask": Fact("value", 0o077)}, "pass"),
        ("umask", {"umask": UNREAD}, "unknown"),
        ("terminal", {"terminal": Fact("value", 34816)}, "fail"),
        ("terminal", {"terminal": UNREAD}, "unknown"),
        ("descriptors", files(OpenFile(3, f"{RUN}/launch/7.json", True, False, 0)), "fail"),
        ("descriptors", files(OpenFile(3, f"{RUN}/launch/7.json", False, False, 0)), "pass"),
        ("descriptors", files(OpenFile(1, "/dev/pts/0", True, True, 0)), "fail"),
        ("descriptors", files(OpenFile(1, "/dev/pts/0", True, True, 990)), "pass"),
        ("descriptors", {"descriptors": UNREAD}, "unknown"),
        ("memory_lock", {"memory": Fact("value", Memory(9000, 9100, ["[heap] (96 kB)"]))}, "fail"),
        ("memory_lock", {"memory": Fact("value", Memory(0, 9100, []))}, "fail"),
        ("memory_lock", {"memory": UNREAD}, "unknown"),
        ("rlimit.memlock", {"rlimits": {"memlock": (8 << 20, 8 << 20)}}, "fail"),
        ("rlimit.memlock", {"rlimits": {}}, "unknown"),
        ("timer_slack", {"timer_slack": Fact("value", 50_000)}, "fail"),
        ("timer_slack", {"timer_slack": UNREAD}, "unknown"),
        ("cpu_dma_latency", {"latency": Fact("value", None)}, "fail"),
        ("cpu_dma_latency", {"latency": Fact("value", 100)}, "fail"),
        ("cpu_dma_latency", {"latency": UNREAD}, "unknown"),
        ("lease", {"holder": Fact("value", None)}, "fail"),
        ("lease", {"holder": Fact("value", msgspec.structs.replace(HOLDER, pid=8))}, "fail"),
        ("lease", {"holder": Fact("value", msgspec.structs.replace(HOLDER, starttime=2))}, "fail"),
        ("lease", {"holder": UNREAD}, "unknown"),
    ],
)  # fmt: skip
def test_one_broken_promise_is_one_finding(name: str, changes: dict[str, Any], status: str) -> None:
    found = statuses(**changes)
    assert found.pop(name) == status
    assert set(found.values()) == {"pass"}


def test_threads_that_are_not_all_read_pass_for_nothing() -> None:
    """Else a program hides one by starting and ending threads all the time."""
    found = statuses(threads=UNREAD)
    assert {name for name, status in found.items() if status == "unknown"} == {"policy", "cpus", "nice"}


def test_the_offending_thread_is_named_in_one_line() -> None:
    odd = Thread(8, "log\nattest: holds\x1b", "other", 0, 0, frozenset({3}))
    policy = compare(RECORD, msgspec.structs.replace(PROCESS, **threads(odd)), {3: Fact("value", HOLDER)}, RUN)[0]
    assert policy.found == "other 0 in log\\u000aattest: holds\\u001b (8)"


def test_whether_it_runs() -> None:
    found = [check_exec(RECORD, fact, 0.5) for fact in (Fact("value", True), Fact("value", False), UNREAD)]
    assert [one.status for one in found] == ["pass", "fail", "unknown"]


def test_what_was_not_promised_does_not_apply() -> None:
    record = make_record(memory_locked=False, cpu_dma_latency=None, leases=[], changes_user=False)
    found = statuses(
        record, latency=Fact("value", None), memory=Fact("value", Memory(0, 1, ["x"])), terminal=Fact("value", 34816),
        **files(OpenFile(1, "/dev/pts/0", True, True, 0)),
    )  # fmt: skip
    assert (found["memory_lock"], found["cpu_dma_latency"], found["terminal"]) == ("na", "na", "na")
    assert "lease" not in found and "fail" not in found.values()


def test_root_may_have_fewer_capabilities_than_promised() -> None:
    assert statuses(make_record(capabilities=ALL_CAPABILITIES))["capabilities"] == "pass"


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
        # Debian 13's vDSO, as its kernel shows it.
        (8, "mr mw me wf dd dp", []),
        (8, "rd wr mr mw me ac sd", ["anonymous 7f0000000000-7f0000001000 (8 kB)"]),
    ],
)
def test_unlocked_mappings(rss: int, flags: str, expected: list[str]) -> None:
    def ask() -> frozenset[str]:
        raise AssertionError("all flags are known")

    assert find_unlocked(SMAPS.format(rss=rss, flags=flags), ask) == (expected, [])


def test_mappings_with_flags_of_a_newer_kernel() -> None:
    text = SMAPS.format(rss=8, flags="rd zz")
    assert find_unlocked(text, lambda: frozenset({"zz", "yy"})) == ([], [])
    assert find_unlocked(text, lambda: frozenset()) == ([], ["anonymous 7f0000000000-7f0000001000 (8 kB), zz"])
    known = SMAPS.format(rss=8, flags="rd wr lo") + SMAPS.format(rss=8, flags="rd zz")
    assert find_refused(known) == {"de", "zz"}


def test_a_flag_that_nobody_knows_is_neither_locked_nor_not() -> None:
    memory = Memory(9000, 9100, [], ["a (8 kB), zz"])
    assert statuses(memory=Fact("value", memory))["memory_lock"] == "unknown"
    memory = Memory(9000, 9100, ["b (8 kB)"], ["a (8 kB), zz"])
    assert statuses(memory=Fact("value", memory))["memory_lock"] == "fail"


def child(policy: str = "fifo", priority: int = 80, cpu: int = 3, locked: int = 900, unlocked: str = "") -> Child:
    return Child(9, "work", [Thread(9, "work", policy, priority, 0, frozenset({cpu}))], locked, unlocked.split())


@pytest.mark.parametrize(
    ("children", "status", "without_cpus"),
    [
        ([], "pass", "pass"),
        ([child()], "pass", "pass"),
        ([child(locked=0)], "fail", "warn"),  # a script's program: all but the memory goes down to it
        ([child(unlocked="heap")], "fail", "warn"),
        ([child("other", 0)], "fail", "warn"),
        ([child(priority=79)], "fail", "warn"),
        ([child("other", 0, cpu=1, locked=0)], "pass", "warn"),  # the journal's writer
        ([child("other", 0, cpu=1, locked=0), child(locked=0)], "fail", "warn"),
    ],
)
def test_processes_that_the_launched_one_started(children: list[Child], status: str, without_cpus: str) -> None:
    found = Fact("value", children)
    assert statuses(children=found)["children"] == status
    assert statuses(msgspec.structs.replace(RECORD, leases=[]), children=found)["children"] == without_cpus


def test_without_a_lock_all_goes_down_to_a_child() -> None:
    unlocked = msgspec.structs.replace(RECORD, memory_locked=False)
    assert statuses(unlocked, children=Fact("value", [child(locked=0)]))["children"] == "pass"
    assert statuses(unlocked, children=Fact("value", [child("other", 0)]))["children"] == "fail"


def test_children_that_cannot_be_read() -> None:
    assert statuses(children=UNREAD)["children"] == "unknown"


@pytest.mark.parametrize(
    "text", ["", "\n", SMAPS.replace("VmFlags", "Flags"), SMAPS + "VmFlags: lo\n", SMAPS.replace("7f00", "-", 1)]
)
def test_a_list_of_mappings_that_is_not_understood_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match="VmFlags"):
        find_unlocked(text, frozenset)
