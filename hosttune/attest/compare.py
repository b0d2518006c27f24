"""The launch record and the process that was read → findings. Pure."""

from __future__ import annotations

from typing import Any

from hosttune.attest.read import Process
from hosttune.findings import Finding, Status
from hosttune.hops import build_single_finding
from hosttune.host import cpulist
from hosttune.launch import DMA_LATENCY
from hosttune.launch.record import Record

_SHOWN = 5


def compare(promised: Record, process: Process) -> list[Finding]:
    """Returns one finding per promise. Pure."""
    policy, priority = promised.policy, promised.priority
    wanted_cpus = cpulist.parse(promised.cpus)
    own = range(3)  # real, effective, saved
    findings = [
        _check_threads(
            process,
            "policy",
            f"{policy} {priority}",
            "/proc/PID/task/*/stat",
            lambda thread: (thread.policy, thread.priority) == (policy, priority),
            lambda thread: f"{thread.policy} {thread.priority}",
        ),
        _check_threads(
            process,
            "cpus",
            promised.cpus,
            "/proc/PID/task/*/status",
            lambda thread: bool(thread.cpus) and thread.cpus <= wanted_cpus,
            lambda thread: cpulist.show(thread.cpus),
        ),
        _check_threads(
            process,
            "nice",
            promised.nice,
            "/proc/PID/task/*/stat",
            lambda thread: thread.nice == promised.nice,
            lambda thread: str(thread.nice),
        ),
        _make_finding(
            "user",
            all(process.uids[n] == promised.uid and process.gids[n] == promised.gid for n in own)
            and set(process.groups) == set(promised.groups),
            {"uid": promised.uid, "gid": promised.gid, "groups": promised.groups},
            {"uid": process.uids, "gid": process.gids, "groups": process.groups},
            "/proc/PID/status",
        ),
        _make_finding(
            "capabilities",
            True if promised.uid == 0 else process.capabilities == 0,
            "those of root" if promised.uid == 0 else "none",
            f"{process.capabilities:016x}",
            "/proc/PID/status",
        ),
        _check_memory(promised, process),
    ]
    for name, limit in promised.rlimits.items():
        findings.append(
            _make_finding(
                f"rlimit.{name}",
                process.rlimits[name] == tuple(limit),
                limit,
                process.rlimits[name],
                "/proc/PID/limits",
            )
        )
    findings += [_check_timer_slack(promised, process), _check_dma_latency(promised, process)]
    for path in promised.leases:
        findings.append(_check_descriptor("lease", path, process))
    return findings


def check_exec(promised: Record, runs: bool, wait: float) -> Finding:
    """Judge whether the program runs, `wait` seconds after it was first looked for."""
    waited = "its memory was not locked by the preload library" if promised.memory_locked else "exec has not happened"
    return _make_finding(
        "exec",
        runs,
        "the program runs",
        "it does" if runs else f"after {wait:g} s {waited}",
        "launch record lock",
        "the program did not get to its main, or its loader ignored LD_PRELOAD",
        "start a dynamically linked program of this host's C library, or use --no-mlock",
    )


def _make_finding(
    name: str, holds: bool | None, wanted: Any, found: Any, source: str, why: str = "", fix: str = ""
) -> Finding:
    """`holds` is None if it could not be read."""
    status: Status = "unknown" if holds is None else "pass" if holds else "fail"
    return build_single_finding(
        f"attest.{name}",
        status,
        wanted,
        found,
        source,
        why=why or "the program does not run as it was launched",
        fix=fix or "look for what changes it: the program itself, or another tool; then launch it again",
        hop="effective",
    )


def _make_not_applicable(name: str, wanted: Any, found: Any) -> Finding:
    return build_single_finding(f"attest.{name}", "na", wanted, found, "", hop="effective")


def _check_threads(process: Process, name: str, wanted: Any, source: str, holds: Any, show: Any) -> Finding:
    bad = [thread for thread in process.threads if not holds(thread)]
    if not bad:
        return _make_finding(name, True, wanted, f"{wanted} in all threads ({len(process.threads)})", source)
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    found = ", ".join(f"{show(thread)} in {thread.name} ({thread.tid})" for thread in bad[:_SHOWN]) + more
    return _make_finding(name, False, wanted, found, source)


def _check_memory(promised: Record, process: Process) -> Finding:
    fact, wanted = process.memory, "every resident mapping locked"
    if not promised.memory_locked:
        return _make_not_applicable("memory_lock", wanted, "launched with --no-mlock")
    if fact.value is None:
        return _make_finding(
            "memory_lock",
            None,
            wanted,
            fact.reason,
            "/proc/PID/smaps",
            "locked memory could not be read",
            "run attest as root with CAP_SYS_PTRACE",
        )
    memory = fact.value
    found = f"VmLck {memory.locked} kB, VmRSS {memory.resident} kB"
    if memory.unlocked:
        found += f"; not locked: {', '.join(memory.unlocked[:_SHOWN])}"
    return _make_finding(
        "memory_lock",
        memory.locked > 0 and not memory.unlocked,
        wanted,
        found,
        "/proc/PID/smaps",
        "unlocked pages can fault, which takes from microseconds to milliseconds",
        "the program executed another one or called munlock; start that program itself",
    )


def _check_timer_slack(promised: Record, process: Process) -> Finding:
    """Real-time threads have no slack; the kernel shows 0 for them from 6.12 on, what was set before."""
    fact, wanted = process.timer_slack, promised.timer_slack_ns
    if fact.value is None:
        return _make_finding(
            "timer_slack",
            None,
            wanted,
            fact.reason,
            "/proc/PID/timerslack_ns",
            "the timer slack could not be read",
            "run attest as root with CAP_SYS_NICE and CAP_SYS_PTRACE",
        )
    return _make_finding("timer_slack", 0 <= fact.value <= wanted, wanted, fact.value, "/proc/PID/timerslack_ns")


def _check_dma_latency(promised: Record, process: Process) -> Finding:
    if not promised.cpu_dma_latency:
        return _make_not_applicable("cpu_dma_latency", "held at 0", "the device was not there at launch")
    return _check_descriptor("cpu_dma_latency", DMA_LATENCY, process)


def _check_descriptor(name: str, path: str, process: Process) -> Finding:
    if process.descriptors.value is None:
        return _make_finding(
            name,
            None,
            path,
            process.descriptors.reason,
            "/proc/PID/fd",
            "open files could not be read",
            "run attest as root with CAP_SYS_PTRACE",
        )
    held = path in process.descriptors.value
    return _make_finding(
        name,
        held,
        f"{path} open",
        "open" if held else "closed",
        "/proc/PID/fd",
        "it lasts only while the program keeps it open",
        "the program closes descriptors that it did not open; let it keep them",
    )
