# SPDX-License-Identifier: Apache-2.0
"""What the role cpu_isolation is asked for, checked, and the boot arguments that it comes to.

Source: isolcpus=, nohz_full=, rcu_nocbs= and irqaffinity= in `Documentation/admin-guide/kernel-parameters.txt` of the
Linux kernel.
"""

from __future__ import annotations

from typing import Any

from hosttune.host import cmdline, cpulist

from . import boot_line, cpu_lists, later_files
from .host_facts import ONLINE, POSSIBLE, PRESENT, RELEASE, UPDATE_GRUB, Host

_MAY_BE_EMPTY = ("cpu_isolation_nohz_full", "cpu_isolation_rcu_nocbs")
_OWN = "/etc/systemd/system.conf.d/hosttune-cpu_isolation.conf"
NOHZ_FULL = "/sys/devices/system/cpu/nohz_full"
_THREADS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_PARAMETERS = ("isolcpus", "nohz_full", "rcu_nocbs", "irqaffinity")
_HINT = "Set it, or for all roles hosttune_isolated_cpus and hosttune_housekeeping_cpus, in host_vars."


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the lists of CPUs, the boot loader and its files, and systemd's drop-ins. An image boots on another
    host."""
    files = [f"files:{_THREADS.format('*')}", *boot_line.READS, *later_files.list_reads("systemd")]
    return [] if image else [PRESENT, ONLINE, POSSIBLE, NOHZ_FULL, RELEASE, UPDATE_GRUB, *files]


def plan(variables: dict[str, Any], host: Host) -> dict[str, Any]:
    """Return `arguments`, the words for the kernel's command line, and `nohz_full`, empty where the kernel has none.

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
    problems = _problems(given, lists, host)
    if lists["cpu_isolation_nohz_full"] and host.lacks(NOHZ_FULL):
        # The role's default refers to the isolated CPUs.
        host.defaults["cpu_isolation_nohz_full"] = given["cpu_isolation_isolated"]
        reason = "cpu_isolation_nohz_full: the host's kernel is built without CONFIG_NO_HZ_FULL"
        host.refuse_or_leave_out(problems, reason, "cpu_isolation_nohz_full", given["cpu_isolation_nohz_full"])
        given["cpu_isolation_nohz_full"] = ""
    problems += later_files.find_systemd(host, _OWN, placed)
    problems += boot_line.find_other_loader(host, "cpu_isolation needs arguments on the kernel's command line")
    cpu_lists.refuse(problems)
    text = {name.removeprefix("cpu_isolation_"): str(value) for name, value in given.items()}
    words = [f"isolcpus={'managed_irq,' if managed else ''}domain,{text['isolated']}"]
    words += [f"{name}={text[name]}" for name in ("nohz_full", "rcu_nocbs", "irqaffinity") if text[name]]
    own = boot_line.Fragment("cpu_isolation", [f"{name}=*" for name in _PARAMETERS], words)
    cpus = {name: frozenset(lists[f"cpu_isolation_{name}"]) for name in text}
    cpu_lists.refuse(boot_line.find_problems(host, own, _list_wanted(host, words, cpus, managed, bool(placed))))
    return {"arguments": words, "nohz_full": text["nohz_full"]}


def _list_wanted(
    host: Host, words: list[str], cpus: dict[str, frozenset[int]], managed: bool, placed: bool
) -> list[boot_line.Wanted]:
    """Returns what the check expects of the command line of the next boot. words: the role's own."""
    possible = host.read(POSSIBLE)
    last = max(cpulist.parse(cpulist.KernelList(possible)), default=None) if possible else None
    isolated = cpus["isolated"]
    has_nohz = not host.lacks(NOHZ_FULL)
    known = cmdline.has_set_for_each_kind(host.read(RELEASE) or "")
    kernels = (True, False) if known is None and host.read(RELEASE) else (known is not False,)
    shown = {word.partition("=")[0]: word for word in words}

    def resolve(line: cmdline.Arguments) -> list[cmdline.Isolation]:
        return [cmdline.resolve_isolation(line, last, has_nohz=has_nohz, by_kind=by_kind) for by_kind in kernels]

    def isolates(line: cmdline.Arguments) -> bool:
        return all(
            isolation.started == isolated
            and (not managed or isolation.managed_irq == isolated)
            and not (isolation.single and any(_is_second(host, cpu) for cpu in isolated))
            for isolation in resolve(line)
        )

    def stops_ticks(line: cmdline.Arguments) -> bool:
        return all(isolation.tickless == cpus["nohz_full"] for isolation in resolve(line))

    def offloads(line: cmdline.Arguments) -> bool:
        found = [cmdline.resolve_rcu_nocbs(line, last, has_nohz, by_kind) for by_kind in kernels]
        return all(cpus["rcu_nocbs"] <= each for each in found)

    def starts_interrupts(line: cmdline.Arguments) -> bool:
        found = cmdline.resolve_irqaffinity(line, last) or frozenset()
        return cmdline.fits_irqaffinity(found, cpus["irqaffinity"], isolated)

    def places_services(line: cmdline.Arguments) -> bool:
        found = cmdline.resolve_systemd(line)
        return found is None or (bool(found) and not found & isolated)

    wanted = {
        "isolcpus": boot_line.Wanted(shown["isolcpus"], ("isolcpus", "nohz_full", *cmdline.FEWER_CPUS), isolates),
        "nohz_full": boot_line.Wanted(shown.get("nohz_full", ""), ("nohz_full", "isolcpus", "nohz"), stops_ticks),
        "rcu_nocbs": boot_line.Wanted(shown.get("rcu_nocbs", ""), ("rcu_nocbs",), offloads),
        "irqaffinity": boot_line.Wanted(shown.get("irqaffinity", ""), ("irqaffinity",), starts_interrupts),
    }
    others = [boot_line.Wanted("what no bootconfig adds to", ("bootconfig",), boot_line.is_whole)]
    if placed:
        text = f"systemd off CPU {cpulist.show(isolated)}"
        others.append(boot_line.Wanted(text, ("systemd.cpu_affinity",), places_services))
    return [*(one for name, one in wanted.items() if name in shown), *others]


def _is_second(host: Host, cpu: int) -> bool:
    """Tells whether a CPU is another hardware thread of its core than the first, which nosmt takes offline."""
    siblings = host.read(_THREADS.format(cpu))
    return bool(siblings) and min(cpulist.parse(cpulist.KernelList(siblings or ""))) != cpu


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
    release = host.read(RELEASE)
    one_set = bool(release) and cmdline.has_set_for_each_kind(release or "") is not True
    if one_set and cpus["nohz_full"] not in (frozenset(), cpus["isolated"]) and not host.lacks(NOHZ_FULL):
        text = f"before Linux 5.18 both have to name the same CPUs, or nohz_full none, and the host has Linux {release}"
        problems.append(f"{named('isolated', 'nohz_full')}: {text}")
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
