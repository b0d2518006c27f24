"""Huge pages: the pools of each size and NUMA node.

Source: `Documentation/admin-guide/mm/hugetlbpage.rst` of the Linux kernel.
"""

from __future__ import annotations

import re

import msgspec

from hosttune.host.hugetlb import ALL_NODES, NODES, build_path
from hosttune.host.root import NOT_CAPTURED, Fact, Root
from hosttune.patterns import late_pattern

_POOL = late_pattern(r"hugepages-([0-9]{1,20})kB")
_DEFAULT = late_pattern(r"^Hugepagesize:\s*([0-9]{1,20}) kB", re.MULTILINE)


class Pool(msgspec.Struct, frozen=True):
    """Pages of one size on one node. `surplus` pages were overcommitted and go back when freed."""

    reserved: Fact[int]
    free: Fact[int]
    surplus: Fact[int]


def read_nodes(root: Root) -> Fact[frozenset[int]]:
    """Returns the NUMA nodes; node 0 alone on a kernel without CONFIG_NUMA."""
    names = root.list(NODES)
    if names.state == "absent":
        return Fact("value", frozenset({0}), NODES)
    return names.map(lambda found: frozenset(int(name[4:]) for name in found if re.fullmatch(r"node\d+", name)))


def read_sizes(root: Root) -> Fact[frozenset[int]]:
    """Returns the page sizes in kB that this host's CPUs and kernel have."""
    names = root.list(ALL_NODES)
    return names.map(lambda found: frozenset(int(match[1]) for match in map(_POOL.fullmatch, found) if match))


def read_pool(root: Root, kb: int, node: int) -> Pool:
    """Read one pool; absent if the host has no such node or no pages of that size."""
    return Pool(
        *(_read_count(root, kb, node, file) for file in ("nr_hugepages", "free_hugepages", "surplus_hugepages"))
    )


def read_default_kb(root: Root) -> Fact[int]:
    """Returns the default page size, which `vm.nr_hugepages` and a plain `hugepages=` mean."""
    return root.read("/proc/meminfo").map(_parse_default)


def reduce_meminfo(text: str) -> str:
    """Returns the line of /proc/meminfo that a check reads, empty text if there is none."""
    match = _DEFAULT.search(text)
    return f"{match[0]}\n" if match else ""


def _parse_default(text: str) -> int:
    match = _DEFAULT.search(text)
    if match is None:
        raise ValueError("no line Hugepagesize")
    return int(match[1])


def _read_count(root: Root, kb: int, node: int, file: str) -> Fact[int]:
    fact = root.read(build_path(kb, node, file))
    if fact.state == "absent" and node == 0 and root.list(NODES).state == "absent":
        fact = root.read(f"{ALL_NODES}/hugepages-{kb}kB/{file}")
    if fact.reason == NOT_CAPTURED:
        # A directory that was captured is complete, so a node or a size that is not in it does not exist.
        for directory, name in (
            (NODES, f"node{node}"),
            (f"{NODES}/node{node}/hugepages", f"hugepages-{kb}kB"),
        ):
            names = root.list(directory).value
            if names is not None and name not in names:
                return Fact("absent", None, f"{directory}/{name}", "ENOENT")
    return fact.map(int)
