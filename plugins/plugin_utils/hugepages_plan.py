# SPDX-License-Identifier: Apache-2.0
"""What the role hugepages is asked for, checked, and what it comes to: kernel values, boot arguments, a mount unit.

Sources: `Documentation/admin-guide/mm/hugetlbpage.rst` of the Linux kernel; systemd.unit(5) on the names of units.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

from hosttune.host import boot_pages, cmdline, hugetlb

from . import boot_line, cpu_lists, inputs, later_files
from .host_facts import RELEASE, UPDATE_GRUB, Host

#: The first kernel that takes counts per node on its command line (`hugepages=0:2,1:2`).
_PER_NODE = (5, 16)
MEMINFO = "/proc/meminfo"
_OWN = "/etc/tmpfiles.d/00-hosttune-hugepages.conf"
#: Physical addresses of x86-64 and arm64 have at most 52 bits.
_MOST_KB = 1 << 42
_DEFAULT_KB = r"^Hugepagesize: *([0-9]{1,15}) kB"
_MOUNT = ("group", "path", "size")
_PATH = re.compile(r"(/[A-Za-z0-9:_-][A-Za-z0-9:_.-]*)+")
_KEPT_IN_UNIT_NAMES = re.compile(r"[^A-Za-z0-9:_.]")


class Pool(NamedTuple):
    """Pages of one size on one NUMA node."""

    size: str
    kb: int
    node: int
    pages: int


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the files of the pools and of the policy, and what tells whether pages can be reserved at boot."""
    if image or not asked["refuse"]:
        return []
    pools = [hugetlb.build_path(pool.kb, pool.node) for pool in _pools(asked["pages"], [])]
    sizes = [hugetlb.build_policy_path(kb) for kb in hugetlb.POLICY_SIZES]
    early = later_files.list_reads("tmpfiles", "sysctl")
    nodes = {_build_memory_path(pool.node) for pool in _pools(asked["pages"], [])}
    of_boot = [f"files:{hugetlb.ALL_NODES}/*/nr_hugepages", f"files:{hugetlb.NODES}/node*/meminfo", *boot_line.READS]
    return [RELEASE, UPDATE_GRUB, MEMINFO, hugetlb.TRANSPARENT, *pools, *sizes, *sorted(nodes), *early, *of_boot]


def plan(
    pages: Any, boot_sizes: Any, transparent: Any, mount: Any, refuse: bool = True, host: Host | None = None
) -> dict[str, Any]:
    """Return what the variables come to.

    `values`: path below /sys to what the role writes now and tmpfiles.d at each boot. `arguments`: words for the
    kernel's command line, and `spellings` the sizes in them in each way in which somebody may have written them there.
    `section`: the section of the profile. `unit`: name of the mount unit, "" for none.
    Raises ValueError with one line per problem; without `refuse`, for a revert, what cannot be planned is left out.
    """
    host = host or Host()
    problems: list[str] = []
    pools = _pools(pages, problems)
    at_boot = _boot_sizes(boot_sizes, problems)
    of_mount = _problems(pages, transparent, mount)
    problems += _find_missing(host, pools) or _find_too_many(host, pools)
    problems += _find_boot_problems(host, [pool for pool in pools if pool.kb in at_boot])
    has_transparent = not host.lacks(hugetlb.TRANSPARENT)
    if transparent and not has_transparent and transparent != "never":
        reason = "hugepages_transparent: the host's kernel has no transparent huge pages"
        host.refuse_or_leave_out(problems, reason, "hugepages_transparent", transparent)
    elif transparent and not has_transparent:
        host.left_out.append("hugepages_transparent: never holds, the host's kernel has no transparent huge pages")
    if refuse:
        cpu_lists.refuse(problems + of_mount)
    elif of_mount:
        mount, transparent = {}, None
    now = [pool for pool in pools if pool.kb not in at_boot]
    values: dict[str, Any] = {hugetlb.build_path(pool.kb, pool.node): pool.pages for pool in now}
    section: dict[str, Any] = {"pages": {pool.size: {} for pool in pools}}
    for pool in pools:
        section["pages"][pool.size][f"node{pool.node}"] = pool.pages
    if transparent:
        section["transparent"] = str(transparent)
        if has_transparent:
            values[hugetlb.TRANSPARENT] = str(transparent)
            values.update(_plan_sizes(host, str(transparent)))
    early = [pool for pool in pools if pool.kb in at_boot]
    spellings = [text for kb in sorted({pool.kb for pool in early}) for text in spell(kb)]
    if refuse:
        cpu_lists.refuse(_find_overruled(host, pools, str(transparent or ""), values))
        cpu_lists.refuse(_find_words(host, early, spellings))
    return {
        "values": values,
        "arguments": arguments(early),
        "spellings": spellings,
        "section": section,
        "unit": mount_unit(mount["path"]) if mount else "",
    }


