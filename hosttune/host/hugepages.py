"""Huge pages: the pools of each size and NUMA node, what the boot line asks for, and the THP policy.

Sources: `Documentation/admin-guide/mm/hugetlbpage.rst`, `Documentation/admin-guide/mm/transhuge.rst` and
`Documentation/admin-guide/kernel-parameters.txt` of the Linux kernel; `mm/hugetlb.c`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from hosttune.host.cmdline import Arguments
from hosttune.host.hugetlb import NODES, TRANSPARENT, build_path, parse_size
from hosttune.host.root import NOT_CAPTURED, Fact, Root

NO_NUMA = "/sys/kernel/mm/hugepages"  # all there is on a kernel without CONFIG_NUMA

# No count has more digits than an unsigned 64-bit number.
_COUNT = re.compile(r"[0-9]{1,20}")
_BRACKETS = re.compile(r"\[(\w+)\]")
_DEFAULT = re.compile(r"^Hugepagesize:\s*([0-9]{1,20}) kB", re.MULTILINE)


class Pool(msgspec.Struct, frozen=True):
    """Pages of one size on one node. `surplus` pages were overcommitted and go back when freed."""

    reserved: Fact[int]
    free: Fact[int]
    surplus: Fact[int]


class Request(msgspec.Struct, frozen=True):
    """Pages that a boot line asks for: on named nodes, or `total` spread over all of them."""

    total: int = 0
    nodes: dict[int, int] = {}

    def count_on(self, node: int, nodes: Iterable[int]) -> int:
        """Returns the pages that this comes to on a node of a host with these `nodes`, if memory is there for all."""
        if self.nodes:
            return self.nodes.get(node, 0)
        order = sorted(nodes)
        each, rest = divmod(self.total, len(order) or 1)
        return each + (node in order[:rest])


def read_nodes(root: Root) -> Fact[frozenset[int]]:
    """Returns the NUMA nodes; node 0 alone on a kernel without CONFIG_NUMA."""
    names = root.list(NODES)
    if names.state == "absent":
        return Fact("value", frozenset({0}), NODES)
    return names.map(lambda found: frozenset(int(name[4:]) for name in found if re.fullmatch(r"node\d+", name)))


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


def read_transparent(root: Root) -> Fact[str]:
    """Returns the policy in force: always, madvise or never; absent for a kernel without transparent huge pages."""
    return root.read(TRANSPARENT).map(parse_chosen)


def parse_chosen(text: str) -> str:
    """Returns the word in brackets. Raises ValueError."""
    match = _BRACKETS.search(text)
    if match is None:
        raise ValueError(f"{text.strip()[:40]!r} has no word in brackets")
    return match[1]


def parse_requests(arguments: Arguments, default: int | None) -> dict[int, Request]:
    """Returns what a command line asks for, by page size in kB.

    `hugepages=` means the size of the `hugepagesz=` before it, or else the default size (`default`, unless
    `default_hugepagesz=` says another). Counts that the kernel would refuse are left out.
    """
    found: dict[int, Request] = {}
    current: int | None = None
    for name, value in arguments:
        if name == "default_hugepagesz" and value is not None:
            default = _parse_size_argument(value) or default
    for name, value in arguments:
        if name == "hugepagesz" and value is not None:
            current = _parse_size_argument(value)
        elif name == "hugepages" and value is not None:
            kb = current or default
            request = _parse_request(value)
            if kb is not None and request is not None:
                found[kb] = request
    return found


def _parse_request(text: str) -> Request | None:
    if _COUNT.fullmatch(text):
        return Request(int(text))
    pairs = [pair.partition(":") for pair in text.split(",")]
    if not all(_COUNT.fullmatch(node) and _COUNT.fullmatch(count) for node, _, count in pairs):
        return None
    return Request(nodes={int(node): int(count) for node, _, count in pairs})


def _parse_size_argument(text: str) -> int | None:
    try:
        return parse_size(text.upper())
    except ValueError:
        return int(text) >> 10 if _COUNT.fullmatch(text) else None


def _parse_default(text: str) -> int:
    match = _DEFAULT.search(text)
    if match is None:
        raise ValueError("no line Hugepagesize")
    return int(match[1])


def _read_count(root: Root, kb: int, node: int, file: str) -> Fact[int]:
    fact = root.read(build_path(kb, node, file))
    if fact.state == "absent" and node == 0 and root.list(NODES).state == "absent":
        fact = root.read(f"{NO_NUMA}/hugepages-{kb}kB/{file}")
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
