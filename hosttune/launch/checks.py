"""Plan and facts → findings, and from all findings the decision whether to start. Pure."""

from __future__ import annotations

import errno
from typing import Any

import msgspec

from hosttune.findings import NOT_READY, Finding, Hop, Status
from hosttune.host import cpulist
from hosttune.launch.facts import DMA_LATENCY, LIBRARY, RT_RUNTIME, Facts
from hosttune.launch.plan import UNLIMITED, Plan, show_amount

# linux/capability.h
_CAPABILITIES = {
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_IPC_LOCK": 14,
    "CAP_SYS_NICE": 23,
    "CAP_SYS_RESOURCE": 24,
}
_HOP_STATE: dict[Status, Any] = {
    "pass": "ok",
    "fail": "bad",
    "warn": "absent",
    "unknown": "unknown",
    "na": "na",
}
_SHOWN = 5
_FAIR_SERVER = "/sys/kernel/debug/sched/fair_server"


class Decision(msgspec.Struct, frozen=True):
    """`code` is 0 (start), 1 (refused) or 3 (could not tell); `against` are the findings that decided it,
    `forced` those that would have, `idle` the ids that were forced without need."""

    code: int
    against: list[Finding]
    forced: list[Finding]
    idle: list[str]


class UnknownId(Exception):
    """`--force` names no finding."""


def decide(findings: list[Finding], force: list[str]) -> Decision:
    """Raises :class:`UnknownId` if an id in `force` is none of the findings'."""
    known = {finding.id for finding in findings}
    for name in force:
        if name not in known:
            raise UnknownId(f"--force {name}: no finding has this id; ids are matched exactly")
    blocking = [finding for finding in findings if finding.status in NOT_READY or finding.status == "unknown"]
    against = [finding for finding in blocking if finding.id not in force]
    forced = [finding for finding in blocking if finding.id in force]
    idle = [name for name in dict.fromkeys(force) if name not in {finding.id for finding in forced}]
    refused = any(finding.status in NOT_READY for finding in against)
    return Decision(1 if refused else 3 if against else 0, against, forced, idle)


def check(plan: Plan, facts: Facts) -> list[Finding]:
    """All findings of launch; those that do not apply are `na`, so that ids are the same on every host."""
    return [
        _command(plan, facts),
        _memory_lock(plan, facts),
        _cpus(plan, facts),
        _lease(plan, facts),
        _rt_throttling(plan, facts),
        _fair_server(plan, facts),
        _starvation(plan, facts),
        _rt_group(plan, facts),
        _scheduling_privilege(plan, facts),
        _memory_privilege(plan, facts),
        _user_privilege(plan, facts),
        *_rlimit_privileges(plan, facts),
        _run_directory(plan, facts),
        _dma_latency(facts),
    ]


def _finding(name: str, status: Status, wanted: Any, found: Any, source: str, why: str = "", fix: str = "") -> Finding:
    quiet = status in ("pass", "na")
    return Finding(
        id=f"launch.{name}",
        status=status,
        wanted=wanted,
        found=found,
        hops={"runtime": Hop(_HOP_STATE[status], found, source)},
        why="" if quiet else why,
        fix="" if quiet else fix,
    )


def _command(plan: Plan, facts: Facts) -> Finding:
    name, program = plan.command[0], facts.program
    wanted = "an executable file"
    if facts.path is None or program is None:
        return _finding(
            "command",
            "fail",
            wanted,
            f"{name} is not found",
            "PATH",
            "there is nothing to start",
            "give the path of the program after --",
        )
    who = plan.user.name if plan.user else "this user"
    if facts.executable != "ok":
        return _finding(
            "command",
            "fail",
            wanted,
            f"{facts.path}: {facts.executable} for {who}",
            facts.path,
            f"{who} cannot execute it",
            f"chmod a+x {facts.path}, and x on each directory above it",
        )
    if program.problem:
        return _finding(
            "command",
            "fail",
            wanted,
            program.problem,
            facts.path,
            "execve would fail",
            "give a program, or a script whose #! line names one",
        )
    if plan.lock_memory and program.executes_again:
        return _finding(
            "command",
            "fail",
            "a program that does not execute another",
            " → ".join(program.images),
            facts.path,
            "env executes the program it finds, and execve drops the memory lock",
            "name the interpreter itself in the #! line, or use --no-mlock",
        )
    return _finding("command", "pass", wanted, facts.path, facts.path)


