"""Rows of the table: the processes of the desk (desk.counters), and the exporter itself."""

from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from prometheus_client import Metric as Family
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from desk.counters import Snapshot, State, split_name
from desk.export import numbers as published
from desk.export.numbers import name_number
from desk.export.table import Alert, Panel, Row, make_gauge, passes, rises
from desk.numbers import NUMBERS, find_number

#: What is read, by the label `source` of desk_export_errors_total.
SOURCES = ("directory", "engine", "left_out", "process", "ring", "textfile")
#: States in which there is no process.
_GONE = ("died", "ended")
#: How a connection ended that got no answer, by the label `reason` of desk_export_connections_total.
REASONS = {"broken": "by its client", "evicted": "the oldest, for a new one", "expired": "too slow",
           "refused": "no thread or descriptor was free"}  # fmt: skip


def describe_processes(found: Iterable[Snapshot]) -> Iterator[Family]:
    """Yields what the processes of the desk published last: each number by kind of process, with the labels `process`
    and, where the number has one, that of its part. What a gauge said is true no more where the process is gone."""
    found = list(found)
    up = GaugeMetricFamily("desk_up", "1: the process runs, and has published in time", labels=["process", "kind"])
    state = GaugeMetricFamily("desk_state", "1: the process is in this state", labels=["process", "kind", "state"])
    age = GaugeMetricFamily(
        "desk_heartbeat_age_seconds", "time since the process published last", labels=["process", "kind"]
    )
    numbers: dict[str, Family] = {}
    for one in found:
        up.add_metric([one.name, one.kind], float(one.state == "runs"))
        age.add_metric([one.name, one.kind], one.age)
        for name in get_args(State):
            state.add_metric([one.name, one.kind, name], float(name == one.state))
        # The exporter says the same of itself below, at this moment.
        for full, value in one.numbers.items() if one.kind != "export" else ():
            word, part = split_name(full)
            if one.state in _GONE and find_number(one.kind, word).kind != "counter":
                continue
            metric = name_number(one.kind, word)
            if metric not in numbers:
                numbers[metric] = _make_family(one.kind, word)
            labels = {"process": one.name} | ({find_number(one.kind, word).part: part} if part else {})
            suffix = "_total" if numbers[metric].type == "counter" else ""
            numbers[metric].add_sample(numbers[metric].name + suffix, labels, float(value))
    yield from (up, state, age, *numbers.values())


def _make_family(kind: str, word: str) -> Family:
    known = find_number(kind, word)
    family = CounterMetricFamily if known.kind == "counter" else GaugeMetricFamily
    return family(name_number(kind, word), known.text)


def describe_exporter(
    readable: Mapping[str, bool], errors: Mapping[str, int], counts: Mapping[str, int], seconds: float
) -> Iterator[Family]:
    """Yields what the exporter says of itself. readable: by engine; errors: by SOURCES; counts: of its server; seconds:
    that the collection took."""
    engines = GaugeMetricFamily(
        "desk_export_engine_readable", "1: the engine's segment could be read; 0: it could not", labels=["agent"]
    )
    for agent, value in readable.items():
        engines.add_metric([agent], float(value))
    yield engines
    yield make_gauge("desk_export_engines", "segments of engines that were found", {}, len(readable))
    failed = CounterMetricFamily("desk_export_errors", "what could not be read, by what it is", labels=["source"])
    for source in SOURCES:
        failed.add_metric([source], errors[source])
    yield failed
    ended = CounterMetricFamily(
        "desk_export_connections_ended", "connections that ended without an answer", labels=["reason"]
    )
    for reason in REASONS:
        ended.add_metric([reason], counts[reason])
    yield ended
    answers = CounterMetricFamily("desk_export_answers", "answers with metrics")
    answers.add_metric([], counts["answers"])
    yield answers
    faults = CounterMetricFamily("desk_export_faults", "answers that failed by a fault of the exporter: its log has it")
    faults.add_metric([], counts["failed"])
    yield faults
    yield make_gauge("desk_export_collect_seconds", "time that this collection took", {}, seconds)


def describe_desk() -> Iterator[Family]:
    """Yields each metric family of the desk's processes and of the exporter, with the values of none."""
    yield from ProcessCollector(registry=None).collect()
    yield from describe_processes([])
    for kind, numbers in NUMBERS.items():
        yield from (_make_family(kind, word) for word in numbers)
    yield from describe_exporter({}, dict.fromkeys(SOURCES, 0), dict.fromkeys([*REASONS, "answers", "failed"], 0), 0.0)


