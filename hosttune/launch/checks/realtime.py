"""What a real-time thread that busy-polls meets on this kernel: throttling, the fair server, or threads that starve."""

from __future__ import annotations

import errno

from hosttune.findings import Finding
from hosttune.host import cpulist, fair_server
from hosttune.host.sched import RT_RUNTIME
from hosttune.launch.checks._finding import make_finding
from hosttune.launch.checks.privileges import may_schedule
from hosttune.launch.facts import Facts
from hosttune.launch.plan import Plan
from hosttune.output import quote_word

_SHOWN = 5


def check_rt_throttling(plan: Plan, facts: Facts) -> Finding:
    """Judge whether real-time throttling would stop a thread that busy-polls (sched(7), `sched_rt_runtime_us`)."""
    fact, wanted = facts.rt_runtime, -1
    if not (plan.realtime and plan.busy_poll):
        return make_finding("rt_throttling", "na", wanted, fact.value, RT_RUNTIME)
    why = (
        f"a {plan.policy.upper()} thread that busy-polls is stopped for the rest of each period "
        "(50 ms of every second by default), even if the CPU then idles"
    )
    fix = (
        "sysctl -w kernel.sched_rt_runtime_us=-1\n"
        "for the next boot too: the role rt_limits; or --policy other on an isolated CPU, or --no-busy-poll if the "
        "program blocks when idle"
    )
    if fact.value is None:
        return make_finding("rt_throttling", "unknown", wanted, fact.reason, RT_RUNTIME, why, fix)
    return make_finding(
        "rt_throttling", "pass" if fact.value == -1 else "fail", wanted, fact.value, RT_RUNTIME, why, fix
    )


def check_fair_server(plan: Plan, facts: Facts) -> Finding:
    """Judge whether ordinary threads would be given the CPU of a real-time thread that busy-polls (Linux 6.12)."""
    wanted = "fair server off, or no ordinary task on these CPUs"
    source = fair_server.DIRECTORY
    if not (plan.realtime and plan.busy_poll):
        return make_finding("fair_server", "na", wanted, f"policy {plan.policy}", source)
    if facts.kernel.value is not None and facts.kernel.value < fair_server.SINCE:
        return make_finding("fair_server", "na", wanted, "kernel before 6.12", facts.kernel.source)
    # Absent on a kernel that old, and on one without debugfs: only the version tells which.
    unread = [fact for fact in facts.fair_server.values() if fact.value is None]
    if not unread and not any(fact.value for fact in facts.fair_server.values()):
        return make_finding("fair_server", "pass", wanted, "off (runtime 0)", source)
    cpus = cpulist.show(frozenset(facts.fair_server))
    why = (
        f"the fair server stops a {plan.policy.upper()} thread that busy-polls for up to 50 ms of every "
        "second while an ordinary task waits for its CPU; kernel.sched_rt_runtime_us does not change that"
    )
    numbers = " ".join(map(str, sorted(facts.fair_server)))
    fix = (
        f"for cpu in {numbers}; do echo 0 > {source}/cpu$cpu/runtime; done\n"
        f"or isolate CPU {cpus} (cpu_isolation) and keep every ordinary thread off it, or --policy other on it"
    )
    ordinary = facts.ordinary.value
    if ordinary is None:
        return make_finding("fair_server", "unknown", wanted, facts.ordinary.reason, facts.ordinary.source, why, fix)
    if not ordinary:
        return make_finding("fair_server", "pass", wanted, "no ordinary thread is allowed there", facts.ordinary.source)
    more = f" and {len(ordinary) - _SHOWN} more" if len(ordinary) > _SHOWN else ""
    threads = f"threads allowed on CPU {cpus}: {', '.join(ordinary[:_SHOWN])}{more}"
    if any(fact.value for fact in facts.fair_server.values()):
        return make_finding("fair_server", "fail", wanted, f"on; {threads}", source, why, fix)
    return make_finding(
        "fair_server",
        "unknown",
        wanted,
        f"{source}: {unread[0].reason}; {threads}",
        source,
        why,
        f"mount -t debugfs none /sys/kernel/debug\n{fix}",
    )


def check_starvation(plan: Plan, facts: Facts) -> Finding:
    """Judge whether the kernel's own threads could still run on a CPU that a real-time thread never leaves."""
    wanted = "kernel threads bound to these CPUs can run"
    source = "/sys/devices/system/cpu/{isolated,nohz_full}"
    if not (plan.realtime and plan.busy_poll):
        return make_finding("starvation", "na", wanted, f"policy {plan.policy}", source)
    if facts.rt_runtime.value is not None and facts.rt_runtime.value != -1:
        return make_finding("starvation", "na", wanted, "throttling leaves them the rest of each period", RT_RUNTIME)
    cpus = frozenset(facts.fair_server)
    modern = facts.kernel.value is not None and facts.kernel.value >= fair_server.SINCE
    servers = [facts.fair_server[cpu].value for cpu in sorted(cpus)]
    if modern and all(servers):
        return make_finding("starvation", "pass", wanted, "the fair server lets them run", fair_server.DIRECTORY)
    exposed = cpus - ((facts.isolated.value or frozenset()) & (facts.nohz_full.value or frozenset()))
    unstopped = f"nothing stops a {plan.policy.upper()} thread that busy-polls, so kernel threads bound to its CPU"
    if not exposed:
        return make_finding(
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
        return make_finding("starvation", "unknown", wanted, f"{found}, as far as can be read", source, why, fix)
    return make_finding("starvation", "fail", wanted, found, source, why, fix)


def check_rt_group(plan: Plan, facts: Facts) -> Finding:
    """Judge whether the kernel takes the policy, as far as cgroups, seccomp and user namespaces have a say."""
    wanted = "real-time scheduling allowed to this process"
    if not plan.realtime:
        return make_finding("rt_group", "na", wanted, f"policy {plan.policy}", "")
    group, privileged = facts.rt_group, may_schedule(plan, facts)
    if facts.trial.policy_errno and group.value == 0 and facts.rt_runtime.value != -1:
        return make_finding(
            "rt_group",
            "fail",
            wanted,
            "cpu.rt_runtime_us is 0",
            group.source,
            "with RT_GROUP_SCHED a cgroup without real-time budget gets EPERM, root too",
            f"echo 950000 > {quote_word(group.source)}\nor boot with rt_group_sched=0",
        )
    if facts.trial.policy_errno and privileged:
        code = errno.errorcode.get(facts.trial.policy_errno, str(facts.trial.policy_errno))
        return make_finding(
            "rt_group",
            "fail",
            wanted,
            f"{code} in spite of the privilege",
            "sched_setscheduler(2)",
            "the kernel refused a trial: seccomp (RestrictRealtime=yes, a container), a user namespace, "
            "or RT_GROUP_SCHED under cgroup v2",
            "remove RestrictRealtime=yes and PrivateUsers=yes from the unit; boot with rt_group_sched=0",
        )
    return make_finding("rt_group", "pass", wanted, "not refused by cgroup or seccomp", group.source)