def _find_overruled(host: Host, pools: list[Pool], policy: str, values: dict[str, Any]) -> list[str]:
    """Returns a line for each pool, and each policy, that a file of somebody else takes back at boot."""
    asked = {hugetlb.build_path(pool.kb, pool.node): pool for pool in pools}
    found = re.search(_DEFAULT_KB, host.read(MEMINFO) or "", re.MULTILINE)
    of_default = {path for path, pool in asked.items() if found is None or pool.kb == int(found[1])}
    totals = {
        path: (hugetlb.build_total_path(pool.kb), *(hugetlb.DEFAULT_TOTALS if path in of_default else ()))
        for path, pool in asked.items()
    }
    kept = {path: (str(pool.pages), str(pool.pages).__eq__) for path, pool in asked.items() if path not in values}
    if policy:
        fits = functools.partial(hugetlb.fits_policy, wanted=policy)
        kept |= {path: (policy, fits) for path in _list_sizes(host) if path not in values}
    problems = later_files.find_tmpfiles(host, _OWN, values, kept, totals)
    if of_default:
        problems += later_files.find_total(host, "vm.nr_hugepages", "hugepages_pages")
    return problems


def _find_words(host: Host, pools: list[Pool], spellings: list[str]) -> list[str]:
    """Returns a line for each word on the command line of the next boot that takes back pools reserved there."""
    if not pools:
        return []
    release = host.read(RELEASE) or ""
    nodes = _read_numbers(host, rf"{hugetlb.NODES}/node([0-9]+)/meminfo")
    sizes = _read_numbers(host, rf"{hugetlb.ALL_NODES}/hugepages-([0-9]+)kB/nr_hugepages")
    default = re.search(_DEFAULT_KB, host.read(MEMINFO) or "", re.MULTILINE)
    # The default of this boot may be what its line asks for.
    asked = re.search(r"\bdefault_hugepagesz=", host.read(boot_line.CMDLINE) or "")
    default_kb = int(default[1]) if default and not asked else boot_pages.DEFAULT_KB

    def reserves(line: cmdline.Arguments) -> bool:
        requests = boot_pages.parse(line, default_kb, nodes or None, sizes or None)
        return all(
            _gets(requests.pages.get(pool.kb), pool, nodes, release)
            and (not pool.pages or boot_pages.skips_size(requests, pool.kb, release) is False)
            for pool in pools
        )

    words = arguments(pools)
    removed = [f"{name}={text}" for name in ("hugepagesz", "default_hugepagesz") for text in spellings]
    wanted = [
        boot_line.Wanted(" ".join(words), boot_pages.PARAMETERS, reserves),
        boot_line.Wanted("what no bootconfig adds to", ("bootconfig",), boot_line.is_whole),
    ]
    text = f"hugepages_pages: pages of {', '.join(dict.fromkeys(pool.size for pool in pools))} are reserved at boot"
    own = boot_line.Fragment("hugepages", removed, words)
    return boot_line.find_other_loader(host, text) or boot_line.find_problems(host, own, wanted)


def _gets(request: boot_pages.Request | None, pool: Pool, nodes: frozenset[int], release: str) -> bool:
    """Tells whether a pool gets its pages by what a command line asks for of its size."""
    if request is None:
        return pool.pages == 0
    bounds = request.find_bounds(pool.node, nodes, boot_pages.spreads_evenly(release, pool.kb))
    return all(boot_pages.is_enough(pages, pool.pages) for pages in bounds)


