"""Prometheus's text exposition format, for a node exporter's textfile directory or a scraper's exec.

The format has no way to write a control character, so that label values are escaped as elsewhere: their \\u001b is six
characters for its reader too. Source: prometheus.io/docs/instrumenting/exposition_formats, "Comments, help text, and
type information".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hosttune.errors import UsageError
from hosttune.output import escape

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
            return map(escape_family, document.as_metrics())

    registry = CollectorRegistry()
    registry.register(Metrics())
    return generate_latest(registry).decode()


def escape_family(family: Metric) -> Metric:
    """Returns the metric family, in whose texts and label values nothing is left that is not printable."""
    family.documentation = escape(family.documentation)
    family.samples = [
        sample._replace(labels={name: escape(text) for name, text in sample.labels.items()})
        for sample in family.samples
    ]
    return family
