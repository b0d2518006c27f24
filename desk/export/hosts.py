"""Rows of the table: a host's last check (`hosttune check --format prometheus`), by whoever serves the file."""

from collections.abc import Iterator

from prometheus_client import Metric as Family

from desk.export.table import Alert, Panel, Row
from hosttune.findings import STATUSES, Report
from hosttune.report.check import CheckReport

#: Seconds after which a check is old: its timer runs four times an hour.
OLD = 3600


def describe_host() -> Iterator[Family]:
    """Yields each metric family of a check, with the values of none."""
    report = Report(host={}, verdict="unknown", summary=dict.fromkeys(STATUSES, 0), findings=[])
    yield from CheckReport(report).as_metrics()


ROWS: dict[str, Row] = {
    "hosttune_check_verdict": Row(
        alerts=(
            Alert("HostNotReady", 'hosttune_check_verdict{verdict="not ready"} == 1', 0, "warning",
                  "{{ $labels.instance }}: the host is NOT READY: hosttune_check_finding says why"),
            Alert("HostUnknown", 'hosttune_check_verdict{verdict="unknown"} == 1', 0, "warning",
                  "{{ $labels.instance }}: hosttune could not tell whether the host is ready"),
        ),
        panels=(Panel("Desk overview", "Verdict on each host",
                      (("hosttune_check_verdict == 1", "{{instance}} {{verdict}}"),)),),
    ),
    "hosttune_check_time_seconds": Row(
        alerts=(
            Alert("HostCheckOld", f"time() - hosttune_check_time_seconds > {OLD}", 0, "warning",
                  "{{ $labels.instance }}: the last check of the host is {{ $value | humanizeDuration }} old"),
        ),
        panels=(Panel("Host", "Age of the last check",
                      (("time() - hosttune_check_time_seconds", "{{instance}}"),), "s"),),
    ),
    "hosttune_check_findings": Row(panels=(
        Panel("Host", "Findings by status", (("hosttune_check_findings", "{{instance}} {{status}}"),)),)),
    "hosttune_check_finding": Row(panels=(
        Panel("Host", "What did not pass", (("hosttune_check_finding", "{{instance}} {{id}} {{status}}"),)),)),
}  # fmt: skip