def _read_numbers(host: Host, pattern: str) -> frozenset[int]:
    """Returns the numbers in the paths of files that were found."""
    found = (re.fullmatch(pattern, path) for path in host.found if not host.lacks(path))
    return frozenset(int(match[1]) for match in found if match)


def _list_sizes(host: Host) -> list[str]:
    """Returns the files of the policies for each size, by size."""
    paths = [hugetlb.build_policy_path(kb) for kb in hugetlb.POLICY_SIZES]
    return [path for path in paths if host.read(path) is not None]


def _plan_sizes(host: Host, policy: str) -> dict[str, str]:
    """Return what each size is set to on a kernel that has a policy for each: for `never` none has its own, else the
    largest follows the one for all, as the kernel sets it at boot, and so does one that is more eager now."""
    found = _list_sizes(host)
    if policy == "never":
        return dict.fromkeys(found, "never")
    chosen = {path: re.search(r"\[(\w+)\]", host.read(path) or "") for path in found}
    eager = [path for path, word in chosen.items() if word is not None and not hugetlb.fits_policy(word[1], policy)]
    return dict.fromkeys([*eager, *found[-1:]], "inherit")


def arguments(pools: list[Pool]) -> list[str]:
    """Return the words that have the kernel reserve the pools at boot: hugepagesz=1G hugepages=0:2,1:2."""
    by_size: dict[str, list[str]] = {}
    for pool in pools:
        by_size.setdefault(pool.size, []).append(f"{pool.node}:{pool.pages}")
    return [
        word for size, counts in by_size.items() for word in (f"hugepagesz={size}", f"hugepages={','.join(counts)}")
    ]


def spell(kb: int) -> list[str]:
    """Return the ways to write a page size on the kernel's command line: 1G, 1g, 1024M, ..., 1073741824."""
    found = []
    for unit, shift in (("G", 20), ("M", 10), ("K", 0)):
        number, rest = kb >> shift, kb & ((1 << shift) - 1)
        if number and not rest:
            found += [f"{number}{unit}", f"{number}{unit.lower()}"]
    return [*found, str(kb << 10)]


def mount_unit(path: str) -> str:
    """Return systemd's name of the mount unit of an absolute path: `/` becomes `-`, other characters are escaped."""
    name = path.strip("/")
    parts = [_KEPT_IN_UNIT_NAMES.sub(lambda match: f"\\x{ord(match[0]):02x}", part) for part in name.split("/")]
    return "-".join(parts) + ".mount"


def _pools(pages: Any, problems: list[str]) -> list[Pool]:
    if not isinstance(pages, dict):
        problems.append(f"hugepages_pages is {cpu_lists.show(pages)}: expected sizes, such as {{2M: {{node0: 512}}}}")
        return []
    pools: list[Pool] = []
    sizes: dict[int, str] = {}
    for size, counts in pages.items():
        found = f"hugepages_pages: {size}: {cpu_lists.show(counts)}"
        try:
            kb = hugetlb.parse_size(str(size))
            if not isinstance(counts, dict):
                raise ValueError("no nodes")
            numbers = [(hugetlb.parse_node(str(node)), _count(count, kb)) for node, count in counts.items()]
        except ValueError as error:
            problems.append(
                f"{found}: {error}; expected a size such as 2M or 1G, and for it nodes with a number of pages, "
                "such as {node0: 512}"
            )
            continue
        if kb in sizes:
            problems.append(f"{found}: the same size as {sizes[kb]}; expected each size once")
        if len({node for node, _ in numbers}) < len(numbers):
            problems.append(f"{found}: a node is named twice; expected each node once")
        sizes[kb] = str(size)
        pools += [Pool(str(size), kb, node, count) for node, count in numbers]
    return pools


def _find_missing(host: Host, pools: list[Pool]) -> list[str]:
    """Returns a line for each pool that the kernel has no file for: of a size or a node that is not there."""
    return [
        f"hugepages_pages: {pool.size}: node{pool.node}: the host has no such pool: no such node, none with memory, or "
        f"no pages of this size ({path} does not exist)"
        for pool in pools
        if host.lacks(path := hugetlb.build_path(pool.kb, pool.node))
    ]


