"""Our reading of a kernel command line beside what a kernel made of it, as tests/vm/kernel_boots.py has it told."""

from __future__ import annotations

import re
from typing import Any

from hosttune.host import boot_pages, cmdline, cpulist, transparent

LAST = 3
NODES = (0, 1)
_HUGETLB = re.compile("HugeTLB: .*([iI]gnoring|unsupported|Invalid)")
_HOUSEKEEPING = re.compile("Housekeeping: .*(incorrect|must match|must include)|isolcpus: Invalid")


def compare(text: str, said: dict[str, Any], release: str) -> list[str]:
    """Returns in words where we read a line otherwise than the kernel did, which `said` so."""
    arguments = cmdline.split_arguments(text)
    isolation = cmdline.resolve_isolation(arguments, LAST)
    pages = {int(kb): {int(node): count for node, count in counts.items()} for kb, counts in said["pages"].items()}
    requests = boot_pages.parse(arguments, nodes=NODES, sizes=pages.keys())
    sizes = [int(path[10:-10]) for path in said["transparent"] if path.endswith("kB/enabled")]
    top, by_size = transparent.resolve_boot(arguments, sizes)
    starts = cmdline.resolve_irqaffinity(arguments, LAST)
    told: dict[str, tuple[Any, Any]] = {
        "isolated": (cpulist.show(isolation.domain), said["isolated"]),
        "nohz_full": (cpulist.show(isolation.nohz), said["nohz_full"].replace("(null)", "")),
        "offloaded": (cpulist.show(cmdline.resolve_rcu_nocbs(arguments, LAST)), said["offloaded"]),
        "irqaffinity": (set(range(LAST + 1)) if starts is None else starts, cpulist.parse_mask(said["irqaffinity"])),
        "refused pages": (len(requests.remarks), sum(bool(_HUGETLB.search(line)) for line in said["ignored"])),
    }
    if "enabled" in said["transparent"]:
        told["transparent"] = (top or "always", said["transparent"]["enabled"])
    for kb in sizes:
        told[f"transparent {kb}"] = (by_size[kb], said["transparent"][f"hugepages-{kb}kB/enabled"])
    wrong = [f"{key}: {ours!r}, the kernel {its!r}" for key, (ours, its) in told.items() if ours != its]
    for kb, counts in pages.items():
        for node, count in counts.items():
            low, high = requests.pages.get(kb, boot_pages.Request()).find_bounds(
                node, NODES, boot_pages.spreads_evenly(release, kb)
            )
            if not low <= count <= high:
                wrong.append(f"pages of {kb} kB on node {node}: {low} to {high}, the kernel {count}")
    complaints = [line for line in said["ignored"] if _HOUSEKEEPING.search(line)]
    if len(complaints) > len(isolation.remarks):
        wrong.append(f"no word on {complaints}")
    return wrong