def _memory_lock(plan: Plan, facts: Facts) -> Finding:
    wanted = "memory locked across exec"
    if not plan.lock_memory:
        return _finding("memory_lock", "na", wanted, "--no-mlock", "")
    if facts.library != "ok":
        return _finding(
            "memory_lock",
            "fail",
            wanted,
            f"{LIBRARY}: {facts.library}",
            LIBRARY,
            "without the preload library the program's memory is not locked",
            "install hosttune from its wheel, readable for the agent's user, or use --no-mlock",
        )
    if " " in LIBRARY or ":" in LIBRARY:
        return _finding(
            "memory_lock",
            "fail",
            wanted,
            LIBRARY,
            LIBRARY,
            "LD_PRELOAD cannot name a path with : or space",
            "install hosttune elsewhere, or use --no-mlock",
        )
    program = facts.program
    if program is None or program.problem:
        return _finding("memory_lock", "na", wanted, "no program", "")
    if program.secure or not program.dynamic:
        kind = "setuid, setgid or has file capabilities" if program.secure else "statically linked"
        return _finding(
            "memory_lock",
            "fail",
            wanted,
            f"{program.images[-1]} is {kind}",
            program.images[-1],
            "its loader ignores LD_PRELOAD, so its memory would not be locked",
            "use --no-mlock and let the program call mlockall itself",
        )
    return _finding("memory_lock", "pass", wanted, LIBRARY, LIBRARY)


def _cpus(plan: Plan, facts: Facts) -> Finding:
    if plan.cpus is None:
        return _finding("cpus", "na", "any CPU", cpulist.show(facts.trial.cpus), "sched_getaffinity(2)")
    wanted = cpulist.show(plan.cpus)
    if facts.online.value is None:
        return _finding(
            "cpus",
            "unknown",
            wanted,
            facts.online.reason,
            facts.online.source,
            "it cannot be told whether these CPUs are online",
            "make /sys readable",
        )
    missing = plan.cpus - facts.online.value
    if missing:
        return _finding(
            "cpus",
            "fail",
            wanted,
            f"online: {cpulist.show(facts.online.value)}",
            facts.online.source,
            f"CPU {cpulist.show(missing)} does not exist or is offline",
            "choose online CPUs, or echo 1 > /sys/devices/system/cpu/cpuN/online",
        )
    if facts.trial.affinity_errno or facts.trial.cpus != plan.cpus:
        return _finding(
            "cpus",
            "fail",
            wanted,
            cpulist.show(facts.trial.cpus),
            "sched_getaffinity(2)",
            "the cpuset of this process does not have them; the kernel would silently use the rest",
            "widen AllowedCPUs= of the unit, or cpuset.cpus of its cgroup",
        )
    return _finding("cpus", "pass", wanted, wanted, "sched_getaffinity(2)")


def _lease(plan: Plan, facts: Facts) -> Finding:
    if plan.cpus is None:
        return _finding("lease", "na", "no CPU named", "nothing to lease", "")
    source = f"{plan.run_directory}/lease"
    if facts.holders:
        found = "; ".join(f"CPU {cpu} is leased to {who}" for cpu, who in facts.holders.items())
        return _finding(
            "lease",
            "fail",
            cpulist.show(plan.cpus),
            found,
            source,
            "two processes that poll on one CPU take turns of milliseconds",
            "stop the other process, or choose other --cpus",
        )
    return _finding("lease", "pass", cpulist.show(plan.cpus), "free", source)


def _rt_throttling(plan: Plan, facts: Facts) -> Finding:
    fact, wanted = facts.rt_runtime, -1
    if not (plan.realtime and plan.busy_poll):
        return _finding("rt_throttling", "na", wanted, fact.value, RT_RUNTIME)
    why = (
        f"a {plan.policy.upper()} thread that busy-polls is stopped for the rest of each period "
        "(50 ms of every second by default), even if the CPU then idles"
    )
    fix = (
        "sysctl -w kernel.sched_rt_runtime_us=-1 (rt_limits: sched_rt_runtime_us: -1), "
        "or --policy other on an isolated CPU; --no-busy-poll if the program blocks when idle"
    )
    if fact.value is None:
        return _finding("rt_throttling", "unknown", wanted, fact.reason, RT_RUNTIME, why, fix)
    return _finding("rt_throttling", "pass" if fact.value == -1 else "fail", wanted, fact.value, RT_RUNTIME, why, fix)


