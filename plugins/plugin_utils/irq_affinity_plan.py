# SPDX-License-Identifier: Apache-2.0
"""What the role irq_affinity is asked for, checked, and which CPUs irqbalance is banned from."""

from __future__ import annotations

from typing import Any

from hosttune.host import cpulist, irq_plan

from . import cpu_lists, inputs
from .host_facts import POSSIBLE, PRESENT, Host

_HINT = "Set it, or for all roles hosttune_housekeeping_cpus, in host_vars."


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the lists of CPUs that the host has, and that it may get. An image runs on another host."""
    return [POSSIBLE] if image else [PRESENT, POSSIBLE]


def plan(housekeeping: Any, queues: Any, host: Host) -> dict[str, Any]:
    """Return `banned`, the list of CPUs that irqbalance leaves alone.

    Raises ValueError with one line per problem.
    """
    present, possible = host.read(PRESENT), host.read(POSSIBLE) or ""
    if not isinstance(queues, dict):
        raise ValueError(f'irq_affinity_queues is {cpu_lists.show(queues)}: expected interfaces, {{eth0: "1"}}')
    given = {"irq_affinity_housekeeping": housekeeping}
    problems = []
    for interface, cpus in queues.items():
        if not inputs.INTERFACE.holds(interface):
            found = f"{interface!a} is not the name of a network interface that a role can write"
            problems.append(f"irq_affinity_queues: {found}: allowed: {inputs.INTERFACE.allowed}")
        given[f"irq_affinity_queues.{interface}"] = cpus
    cpu_lists.refuse(problems)
    lists = cpu_lists.read_all(given, hint=_HINT)
    if present is not None:
        there = cpulist.parse(cpulist.KernelList(present))
        for name, value in lists.items():
            problems += cpu_lists.missing(name, given[name], value, there)
    cpu_lists.refuse(problems)
    housekeeping = frozenset(lists["irq_affinity_housekeeping"])
    banned = irq_plan.find_banned_cpus(cpulist.parse(cpulist.KernelList(possible)), housekeeping)
    return {"banned": cpulist.show(banned)}
