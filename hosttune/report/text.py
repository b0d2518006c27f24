"""The report for people: the verdict first and last; for what is wrong: where it broke, why, and the fix."""

from __future__ import annotations

import textwrap
from typing import Any

from hosttune.findings import HOPS, STATUSES, Finding, Hop, HopName, Report, Status

RED, YELLOW, GREEN, DIM, BOLD, RESET = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
COLOURS: dict[str, str] = {
    "fail": RED,
    "not ready": RED,
    "pending": YELLOW,
    "volatile": YELLOW,
    "unknown": YELLOW,
    "warn": YELLOW,
    "pass": GREEN,
    "ready": GREEN,
    "na": DIM,
}
MEANING: dict[Status, str] = {
    "pending": "asked for, waits for a reboot",
    "volatile": "true now, lost at the next boot",
    "unknown": "could not tell",
    "warn": "works, but not as it should be left",
}
QUIET: frozenset[Status] = frozenset({"pass", "na"})
LABEL = 10  # width of the status column and of the labels under it


def write(report: Report, *, width: int = 100, colour: bool = False, quiet: bool = False) -> str:
    """Return the report as lines of at most `width` columns (a long path or command may stand out).

    `quiet` leaves out what passed or does not apply.
    """
    page = _Page(width, colour)
    page.verdict(report)
    sections: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if not (quiet and finding.status in QUIET):
            sections.setdefault(finding.id.partition(".")[0], []).append(finding)
    for name, findings in sections.items():
        page.lines.append("")
        page.lines.append(page.paint(name, BOLD))
        column = min(max(len(finding.id) for finding in findings), max(24, width // 2 - LABEL))
        for finding in sorted(findings, key=lambda finding: STATUSES.index(finding.status)):
            page.finding(finding, column)
    page.lines.append("")
    page.lines.append(page.last(report))
    return "\n".join(page.lines) + "\n"


def show(value: Any) -> str:
    """A JSON value as a person writes it."""
    if value is None or value == "" or value == []:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {show(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(show(item) for item in value)
    return " ".join(str(value).split())


def found(finding: Finding) -> str:
    """What was found, or if nothing could be read, why."""
    if finding.found is None:
        unread = [hop for hop in finding.hops.values() if hop.state == "unknown"]
        if unread:
            return f"could not be read: {show(unread[-1].value)}"
    return show(finding.found)


def counts(report: Report) -> str:
    """`2 fail, 1 pending, 12 pass`: the statuses that occur, worst first."""
    return ", ".join(f"{report.summary[status]} {status}" for status in STATUSES if report.summary[status])


class _Page:
    def __init__(self, width: int, colour: bool) -> None:
        self.width = width
        self.colour = colour
        self.lines: list[str] = []

    def paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{RESET}" if self.colour and colour else text

    def verdict(self, report: Report) -> None:
        host = report.host
        words = [host.get("hostname") or "unnamed host"]
        if host.get("kernel"):
            words.append(f"Linux {host['kernel']}")
        if host.get("cpus"):
            words.append(f"{host['cpus']} CPU{'s' if host['cpus'] > 1 else ''}")
        self.lines.append(self.paint(report.verdict.upper(), COLOURS[report.verdict]) + "  " + ", ".join(words))
        read = host.get("source") or ""
        if host.get("time"):
            read += f" at {host['time']}"
        self.lines.append(f"{'facts':{LABEL}}{read}")
        self.lines.append(f"{'profile':{LABEL}}{host.get('profile') or ''}")

    def last(self, report: Report) -> str:
        verdict = self.paint(report.verdict.upper(), COLOURS[report.verdict])
        reboot = sum(finding.reboot for finding in report.findings if finding.status not in QUIET)
        tail = f"; {reboot} need{'s' if reboot == 1 else ''} a reboot" if reboot else ""
        return f"{verdict}  {counts(report)}{tail}"

    def finding(self, finding: Finding, column: int) -> None:
        label = f"  {finding.status.upper() if finding.status == 'fail' else finding.status:{LABEL}}"
        head = self.paint(label, COLOURS[finding.status])
        if finding.status == "pass":
            self.lines.append(f"{head}{finding.id:{column}}  {self._clip(show(finding.found), column)}")
            return
        if finding.status == "na":
            self._wrapped(f"{head}{finding.id:{column}}  ", 2 + LABEL + column + 2, show(finding.found))
            return
        meaning = MEANING.get(finding.status)
        self.lines.append(f"{head}{finding.id}" + (self.paint(f"  ({meaning})", DIM) if meaning else ""))
        self._labelled("wanted", show(finding.wanted))
        self._labelled("found", found(finding))
        self._hops(finding.hops)
        if finding.why:
            self._labelled("why", finding.why)
        if finding.fix:
            # Not wrapped: a command that is broken in the middle cannot be pasted.
            for number, line in enumerate(finding.fix.splitlines()):
                self._plain("fix" if not number else "", line)
        if finding.reboot:
            self._plain("", "then reboot")

    def _hops(self, hops: dict[HopName, Hop]) -> None:
        shown = [(name, hops[name]) for name in HOPS if name in hops]
        broken = next((name for name, hop in shown if hop.state in ("bad", "absent")), None)
        indent = 2 + LABEL
        for number, (name, hop) in enumerate(shown):
            text = show(hop.value) if hop.value is not None else ""
            place = f"[{hop.source}]" if hop.source else ""
            label = "hops" if not number else ""
            head = f"{label:5}{'->' if name == broken else '':3}{name:9}  {hop.state:7}"
            self._wrapped(" " * indent + head + "  ", indent + 28, f"{text}  {place}".strip())

    def _labelled(self, label: str, text: str) -> None:
        indent = 2 + LABEL
        self._wrapped(" " * indent + f"{label:8}", indent + 8, text)

    def _plain(self, label: str, text: str) -> None:
        self.lines.append(" " * (2 + LABEL) + f"{label:8}{text}")

    def _wrapped(self, head: str, indent: int, text: str) -> None:
        # The head is printed as it is (it may hold colour codes), so only the text is wrapped.
        room = max(self.width - indent, 30)
        first, *rest = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        self.lines.append(head + first)
        self.lines.extend(" " * indent + line for line in rest)

    def _clip(self, text: str, column: int) -> str:
        room = max(self.width - (2 + LABEL + column + 2), 20)
        return text if len(text) <= room else text[: room - 3] + "..."
