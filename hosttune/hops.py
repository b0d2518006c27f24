"""From facts to hops and from hops to findings: the part that every check would otherwise repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hosttune.findings import Finding, Hop, HopName, Status, judge
from hosttune.host.root import Fact

T = TypeVar("T")


def hop(fact: Fact[T], good: Callable[[T], bool], show: Callable[[T], Any] = lambda value: value) -> Hop:
    """Judge one fact: `good` says whether its value is what is wanted, `show` makes it a JSON value."""
    if fact.state == "unreadable":
        return Hop("unknown", fact.reason, fact.source)
    if fact.state == "absent":
        return Hop("absent", None, fact.source)
    value: T = fact.value  # type: ignore[assignment]
    return Hop("ok" if good(value) else "bad", show(value), fact.source)


def finding(
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
    status = status or judge(dict(hops), required=required)
    if found is None:
        telling = ("na",) if status == "na" else ("ok", "bad")
        read = [each.value for each in hops.values() if each.state in telling]
        found = read[-1] if read else None
    if status in ("pass", "na"):
        why, fix, reboot = (why if status == "na" else ""), "", False
    return Finding(id=id, status=status, wanted=wanted, found=found, hops=dict(hops), why=why, fix=fix, reboot=reboot)
