"""The kernel's names for pools of huge pages: sizes, nodes and files.

Sources: `Documentation/admin-guide/mm/hugetlbpage.rst` and `Documentation/admin-guide/mm/transhuge.rst` of the
Linux kernel. Standard library only: the role hugepages plans with it on the controller.
"""

from __future__ import annotations

from hosttune.patterns import late_pattern

NODES = "/sys/devices/system/node"
#: All nodes together: what is written to a file there is spread over them. All there is without CONFIG_NUMA.
ALL_NODES = "/sys/kernel/mm/hugepages"
#: The same for pages of the default size.
DEFAULT_TOTAL = "/proc/sys/vm/nr_hugepages"
#: Its names: a program without a policy for its memory sets the same by the second one.
DEFAULT_TOTALS = (DEFAULT_TOTAL, f"{DEFAULT_TOTAL}_mempolicy")
TRANSPARENT = "/sys/kernel/mm/transparent_hugepage/enabled"
#: What the path of each file of a policy or a pool has in it.
MARKS = ("transparent_hugepage", "nr_hugepages")
POLICIES = ("always", "madvise", "never")
#: Sizes in kB that any architecture can have a policy for, since Linux 6.8: from two small pages to a huge one.
POLICY_SIZES = tuple(8 << power for power in range(17))

_SIZE = late_pattern(r"([1-9][0-9]*)([KMG])")
_KB = {"K": 1, "M": 1 << 10, "G": 1 << 20}
_NODE = late_pattern(r"node([0-9]{1,4})")
_NODES = 1024  # CONFIG_NODES_SHIFT of the kernel is 10 at the most


def parse_size(text: str) -> int:
    """Returns a page size in kB: `2M` as 2048. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"page size {text[:40]!r}: wanted a number with K, M or G, such as 2M or 1G")
    return int(match[1]) * _KB[match[2]]


def parse_node(name: str) -> int:
    """Returns the number of a NUMA node by its name: `node0` as 0. Raises ValueError."""
    match = _NODE.fullmatch(name)
    if match is None or int(match[1]) >= _NODES:
        raise ValueError(f"{name[:40]!r} is not a NUMA node; allowed: node0, node1, ... node{_NODES - 1}")
    return int(match[1])


def build_path(kb: int, node: int, file: str = "nr_hugepages") -> str:
    """Returns the path of a file of one pool; writing the number of pages to `nr_hugepages` sets it."""
    return f"{NODES}/node{node}/hugepages/hugepages-{kb}kB/{file}"


def build_total_path(kb: int) -> str:
    """Returns the path of the file that takes the number of pages of a size on all nodes together."""
    return f"{ALL_NODES}/hugepages-{kb}kB/nr_hugepages"


def build_policy_path(kb: int) -> str:
    """Returns the path of the policy of transparent huge pages of one size."""
    return f"{TRANSPARENT.removesuffix('/enabled')}/hugepages-{kb}kB/enabled"


def fits_policy(policy: str, wanted: str) -> bool:
    """Returns whether a size's own policy gives memory no more pages than what is wanted for all sizes."""
    eager = {each: number for number, each in enumerate(("never", "madvise", "always"))}
    return policy == "inherit" or eager.get(policy, len(eager)) <= eager[wanted]