def _fair_server(plan: Plan, facts: Facts) -> Finding:
    wanted = "fair server off, or no ordinary task on these CPUs"
    source = _FAIR_SERVER
    if not (plan.realtime and plan.busy_poll):
        return _finding("fair_server", "na", wanted, f"policy {plan.policy}", source)
    if facts.kernel.value is not None and facts.kernel.value < (6, 12):
        return _finding("fair_server", "na", wanted, "kernel before 6.12", facts.kernel.source)
    # Absent on a kernel that old, and on one without debugfs: only the version tells which.
    unread = [fact for fact in facts.fair_server.values() if fact.value is None]
    if not unread and not any(fact.value for fact in facts.fair_server.values()):
        return _finding("fair_server", "pass", wanted, "off (runtime 0)", source)
    cpus = cpulist.show(frozenset(facts.fair_server))
    why = (
        f"the fair server stops a {plan.policy.upper()} thread that busy-polls for up to 50 ms of every "
        "second while an ordinary task waits for its CPU; kernel.sched_rt_runtime_us does not change that"
    )
    fix = (
        f"isolate CPU {cpus} (cpu_isolation) and keep every ordinary thread off it; or write 0 to "
        f"{source}/cpuN/runtime; or --policy other on an isolated CPU"
    )
    ordinary = facts.ordinary.value
    if ordinary is None:
        return _finding("fair_server", "unknown", wanted, facts.ordinary.reason, facts.ordinary.source, why, fix)
    if not ordinary:
        return _finding("fair_server", "pass", wanted, "no ordinary thread is allowed there", facts.ordinary.source)
    more = f" and {len(ordinary) - _SHOWN} more" if len(ordinary) > _SHOWN else ""
    threads = f"threads allowed on CPU {cpus}: {', '.join(ordinary[:_SHOWN])}{more}"
    if any(fact.value for fact in facts.fair_server.values()):
        return _finding("fair_server", "fail", wanted, f"on; {threads}", source, why, fix)
    return _finding(
        "fair_server",
        "unknown",
        wanted,
        f"{source}: {unread[0].reason}; {threads}",
        source,
        why,
        f"mount debugfs (mount -t debugfs none /sys/kernel/debug) to see it; {fix}",
    )


def _starvation(plan: Plan, facts: Facts) -> Finding:
    wanted = "kernel threads bound to these CPUs can run"
    source = "/sys/devices/system/cpu/{isolated,nohz_full}"
    if not (plan.realtime and plan.busy_poll):
        return _finding("starvation", "na", wanted, f"policy {plan.policy}", source)
    if facts.rt_runtime.value is not None and facts.rt_runtime.value != -1:
        return _finding("starvation", "na", wanted, "throttling leaves them the rest of each period", RT_RUNTIME)
    cpus = frozenset(facts.fair_server)
    modern = facts.kernel.value is not None and facts.kernel.value >= (6, 12)
    servers = [facts.fair_server[cpu].value for cpu in sorted(cpus)]
    if modern and all(servers):
        return _finding("starvation", "pass", wanted, "the fair server lets them run", _FAIR_SERVER)
    exposed = cpus - ((facts.isolated.value or frozenset()) & (facts.nohz_full.value or frozenset()))
    unstopped = f"nothing stops a {plan.policy.upper()} thread that busy-polls, so kernel threads bound to its CPU"
    if not exposed:
        return _finding(
            "starvation",
            "warn",
            wanted,
            f"CPU {cpulist.show(cpus)} is isolated and nohz_full, and has no fair server that is known to be on",
            source,
            f"{unstopped} never run; what waits for one of them (systemctl daemon-reload, mounting) can hang "
            "until the program ends",
            "--policy other on this CPU, or run stalld, or Linux 6.12 or later with the fair server on",
        )
    why = f"{unstopped} never run; RCU then waits for that CPU, and within minutes the whole machine hangs"
    fix = (
        f"put CPU {cpulist.show(exposed)} into isolated, nohz_full and rcu_nocbs (cpu_isolation) and reboot; "
        "or --policy other, which on an isolated CPU has no rival either"
    )
    found = f"CPU {cpulist.show(exposed)} is not isolated and nohz_full"
    if (modern and 0 not in servers) or "unreadable" in (facts.isolated.state, facts.nohz_full.state):
        return _finding("starvation", "unknown", wanted, f"{found}, as far as can be read", source, why, fix)
    return _finding("starvation", "fail", wanted, found, source, why, fix)


