"""The processes that a launched one has started: the program that works may be one of them, and not the one launched.

A script that starts a program without `exec` stays, and waits for it. The program is another process then, that nothing
has locked in memory. Source: proc_pid_status(5), `Documentation/admin-guide/cgroup-v2.rst` of the Linux kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from hosttune.host import cpulist, process
from hosttune.host.process import Thread
from hosttune.host.root import Fact, Root, make_unreadable

#: More than these are not read, one by one: a program that has so many would have attest wait for it.
MOST = 64
_SERVICE = ".service"


class Child(msgspec.Struct, frozen=True):
    """A process below the launched one, or beside it in the control group of a service. `locked` is kilobytes of
    memory, `unlocked` names mappings that are not locked."""

    pid: int
    name: str
    threads: list[Thread]
    locked: int
    unlocked: list[str]


def read_children(
    root: Root,
    pid: int,
    read_memory: Callable[[int], Fact[tuple[int, list[str]]]],
    leased: frozenset[int] = frozenset(),
) -> Fact[list[Child]]:
    """Read all processes that began below this one and live, without this process's own.

    read_memory: what is locked and what is not of a process. leased: the launched process's own CPUs. Unreadable if one
    cannot be read, or if they are too many.
    """
    parents = _read_parents(root)
    if parents.value is None:
        return parents.drop_value()
    members = _find_below(parents.value, pid) | (_read_group(root, pid) & parents.value.keys())
    members |= _find_orphans(root, parents.value, pid, leased)
    members -= {pid, *_find_below(parents.value, os.getpid()), *_find_above(parents.value, os.getpid())}
    if len(members) > MOST:
        return make_unreadable("/proc", f"{len(members)} processes below the launched one; {MOST} are read")
    found = []
    for member in sorted(members):
        try:
            threads = process.read_threads(root, member)
        except ValueError as error:
            return make_unreadable(f"/proc/{member}", f"not understood: {error}")
        memory = read_memory(member)
        if not threads or memory.state == "absent":
            continue  # it has ended
        if memory.value is None:
            return memory.drop_value()
        name = next((thread.name for thread in threads if thread.tid == member), threads[0].name)
        found.append(Child(member, name, threads, *memory.value))
    return Fact("value", found, "/proc/*/status PPid")


def _read_parents(root: Root) -> Fact[dict[int, int]]:
    """Returns the parent of each process that can be seen."""
    pids = process.list_pids(root)
    if pids.value is None:
        return pids.drop_value()
    found = {}
    for pid in pids.value:
        text = root.read(f"/proc/{pid}/status").value or ""
        parent = process.find_field(text, "PPid")
        if parent.isdigit() and process.find_field(text, "State")[:1] not in ("Z", "X"):
            found[pid] = int(parent)
    return Fact("value", found, "/proc")


def _find_below(parents: dict[int, int], pid: int) -> set[int]:
    """Returns a process and all below it."""
    children: dict[int, list[int]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    found, waiting = set(), [pid]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += children.get(each, [])
    return found


def _find_orphans(root: Root, parents: dict[int, int], pid: int, leased: frozenset[int]) -> set[int]:
    """Returns the processes whose parent has ended, as a daemon's has, that began after this one on its CPUs alone.

    Their parent is now process 1, or one above that takes such children (PR_SET_CHILD_SUBREAPER, prctl(2)); who
    launched this one may have put others there. CPUs are inherited, and no other launch gets these.
    """
    adopters = {1} | (_find_above(parents, pid) - {pid, parents.get(pid, 0)})
    start = _read_start(root, pid) if leased else None
    if start is None:
        return set()
    found = set()
    for each, parent in parents.items():
        if parent in adopters:
            cpus = root.read(f"/proc/{each}/status").map(
                lambda text: cpulist.parse(cpulist.KernelList(process.find_field(text, "Cpus_allowed_list")))
            )
            began = _read_start(root, each) if cpus.value and cpus.value <= leased else None
            if began is not None and began >= start:
                found.add(each)
    return found


def _read_start(root: Root, pid: int) -> int | None:
    return root.read(f"/proc/{pid}/stat").map(lambda text: process.parse_stat(text).start_time).value


def _find_above(parents: dict[int, int], pid: int) -> set[int]:
    found = set()
    while pid in parents and pid not in found:
        found.add(pid)
        pid = parents[pid]
    return found


def _read_group(root: Root, pid: int) -> set[int]:
    """Returns the processes in the control group of a service; none for a launch from a session, which has others in
    its group. A process whose parent has ended is a child of process 1, but stays in its group."""
    for line in (root.read(f"/proc/{pid}/cgroup").value or "").splitlines():
        number, _, path = line.split(":", 2) if line.count(":") >= 2 else ("", "", "")
        if number == "0" and path.rpartition("/")[2].endswith(_SERVICE):
            for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
                text = root.read(f"{top}{path}/cgroup.procs").value
                if text is not None:
                    return {int(word) for word in text.split() if word.isdigit()}
    return set()
