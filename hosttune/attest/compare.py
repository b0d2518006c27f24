"""Read a launched process back from the kernel and compare it with its launch record.

Facts are read by :func:`read`; :func:`compare` judges them and is pure; :func:`attest` waits for the right
moment. Sources: proc_pid_stat(5), proc_pid_status(5), proc_pid_smaps(5).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import Any

import msgspec

from hosttune.findings import Finding, Hop, Report, Status, summarise
from hosttune.host import cpulist
from hosttune.host.root import Fact, Live, Root
from hosttune.launch import record as records
from hosttune.launch.facts import DMA_LATENCY
from hosttune.launch.record import Record

POLICIES = {0: "other", 1: "fifo", 2: "rr", 3: "batch", 5: "idle", 6: "deadline", 7: "ext"}
_POLL = 0.01
_SHOWN = 5
# mm/mlock.c, mlock_fixup(): VM_SPECIAL (VM_IO, VM_DONTEXPAND, VM_PFNMAP, VM_MIXEDMAP) and hugetlb mappings
# are never marked locked. Their letters in VmFlags:
_NEVER_LOCKED = frozenset({"io", "de", "pf", "mm", "ht"})


class Thread(msgspec.Struct, frozen=True):
    tid: int
    name: str
    policy: str
    priority: int
    nice: int
    cpus: frozenset[int]


class Memory(msgspec.Struct, frozen=True):
    """Kilobytes. `unlocked` names mappings with resident pages that are not locked, with those kilobytes."""

    locked: int
    resident: int
    unlocked: list[str]


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What /proc says about one process. `capabilities` are its effective and permitted sets, or-ed."""

    executable: Fact[str]
    threads: list[Thread]
    uids: list[int]
    gids: list[int]
    groups: list[int]
    capabilities: int
    memory: Fact[Memory]
    rlimits: dict[str, tuple[int, int]]
    timer_slack: Fact[int]
    descriptors: Fact[list[str]]


class Attestation(msgspec.Struct, frozen=True, kw_only=True):
    """The result: `report` as of a check, and every thread as read."""

    record: Record
    executable: str | None
    threads: list[Thread]
    memory: Memory | None
    report: Report


class Gone(Exception):
    """The process is not there (any more)."""


class NotLaunched(Exception):
    """There is no usable launch record of this process."""


def attest(run_directory: str, pid: int, wait: float, after: float = 0.0) -> Attestation:
    """Wait until the program runs (at most `wait` seconds), then `after` seconds more, read and compare.

    Raises :class:`Gone` if the process ends before it has been read, :class:`NotLaunched` if no record of
    it appears in time or the record cannot be read.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        raise Gone(f"there is no process {pid}") from None
    deadline = time.monotonic() + wait
    try:
        promised = _await_record(run_directory, pid, handle, deadline)
        runs = _await_exec(run_directory, pid, handle, deadline)
        if after:
            _sleep(handle, pid, after)
        process = read(Live(), pid)
        # The PID could have been reused while /proc was read; the descriptor cannot.
        _sleep(handle, pid, 0)
    finally:
        os.close(handle)
    findings = [_exec_finding(promised, runs, wait), *compare(promised, process)]
    host = {"hostname": os.uname().nodename, "kernel": os.uname().release, "pid": pid}
    return Attestation(
        record=promised,
        executable=process.executable.value,
        threads=process.threads,
        memory=process.memory.value,
        report=summarise(host, findings),
    )


def stop(handle: int, patience: float = 2.0) -> None:
    """End the process behind a pidfd: SIGTERM, and SIGKILL if it has not ended after `patience` seconds."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], patience)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)


def _await_record(run_directory: str, pid: int, handle: int, deadline: float) -> Record:
    while True:
        try:
            promised = records.load(run_directory, pid)
        except (OSError, ValueError) as error:
            raise NotLaunched(f"the launch record cannot be read: {error}") from error
        if promised is not None:
            return promised
        if time.monotonic() >= deadline:
            raise NotLaunched(f"process {pid} has no launch record in {run_directory}/launch")
        _sleep(handle, pid, _POLL)


def _await_exec(run_directory: str, pid: int, handle: int, deadline: float) -> bool:
    while not records.released(run_directory, pid):
        if time.monotonic() >= deadline:
            return False
        _sleep(handle, pid, _POLL)
    return True


def _sleep(handle: int, pid: int, seconds: float) -> None:
    """Sleep, but notice the end of the process: its pidfd becomes readable."""
    if select.select([handle], [], [], seconds)[0]:
        raise Gone(f"process {pid} ended before it could be read back")


# --- reading ---


