"""hugepages: reserved pages for each size and NUMA node, and the policy of transparent huge pages.

Sources: `Documentation/admin-guide/mm/hugetlbpage.rst`, `Documentation/admin-guide/mm/transhuge.rst`,
`Documentation/admin-guide/kernel-parameters.txt` of the Linux kernel; tmpfiles.d(5), sysctl.d(5).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from hosttune.checks import _boot_fixes, _hugepages_at_boot, _late_writes
from hosttune.findings import READ_IT, Finding, Hop, HopName
from hosttune.hops import build_finding, judge_fact
from hosttune.host import boot_pages, globs, hugepages, hugetlb, transparent
from hosttune.host.boot_pages import is_enough
from hosttune.host.root import NOT_CAPTURED, Fact, Observed, Root
from hosttune.output import quote_word
from hosttune.refusals import KeyRefused

# Pages this large are hardly ever free in one piece once a host has run for a while.
BOOT_ONLY_KB = 1 << 20

Policy = Literal["always", "madvise", "never"]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`pages`: size (2M, 1G) to node (node0) to the number of pages, at least; 0 means none.
    `transparent`: the policy for all memory that does not ask for huge pages itself."""

    pages: dict[str, dict[str, Count]] = {}
    transparent: Policy | None = None

    def __post_init__(self) -> None:
        for size, counts in self.pages.items():
            try:
                hugetlb.parse_size(size)
            except ValueError as error:
                raise _refuse((size,), str(error)) from None
            for node in counts:
                try:
                    hugetlb.parse_node(node)
                except ValueError as error:
                    raise _refuse((size, node), f"pages.{size}: {error}") from None

    def list_pools(self) -> list[tuple[str, int, int, int]]:
        """Returns (size, its kB, node, count) in the order of the profile."""
        return [
            (size, hugetlb.parse_size(size), hugetlb.parse_node(node), count)
            for size, counts in self.pages.items()
            for node, count in counts.items()
        ]


def _refuse(key: tuple[str, ...], words: str) -> ValueError:
    return KeyRefused(("pages", *key), words)


class Facts(msgspec.Struct):
    """What was read; `pools` by (kB, node)."""

    pools: dict[tuple[int, int], hugepages.Pool]
    transparent: transparent.Policies
    sources: _hugepages_at_boot.Sources

    @property
    def nodes(self) -> Fact[frozenset[int]]:
        return self.sources.nodes


def facts(root: Root, wanted: Section) -> Facts:
    """Read the wanted pools, and all that could set them at boot."""
    return Facts(
        pools={(kb, node): hugepages.read_pool(root, kb, node) for _, kb, node, _ in wanted.list_pools()},
        transparent=transparent.read(root),
        sources=_hugepages_at_boot.read(root),
    )


def sweep(root: Root) -> None:
    """Read what another profile could ask for, so that a snapshot holds it."""
    globs.read(root, f"{hugetlb.NODES}/node*/hugepages/*/*_hugepages", f"{hugetlb.ALL_NODES}/*/*_hugepages")


def check(wanted: Section, facts: Facts, observed: Observed[None] | None) -> list[Finding]:
    """Returns one finding for each size and node, and one on transparent huge pages."""
    findings = [_check_pool(facts, wanted, *pool) for pool in wanted.list_pools()]
    if wanted.transparent is not None:
        findings.append(_check_transparent(facts, wanted.transparent))
    return findings


