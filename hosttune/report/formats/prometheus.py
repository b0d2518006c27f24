"""Prometheus's text exposition format, for a node exporter's textfile directory or a scraper's exec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hosttune.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from hosttune.report.document import MeasuredDocument, Page

NEEDS = "as_metrics"


def write(document: MeasuredDocument, page: Page) -> str:
    """Return the exposition of all metrics. Raises UsageError without the package prometheus-client."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.registry import Collector
    except ModuleNotFoundError:
        raise UsageError("--format prometheus needs the package prometheus-client (hosttune[agent])") from None

    class Metrics(Collector):
        def collect(self) -> Iterable[Metric]:
            return document.as_metrics()

    registry = CollectorRegistry()
    registry.register(Metrics())
    return generate_latest(registry).decode()
