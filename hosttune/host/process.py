"""Processes and threads, kernel threads included, as /proc shows them.

:func:`read_tasks` reads one file of each process, and more only where the caller needs it: a server has
thousands of threads. :func:`read_threads` reads all that the scheduler has of one process.
Sources: proc_pid_status(5), proc_pid_stat(5).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any, TypeVar

import msgspec

from hosttune.host import cpu, irq_plan, owners
from hosttune.host.root import Fact, Root, make_unreadable
from hosttune.host.sched import PF_KTHREAD, POLICY_NAMES

T = TypeVar("T")

#: Names of the processes that a check looks for, and their services.
SOUGHT = frozenset({"irqbalance", *(owner.process for owner in owners.OWNERS)})
_SERVICES = frozenset({irq_plan.IRQBALANCE_SERVICE, *(owner.service for owner in owners.OWNERS)})

_CAPABILITY_SETS = (("CapInh", ""), ("CapPrm", ""), ("CapEff", ""), ("CapBnd", ""), ("CapAmb", "0"))
_SWITCHES = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
_STATUS = tuple(f"\n{name}:" for name in ("Name", "State", "PPid", "Uid", "Threads", "Cpus_allowed_list", *_SWITCHES))


class Task(msgspec.Struct, frozen=True):
    """One thread. `cpus` is its affinity; `last_cpu`, `ticks` (CPU time in clock ticks) and `switches`
    (context switches) are only there if they were asked for, else None, None and 0."""

    pid: int
    tid: int
    comm: str
    kernel: bool
    uid: int
    running: bool
    cpus: frozenset[int]
    last_cpu: int | None = None
    ticks: int | None = None
    switches: int = 0

    @property
    def bound(self) -> bool:
        """Whether it is a kernel thread that belongs to one CPU."""
        return self.kernel and len(self.cpus) == 1


class Thread(msgspec.Struct, frozen=True):
    """One thread as the scheduler has it: `policy` by name, or its number if this version knows no name;
    `priority` is the real-time priority, 0 for other policies; `cpus` its affinity."""

    tid: int
    name: str
    policy: str
    priority: int
    nice: int
    cpus: frozenset[int]
    kernel: bool = False


class Stat(msgspec.Struct, frozen=True):
    """What hosttune takes of /proc/PID/stat. `state` is the kernel's letter; `terminal` is the device number of the
    controlling terminal, 0 for none; `ticks` is CPU time (user and system) and `start_time` the time since boot, both
    in clock ticks; `priority` and `policy` are the kernel's numbers."""

    name: str
    state: str
    terminal: int
    flags: int
    ticks: int
    nice: int
    threads: int
    start_time: int
    last_cpu: int
    priority: int
    policy: int


class Tasks(msgspec.Struct, frozen=True):
    """Threads that could be seen, and in words why there may be more (empty if these are all)."""

    seen: list[Task]
    missing: str = ""


def read_tasks(root: Root, *, threads: bool = True, placement: bool = False) -> Tasks:
    """Read all processes; with `threads` each of their threads; with `placement` where each ran last."""
    pids = list_pids(root)
    if pids.value is None:
        return Tasks([], f"/proc: {pids.reason}")
    seen: list[Task] = []
    refused: list[Fact[Any]] = []
    lists: dict[str, frozenset[int]] = {}
    for pid in pids.value:
        status = _read_status(root, f"/proc/{pid}")
        if status.value is None:
            refused.append(status)
            continue
        tids = [pid]
        if threads and find_field(status.value, "Threads") != "1":
            names = root.list(f"/proc/{pid}/task")
            tids = [int(name) for name in names.value or [] if name.isdigit()]
            if not tids:
                refused.append(names if names.value is None else make_unreadable(names.source, "no threads in it"))
                tids = [pid]
        for tid in tids:
            text = status if tid == pid else _read_status(root, f"/proc/{pid}/task/{tid}")
            stat = root.read(f"/proc/{pid}/task/{tid}/stat") if placement else None
            task = text.map(partial(_parse_task, pid, tid, stat=stat, lists=lists))
            if task.value is not None:
                seen.append(task.value)
            refused += [fact for fact in (task, stat) if fact is not None and fact.value is None]
    return Tasks(seen, _describe_missing(seen, refused))


def _read_status(root: Root, directory: str) -> Fact[str]:
    """Read the status of a process or thread; absent if that has ended, and so its directory is gone too."""
    status = root.read(f"{directory}/status")
    if status.state == "absent" and root.list(directory).state != "absent":
        return make_unreadable(status.source, "missing")
    return status


