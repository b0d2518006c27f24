"""The pure part of `hosttune launch`: what is refused, with which id, status and words."""

from __future__ import annotations

import errno
from typing import Any

import msgspec
import pytest

from hosttune.findings import Finding, Status
from hosttune.host.cpu import Possible
from hosttune.host.root import Fact
from hosttune.launch import checks
from hosttune.launch.facts import Facts
from hosttune.launch.plan import RLIMITS, UNLIMITED, Plan, User
from hosttune.launch.program import Program
from hosttune.launch.trial import Trial

ALL_CAPABILITIES = (1 << 41) - 1
TRADER = User("trader", 990, 990, [990], "/home/trader", "/bin/sh")


def plan(**changes: Any) -> Plan:
    return msgspec.structs.replace(
        Plan(command=["agent", "run"], policy="fifo", priority=80, cpus=frozenset({3}), user=TRADER),
        **changes,
    )


def facts(**changes: Any) -> Facts:
    """A host on which everything that `plan()` asks for is allowed."""
    return msgspec.structs.replace(
        Facts(
            path="/opt/agent",
            program=Program("/opt/agent", ["/opt/agent"], True, False),
            executable="ok",
            library="ok",
            uid=0,
            capabilities=Fact("value", ALL_CAPABILITIES),
            rlimits=dict.fromkeys(RLIMITS, (8 << 20, 8 << 20)),
            nr_open=Fact("value", 1048576, "/proc/sys/fs/nr_open"),
            possible=Fact("value", Possible(frozenset({0, 1, 2, 3, 4})), "/sys/devices/system/cpu/possible"),
            online=Fact("value", frozenset({0, 1, 2, 3}), "/sys/devices/system/cpu/online"),
            trial=Trial(0, frozenset({3}), 0),
            kernel=Fact("value", (6, 12), "/proc/sys/kernel/osrelease"),
            rt_runtime=Fact("value", -1),
            rt_group=Fact("absent"),
            isolated=Fact("value", frozenset({2, 3})),
            nohz_full=Fact("value", frozenset({2, 3})),
            fair_server={3: Fact("value", 50_000_000)},
            ordinary=Fact("value", []),
            holders={},
            run_directory="ok",
            dma_latency="ok",
        ),
        **changes,
    )


def without(*capabilities: str) -> Fact[int]:
    numbers = {
        "CAP_SETGID": 6,
        "CAP_SETUID": 7,
        "CAP_SETPCAP": 8,
        "CAP_IPC_LOCK": 14,
        "CAP_SYS_NICE": 23,
        "CAP_SYS_RESOURCE": 24,
    }
    return Fact("value", ALL_CAPABILITIES & ~sum(1 << numbers[name] for name in capabilities))


def finding(name: str, wanted: Plan, known: Facts) -> Finding:
    return next(one for one in checks.check(wanted, known) if one.id == f"launch.{name}")


def test_a_ready_host_refuses_nothing() -> None:
    decision = checks.decide(checks.check(plan(), facts()), [])
    assert (decision.code, decision.against) == (0, [])


def test_the_same_ids_on_every_host_so_that_a_unit_can_force_them() -> None:
    everywhere = {one.id for one in checks.check(plan(), facts())}
    bare = {one.id for one in checks.check(Plan(command=["agent"], lock_memory=False), facts())}
    assert everywhere - bare == {"launch.privilege.rlimit.rttime"}, "only limits that were asked for come and go"


