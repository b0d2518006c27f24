"""What this host and this process allow a launch to do: everything that is read, none of what is judged."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator

import msgspec

from hosttune.host import cpulist
from hosttune.host.root import Fact, Root
from hosttune.launch import lease
from hosttune.launch.plan import RLIMITS, Plan
from hosttune.launch.program import Program, find, inspect

LIBRARY = os.path.join(os.path.dirname(__file__), "preload", "lockall.so")
DMA_LATENCY = "/dev/cpu_dma_latency"
RT_RUNTIME = "/proc/sys/kernel/sched_rt_runtime_us"
FAIR_SERVER = "/sys/kernel/debug/sched/fair_server/cpu{}/runtime"

SCHED = {"other": os.SCHED_OTHER, "fifo": os.SCHED_FIFO, "rr": os.SCHED_RR}
# linux/sched.h; the policies that the fair class runs: OTHER, BATCH, IDLE, EXT (sched_ext falls back to it)
_PF_KTHREAD = 0x00200000
_FAIR_POLICIES = frozenset({0, 3, 5, 7})


class Trial(msgspec.Struct, frozen=True):
    """What the kernel said when the placement was tried on a sleeping child.

    `cpus` are those that the child was left with; the errnos are 0 for success.
    """

    affinity_errno: int
    cpus: frozenset[int]
    policy_errno: int


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
        executable=_as_user(plan, lambda: _may_execute(path)) if path else "ENOENT",
        library=_as_user(plan, lambda: _may_read(LIBRARY)),
        uid=os.geteuid(),
        capabilities=root.read("/proc/self/status").map(lambda text: int(_field(text, "CapEff"), 16)),
        rlimits={name: resource.getrlimit(number) for name, number in RLIMITS.items()},
        online=online,
        trial=_try(plan, cpus),
        kernel=root.read("/proc/sys/kernel/osrelease").map(_version),
        rt_runtime=root.read(RT_RUNTIME).map(int),
        rt_group=_rt_group(root),
        isolated=isolated,
        nohz_full=root.read("/sys/devices/system/cpu/nohz_full").map(cpulist.parse),
        fair_server={cpu: root.read(FAIR_SERVER.format(cpu)).map(int) for cpu in sorted(cpus)} if watches_fair else {},
        ordinary=_ordinary(root, cpus, isolated.value or frozenset()) if watches_fair else Fact("value", []),
        holders=_holders(plan),
        run_directory=_writable(plan.run_directory),
        dma_latency=_answer(lambda: os.close(os.open(DMA_LATENCY, os.O_RDWR | os.O_CLOEXEC))),
    )


def _field(text: str, name: str) -> str:
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    raise ValueError(f"no line {name}")


def _version(text: str) -> tuple[int, int]:
    major, minor, *_ = text.replace("-", ".").split(".")
    return int(major), int(minor)


def _answer(call: Callable[[], object]) -> str:
    """`ok`, or the name of the errno that the call failed with."""
    try:
        call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok"


def _may_execute(path: str) -> None:
    if not os.access(path, os.X_OK):
        raise PermissionError(errno.EACCES, path)


def _may_read(path: str) -> None:
    with open(path, "rb"):
        pass


def _as_user(plan: Plan, call: Callable[[], object]) -> str:
    """The answer that the target user would get, or this process's own where it cannot become that user."""
    user = plan.user
    if user is None or user.uid == os.geteuid() or os.geteuid() != 0:
        return _answer(call)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = _answer(lambda: become(user.uid, user.gid, user.groups))
            os.write(writer, (_answer(call) if answer == "ok" else "ok").encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Groups first: after setresuid(2) the right to change them is gone."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _try(plan: Plan, cpus: frozenset[int]) -> Trial:
    """Place a sleeping child as planned, and read back.

    It never runs there: a CPU whose owner polls at real-time priority would never let it finish.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    before = os.sched_getaffinity(child)
    try:
        affinity = _errno(lambda: os.sched_setaffinity(child, cpus))
        left = frozenset(os.sched_getaffinity(child))
        policy = _errno(lambda: os.sched_setscheduler(child, SCHED[plan.policy], os.sched_param(plan.priority)))
        return Trial(affinity, left, policy)
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(child, os.SCHED_OTHER, os.sched_param(0))
            os.sched_setaffinity(child, before)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(writer)


def _errno(call: Callable[[], object]) -> int:
    try:
        call()
    except OSError as error:
        return error.errno or 0
    return 0


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
        if int(fields[38]) in _FAIR_POLICIES:
            allowed = cpulist.parse(_field(status, "Cpus_allowed_list"))
            yield tid, head.partition("(")[2], bool(int(fields[6]) & _PF_KTHREAD), allowed


def _holders(plan: Plan) -> dict[int, str]:
    holders = {}
    for cpu in sorted(plan.cpus or ()):
        with contextlib.suppress(OSError):  # not readable for us: then taking it fails with the reason
            holder = lease.holder(plan.run_directory, cpu)
            if holder:
                holders[cpu] = holder
    return holders


def _writable(directory: str) -> str:
    """Whether leases and records can be made: tried by making the directories."""

    def make() -> None:
        for name in ("lease", "launch"):
            os.makedirs(f"{directory}/{name}", mode=0o755, exist_ok=True)
            if not os.access(f"{directory}/{name}", os.W_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, f"{directory}/{name}")

    return _answer(make)