def read_threads(root: Root, pid: int, reaching: frozenset[int] | None = None) -> list[Thread]:
    """Read all threads of one process, or those whose affinity has one of the CPUs `reaching`; none if it is gone.

    Raises ValueError for what could not be read or is not understood.
    """
    threads = []
    directory = f"/proc/{pid}/task"
    for tid in sorted(int(name) for name in _require(root.list(directory)) or ()):
        status = _require(_read_status(root, f"{directory}/{tid}"))
        if status is None:
            continue
        cpus = cpu.parse_list(find_field(status, "Cpus_allowed_list"))
        if not cpus:
            raise ValueError(f"{directory}/{tid}/status: it is cut off")
        if reaching is not None and not cpus & reaching:
            continue  # thousands of threads may sleep elsewhere
        text = _require(root.read(f"{directory}/{tid}/stat"))
        if text is None:
            continue
        stat = parse_stat(text)
        threads.append(
            Thread(
                tid=tid,
                name=stat.name,
                policy=POLICY_NAMES.get(stat.policy, str(stat.policy)),
                priority=stat.priority,
                nice=stat.nice,
                cpus=cpus,
                kernel=bool(stat.flags & PF_KTHREAD),
            )
        )
    return threads


def _require(fact: Fact[T]) -> T | None:
    """Returns what was read, None for what has ended meanwhile. Raises ValueError for what could not be read."""
    if fact.state == "unreadable":
        raise ValueError(f"{fact.source}: {fact.reason}")
    return fact.value


def list_pids(root: Root) -> Fact[list[int]]:
    """Returns the numbers of the processes that can be seen, unreadable if there is none."""
    names = root.list("/proc")
    pids = sorted(int(name) for name in names.value or [] if name.isdigit())
    if names.state != "value" or not pids:
        return make_unreadable("/proc", names.reason or "no processes in it")
    return Fact("value", pids, "/proc")


def find_service_pids(root: Root, name: str, service: str, executables: Collection[str]) -> Fact[list[int]]:
    """Returns the processes of a system service; unreadable if that cannot be told of a process with its name.

    A name proves nothing: any user's process can have it. The process is root's (all its user ids are 0), and either
    runs one of the `executables` or is in the control group that systemd makes for `service`, where only root puts
    processes. Source: proc_pid_exe(5), `Documentation/admin-guide/cgroup-v2.rst` of the Linux kernel.
    """
    pids = list_pids(root)
    if pids.value is None:
        return make_unreadable("/proc", pids.reason)
    if 1 not in pids.value:
        return make_unreadable("/proc", "processes of other users are hidden (hidepid)")
    found: list[int] = []
    for pid in pids.value:
        comm = root.read(f"/proc/{pid}/comm")
        if comm.state == "absent" or (comm.value is not None and comm.value.strip() != name):
            continue
        belongs = _belongs_to_service(root, pid, service, executables) if comm.value else comm.drop_value()
        if belongs.state == "unreadable":
            return make_unreadable(belongs.source, belongs.reason)
        if belongs.value:
            found.append(pid)
    return Fact("value", found, "/proc/*/comm")


def _belongs_to_service(root: Root, pid: int, service: str, executables: Collection[str]) -> Fact[bool]:
    """Returns whether a process is the service's; absent if it has ended."""
    status = _read_status(root, f"/proc/{pid}")
    if status.value is None:
        return status.drop_value()
    users = find_field(status.value, "Uid").split()
    if len(users) != 4:
        return make_unreadable(status.source, "no line Uid")
    if any(user != "0" for user in users):
        return Fact("value", False, status.source)
    executable = root.link(f"/proc/{pid}/exe")
    if executable.value is not None and executable.value.removesuffix(" (deleted)") in executables:
        return Fact("value", True, executable.source)
    group = root.read(f"/proc/{pid}/cgroup").map(lambda text: irq_plan.is_in_service(text, service))
    if group.value:
        return group
    return executable.drop_value() if executable.state == "unreadable" else Fact("value", False, status.source)


def reduce_status(text: str) -> str:
    """Returns the lines of /proc/PID/status that a check reads."""
    # A server has thousands of threads: this is what most of a check's time goes into.
    text = "\n" + text
    kept = []
    for name in _STATUS:
        start = text.find(name) + 1
        if start:
            end = text.find("\n", start)
            kept.append(text[start : end + 1] if end >= 0 else text[start:])
    return "".join(kept)


