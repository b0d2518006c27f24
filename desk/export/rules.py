"""The table as a file of alerting and recording rules for Prometheus. Source: its documentation, "Defining recording
rules" and "Alerting rules"."""

from typing import Any

import yaml

from desk.export.metrics import list_metrics
from desk.export.table import Alert, Metric

#: Seconds between two evaluations of a group.
INTERVAL = 15


def write_rules(job: str = "desk") -> str:
    """Returns the YAML of a rules file. job: of Prometheus' scrape_configs, that of desk export."""
    text = yaml.safe_dump(make_rules(job), sort_keys=False, allow_unicode=True, width=110)
    return f"# Written by `desk rules`: change the table of metrics instead, or another file.\n{text}"


def make_rules(job: str = "desk") -> dict[str, Any]:
    """Returns the groups of rules: records first, since alerts use them."""
    metrics = list_metrics()
    records = [
        {"record": record.name, "expr": record.expression} for metric in metrics for record in metric.records
    ]  # fmt: skip
    alerts = [_make_alert(metric, alert, job) for metric in metrics for alert in metric.alerts]
    return {
        "groups": [
            {"name": "desk-records", "interval": f"{INTERVAL}s", "rules": records},
            {"name": "desk-alerts", "interval": f"{INTERVAL}s", "rules": alerts},
        ]
    }


def _make_alert(metric: Metric, alert: Alert, job: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": alert.name, "expr": alert.expression.replace('job="desk"', f'job="{job}"')}
    if alert.wait:
        rule["for"] = f"{alert.wait}s"
    rule["labels"] = {"severity": alert.severity}
    rule["annotations"] = {"summary": alert.summary, "metric": f"{metric.name}: {metric.text}"}
    return rule