def _check_pool(facts: Facts, wanted: Section, size: str, kb: int, node: int, count: int) -> Finding:
    pool, sources = facts.pools[kb, node], facts.sources
    hops: dict[HopName, Hop] = {
        "persisted": _hugepages_at_boot.judge_pool(sources, kb, node, count, pool.reserved.value),
        "runtime": judge_fact(pool.reserved, lambda pages: is_enough(pages, count)),
    }
    numa = _hugepages_at_boot.find_numa(sources) if hops["persisted"].state == "ok" else ""
    if numa:
        hops["persisted"] = Hop("unknown", f"{numa}: it may have other nodes", sources.boot.coming.source)
    elif _is_by_boot_line(facts, hops["persisted"]):
        hops["booted"] = _hugepages_at_boot.judge_boot_line(sources, sources.boot.booted, kb, node, count)
    requests = _hugepages_at_boot.parse_line(sources, sources.boot.coming).value
    remarks = requests.remarks if requests and hops["persisted"].state not in ("ok", "unknown") else ()
    result = build_finding(
        f"hugepages.{size}.node{node}",
        count,
        {name: hops[name] for name in ("persisted", "booted", "runtime") if name in hops},
        found=_describe_missing(facts, size, kb, node) if hops["runtime"].state == "absent" else pool.reserved.value,
        why="; ".join([_explain(pool, hops, count), *remarks]),
        fix=f"make sure of the nodes that the next boot has: {numa} decides over them"
        if numa
        else _write_fix(facts, wanted, hops, size, kb, node, count),
        reboot=kb >= BOOT_ONLY_KB and hops["runtime"].state == "bad",
    )
    if result.status == "pass" and count and pool.surplus.state == "unreadable":
        # Surplus is a warning. A tree may lack the file; where it was refused, nobody knows.
        return msgspec.structs.replace(
            result,
            status="warn" if pool.surplus.reason == NOT_CAPTURED else "unknown",
            why=f"whether these pages are surplus, and vanish, is not known: {pool.surplus.source}: "
            f"{pool.surplus.reason}",
            fix=READ_IT,
        )
    surplus = pool.surplus.value or 0
    if result.status == "pass" and count and (pool.reserved.value or 0) - surplus < count:
        return msgspec.structs.replace(
            result,
            status="warn",
            found=f"{pool.reserved.value}, of them {surplus} surplus",
            why="surplus pages were lent out and vanish as soon as they are freed",
            fix=f"echo {count} > {hugetlb.build_path(kb, node)}",
        )
    return result


def _is_by_boot_line(facts: Facts, persisted: Hop) -> bool:
    """Returns whether the kernel's arguments decide: then what this boot was given matters too."""
    return persisted.state in ("ok", "bad") and persisted.source == facts.sources.boot.coming.source


def _describe_missing(facts: Facts, size: str, kb: int, node: int) -> str:
    if facts.nodes.value and node not in facts.nodes.value:
        return f"this host has no node{node}"
    return f"this host has no pages of {size}"


def _explain(pool: hugepages.Pool, hops: dict[HopName, Hop], count: int) -> str:
    if not count:
        return "memory of this node is taken from everything else"
    if hops["runtime"].state == "bad" and "ok" in (
        hops["persisted"].state,
        hops.get("booted", Hop("na")).state,
    ):
        return (
            "the pages were asked for, and the kernel found too little unfragmented memory on this node: "
            "the agent's mapping fails, or lands on another node"
        )
    return "the agent's mapping fails or falls back to 4 KiB pages, and every miss of the TLB costs a page walk"


def _write_fix(
    facts: Facts, wanted: Section, hops: dict[HopName, Hop], size: str, kb: int, node: int, count: int
) -> str:
    path = hugetlb.build_path(kb, node)
    if hops["runtime"].state == "absent":
        if facts.nodes.value and node not in facts.nodes.value:
            return f"take node{node} out of the profile: this host has {_show_nodes(facts.nodes.value)}"
        size = quote_word(size)
        return f"take {size} out of the profile, or boot with hugepagesz={size} on a CPU that has such pages"

    def is_good(line: str) -> bool:
        fact = Fact("value", line, "")
        return all(
            _hugepages_at_boot.judge_boot_line(facts.sources, fact, kb, hugetlb.parse_node(name), pages).state == "ok"
            for name, pages in wanted.pages[size].items()
        )

    lines = []
    persisted = hops["persisted"]
    by_line = persisted.source == facts.sources.boot.coming.source
    if persisted.state in ("bad", "absent") or (persisted.state == "unknown" and by_line):
        by_node = boot_pages.takes_nodes(facts.sources.boot.coming_release)
        if kb >= BOOT_ONLY_KB and by_line and (by_node or len(facts.nodes.value or ()) == 1):
            lines += _boot_fixes.write_pages_fix(facts.sources.boot, size, wanted.pages[size], is_good)
        else:
            lines += _boot_fixes.write_late_fix(facts.sources, persisted, path, str(count))
    lines += _late_writes.advise(persisted, facts.sources.services.value or (), path)
    lines += _boot_fixes.advise_doubt(facts.sources, persisted)
    if hops["runtime"].state == "bad" and kb < BOOT_ONLY_KB:
        lines.append(f"echo 1 > /proc/sys/vm/compact_memory; echo {count} > {path}")
    return "\n".join(lines) or READ_IT


