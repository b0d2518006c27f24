"""Whether this process may do what the plan asks of it: capabilities(7) and resource limits (setrlimit(2))."""

from __future__ import annotations

from hosttune.findings import Finding
from hosttune.launch.checks._finding import make_finding
from hosttune.launch.facts import Facts
from hosttune.launch.plan import UNLIMITED, Plan, show_amount

# linux/capability.h
_CAPABILITIES = {
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_IPC_LOCK": 14,
    "CAP_SYS_NICE": 23,
    "CAP_SYS_RESOURCE": 24,
}


def choose_memory_limit(plan: Plan, facts: Facts) -> tuple[int, int] | None:
    """Returns RLIMIT_MEMLOCK to set for the program; None to leave it, which it is for root (CAP_IPC_LOCK)."""
    named = plan.rlimits.get("memlock")
    if named is not None or not plan.lock_memory or not _loses_ipc_lock(plan, facts):
        return named
    return (UNLIMITED, UNLIMITED)


def may_schedule(plan: Plan, facts: Facts) -> bool:
    """Returns whether policy, priority and nice value are allowed: by CAP_SYS_NICE, or by the resource limits."""
    if _has_capability(facts, "CAP_SYS_NICE"):
        return True
    soft_priority, soft_nice = _find_limits(plan, facts, "rtprio")[0], _find_limits(plan, facts, "nice")[0]
    priority_ok = soft_priority == UNLIMITED or plan.priority <= soft_priority
    nice_ok = plan.nice >= 0 or soft_nice == UNLIMITED or 20 - plan.nice <= soft_nice
    return priority_ok and nice_ok


def check_scheduling_privilege(plan: Plan, facts: Facts) -> Finding:
    """Judge whether policy, priority and nice value are allowed to this process."""
    wanted = f"policy {plan.policy}, priority {plan.priority}, nice {plan.nice}"
    source = "/proc/self/status CapEff, /proc/self/limits"
    if may_schedule(plan, facts):
        return make_finding("privilege.scheduling", "pass", wanted, "allowed", source)
    found = f"no CAP_SYS_NICE, RLIMIT_RTPRIO {facts.rlimits['rtprio'][0]}, RLIMIT_NICE {facts.rlimits['nice'][0]}"
    return make_finding(
        "privilege.scheduling",
        "fail",
        wanted,
        found,
        source,
        "sched_setscheduler or setpriority would fail with EPERM",
        f"run as root with CAP_SYS_NICE, or give this user rtprio {max(plan.priority, 1)} and "
        f"nice {min(plan.nice, 0)} (rt_limits; LimitRTPRIO= and LimitNICE= of the unit)",
    )


def check_memory_privilege(plan: Plan, facts: Facts) -> Finding:
    """Judge whether the program may lock its memory: as root with CAP_IPC_LOCK, or within RLIMIT_MEMLOCK."""
    wanted, source = "memory may be locked", "/proc/self/limits"
    if not plan.lock_memory:
        return make_finding("privilege.memory_lock", "na", wanted, "--no-mlock", source)
    limit = choose_memory_limit(plan, facts)
    if limit is None:
        return make_finding("privilege.memory_lock", "pass", wanted, "CAP_IPC_LOCK", "/proc/self/status CapEff")
    why = "mlockall would fail with ENOMEM or EPERM, and unlocked pages fault when the market moves"
    fix = (
        "give the user memlock unlimited (rt_limits; LimitMEMLOCK=infinity in a unit), start as root with "
        "CAP_SYS_RESOURCE, or say what suffices with --rlimit memlock=BYTES"
    )
    if limit[0] == 0 or not _may_set(facts, "memlock", limit[1]):
        soft, hard = facts.rlimits["memlock"]
        found = f"RLIMIT_MEMLOCK {show_amount(soft)}:{show_amount(hard)}, no CAP_SYS_RESOURCE to raise it"
        return make_finding(
            "privilege.memory_lock",
            "fail",
            wanted,
            found if limit[0] else "--rlimit memlock=0",
            source,
            why,
            fix,
        )
    return make_finding("privilege.memory_lock", "pass", wanted, f"RLIMIT_MEMLOCK {show_amount(limit[0])}", source)


def check_user_privilege(plan: Plan, facts: Facts) -> Finding:
    """Judge whether this process may become the user that is named."""
    source = "/proc/self/status CapEff"
    if plan.user is None:
        return make_finding("privilege.user", "na", "no --user", "stays who it is", source)
    wanted = f"become {plan.user.name}"
    missing = [name for name in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP") if not _has_capability(facts, name)]
    if missing:
        return make_finding(
            "privilege.user",
            "fail",
            wanted,
            f"no {' and no '.join(missing)}",
            source,
            "changing the user, its groups or the capabilities that a program may ever have would fail with EPERM",
            f"start as root; add {' '.join(missing)} to CapabilityBoundingSet= of the unit; "
            "leave --user out to stay who you are",
        )
    return make_finding("privilege.user", "pass", wanted, "allowed", source)


def check_rlimit_privileges(plan: Plan, facts: Facts) -> list[Finding]:
    """Returns one finding for each resource limit that is to be set."""
    findings = []
    for name, (soft, hard) in {**plan.default_rlimits, **plan.rlimits}.items():
        now_soft, now_hard = facts.rlimits[name]
        allowed = _may_set(facts, name, hard)
        wanted = f"{show_amount(soft)}:{show_amount(hard)}"
        if name == "nofile" and facts.nr_open.value is not None and not 0 <= hard <= facts.nr_open.value:
            findings.append(_refuse_open_files(wanted, hard, facts.nr_open.value))
            continue
        findings.append(
            make_finding(
                f"privilege.rlimit.{name}",
                "pass" if allowed else "fail",
                wanted,
                f"{show_amount(now_soft)}:{show_amount(now_hard)}",
                "/proc/self/limits",
                "raising a hard limit needs CAP_SYS_RESOURCE",
                f"add CAP_SYS_RESOURCE, or set Limit{name.upper()}= in the unit",
            )
        )
    return findings


def _refuse_open_files(wanted: str, hard: int, nr_open: int) -> Finding:
    return make_finding(
        "privilege.rlimit.nofile",
        "fail",
        wanted,
        f"fs.nr_open is {nr_open}",
        "/proc/sys/fs/nr_open",
        "the kernel gives no process more, root neither (setrlimit(2))",
        f"ask for at most {nr_open}"
        if hard == UNLIMITED
        else f"sysctl -w fs.nr_open={hard}\nor ask for at most {nr_open}",
    )


def _has_capability(facts: Facts, name: str) -> bool:
    return bool((facts.capabilities.value or 0) >> _CAPABILITIES[name] & 1)


def _find_limits(plan: Plan, facts: Facts, name: str) -> tuple[int, int]:
    """Returns the limits that this process will have: wanted ones, as far as it may set them, else its own."""
    wanted = {**plan.default_rlimits, **plan.rlimits}.get(name)
    return wanted if wanted is not None and _may_set(facts, name, wanted[1]) else facts.rlimits[name]


def _may_set(facts: Facts, name: str, hard: int) -> bool:
    now = facts.rlimits[name][1]
    return _has_capability(facts, "CAP_SYS_RESOURCE") or now == UNLIMITED or (hard != UNLIMITED and hard <= now)


def _loses_ipc_lock(plan: Plan, facts: Facts) -> bool:
    """A user that is named has no capability; else execve keeps them only for uid 0 (capabilities(7))."""
    return plan.user is not None or facts.uid != 0 or not _has_capability(facts, "CAP_IPC_LOCK")