_PROCESS = '{process=~"$process"}'
ROWS: dict[str, Row] = {
    **published.ROWS,
    "desk_up": Row(panels=(
        Panel("Desk overview", "Processes of the desk that run", ((f"desk_up{_PROCESS}", "{{process}}"),)),)),
    "desk_state": Row(
        alerts=(
            Alert("DeskDied", 'desk_state{state="died"} == 1', 10, "critical",
                  "{{ $labels.process }}: the process of desk {{ $labels.kind }} is gone, and did not end in order"),
            Alert("DeskHung", 'desk_state{state="hung"} == 1', 0, "critical",
                  "{{ $labels.process }}: the process of desk {{ $labels.kind }} is there and does nothing"),
            Alert("DeskEnded", 'desk_state{state="ended"} == 1', 300, "info",
                  "{{ $labels.process }}: the process of desk {{ $labels.kind }} was ended in order"),
        ),
        panels=(Panel("Desk processes", "State", ((f"desk_state{_PROCESS} == 1", "{{process}} {{state}}"),)),),
    ),
    "desk_heartbeat_age_seconds": Row(panels=(
        Panel("Desk processes", "Heartbeat age", ((f"desk_heartbeat_age_seconds{_PROCESS}", "{{process}}"),), "s"),)),
    "desk_export_engine_readable": Row(alerts=(
        Alert("EngineUnreadable", "desk_export_engine_readable == 0", 30, "critical",
              "{{ $labels.agent }}: the engine's segment cannot be read: nothing is known of the engine"),)),
    "desk_export_engines": Row(panels=(
        Panel("Exporter", "Engines found", (("desk_export_engines", "{{instance}}"),)),)),
    "desk_export_errors_total": Row(
        alerts=(rises("desk_export_errors_total", "ExportErrors", "warning",
                      "{{ $labels.instance }}: the exporter could not read {{ $labels.source }}, {{ $value }} times"),),
        panels=(Panel("Exporter", "What could not be read",
                      (("rate(desk_export_errors_total[$__rate_interval])", "{{instance}} {{source}}"),), "cps"),),
    ),
    "desk_export_connections_ended_total": Row(
        alerts=(rises("desk_export_connections_ended_total", "ExportFlooded", "warning",
                      "{{ $labels.instance }}: {{ $value }} connections to the exporter ended without an answer "
                      "({{ $labels.reason }})", most=50),),
        panels=(Panel("Exporter", "Connections without an answer",
                      (("rate(desk_export_connections_ended_total[$__rate_interval])",
                        "{{instance}} {{reason}}"),), "cps"),),
    ),
    "desk_export_answers_total": Row(panels=(
        Panel("Exporter", "Answers", (("rate(desk_export_answers_total[$__rate_interval])", "{{instance}}"),),
              "cps"),)),
    "desk_export_faults_total": Row(alerts=(
        rises("desk_export_faults_total", "ExportFaults", "critical",
              "{{ $labels.instance }}: the exporter failed {{ $value }} times by a fault of its own"),)),
    "desk_export_collect_seconds": Row(
        alerts=(passes("desk_export_collect_seconds", "ExportSlow", "warning",
                       "{{ $labels.instance }}: the exporter takes {{ $value | humanizeDuration }} to collect",
                       60, 1.0),),
        panels=(Panel("Exporter", "Time of a collection", (("desk_export_collect_seconds", "{{instance}}"),), "s"),),
    ),
    "process_cpu_seconds_total": Row(panels=(
        Panel("Exporter", "CPU of the exporter",
              (('rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) desk_export_engines',
                "{{instance}}"),), "percentunit"),)),
    "process_resident_memory_bytes": Row(panels=(
        Panel("Exporter", "Memory of the exporter",
              (('process_resident_memory_bytes and on (instance) desk_export_engines', "{{instance}}"),), "bytes"),)),
    "up": Row(alerts=(
        Alert("ExportDown", 'up{job="desk"} == 0', 60, "critical",
              "{{ $labels.instance }}: Prometheus gets no answer from desk export"),)),
}  # fmt: skip