def _rt_group(plan: Plan, facts: Facts) -> Finding:
    wanted = "real-time scheduling allowed to this process"
    if not plan.realtime:
        return _finding("rt_group", "na", wanted, f"policy {plan.policy}", "")
    group, privileged = facts.rt_group, _may_schedule(plan, facts)
    if facts.trial.policy_errno and group.value == 0 and facts.rt_runtime.value != -1:
        return _finding(
            "rt_group",
            "fail",
            wanted,
            "cpu.rt_runtime_us is 0",
            group.source,
            "with RT_GROUP_SCHED a cgroup without real-time budget gets EPERM, root too",
            f"echo 950000 > {group.source}, or sysctl -w kernel.sched_rt_runtime_us=-1, or boot with rt_group_sched=0",
        )
    if facts.trial.policy_errno and privileged:
        code = errno.errorcode.get(facts.trial.policy_errno, str(facts.trial.policy_errno))
        return _finding(
            "rt_group",
            "fail",
            wanted,
            f"{code} in spite of the privilege",
            "sched_setscheduler(2)",
            "the kernel refused a trial: seccomp (RestrictRealtime=yes, a container), a user namespace, "
            "or RT_GROUP_SCHED under cgroup v2",
            "remove RestrictRealtime=yes and PrivateUsers=yes from the unit; boot with rt_group_sched=0",
        )
    return _finding("rt_group", "pass", wanted, "not refused by cgroup or seccomp", group.source)


def _has(facts: Facts, name: str) -> bool:
    return bool((facts.capabilities.value or 0) >> _CAPABILITIES[name] & 1)


def _may_schedule(plan: Plan, facts: Facts) -> bool:
    if _has(facts, "CAP_SYS_NICE"):
        return True
    soft_priority, soft_nice = _limits(plan, facts, "rtprio")[0], _limits(plan, facts, "nice")[0]
    priority_ok = soft_priority == UNLIMITED or plan.priority <= soft_priority
    nice_ok = plan.nice >= 0 or soft_nice == UNLIMITED or 20 - plan.nice <= soft_nice
    return priority_ok and nice_ok


def _limits(plan: Plan, facts: Facts, name: str) -> tuple[int, int]:
    """The limits that this process will have: wanted ones, as far as it may set them, else its own."""
    wanted = {**plan.default_rlimits, **plan.rlimits}.get(name)
    return wanted if wanted is not None and _may_set(facts, name, wanted[1]) else facts.rlimits[name]


def _may_set(facts: Facts, name: str, hard: int) -> bool:
    now = facts.rlimits[name][1]
    return _has(facts, "CAP_SYS_RESOURCE") or now == UNLIMITED or (hard != UNLIMITED and hard <= now)


def _scheduling_privilege(plan: Plan, facts: Facts) -> Finding:
    wanted = f"policy {plan.policy}, priority {plan.priority}, nice {plan.nice}"
    source = "/proc/self/status CapEff, /proc/self/limits"
    if _may_schedule(plan, facts):
        return _finding("privilege.scheduling", "pass", wanted, "allowed", source)
    found = f"no CAP_SYS_NICE, RLIMIT_RTPRIO {facts.rlimits['rtprio'][0]}, RLIMIT_NICE {facts.rlimits['nice'][0]}"
    return _finding(
        "privilege.scheduling",
        "fail",
        wanted,
        found,
        source,
        "sched_setscheduler or setpriority would fail with EPERM",
        f"run as root with CAP_SYS_NICE, or give this user rtprio {max(plan.priority, 1)} and "
        f"nice {min(plan.nice, 0)} (rt_limits; LimitRTPRIO= and LimitNICE= of the unit)",
    )