@pytest.mark.parametrize(
    ("name", "changes", "status", "word"),
    [
        ("command", {"path": None, "program": None, "executable": "ENOENT"}, "fail", "not found"),
        ("command", {"executable": "EACCES"}, "fail", "EACCES for trader"),
        ("command", {"program": Program("/a", ["/a"], False, False, "/a: neither")}, "fail", "neither"),
        ("command", {"program": Program("/a", ["/a", "/usr/bin/env"], True, False)}, "fail", "/usr/bin/env"),
        ("memory_lock", {"library": "ENOENT"}, "fail", "ENOENT"),
        ("memory_lock", {"program": Program("/a", ["/a"], False, False)}, "fail", "statically linked"),
        ("memory_lock", {"program": Program("/a", ["/a"], True, True)}, "fail", "setuid"),
        ("cpus", {"online": Fact("value", frozenset({0}))}, "fail", "online: 0"),
        ("cpus", {"online": Fact("unreadable", None, "", "EACCES")}, "unknown", "EACCES"),
        ("cpus", {"trial": Trial(errno.EINVAL, frozenset({0}), 0)}, "fail", "0"),
        ("lease", {"holders": {3: "PID 7 (agent run)"}}, "fail", "CPU 3 is leased to PID 7 (agent run)"),
        ("rt_group", {"trial": Trial(0, frozenset({3}), errno.EPERM)}, "fail", "EPERM in spite of"),
        ("privilege.scheduling", {"capabilities": without("CAP_SYS_NICE"),
                                  "rlimits": dict.fromkeys(RLIMITS, (0, 0))}, "fail", "no CAP_SYS_NICE"),
        ("privilege.memory_lock", {"capabilities": without("CAP_SYS_RESOURCE")}, "fail", "8388608"),
        ("privilege.user", {"capabilities": without("CAP_SETUID"), "uid": 0}, "fail", "no CAP_SETUID"),
        ("privilege.user", {"capabilities": without("CAP_SETGID"), "uid": 0}, "fail", "no CAP_SETGID"),
        ("privilege.user", {"capabilities": without("CAP_SETPCAP"), "uid": 990}, "fail", "no CAP_SETPCAP"),
        ("privilege.rlimit.rttime", {"capabilities": without("CAP_SYS_RESOURCE")}, "fail", "8388608"),
        ("run_directory", {"run_directory": "EROFS"}, "fail", "EROFS"),
        ("cpu_dma_latency", {"dma_latency": "ENOENT"}, "warn", "ENOENT"),
    ],
)  # fmt: skip
def test_each_cause_has_its_own_finding(name: str, changes: dict[str, Any], status: Status, word: str) -> None:
    found = finding(name, plan(), facts(**changes))
    assert found.status == status
    assert word in str(found.found)
    assert found.why and found.fix


def test_the_program_is_named_by_its_first_word_and_by_what_the_kernel_runs_in_the_end() -> None:
    assert str(finding("command", plan(), facts(path=None)).found) == "agent is not found"
    script = Program("/a", ["/a", "/static"], False, False)
    found = finding("memory_lock", plan(), facts(program=script))
    assert found.found == "/static is statically linked"


def test_a_rtprio_limit_does_instead_of_the_capability() -> None:
    limits = dict.fromkeys(RLIMITS, (UNLIMITED, UNLIMITED)) | {"rtprio": (80, 80)}
    known = facts(capabilities=Fact("value", 0), uid=990, rlimits=limits)
    assert finding("privilege.scheduling", plan(user=None), known).status == "pass"
    assert finding("privilege.scheduling", plan(user=None, priority=81), known).status == "fail"


def test_a_nice_limit_is_needed_for_a_negative_nice_value() -> None:
    limits = dict.fromkeys(RLIMITS, (0, 0)) | {"nice": (30, 30)}
    known = facts(capabilities=Fact("value", 0), rlimits=limits)
    ordinary = plan(policy="other", priority=0)
    assert finding("privilege.scheduling", msgspec.structs.replace(ordinary, nice=-10), known).status == "pass"
    assert finding("privilege.scheduling", msgspec.structs.replace(ordinary, nice=-11), known).status == "fail"


def test_root_needs_no_memory_limit_and_a_named_limit_is_taken_at_its_word() -> None:
    poor = facts(capabilities=without("CAP_SYS_RESOURCE"))
    assert finding("privilege.memory_lock", plan(user=None), poor).status == "pass"
    named = plan(rlimits={"memlock": (4 << 20, 8 << 20)})
    assert finding("privilege.memory_lock", named, poor).status == "pass"
    assert checks.choose_memory_limit(named, poor) == (4 << 20, 8 << 20)
    assert checks.choose_memory_limit(plan(), facts()) == (UNLIMITED, UNLIMITED)
    assert checks.choose_memory_limit(plan(user=None), facts()) is None
    root = User("root", 0, 0, [0], "/root", "/bin/sh")
    assert checks.choose_memory_limit(plan(user=root), facts()) == (UNLIMITED, UNLIMITED)


