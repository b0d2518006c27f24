"""A preflight that was made before the launch, by a process that may read more of the host than the launcher."""

from __future__ import annotations

import os

import msgspec

from hosttune import files
from hosttune.findings import Report
from hosttune.report.check import read_report

# A report of 512 CPUs and 4000 interrupts is about 2 MB.
MAX_BYTES = 8 << 20


class PreflightError(Exception):
    """There is no report that could be believed; the text names the file and says why."""


def take_report(path: str) -> Report:
    """Returns the report that `hosttune check --format json` wrote, and removes it: it counts once.

    Raises PreflightError for what is not such a report, not this user's or root's own, or not there.
    """
    try:
        data = files.read_file(path, MAX_BYTES)
        os.unlink(path)
    except OSError as error:
        raise PreflightError(f"--preflight {path}: {error.strerror}") from None
    try:
        return read_report(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PreflightError(f"--preflight {path}: not a report of hosttune check --format json: {error}") from None
