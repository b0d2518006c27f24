"""A finding of launch: one hop, what is so now."""

from __future__ import annotations

from typing import Any

from hosttune.findings import Finding, Hop, Status

_HOP_STATE: dict[Status, Any] = {
    "pass": "ok",
    "fail": "bad",
    "warn": "absent",
    "unknown": "unknown",
    "na": "na",
}


def make_finding(
    name: str, status: Status, wanted: Any, found: Any, source: str, why: str = "", fix: str = ""
) -> Finding:
    quiet = status in ("pass", "na")
    return Finding(
        id=f"launch.{name}",
        status=status,
        wanted=wanted,
        found=found,
        hops={"runtime": Hop(_HOP_STATE[status], found, source)},
        why="" if quiet else why,
        fix="" if quiet else fix,
    )
