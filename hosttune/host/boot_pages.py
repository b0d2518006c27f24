"""What the kernel makes of hugepagesz=, hugepages= and default_hugepagesz= on its command line. Pure, and
of the standard library only: the role hugepages plans with it on the controller.

Sources in the Linux kernel: `mm/hugetlb.c` (`hugepages_setup`, `hugepagesz_setup`, `default_hugepagesz_setup`,
`hugetlb_init`, `cmdline_parse_hugetlb_cma`), `lib/cmdline.c` (`memparse`), `lib/vsprintf.c` (`vsscanf`); numbers of
pages for each node are known from Linux 5.16 on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from hosttune.host.forms import UNINTELLIGIBLE, is_since
from hosttune.patterns import late_pattern

PARAMETERS = ("default_hugepagesz", "hugepagesz", "hugepages", "hugetlb_cma")
#: The default size of most architectures, in kB: what one entry of the second-lowest page table maps.
DEFAULT_KB = 2048

_ULONG = 1 << 64
# For each node the kernel starts two threads, and splits their work into at most four parts each.
_PARTS = 8
# Of one piece: 2**10 pages of 4 KiB.
_BUDDY_KB = 4096
_SIZE = late_pattern(r"(0[xX][0-9a-fA-F]+|[0-9]*)([KMGTPEkmgtpe]?)")
_NUMBER = late_pattern(r"[ \t\n\v\f\r]*([0-9]{1,40})")
_KEPT = late_pattern(r"[0-9:, \t]{0,4096}")
_KEPT_CMA = late_pattern(r"[0-9a-fxA-FXKMGTPkmgtp:,]{0,4096}")
_CMA = late_pattern(r"(?:[0-9]+:)?([0-9a-fxA-FX]{1,40}[KMGTPkmgtp]?)")
_CMA_SIZE = late_pattern(r"([0-9a-fxA-FX]{1,40}[KMGTPkmgtp]?)")


class Request(NamedTuple):
    """Pages that a boot line asks for: on named nodes, or `total` spread over all of them."""

    total: int = 0
    nodes: Mapping[int, int] = MappingProxyType({})

    def find_bounds(self, node: int, nodes: Collection[int], even: bool = True) -> tuple[int, int]:
        """Returns the least and the most pages that a node of a host with these `nodes` gets, if all have memory.

        Where the pages do not come out even, the kernel goes on from the node at which it stopped before. From Linux
        6.9 on several threads allocate at boot, each beginning at the same node: that is not `even`.
        """
        if any(self.nodes.values()):
            pages = self.nodes.get(node, 0)
            return pages, pages
        if node not in nodes:
            return 0, 0
        each, rest = divmod(self.total, len(nodes))
        if even or len(nodes) == 1:
            return each, each + bool(rest)
        spread = _PARTS * len(nodes)
        return max(0, each - spread), min(self.total, each + spread)


class Requests(NamedTuple):
    """What a command line asks for, by page size in kB, and the size in kB that is the default then.

    `remarks` says in words which parameter the kernel ignores. `cma_kb`: what hugetlb_cma= sets aside for pages that
    are larger than what the buddy allocator has.
    """

    pages: Mapping[int, Request] = MappingProxyType({})
    default_kb: int = DEFAULT_KB
    remarks: tuple[str, ...] = ()
    cma_kb: int = 0


def takes_nodes(release: str) -> bool | None:
    """Returns whether a kernel takes numbers of pages for each node; None where its release does not tell."""
    return is_since(release, (5, 16))


def skips_size(requests: Requests, kb: int, release: str) -> bool | None:
    """Returns whether a kernel reserves none of the pages of a size at boot, because it takes them out of what
    hugetlb_cma= set aside: later, and only if somebody asks for them.

    None from Linux 6.15 on, which may take them at boot. Source: `mm/hugetlb.c` (`hugetlb_hstate_alloc_pages`).
    """
    if kb <= _BUDDY_KB or requests.cma_kb < kb or is_since(release, (5, 7)) is False:
        return False
    return True if is_since(release, (6, 15)) is False else None


def is_enough(pages: int, count: int) -> bool:
    """Returns whether a pool has what is wanted: at least so many, and none if none are."""
    return pages >= count if count else pages == 0


def spreads_evenly(release: str, kb: int) -> bool:
    """Returns whether a kernel gives each node the same number of pages of a size at boot, as far as that goes.

    Pages that are larger than what the buddy allocator has it takes from whichever node has room.
    """
    if kb > _BUDDY_KB:
        return False
    match = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", release)
    return match is not None and (int(match[1]), int(match[2])) < (6, 9)


class _Pool:
    """Pages of a size while the line is read."""

    def __init__(self) -> None:
        self.total = 0
        self.nodes: dict[int, int] = {}

    def clear(self) -> None:
        self.total, self.nodes = 0, {}


def parse(
    arguments: Iterable[tuple[str, str | None]],
    default_kb: int = DEFAULT_KB,
    nodes: Collection[int] | None = None,
    sizes: Collection[int] | None = None,
    by_node: bool = True,
) -> Requests:
    """Returns what the kernel takes of a command line.

    `default_kb`: the default size unless the line says another; `nodes`: those that are online, and `sizes`: those
    that the CPU has, in kB; None for any. `by_node`: whether the kernel takes numbers for each node
    (:func:`takes_nodes`); one that does not reads the number before the colon.
    """
    reader = _Reader(nodes, sizes, by_node)
    for name, value in arguments:
        if value is not None and name in PARAMETERS:
            getattr(reader, f"read_{name}")(value)
    return reader.finish(default_kb)


class _Reader:
    """The state that the kernel keeps between these parameters."""

    def __init__(self, nodes: Collection[int] | None, sizes: Collection[int] | None, by_node: bool) -> None:
        self._nodes, self._sizes, self._by_node = nodes, sizes, by_node
        self._cma_kb = 0
        self._pools: dict[int, _Pool] = {}
        self._implicit = _Pool()  # of the default size, before any size is named
        self._valid = True  # whether the size before was one
        self._current: int | None = None
        self._default: int | None = None
        self._last: _Pool | None = None
        self._remarks: list[str] = []

    def read_hugepagesz(self, text: str) -> None:
        self._valid = False
        kb = _parse_size(text)
        if not self._is_size(kb):
            self._remark(f"hugepagesz={text}", "not a page size of this host")
            return
        if kb in self._pools:
            if kb != self._default or self._pools[kb].total:
                self._remark(f"hugepagesz={text}", "specified twice")
                return
        else:
            self._pools[kb] = _Pool()
        self._current, self._valid = kb, True

    def read_default_hugepagesz(self, text: str) -> None:
        self._valid = False
        kb = _parse_size(text)
        if self._default is not None or not self._is_size(kb):
            reason = "not a page size of this host" if self._default is None else "specified twice"
            self._remark(f"default_hugepagesz={text}", reason)
            return
        if kb not in self._pools:
            self._pools[kb] = _Pool()
            self._current = kb
        self._valid, self._default = True, kb
        if self._implicit.total:
            pool = self._pools[kb]
            pool.total, pool.nodes = self._implicit.total, dict(self._implicit.nodes)
            self._implicit.total = 0

    def read_hugepages(self, text: str) -> None:
        if not self._valid:
            self._remark(f"hugepages={text}", "the page size before it is none, or was refused")
            self._valid = True
            return
        pool = self._implicit if self._current is None else self._pools[self._current]
        if pool is self._last:
            self._remark(f"hugepages={text}", "specified twice for one page size")
            return
        if not self._by_node:
            number = _NUMBER.match(text)
            pool.total = int(number[1]) % _ULONG if number else 0
            self._last = pool
            if ":" in text:
                words = f"before Linux 5.16 there are no numbers for each node, so the kernel reads {pool.total}"
                self._remarks.append(f"hugepages={text}: {words}")
        elif self._read_counts(text, pool):
            self._last = pool
        else:
            self._remark(f"hugepages={text}", "not numbers of pages on nodes of this host")
            pool.clear()

    def read_hugetlb_cma(self, text: str) -> None:
        """A size for all nodes, or one for each of some."""
        sizes = [_CMA.match(part) for part in text.split(",")] if self._by_node else [_CMA_SIZE.match(text)]
        self._cma_kb = sum(parse_bytes(match[1]) for match in sizes if match) >> 10
        if self._cma_kb:
            words = "the kernel reserves none of the pages at boot that come out of it"
            self._remarks.append(f"hugetlb_cma={text}: {words}")

    def _read_counts(self, text: str, pool: _Pool) -> bool:
        """Returns whether the kernel takes it; it reads as far as it understands, and is content with that."""
        position = 0
        while position < len(text):
            match = _NUMBER.match(text, position)
            if match is None:
                return False
            number, end = int(match[1]) % _ULONG, match.end()
            if text[end : end + 1] != ":":
                if position:
                    return False
                pool.total = number
                return True
            count = _NUMBER.match(text, end + 1)
            if count is None or (self._nodes is not None and number not in self._nodes):
                return False
            pool.nodes[number] = int(count[1]) % _ULONG
            pool.total += pool.nodes[number]
            position = count.end()
            if text[position : position + 1] != ",":
                return True
            position += 1
        return True

    def finish(self, default_kb: int) -> Requests:
        """Returns what came of all: pages of the default size that no size was named for replace those of that size."""
        if self._default is None and self._implicit.total:
            if default_kb in self._pools and self._pools[default_kb].total:
                self._remark(
                    f"hugepages={self._pools[default_kb].total} after hugepagesz=", "replaced by the first one"
                )
            self._pools[default_kb] = self._implicit
        pages = {kb: Request(pool.total, dict(pool.nodes)) for kb, pool in self._pools.items() if pool is not None}
        return Requests(pages, self._default or default_kb, tuple(self._remarks), self._cma_kb)

    def _is_size(self, kb: int) -> bool:
        return kb in self._sizes if self._sizes is not None else kb > 4 and kb & (kb - 1) == 0

    def _remark(self, shown: str, reason: str) -> None:
        self._remarks.append(f"{shown}: {reason}, so the kernel ignores it")


def reduce(name: str, text: str) -> str:
    """Returns what the kernel reads of the value of one of PARAMETERS."""
    if name in ("hugepages", "hugetlb_cma"):
        kept = (_KEPT if name == "hugepages" else _KEPT_CMA).match(text)
        read = kept[0] if kept else ""
        return read if read == text else read + UNINTELLIGIBLE
    match = _SIZE.match(text)
    return match[0] if match and len(match[0]) <= 64 and match[1] else UNINTELLIGIBLE


def _parse_size(text: str) -> int:
    """Returns a size in kB, 0 for none."""
    number = parse_bytes(text)
    return 0 if number % 1024 else number >> 10


def parse_bytes(text: str) -> int:
    """Returns a size; as in C, numbers may be hexadecimal or octal, and what follows is ignored."""
    match = _SIZE.match(text)
    if match is None or not match[1] or len(match[1]) > 64:
        return 0
    digits = match[1]
    if digits[:2] in ("0x", "0X"):
        number = int(digits, 16)
    elif digits[0] == "0":
        octal = re.match("[0-7]*", digits)
        legal = octal[0] if octal else ""
        number = int(legal, 8)
        if legal != digits:
            return number
    else:
        number = int(digits)
    return (number << 10 * " KMGTPE".index(match[2].upper() or " ")) % _ULONG
