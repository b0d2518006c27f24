"""Which CPUs there are, and which of them the kernel keeps for itself or keeps free.

Sources: `Documentation/ABI/testing/sysfs-devices-system-cpu`, `Documentation/admin-guide/cputopology.rst`,
`Documentation/admin-guide/cgroup-v2.rst` (cpuset partitions) of the Linux kernel.
"""

from __future__ import annotations

import re

import msgspec

from hosttune.host import cpulist
from hosttune.host.cpulist import KernelList
from hosttune.host.root import Fact, Root

DIRECTORY = "/sys/devices/system/cpu"
PARTITIONED = "/sys/fs/cgroup/cpuset.cpus.isolated"
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
        fact = read_list(root, f"{DIRECTORY}/cpu{cpu}/topology/thread_siblings_list")
        if fact.value is not None:
            siblings[cpu] = fact.value
    return Cpus(
        online=read_list(root, f"{DIRECTORY}/online"),
        possible=read_possible(root),
        isolated=read_list(root, f"{DIRECTORY}/isolated"),
        nohz_full=read_list(root, f"{DIRECTORY}/nohz_full"),
        partitioned=read_list(root, PARTITIONED),
        siblings=siblings,
    )


def read_possible(root: Root) -> Fact[frozenset[int]]:
    """Returns the CPUs that can exist on this host: the kernel's list, else the CPU directories of a captured tree."""
    fact = read_list(root, f"{DIRECTORY}/possible")
    if fact.state == "value":
        return fact
    names = root.list(DIRECTORY)
    numbers = frozenset(int(match[1]) for match in map(_CPU.fullmatch, names.value or []) if match)
    return Fact("value", numbers, DIRECTORY) if numbers else fact


def find_last(possible: Fact[frozenset[int]]) -> int | None:
    """Returns the number that `N` stands for in a cpulist, None if it is not known."""
    return max(possible.value) if possible.value else None


def read_list(root: Root, path: str) -> Fact[frozenset[int]]:
    """Returns the CPUs of a file in which the kernel shows a list."""
    return root.read(path).map(parse_list)


def parse_list(text: str) -> frozenset[int]:
    """Returns the CPUs of a list as the kernel shows it; `(null)` is one that was never set. Raises ValueError."""
    return frozenset() if text.strip() == "(null)" else cpulist.parse(KernelList(text))