def _find_too_many(host: Host, pools: list[Pool]) -> list[str]:
    """Returns a line for each node with less memory than its pools: the kernel would give fewer pages, or not boot."""
    problems = []
    for node in sorted({pool.node for pool in pools}):
        memory = re.search(r"MemTotal: *([0-9]{1,15}) kB", host.read(_build_memory_path(node)) or "")
        asked = sum(pool.kb * pool.pages for pool in pools if pool.node == node)
        if memory is not None and asked >= int(memory[1]):
            problems.append(
                f"hugepages_pages: node{node}: {asked:,} kB in all: the node has {int(memory[1]):,} kB of memory, and "
                "everything else needs a part of it"
            )
    return problems


def _build_memory_path(node: int) -> str:
    return f"/sys/devices/system/node/node{node}/meminfo"


def _find_boot_problems(host: Host, pools: list[Pool]) -> list[str]:
    """Returns a line if the kernel command line cannot reserve pools."""
    release = host.read(RELEASE)
    if not pools or release is None:
        return []
    numbers = re.match(r"([0-9]+)\.([0-9]+)", release)
    old = numbers is not None and (int(numbers[1]), int(numbers[2])) < _PER_NODE
    if not old and not host.lacks(UPDATE_GRUB):
        return []
    sizes = ", ".join(dict.fromkeys(pool.size for pool in pools))
    return [
        f"hugepages_pages: pages of {sizes} are reserved on the kernel command line: this takes Linux 5.16 or later "
        "(for counts per node) and update-grub, that is Debian or Ubuntu with GRUB. The host has Linux "
        f"{release} and {'no' if host.lacks(UPDATE_GRUB) else 'an'} update-grub"
    ]


def _count(value: Any, kb: int) -> int:
    """Return a number of pages of a size. Raises ValueError."""
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,15}", str(value)) or int(value) * kb > _MOST_KB:
        raise ValueError(f"{cpu_lists.show(value)} is not a number of pages (at most {_MOST_KB // kb})")
    return int(value)


def _boot_sizes(boot_sizes: Any, problems: list[str]) -> set[int]:
    sizes: set[int] = set()
    if not isinstance(boot_sizes, list):
        problems.append(f"hugepages_boot_sizes is {cpu_lists.show(boot_sizes)}: expected a list of sizes such as 1G")
        return sizes
    for size in boot_sizes:
        try:
            sizes.add(hugetlb.parse_size(str(size)))
        except ValueError as error:
            problems.append(f"hugepages_boot_sizes: {error}")
    return sizes


def _problems(pages: Any, transparent: Any, mount: Any) -> list[str]:
    problems = []
    if transparent is not None and str(transparent) not in hugetlb.POLICIES:
        problems.append(
            f"hugepages_transparent is {transparent} (allowed: {', '.join(hugetlb.POLICIES)}, null)"
            + (": quote the word" if isinstance(transparent, bool) else "")
        )
    if not mount:
        return problems
    if not isinstance(mount, dict) or set(mount) != set(_MOUNT):
        problems.append(f"hugepages_mount is {cpu_lists.show(mount)} (allowed: {{}}, or path, group and size together)")
        return problems
    if not _PATH.fullmatch(str(mount["path"])):
        problems.append(
            f"hugepages_mount.path is {cpu_lists.show(mount['path'])} (allowed: the path absolute, of letters, digits "
            "and :_.-, no part beginning with a dot)"
        )
    if not inputs.USER.holds(mount["group"]):
        problems.append(f"hugepages_mount.group is {cpu_lists.show(mount['group'])} (allowed: {inputs.USER.allowed})")
    if not isinstance(mount["size"], str) or mount["size"] not in (pages if isinstance(pages, dict) else ()):
        problems.append(
            f"hugepages_mount.size is {cpu_lists.show(mount['size'])} (allowed: the size one of hugepages_pages: "
            f"{', '.join(map(str, pages)) if isinstance(pages, dict) and pages else 'none'})"
        )
    return problems
