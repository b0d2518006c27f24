"""Two reports on one host side by side, such as before and after tuning."""

from __future__ import annotations

from hosttune.findings import Finding, Report
from hosttune.report.text import counts, found


def write(before: Report, after: Report, *, width: int = 100) -> str:
    """Return one table, id | before | after, in the order of the later report."""
    old = {finding.id: finding for finding in before.findings}
    new = {finding.id: finding for finding in after.findings}
    names = [*new, *(name for name in old if name not in new)]
    rows = [(name, _cell(old.get(name)), _cell(new.get(name))) for name in names]
    id_width = max(len(name) for name in ("verdict", *names))
    cell = max((width - id_width - 6) // 2, 16)
    rule = "-" * id_width + "-+-" + "-" * cell + "-+-" + "-" * cell
    lines = [_row("", "before", "after", id_width, cell), rule]
    lines += [_row(*row, id_width, cell) for row in rows]
    lines.append(rule)
    lines.append(_row("verdict", before.verdict.upper(), after.verdict.upper(), id_width, cell))
    lines.append(_row("", counts(before), counts(after), id_width, cell))
    return "\n".join(lines) + "\n"


def _cell(finding: Finding | None) -> str:
    return "-" if finding is None else f"{finding.status:8} {found(finding)}"


def _row(name: str, left: str, right: str, id_width: int, cell: int) -> str:
    return f"{name:{id_width}} | {_clip(left, cell):{cell}} | {_clip(right, cell)}".rstrip()


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
