"""The report of `hosttune check` as a document. Its JSON is described by `schema.json` beside this file."""

from __future__ import annotations

from typing import Any

import msgspec

from hosttune.findings import STATUSES, Report
from hosttune.report.document import Page

# Of a report that is read. One on 10,000 interrupts has 60,000 objects in 4 MB.
MAX_BYTES = 10 << 20
MAX_CONTAINERS = 100_000
# Of values in values, such as `{"cpu1": 5}`.
MAX_DEPTH = 16


class CheckReport(msgspec.Struct, frozen=True):
    """A report for people and programs."""

    report: Report

    def as_data(self) -> Report:
        """Returns the report itself."""
        return self.report

    def as_text(self, page: Page) -> str:
        """Returns the verdict first and last; for what is wrong: where it broke, why, and the fix."""
        from hosttune.report import page as writer  # late: JSON does without textwrap

        return writer.write_report(self.report, page)


def read_report(text: bytes) -> Report:
    """Read a report that was written as JSON.

    Raises msgspec.MsgspecError (a ValueError) for anything else, and for more than the report of a host comes to.
    """
    if text.count(b"{") + text.count(b"[") > MAX_CONTAINERS:
        raise msgspec.ValidationError(f"it has more than {MAX_CONTAINERS:,} objects and arrays")
    try:
        report = msgspec.json.decode(text, type=Report)
    except msgspec.MsgspecError as error:  # which repeats what it refuses
        raise type(error)(str(error)[:200]) from None
    except RecursionError:
        raise msgspec.ValidationError("it is nested too deep") from None
    if missing := [status for status in STATUSES if status not in report.summary]:
        raise msgspec.ValidationError(f"its summary has no number of {missing[0]}")
    values = [report.host, *(each for finding in report.findings for each in (finding.wanted, finding.found))]
    values += [hop.value for finding in report.findings for hop in finding.hops.values()]
    _check_values(values)
    return report


def _check_values(values: list[Any]) -> None:
    """Raise msgspec.ValidationError for a number that nobody could write out, or values nested beyond MAX_DEPTH."""
    for _ in range(MAX_DEPTH):
        if any(isinstance(value, int) and value.bit_length() > 64 for value in values):
            raise msgspec.ValidationError("it has an integer of more than 64 bits")
        values = [below for value in values for below in _list_below(value)]
        if not values:
            return
    raise msgspec.ValidationError("it is nested too deep")


def _list_below(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
