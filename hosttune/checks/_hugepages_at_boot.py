"""What decides at the next boot over a pool of huge pages, and over the policy of transparent ones.

In this order, and what comes later wins: the kernel's arguments; tmpfiles.d and sysctl.d, which are applied in no fixed
order; services that write to the files. Sources: `Documentation/admin-guide/mm/hugetlbpage.rst`,
`Documentation/admin-guide/mm/transhuge.rst` of the Linux kernel; bootup(7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hosttune.checks import _late_writes
from hosttune.findings import Hop
from hosttune.hops import judge_fact
from hosttune.host import (
    boot,
    boot_pages,
    boot_writes,
    cmdline,
    hugepages,
    hugetlb,
    shell,
    start_commands,
    sysctl,
    sysctl_lines,
    sysctl_values,
    sysctl_writes,
    tmpfiles,
    tmpfiles_lines,
    transparent,
)
from hosttune.host.forms import UNINTELLIGIBLE
from hosttune.host.root import Fact, Root
from hosttune.patterns import late_pattern

TOTAL = "vm.nr_hugepages"
# As the kernel's kstrtoul takes it.
_COUNT = late_pattern(r"\+?([0-9]{1,20})\n?")


class Sources(msgspec.Struct):
    """All that could set them at boot."""

    nodes: Fact[frozenset[int]]
    sizes: Fact[frozenset[int]]
    default_kb: Fact[int]
    boot: boot.Boot
    tmpfiles: Fact[tmpfiles.Writes]
    services: Fact[list[start_commands.Write]]
    sysctl: sysctl.Sysctls


def read(root: Root) -> Sources:
    """Read all of them."""
    return Sources(
        nodes=hugepages.read_nodes(root),
        sizes=hugepages.read_sizes(root),
        default_kb=hugepages.read_default_kb(root),
        boot=boot.read(root),
        tmpfiles=tmpfiles.read(root),
        services=boot_writes.read(root),
        sysctl=sysctl.read(root, [TOTAL]),
    )


def find_numa(sources: Sources) -> str:
    """Returns the words with which the next boot may have other NUMA nodes than this one has."""
    now, then = (
        line.map(cmdline.split_arguments).map(cmdline.find_numa).value
        for line in (sources.boot.booted, sources.boot.coming)
    )
    if then is None or now == then or (then == ["numa=off"] and sources.nodes.value == frozenset({0})):
        return ""
    return " ".join(then) or f"no {' '.join(now or ())}"


def parse_line(sources: Sources, line: Fact[str]) -> Fact[boot_pages.Requests]:
    """Returns what a command line asks for."""

    known = boot_pages.takes_nodes(sources.boot.find_release(line))
    return boot.resolve(line, known, lambda args, by_node: _parse(sources, args, by_node))


def _parse(sources: Sources, args: cmdline.Arguments, by_node: bool) -> boot_pages.Requests:
    # The default of this boot may be what its line asks for.
    own = any(name == "default_hugepagesz" for name, _ in cmdline.split_arguments(sources.boot.booted.value or ""))
    default_kb = None if own else sources.default_kb.value
    sizes = sources.sizes.value or None
    return boot_pages.parse(args, default_kb or boot_pages.DEFAULT_KB, sources.nodes.value, sizes, by_node=by_node)


# --- pools ------------------------------------------------------------------------------------------------


def judge_pool(sources: Sources, kb: int, node: int, count: int, now: int | None) -> Hop:
    """Judge what a pool has after the next boot, if memory is there; `now` is what it has."""
    if sources.services.value is None:
        return Hop("unknown", sources.services.reason, sources.services.source)
    own = hugetlb.build_path(kb, node)
    writes = boot_writes.find(sources.services.value, own)
    totals = [each for path in _list_totals(sources, kb) for each in boot_writes.find(sources.services.value, path)]
    others = [each for each in totals if each not in writes]
    loaded = sysctl_writes.find(sources.sysctl.services.value or (), TOTAL)
    found = [(each.value if each.path == own else shell.UNKNOWN, each) for each in [*writes, *others]]
    return _late_writes.judge(
        [*found, *((shell.UNKNOWN, each) for each in loaded)],
        lambda text: bool(_COUNT.fullmatch(text)) and boot_pages.is_enough(int(text), count),
        lambda: _judge_pool_before_services(sources, kb, node, count, now),
    )


def _judge_pool_before_services(sources: Sources, kb: int, node: int, count: int, now: int | None) -> Hop:
    late = [
        each for each in (_judge_tmpfiles(sources, kb, node, count), _judge_sysctl(sources, kb, node, count)) if each
    ]
    for state in ("bad", "unknown", "ok"):
        for each in late:
            if each.state == state:
                return each
    by_argument = _judge_totals(sources, sources.sysctl.arguments.value or [], kb, node, count)
    if by_argument is not None:
        return by_argument
    hop = judge_boot_line(sources, sources.boot.coming, kb, node, count)
    if hop.state == "unknown" and now is not None and boot_pages.is_enough(now, count):
        return _settle(sources, hop, kb, node, count)
    return _explain_mask(sources, hop, [hugetlb.build_path(kb, node), *_list_totals(sources, kb)])


def _explain_mask(sources: Sources, hop: Hop, paths: Sequence[str]) -> Hop:
    """Returns in place of a hop that is not what is wanted why the lines of tmpfiles.d do not change it, if any are."""
    writes = sources.tmpfiles.value
    if writes is None or not writes.masked or hop.state not in ("absent", "bad"):
        return hop
    if not any(tmpfiles_lines.find(writes.lines, path) for path in paths):
        return hop
    return Hop("absent", f"{tmpfiles.SERVICE} is masked: no file of tmpfiles.d is applied at boot", writes.masked)


def _settle(sources: Sources, hop: Hop, kb: int, node: int, count: int) -> Hop:
    """Returns ok where the same arguments gave this boot what is wanted, and that is no more than a node's share."""
    asked = [_guess_request(sources, line, kb) for line in (sources.boot.booted, sources.boot.coming)]
    nodes = sources.nodes.value or ()
    if asked[0] == asked[1] and asked[0] and nodes:
        share = asked[0].nodes.get(node, 0) if any(asked[0].nodes.values()) else asked[0].total // len(nodes)
        if 0 < count <= share:
            return Hop("ok", share, hop.source)
    return hop


