"""Two reports on one host side by side, such as before and after tuning."""

from __future__ import annotations

from hosttune.findings import Finding, Report
from hosttune.report.text import counts, found


def write(before: Report, after: Report, *, width: int = 100) -> str:
    """Return one table, id | before | after, in the order of the later report.

    A cell is cut only where the table would be wider than `width` columns.
    """
    old = {finding.id: finding for finding in before.findings}
    new = {finding.id: finding for finding in after.findings}
    names = [*new, *(name for name in old if name not in new)]
    rows = [("", "before", "after")]
    rows += [(name, _cell(old.get(name)), _cell(new.get(name))) for name in names]
    rows += [("verdict", before.verdict.upper(), after.verdict.upper()), ("", counts(before), counts(after))]
    id_width, left, right = (max(map(len, column)) for column in zip(*rows, strict=True))
    left, right = _share(max(width - id_width - 6, 32), left, right)
    rule = "-+-".join("-" * size for size in (id_width, left, right))
    lines = [_row(*row, id_width, left, right) for row in rows]
    return "\n".join([lines[0], rule, *lines[1:-2], rule, *lines[-2:]]) + "\n"


def _share(room: int, left: int, right: int) -> tuple[int, int]:
    """Return the widths of two columns that need `left` and `right`: what they need, or else in sum the room."""
    left = min(left, max(room // 2, room - right))
    return left, min(right, room - left)


def _cell(finding: Finding | None) -> str:
    return "-" if finding is None else f"{finding.status:8} {found(finding)}"


def _row(name: str, before: str, after: str, id_width: int, left: int, right: int) -> str:
    return f"{name:{id_width}} | {_clip(before, left):{left}} | {_clip(after, right)}".rstrip()


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
