"""The report of a check for people: the verdict first and last; for what is wrong: where it broke, why, and the fix."""

from __future__ import annotations

import textwrap

from hosttune.findings import HOPS, STATUSES, Finding, Hop, HopName, Report, Status
from hosttune.report.columns import clip, measure, pad
from hosttune.report.document import Page
from hosttune.report.words import count_statuses, show_found, show_value

RED, YELLOW, GREEN, DIM, BOLD, RESET = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
#: All that a page holds beside text.
ORDERS = (RED, YELLOW, GREEN, DIM, BOLD, RESET)
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


def write_report(report: Report, page: Page) -> str:
    """Return the report as lines of at most `page.width` columns (a long path or command may stand out).

    `page.quiet` leaves out what passed or does not apply.
    """
    lines = _Lines(page)
    lines.add_verdict(report)
    sections: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if not (page.quiet and finding.status in QUIET):
            sections.setdefault(finding.id.partition(".")[0], []).append(finding)
    for name, findings in sections.items():
        lines.add("")
        lines.add(lines.paint(name, BOLD))
        column = min(max(measure(finding.id) for finding in findings), max(24, page.width // 2 - LABEL))
        for finding in sorted(findings, key=lambda finding: STATUSES.index(finding.status)):
            lines.add_finding(finding, column)
    lines.add("")
    lines.add_summary(report)
    return lines.join()


class _Lines:
    """The page as it grows."""

    def __init__(self, page: Page) -> None:
        self.width = page.width
        self.colour = page.colour
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    def join(self) -> str:
        return "\n".join(self.lines) + "\n"

    def paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{RESET}" if self.colour and colour else text

    def add_verdict(self, report: Report) -> None:
        host = report.host
        words = [host.get("hostname") or "unnamed host"]
        if host.get("kernel"):
            words.append(f"Linux {host['kernel']}")
        if cpus := host.get("cpus"):
            words.append(f"{cpus} CPU{'s' if cpus > 1 else ''}")
        self.add(self.paint(report.verdict.upper(), COLOURS[report.verdict]) + "  " + ", ".join(words))
        read = host.get("source") or ""
        if host.get("time"):
            read += f" at {host['time']}"
        self.add(f"{'facts':{LABEL}}{read}")
        self.add(f"{'profile':{LABEL}}{host.get('profile') or ''}")

    def add_summary(self, report: Report) -> None:
        verdict = self.paint(report.verdict.upper(), COLOURS[report.verdict])
        reboot = sum(finding.reboot for finding in report.findings if finding.status not in QUIET)
        tail = f"; {reboot} need{'s' if reboot == 1 else ''} a reboot" if reboot else ""
        self.add(f"{verdict}  {count_statuses(report)}{tail}")

    def add_finding(self, finding: Finding, column: int) -> None:
        label = f"  {finding.status.upper() if finding.status == 'fail' else finding.status:{LABEL}}"
        head = self.paint(label, COLOURS[finding.status])
        if finding.status == "pass":
            self.add(f"{head}{pad(finding.id, column)}  {self._clip(show_value(finding.found), column)}")
            return
        if finding.status == "na":
            self._add_wrapped(f"{head}{pad(finding.id, column)}  ", 2 + LABEL + column + 2, show_value(finding.found))
            return
        meaning = MEANING.get(finding.status)
        self.add(f"{head}{finding.id}" + (self.paint(f"  ({meaning})", DIM) if meaning else ""))
        self._add_labelled("wanted", show_value(finding.wanted))
        self._add_labelled("found", show_found(finding))
        self._add_hops(finding.hops)
        if finding.why:
            self._add_labelled("why", finding.why)
        if finding.fix:
            # Not wrapped: a command that is broken in the middle cannot be pasted.
            for number, line in enumerate(finding.fix.splitlines()):
                self._add_plain("fix" if not number else "", line)
        if finding.reboot:
            self._add_plain("", "then reboot")

    def _add_hops(self, hops: dict[HopName, Hop]) -> None:
        shown = [(name, hops[name]) for name in HOPS if name in hops]
        broken = next((name for name, hop in shown if hop.state in ("bad", "absent")), None)
        indent = 2 + LABEL
        for number, (name, hop) in enumerate(shown):
            text = show_value(hop.value) if hop.value is not None else ""
            place = f"[{hop.source}]" if hop.source else ""
            label = "hops" if not number else ""
            head = f"{label:5}{'->' if name == broken else '':3}{name:9}  {hop.state:7}"
            self._add_wrapped(" " * indent + head + "  ", indent + 28, f"{text}  {place}".strip())

    def _add_labelled(self, label: str, text: str) -> None:
        indent = 2 + LABEL
        self._add_wrapped(" " * indent + f"{label:8}", indent + 8, text)

    def _add_plain(self, label: str, text: str) -> None:
        self.add(" " * (2 + LABEL) + f"{label:8}{text}")

    def _add_wrapped(self, head: str, indent: int, text: str) -> None:
        # The head is printed as it is (it may hold colour codes), so only the text is wrapped.
        room = max(self.width - indent, 30)
        first, *rest = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        self.add(head + first)
        self.lines.extend(" " * indent + line for line in rest)

    def _clip(self, text: str, column: int) -> str:
        room = max(self.width - (2 + LABEL + column + 2), 20)
        return clip(text, room)
