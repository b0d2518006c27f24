"""The result of a reading-back as a document."""

from __future__ import annotations

from typing import Any

import msgspec

from hosttune.attest.read import Memory
from hosttune.findings import Finding, Report
from hosttune.host import cpulist
from hosttune.host.process import Thread
from hosttune.launch.record import Record
from hosttune.output import escape
from hosttune.report.document import Page
from hosttune.report.words import show_value

_VERDICT = {"ready": "holds", "not ready": "does not hold", "unknown": "could not be told"}


class Attestation(msgspec.Struct, frozen=True, kw_only=True):
    """`report` as of a check, the record that it compares with, and every thread as it was read."""

    record: Record
    executable: str | None
    threads: list[Thread]
    memory: Memory | None
    report: Report

    def as_data(self) -> dict[str, Any]:
        """Returns the report, and beside its keys all that was read and promised."""
        return {
            **msgspec.structs.asdict(self.report),
            "executable": self.executable,
            "threads": [_show_thread(thread) for thread in self.threads],
            "memory": self.memory,
            "record": self.record,
        }

    def as_text(self, page: Page) -> str:
        """Returns every thread, then every finding; what does not hold with cause and fix."""
        lines = [f"process {self.record.pid}: {escape(self.executable or 'executable not readable')}"]
        lines.append(f"  {'TID':>8} {'POLICY':8}{'PRIO':>5}{'NICE':>5}  {'CPUS':12}NAME")
        for thread in self.threads:
            cpus, name = cpulist.show(thread.cpus), escape(thread.name)
            lines.append(f"  {thread.tid:>8} {thread.policy:8}{thread.priority:>5}{thread.nice:>5}  {cpus:12}{name}")
        for finding in self.report.findings:
            lines += _show_finding(finding)
        lines.append(f"attest: {_VERDICT[self.report.verdict]}")
        return "\n".join(lines) + "\n"


def _show_thread(thread: Thread) -> dict[str, Any]:
    names = ("tid", "name", "policy", "priority", "nice")
    return {**{name: getattr(thread, name) for name in names}, "cpus": cpulist.show(thread.cpus)}


def _show_finding(finding: Finding) -> list[str]:
    lines = [f"  {finding.status:8}{finding.id}: {show_value(finding.found)}"]
    if finding.status in ("fail", "unknown"):
        lines += [f"          {label}: {show_value(getattr(finding, label))}" for label in ("wanted", "why", "fix")]
    return lines