def _guess_request(sources: Sources, line: Fact[str], kb: int) -> boot_pages.Request | None:
    """Returns what a line asks for if the kernel takes numbers for each node, unless it is known that it does not; None
    also where the kernel may reserve none of these pages all the same."""
    release = sources.boot.find_release(line)
    by_node = boot_pages.takes_nodes(release) is not False
    requests = line.map(cmdline.split_arguments).map(lambda args: _parse(sources, args, by_node)).value
    if requests is None or boot_pages.skips_size(requests, kb, release) is not False:
        return None
    return requests.pages.get(kb)


def judge_boot_line(sources: Sources, line: Fact[str], kb: int, node: int, count: int) -> Hop:
    """Judge what a command line asks for."""
    requests = parse_line(sources, line)
    if requests.value is None:
        return judge_fact(requests, lambda _: False)
    request = requests.value.pages.get(kb)
    if request is None:
        return Hop("absent" if count else "ok", None, line.source)
    release = sources.boot.find_release(line)
    skipped = boot_pages.skips_size(requests.value, kb, release)
    if skipped or (skipped is None and count):
        return Hop("unknown" if skipped is None else "ok" if not count else "bad", "0 with hugetlb_cma=", line.source)
    even = boot_pages.spreads_evenly(release, kb)
    return _judge_request(sources, request, node, count, line.source, even)


def _judge_request(
    sources: Sources, request: boot_pages.Request, node: int, count: int, source: str, even: bool = True
) -> Hop:
    if sources.nodes.value is None and not any(request.nodes.values()):
        return Hop("unknown", sources.nodes.reason, sources.nodes.source)
    low, high = request.find_bounds(node, sources.nodes.value or (), even)
    if boot_pages.is_enough(low, count) == boot_pages.is_enough(high, count):
        return Hop("ok" if boot_pages.is_enough(low, count) else "bad", low, source)
    return Hop("unknown", f"{low} to {high}: {request.total} pages do not come out even over the nodes", source)


def _list_totals(sources: Sources, kb: int) -> list[str]:
    """Returns the files that take the number of pages of a size on all nodes together."""
    return [hugetlb.build_total_path(kb), *(hugetlb.DEFAULT_TOTALS if kb == _find_default_kb(sources) else [])]


def _judge_tmpfiles(sources: Sources, kb: int, node: int, count: int) -> Hop | None:
    if sources.tmpfiles.value is None:
        return Hop("unknown", sources.tmpfiles.reason, sources.tmpfiles.source)
    named = sources.tmpfiles.value.find(hugetlb.build_path(kb, node))
    others = [line for path in _list_totals(sources, kb) for line in sources.tmpfiles.value.find(path)]
    both = [line for line in sources.tmpfiles.value.lines if line in named or line in others]
    if not both:
        return None
    doubt = sources.tmpfiles.value.doubt
    if doubt.state == "unreadable":
        return Hop("unknown", doubt.reason, doubt.source)
    unknown = next((line for line in both if line.value is None), None)
    if unknown:
        return Hop("unknown", "what it writes depends on the host", unknown.place)
    taken = [line for line in both if _COUNT.fullmatch(line.value or "")]
    if not taken:
        before = judge_boot_line(sources, sources.boot.coming, kb, node, count)
        return (
            before if before.state == "ok" else Hop("bad", f"{both[-1].value}: refused by the kernel", both[-1].place)
        )
    last = taken[-1]
    match = _COUNT.fullmatch(last.value or "")
    pages = int(match[1]) if match else 0
    if last in named:
        return Hop("ok" if boot_pages.is_enough(pages, count) else "bad", pages, last.place)
    if len(taken) > 1:
        return Hop("unknown", "it comes after lines for single nodes", last.place)
    return _judge_request(sources, boot_pages.Request(pages), node, count, last.place)


