"""What sections that name CPUs share: validating a list, resolving it on a host, comparing it."""

from __future__ import annotations

from collections.abc import Callable

from hosttune.findings import Finding, Hop
from hosttune.hops import build_finding, judge_fact
from hosttune.host import cpu, cpulist
from hosttune.host.cpulist import KernelList
from hosttune.host.root import NOT_CAPTURED, Fact


def validate(key: str, text: KernelList, *, empty: bool = False) -> None:
    """Raise ValueError unless `text` is a cpulist: `2-3`, `3,2`, `0-31:2/8`, `4-N`, `all`."""
    try:
        cpus = cpulist.parse(text, cpulist.MAX_CPU)
    except ValueError as error:
        raise ValueError(f"{key}: {error}; allowed is a cpulist such as 2-3 or 2,4-N") from None
    if not cpus and not empty:
        raise ValueError(f"{key}: names no CPU; allowed is a cpulist such as 2-3 or 2,4-N")


def resolve(text: KernelList, possible: Fact[cpu.Possible]) -> Fact[frozenset[int]]:
    """Returns the CPUs that a validated list means on this host; unreadable with the reason if that is not known, also
    where it could not be read whether the host has them."""
    if possible.state == "unreadable" and possible.reason != NOT_CAPTURED:
        return possible.drop_value()
    try:
        return Fact("value", cpulist.parse(text, cpu.find_last(possible)), "profile")
    except ValueError as error:
        known = f"this host has CPUs {cpulist.show(possible.value)}" if possible.value else possible.reason
        return Fact("unreadable", None, "profile", f"{error} ({known})")


def judge_argument(fact: Fact[frozenset[int]], good: Callable[[frozenset[int]], bool]) -> Hop:
    """Judge what a command line asks for; asking for no CPU is not asking."""
    if fact.value == frozenset():
        return Hop("absent", None, fact.source)
    return judge_fact(fact, good, cpulist.show)


def judge_equal(fact: Fact[frozenset[int]], wanted: frozenset[int]) -> Hop:
    """Judge a set that must be the wanted one."""
    return judge_fact(fact, lambda cpus: cpus == wanted, cpulist.show)


def describe_missing(wanted: frozenset[int], possible: Fact[cpu.Possible]) -> str:
    """Returns in words which of the wanted CPUs this host does not have, or an empty string."""
    if not possible.value or not (beyond := wanted - possible.value):
        return ""
    return f"CPU {cpulist.show(beyond)} does not exist here (this host has {cpulist.show(possible.value)}); "


def report_unresolved(id: str, wanted: str, reason: str) -> Finding:
    """Build the finding on a list of which it is not known which CPUs it means on this host."""
    return build_finding(
        id,
        wanted,
        {"runtime": Hop("unknown", reason, cpu.DIRECTORY)},
        why=f"the list does not say which CPUs it means on this host: {reason}",
        fix="write the list with numbers that this host has",
        status="unknown",
    )
