"""Processes and threads, kernel threads included, as /proc shows them.

Sources: proc_pid_status(5), proc_pid_stat(5), proc_pid_limits(5). One file per process is read, and more
only where the caller needs it: a server has thousands of threads.
"""

from __future__ import annotations

import msgspec

from hosttune.host import cpulist
from hosttune.host.root import Fact, Root, unreadable


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


class Tasks(msgspec.Struct, frozen=True):
    """Threads that could be seen, and in words why there may be more (empty if these are all)."""

    seen: list[Task]
    missing: str = ""


def read(root: Root, *, threads: bool = True, placement: bool = False) -> Tasks:
    """Read all processes; with `threads` each of their threads; with `placement` where each ran last."""
    pids = pids_of(root)
    if pids.value is None:
        return Tasks([], f"/proc: {pids.reason}")
    seen: list[Task] = []
    refused: list[str] = []
    lists: dict[str, frozenset[int]] = {}
    for pid in pids.value:
        status = root.read(f"/proc/{pid}/status")
        if status.state == "absent":
            continue
        if status.value is None:
            refused.append(status.reason)
            continue
        tids = [pid]
        if threads and _field(status.value, "Threads") not in ("1", ""):
            names = root.list(f"/proc/{pid}/task")
            tids = [int(name) for name in names.value or [] if name.isdigit()] or tids
        for tid in tids:
            text = status if tid == pid else root.read(f"/proc/{pid}/task/{tid}/status")
            if text.value is None:
                continue
            stat = root.read(f"/proc/{pid}/task/{tid}/stat").value if placement else None
            try:
                seen.append(_task(pid, tid, text.value, stat, lists))
            except (ValueError, IndexError):
                refused.append("not understood")
    return Tasks(seen, _missing(seen, refused))


def pids_of(root: Root) -> Fact[list[int]]:
    """Numbers of the processes that can be seen, unreadable if there is none."""
    names = root.list("/proc")
    pids = sorted(int(name) for name in names.value or [] if name.isdigit())
    if names.state != "value" or not pids:
        return unreadable("/proc", names.reason or "no processes in it")
    return Fact("value", pids, "/proc")


def named(root: Root, name: str) -> Fact[list[int]]:
    """Processes whose command name is `name`; unreadable if no process can be seen."""
    pids = pids_of(root)
    if pids.value is None:
        return unreadable("/proc", pids.reason)
    if 1 not in pids.value:
        return unreadable("/proc", "processes of other users are hidden (hidepid)")
    found = [pid for pid in pids.value if (root.read(f"/proc/{pid}/comm").value or "").strip() == name]
    return Fact("value", found, "/proc/*/comm")


def _missing(seen: list[Task], refused: list[str]) -> str:
    comms = {task.tid: task.comm for task in seen}
    if refused:
        return f"{len(refused)} processes could not be read ({refused[0]})"
    if 1 not in comms:
        return "processes of other users are hidden (hidepid)"
    if comms.get(2) != "kthreadd":
        return "kernel threads cannot be seen from this PID namespace"
    return ""


def _task(pid: int, tid: int, status: str, stat: str | None, lists: dict[str, frozenset[int]]) -> Task:
    allowed = _field(status, "Cpus_allowed_list")
    if allowed not in lists:
        lists[allowed] = cpulist.parse(allowed)
    last_cpu = ticks = None
    if stat:
        # The name in parentheses may hold anything; field 3 (state) follows the last one.
        fields = stat.rpartition(")")[2].split()
        last_cpu, ticks = int(fields[36]), int(fields[11]) + int(fields[12])
    return Task(
        pid=pid,
        tid=tid,
        comm=_field(status, "Name"),
        kernel=pid == 2 or _field(status, "PPid") == "2",
        uid=int(_field(status, "Uid").split()[0]),
        running=_field(status, "State").startswith("R"),
        cpus=lists[allowed],
        last_cpu=last_cpu,
        ticks=ticks,
        switches=sum(int(_field(status, f"{kind}_ctxt_switches") or 0) for kind in ("voluntary", "nonvoluntary")),
    )


def _field(status: str, name: str) -> str:
    start = status.find(f"\n{name}:") + 1
    if not start and not status.startswith(f"{name}:"):
        return ""
    end = status.find("\n", start)
    return status[start + len(name) + 1 : end if end >= 0 else None].strip()
