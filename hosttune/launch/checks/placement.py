"""Whether the CPUs can be had, and the directory in which they are leased."""

from __future__ import annotations

from hosttune.findings import Finding
from hosttune.host import cpu, cpulist
from hosttune.launch import DMA_LATENCY
from hosttune.launch.checks._finding import make_finding
from hosttune.launch.facts import Facts
from hosttune.launch.plan import Plan


def check_cpus(plan: Plan, facts: Facts) -> Finding:
    """Judge whether the CPUs are online, and the cpuset of this process has them all (sched_setaffinity(2))."""
    if plan.cpus is None:
        return make_finding("cpus", "na", "any CPU", cpulist.show(facts.trial.cpus), "sched_getaffinity(2)")
    wanted = cpulist.show(plan.cpus)
    if facts.online.value is None:
        return make_finding(
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
        beyond = missing - (facts.possible.value or missing)
        why = f"CPU {cpulist.show(beyond)} does not exist" if beyond else f"CPU {cpulist.show(missing)} is offline"
        choice = f"choose of the CPUs {cpulist.show(facts.online.value)}"
        return make_finding(
            "cpus",
            "fail",
            wanted,
            f"online: {cpulist.show(facts.online.value)}",
            facts.online.source,
            why if facts.possible.value else f"CPU {cpulist.show(missing)} does not exist or is offline",
            choice if beyond else f"{cpu.write_online(missing)}\nor {choice}",
        )
    if facts.trial.affinity_errno or facts.trial.cpus != plan.cpus:
        return make_finding(
            "cpus",
            "fail",
            wanted,
            cpulist.show(facts.trial.cpus),
            "sched_getaffinity(2)",
            "the cpuset of this process does not have them; the kernel would silently use the rest",
            "widen AllowedCPUs= of the unit, or cpuset.cpus of its cgroup",
        )
    return make_finding("cpus", "pass", wanted, wanted, "sched_getaffinity(2)")


def check_lease(plan: Plan, facts: Facts) -> Finding:
    """Judge whether another launched process has one of the CPUs."""
    if plan.cpus is None:
        return make_finding("lease", "na", "no CPU named", "nothing to lease", "")
    source = f"{plan.run_directory}/lease"
    if facts.holders:
        found = "; ".join(f"CPU {number} is leased to {who}" for number, who in facts.holders.items())
        return make_finding(
            "lease",
            "fail",
            cpulist.show(plan.cpus),
            found,
            source,
            "two processes that poll on one CPU take turns of milliseconds",
            "stop the other process, or choose other --cpus",
        )
    return make_finding("lease", "pass", cpulist.show(plan.cpus), "free", source)


def check_run_directory(plan: Plan, facts: Facts) -> Finding:
    """Judge whether leases and records can be written."""
    directory = plan.run_directory
    return make_finding(
        "run_directory",
        "pass" if facts.run_directory == "ok" else "fail",
        f"{directory} is writable, and for nobody but root and this user",
        facts.run_directory,
        directory,
        "no CPU can be leased and no record written that attest may believe",
        "run as root, RuntimeDirectory=hosttune in a unit, or --run-dir with a directory that only you can write to",
    )


def check_dma_latency(facts: Facts) -> Finding:
    """Judge whether the CPUs can be kept out of deep idle states (`Documentation/power/pm_qos_interface.rst`)."""
    return make_finding(
        "cpu_dma_latency",
        "pass" if facts.dma_latency == "ok" else "warn",
        "held at 0",
        facts.dma_latency,
        DMA_LATENCY,
        "nothing keeps the CPUs out of deep idle states",
        "run as root on a kernel with the device; PrivateDevices=yes hides it",
    )