class TestFifoTrap:
    @pytest.mark.parametrize(
        ("runtime", "status"),
        [
            (Fact("value", 950_000), "fail"),
            (Fact("value", 1_000_000), "fail"),
            (Fact("value", -1), "pass"),
            (Fact("unreadable", None, "", "EACCES"), "unknown"),
        ],
    )
    def test_throttling(self, runtime: Fact[int], status: Status) -> None:
        assert finding("rt_throttling", plan(), facts(rt_runtime=runtime)).status == status

    @pytest.mark.parametrize("changes", [{"policy": "other", "priority": 0}, {"busy_poll": False}])
    def test_neither_half_concerns_a_program_that_leaves_the_cpu(self, changes: dict[str, Any]) -> None:
        known = facts(rt_runtime=Fact("value", 950_000), ordinary=Fact("value", ["1 (init)"]))
        for name in ("rt_throttling", "fair_server"):
            assert finding(name, plan(**changes), known).status == "na"

    UNREAD: Fact[int] = Fact("unreadable", None, "", "EPERM")

    @pytest.mark.parametrize(
        ("kernel", "runtime", "ordinary", "status"),
        [
            ((6, 11), Fact("absent"), ["1 (init)"], "na"),
            ((6, 12), Fact("value", 50_000_000), ["1 (init)"], "fail"),
            ((7, 0), Fact("value", 50_000_000), ["1 (init)"], "fail"),
            ((6, 12), Fact("value", 0), ["1 (init)"], "pass"),
            ((6, 12), Fact("value", 50_000_000), [], "pass"),
            ((6, 12), UNREAD, ["1 (init)"], "unknown"),
            ((6, 12), UNREAD, [], "pass"),
            ((6, 12), Fact("absent", None, "", "ENOENT"), ["1 (init)"], "unknown"),
        ],
    )
    def test_fair_server(self, kernel: Any, runtime: Any, ordinary: list[str], status: Status) -> None:
        known = facts(kernel=Fact("value", kernel), fair_server={3: runtime}, ordinary=Fact("value", ordinary))
        assert finding("fair_server", plan(), known).status == status

    def test_one_open_cpu_of_two_is_enough_to_refuse(self) -> None:
        servers = {2: Fact("value", 0), 3: Fact("value", 50_000_000)}
        known = facts(fair_server=servers, ordinary=Fact("value", ["1 (init)"]))
        assert finding("fair_server", plan(), known).status == "fail"

    def test_threads_that_cannot_be_listed_do_not_pass(self) -> None:
        known = facts(ordinary=Fact("unreadable", None, "/proc", "EACCES"))
        assert finding("fair_server", plan(), known).status == "unknown"


class TestStarvation:
    """Seen on Debian 12 (6.1): without throttling the machine hung, systemd included, within minutes."""

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({}, "warn"),
            ({"nohz_full": Fact("absent")}, "fail"),
            ({"isolated": Fact("value", frozenset())}, "fail"),
            ({"isolated": Fact("unreadable", None, "", "EACCES")}, "unknown"),
            ({"nohz_full": Fact("absent"), "rt_runtime": Fact("value", 950_000)}, "na"),
            ({"nohz_full": Fact("absent"), "rt_runtime": Fact("unreadable")}, "fail"),
        ],
    )
    def test_before_the_fair_server(self, changes: dict[str, Any], status: Status) -> None:
        old = {"kernel": Fact("value", (6, 1)), "fair_server": {3: Fact("absent")}}
        assert finding("starvation", plan(), facts(**old, **changes)).status == status

    @pytest.mark.parametrize(
        ("server", "status"),
        [(Fact("value", 50_000_000), "pass"), (Fact("value", 0), "fail"), (Fact("unreadable"), "unknown")],
    )
    def test_with_the_fair_server(self, server: Fact[int], status: Status) -> None:
        known = facts(fair_server={3: server}, nohz_full=Fact("absent"))
        assert finding("starvation", plan(), known).status == status


def test_a_cgroup_without_budget_is_named_even_to_root() -> None:
    group = Fact("value", 0, "/sys/fs/cgroup/cpu/x/cpu.rt_runtime_us")
    known = facts(rt_group=group, rt_runtime=Fact("value", 950_000), trial=Trial(0, frozenset({3}), errno.EPERM))
    found = finding("rt_group", plan(), known)
    assert found.status == "fail" and group.source in found.fix


