"""From facts to hops and from hops to findings: every finding of check, launch and attest is built here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from hosttune.findings import Finding, Hop, HopName, HopState, Status, judge_hops
from hosttune.host.root import Fact

T = TypeVar("T")

# What the one hop of a finding holds whose status was judged from it alone. A warning is for what nobody set.
_SINGLE_HOP: dict[Status, HopState] = {
    "pass": "ok",
    "fail": "bad",
    "pending": "bad",
    "volatile": "bad",
    "warn": "absent",
    "unknown": "unknown",
    "na": "na",
}
_WORST_FIRST: tuple[HopState, ...] = ("bad", "absent", "unknown", "ok")


def judge_fact(fact: Fact[T], good: Callable[[T], bool], show: Callable[[T], Any] = lambda value: value) -> Hop:
    """Judge one fact: `good` says whether its value is what is wanted, `show` makes it a JSON value."""
    if fact.state == "unreadable":
        return Hop("unknown", fact.reason, fact.source)
    if fact.state == "absent":
        return Hop("absent", None, fact.source)
    value: T = fact.value  # type: ignore[assignment]
    return Hop("ok" if good(value) else "bad", show(value), fact.source)


def choose_worst(hops: Iterable[Hop]) -> Hop:
    """Returns the first of the worst of several hops on one thing: bad before absent before unknown before ok."""
    return min(hops, key=lambda hop: _WORST_FIRST.index(hop.state))


def build_finding(
    id: str,
    wanted: Any,
    hops: Mapping[HopName, Hop],
    *,
    found: Any = None,
    why: str = "",
    fix: str = "",
    reboot: bool = False,
    required: tuple[HopName, ...] = ("persisted", "runtime"),
    status: Status | None = None,
) -> Finding:
    """Build a finding, its status judged from the hops unless the caller knows better.

    `found` defaults to the value of the last hop that was read, for `na` to what that hop says. A finding
    that passes carries no advice.
    """
    status = status or judge_hops(dict(hops), required=required)
    if found is None:
        telling = ("na",) if status == "na" else ("ok", "bad")
        read = [each.value for each in hops.values() if each.state in telling]
        found = read[-1] if read else None
    if status in ("pass", "na"):
        why, fix, reboot = (why if status == "na" else ""), "", False
    return Finding(id=id, status=status, wanted=wanted, found=found, hops=dict(hops), why=why, fix=fix, reboot=reboot)


def build_single_finding(
    id: str,
    status: Status,
    wanted: Any,
    found: Any,
    source: str,
    *,
    why: str = "",
    fix: str = "",
    hop: HopName = "runtime",
) -> Finding:
    """Build a finding of one hop, where `source` was read and holds `found`.

    It has no other hops because nothing is written to a file or waits for a boot: a process, or what a
    launch would get now.
    """
    hops = {hop: Hop(_SINGLE_HOP[status], found, source)}
    return build_finding(id, wanted, hops, found=found, why=why, fix=fix, status=status)
