"""The report of `hosttune check` as a document. Its JSON is described by `schema.json` beside this file."""

from __future__ import annotations

import msgspec

from hosttune.findings import Report
from hosttune.report.document import Page


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
    """Read a report that was written as JSON. Raises msgspec.MsgspecError (a ValueError) for anything else."""
    return msgspec.json.decode(text, type=Report)
