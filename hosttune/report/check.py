"""The report of `hosttune check` as a document. Its JSON is described by `schema.json` beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from hosttune.findings import STATUSES, Report, Verdict
from hosttune.report.document import Page

if TYPE_CHECKING:
    from prometheus_client import Metric

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

    def as_metrics(self) -> Iterator[Metric]:
        """Yields the verdict, when the facts were read, the findings by status, and by name those that did not
        pass."""
        from prometheus_client.core import GaugeMetricFamily  # late: the other formats do without

        report = self.report
        text = "1: the verdict on this host, by the profile that it was checked with"
        verdict = GaugeMetricFamily("hosttune_check_verdict", text, labels=["verdict"])
        for name in get_args(Verdict):
            verdict.add_metric([name], float(name == report.verdict))
        yield verdict
        text = "when the facts were read, since 1970; missing for a captured tree"
        taken = GaugeMetricFamily("hosttune_check_time_seconds", text)
        if (moment := _read_time(report.host.get("time"))) is not None:
            taken.add_metric([], moment)
        yield taken
        counts = GaugeMetricFamily("hosttune_check_findings", "number of findings by status", labels=["status"])
        for status, count in report.summary.items():
            counts.add_metric([status], count)
        yield counts
        text = "1: this finding of the last check did not pass"
        wrong = GaugeMetricFamily("hosttune_check_finding", text, labels=["id", "status"])
        for finding in report.findings:
            if finding.status not in ("pass", "na"):
                wrong.add_metric([finding.id, finding.status], 1.0)
        yield wrong
        labels = [str(report.host.get(key, "")) for key in ("profile", "source")]
        info = GaugeMetricFamily("hosttune_check_info", "1: what was checked, and how", labels=["profile", "source"])
        info.add_metric(labels, 1.0)
        yield info


def _read_time(text: str | None) -> float | None:
    """Returns the seconds since 1970 of a report's time (schema.json); None where there is none."""
    try:
        return datetime.strptime(text or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


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