class TestDecision:
    def make(self, **statuses: Status) -> list[Finding]:
        return [Finding(id=f"s.{name}", status=s, wanted=1, found=0) for name, s in statuses.items()]

    @pytest.mark.parametrize(
        ("statuses", "force", "code"),
        [
            ({"a": "pass", "b": "warn", "c": "na"}, [], 0),
            ({"a": "fail"}, [], 1),
            ({"a": "pending"}, [], 1),
            ({"a": "volatile"}, [], 1),
            ({"a": "unknown"}, [], 3),
            ({"a": "unknown", "b": "fail"}, [], 1),
            ({"a": "unknown", "b": "fail"}, ["s.b"], 3),
            ({"a": "unknown", "b": "fail"}, ["s.b", "s.a"], 0),
        ],
    )
    def test_code(self, statuses: dict[str, Status], force: list[str], code: int) -> None:
        assert checks.decide(self.make(**statuses), force).code == code

    @pytest.mark.parametrize("name", ["s", "s.", "s.A", "s.a ", "*"])
    def test_ids_match_exactly_or_not_at_all(self, name: str) -> None:
        with pytest.raises(checks.UnknownId, match="matched exactly"):
            checks.decide(self.make(a="fail"), [name])

    def test_what_was_forced_and_what_need_not_have_been(self) -> None:
        decision = checks.decide(self.make(a="fail", b="pass"), ["s.a", "s.b", "s.b"])
        assert [one.id for one in decision.forced] == ["s.a"]
        assert decision.idle == ["s.b"]


def test_cpus_that_are_offline_and_cpus_that_are_not_there() -> None:
    offline = finding("cpus", plan(cpus=frozenset({3, 4})), facts())
    assert (offline.status, offline.why) == ("fail", "CPU 4 is offline")
    assert offline.fix.splitlines()[0] == "echo 1 > /sys/devices/system/cpu/cpu4/online"
    beyond = finding("cpus", plan(cpus=frozenset({4, 9})), facts())
    assert (beyond.why, beyond.fix) == ("CPU 9 does not exist", "choose of the CPUs 0-3")
    unknown = finding("cpus", plan(cpus=frozenset({9})), facts(possible=Fact("unreadable", None, "", "EACCES")))
    assert unknown.why == "CPU 9 does not exist or is offline"


def test_fixes_that_are_commands() -> None:
    """Their first line; what follows says what else there is."""
    known = facts(rt_runtime=Fact("value", 950_000), ordinary=Fact("value", ["1 (init)"]))
    assert finding("rt_throttling", plan(), known).fix.splitlines()[0] == "sysctl -w kernel.sched_rt_runtime_us=-1"
    first = "for cpu in 3; do echo 0 > /sys/kernel/debug/sched/fair_server/cpu$cpu/runtime; done"
    assert finding("fair_server", plan(), known).fix.splitlines()[0] == first
    hidden = msgspec.structs.replace(known, fair_server={3: Fact("absent", None, "f", "ENOENT")})
    assert finding("fair_server", plan(), hidden).fix.splitlines()[:2] == [
        "mount -t debugfs none /sys/kernel/debug",
        first,
    ]
    group = Fact("value", 0, "/sys/fs/cgroup/cpu/a b/cpu.rt_runtime_us")
    known = facts(trial=Trial(0, frozenset({3}), errno.EPERM), rt_group=group, rt_runtime=Fact("value", 950_000))
    fix = finding("rt_group", plan(), known).fix
    assert fix.splitlines()[0] == "echo 950000 > '/sys/fs/cgroup/cpu/a b/cpu.rt_runtime_us'"


@pytest.mark.parametrize(
    ("hard", "nr_open", "status"),
    [(1048576, 1048576, "pass"), (1048577, 1048576, "fail"), (UNLIMITED, 1048576, "fail"), (1 << 40, None, "pass")],
)
def test_open_files_are_bounded_by_the_kernel(hard: int, nr_open: int | None, status: Status) -> None:
    known = facts(nr_open=Fact("value", nr_open) if nr_open else Fact("unreadable", None, "f", "EACCES"))
    found = finding("privilege.rlimit.nofile", plan(rlimits={"nofile": (64, hard)}), known)
    assert found.status == status
    if status == "fail":
        assert found.found == f"fs.nr_open is {nr_open}"
        first = f"ask for at most {nr_open}" if hard == UNLIMITED else f"sysctl -w fs.nr_open={hard}"
        assert found.fix.splitlines()[0] == first
