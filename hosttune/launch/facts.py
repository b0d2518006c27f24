"""What this host and this process allow a launch to do: read, and where only a trial tells, tried."""

from __future__ import annotations

import contextlib
import os
import resource

import msgspec

from hosttune import files
from hosttune.host import cpu, fair_server, identity
from hosttune.host import process as proc
from hosttune.host.root import Fact, Root, make_unreadable
from hosttune.host.sched import FAIR_POLICIES, RT_RUNTIME, read_rt_group
from hosttune.launch import DMA_LATENCY, lease
from hosttune.launch.plan import RLIMITS, Plan
from hosttune.launch.program import Program, find_program, inspect_program
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


class Facts(msgspec.Struct, kw_only=True):
    """Plain data for :mod:`hosttune.launch.checks`.

    `capabilities` is the effective set of this process as a bit mask; `rlimits` are its (soft, hard) limits, and
    `nr_open` is the most that the one of open files may be; `executable` says whether the target user may execute the
    program's file, `library` whether it may read the preload library, or the errno name; `isolated` are the CPUs of
    isolcpus and of cpuset partitions; `fair_server` holds nanoseconds per period and CPU; `ordinary` names threads of
    the fair class that may run on the CPUs wanted.
    """

    path: str | None
    program: Program | None
    executable: str
    library: str
    uid: int
    capabilities: Fact[int]
    rlimits: dict[str, tuple[int, int]]
    nr_open: Fact[int]
    possible: Fact[cpu.Possible]
    online: Fact[cpu.Online]
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
    path = find_program(plan.command[0])
    program = inspect_program(path) if path else None
    known = cpu.read(root)
    cpus = plan.cpus if plan.cpus is not None else frozenset(os.sched_getaffinity(0))
    watches_fair = plan.realtime and plan.busy_poll
    isolated = _read_isolated(known)
    return Facts(
        path=path,
        program=program,
        executable=try_as_user(plan, lambda: require_executable(path)) if path else "ENOENT",
        library=try_as_user(plan, lambda: require_readable(LIBRARY)),
        uid=os.geteuid(),
        capabilities=root.read("/proc/self/status").map(lambda text: proc.parse_capabilities(text)["CapEff"]),
        rlimits={name: resource.getrlimit(number) for name, number in RLIMITS.items()},
        nr_open=root.read("/proc/sys/fs/nr_open").map(int),
        possible=known.possible,
        online=known.online,
        trial=try_placement(plan, cpus),
        kernel=identity.read_release(root),
        rt_runtime=root.read(RT_RUNTIME).map(int),
        rt_group=read_rt_group(root),
        isolated=isolated,
        nohz_full=known.nohz_full,
        fair_server=fair_server.read_runtimes(root, cpus) if watches_fair else {},
        ordinary=_read_ordinary(root, cpus, isolated.value or frozenset()) if watches_fair else Fact("value", []),
        holders=_read_holders(plan),
        run_directory=try_run_directory(plan.run_directory),
        dma_latency=try_call(lambda: os.close(os.open(DMA_LATENCY, os.O_WRONLY | files.SAFE))),
    )


def _read_isolated(cpus: cpu.Cpus) -> Fact[frozenset[int]]:
    """By isolcpus=, and by cpuset partitions, which newer kernels do not show in the same file."""
    return cpus.isolated.map(lambda boot: boot | (cpus.partitioned.value or frozenset()))


def _read_ordinary(root: Root, cpus: frozenset[int], isolated: frozenset[int]) -> Fact[list[str]]:
    """Returns the threads of the fair class that may run on `cpus`, this process aside.

    Kernel threads count only on CPUs that are not isolated, and only those that are not bound to one CPU:
    each CPU has bound ones, on an isolated CPU they have nothing to do, and nobody can remove them.
    """
    pids = proc.list_pids(root)
    if pids.value is None:
        return pids.drop_value()
    found = []
    source = "/proc/*/task/*/{stat,status}"
    for pid in pids.value:
        try:
            threads = proc.read_threads(root, pid, cpus) if pid != os.getpid() else []
        except ValueError as error:
            return make_unreadable(source, str(error))
        for thread in threads:
            reached = thread.cpus & (cpus - isolated if thread.kernel else cpus)
            bound = thread.kernel and len(thread.cpus) == 1
            if thread.policy in FAIR_POLICIES and reached and not bound:
                found.append(f"{thread.tid} ({thread.name})")
    return Fact("value", found, source)


def _read_holders(plan: Plan) -> dict[int, str]:
    holders = {}
    for number in sorted(plan.cpus or ()):
        with contextlib.suppress(OSError, ValueError):  # then taking it fails with the reason
            holder = lease.read_holder(plan.run_directory, number)
            if holder:
                holders[number] = str(holder)
    return holders
