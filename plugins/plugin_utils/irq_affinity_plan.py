# SPDX-License-Identifier: Apache-2.0
"""What the role irq_affinity is asked for, checked, and which CPUs irqbalance is banned from."""

from __future__ import annotations

from typing import Any

from hosttune.host import cpulist, environment, irq_plan

from . import cpu_lists, inputs
from .host_facts import ONLINE, POSSIBLE, PRESENT, Host, build_interface_path

_HINT = "Set it, or for all roles hosttune_housekeeping_cpus, in host_vars."
#: Where distributions have irqbalance's settings: Debian, Red Hat.
_SETTINGS = ("/etc/default/irqbalance", "/etc/sysconfig/irqbalance")
_ARGUMENTS = "IRQBALANCE_ARGS"


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the lists of CPUs, the interfaces and irqbalance's settings. An image runs on another host."""
    if image:
        return [POSSIBLE, *_SETTINGS]
    queues = asked.get("queues")
    named = [name for name in queues if inputs.INTERFACE.holds(name)] if isinstance(queues, dict) else []
    return [PRESENT, POSSIBLE, ONLINE, *_SETTINGS, *map(_virtual, named), *map(build_interface_path, named)]


def plan(housekeeping: Any, queues: Any, irqbalance: str, host: Host) -> dict[str, Any]:
    """Return `banned`, the list of CPUs that irqbalance leaves alone.

    Raises ValueError with one line per problem.
    """
    if not isinstance(queues, dict):
        raise ValueError(f'irq_affinity_queues is {cpu_lists.show(queues)}: expected interfaces, {{eth0: "1"}}')
    given = {"irq_affinity_housekeeping": housekeeping}
    problems = []
    for interface, cpus in queues.items():
        if not inputs.INTERFACE.holds(interface):
            found = f"{interface!a} is not the name of a network interface that a role can write"
            problems.append(f"irq_affinity_queues: {found}: allowed: {inputs.INTERFACE.allowed}")
        elif host.read(_virtual(interface)) is not None:
            problems.append(f"irq_affinity_queues: {interface}: {irq_plan.VIRTUAL}")
        elif host.lacks(build_interface_path(interface)):
            problems.append(f"irq_affinity_queues: {interface}: the host has no such network interface")
        given[f"irq_affinity_queues.{interface}"] = cpus
    cpu_lists.refuse(problems)
    lists = cpu_lists.read_all(given, hint=_HINT)
    for name, value in lists.items():
        problems += _find_missing(name, given[name], value, host)
    if irqbalance == "banned" and queues:
        problems += _find_arguments(host)
    cpu_lists.refuse(problems)
    own = frozenset(lists["irq_affinity_housekeeping"])
    possible = cpulist.parse(cpulist.KernelList(host.read(POSSIBLE) or ""))
    return {"banned": cpulist.show(irq_plan.find_banned_cpus(possible, own))}


def _virtual(interface: str) -> str:
    """Returns the directory that an interface without a device has."""
    return f"/sys/devices/virtual/net/{interface}"


def _find_missing(name: str, given: object, value: tuple[int, ...], host: Host) -> list[str]:
    """Returns a line for CPUs that the host does not have, or for those that do not run.

    A queue's interrupt goes to its own CPU; any other to one of the housekeeping CPUs that run.
    """
    present, online = (host.read(path) for path in (PRESENT, ONLINE))
    there = None if present is None else cpulist.parse(cpulist.KernelList(present))
    if there is not None and (lines := cpu_lists.missing(name, given, value, there)):
        return lines
    running = frozenset(value) if online is None else cpulist.parse(cpulist.KernelList(online))
    if name == "irq_affinity_housekeeping" and frozenset(value) & running:
        return []
    return cpu_lists.offline(name, given, value, running)


def _find_arguments(host: Host) -> list[str]:
    """Returns a line for each file that gives irqbalance arguments: the role has to give its own."""
    problems = []
    for path in _SETTINGS:
        try:
            arguments = dict(environment.parse_file(host.read(path) or "")).get(_ARGUMENTS)
        except ValueError as error:
            problems.append(f"{path}: {error}")
            continue
        if arguments:
            problems.append(
                f"{path} sets {_ARGUMENTS} to {cpu_lists.show(arguments)}, and irq_affinity_queues needs it for its "
                "policy script: take it out there, or set irq_affinity_irqbalance to stopped or ignore"
            )
    return problems
