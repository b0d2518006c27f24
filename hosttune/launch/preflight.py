"""A preflight that was made before the launch, by a process that may read more of the host than the launcher."""

from __future__ import annotations

import os
import time

import msgspec

from hosttune import files
from hosttune.findings import Report
from hosttune.report.check import read_report

# A report of 512 CPUs and 4000 interrupts is about 2 MB.
MAX_BYTES = 8 << 20
#: Seconds. A check takes seconds, and the launch follows it.
MAX_AGE = 300.0
# Seconds that time synchronisation may have put the clock back between the check and the launch.
_CLOCK_STEP = 1.0


class PreflightError(Exception):
    """There is no report that could be believed; the text names the file and says why."""


def take_report(path: str) -> Report:
    """Returns the report that `hosttune check --format json` wrote, and removes it: it counts once.

    Raises PreflightError for what is not such a report, not there, not this user's or root's own or in a place where
    others could exchange it, and for one that is older than MAX_AGE or this boot: the host may have changed since.
    """
    try:
        where = files.find_name(path)
        descriptor = files.open_file(where)
        try:
            written = os.fstat(descriptor).st_mtime
            data = files.read_bounded(descriptor, MAX_BYTES, where)
        finally:
            os.close(descriptor)
        os.unlink(where)
    except OSError as error:
        place = "" if error.filename in (path, None) else f"{error.filename}: "
        raise PreflightError(f"--preflight {path}: {place}{error.strerror}") from None
    age = time.time() - written
    if found := _explain_age(age, time.clock_gettime(time.CLOCK_BOOTTIME)):
        raise PreflightError(f"--preflight {path}: found {found}, allowed: one of the last {MAX_AGE:.0f} s")
    try:
        return read_report(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PreflightError(f"--preflight {path}: not a report of hosttune check --format json: {error}") from None


def _explain_age(age: float, uptime: float) -> str:
    """Returns why a report of this age (seconds) is not believed, or ""."""
    if age < -_CLOCK_STEP:
        return f"a report from {-age:.0f} s in the future"
    if age > uptime:
        return "a report from before this boot"
    return f"a report from {age:.0f} s ago" if age > MAX_AGE else ""
