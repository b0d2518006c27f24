"""The launch record and the process that was read → findings. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from hosttune.attest.children import Child
from hosttune.attest.read import Process
from hosttune.findings import Finding, Status
from hosttune.hops import build_single_finding
from hosttune.host import cpulist
from hosttune.host.root import Fact
from hosttune.launch import DMA_LATENCY
from hosttune.launch.lease import Holder
from hosttune.launch.record import Record
from hosttune.output import escape

T = TypeVar("T")

_SHOWN = 5
_READ_IT = "run attest as root with CAP_SYS_PTRACE, CAP_SYS_NICE and CAP_DAC_READ_SEARCH"


def compare(
    promised: Record, process: Process, holders: dict[int, Fact[Holder | None]], run_directory: str
) -> list[Finding]:
    """Returns one finding per promise. Pure.

    holders: who has each of the CPUs that the record names as leased.
    """
    policy, priority = promised.policy, promised.priority
    wanted_cpus = cpulist.parse(promised.cpus)
    own = range(3)  # real, effective, saved
    findings = [
        _check_threads(
            process,
            "policy",
            f"{policy} {priority}",
            lambda thread: (thread.policy, thread.priority) == (policy, priority),
            lambda thread: f"{thread.policy} {thread.priority}",
        ),
        _check_threads(
            process,
            "cpus",
            promised.cpus,
            lambda thread: bool(thread.cpus) and thread.cpus <= wanted_cpus,
            lambda thread: cpulist.show(thread.cpus),
        ),
        _check_threads(
            process,
            "nice",
            promised.nice,
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
        _check_capabilities(promised, process),
        _check_fact("no_new_privs", process.no_new_privileges, 1, lambda found: found == 1),
        # Stricter is as good.
        _check_fact(
            "umask",
            process.umask,
            f"{promised.umask:04o}",
            lambda found: found & promised.umask == promised.umask,
            lambda found: f"{found:04o}",
        ),
        _check_terminal(promised, process),
        _check_descriptors(promised, process, run_directory),
        _check_memory(promised, process),
        _check_children(promised, process),
    ]
    for name, limit in promised.rlimits.items():
        found = process.rlimits.get(name)
        holds = None if found is None else found == limit
        findings.append(_make_finding(f"rlimit.{name}", holds, limit, found, "/proc/PID/limits"))
    findings += [_check_timer_slack(promised, process), _check_dma_latency(promised, process)]
    for cpu in promised.leases:
        findings.append(_check_lease(promised, process, cpu, holders[cpu]))
    return findings


def check_exec(promised: Record, runs: Fact[bool], wait: float) -> Finding:
    """Judge whether the program runs, `wait` seconds after it was first looked for."""
    waited = "its memory was not locked by the preload library" if promised.memory_locked else "exec has not happened"
    return _check_fact(
        "exec",
        runs,
        "the program runs",
        lambda runs: runs,
        lambda runs: "it does" if runs else f"after {wait:g} s {waited}",
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


def _check_fact(
    name: str,
    fact: Fact[T],
    wanted: Any,
    good: Callable[[T], bool],
    show: Callable[[T], Any] = lambda value: value,
    why: str = "",
    fix: str = "",
) -> Finding:
    """Judge one fact; what could not be read, or is not there, is unknown."""
    if fact.state != "value":
        return _make_finding(name, None, wanted, fact.reason, fact.source, f"{fact.source} could not be read", _READ_IT)
    value: T = fact.value  # type: ignore[assignment]
    return _make_finding(name, good(value), wanted, show(value), fact.source, why, fix)


def _make_not_applicable(name: str, wanted: Any, found: Any) -> Finding:
    return build_single_finding(f"attest.{name}", "na", wanted, found, "", hop="effective")


def _check_threads(process: Process, name: str, wanted: Any, holds: Any, show: Any) -> Finding:
    def describe(threads: list[Any]) -> str:
        bad = [thread for thread in threads if not holds(thread)]
        if not bad:
            return f"{wanted} in all threads ({len(threads)})"
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        return ", ".join(f"{show(thread)} in {escape(thread.name)} ({thread.tid})" for thread in bad[:_SHOWN]) + more

    return _check_fact(name, process.threads, wanted, lambda threads: all(map(holds, threads)), describe)


def _check_capabilities(promised: Record, process: Process) -> Finding:
    def show(sets: dict[str, int]) -> dict[str, str]:
        return {name: f"{mask:016x}" for name, mask in sets.items()}

    return _check_fact(
        "capabilities",
        process.capabilities,
        {"at most": show(promised.capabilities)},
        lambda sets: not any(mask & ~promised.capabilities.get(name, 0) for name, mask in sets.items()),
        show,
    )


def _check_terminal(promised: Record, process: Process) -> Finding:
    wanted = "no controlling terminal"
    if not promised.changes_user:
        return _make_not_applicable("terminal", wanted, "launched as the user who launched it")
    return _check_fact(
        "terminal",
        process.terminal,
        wanted,
        lambda device: device == 0,
        lambda device: "none" if device == 0 else f"device {device >> 8 & 0xFFF}:{device & 0xFF}",
        "the program can type into it what its user then seems to say",
        "launch it again; the program opened a terminal, or was launched by an older hosttune",
    )


def _check_descriptors(promised: Record, process: Process, run_directory: str) -> Finding:
    """What the program opened itself cannot be told from what it inherited; these two kinds it can have from nobody."""
    wanted = "none to write to leases and records, none of another user's terminal"

    def find_bad(files: list[Any]) -> list[Any]:
        below = f"{run_directory}/"
        return [
            one
            for one in files
            if (one.writable and one.path.startswith(below))
            or (promised.changes_user and one.terminal and one.owner != promised.uid)
        ]

    def show(files: list[Any]) -> str:
        bad = find_bad(files)
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        return ", ".join(f"{one.number}: {escape(one.path)}" for one in bad[:_SHOWN]) + more or "none"

    return _check_fact("descriptors", process.descriptors, wanted, lambda files: not find_bad(files), show)


def _check_memory(promised: Record, process: Process) -> Finding:
    wanted = "every resident mapping locked"
    if not promised.memory_locked:
        return _make_not_applicable("memory_lock", wanted, "launched with --no-mlock")

    def show(memory: Any) -> str:
        found = f"VmLck {memory.locked} kB, VmRSS {memory.resident} kB"
        return f"{found}; not locked: {', '.join(map(escape, memory.unlocked[:_SHOWN]))}" if memory.unlocked else found

    memory = process.memory.value
    if memory is not None and memory.unclear and not memory.unlocked:
        return _make_finding(
            "memory_lock",
            None,
            wanted,
            f"not locked, with flags not known here: {', '.join(map(escape, memory.unclear[:_SHOWN]))}",
            process.memory.source,
            "it cannot be told whether this kernel could lock them",
            "look up these flags in proc_pid_smaps(5), and upgrade hosttune",
        )
    return _check_fact(
        "memory_lock",
        process.memory,
        wanted,
        lambda memory: memory.locked > 0 and not memory.unlocked,
        show,
        "unlocked pages can fault, which takes from microseconds to milliseconds",
        "the program executed another one or called munlock; start that program itself",
    )


def _check_children(promised: Record, process: Process) -> Finding:
    """A helper has its place elsewhere; what may run on the program's CPUs may be what works, and has to be as it is.

    Where no CPU was named, a helper cannot be told from the program that works: then it is said, and no more.
    """
    wanted = "each on other CPUs than the program, or as the program"
    cpus = cpulist.parse(promised.cpus)

    def holds(child: Child) -> bool:
        if promised.leases and all(thread.cpus.isdisjoint(cpus) for thread in child.threads):
            return True
        placed = all(
            (thread.policy, thread.priority) == (promised.policy, promised.priority) and thread.cpus <= cpus
            for thread in child.threads
        )
        return placed and (not promised.memory_locked or (child.locked > 0 and not child.unlocked))

    def show(children: list[Child]) -> str:
        bad = [child for child in children if not holds(child)]
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        return ", ".join(map(_show_child, bad[:_SHOWN])) + more or f"{len(children)}, each in its place"

    finding = _check_fact(
        "children",
        process.children,
        wanted,
        lambda children: all(map(holds, children)),
        show,
        "a process that the launched one started may be the one that works, and is not as launched",
        "start the program itself: in a script write exec before it; put helpers on housekeeping CPUs",
    )
    return finding if promised.leases or finding.status != "fail" else msgspec.structs.replace(finding, status="warn")


def _show_child(child: Child) -> str:
    kinds = dict.fromkeys(
        f"{thread.policy} {thread.priority} on {cpulist.show(thread.cpus)}" for thread in child.threads
    )
    return f"{child.pid} ({escape(child.name)}): {', '.join(kinds)}, {child.locked} kB locked"


def _check_timer_slack(promised: Record, process: Process) -> Finding:
    """Real-time threads have no slack; the kernel shows 0 for them from 6.12 on, what was set before."""
    wanted = promised.timer_slack_ns
    return _check_fact("timer_slack", process.timer_slack, wanted, lambda found: 0 <= found <= wanted)


def _check_dma_latency(promised: Record, process: Process) -> Finding:
    if promised.cpu_dma_latency is None:
        return _make_not_applicable("cpu_dma_latency", "held at 0", "the device was not there at launch")
    return _check_fact(
        "cpu_dma_latency",
        process.latency,
        f"{DMA_LATENCY} open, and the kernel at 0 µs",
        lambda granted: granted == 0,
        lambda granted: "closed" if granted is None else f"open, the kernel at {granted} µs",
        "it lasts only while the program keeps it open, and writes nothing to it",
        "the program closes descriptors that it did not open; let it keep them",
    )


def _check_lease(promised: Record, process: Process, cpu: int, holder: Fact[Holder | None]) -> Finding:
    """By number and start of the process that was read, not by those in the record alone."""
    return _check_fact(
        "lease",
        holder,
        f"CPU {cpu} leased to it",
        lambda has: has is not None and (has.pid, has.starttime) == (promised.pid, process.starttime.value),
        lambda has: "nobody has it" if has is None else str(has),
        "another launch may take the CPU, or has taken it",
        "launch it again; leases were removed, or moved to another directory",
    )
