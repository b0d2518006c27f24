"""What this host and this process allow a launch to do: read, and where only a trial tells, tried."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

import msgspec

from hosttune.host import cpulist
from hosttune.host.root import Fact, Root
from hosttune.host.sched import FAIR_POLICIES, PF_KTHREAD
from hosttune.launch import lease
from hosttune.launch.plan import RLIMITS, Plan
from hosttune.launch.program import Program, find, inspect
from hosttune.launch.trial import (
    Trial,
    require_executable,
    require_readable,
    try_as_user,
    try_call,
    try_placement,
    try_run_directory,
)

LIBRARY = os.path.join(os.path.dirname(__file__), "preload", "lockall.so")
DMA_LATENCY = "/dev/cpu_dma_latency"
RT_RUNTIME = "/proc/sys/kernel/sched_rt_runtime_us"
FAIR_SERVER = "/sys/kernel/debug/sched/fair_server/cpu{}/runtime"


class Facts(msgspec.Struct, kw_only=True):
    """Plain data for :mod:`hosttune.launch.checks`.

    `capabilities` is the effective set of this process as a bit mask; `rlimits` are its (soft, hard)
    limits; `executable` says whether the target user may execute the program's file, `library` whether it
    may read the preload library, or the errno name; `isolated` are the CPUs of isolcpus and of cpuset
    partitions; `fair_server` holds nanoseconds per period and CPU; `ordinary` names threads of the fair
    class that may run on the CPUs wanted.
    """

    path: str | None
    program: Program | None
    executable: str
    library: str
    uid: int
    capabilities: Fact[int]
    rlimits: dict[str, tuple[int, int]]
    online: Fact[frozenset[int]]
    trial: Trial
    kernel: Fact[tuple[int, int]]
    rt_runtime: Fact[int]
    rt_group: Fact[int]
    isolated: Fact[frozenset[int]]
    nohz_full: Fact[frozenset[int]]
    fair_server: dict[int, Fact[int]]
    ordinary: Fact[list[str]]
    holders: dict[int, str]
    run_directory: str
    dma_latency: str


def read(root: Root, plan: Plan) -> Facts:
    """Read all facts. `root` is the live host; a launch has no other."""
    path = find(plan.command[0])
    program = inspect(path) if path else None
    online = root.read("/sys/devices/system/cpu/online").map(cpulist.parse)
    cpus = plan.cpus if plan.cpus is not None else frozenset(os.sched_getaffinity(0))
    watches_fair = plan.realtime and plan.busy_poll
    isolated = _isolated(root)
    return Facts(
        path=path,
        program=program,
        executable=try_as_user(plan, lambda: require_executable(path)) if path else "ENOENT",
        library=try_as_user(plan, lambda: require_readable(LIBRARY)),
        uid=os.geteuid(),
        capabilities=root.read("/proc/self/status").map(lambda text: int(_field(text, "CapEff"), 16)),
        rlimits={name: resource.getrlimit(number) for name, number in RLIMITS.items()},
        online=online,
        trial=try_placement(plan, cpus),
        kernel=root.read("/proc/sys/kernel/osrelease").map(_version),
        rt_runtime=root.read(RT_RUNTIME).map(int),
        rt_group=_rt_group(root),
        isolated=isolated,
        nohz_full=root.read("/sys/devices/system/cpu/nohz_full").map(cpulist.parse),
        fair_server={cpu: root.read(FAIR_SERVER.format(cpu)).map(int) for cpu in sorted(cpus)} if watches_fair else {},
        ordinary=_ordinary(root, cpus, isolated.value or frozenset()) if watches_fair else Fact("value", []),
        holders=_holders(plan),
        run_directory=try_run_directory(plan.run_directory),
        dma_latency=try_call(lambda: os.close(os.open(DMA_LATENCY, os.O_RDWR | os.O_CLOEXEC))),
    )


def _field(text: str, name: str) -> str:
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    raise ValueError(f"no line {name}")


def _version(text: str) -> tuple[int, int]:
    major, minor, *_ = text.replace("-", ".").split(".")
    return int(major), int(minor)


def _rt_group(root: Root) -> Fact[int]:
    """`cpu.rt_runtime_us` of this process's cgroup (sched-rt-group.rst); absent without a v1 controller."""
    groups, mounts = root.read("/proc/self/cgroup"), root.read("/proc/self/mountinfo")
    if groups.state != "value" or mounts.state != "value":
        return Fact("unreadable", None, "/proc/self/cgroup", groups.reason or mounts.reason)
    for line in (groups.value or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            for mount in (mounts.value or "").splitlines():
                left, _, right = mount.partition(" - ")
                kind, _, options = right.split(" ", 2)
                if kind == "cgroup" and "cpu" in options.split(","):
                    where = f"{left.split()[4]}{path.rstrip('/')}/cpu.rt_runtime_us"
                    return root.read(where).map(int)
    return Fact("absent", None, "/proc/self/cgroup", "no cpu controller of cgroup v1")


def _isolated(root: Root) -> Fact[frozenset[int]]:
    """By isolcpus=, and by cpuset partitions, which newer kernels do not show in the same file."""
    partitions = root.read("/sys/fs/cgroup/cpuset.cpus.isolated").map(cpulist.parse).value or frozenset()
    return root.read("/sys/devices/system/cpu/isolated").map(cpulist.parse).map(lambda boot: boot | partitions)


def _ordinary(root: Root, cpus: frozenset[int], isolated: frozenset[int]) -> Fact[list[str]]:
    """Threads of the fair class that may run on `cpus`, this process aside.

    Kernel threads count only on CPUs that are not isolated, and only those that are not bound to one CPU:
    each CPU has bound ones, on an isolated CPU they have nothing to do, and nobody can remove them.
    """
    open_cpus = cpus - isolated
    processes = root.list("/proc")
    if processes.state != "value":
        return Fact("unreadable", None, "/proc", processes.reason)
    found = []
    for pid in processes.value or []:
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        for tid, name, kernel, allowed in _fair_threads(root, pid):
            reached = allowed & (open_cpus if kernel else cpus)
            if reached and not (kernel and len(allowed) == 1):
                found.append(f"{tid} ({name})")
    return Fact("value", found, "/proc/*/task/*/{stat,status}")


def _fair_threads(root: Root, pid: str) -> Iterator[tuple[str, str, bool, frozenset[int]]]:
    for tid in root.list(f"/proc/{pid}/task").value or []:
        stat = root.read(f"/proc/{pid}/task/{tid}/stat").value
        status = root.read(f"/proc/{pid}/task/{tid}/status").value
        if stat is None or status is None:
            continue  # ended meanwhile
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        if int(fields[38]) in FAIR_POLICIES:
            allowed = cpulist.parse(_field(status, "Cpus_allowed_list"))
            yield tid, head.partition("(")[2], bool(int(fields[6]) & PF_KTHREAD), allowed


def _holders(plan: Plan) -> dict[int, str]:
    holders = {}
    for cpu in sorted(plan.cpus or ()):
        with contextlib.suppress(OSError):  # not readable for us: then taking it fails with the reason
            holder = lease.holder(plan.run_directory, cpu)
            if holder:
                holders[cpu] = holder
    return holders
