"""Transparent huge pages: the policy for all sizes, and since Linux 6.8 one for each size. Pure but for :func:`read`.

Sources: `Documentation/admin-guide/mm/transhuge.rst`, and `mm/huge_memory.c` (`setup_transparent_hugepage`,
`setup_thp_anon`, `hugepage_init_sysfs`) of the Linux kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from hosttune.host import thp_anon
from hosttune.host.forms import UNINTELLIGIBLE
from hosttune.host.hugetlb import POLICIES, TRANSPARENT, build_policy_path, fits_policy
from hosttune.host.root import Fact, Root, make_unreadable
from hosttune.patterns import late_pattern

DIRECTORY = TRANSPARENT.rpartition("/")[0]
SIZE_POLICIES = thp_anon.SIZE_POLICIES

_SIZE = late_pattern(r"hugepages-([0-9]{1,20})kB")
_BRACKETS = late_pattern(r"\[(\w+)\]")


class Policies(msgspec.Struct, frozen=True):
    """`all`: the policy that sizes inherit. `sizes`: kB to what it is set to."""

    all: Fact[str]
    sizes: Fact[dict[int, str]]

    def find_wrong(self, wanted: str) -> dict[int, str]:
        """Returns the sizes whose own setting gives memory other pages than `wanted` does, with that setting.

        The largest is the one that follows the policy for all, unless told otherwise; smaller ones may only be less
        eager than what is wanted.
        """
        sizes = self.sizes.value or {}
        largest = max(sizes, default=0)
        return {
            kb: policy
            for kb, policy in sizes.items()
            if not fits_policy(policy, wanted) or (kb == largest and policy not in ("inherit", wanted))
        }


def read(root: Root) -> Policies:
    """Read the policies in force; absent for a kernel without transparent huge pages, or without one for each size."""
    top = root.read(TRANSPARENT).map(parse_chosen)
    names = root.list(DIRECTORY)
    if names.value is None:
        return Policies(top, names.drop_value())
    if top.state == "absent":  # a kernel without them has no such directory either
        top = make_unreadable(TRANSPARENT, "missing")
    sizes: dict[int, str] = {}
    for match in filter(None, map(_SIZE.fullmatch, names.value)):
        fact = root.read(build_policy_path(int(match[1]))).map(parse_chosen)
        # Pages for shared memory alone have a size here too, and no such file.
        if fact.state == "unreadable":
            return Policies(top, fact.drop_value())
        if fact.value is not None:
            sizes[int(match[1])] = fact.value
    return Policies(top, Fact("value", sizes, DIRECTORY))


def parse_chosen(text: str) -> str:
    """Returns the word in brackets. Raises ValueError."""
    match = _BRACKETS.search(text)
    if match is None:
        raise ValueError(f"{text.strip()[:40]!r} has no word in brackets")
    return match[1]


def resolve_boot(
    arguments: Iterable[tuple[str, str | None]], sizes: Collection[int]
) -> tuple[str | None, dict[int, str]]:
    """Returns the policy for all that a command line asks for, None for none, and what each of `sizes` is set to then.

    What the kernel does not understand it ignores; what we do not is UNINTELLIGIBLE. Without thp_anon= the largest size
    inherits and the others are off; with it those that it does not name are off.
    """
    top = None
    found = dict.fromkeys(sizes, "never")
    configured = False
    for name, value in arguments:
        if name == "transparent_hugepage" and value in POLICIES:
            top = value
        elif name == "thp_anon" and value is not None and (given := _parse_sizes(value, sizes)) is not None:
            found.update(given)
            configured = True
    if sizes and not configured:
        found[max(sizes)] = "inherit"
    return top, found


def _parse_sizes(text: str, sizes: Collection[int]) -> dict[int, str] | None:
    """Returns what thp_anon= sets, None if the kernel refuses it."""
    try:
        spans = thp_anon.parse(text)
    except ValueError:
        return dict.fromkeys(sizes, UNINTELLIGIBLE)
    if spans is None or any(size & 1023 or size >> 10 not in sizes for span in spans for size in span[:2]):
        return None
    found: dict[int, str] = {}
    for first, last, policy in spans:
        found.update({kb: policy for kb in sizes if first <= kb << 10 <= last})
    return found
