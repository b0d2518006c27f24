"""Findings in the words of a person."""

from __future__ import annotations

from typing import Any

from hosttune.findings import STATUSES, Finding, Report
from hosttune.output import escape


def show_value(value: Any) -> str:
    """Returns a JSON value as a person writes it."""
    if value is None or value == "" or value == []:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{escape(key)}: {show_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(show_value(item) for item in value)
    return escape(" ".join(str(value).split()))


def show_found(finding: Finding) -> str:
    """Returns what was found, or if nothing could be read, why."""
    if finding.found is None:
        unread = [hop for hop in finding.hops.values() if hop.state == "unknown"]
        if unread:
            return f"could not be read: {show_value(unread[-1].value)}"
    return show_value(finding.found)


def count_statuses(report: Report) -> str:
    """Returns the statuses that occur, worst first: `2 fail, 1 pending, 12 pass`."""
    return ", ".join(f"{report.summary[status]} {status}" for status in STATUSES if report.summary[status])
