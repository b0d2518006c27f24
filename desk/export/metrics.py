"""The one table of metrics: what is exported, and for each the alerts, recording rules and panels that use it. `desk
export` serves it, `desk rules` and `desk dashboards` write it, docs/desk_export.md shows it."""

from collections.abc import Iterator

from prometheus_client import Metric as Family

from agent.shm import _segment
from desk.export import desk, engines, hosts
from desk.export.table import Alert, Metric, Panel, Row

_UP = Metric("up", "gauge", "1: the scrape of the target succeeded", "Prometheus")


def list_metrics() -> list[Metric]:
    """Returns the table: metrics of engines, hosts and the desk, in this order. A counter that is new in agent_shm.h is
    in it by itself."""
    rows = {**engines.ROWS, **hosts.ROWS, **desk.ROWS}
    graphs = _list_graphs()
    found = []
    for source, families in (
        ("engine", engines.describe_engine()),
        ("hosttune check", hosts.describe_host()),
        ("desk", desk.describe_desk()),
    ):
        for family in families:
            name = name_of(family)
            row = engines.find_row(name, family.type) if source == "engine" else rows.get(name, Row())
            panels = (*row.panels, *graphs.get(name, ()))
            found.append(
                Metric(name, family.type, family.documentation, source, row.alerts, row.records, panels)
            )  # fmt: skip
    up = rows["up"]
    return [*found, Metric(_UP.name, _UP.kind, _UP.text, _UP.source, up.alerts, up.records, up.panels)]


def name_of(family: Family) -> str:
    """Returns the name by which a family is asked for: that of a counter has _total."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def _list_graphs() -> dict[str, tuple[Panel, ...]]:
    graphs: dict[str, tuple[Panel, ...]] = {}
    kinds = {name: word.kind for name, word in _segment.counters().items()}
    for name, panel in engines.list_graphs(kinds):
        graphs[name] = (*graphs.get(name, ()), panel)
    return graphs


def list_alerts() -> Iterator[tuple[Metric, Alert]]:
    """Yields each alert of the table, with the metric whose row has it."""
    for metric in list_metrics():
        for alert in metric.alerts:
            yield metric, alert


def list_panels() -> Iterator[tuple[Metric, Panel]]:
    """Yields each panel of the table, with the metric whose row has it."""
    for metric in list_metrics():
        for panel in metric.panels:
            yield metric, panel
