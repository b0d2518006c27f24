"""The table as dashboards for Grafana, built by its own library. Source: Grafana's documentation, "Dashboard JSON
model"."""

import json
from typing import Any

from desk.errors import DeskError
from desk.export.metrics import list_panels
from desk.export.table import Panel

#: The dashboards, in order, with the variables that their queries use.
DASHBOARDS = {
    "Desk overview": ("agent", "process"),
    "Engine feed": ("agent",),
    "Engine orders": ("agent",),
    "Engine positions": ("agent",),
    "Engine latency": ("agent",),
    "Engine process": ("agent",),
    "Desk processes": ("process",),
    "Exporter": (),
    "Host": (),
}
#: By variable: the metric whose label of that name has its values.
_VALUES = {"agent": "agent_state", "process": "desk_state"}
_HEIGHT, _SPAN = 8, 12


def make_dashboards() -> dict[str, str]:
    """Returns the JSON of each dashboard, by the name of its file. Raises DeskError without the package
    grafana-foundation-sdk."""
    try:
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
    except ModuleNotFoundError:
        raise DeskError(
            "desk dashboards needs the package grafana-foundation-sdk: pip install 'hosttune[desk-tools]'"
        ) from None
    panels: dict[str, list[Panel]] = {name: [] for name in DASHBOARDS}
    for _, panel in list_panels():
        panels[panel.dashboard].append(panel)
    found = {}
    for name, its in panels.items():
        text = JSONEncoder(sort_keys=True, indent=2).encode(_build(name, its))
        # Read back: what Grafana cannot read it skips without a word.
        found[f"{_name_file(name)}.json"] = json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    return found


def _name_file(dashboard: str) -> str:
    return dashboard.lower().replace(" ", "-").removeprefix("desk-").join(("desk-", ""))


def _build(name: str, panels: list[Panel]) -> Any:
    from grafana_foundation_sdk.builders import common, timeseries
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.builders.prometheus import Dataquery
    from grafana_foundation_sdk.models import common as looks
    from grafana_foundation_sdk.models import dashboard as models

    source = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
    board = (
        builders.Dashboard(name)
        .uid(_name_file(name))
        .tags(["hosttune", "desk"])
        .refresh("10s")
        .time("now-30m", "now")
        .editable()
        .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for variable in DASHBOARDS[name]:
        board = board.with_variable(
            builders.QueryVariable(variable)
            .datasource(source)
            .query(f"label_values({_VALUES[variable]}, {variable})")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    for panel in panels:
        graph = (
            timeseries.Panel()
            .title(panel.title)
            .unit(panel.unit)
            .datasource(source)
            .height(_HEIGHT)
            .span(_SPAN)
            .legend(
                common.VizLegendOptions()
                .show_legend(True)
                .display_mode(looks.LegendDisplayMode.LIST)
                .placement(looks.LegendPlacement.BOTTOM)
            )
            .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
        )
        for number, (query, legend) in enumerate(panel.queries):
            # A to Z, then A1 to Z1, and so on: each target has its own.
            reference = chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")
            graph = graph.with_target(
                Dataquery().expr(query).legend_format(legend).ref_id(reference).datasource(source).range()
            )
        board = board.with_panel(graph)
    return board.build()