def _check_transparent(facts: Facts, policy: Policy) -> Finding:
    sources, found = facts.sources, facts.transparent
    id, why = "hugepages.transparent", "memory that asks for nothing gets small pages"
    if policy != "always":
        why = "khugepaged and compaction stall threads for milliseconds while they make and move huge pages"
    if found.all.state == "absent":
        words = "the kernel has no transparent huge pages"
        if policy == "never":
            hop = Hop("ok", words, hugetlb.TRANSPARENT)
            return build_finding(id, policy, {"persisted": hop, "runtime": hop}, found=words)
    sizes = found.sizes.value or {}
    wrong = found.find_wrong(policy)
    at_boot = _hugepages_at_boot.judge_policies(sources, policy, sorted(sizes))
    hops: dict[HopName, Hop] = {"persisted": _hugepages_at_boot.join_policies(at_boot)}
    if _is_by_boot_line(facts, hops["persisted"]):
        hops["booted"] = _hugepages_at_boot.judge_boot_policy(sources.boot.booted, policy)
    hops["runtime"] = judge_fact(found.all, lambda value: value == policy)
    if hops["runtime"].state == "ok" and found.sizes.state == "unreadable":
        hops["runtime"] = Hop("unknown", found.sizes.reason, found.sizes.source)
    shown: str | None = None
    if wrong and hops["runtime"].state == "ok":
        of_sizes = ", ".join(f"{value} for {kb} kB" for kb, value in sorted(wrong.items()))
        shown = f"{found.all.value} for all sizes, and {of_sizes}"
        hops["runtime"] = Hop("bad", shown, ", ".join(map(hugetlb.build_policy_path, sorted(wrong))))
    if found.all.state == "absent":
        shown = "the kernel has no transparent huge pages"
    fix = _write_policy_fix(facts, at_boot, policy, wrong)
    return build_finding(id, policy, hops, found=shown, why=why, fix=fix)


def _write_policy_fix(facts: Facts, at_boot: dict[str, Hop], policy: Policy, wrong: dict[int, str]) -> str:
    if facts.transparent.all.state == "absent":
        return "take transparent out of the profile, or boot a kernel with CONFIG_TRANSPARENT_HUGEPAGE=y"
    of_size = "never" if policy == "never" else "inherit"

    def choose(path: str) -> str:
        return policy if path == hugetlb.TRANSPARENT else of_size

    lines = []
    for path, hop in at_boot.items():
        by_line = hop.source == facts.sources.boot.coming.source
        if hop.state in ("bad", "absent") or (hop.state == "unknown" and by_line):
            lines += _boot_fixes.write_late_fix(facts.sources, hop, path, choose(path))
        lines += _late_writes.advise(hop, facts.sources.services.value or (), path)
        lines += _boot_fixes.advise_doubt(facts.sources, hop)
    running = [hugetlb.build_policy_path(kb) for kb in sorted(wrong)]
    if facts.transparent.all.value not in (policy, None):
        running.insert(0, hugetlb.TRANSPARENT)
    lines += [f"echo {choose(path)} > {path}" for path in running]
    return "\n".join(lines) or READ_IT


def _show_nodes(nodes: frozenset[int]) -> str:
    return ", ".join(f"node{node}" for node in sorted(nodes))