def memory_limit(plan: Plan, facts: Facts) -> tuple[int, int] | None:
    """RLIMIT_MEMLOCK to set for the program; None to leave it, which it is for root (CAP_IPC_LOCK)."""
    named = plan.rlimits.get("memlock")
    if named is not None or not plan.lock_memory or not _loses_ipc_lock(plan, facts):
        return named
    return (UNLIMITED, UNLIMITED)


def _loses_ipc_lock(plan: Plan, facts: Facts) -> bool:
    """execve keeps capabilities only for uid 0 (capabilities(7))."""
    return (plan.user.uid if plan.user else facts.uid) != 0 or not _has(facts, "CAP_IPC_LOCK")


def _memory_privilege(plan: Plan, facts: Facts) -> Finding:
    wanted, source = "memory may be locked", "/proc/self/limits"
    if not plan.lock_memory:
        return _finding("privilege.memory_lock", "na", wanted, "--no-mlock", source)
    limit = memory_limit(plan, facts)
    if limit is None:
        return _finding("privilege.memory_lock", "pass", wanted, "CAP_IPC_LOCK", "/proc/self/status CapEff")
    why = "mlockall would fail with ENOMEM or EPERM, and unlocked pages fault when the market moves"
    fix = (
        "give the user memlock unlimited (rt_limits; LimitMEMLOCK=infinity in a unit), start as root with "
        "CAP_SYS_RESOURCE, or say what suffices with --rlimit memlock=BYTES"
    )
    if limit[0] == 0 or not _may_set(facts, "memlock", limit[1]):
        soft, hard = facts.rlimits["memlock"]
        found = f"RLIMIT_MEMLOCK {show_amount(soft)}:{show_amount(hard)}, no CAP_SYS_RESOURCE to raise it"
        return _finding(
            "privilege.memory_lock",
            "fail",
            wanted,
            found if limit[0] else "--rlimit memlock=0",
            source,
            why,
            fix,
        )
    return _finding("privilege.memory_lock", "pass", wanted, f"RLIMIT_MEMLOCK {show_amount(limit[0])}", source)


def _user_privilege(plan: Plan, facts: Facts) -> Finding:
    source = "/proc/self/status CapEff"
    if plan.user is None:
        return _finding("privilege.user", "na", "no --user", "stays who it is", source)
    wanted = f"become {plan.user.name}"
    missing = [name for name in ("CAP_SETUID", "CAP_SETGID") if not _has(facts, name)]
    if missing and plan.user.uid != facts.uid:
        return _finding(
            "privilege.user",
            "fail",
            wanted,
            f"no {' and no '.join(missing)}",
            source,
            "setresuid or setgroups would fail with EPERM",
            f"start as root; add {' '.join(missing)} to CapabilityBoundingSet= of the unit",
        )
    return _finding("privilege.user", "pass", wanted, "allowed", source)


def _rlimit_privileges(plan: Plan, facts: Facts) -> list[Finding]:
    findings = []
    for name, (soft, hard) in {**plan.default_rlimits, **plan.rlimits}.items():
        now_soft, now_hard = facts.rlimits[name]
        allowed = _may_set(facts, name, hard)
        findings.append(
            _finding(
                f"privilege.rlimit.{name}",
                "pass" if allowed else "fail",
                f"{show_amount(soft)}:{show_amount(hard)}",
                f"{show_amount(now_soft)}:{show_amount(now_hard)}",
                "/proc/self/limits",
                "raising a hard limit needs CAP_SYS_RESOURCE",
                f"add CAP_SYS_RESOURCE, or set Limit{name.upper()}= in the unit",
            )
        )
    return findings


def _run_directory(plan: Plan, facts: Facts) -> Finding:
    directory = plan.run_directory
    return _finding(
        "run_directory",
        "pass" if facts.run_directory == "ok" else "fail",
        f"{directory} is writable",
        facts.run_directory,
        directory,
        "no CPU can be leased and no record written for attest",
        "run as root, RuntimeDirectory=hosttune in a unit, or --run-dir with a directory of yours",
    )


def _dma_latency(facts: Facts) -> Finding:
    return _finding(
        "cpu_dma_latency",
        "pass" if facts.dma_latency == "ok" else "warn",
        "held at 0",
        facts.dma_latency,
        DMA_LATENCY,
        "nothing keeps the CPUs out of deep idle states",
        "run as root on a kernel with the device; PrivateDevices=yes hides it",
    )
