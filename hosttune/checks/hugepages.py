"""hugepages: reserved pages for each size and NUMA node, and the policy of transparent huge pages.

Sources: `Documentation/admin-guide/mm/hugetlbpage.rst`, `Documentation/admin-guide/mm/transhuge.rst`,
`Documentation/admin-guide/kernel-parameters.txt` of the Linux kernel; tmpfiles.d(5), sysctl.d(5).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from hosttune.findings import READ_IT, Finding, Hop, HopName
from hosttune.hops import build_finding, judge_fact
from hosttune.host import boot, cmdline, globs, hugepages, hugetlb, sysctl, tmpfiles
from hosttune.host.root import NOT_CAPTURED, Fact, Observed, Root
from hosttune.output import quote_word

TOTAL = "vm.nr_hugepages"
FILE = "/etc/tmpfiles.d/00-hosttune-hugepages.conf"

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
    from hosttune.config_errors import KeyRefused  # late: only for what is wrong

    return KeyRefused(("pages", *key), words)


class Facts(msgspec.Struct):
    """What was read; `pools` by (kB, node). `transparent` is absent if the kernel has none."""

    nodes: Fact[frozenset[int]]
    pools: dict[tuple[int, int], hugepages.Pool]
    default_kb: Fact[int]
    transparent: Fact[str]
    boot: boot.Boot
    tmpfiles: Fact[dict[str, tmpfiles.Line]]
    sysctl: sysctl.Sysctls


def facts(root: Root, wanted: Section) -> Facts:
    """Read the wanted pools, and all that could set them at boot."""
    return Facts(
        nodes=hugepages.read_nodes(root),
        pools={(kb, node): hugepages.read_pool(root, kb, node) for _, kb, node, _ in wanted.list_pools()},
        default_kb=hugepages.read_default_kb(root),
        transparent=hugepages.read_transparent(root),
        boot=boot.read(root),
        tmpfiles=tmpfiles.read(root),
        sysctl=sysctl.read(root, [TOTAL]),
    )


def sweep(root: Root) -> None:
    """Read what another profile could ask for, so that a snapshot holds it."""
    globs.read(root, f"{hugetlb.NODES}/node*/hugepages/*/*_hugepages", f"{hugepages.NO_NUMA}/*/*_hugepages")


def check(wanted: Section, facts: Facts, observed: Observed[None] | None) -> list[Finding]:
    """Returns one finding for each size and node, and one on transparent huge pages."""
    findings = [_check_pool(facts, *pool) for pool in wanted.list_pools()]
    if wanted.transparent is not None:
        findings.append(_check_transparent(facts, wanted.transparent))
    return findings


def _check_pool(facts: Facts, size: str, kb: int, node: int, count: int) -> Finding:
    pool = facts.pools[kb, node]
    hops: dict[HopName, Hop] = {
        "persisted": _judge_persisted(facts, kb, node, count),
        "runtime": judge_fact(pool.reserved, lambda pages: _is_enough(pages, count)),
    }
    if _is_by_boot_line(facts, hops["persisted"]):
        hops["booted"] = _judge_boot_line(facts, facts.boot.booted, kb, node, count)
    result = build_finding(
        f"hugepages.{size}.node{node}",
        count,
        {name: hops[name] for name in ("persisted", "booted", "runtime") if name in hops},
        found=_describe_missing(facts, size, kb, node) if hops["runtime"].state == "absent" else pool.reserved.value,
        why=_explain(pool, hops, count),
        fix=_write_fix(facts, hops, size, kb, node, count),
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
    return persisted.state in ("ok", "bad") and persisted.source == facts.boot.coming.source


def _is_enough(pages: int, count: int) -> bool:
    return pages >= count if count else pages == 0


def _judge_persisted(facts: Facts, kb: int, node: int, count: int) -> Hop:
    """What decides at boot: tmpfiles.d for this very pool, else vm.nr_hugepages, else the kernel's arguments.

    tmpfiles.d and sysctl.d are applied in no fixed order, so if both set the pool they have to agree.
    """
    late = [each for each in (_judge_tmpfiles(facts, kb, node, count), _judge_sysctl(facts, kb, node, count)) if each]
    for state in ("bad", "unknown", "ok"):
        for each in late:
            if each.state == state:
                return each
    return _judge_boot_line(facts, facts.boot.coming, kb, node, count)


def _judge_tmpfiles(facts: Facts, kb: int, node: int, count: int) -> Hop | None:
    if facts.tmpfiles.value is None:
        return Hop("unknown", facts.tmpfiles.reason, facts.tmpfiles.source)
    line = facts.tmpfiles.value.get(hugetlb.build_path(kb, node))
    if line is None:
        return None
    if not line.value.isdigit():
        return Hop("bad", line.value, line.place)
    return Hop("ok" if _is_enough(int(line.value), count) else "bad", int(line.value), line.place)


def _judge_sysctl(facts: Facts, kb: int, node: int, count: int) -> Hop | None:
    """vm.nr_hugepages is a total of the default size, which the kernel spreads over the nodes."""
    if facts.sysctl.boot.state == "unreadable":
        return Hop("unknown", facts.sysctl.boot.reason, facts.sysctl.boot.source)
    line = sysctl.find_winner(facts.sysctl.boot.value or [], TOTAL)
    if line is None or not (line.value or "").isdigit():
        return None
    if facts.default_kb.value is None:
        return Hop("unknown", facts.default_kb.reason, facts.default_kb.source)
    if facts.default_kb.value != kb:
        return None
    if facts.nodes.value is None:
        return Hop("unknown", facts.nodes.reason, facts.nodes.source)
    pages = hugepages.Request(int(line.value or 0)).count_on(node, facts.nodes.value)
    return Hop("ok" if _is_enough(pages, count) else "bad", pages, f"{line.place} ({TOTAL} = {line.value})")


def _judge_boot_line(facts: Facts, line: Fact[str], kb: int, node: int, count: int) -> Hop:
    if line.value is None:
        return judge_fact(line, lambda _: False)
    request = hugepages.parse_requests(cmdline.split_arguments(line.value), facts.default_kb.value).get(kb)
    if request is None:
        return Hop("absent" if count else "ok", None, line.source)
    if facts.nodes.value is None and not request.nodes:
        return Hop("unknown", facts.nodes.reason, facts.nodes.source)
    pages = request.count_on(node, facts.nodes.value or ())
    return Hop("ok" if _is_enough(pages, count) else "bad", pages, line.source)


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


def _write_fix(facts: Facts, hops: dict[HopName, Hop], size: str, kb: int, node: int, count: int) -> str:
    path = hugetlb.build_path(kb, node)
    if hops["runtime"].state == "absent":
        if facts.nodes.value and node not in facts.nodes.value:
            return f"take node{node} out of the profile: this host has {_show_nodes(facts.nodes.value)}"
        size = quote_word(size)
        return f"take {size} out of the profile, or boot with hugepagesz={size} on a CPU that has such pages"
    lines = []
    persisted = hops["persisted"]
    if persisted.state == "bad":
        lines.append(f"ask for {count} at {quote_word(persisted.source)}")
    elif persisted.state == "absent" or _is_only_boot_unknown(facts, persisted):
        if kb >= BOOT_ONLY_KB:
            lines.append(f"add hugepagesz={quote_word(size)} hugepages={node}:{count} to the kernel command line")
        else:
            lines.append(f"echo 'w {path} - - - - {count}' >> {FILE}")
    if hops["runtime"].state == "bad" and kb < BOOT_ONLY_KB:
        lines.append(f"echo 1 > /proc/sys/vm/compact_memory; echo {count} > {path}")
    return "\n".join(lines) or READ_IT


def _is_only_boot_unknown(facts: Facts, persisted: Hop) -> bool:
    """Returns whether the boot loader alone could not be read: tmpfiles.d settles it without."""
    return persisted.state == "unknown" and persisted.source == facts.boot.coming.source


def _check_transparent(facts: Facts, policy: Policy) -> Finding:
    hops: dict[HopName, Hop] = {"persisted": _judge_persisted_policy(facts, policy)}
    if _is_by_boot_line(facts, hops["persisted"]):
        hops["booted"] = _judge_boot_policy(facts.boot.booted, policy)
    hops["runtime"] = judge_fact(facts.transparent, lambda found: found == policy)
    if facts.transparent.state == "absent" and policy == "never":
        hops = {"runtime": Hop("na", "the kernel has no transparent huge pages", hugetlb.TRANSPARENT)}
    return build_finding(
        "hugepages.transparent",
        policy,
        hops,
        found="the kernel has no transparent huge pages" if facts.transparent.state == "absent" else None,
        why="khugepaged and compaction stall threads for milliseconds while they make and move huge pages"
        if policy != "always"
        else "memory that asks for nothing gets small pages",
        fix=_write_policy_fix(facts, hops, policy),
    )


def _write_policy_fix(facts: Facts, hops: dict[HopName, Hop], policy: Policy) -> str:
    if facts.transparent.state == "absent":
        return "take transparent out of the profile, or boot a kernel with CONFIG_TRANSPARENT_HUGEPAGE=y"
    lines = []
    persisted = hops["persisted"]
    if persisted.state == "bad":
        lines.append(f"ask for {policy} at {quote_word(persisted.source)}")
    elif persisted.state == "absent" or _is_only_boot_unknown(facts, persisted):
        lines.append(f"echo 'w {hugetlb.TRANSPARENT} - - - - {policy}' >> {FILE}")
    if hops["runtime"].state == "bad":
        lines.append(f"echo {policy} > {hugetlb.TRANSPARENT}")
    return "\n".join(lines) or READ_IT


def _judge_persisted_policy(facts: Facts, policy: Policy) -> Hop:
    if facts.tmpfiles.value is None:
        return Hop("unknown", facts.tmpfiles.reason, facts.tmpfiles.source)
    line = facts.tmpfiles.value.get(hugetlb.TRANSPARENT)
    if line is not None:
        return Hop("ok" if line.value == policy else "bad", line.value, line.place)
    return _judge_boot_policy(facts.boot.coming, policy)


def _judge_boot_policy(line: Fact[str], policy: Policy) -> Hop:
    if line.value is None:
        return judge_fact(line, lambda _: False)
    value = cmdline.find_last(cmdline.split_arguments(line.value), "transparent_hugepage")
    if value is None:
        return Hop("absent", None, line.source)
    return Hop("ok" if value == policy else "bad", value, line.source)


def _show_nodes(nodes: frozenset[int]) -> str:
    return ", ".join(f"node{node}" for node in sorted(nodes))
