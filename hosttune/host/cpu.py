"""Which CPUs there are, and which of them the kernel keeps for itself or keeps free.

Sources: `Documentation/ABI/testing/sysfs-devices-system-cpu`, `Documentation/admin-guide/cputopology.rst`,
`Documentation/admin-guide/cgroup-v2.rst` (cpuset partitions) of the Linux kernel.
"""

from __future__ import annotations

import re

import msgspec

from hosttune.host import cpulist
from hosttune.host.root import Fact, Root

DIRECTORY = "/sys/devices/system/cpu"
_CPU = re.compile(r"cpu(\d+)")


class Cpus(msgspec.Struct, frozen=True):
    """Sets of CPU numbers. `partitioned` are those that cgroup v2 cpuset partitions isolate;
    `siblings` maps a CPU to the hardware threads of its core, itself included."""

    online: Fact[frozenset[int]]
    possible: Fact[frozenset[int]]
    isolated: Fact[frozenset[int]]
    nohz_full: Fact[frozenset[int]]
    partitioned: Fact[frozenset[int]]
    siblings: dict[int, frozenset[int]] = {}


def read(root: Root, siblings_of: frozenset[int] = frozenset()) -> Cpus:
    """Read the sets; core siblings only of the CPUs asked for."""
    siblings: dict[int, frozenset[int]] = {}
    for cpu in sorted(siblings_of):
        fact = root.read(f"{DIRECTORY}/cpu{cpu}/topology/thread_siblings_list").map(cpulist.parse)
        if fact.value is not None:
            siblings[cpu] = fact.value
    return Cpus(
        online=root.read(f"{DIRECTORY}/online").map(cpulist.parse),
        possible=possible(root),
        isolated=root.read(f"{DIRECTORY}/isolated").map(cpulist.parse),
        nohz_full=root.read(f"{DIRECTORY}/nohz_full").map(cpulist.parse),
        partitioned=root.read("/sys/fs/cgroup/cpuset.cpus.isolated").map(cpulist.parse),
        siblings=siblings,
    )


def possible(root: Root) -> Fact[frozenset[int]]:
    """CPUs that can exist on this host: the kernel's list, else the CPU directories of a captured tree."""
    fact = root.read(f"{DIRECTORY}/possible").map(cpulist.parse)
    if fact.state == "value":
        return fact
    names = root.list(DIRECTORY)
    numbers = frozenset(int(match[1]) for match in map(_CPU.fullmatch, names.value or []) if match)
    return Fact("value", numbers, DIRECTORY) if numbers else fact


def last(possible: Fact[frozenset[int]]) -> int | None:
    """The number that `N` stands for in a cpulist, None if it is not known."""
    return max(possible.value) if possible.value else None
