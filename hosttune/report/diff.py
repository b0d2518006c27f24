"""Two reports on one host side by side, such as before and after tuning."""

from __future__ import annotations

from typing import Any

import msgspec

from hosttune.findings import Finding, Report
from hosttune.report.columns import clip, measure, pad
from hosttune.report.document import Page
from hosttune.report.words import count_statuses, show_found

NARROWEST = 16  # columns of a column that is cut


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
        """Returns one table, id | before | after, in the order of the later report.

        A cell is cut only where the table would be wider than the page.
        """
        rows = [("", "before", "after")]
        rows += [(name, _show_cell(old), _show_cell(new)) for name, old, new in self._pair_findings()]
        rows.append(("verdict", self.before.verdict.upper(), self.after.verdict.upper()))
        rows.append(("", count_statuses(self.before), count_statuses(self.after)))
        ids, *cells = ([measure(text) for text in column] for column in zip(*rows, strict=True))
        id_width = max(ids)
        left, right = _share_width(max(page.width - id_width - 6, 2 * NARROWEST), *cells)
        rule = "-+-".join("-" * size for size in (id_width, left, right))
        lines = [_show_row(*row, id_width, left, right) for row in rows]
        return "\n".join([lines[0], rule, *lines[1:-2], rule, *lines[-2:]]) + "\n"

    def _pair_findings(self) -> list[tuple[str, Finding | None, Finding | None]]:
        old = {finding.id: finding for finding in self.before.findings}
        new = {finding.id: finding for finding in self.after.findings}
        names = [*new, *(name for name in old if name not in new)]
        return [(name, old.get(name), new.get(name)) for name in names]


def _share_width(width: int, before: list[int], after: list[int]) -> tuple[int, int]:
    """Returns the widths of two columns with cells of these lengths: what they need, or in sum `width`, so divided that
    the fewest cells are cut."""

    def count_cut(left: int) -> int:
        return sum(size > left for size in before) + sum(size > width - left for size in after)

    allowed = range(NARROWEST, width - NARROWEST + 1)
    left = min(allowed, key=lambda left: (count_cut(left), abs(2 * left - width)))
    left = min(max(before), max(left, width - max(after)))
    return left, min(max(after), width - left)


def _show_cell(finding: Finding | None) -> str:
    return "-" if finding is None else f"{finding.status:8} {show_found(finding)}"


def _show_row(name: str, before: str, after: str, id_width: int, left: int, right: int) -> str:
    return f"{pad(name, id_width)} | {pad(clip(before, left), left)} | {clip(after, right)}".rstrip()
