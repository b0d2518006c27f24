"""From all findings the decision whether to start. Pure."""

from __future__ import annotations

import msgspec

from hosttune.errors import FAILED, OK, UNKNOWN
from hosttune.findings import NOT_READY, Finding


class Decision(msgspec.Struct, frozen=True):
    """`code` is 0 (start), 1 (refused) or 3 (could not tell); `against` are the findings that decided it,
    `forced` those that would have, `idle` the ids that were forced without need."""

    code: int
    against: list[Finding]
    forced: list[Finding]
    idle: list[str]


class UnknownId(Exception):
    """`--force` names no finding."""


def decide(findings: list[Finding], force: list[str]) -> Decision:
    """Raises :class:`UnknownId` if an id in `force` is none of the findings'."""
    known = {finding.id for finding in findings}
    for name in force:
        if name not in known:
            raise UnknownId(f"--force {name}: no finding has this id; ids are matched exactly")
    blocking = [finding for finding in findings if finding.status in NOT_READY or finding.status == "unknown"]
    against = [finding for finding in blocking if finding.id not in force]
    forced = [finding for finding in blocking if finding.id in force]
    idle = [name for name in dict.fromkeys(force) if name not in {finding.id for finding in forced}]
    refused = any(finding.status in NOT_READY for finding in against)
    code = FAILED if refused else UNKNOWN if against else OK
    return Decision(code, against, forced, idle)
