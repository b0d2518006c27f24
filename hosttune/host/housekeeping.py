"""Housekeeping CPUs: those that nothing keeps for itself, where helpers of a program belong.

Sources: `Documentation/admin-guide/kernel-parameters.rst` (isolcpus=, nohz_full=) and
`Documentation/admin-guide/cgroup-v2.rst` (cpuset partitions) of the Linux kernel.
"""

from __future__ import annotations

from hosttune.host import cpu
from hosttune.host.cpu import Cpus
from hosttune.host.root import Fact, Root, make_unreadable


def find_housekeeping(cpus: Cpus) -> Fact[frozenset[int]]:
    """Returns the CPUs that are online and neither isolated nor free of ticks; unreadable where a list that would tell
    could not be read. One that is not there names no CPU: an older kernel, or one without that."""
    for fact in (cpus.online, cpus.isolated, cpus.nohz_full, cpus.partitioned):
        if fact.state == "unreadable" or (fact is cpus.online and fact.value is None):
            return make_unreadable(fact.source, fact.reason)
    kept = [fact.value or frozenset() for fact in (cpus.isolated, cpus.nohz_full, cpus.partitioned)]
    return Fact("value", (cpus.online.value or frozenset()).difference(*kept), cpus.online.source)


def choose_helper_cpus(cpus: Cpus, engine: frozenset[int]) -> tuple[frozenset[int], str]:
    """Returns where a helper of an engine on these CPUs may run, and what is wrong with that, empty if nothing is.

    Housekeeping CPUs without the engine's. Where the engine has them all, it shares them; where there is none, or they
    are not known, the helper goes to any other CPU than the engine's. Empty for no CPU that is known.
    """
    known = find_housekeeping(cpus)
    if known.value:
        return known.value - engine or known.value, ""
    others = (cpus.online.value or frozenset()) - engine
    if known.value is None:
        return others, f"housekeeping CPUs are not known ({known.source}: {known.reason})"
    return others, "no CPU that is online is a housekeeping CPU: all are isolated, or free of ticks"


def read_helper_cpus(root: Root, engine: frozenset[int]) -> tuple[frozenset[int], str]:
    """Read which CPUs there are, and choose as choose_helper_cpus()."""
    return choose_helper_cpus(cpu.read(root), engine)