def read(root: Root, pid: int) -> Process:
    """Read one process. Raises :class:`Gone` if its files vanish."""
    here = f"/proc/{pid}"
    status = _lines(root, f"{here}/status")
    return Process(
        executable=root.link(f"{here}/exe"),
        threads=_threads(root, here),
        uids=[int(word) for word in status["Uid"].split()],
        gids=[int(word) for word in status["Gid"].split()],
        groups=sorted(int(word) for word in status["Groups"].split()),
        capabilities=int(status["CapEff"], 16) | int(status["CapPrm"], 16) | int(status.get("CapAmb", "0"), 16),
        memory=root.read(f"{here}/smaps").map(
            lambda text: Memory(_kilobytes(status, "VmLck"), _kilobytes(status, "VmRSS"), unlocked(text))
        ),
        rlimits=_rlimits(root, here),
        timer_slack=root.read(f"{here}/timerslack_ns").map(int),
        descriptors=_descriptors(root, here),
    )


def _text(root: Root, path: str) -> str:
    fact = root.read(path)
    if fact.value is None:
        raise Gone(f"{path}: {fact.reason}")
    return fact.value


def _lines(root: Root, path: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in _text(root, path).splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _kilobytes(status: dict[str, str], name: str) -> int:
    return int(status.get(name, "0 kB").split()[0])


def _threads(root: Root, here: str) -> list[Thread]:
    threads = []
    for tid in sorted(int(name) for name in root.list(f"{here}/task").value or []):
        stat = root.read(f"{here}/task/{tid}/stat").value
        status = root.read(f"{here}/task/{tid}/status").value
        if stat is None or status is None:
            continue  # a thread that ended meanwhile
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        allowed = next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list"))
        threads.append(
            Thread(
                tid,
                head.partition("(")[2],
                POLICIES.get(int(fields[38]), fields[38]),
                int(fields[37]),
                int(fields[16]),
                cpulist.parse(allowed),
            )
        )
    if not threads:
        raise Gone(f"{here}/task: no thread can be read")
    return threads


def unlocked(smaps: str) -> list[str]:
    """Mappings of /proc/PID/smaps with resident pages and without the `lo` flag, except unlockable ones."""
    found = []
    name, resident = "", 0
    for line in smaps.splitlines():
        key, _, value = line.partition(":")
        if key == "Rss":
            resident = int(value.split()[0])
        elif key == "VmFlags":
            flags = set(value.split())
            if resident and "lo" not in flags and not flags & _NEVER_LOCKED:
                found.append(f"{name} ({resident} kB)")
        elif "-" in key.split(" ", 1)[0]:
            fields = line.split(None, 5)
            name, resident = fields[5] if len(fields) > 5 else f"anonymous {fields[0]}", 0
    return found


_LIMIT_NAMES = {
    "cpu": "Max cpu time",
    "fsize": "Max file size",
    "data": "Max data size",
    "stack": "Max stack size",
    "core": "Max core file size",
    "rss": "Max resident set",
    "nproc": "Max processes",
    "nofile": "Max open files",
    "memlock": "Max locked memory",
    "as": "Max address space",
    "sigpending": "Max pending signals",
    "msgqueue": "Max msgqueue size",
    "nice": "Max nice priority",
    "rtprio": "Max realtime priority",
    "rttime": "Max realtime timeout",
}


def _rlimits(root: Root, here: str) -> dict[str, tuple[int, int]]:
    text = _text(root, f"{here}/limits")
    limits = {}
    for name, title in _LIMIT_NAMES.items():
        for line in text.splitlines():
            if line.startswith(title):
                soft, hard = (-1 if word == "unlimited" else int(word) for word in line[len(title) :].split()[:2])
                limits[name] = (soft, hard)
    return limits


def _descriptors(root: Root, here: str) -> Fact[list[str]]:
    names = root.list(f"{here}/fd")
    if names.value is None:
        return names
    return Fact("value", [root.link(f"{here}/fd/{name}").value or "" for name in names.value], f"{here}/fd")


# --- judging ---


def compare(promised: Record, process: Process) -> list[Finding]:
    """One finding per promise. Pure."""
    policy, priority = promised.policy, promised.priority
    wanted_cpus = cpulist.parse(promised.cpus)
    own = range(3)  # real, effective, saved
    findings = [
        _each(
            process,
            "policy",
            f"{policy} {priority}",
            "/proc/PID/task/*/stat",
            lambda thread: (thread.policy, thread.priority) == (policy, priority),
            lambda thread: f"{thread.policy} {thread.priority}",
        ),
        _each(
            process,
            "cpus",
            promised.cpus,
            "/proc/PID/task/*/status",
            lambda thread: bool(thread.cpus) and thread.cpus <= wanted_cpus,
            lambda thread: cpulist.show(thread.cpus),
        ),
        _each(
            process,
            "nice",
            promised.nice,
            "/proc/PID/task/*/stat",
            lambda thread: thread.nice == promised.nice,
            lambda thread: str(thread.nice),
        ),
        _finding(
            "user",
            all(process.uids[n] == promised.uid and process.gids[n] == promised.gid for n in own)
            and set(process.groups) == set(promised.groups),
            {"uid": promised.uid, "gid": promised.gid, "groups": promised.groups},
            {"uid": process.uids, "gid": process.gids, "groups": process.groups},
            "/proc/PID/status",
        ),
        _finding(
            "capabilities",
            True if promised.uid == 0 else process.capabilities == 0,
            "those of root" if promised.uid == 0 else "none",
            f"{process.capabilities:016x}",
            "/proc/PID/status",
        ),
        _memory(promised, process),
    ]
    for name, limit in promised.rlimits.items():
        findings.append(
            _finding(
                f"rlimit.{name}",
                process.rlimits[name] == tuple(limit),
                limit,
                process.rlimits[name],
                "/proc/PID/limits",
            )
        )
    findings += [_timer_slack(promised, process), _descriptor(promised, process)]
    for path in promised.leases:
        findings.append(_holds("lease", path, process))
    return findings


def _finding(
    name: str, holds: bool | None, wanted: Any, found: Any, source: str, why: str = "", fix: str = ""
) -> Finding:
    status: Status = "unknown" if holds is None else "pass" if holds else "fail"
    state: Any = {"unknown": "unknown", "pass": "ok", "fail": "bad"}[status]
    return Finding(
        id=f"attest.{name}",
        status=status,
        wanted=wanted,
        found=found,
        hops={"effective": Hop(state, found, source)},
        why="" if holds else why or "the program does not run as it was launched",
        fix=""
        if holds
        else fix or "look for what changes it: the program itself, or another tool; then launch it again",
    )


def _not_applicable(name: str, wanted: Any, found: Any) -> Finding:
    return Finding(id=f"attest.{name}", status="na", wanted=wanted, found=found, hops={"effective": Hop("na", found)})


def _each(process: Process, name: str, wanted: Any, source: str, holds: Any, show: Any) -> Finding:
    bad = [thread for thread in process.threads if not holds(thread)]
    if not bad:
        return _finding(name, True, wanted, f"{wanted} in all threads ({len(process.threads)})", source)
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    found = ", ".join(f"{show(thread)} in {thread.name} ({thread.tid})" for thread in bad[:_SHOWN]) + more
    return _finding(name, False, wanted, found, source)


def _memory(promised: Record, process: Process) -> Finding:
    fact, wanted = process.memory, "every resident mapping locked"
    if not promised.memory_locked:
        return _not_applicable("memory_lock", wanted, "launched with --no-mlock")
    if fact.value is None:
        return _finding(
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
    return _finding(
        "memory_lock",
        memory.locked > 0 and not memory.unlocked,
        wanted,
        found,
        "/proc/PID/smaps",
        "unlocked pages can fault, which takes from microseconds to milliseconds",
        "the program executed another one or called munlock; start that program itself",
    )


def _timer_slack(promised: Record, process: Process) -> Finding:
    """Real-time threads have no slack; the kernel shows 0 for them from 6.12 on, what was set before."""
    fact, wanted = process.timer_slack, promised.timer_slack_ns
    if fact.value is None:
        return _finding(
            "timer_slack",
            None,
            wanted,
            fact.reason,
            "/proc/PID/timerslack_ns",
            "the timer slack could not be read",
            "run attest as root with CAP_SYS_NICE and CAP_SYS_PTRACE",
        )
    return _finding("timer_slack", 0 <= fact.value <= wanted, wanted, fact.value, "/proc/PID/timerslack_ns")


def _descriptor(promised: Record, process: Process) -> Finding:
    if not promised.cpu_dma_latency:
        return _not_applicable("cpu_dma_latency", "held at 0", "the device was not there at launch")
    return _holds("cpu_dma_latency", DMA_LATENCY, process)


def _holds(name: str, path: str, process: Process) -> Finding:
    if process.descriptors.value is None:
        return _finding(
            name,
            None,
            path,
            process.descriptors.reason,
            "/proc/PID/fd",
            "open files could not be read",
            "run attest as root with CAP_SYS_PTRACE",
        )
    held = path in process.descriptors.value
    return _finding(
        name,
        held,
        f"{path} open",
        "open" if held else "closed",
        "/proc/PID/fd",
        "it lasts only while the program keeps it open",
        "the program closes descriptors that it did not open; let it keep them",
    )


def _exec_finding(promised: Record, runs: bool, wait: float) -> Finding:
    waited = "its memory was not locked by the preload library" if promised.memory_locked else "exec has not happened"
    return _finding(
        "exec",
        runs,
        "the program runs",
        "it does" if runs else f"after {wait:g} s {waited}",
        "launch record lock",
        "the program did not get to its main, or its loader ignored LD_PRELOAD",
        "start a dynamically linked program of this host's C library, or use --no-mlock",
    )
