"""The result type of every check: what was wanted, what each hop holds, and the verdict that follows.

A knob travels `intended → persisted → booted → runtime → effective`. A check fills in the hops that
exist for its knob and leaves the judgement to :func:`judge_hops`, so that no check has its own idea of "ok".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

import msgspec

Status = Literal["pass", "fail", "warn", "pending", "volatile", "na", "unknown"]
Verdict = Literal["ready", "not ready", "unknown"]
HopName = Literal["intended", "persisted", "booted", "runtime", "effective"]
HopState = Literal["ok", "bad", "absent", "unknown", "na"]

STATUSES: tuple[Status, ...] = ("fail", "pending", "volatile", "unknown", "warn", "pass", "na")
HOPS: tuple[HopName, ...] = ("intended", "persisted", "booted", "runtime", "effective")

# The fix for a fact that could not be read.
READ_IT = "run hosttune check on the host itself, as root, or take the capture with hosttune snapshot"

NOT_READY: frozenset[Status] = frozenset({"fail", "pending", "volatile"})


class Hop(msgspec.Struct, frozen=True):
    """One stage of a knob's way from the profile to what the machine does.

    `state` is `ok` (holds what is wanted), `bad` (holds something else), `absent` (was looked for and
    is not there), `unknown` (could not be read; `value` says why) or `na` (has no meaning on this host).
    `source` is the file or kernel interface that was read.
    """

    state: HopState
    value: Any = None
    source: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one knob.

    `id` is `SECTION.KEY`; `wanted` and `found` are plain JSON values; `hops` maps hop names to
    :class:`Hop`; `why` is one sentence on what goes wrong without it, `fix` the exact command or line
    to change (both empty only for `pass` and `na`); `reboot` says whether the fix needs one.
    """

    id: str
    status: Status
    wanted: Any
    found: Any
    hops: dict[HopName, Hop] = {}
    why: str = ""
    fix: str = ""
    reboot: bool = False


class Host(TypedDict, total=False):
    """Which host, when and how it was read, and by which profile (schema.json)."""

    hostname: str | None
    kernel: str | None
    cpus: int | None
    time: str | None
    source: str
    profile: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All findings on one host, and what follows from them."""

    host: Host
    verdict: Verdict
    summary: dict[Status, int]
    findings: list[Finding]


def judge_hops(hops: Mapping[HopName, Hop], *, required: tuple[HopName, ...] = ("persisted", "runtime")) -> Status:
    """Derive a status from hops.

    A runtime value that was read and is wrong weighs more than any hop that could not be read; while the
    runtime value itself is unreadable the status is `unknown`, whatever the files say. Nothing passes while
    a required hop is unknown or was never looked at.
    """
    state = {name: hop.state for name, hop in hops.items()}
    runtime, persisted, booted = state.get("runtime"), state.get("persisted"), state.get("booted")
    if runtime == "na":
        return "na"
    if state.get("effective") == "bad" and runtime == "ok":
        return "fail"
    if runtime in ("bad", "absent"):
        waits_for_boot = persisted == "ok" and booted in ("bad", "absent")
        return "pending" if waits_for_boot else "fail"
    if runtime == "ok" and persisted in ("bad", "absent"):
        return "volatile"
    if any(state.get(name, "unknown") == "unknown" for name in required):
        return "unknown"
    if state.get("effective") == "unknown":
        return "unknown"
    return "pass"


def summarise_findings(host: Host, findings: list[Finding]) -> Report:
    """Count statuses and derive the verdict: any of fail, pending, volatile is not ready."""
    summary = dict.fromkeys(STATUSES, 0)
    for finding in findings:
        summary[finding.status] += 1
    verdict: Verdict = "ready"
    if any(summary[status] for status in NOT_READY):
        verdict = "not ready"
    elif summary["unknown"] or not findings:
        verdict = "unknown"
    return Report(host=host, verdict=verdict, summary=summary, findings=findings)
