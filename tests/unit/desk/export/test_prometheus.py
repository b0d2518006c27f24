"""A real Prometheus scrapes a real `desk export`: its alerts fire, and each query of each dashboard has data."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.shm import segment as shm
from agent.shm.ring import Ring
from benchmarks.agent.drive import free_port
from desk.cli.main import main
from desk.counters import Counters
from desk.export.metrics import list_alerts, list_metrics, list_panels
from desk.export.rules import make_rules
from desk.numbers import NUMBERS

from ..programs import find_program
from .exporter import Exporter

#: Alerts that are not made to fire here: of what takes longer, or a fault of the exporter. promtool has all of them.
NOT_HERE = {"FeedSilent", "JournalBehind", "OrdersSlow", "ExportFaults", "ExportSlow", "ExportDown", "ExportFlooded",
            "EngineNotTrading", "HostUnknown", "DeskHung", "JournalWriterDown", "QuotesRefused",
            "WorkerWaits"}  # fmt: skip


class Prometheus:
    """A server on loopback that scrapes one exporter five times a second."""

    def __init__(self, folder: Path, port: int, rules: dict[str, Any]) -> None:
        program = find_program("prometheus")
        (folder / "rules.yml").write_text(yaml.safe_dump(rules))
        job = {"job_name": "desk", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "scrape_configs": [job], "rule_files": ["rules.yml"]}))  # fmt: skip
        own = free_port(socket.SOCK_STREAM)
        self.url = f"http://127.0.0.1:{own}/api/v1"
        self.child = subprocess.Popen(
            [program.path, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{own}", "--log.level=warn"],
            env=program.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    def ask(self, path: str, **parameters: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Any]:
        return list(self.ask("query", query=expression)["result"])

    def wait(self, done: Callable[[], object], seconds: float = 40) -> None:
        limit = time.monotonic() + seconds
        while True:
            try:
                if done():
                    return
            except OSError:  # it does not listen yet
                pass
            assert time.monotonic() < limit
            time.sleep(0.3)


def shorten(rules: dict[str, Any]) -> dict[str, Any]:
    """The rules without their waiting, evaluated twice a second."""
    for group in rules["groups"]:
        group["interval"] = "500ms"
        for rule in group["rules"]:
            rule.pop("for", None)
    return rules


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Exporter, Prometheus]]:
    file = tmp_path / "hosttune.prom"
    file.write_text('hosttune_check_verdict{verdict="not ready"} 1\nhosttune_check_time_seconds 1000\n'
                    'hosttune_check_findings{status="fail"} 2\nhosttune_check_finding{id="a.b",status="fail"} 1\n'
                    'hosttune_check_info{profile="p",source="live"} 1\n')  # fmt: skip
    with Exporter(tmp_path, textfile=str(file)) as exporter:
        prometheus = Prometheus(tmp_path, exporter.port, shorten(make_rules()))
        try:
            yield exporter, prometheus
        finally:
            prometheus.child.kill()
            prometheus.child.wait(timeout=30)


def test_alerts_fire_and_each_query_of_each_dashboard_has_data(
    started: tuple[Exporter, Prometheus], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exporter, prometheus = started
    begun = time.monotonic()
    with (
        contextlib.ExitStack() as stack,
        Counters.open("in", "ingest", directory=exporter.directory) as counters,
        Ring.create(exporter.directory / "e.journal-ring", 4096),
    ):
        counters.publish({"records": 1})
        own = {f"{w}[x]" if n.part != "part" else w: 1 for w, n in NUMBERS["worker"].items()}
        worker = stack.enter_context(Counters.open("w", "worker", directory=exporter.directory))
        sync = stack.enter_context(Counters.open("s", "sync", directory=exporter.directory))
        worker.publish(own)
        run = stack.enter_context(Counters.open("r", "run", directory=exporter.directory))
        kwargs = {"bits": 7, "buckets": (40 - 7 + 1) << 7}
        word = 1

        def step() -> None:
            """An engine all of whose words grow."""
            nonlocal word
            exporter.put("e", word=word, heartbeat_ns=shm.now_ns(), **kwargs)
            word += 10_000
            counters.publish({f"{w}[x-0]" if n.part != "part" else w: word for w, n in NUMBERS["ingest"].items()})
            worker.publish(own | {"send_failures": word})
            for process, kind in ((sync, "sync"), (run, "run")):
                process.publish({f"{w}[e]" if n.part != "part" else w: word for w, n in NUMBERS[kind].items()})

        # Each metric comes by a scrape, with its engines and its types.
        step()
        prometheus.wait(lambda: prometheus.query('agent_lost_total{agent="e"}'))
        # One whose process is gone, one that hangs, one that has stopped, one that is none; a process that has ended.
        exporter.put("died", pid=2**22, start_time=1)
        exporter.put("hung", heartbeat_ns=shm.now_ns() - 10**11)
        exporter.put("stopped", state=3)
        exporter.put("none").write_bytes(b"")
        Counters.open("gone", "sync", directory=exporter.directory).close()
        # One that is killed.
        code = (
            f"import os; from pathlib import Path; from desk.counters import Counters\nc = Counters.open('dead', "
            f"'sync', directory=Path({str(exporter.directory)!r})); c.publish({{}}); os.kill(os.getpid(), 9)"
        )
        assert subprocess.run([sys.executable, "-P", "-c", code], timeout=30).returncode == -9
        while time.monotonic() < begun + 10:
            step()
            time.sleep(0.5)
        alerts = {alert.name for _, alert in list_alerts()}

        def firing() -> set[str]:
            step()
            return {alert["labels"]["alertname"] for alert in prometheus.ask("alerts")["alerts"]
                    if alert["state"] == "firing"}  # fmt: skip

        wanted = alerts - NOT_HERE - {"LossNear", "SymbolLossNear", "PositionNear", "OpenOrdersNear",
                                      "OrdersOfDayNear", "OrdersRefused"}  # fmt: skip
        try:
            prometheus.wait(lambda: firing() >= wanted, 120)
        except AssertionError:
            raise AssertionError(f"quiet: {sorted(wanted - firing())}") from None
        # The exporter's rules were read without a fault.
        for group in prometheus.ask("rules")["groups"]:
            assert [rule["lastError"] for rule in group["rules"] if rule.get("lastError")] == []
        # The dashboards as they are written, with the variables as Grafana sets them.
        assert main(["dashboards", str(tmp_path)]) == 0
        files = capsys.readouterr().out.split()
        queries = [
            target["expr"] for file in files for panel in json.loads(Path(file).read_text())["panels"]
            for target in panel["targets"]
        ]  # fmt: skip
        assert len(queries) == sum(len(panel.queries) for _, panel in list_panels()) > 150
        for query in queries:
            asked = query.replace("$__rate_interval", "1m").replace("$agent", ".*").replace("$process", ".*")
            assert "$" not in asked
            assert prometheus.query(asked), query
        # Every metric of the table is there.
        for metric in list_metrics():
            name = metric.name + ("_count" if metric.kind == "histogram" else "")
            assert prometheus.query(name), name


def test_dashboards_without_their_library_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk.cog.encoder", None)
    assert main(["dashboards", str(tmp_path)]) == 2
    assert "pip install 'hosttune[desk-tools]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", str(tmp_path / "none")]) == 2
    assert f"{tmp_path}/none/desk-overview.json: cannot be written" in capsys.readouterr().err