def reduce_comm(text: str) -> str:
    """Returns a command name if a check looks for it, else an empty line."""
    return text if text.strip() in SOUGHT else "\n"


def reduce_cgroup(text: str) -> str:
    """Returns the lines of /proc/PID/cgroup that name a service which a check looks for."""
    lines = [line for line in text.splitlines() if "/system.slice/" in line]
    sought = [line for line in lines if any(irq_plan.is_in_service(line, name) for name in _SERVICES)]
    return "".join(f"{line}\n" for line in sought)


def reduce_stat(text: str) -> str:
    """Returns /proc/PID/stat with the CPU time and the last CPU, and 0 for all other fields. Raises ValueError."""
    stat = parse_stat(text)
    fields = ["0"] * 39
    fields[11], fields[36] = str(stat.ticks), str(stat.last_cpu)
    return f"0 () {' '.join(fields)}\n"


def parse_stat(text: str) -> Stat:
    """Read /proc/PID/stat. Raises ValueError."""
    # The name in parentheses may hold anything; field 3 (state) follows the last one.
    head, _, tail = text.rpartition(")")
    fields = tail.split(None, 52)  # a kernel writes 50 of them
    if len(fields) < 39:
        raise ValueError(f"{len(fields) + 2} fields, wanted at least 41")
    return Stat(
        name=head.partition("(")[2],
        state=fields[0],
        terminal=int(fields[4]),
        flags=int(fields[6]),
        ticks=int(fields[11]) + int(fields[12]),
        nice=int(fields[16]),
        threads=int(fields[17]),
        start_time=int(fields[19]),
        last_cpu=int(fields[36]),
        priority=int(fields[37]),
        policy=int(fields[38]),
    )


def find_field(status: str, name: str) -> str:
    """Returns the value of a line `NAME: VALUE` of /proc/PID/status, empty if there is no such line."""
    start = status.find(f"\n{name}:") + 1
    if not start and not status.startswith(f"{name}:"):
        return ""
    end = status.find("\n", start)
    return status[start + len(name) + 1 : end if end >= 0 else None].strip()


def parse_capabilities(status: str) -> dict[str, int]:
    """Read the capability sets of /proc/PID/status as bit masks (capabilities(7)).

    The keys are the names of the lines, in their order: CapInh (inheritable), CapPrm (permitted), CapEff (effective),
    CapBnd (bounding), CapAmb (ambient, none before Linux 4.3). Raises ValueError.
    """
    return {name: int(find_field(status, name) or default, 16) for name, default in _CAPABILITY_SETS}


def _describe_missing(seen: list[Task], refused: list[Fact[Any]]) -> str:
    """Returns why there may be more threads than those seen; one that is absent has ended."""
    comms = {task.tid: task.comm for task in seen}
    unread = [fact for fact in refused if fact.state == "unreadable"]
    if unread:
        more = f", and {len(unread) - 1} more" if len(unread) > 1 else ""
        return f"{unread[0].source}: {unread[0].reason}{more}"
    if 1 not in comms:
        return "processes of other users are hidden (hidepid)"
    if comms.get(2) != "kthreadd":
        return "kernel threads cannot be seen from this PID namespace"
    return ""


def _parse_task(pid: int, tid: int, status: str, *, stat: Fact[str] | None, lists: dict[str, frozenset[int]]) -> Task:
    fields = {name: value.strip() for name, _, value in [line.partition(":") for line in status.split("\n")]}
    allowed = fields.get("Cpus_allowed_list", "")
    if not allowed or "Uid" not in fields or not status.endswith("\n"):
        raise ValueError("it is cut off")
    if allowed not in lists:
        lists[allowed] = cpu.parse_list(allowed)
    last_cpu = ticks = None
    if stat is not None and stat.value is not None:
        parsed = parse_stat(stat.value)
        last_cpu, ticks = parsed.last_cpu, parsed.ticks
    return Task(
        pid=pid,
        tid=tid,
        comm=fields.get("Name", ""),
        kernel=pid == 2 or fields.get("PPid") == "2",
        uid=int(fields["Uid"].partition("\t")[0]),
        running=fields.get("State", "").startswith("R"),
        cpus=lists[allowed],
        last_cpu=last_cpu,
        ticks=ticks,
        switches=sum(int(fields.get(name) or 0) for name in _SWITCHES),
    )
