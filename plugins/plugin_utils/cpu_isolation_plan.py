# SPDX-License-Identifier: Apache-2.0
"""What the role cpu_isolation is asked for, checked, and the boot arguments that it comes to.

Source: isolcpus=, nohz_full=, rcu_nocbs= and irqaffinity= in `Documentation/admin-guide/kernel-parameters.txt` of the
Linux kernel.
"""

from __future__ import annotations

from typing import Any

from hosttune.host import cpulist

from . import cpu_lists, later_files
from .host_facts import ONLINE, PRESENT, UPDATE_GRUB, Host

_MAY_BE_EMPTY = ("cpu_isolation_nohz_full", "cpu_isolation_rcu_nocbs")
_OWN = "/etc/systemd/system.conf.d/hosttune-cpu_isolation.conf"
_HINT = "Set it, or for all roles hosttune_isolated_cpus and hosttune_housekeeping_cpus, in host_vars."


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the lists of CPUs, the boot loader, and systemd's drop-ins. An image boots on another host."""
    return [] if image else [PRESENT, ONLINE, UPDATE_GRUB, *later_files.list_reads("systemd")]


def plan(variables: dict[str, Any], host: Host) -> dict[str, Any]:
    """Return `arguments`, the words for the kernel's command line.

    `variables` are the role's lists by their names, `cpu_isolation_managed_irq` and `cpu_isolation_systemd`.
    Raises ValueError with one line per problem.
    """
    given = dict(variables)
    if host.lacks(UPDATE_GRUB):
        raise ValueError(
            "there is no update-grub on this host: cpu_isolation needs GRUB as Debian and Ubuntu have it (package "
            "grub2-common); other boot loaders, and grubby of the RHEL family, are not supported"
        )
    managed = given.pop("cpu_isolation_managed_irq")
    placed = {"CPUAffinity": str(given["cpu_isolation_housekeeping"])} if given.pop("cpu_isolation_systemd") else {}
    lists = cpu_lists.read_all(given, may_be_empty=_MAY_BE_EMPTY, hint=_HINT)
    cpu_lists.refuse(_problems(given, lists, host) + later_files.find_systemd(host, _OWN, placed))
    text = {name.removeprefix("cpu_isolation_"): str(value) for name, value in given.items()}
    words = [f"isolcpus={'managed_irq,' if managed else ''}domain,{text['isolated']}"]
    words += [f"{name}={text[name]}" for name in ("nohz_full", "rcu_nocbs", "irqaffinity") if text[name]]
    return {"arguments": words}


def _problems(given: dict[str, Any], lists: dict[str, tuple[int, ...]], host: Host) -> list[str]:
    cpus = {name.removeprefix("cpu_isolation_"): frozenset(cpus) for name, cpus in lists.items()}

    def named(*names: str) -> str:
        return " and ".join(
            f"cpu_isolation_{name} is {cpu_lists.show(given[f'cpu_isolation_{name}'])}" for name in names
        )

    problems = []
    if 0 in cpus["isolated"]:
        problems.append(f"{named('isolated')}: CPU 0 boots the machine and cannot be isolated")
    for other in ("housekeeping", "irqaffinity"):
        if both := cpus["isolated"] & cpus[other]:
            text = f"isolated CPUs cannot be {other} CPUs, and CPU {cpulist.show(both)} is in both"
            problems.append(f"{named('isolated', other)}: {text}")
    for outer in ("isolated", "rcu_nocbs"):
        if beyond := cpus["nohz_full"] - cpus[outer]:
            text = f"nohz_full has to be within {outer}, and CPU {cpulist.show(beyond)} is not"
            problems.append(f"{named('nohz_full', outer)}: {text}")
    present, online = host.read(PRESENT), host.read(ONLINE)
    if present is not None:
        there = cpulist.parse(cpulist.KernelList(present))
        for name, value in lists.items():
            problems += cpu_lists.missing(name, given[name], value, there)
    if online is not None and not problems:
        # An isolated CPU that does not run is not ready, whatever the boot arguments say.
        name = "cpu_isolation_isolated"
        problems += cpu_lists.offline(name, given[name], lists[name], cpulist.parse(cpulist.KernelList(online)))
    return problems
