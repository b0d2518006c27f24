"""The result of a reading-back, as lines for people and as plain data."""

from __future__ import annotations

import json

import msgspec

from hosttune.attest.read import Memory, Thread
from hosttune.findings import Finding, Report
from hosttune.host import cpulist
from hosttune.launch.record import Record
from hosttune.report.text import show


class Attestation(msgspec.Struct, frozen=True, kw_only=True):
    """The result: `report` as of a check, and every thread as read."""

    record: Record
    executable: str | None
    threads: list[Thread]
    memory: Memory | None
    report: Report


def as_text(result: Attestation) -> str:
    """Every thread, then every finding; what does not hold with cause and fix."""
    lines = [f"process {result.record.pid}: {result.executable or 'executable not readable'}"]
    lines.append(f"  {'TID':>8} {'POLICY':8}{'PRIO':>5}{'NICE':>5}  {'CPUS':12}NAME")
    for thread in result.threads:
        cpus = cpulist.show(thread.cpus)
        lines.append(f"  {thread.tid:>8} {thread.policy:8}{thread.priority:>5}{thread.nice:>5}  {cpus:12}{thread.name}")
    for finding in result.report.findings:
        lines += _finding_lines(finding)
    words = {"ready": "holds", "not ready": "does not hold", "unknown": "could not be told"}
    lines.append(f"attest: {words[result.report.verdict]}")
    return "\n".join(lines)


def _finding_lines(finding: Finding) -> list[str]:
    lines = [f"  {finding.status:8}{finding.id}: {show(finding.found)}"]
    if finding.status in ("fail", "unknown"):
        lines += [f"          {label}: {show(getattr(finding, label))}" for label in ("wanted", "why", "fix")]
    return lines


def as_json(result: Attestation) -> str:
    """The report of the findings, and beside it all that was read and promised."""
    report = msgspec.to_builtins(result.report)
    document = {
        **report,
        "executable": result.executable,
        "threads": [{**msgspec.structs.asdict(thread), "cpus": cpulist.show(thread.cpus)} for thread in result.threads],
        "memory": None if result.memory is None else msgspec.to_builtins(result.memory),
        "record": msgspec.to_builtins(result.record),
    }
    return json.dumps(document, indent=2)
