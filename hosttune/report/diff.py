"""Two reports on one host side by side, such as before and after tuning."""

from __future__ import annotations

from typing import Any

import msgspec

from hosttune.findings import Finding, Report
from hosttune.report.document import Page
from hosttune.report.words import count_statuses, show_found


class Difference(msgspec.Struct, frozen=True):
    """Two reports, the earlier one first."""

    before: Report
    after: Report

    def as_data(self) -> dict[str, Any]:
        """Returns host, verdict and summary of both, and for each id both findings; None where one is missing."""
        return {
            **{
                name: {"host": report.host, "verdict": report.verdict, "summary": report.summary}
                for name, report in (("before", self.before), ("after", self.after))
            },
            "findings": [{"id": name, "before": old, "after": new} for name, old, new in self._pair_findings()],
        }

    def as_text(self, page: Page) -> str:
        """Returns one table, id | before | after, in the order of the later report."""
        rows = [(name, _show_cell(old), _show_cell(new)) for name, old, new in self._pair_findings()]
        id_width = max(len(name) for name in ("verdict", *(name for name, _, _ in rows)))
        cell = max((page.width - id_width - 6) // 2, 16)
        rule = "-" * id_width + "-+-" + "-" * cell + "-+-" + "-" * cell
        lines = [_show_row("", "before", "after", id_width, cell), rule]
        lines += [_show_row(*row, id_width, cell) for row in rows]
        lines.append(rule)
        lines.append(_show_row("verdict", self.before.verdict.upper(), self.after.verdict.upper(), id_width, cell))
        lines.append(_show_row("", count_statuses(self.before), count_statuses(self.after), id_width, cell))
        return "\n".join(lines) + "\n"

    def _pair_findings(self) -> list[tuple[str, Finding | None, Finding | None]]:
        old = {finding.id: finding for finding in self.before.findings}
        new = {finding.id: finding for finding in self.after.findings}
        names = [*new, *(name for name in old if name not in new)]
        return [(name, old.get(name), new.get(name)) for name in names]


def _show_cell(finding: Finding | None) -> str:
    return "-" if finding is None else f"{finding.status:8} {show_found(finding)}"


def _show_row(name: str, left: str, right: str, id_width: int, cell: int) -> str:
    return f"{name:{id_width}} | {_clip(left, cell):{cell}} | {_clip(right, cell)}".rstrip()


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
