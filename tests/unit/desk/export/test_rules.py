"""The table and its rules, by promtool: what is used is exported, and each alert fires on what it is for and on nothing
else."""

import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.shm import _segment
from desk.cli.main import main
from desk.export.metrics import list_alerts, list_metrics, list_panels
from desk.export.rules import make_rules, write_rules
from desk.numbers import NUMBERS

from ..programs import find_program
from .examples import EXAMPLES, FAMILIES, NOW, fill_family

METRICS = list_metrics()


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = find_program("promtool")
    return subprocess.run([program.path, *arguments], env=program.environment, capture_output=True, text=True,
                          timeout=300)  # fmt: skip


def list_exported() -> set[str]:
    """Names of samples."""
    suffixes = {"histogram": ("_bucket", "_count", "_sum")}
    return {metric.name + suffix for metric in METRICS for suffix in suffixes.get(metric.kind, ("",))}


def find_used(expression: str) -> set[str]:
    """The metrics and records that an expression names."""
    bare = re.sub(r'"[^"]*"|\[[^]]*\]|\{[^}]*\}|\b(?:by|on|group_left) *\([^)]*\)', " ", expression)
    names = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare))
    return {name for name in names if ":" in name or "_" in name or name == "up"} - {"histogram_quantile"}


def test_what_rules_and_panels_use_is_exported() -> None:
    known = list_exported() | {record.name for metric in METRICS for record in metric.records}
    expressions = [alert.expression for _, alert in list_alerts()]
    expressions += [record.expression for metric in METRICS for record in metric.records]
    expressions += [query for _, panel in list_panels() for query, _ in panel.queries]
    assert len(expressions) > 200
    for expression in expressions:
        assert find_used(expression) and find_used(expression) <= known, expression
    assert find_used('rate(agent_nobody_total{agent=~"a"}[5m]) > 0') == {"agent_nobody_total"}
    assert "agent_nobody_total" not in known


def test_each_counter_of_the_header_is_in_the_table_and_in_a_graph() -> None:
    names = {metric.name for metric in METRICS}
    graphed = {name for _, panel in list_panels() for query, _ in panel.queries for name in find_used(query)}
    for name, word in _segment.counters().items():
        metric = f"agent_{name}" + ("_total" if word.kind == "counter" else "")
        assert metric in names
        assert word.kind == "gauge" or metric in graphed, metric
    for name in _segment.histograms():
        assert f"agent_{name}_seconds_bucket" in graphed


def test_a_new_counter_joins_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Word:
        kind, text = "counter", "of tomorrow"

    known = _segment.counters()
    monkeypatch.setattr(_segment, "counters", lambda: {**known, "brand_new": Word(), "malformed_new": Word()})
    assert {metric.name: metric.text for metric in list_metrics()}["agent_brand_new_total"] == "of tomorrow"
    for name, title in (("brand_new", "Other counters"), ("malformed_new", "Malformed messages")):
        (panel,) = [p for _, p in list_panels() if any(f"agent_{name}_total" in query for query, _ in p.queries)]
        assert panel.title == title


def test_each_family_of_refusals_is_whole_in_its_record() -> None:
    records = {record.name: record.expression for metric in METRICS for record in metric.records}
    for name, prefix in (("malformed", "malformed_"), ("refused", "refused_"), ("reject", "reject_")):
        counters = {f"agent_{one}_total" for one in _segment.counters() if one.startswith(prefix)}
        assert find_used(records[f"agent:{name}:rate5m"]) == counters


def test_names_are_given_once() -> None:
    alerts = [alert.name for _, alert in list_alerts()]
    panels = [(panel.dashboard, panel.title) for _, panel in list_panels()]
    for names in (alerts, panels, [metric.name for metric in METRICS]):
        assert len({*names}) == len(names)
    assert EXAMPLES.keys() | FAMILIES.keys() == {*alerts}


def test_promtool_takes_the_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yml"
    assert main(["rules", "-o", str(file)]) == 0
    assert main(["rules"]) == 0
    assert capsys.readouterr().out == file.read_text() == write_rules()
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert yaml.safe_load(file.read_text()) == make_rules()


def test_the_job_of_the_exporter_is_the_callers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--job", "trading"]) == 0
    out = capsys.readouterr().out
    assert 'up{job="trading"} == 0' in out and 'job="desk"' not in out
    assert main(["rules", "--job", 'x"} or vector(1) #']) == 2
    assert "--job: found" in capsys.readouterr().err


def select_rules(alert: str) -> dict[str, Any]:
    """The rules with one alert, and with the records that its expression names: all of them, for each example, cost
    promtool a minute."""
    rules = make_rules()
    every = [rule for group in rules["groups"] for rule in group["rules"]]
    wanted = {alert}
    while more := {used for rule in every if {rule.get("alert"), rule.get("record")} & wanted
                   for used in find_used(rule["expr"]) if ":" in used} - wanted:  # fmt: skip
        wanted |= more
    for group in rules["groups"]:
        group["rules"] = [rule for rule in group["rules"] if {rule.get("alert"), rule.get("record")} & wanted]
    return {"groups": [group for group in rules["groups"] if group["rules"]]}


def test_each_alert_fires_on_what_it_is_for_and_on_nothing_else(tmp_path: Path) -> None:
    files = []
    for metric, alert in list_alerts():
        tests = []
        if alert.name in FAMILIES:
            prefix, other = FAMILIES[alert.name]
            names = [f"agent_{one}_total" for one in _segment.counters() if one.startswith(prefix)]
            example = fill_family(names, other)
        else:
            example = EXAMPLES[alert.name]
        for series, fires in ((example.fires, 1), (example.quiet, 0)):
            tests.append({
                "name": f"{metric.name}: {alert.name} {'fires' if fires else 'is quiet'}",
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                # How many fire, whatever their labels are.
                "promql_expr_test": [{
                    "expr": f'count(ALERTS{{alertname="{alert.name}", alertstate="firing"}}) or vector(0)',
                    "eval_time": f"{NOW}s",
                    "exp_samples": [{"labels": "{}", "value": fires}],
                }],
            })  # fmt: skip
        (tmp_path / f"{alert.name}.rules.yml").write_text(yaml.safe_dump(select_rules(alert.name)))
        files.append(tmp_path / f"{alert.name}.yml")
        files[-1].write_text(yaml.safe_dump(
            {"rule_files": [f"{alert.name}.rules.yml"], "evaluation_interval": "15s", "tests": tests}
        ))  # fmt: skip
    assert len(files) > 45
    done = promtool("test", "rules", *map(str, files))
    assert done.returncode == 0, (done.stdout + done.stderr)[:4000]


def test_the_page_shows_the_alerts_as_they_are() -> None:
    page = (Path(__file__).parents[4] / "docs" / "desk_export.md").read_text()
    shown = re.findall(r"^\| `(\w+)` \| (critical|warning|info) \| (\d+) s \| `(.*)` \|$", page, re.M)
    wanted = [(a.name, a.severity, str(a.wait), a.expression.replace("|", "\\|")) for _, a in list_alerts()]
    assert shown == wanted


@pytest.mark.parametrize(("kind", "count"), [("sync", "desk.sync.run"), ("worker", "desk.worker.run")])
def test_each_number_that_a_process_publishes_is_described(kind: str, count: str) -> None:
    source = Path(importlib.import_module(count).__file__ or "").read_text()
    body = re.search(r"def _?count\(.*?(?=\n    def |\ndef |\Z)", source, re.S)
    assert body
    published = set(re.findall(r'"([a-z_]+)(?:\[\{|":)', body[0]))
    assert len(published) > 5 and published == set(NUMBERS[kind])
