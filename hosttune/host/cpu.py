"""Which CPUs there are, and which of them the kernel keeps for itself or keeps free.

Possible is what the kernel has room for, and counts for lists (`N`, `all`) and for what has to hold after a CPU was
added; present is what is plugged in; online is what runs. The three are types of their own.

Sources: `Documentation/ABI/testing/sysfs-devices-system-cpu`, `Documentation/admin-guide/cputopology.rst`,
`Documentation/admin-guide/cgroup-v2.rst` (cpuset partitions) of the Linux kernel.
"""

from __future__ import annotations

from typing import NewType

import msgspec

from hosttune.host import cpulist
from hosttune.host.cpulist import KernelList
from hosttune.host.root import NOT_CAPTURED, Fact, Root
from hosttune.patterns import late_pattern

DIRECTORY = "/sys/devices/system/cpu"
PARTITIONED = "/sys/fs/cgroup/cpuset.cpus.isolated"
_CPU = late_pattern(r"cpu(\d+)")


Possible = NewType("Possible", frozenset[int])
Present = NewType("Present", frozenset[int])
Online = NewType("Online", frozenset[int])


class Cpus(msgspec.Struct, frozen=True):
    """Sets of CPU numbers. `partitioned` are those that cgroup v2 cpuset partitions isolate;
    `siblings` maps a CPU to the hardware threads of its core, itself included; absent for one that is offline."""

    online: Fact[Online]
    possible: Fact[Possible]
    isolated: Fact[frozenset[int]]
    nohz_full: Fact[frozenset[int]]
    partitioned: Fact[frozenset[int]]
    siblings: dict[int, Fact[frozenset[int]]] = {}


def read(root: Root, siblings_of: frozenset[int] = frozenset()) -> Cpus:
    """Read the sets; core siblings only of the CPUs asked for."""
    siblings = {
        cpu: read_list(root, f"{DIRECTORY}/cpu{cpu}/topology/thread_siblings_list") for cpu in sorted(siblings_of)
    }
    return Cpus(
        online=read_online(root),
        possible=read_possible(root),
        isolated=read_list(root, f"{DIRECTORY}/isolated"),
        nohz_full=read_list(root, f"{DIRECTORY}/nohz_full"),
        partitioned=read_list(root, PARTITIONED),
        siblings=siblings,
    )


def read_online(root: Root) -> Fact[Online]:
    """Returns the CPUs that run."""
    return root.read(f"{DIRECTORY}/online").map(_parse_some).map(Online)


def read_possible(root: Root) -> Fact[Possible]:
    """Returns the CPUs that can exist on this host: the kernel's list, else the CPU directories of a captured tree."""
    fact = root.read(f"{DIRECTORY}/possible").map(_parse_some).map(Possible)
    if fact.state == "value" or (fact.state == "unreadable" and fact.reason != NOT_CAPTURED):
        return fact
    names = root.list(DIRECTORY)
    numbers = frozenset(int(match[1]) for match in map(_CPU.fullmatch, names.value or []) if match)
    return Fact("value", Possible(numbers), DIRECTORY) if numbers else fact


def find_last(possible: Fact[Possible]) -> int | None:
    """Returns the number that `N` stands for in a cpulist, None if it is not known."""
    return max(possible.value) if possible.value else None


def find_offline(wanted: frozenset[int], online: Fact[Online]) -> frozenset[int]:
    """Returns which of the wanted CPUs do not run, none where that is not known."""
    return frozenset() if online.value is None else wanted - online.value


def write_online(offline: frozenset[int]) -> str:
    """Returns the command that brings CPUs online."""
    words = " ".join(map(str, sorted(offline)))
    if len(offline) == 1:
        return f"echo 1 > {DIRECTORY}/cpu{words}/online"
    return f"for i in {words}; do echo 1 > {DIRECTORY}/cpu$i/online; done"


def read_list(root: Root, path: str) -> Fact[frozenset[int]]:
    """Returns the CPUs of a file in which the kernel shows a list."""
    return root.read(path).map(parse_list)


def parse_list(text: str) -> frozenset[int]:
    """Returns the CPUs of a list as the kernel shows it; `(null)` is one that was never set. Raises ValueError."""
    return frozenset() if text.strip() == "(null)" else cpulist.parse(KernelList(text))


def _parse_some(text: str) -> frozenset[int]:
    cpus = parse_list(text)
    if not cpus:
        raise ValueError("it names no CPU")
    return cpus
