"""Whether the CPUs can be had, and the directory in which they are leased."""

from __future__ import annotations

from hosttune.findings import Finding
from hosttune.host import cpulist
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
        return make_finding(
            "cpus",
            "fail",
            wanted,
            f"online: {cpulist.show(facts.online.value)}",
            facts.online.source,
            f"CPU {cpulist.show(missing)} does not exist or is offline",
            "choose online CPUs, or echo 1 > /sys/devices/system/cpu/cpuN/online",
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
        found = "; ".join(f"CPU {cpu} is leased to {who}" for cpu, who in facts.holders.items())
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
