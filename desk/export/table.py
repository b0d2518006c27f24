"""What a row of the table of metrics holds: a metric, and its alerts, recording rules and panels."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from prometheus_client.core import GaugeMetricFamily

Severity = Literal["critical", "warning", "info"]


class Alert(msgspec.Struct, frozen=True):
    """An alert of Prometheus. wait: seconds that the expression holds before it fires; summary: one line, in which
    {{ $labels.NAME }} and {{ $value }} stand for what fired."""

    name: str
    expression: str
    wait: int
    severity: Severity
    summary: str


class Record(msgspec.Struct, frozen=True):
    """A recording rule of Prometheus, by the convention level:metric:operations."""

    name: str
    expression: str


class Panel(msgspec.Struct, frozen=True):
    """A graph of a dashboard. queries: (PromQL, legend), in which $agent and $process stand for those that are chosen
    and $__rate_interval for Grafana's own; unit: as Grafana calls it."""

    dashboard: str
    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"


class Metric(msgspec.Struct, frozen=True):
    """One metric. name: as it is exported, without the suffixes of a histogram's samples; kind: of Prometheus; source:
    which program or file has it."""

    name: str
    kind: str
    text: str
    source: str
    alerts: tuple[Alert, ...] = ()
    records: tuple[Record, ...] = ()
    panels: tuple[Panel, ...] = ()

    @property
    def unit(self) -> str:
        """The base unit that the name ends with, "" for a number of things."""
        word = self.name.removesuffix("_total").rpartition("_")[2]
        return word if word in ("seconds", "bytes", "ratio") else ""


class Row(msgspec.Struct, frozen=True):
    """What is done with a metric, which is described where it is made."""

    alerts: tuple[Alert, ...] = ()
    records: tuple[Record, ...] = ()
    panels: tuple[Panel, ...] = ()


def rises(
    metric: str, name: str, severity: Severity, summary: str, wait: int = 0, most: int = 0, window: str = "5m"
) -> Alert:
    """Returns an alert on a counter that has risen by more than `most` within the window."""
    return Alert(name, f"increase({metric}[{window}]) > {most}", wait, severity, summary)


def passes(metric: str, name: str, severity: Severity, summary: str, wait: int = 0, most: float = 0) -> Alert:
    """Returns an alert on a gauge above `most`."""
    return Alert(name, f"{metric} > {most:g}", wait, severity, summary)


def make_gauge(name: str, text: str, labels: Mapping[str, str], value: float) -> GaugeMetricFamily:
    """Returns a gauge with one sample."""
    gauge = GaugeMetricFamily(name, text, labels=list(labels))
    gauge.add_metric(list(labels.values()), float(value))
    return gauge