def _judge_sysctl(sources: Sources, kb: int, node: int, count: int) -> Hop | None:
    if sources.sysctl.boot.state == "unreadable":
        return Hop("unknown", sources.sysctl.boot.reason, sources.sysctl.boot.source)
    return _judge_totals(sources, sources.sysctl.boot.value or [], kb, node, count)


def _judge_totals(
    sources: Sources, assignments: list[sysctl_lines.Assignment], kb: int, node: int, count: int
) -> Hop | None:
    """vm.nr_hugepages is a total of the default size, which the kernel spreads over the nodes."""
    for line in sysctl_lines.find_written(assignments, TOTAL):
        numbers = sysctl_values.read_numbers(line.value or "", 1)
        if numbers is not None:
            break
    else:
        return None
    default_kb = _find_default_kb(sources)
    if default_kb is None:
        return Hop("unknown", sources.default_kb.reason, sources.default_kb.source)
    if default_kb != kb:
        return None
    shown = f"{line.key.replace('/', '.')} = {line.value}"
    place = f"{line.place} ({shown})" if line.line else f"{line.place}: {shown}"  # a fix takes out lines of files
    return _judge_request(sources, boot_pages.Request(max(0, numbers[0])), node, count, place)


def _find_default_kb(sources: Sources) -> int | None:
    """Returns the page size that a number without one means at the next boot."""
    coming = parse_line(sources, sources.boot.coming).value
    return coming.default_kb if coming else sources.default_kb.value


# --- transparent huge pages -------------------------------------------------------------------------------


def judge_policies(sources: Sources, wanted: str, sizes: Sequence[int]) -> dict[str, Hop]:
    """Judge by its path the policy for all sizes, and that of each of `sizes` (kB), after the next boot."""
    line = sources.boot.coming if sources.boot.coming.value is not None else sources.boot.booted
    _, by_size = transparent.resolve_boot(cmdline.split_arguments(line.value or ""), sizes)
    top = _judge_late_policy(
        sources, hugetlb.TRANSPARENT, lambda text: text == wanted, judge_boot_policy(sources.boot.coming, wanted)
    )
    found = {hugetlb.TRANSPARENT: top}
    for kb in sizes:

        def is_good(text: str, kb: int = kb) -> bool:
            policies = transparent.Policies(Fact("value", wanted), Fact("value", {**by_size, kb: text}))
            return kb not in policies.find_wrong(wanted)

        path = hugetlb.build_policy_path(kb)
        at_start = Hop("ok" if is_good(by_size[kb]) else "bad", f"{by_size[kb]} for {kb} kB", line.source)
        if by_size[kb] == UNINTELLIGIBLE:
            at_start = Hop("unknown", "thp_anon= is not understood", line.source)
        found[path] = _judge_late_policy(sources, path, is_good, at_start)
    return found


def join_policies(found: dict[str, Hop]) -> Hop:
    """Returns the worst of them; what is absent, which only the policy for all sizes can be, is better than bad."""
    for state in ("bad", "unknown", "absent"):
        for hop in found.values():
            if hop.state == state:
                return hop
    return found[hugetlb.TRANSPARENT]


def judge_boot_policy(line: Fact[str], wanted: str) -> Hop:
    """Judge the policy for all sizes that a command line asks for."""
    if line.value is None:
        return judge_fact(line, lambda _: False)
    value, _ = transparent.resolve_boot(cmdline.split_arguments(line.value), ())
    return Hop("absent" if value is None else "ok" if value == wanted else "bad", value, line.source)


def _judge_late_policy(sources: Sources, path: str, is_good: Callable[[str], bool], at_start: Hop) -> Hop:
    """Judge what services, or else tmpfiles.d, write to a policy; or else what the kernel starts with."""
    for late in (sources.services, sources.tmpfiles):
        if late.value is None:
            return Hop("unknown", late.reason, late.source)
    writes = boot_writes.find(sources.services.value or (), path)
    known = [(each.value if each.path == path else shell.UNKNOWN, each) for each in writes]
    return _late_writes.judge(known, is_good, lambda: _judge_policy_before_services(sources, path, is_good, at_start))


def _judge_policy_before_services(sources: Sources, path: str, is_good: Callable[[str], bool], at_start: Hop) -> Hop:
    lines = sources.tmpfiles.value.find(path) if sources.tmpfiles.value else []
    if not lines:
        return _explain_mask(sources, at_start, [path])
    doubt = sources.tmpfiles.value.doubt if sources.tmpfiles.value else Fact[bool]("absent")
    if doubt.state == "unreadable":
        return Hop("unknown", doubt.reason, doubt.source)
    if any(each.value is None for each in lines):
        return Hop("unknown", "what it writes depends on the host", lines[-1].place)
    taken = [each for each in lines if (each.value or "").removesuffix("\n") in transparent.SIZE_POLICIES]
    if not taken:
        return Hop("bad", f"{lines[-1].value}: refused by the kernel", lines[-1].place)
    value = (taken[-1].value or "").removesuffix("\n")
    return Hop("ok" if is_good(value) else "bad", value, taken[-1].place)
